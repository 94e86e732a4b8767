//! One row into one type, for little code.
//!
//! `serde_json` reads each type with code of its own for the whole of JSON, at each field anew: at a hundred row types
//! that is a fifth of a worker's bundle. A row is a flat object of scalars, read into a [`Value`] by code that all types
//! share; what is made for a type here is only the step from there.

use std::fmt::{self, Display};

use serde::de::{self, DeserializeSeed, Deserializer, Expected, MapAccess, Unexpected, Visitor};
use serde_json::Value;
use serde_json::map::Iter;

/// Why a row is not what its type says: the schema and the code disagree.
#[derive(Debug)]
pub struct Error(String);

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

    #[cold]
    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("expected {expected}"))
    }
}

/// A value of a row, or a whole row.
pub struct Cell<'a>(pub &'a Value);

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
            Value::Object(object) => visitor.visit_map(Columns { left: object.iter(), value: None }),
            // No statement answers lists: a JSON column is text.
            Value::Array(_) => Err(de::Error::custom("a list in a row")),
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

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        use serde::de::IntoDeserializer;
        let name = self.0.as_str().ok_or_else(|| de::Error::custom("a name was expected"))?;
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(name))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The columns of a row that are still to be read.
struct Columns<'a> {
    left: Iter<'a>,
    value: Option<&'a Value>,
}

impl<'de> MapAccess<'de> for Columns<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    // One copy for each type of field, not one for each field.
    #[inline(never)]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value without a name"))?;
        seed.deserialize(Cell(value))
    }
}

#[cfg(test)]
mod tests {
    use rs1_domain::time::{as_millis, as_optional_millis};
    use rs1_domain::{DeviceId, Role, UnixMillis};
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::sql::{flag, optional_flag};

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
        #[serde(deserialize_with = "flag")]
        online: bool,
        #[serde(deserialize_with = "optional_flag")]
        radar: Option<bool>,
        #[serde(default)]
        missing: Option<i64>,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Info,
        High,
    }

    fn row() -> Value {
        json!({
            "device_id": "3e32e97b9d6cf5e193d3a3a7e8fd9a97", "role": "admin", "name": null, "count": -3, "small": 200,
            "share": 2, "at": 1_768_903_200_000_i64, "ended_at": 5, "online": 1, "radar": null, "kind": "high", "more": 1,
        })
    }

    #[test]
    fn a_row_reads_as_serde_json_reads_it() {
        let read = Row::deserialize(Cell(&row())).unwrap();
        assert_eq!(read, serde_json::from_value(row()).unwrap());
        assert_eq!((read.role, read.online, read.kind), (Role::Admin, true, Kind::High));
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
        ] {
            let mut row = row();
            row[name] = value.clone();
            assert!(Row::deserialize(Cell(&row)).is_err(), "{name}: {value}");
        }
        let mut short = row();
        short.as_object_mut().unwrap().remove("count");
        assert!(Row::deserialize(Cell(&short)).is_err());
    }
}
