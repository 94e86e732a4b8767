//! Reads the fields of a JSON object one by one and notes every fault with its pointer.
//!
//! Serde stops at the first fault; a caller who has to mend a document deserves all of them.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::{Faults, UnixMillis, json};

/// The fields of one JSON object, and where it stands in the document.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    /// The fields of `object`, which stands at `at` (a JSON Pointer; empty for the whole document).
    pub fn new(object: &'a Map<String, Value>, at: impl Into<String>) -> Self {
        Self { object, at: at.into() }
    }

    /// The JSON Pointer of a field (RFC 6901: `~` and `/` in names are escaped).
    pub fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.at, name.replace('~', "~0").replace('/', "~1"))
    }

    /// The field's value; a null counts as absent.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// An optional field that `read` understands; a value it does not understand is a fault.
    pub fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        faults.require(read.is_some(), &self.pointer(name), expected);
        read
    }

    /// A required field that `read` understands; absence is a fault as well.
    pub fn required<T>(
        &self,
        name: &str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        if self.value(name).is_none() {
            faults.add(self.pointer(name), format!("is required and {expected}"));
            return None;
        }
        self.optional(name, expected, faults, read)
    }

    /// Notes a fault for every field that is not one of `known`: people's typing errors should not
    /// be taken in silence.
    pub fn refuse_unknown(&self, known: &[&str], faults: &mut Faults) {
        for name in self.object.keys().filter(|name| !known.contains(&name.as_str())) {
            faults.add(self.pointer(name), format!("is not a field; known are {}", known.join(", ")));
        }
    }
}

/// A JSON number that is an integer within `range`; `3.0` is one, as JavaScript makes no difference.
pub fn integer(value: &Value, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let number = value.as_i64().or_else(|| {
        let float = value.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be integral and within ±2^53 first")]
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    })?;
    range.contains(&number).then_some(number)
}

/// An RFC 3339 time.
pub fn time(value: &Value) -> Option<UnixMillis> {
    UnixMillis::parse_rfc3339(value.as_str()?)
}

/// What a fault says when a time is expected.
pub const TIME: &str = "must be an RFC 3339 time, like 2026-01-20T10:00:00Z";

/// What a fault says when EMQX's kind of time is expected.
pub const UNIX_MILLIS: &str = "must be Unix milliseconds, of the years 1970 to 9999";

/// Reads a JSON object from bytes.
///
/// # Errors
/// One fault, of the whole document: unreadable if it is no JSON.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Faults> {
    match text(bytes).map(json::parse)? {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(not_an_object()),
        Err(error) => Err(not_json(&error)),
    }
}

/// Reads a JSON object from bytes into a type, for bodies whose sender is a machine and whose first
/// fault is enough. Unlike serde alone, it does not take an array for a struct.
///
/// # Errors
/// One fault, of the whole document: unreadable if it is no JSON.
pub fn record<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Faults> {
    // As text, because from bytes serde_json reads with another copy of its code.
    match serde_json::from_str(text(bytes)?) {
        Ok(record) if bytes.trim_ascii_start().starts_with(b"{") => Ok(record),
        Ok(_) => Err(not_an_object()),
        Err(error) if error.is_data() => {
            let mut faults = Faults::new();
            faults.add("", format!("must be a JSON object of known form: {error}"));
            Err(faults)
        }
        Err(error) => Err(not_json(&error)),
    }
}

fn not_an_object() -> Faults {
    let mut faults = Faults::new();
    faults.add("", "must be a JSON object");
    faults
}

fn text(bytes: &[u8]) -> Result<&str, Faults> {
    std::str::from_utf8(bytes).map_err(|error| not_json(&error))
}

fn not_json(error: &dyn Display) -> Faults {
    Faults::unreadable(format!("must be JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_taken_in_either_spelling_and_within_range_only() {
        assert_eq!(integer(&json!(3), 0..=5), Some(3));
        assert_eq!(integer(&json!(3.0), 0..=5), Some(3));
        assert_eq!(integer(&json!(3.5), 0..=5), None);
        assert_eq!(integer(&json!(6), 0..=5), None);
        assert_eq!(integer(&json!("3"), 0..=5), None);
        assert_eq!(integer(&json!(1e300), 0..=i64::MAX), None);
        assert_eq!(integer(&json!(u64::MAX), 0..=i64::MAX), None);
    }

    #[test]
    fn pointers_escape_what_rfc_6901_escapes() {
        let object = Map::new();
        assert_eq!(Fields::new(&object, "/metrics").pointer("a/b~c"), "/metrics/a~1b~0c");
    }

    #[test]
    fn unknown_fields_and_missing_ones_are_named() {
        let Value::Object(object) = json!({"mac": 1, "note": null}) else { panic!("an object") };
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        fields.refuse_unknown(&["mac_address", "note"], &mut faults);
        assert_eq!(fields.required("note", "must be text", &mut faults, Value::as_str), None);
        assert_eq!(
            faults.summary(),
            "/mac: is not a field; known are mac_address, note; /note: is required and must be text"
        );
    }
}
