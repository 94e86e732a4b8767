//! A JSON document into a type, and a type into JSON text, for little code.
//!
//! `serde_json` reads each type with code of its own for the whole of JSON, at each field anew, and a derived struct brings
//! code that finds out which field it has before it. At a hundred types that is a fourth of a worker's bundle. Here a
//! text is first read into a [`Document`] by code that all types share, and a struct then asks for its fields in their
//! order; what is made for a type is only the step from there. A document borrows what it can of its text. It is for rows of the database and for what we wrote
//! ourselves; what devices send all the time is read straight.
//!
//! A struct's field may be missing only if it says `#[serde(default)]`, an `Option` too; a field that the struct does not
//! know is passed over. Enums are tagged from outside, as serde does it by itself; `flatten` and tags inside work and
//! bring back much of what is saved here.

mod writer;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::slice;

use litemap::LiteMap;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::{Deserialize, Serialize, Serializer, ser};
use serde_json::Value;

pub use writer::write;

/// Why a document is not what its type says, or cannot be written.
#[derive(Debug)]
pub struct Error(String);

/// Reads a text.
///
/// # Errors
/// When it is not JSON, or not a `T`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    Document::parse(text)?.read()
}

/// The names of an object's entries. The rows of a table have theirs in common.
type Names<'a> = Rc<Vec<Cow<'a, str>>>;

/// A text, parsed; or a part of it.
pub enum Document<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Real(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Self>),
    /// An object, in the order of the text.
    Object(Names<'a>, Vec<Self>),
}

impl<'a> Document<'a> {
    /// Parses a text.
    ///
    /// # Errors
    /// When it is not JSON.
    #[inline(never)]
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text)?)
    }

    /// The rows of a table: objects as they are, or lists after one with the names of their columns.
    ///
    /// # Errors
    /// When it is something else.
    pub fn into_rows(self) -> Result<Vec<Self>, Error> {
        let bad = || Error("no rows".to_owned());
        let Self::List(rows) = self else { return Err(bad()) };
        if !matches!(rows.first(), Some(Self::List(_))) {
            return Ok(rows);
        }
        let mut lists =
            rows.into_iter().map(|row| if let Self::List(row) = row { Ok(row) } else { Err(bad()) });
        let text = |name| if let Self::Text(name) = name { Ok(name) } else { Err(bad()) };
        let names = lists.next().ok_or_else(bad)??.into_iter().map(text).collect::<Result<_, _>>()?;
        let names: Names<'a> = Rc::new(names);
        lists.map(|values| Ok(Self::Object(Rc::clone(&names), values?))).collect()
    }

    /// Reads it as a type.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(Cell(self))
    }
}

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

/// Takes in whatever there is.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Document<'de>, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document<'de>, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document<'de>, E> {
        Ok(Document::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document<'de>, E> {
        Ok(i64::try_from(value).map_or(Document::Real(value as f64), Document::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document<'de>, E> {
        Ok(Document::Real(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Document<'de>, E> {
        Ok(Document::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Document<'de>, E> {
        Ok(Document::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Document<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Document::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Document<'de>, A::Error> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        while let Some(name) = from.next_key()? {
            let Document::Text(name) = name else { return Err(de::Error::custom("a name that is no text")) };
            names.push(name);
            values.push(from.next_value()?);
        }
        Ok(Document::Object(Rc::new(names), values))
    }
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
    Ok(serde_json::from_str(text)?)
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl ser::Error for Error {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

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

/// A document on its way into a type.
struct Cell<'a>(&'a Document<'a>);

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Document::Null => visitor.visit_unit(),
            Document::Bool(value) => visitor.visit_bool(*value),
            Document::Int(value) => visitor.visit_i64(*value),
            Document::Real(value) => visitor.visit_f64(*value),
            Document::Text(text) => visitor.visit_borrowed_str(text),
            Document::List(items) => visitor.visit_seq(Items(items.iter())),
            Document::Object(names, values) => visitor.visit_map(Entries::of(names, values)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.0, Document::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
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
        let Document::Object(has, values) = self.0 else {
            return Err(de::Error::custom("expected an object"));
        };
        visitor.visit_seq(Fields { has, values, wants: names.iter(), next: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Document::Text(name) => visitor.visit_enum(de::value::BorrowedStrDeserializer::new(name)),
            Document::Object(names, values) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries::of(names, values)))
            }
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
    has: &'a [Cow<'a, str>],
    values: &'a [Document<'a>],
    wants: slice::Iter<'static, &'static str>,
    /// Where the next field probably is: a row's columns are mostly in the order of its struct.
    next: usize,
}

impl<'a> Fields<'a> {
    #[inline(never)]
    fn find(&mut self) -> Option<&'a Document<'a>> {
        let name = *self.wants.next()?;
        let is_it = |has: &Cow<'_, str>| has == name;
        let place = if self.has.get(self.next).is_some_and(is_it) {
            self.next
        } else {
            self.has.iter().position(is_it)?
        };
        self.next = place.saturating_add(1);
        self.values.get(place)
    }
}

impl<'de> SeqAccess<'de> for Fields<'de> {
    type Error = Error;

    // One copy for each type of field, not one for each field.
    #[inline(never)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.find().map(|value| seed.deserialize(Cell(value))).transpose()
    }
}

/// The items of a list.
struct Items<'a>(slice::Iter<'a, Document<'a>>);

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
    names: slice::Iter<'a, Cow<'a, str>>,
    values: slice::Iter<'a, Document<'a>>,
}

impl<'a> Entries<'a> {
    fn of(names: &'a [Cow<'a, str>], values: &'a [Document<'a>]) -> Self {
        Self { names: names.iter(), values: values.iter() }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.next() else { return Ok(None) };
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    #[inline(never)]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.values.next().ok_or_else(|| Error("a value without a name".to_owned()))?;
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
        let read: Row = super::read(&row().to_string()).unwrap();
        assert_eq!(read, serde_json::from_value(row()).unwrap());
        assert_eq!((read.role, read.missing, read.absent.len()), (Role::Admin, None, 0));
        let escaped =
            row().to_string().replace("\"count\"", "\"c\\u006funt\"").replace("\"p\"", "\"\\u0070\"");
        assert_eq!(super::read::<Row>(&escaped).unwrap(), read, "names and texts may be escaped");
        let large: (f64, i64) = super::read("[18446744073709551615, -9223372036854775808]").unwrap();
        assert_eq!(large, (18_446_744_073_709_551_615.0, i64::MIN));
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
            assert!(read::<Row>(&row.to_string()).is_err(), "{name}: {value}");
        }
        assert!(read::<Row>("{").is_err());
        assert!(read::<Row>("[]").is_err());
    }

    #[test]
    fn a_field_may_be_missing_only_if_it_says_so() {
        for name in ["device_id", "name", "count", "ended_at", "radar-ok", "inner", "whatever"] {
            let mut short = row();
            short.as_object_mut().unwrap().remove(name);
            let error = read::<Row>(&short.to_string()).unwrap_err().to_string();
            assert!(error.contains("missing") && error.contains("struct Row"), "{name}: {error}");
        }
    }
}
