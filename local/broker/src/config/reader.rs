//! Reading an object of the configuration field by field, keeping every fault.
//!
//! A [`Section`] gives each field out once. What is left when it is finished was not understood,
//! and is a fault: a key that EMQX acts on and this broker silently does not would make the local
//! stack lie about production.

use std::time::Duration;

use crate::hocon::{self, Fault, Node, Object, Position, Value};

/// What is to have no end here has one that no clock of this machine reaches.
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

/// What reading has found so far: faults, and the settings that mean nothing here.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong, in the order found.
    pub faults: Vec<Fault>,
    /// Settings that were recognised and have no effect on this broker, with the reason.
    pub ignored: Vec<Ignored>,
}

/// A setting that EMQX acts on and this broker does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its path, `listeners.ssl.default`.
    pub path: String,
    /// Why it has no meaning on a developer's machine.
    pub reason: &'static str,
}

impl Findings {
    /// Notes a fault.
    pub fn fault(&mut self, at: &Position, what: impl Into<String>) {
        self.faults.push(Fault::new(at, what));
    }
}

/// An object being read.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    at: Position,
    fields: Vec<(&'a str, &'a Node)>,
}

impl<'a> Section<'a> {
    /// Begins to read `object`, found at `path`.
    pub fn new(path: impl Into<String>, object: &'a Object) -> Self {
        let fields = object.fields.iter().map(|(name, node)| (name.as_str(), node)).collect();
        Self { path: path.into(), at: object.at.clone(), fields }
    }

    /// Where the object begins.
    pub fn at(&self) -> &Position {
        &self.at
    }

