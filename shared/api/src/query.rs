//! Query parameters, with every fault named.

use rs1_domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use rs1_domain::{Faults, Problem, Request};
use rs1_store::sql::PageRequest;

/// Reads the query parameters of one request. [`Query::finish`] refuses what no one asked for.
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Faults,
}

impl Query {
    /// The query of a request.
    pub fn of(request: &Request) -> Self {
        Self { pairs: request.query_parameters().collect(), known: Vec::new(), faults: Faults::new() }
    }

    /// A parameter's text, if it is there.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// A parameter that `read` understands, if it is there.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        self.faults.require(value.is_some(), &format!("?{name}"), expected);
        value
    }

    /// A whole number within a range, or `default`.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u32>, default: u32) -> u32 {
        let Some(text) = self.text(name) else { return default };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let expected = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.faults.require(number.is_some(), &format!("?{name}"), &expected);
        number.unwrap_or(default)
    }

    /// Notes a fault of what was read, unless it holds.
    pub fn require(&mut self, holds: bool, pointer: &str, expected: &str) {
        self.faults.require(holds, pointer, expected);
    }

    /// `true` or `false`, if it is there.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let text = self.text(name)?;
        let flag = match text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.faults.require(flag.is_some(), &format!("?{name}"), "must be true or false");
        flag
    }

    /// `limit` and `cursor`; a cursor is the key of an item, so `is_key` tells a good one.
    pub fn page(&mut self, is_key: impl FnOnce(&str) -> bool) -> PageRequest {
        let limit = self.number("limit", 1..=PAGE_MAX, PAGE_DEFAULT);
        let after = self.text("cursor");
        let fine = after.as_deref().is_none_or(is_key);
        self.faults.require(fine, "?cursor", "must be a next_cursor of this list");
        PageRequest { limit, after }
    }

    /// The end: parameters that were not read are faults, so that a typing error is not taken for
    /// "no filter".
    ///
    /// # Errors
    /// 422 naming every fault.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            if !self.known.contains(&name.as_str()) {
                self.faults
                    .add(format!("?{name}"), format!("is not known; known are {}", self.known.join(", ")));
            }
        }
        Ok(self.faults.into_result(())?)
    }
}
