//! Tokens to a tree that still has its substitutions, with includes spliced in and objects merged.

use std::sync::Arc;

use super::include::Includes;
use super::lexer::{self, Kind, Token};
use super::units;
use super::value::{Fault, Position, Value};

/// Nesting beyond this is refused, so that no file can exhaust the stack.
const MAX_DEPTH: usize = 64;

/// A value that may still be a substitution.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// A plain value; never [`Value::Array`] or [`Value::Object`].
    Plain(Value),
    /// An array.
    Array(Vec<RawNode>),
    /// An object.
    Object(RawObject),
    /// `${path}`, for `resolve` to replace.
    Substitution {
        /// The path looked up in the whole document.
        path: String,
        /// Absent is not an error; the field is left out.
        optional: bool,
    },
}

/// A [`Raw`] value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct RawNode {
    /// Where.
    pub at: Position,
    /// What.
    pub value: Raw,
}

/// An object whose fields have been merged.
#[derive(Debug, Clone, PartialEq)]
pub struct RawObject {
    /// Where it begins.
    pub at: Position,
    /// Names and values, in the order first written.
    pub fields: Vec<(String, RawNode)>,
}

impl RawObject {
    fn empty(at: Position) -> Self {
        Self { at, fields: Vec::new() }
    }

    /// Sets a field: objects merge, anything else replaces (`hocon_maps:deep_merge/2`).
    fn set(&mut self, name: String, node: RawNode) {
        let Some((_, old)) = self.fields.iter_mut().find(|(key, _)| *key == name) else {
            self.fields.push((name, node));
            return;
        };
        match (&mut old.value, node.value) {
            (Raw::Object(into), Raw::Object(from)) => into.merge(from),
            (_, value) => *old = RawNode { at: node.at, value },
        }
    }

    fn merge(&mut self, other: Self) {
        for (name, node) in other.fields {
            self.set(name, node);
        }
    }
}

/// Parses a file and what it includes.
pub fn document(file: &str, text: &str, includes: &Includes) -> Result<RawObject, Fault> {
    read_file(file, text, includes, &mut vec![file.to_owned()])
}

fn read_file(
    file: &str,
    text: &str,
    includes: &Includes,
    open: &mut Vec<String>,
) -> Result<RawObject, Fault> {
    let start = Position { file: Arc::from(file), line: 1 };
    let mut tokens = lexer::tokens(&start, text)?;
    let end = tokens.last().map_or(start.clone(), |token| token.at.clone());
    tokens.reverse();
    let mut parser = Parser { tokens, end, includes, open, depth: 0 };
    let mut root = RawObject::empty(start);
    parser.fields(&mut root, None)?;
    Ok(root)
}

struct Parser<'a> {
    /// What is left, the next token last.
    tokens: Vec<Token>,
    end: Position,
    includes: &'a Includes,
    /// Files being read, to refuse a cycle.
    open: &'a mut Vec<String>,
    depth: usize,
}

