//! Strings with `${…}` in them, cut into parts once when the configuration is read.
//!
//! Authentication and authorization know a fixed list of placeholders, and leave anything else as it
//! stands (`emqx_auth_template`); an action's body knows any path into what its rule selected
//! (`emqx_template`). Both cut a string the same way, so the kind of placeholder is a parameter.

/// A string with placeholders of type `V` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<V> {
    parts: Vec<Part<V>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<V> {
    Text(String),
    Placeholder(V),
}

impl<V> Template<V> {
    /// Cuts `source`. `known` says what a name between the braces stands for; a name that it does
    /// not know stays in the text, braces and all.
    pub fn parse(source: &str, known: impl Fn(&str) -> Option<V>) -> Self {
        let mut template = Self { parts: Vec::new() };
        let mut rest = source;
        while let Some((before, after)) = rest.split_once("${") {
            template.text(before);
            let Some((name, tail)) = after.split_once('}') else {
                template.text("${");
                rest = after;
                continue;
            };
            if let Some(placeholder) = known(name) {
                template.parts.push(Part::Placeholder(placeholder));
                rest = tail;
            } else {
                template.text("${");
                rest = after;
            }
        }
        template.text(rest);
        template
    }

    /// The string with each placeholder replaced by what `value` appends for it.
    ///
    /// # Errors
    /// The first error of `value`.
    pub fn render<E>(&self, mut value: impl FnMut(&V, &mut String) -> Result<(), E>) -> Result<String, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder(placeholder) => value(placeholder, &mut out)?,
            }
        }
        Ok(out)
    }

    /// The text, if there is no placeholder in it.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The first of its texts that `begin` stands in, from there on.
    pub fn text_of(&self, begin: &str) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Text(text) => text.find(begin).and_then(|at| text.get(at..)),
            Part::Placeholder(_) => None,
        })
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Part::Text(last)) = self.parts.last_mut() {
            last.push_str(text);
        } else {
            self.parts.push(Part::Text(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> String {
        Template::parse(source, |name| (name == "clientid").then_some(()))
            .render::<()>(|(), out| {
                out.push_str("dev-1");
                Ok(())
            })
            .unwrap()
    }

    #[test]
    fn a_known_placeholder_is_replaced_and_any_other_stays_as_it_stands() {
        for (source, expected) in [
            ("${clientid}", "dev-1"),
            ("a/${clientid}/b/${clientid}", "a/dev-1/b/dev-1"),
            ("${protocol}-${clientid}", "${protocol}-dev-1"),
            ("$clientid {clientid}", "$clientid {clientid}"),
            ("${clientid", "${clientid"),
            ("${${clientid}", "${dev-1"),
            ("", ""),
        ] {
            assert_eq!(render(source), expected, "{source}");
        }
    }
}
