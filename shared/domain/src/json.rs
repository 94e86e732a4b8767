//! A JSON document into a type, for little code.
//!
//! `serde_json` reads each type with code of its own for the whole of JSON, at each field anew, and a derived struct brings
//! code that finds out which field it has before it. At a hundred types that is a fourth of a worker's bundle. Here a
//! document is first read into a [`Value`] by code that all types share, and a struct then asks for its fields in their
//! order; what is made for a type is only the step from there. It is for rows of the database and for what we wrote
//! ourselves; what devices send all the time is read straight.
//!
//! A struct's field may be missing only if it says `#[serde(default)]`, an `Option` too; a field that the struct does not
//! know is passed over. Enums are tagged from outside, as serde does it by itself; `flatten` and tags inside work and
//! bring back much of what is saved here.

use std::fmt::{self, Display};
use std::slice;

use litemap::LiteMap;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::{Serialize, Serializer};
use serde_json::map::Iter;
use serde_json::{Map, Value};

/// Why a document is not what its type says.
#[derive(Debug)]
pub struct Error(String);

/// Reads a text.
///
/// # Errors
/// When it is not JSON, or not a `T`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_value(&parse(text)?)
}

/// Reads a document that was parsed before.
///
/// # Errors
/// When it is not a `T`.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(Cell(value))
}

/// Writes a map as an object. By itself a [`LiteMap`] that is empty, or has other keys than texts, becomes a list.
///
/// # Errors
/// As the serializer.
pub fn as_object<K: Serialize, V: Serialize, S: Serializer>(
    map: &LiteMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter())
}

/// Reads a text into a [`Value`].
///
/// # Errors
/// When it is not JSON.
#[inline(never)]
pub fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error(error.to_string()))
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    // Serde's own say what was found as well, and bring all that it takes to write down any number (12 KB).
    #[cold]
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    // Of a struct whose field is missing: that is how its fields say it.
    #[cold]
    fn invalid_length(count: usize, expected: &dyn Expected) -> Self {
        Self(format!("only {count} of the fields before a missing one: expected {expected}"))
    }

    #[cold]
    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("expected {expected}"))
    }
}

/// A document, or a part of it.
struct Cell<'a>(&'a Value);

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::Object(object) => visitor.visit_map(Entries::of(object)),
            Value::Array(values) => visitor.visit_seq(Items(values.iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let object = self.0.as_object().ok_or_else(|| de::Error::custom("expected an object"))?;
        visitor.visit_seq(Fields { object, names: names.iter() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(de::value::BorrowedStrDeserializer::new(name)),
            Value::Object(object) => visitor.visit_enum(MapAccessDeserializer::new(Entries::of(object))),
            _ => Err(de::Error::custom("expected a name")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The fields of a struct, in its order.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    names: slice::Iter<'static, &'static str>,
}

impl<'de> SeqAccess<'de> for Fields<'de> {
    type Error = Error;

    // One copy for each type of field, not one for each field.
    #[inline(never)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let value = self.names.next().and_then(|name| self.object.get(*name));
        value.map(|value| seed.deserialize(Cell(value))).transpose()
    }
}

/// The items of a list.
struct Items<'a>(slice::Iter<'a, Value>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Cell(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The entries of a map that are still to be read.
struct Entries<'a> {
    left: Iter<'a>,
    value: Option<&'a Value>,
}

impl<'a> Entries<'a> {
    fn of(object: &'a Map<String, Value>) -> Self {
        Self { left: object.iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    #[inline(never)]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value without a name"))?;
        seed.deserialize(Cell(value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::time::{as_millis, as_optional_millis};
    use crate::{DeviceId, Role, UnixMillis};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        device_id: DeviceId,
        role: Role,
        name: Option<String>,
        count: i64,
        small: u16,
        share: f64,
        #[serde(with = "as_millis")]
        at: UnixMillis,
        #[serde(with = "as_optional_millis")]
        ended_at: Option<UnixMillis>,
        #[serde(rename = "radar-ok")]
        radar: Option<bool>,
        #[serde(default)]
        missing: Option<i64>,
        #[serde(default)]
        absent: Vec<i64>,
        kind: Kind,
        inner: Vec<Inner>,
        counts: BTreeMap<String, u32>,
        pair: (u8, String),
        whatever: Value,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Info,
        High,
        Count(i64),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        id: Box<str>,
        #[serde(default)]
        more: Option<Box<Self>>,
    }

    fn row() -> Value {
        json!({
            "device_id": "3e32e97b9d6cf5e193d3a3a7e8fd9a97", "role": "admin", "name": null, "count": -3, "small": 200,
            "share": 2, "at": 1_768_903_200_000_i64, "ended_at": 5, "radar-ok": true, "kind": "high", "more": 1,
            "inner": [{"id": "a", "more": {"id": "b"}}, {"id": "c"}], "counts": {"x": 1, "y": 2}, "pair": [7, "p"],
            "whatever": {"a": [1, null, {"b": 0.5}]},
        })
    }

    #[test]
    fn a_document_reads_as_serde_json_reads_it() {
        let read: Row = from_value(&row()).unwrap();
        assert_eq!(read, serde_json::from_value(row()).unwrap());
        assert_eq!((read.role, read.missing, read.absent.len()), (Role::Admin, None, 0));
        assert_eq!(super::read::<Row>(&row().to_string()).unwrap(), read);
        let counted: Vec<Kind> = super::read(r#"[{"count": 3}, "info"]"#).unwrap();
        assert_eq!(counted, [Kind::Count(3), Kind::Info]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (name, value) in [
            ("device_id", json!("x")),
            ("role", json!("king")),
            ("count", json!("3")),
            ("count", json!(1.5)),
            ("small", json!(70_000)),
            ("at", Value::Null),
            ("name", json!(["list"])),
            ("kind", json!(1)),
            ("kind", json!("low")),
            ("kind", json!({"high": 1})),
            ("kind", json!("count")),
            ("kind", json!({})),
            ("inner", json!({})),
            ("inner", json!([[]])),
            ("inner", json!([{"more": null}])),
            ("pair", json!([7])),
        ] {
            let mut row = row();
            row[name] = value.clone();
            assert!(from_value::<Row>(&row).is_err(), "{name}: {value}");
        }
        assert!(read::<Row>("{").is_err());
        assert!(read::<Row>("[]").is_err());
    }

    #[test]
    fn a_field_may_be_missing_only_if_it_says_so() {
        for name in ["device_id", "name", "count", "ended_at", "radar-ok", "inner", "whatever"] {
            let mut short = row();
            short.as_object_mut().unwrap().remove(name);
            let error = from_value::<Row>(&short).unwrap_err().to_string();
            assert!(error.contains("missing") && error.contains("struct Row"), "{name}: {error}");
        }
    }
}