impl Parser<'_> {
    /// Fields up to the closing brace, or to the end of the file if `close` is `None`.
    fn fields(&mut self, object: &mut RawObject, close: Option<char>) -> Result<(), Fault> {
        let mut first = true;
        loop {
            if self.closes(close)? {
                return Ok(());
            }
            if !first {
                self.separator(close)?;
            }
            first = false;
            self.field(object)?;
        }
    }

    /// Consumes the closing token if it is next.
    fn closes(&mut self, close: Option<char>) -> Result<bool, Fault> {
        match (self.peek(), close) {
            (None, None) => Ok(true),
            (None, Some(c)) => Err(Fault::new(&self.end, format!("the file ends where a {c} is missing"))),
            (Some(Kind::Punctuation(p)), Some(c)) if *p == c => {
                self.next();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A comma with something behind it, or a line break.
    fn separator(&mut self, close: Option<char>) -> Result<(), Fault> {
        let Some(token) = self.tokens.last() else { return Ok(()) };
        if token.kind != Kind::Punctuation(',') {
            return if token.after_break {
                Ok(())
            } else {
                Err(Fault::new(
                    &token.at,
                    "two values side by side: EMQX would join them; put a comma or a line break between",
                ))
            };
        }
        let at = token.at.clone();
        self.next();
        if self.closes(close)? {
            return Err(Fault::new(&at, "a trailing comma, which EMQX refuses in an included file"));
        }
        Ok(())
    }

    fn field(&mut self, object: &mut RawObject) -> Result<(), Fault> {
        let Some(token) = self.next() else {
            return Err(Fault::new(&self.end, "expected a key"));
        };
        let at = token.at;
        let key = match token.kind {
            Kind::Bare(word) if word == "include" && !self.assigns() => return self.include(&at, object),
            Kind::Bare(word) if lexer::is_word(&word) => word,
            Kind::Quoted(word) if word.is_empty() || word.contains('.') => {
                return Err(Fault::new(&at, "a quoted key is split at its dots all the same: write it out"));
            }
            Kind::Quoted(word) => word,
            other => return Err(Fault::new(&at, format!("expected a key, found {}", describe(&other)))),
        };
        let value = match self.peek() {
            Some(Kind::Punctuation('=' | ':')) => {
                self.next();
                self.value()?
            }
            Some(Kind::Punctuation('{')) => self.value()?,
            _ => return Err(Fault::new(&at, format!("expected = or {{ after the key {key}"))),
        };
        self.put(object, &at, &key, value)
    }

    /// Sets `a.b.c` by nesting objects.
    fn put(&self, object: &mut RawObject, at: &Position, key: &str, value: Raw) -> Result<(), Fault> {
        let mut path: Vec<&str> = key.split('.').collect();
        if path.iter().any(|part| part.is_empty()) || path.len() > MAX_DEPTH.saturating_sub(self.depth) {
            return Err(Fault::new(at, format!("{key} is not a path of keys")));
        }
        let Some(head) = (!path.is_empty()).then(|| path.remove(0)) else { return Ok(()) };
        let mut node = RawNode { at: at.clone(), value };
        for part in path.into_iter().rev() {
            let fields = vec![(part.to_owned(), node)];
            node = RawNode { at: at.clone(), value: Raw::Object(RawObject { at: at.clone(), fields }) };
        }
        object.set(head.to_owned(), node);
        Ok(())
    }

    fn value(&mut self) -> Result<Raw, Fault> {
        let Some(token) = self.next() else {
            return Err(Fault::new(&self.end, "expected a value"));
        };
        match token.kind {
            Kind::Quoted(text) => Ok(Raw::Plain(Value::Text(text))),
            Kind::Bare(word) => plain(&token.at, word).map(Raw::Plain),
            Kind::Substitution { path, optional } => Ok(Raw::Substitution { path, optional }),
            Kind::Punctuation('{') => self.nested(&token.at, |parser| {
                let mut object = RawObject::empty(token.at.clone());
                parser.fields(&mut object, Some('}'))?;
                Ok(Raw::Object(object))
            }),
            Kind::Punctuation('[') => self.nested(&token.at, Self::array),
            other @ Kind::Punctuation(_) => {
                Err(Fault::new(&token.at, format!("expected a value, found {}", describe(&other))))
            }
        }
    }

    fn array(&mut self) -> Result<Raw, Fault> {
        let mut items = Vec::new();
        loop {
            if self.closes(Some(']'))? {
                return Ok(Raw::Array(items));
            }
            if !items.is_empty() {
                self.separator(Some(']'))?;
            }
            let at = self.tokens.last().map_or(self.end.clone(), |token| token.at.clone());
            items.push(RawNode { at, value: self.value()? });
        }
    }

    fn nested(
        &mut self,
        at: &Position,
        parse: impl FnOnce(&mut Self) -> Result<Raw, Fault>,
    ) -> Result<Raw, Fault> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(at, format!("nested more than {MAX_DEPTH} deep")));
        }
        let value = parse(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    /// `include "file"` or `include required("file")`.
    fn include(&mut self, at: &Position, object: &mut RawObject) -> Result<(), Fault> {
        let malformed = || Fault::new(at, "expected include \"file\" or include required(\"file\")");
        let (name, required) = match self.next().map(|token| token.kind) {
            Some(Kind::Quoted(name)) => (name, false),
            Some(Kind::Bare(word)) if word == "required" => {
                let open = self.next().map(|token| token.kind);
                let name = self.next().map(|token| token.kind);
                let close = self.next().map(|token| token.kind);
                match (open, name, close) {
                    (
                        Some(Kind::Punctuation('(')),
                        Some(Kind::Quoted(name)),
                        Some(Kind::Punctuation(')')),
                    ) => (name, true),
                    _ => return Err(malformed()),
                }
            }
            _ => return Err(malformed()),
        };
        if self.open.contains(&name) {
            return Err(Fault::new(at, format!("{name} includes itself")));
        }
        match self.includes.read(&name).map_err(|why| Fault::new(at, why))? {
            Some(text) => {
                self.open.push(name.clone());
                let included = read_file(&name, &text, self.includes, self.open)?;
                self.open.pop();
                object.merge(included);
                Ok(())
            }
            None if required => Err(Fault::new(at, format!("the required file {name} is not there"))),
            None => Ok(()),
        }
    }

    fn assigns(&self) -> bool {
        matches!(self.peek(), Some(Kind::Punctuation('=' | ':' | '{')))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.last().map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Token> {
        self.tokens.pop()
    }
}

/// A word without quotes as a value.
fn plain(at: &Position, word: String) -> Result<Value, Fault> {
    match word.as_str() {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "null" => return Ok(Value::Null),
        _ => {}
    }
    if let Ok(integer) = word.parse::<i64>() {
        return Ok(Value::Integer(integer));
    }
    let numeric = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if numeric && let Ok(float) = word.parse::<f64>() {
        return Ok(Value::Float(float));
    }
    let percent = word.strip_suffix('%').is_some_and(|digits| digits.parse::<u64>().is_ok());
    if lexer::is_word(&word) || units::duration(&word).is_some() || units::bytes(&word).is_some() || percent {
        return Ok(Value::Text(word));
    }
    Err(Fault::new(at, format!("{word} must be in quotes")))
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Punctuation(c) => format!("{c}"),
        Kind::Quoted(text) => format!("\"{text}\""),
        Kind::Bare(word) => word.clone(),
        Kind::Substitution { path, .. } => format!("${{{path}}}"),
    }
}