    /// The path of a field in this object.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field, whatever its type.
    pub fn take(&mut self, name: &str) -> Option<&'a Node> {
        let index = self.fields.iter().position(|(key, _)| *key == name)?;
        Some(self.fields.remove(index).1)
    }

    /// Takes all fields that are left.
    pub fn take_rest(&mut self) -> Vec<(&'a str, &'a Node)> {
        std::mem::take(&mut self.fields)
    }

    /// Everything that nobody took is a fault.
    pub fn finish(self, findings: &mut Findings) {
        for (name, node) in &self.fields {
            findings.fault(&node.at, format!("{} is not understood by this broker", self.path_of(name)));
        }
    }

    /// Takes a string; also what HOCON reads as a number or a boolean, as EMQX's schema would.
    pub fn text(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        let node = self.take(name)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => self.mistyped(name, node, "a string", findings),
        }
    }

    /// Takes a string that must be there.
    pub fn required_text(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        if self.fields.iter().all(|(key, _)| *key != name) {
            findings.fault(&self.at, format!("{} is missing", self.path_of(name)));
        }
        self.text(name, findings)
    }

    /// Takes a boolean.
    pub fn flag(&mut self, name: &str, default: bool, findings: &mut Findings) -> bool {
        let Some(node) = self.take(name) else { return default };
        match &node.value {
            Value::Bool(flag) => *flag,
            _ => self.mistyped(name, node, "true or false", findings).unwrap_or(default),
        }
    }

    /// Takes a whole number of at least `least`.
    pub fn number(&mut self, name: &str, default: u32, least: u32, findings: &mut Findings) -> u32 {
        let Some(node) = self.take(name) else { return default };
        match &node.value {
            Value::Integer(number) if u32::try_from(*number).is_ok_and(|number| number >= least) => {
                u32::try_from(*number).unwrap_or(default)
            }
            _ => {
                let wanted = format!("a whole number of at least {least}");
                self.mistyped(name, node, &wanted, findings).unwrap_or(default)
            }
        }
    }

    /// Takes a duration such as `15s`; a bare number counts milliseconds, as in EMQX.
    pub fn duration(&mut self, name: &str, default: Duration, findings: &mut Findings) -> Duration {
        let Some(node) = self.take(name) else { return default };
        let parsed = match &node.value {
            Value::Text(text) => hocon::duration(text),
            Value::Integer(millis) => u64::try_from(*millis).ok().map(Duration::from_millis),
            _ => None,
        };
        parsed.or_else(|| self.mistyped(name, node, "a duration such as 15s", findings)).unwrap_or(default)
    }

    /// Takes a duration, or `infinity`: a century.
    pub fn duration_or_infinity(
        &mut self,
        name: &str,
        default: Duration,
        findings: &mut Findings,
    ) -> Duration {
        let endless = |node: &Node| matches!(&node.value, Value::Text(text) if text == "infinity");
        if self.fields.iter().any(|(key, node)| *key == name && endless(node)) {
            self.take(name);
            return CENTURY;
        }
        self.duration(name, default, findings)
    }

    /// Takes a size such as `1MB`.
    pub fn bytes(&mut self, name: &str, default: u64, findings: &mut Findings) -> u64 {
        let Some(node) = self.take(name) else { return default };
        let parsed = match &node.value {
            Value::Text(text) => hocon::bytes(text),
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            _ => None,
        };
        parsed.or_else(|| self.mistyped(name, node, "a size such as 1MB", findings)).unwrap_or(default)
    }

    /// Takes one of several words; the first is the default.
    pub fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
        default: T,
        findings: &mut Findings,
    ) -> T {
        let Some(node) = self.take(name) else { return default };
        if let Value::Text(text) = &node.value
            && let Some((_, choice)) = choices.iter().find(|(word, _)| word == text)
        {
            return *choice;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.mistyped(name, node, &words.join(" or "), findings).unwrap_or(default)
    }

    /// Takes an object.
    pub fn section(&mut self, name: &str, findings: &mut Findings) -> Option<Section<'a>> {
        let node = self.take(name)?;
        match &node.value {
            Value::Object(object) => Some(Section::new(self.path_of(name), object)),
            _ => self.mistyped(name, node, "an object", findings),
        }
    }

    /// Takes an object whose fields are named by whoever wrote it, each an object itself.
    pub fn named_sections(&mut self, name: &str, findings: &mut Findings) -> Vec<(String, Section<'a>)> {
        let Some(mut outer) = self.section(name, findings) else { return Vec::new() };
        let names: Vec<String> = outer.fields.iter().map(|(key, _)| (*key).to_owned()).collect();
        names
            .into_iter()
            .filter_map(|key| outer.section(&key, findings).map(|section| (key, section)))
            .collect()
    }

    /// Takes an array of objects.
    pub fn sections(&mut self, name: &str, findings: &mut Findings) -> Vec<Section<'a>> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.mistyped::<()>(name, node, "an array of objects", findings);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            // EMQX numbers the elements of an array from 1 in its paths.
            let path = format!("{}.{}", self.path_of(name), index.saturating_add(1));
            match &item.value {
                Value::Object(object) => sections.push(Section::new(path, object)),
                other => findings.fault(&item.at, format!("{path} is {}, not an object", other.kind())),
            }
        }
        sections
    }

    /// Takes an array of strings, with the place of each.
    pub fn texts(&mut self, name: &str, findings: &mut Findings) -> Vec<(String, Position)> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.mistyped::<()>(name, node, "an array of strings", findings);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((text.clone(), item.at.clone())),
                other => findings.fault(
                    &item.at,
                    format!("{} holds {}, not only strings", self.path_of(name), other.kind()),
                ),
            }
        }
        texts
    }

    /// Takes a field that is known to EMQX and means nothing here. `known` are the keys that may
    /// stand in it, at any depth; an empty list means that it is not an object.
    pub fn ignore(&mut self, name: &str, reason: &'static str, known: &[&str], findings: &mut Findings) {
        let Some(node) = self.take(name) else { return };
        let path = self.path_of(name);
        check_known(&path, node, known, findings);
        findings.ignored.push(Ignored { path, reason });
    }

    fn mistyped<T>(&self, name: &str, node: &Node, wanted: &str, findings: &mut Findings) -> Option<T> {
        let found = match &node.value {
            Value::Text(text) => format!("\"{text}\""),
            Value::Integer(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        findings.fault(&node.at, format!("{} is {found}, expected {wanted}", self.path_of(name)));
        None
    }
}

fn check_known(path: &str, node: &Node, known: &[&str], findings: &mut Findings) {
    let Value::Object(object) = &node.value else { return };
    for (name, inner) in &object.fields {
        let inner_path = format!("{path}.{name}");
        if known.contains(&name.as_str()) {
            check_known(&inner_path, inner, known, findings);
        } else {
            findings.fault(&inner.at, format!("{inner_path} is not understood by this broker"));
        }
    }
}
