//! A type into JSON text, for little code that is quick all the same.
//!
//! It is what `serde_json` writes, byte for byte. That one takes five steps for the name of a field (comma, quote, text, quote, colon),
//! each a call in a worker that is built for size: half of what a page of fifty devices cost. Here it is one.

use std::mem;

use serde::ser::{self, Serialize};

use super::Error;

/// Writes a value.
///
/// # Errors
/// When a map has a key that is neither a text nor a number, or a type's own `Serialize` fails.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut writer = Writer { text: Vec::with_capacity(256), verbatim: false };
    value.serialize(&mut writer)?;
    String::from_utf8(writer.text).map_err(|error| Error(error.to_string()))
}

/// How `serde_json` says that a text is JSON already: by a struct of this name, with one field of this name.
const RAW: &str = "$serde_json::private::RawValue";

struct Writer {
    /// What is written so far.
    text: Vec<u8>,
    /// The next text is JSON already.
    verbatim: bool,
}

impl Writer {
    #[inline(never)]
    fn raw(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    #[inline(never)]
    fn quote(&mut self, text: &str) {
        if mem::take(&mut self.verbatim) {
            return self.raw(text);
        }
        self.text.reserve(text.len().saturating_add(2));
        self.text.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(place) = rest.iter().position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\')) {
            let Some((plain, [special, after @ ..])) = rest.split_at_checked(place) else { break };
            self.text.extend_from_slice(plain);
            self.escape(*special);
            rest = after;
        }
        self.text.extend_from_slice(rest);
        self.text.push(b'"');
    }

    #[cold]
    fn escape(&mut self, byte: u8) {
        let letter = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => {
                self.raw(r"\u00");
                self.raw(&crate::hex::encode(&[byte]));
                return;
            }
        };
        self.text.extend_from_slice(&[b'\\', letter]);
    }

    /// A comma where one is due, and the name of a struct's field: an identifier, or what stands in a `rename`.
    #[inline(never)]
    fn name(&mut self, name: &str) {
        self.text.reserve(name.len().saturating_add(4));
        self.separate();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// Makes what was written since `from` the name of a map's entry.
    fn make_name(&mut self, from: usize) -> Result<(), Error> {
        match self.text.get(from) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9') => {
                self.text.insert(from, b'"');
                self.text.push(b'"');
            }
            _ => return Err(ser::Error::custom("a map's key must be a text or a number")),
        }
        self.text.push(b':');
        Ok(())
    }

    /// A comma, except before the first of a list or an object.
    fn separate(&mut self) {
        if !matches!(self.text.last(), None | Some(b'[' | b'{')) {
            self.text.push(b',');
        }
    }

    #[inline(never)]
    fn integer(&mut self, negative: bool, mut magnitude: u64) {
        // As many digits as there are in 2^64.
        let mut digits = [0_u8; 20];
        let mut left = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = u8::try_from(magnitude % 10).unwrap_or_default().saturating_add(b'0');
            magnitude /= 10;
            left = left.saturating_sub(1);
            if magnitude == 0 {
                break;
            }
        }
        if negative {
            self.text.push(b'-');
        }
        self.text.extend_from_slice(digits.get(left..).unwrap_or_default());
    }

    /// Begins what has members; that of a variant stands in an object under the variant's name.
    fn open(&mut self, variant: Option<&str>, first: u8, end: &'static str) -> Members<'_> {
        if let Some(variant) = variant {
            self.text.push(b'{');
            self.name(variant);
        }
        self.text.push(first);
        Members { writer: self, end }
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.raw(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.integer(value < 0, value.unsigned_abs());
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.integer(false, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        // Its own shortest text: 0.1, not 0.10000000149011612.
        self.raw(&serde_json::to_string(&value)?);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.raw(&serde_json::to_string(&value)?);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.quote(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.quote(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.raw("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.text.push(b'{');
        self.name(variant);
        value.serialize(&mut *self)?;
        self.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open(None, b'[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open(None, b'[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open(None, b'[', "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Error> {
        Ok(self.open(Some(variant), b'[', "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open(None, b'{', "}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'a>, Error> {
        if name == RAW {
            self.verbatim = true;
            return Ok(Members { writer: self, end: "" });
        }
        Ok(self.open(None, b'{', "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Error> {
        Ok(self.open(Some(variant), b'{', "}}"))
    }
}

/// What is being written member by member.
struct Members<'a> {
    writer: &'a mut Writer,
    end: &'static str,
}

impl Members<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.separate();
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if !self.writer.verbatim {
            self.writer.name(name);
        }
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.raw(self.end);
    }
}

/// The traits for what has members, which say the same in words of their own.
macro_rules! members {
    ($($family:ident: $add:ident($($name:ident: $text:ty)?) => $with:ident;)*) => {$(
        impl ser::$family for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn $add<T: Serialize + ?Sized>(&mut self, $($name: $text,)? value: &T) -> Result<(), Error> {
                self.$with($($name,)? value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}
members! {
    SerializeSeq: serialize_element() => item;
    SerializeTuple: serialize_element() => item;
    SerializeTupleStruct: serialize_field() => item;
    SerializeTupleVariant: serialize_field() => item;
    SerializeStruct: serialize_field(name: &'static str) => field;
    SerializeStructVariant: serialize_field(name: &'static str) => field;
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.writer.separate();
        let from = self.writer.text.len();
        key.serialize(&mut *self.writer)?;
        self.writer.make_name(from)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::UnixMillis;

    #[derive(Serialize)]
    enum Kind {
        #[serde(rename = "plain one")]
        Plain,
        Of(i64),
        Pair(i8, char),
        Named {
            a: u8,
            b: Option<&'static str>,
        },
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Newtype(u64);

    #[derive(Serialize)]
    struct Both(bool, f32);

    #[derive(Serialize)]
    struct Everything<'a> {
        #[serde(rename = "radar-ok")]
        radar: bool,
        at: UnixMillis,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<i64>,
        none: Option<i64>,
        kinds: Vec<Kind>,
        counts: BTreeMap<u32, Vec<()>>,
        debts: BTreeMap<i16, u16>,
        units: (Unit, Newtype, Both),
        raw: &'a RawValue,
        text: &'a str,
        bytes: [u8; 3],
        #[serde(flatten)]
        more: Value,
    }

    #[test]
    fn it_is_what_serde_json_writes() {
        let raw = RawValue::from_string(r#"{ "as it is": [1.50] }"#.to_owned()).unwrap();
        let everything = Everything {
            radar: true,
            at: UnixMillis(1_768_903_200_000),
            missing: None,
            none: None,
            kinds: vec![
                Kind::Plain,
                Kind::Of(i64::MIN),
                Kind::Pair(-1, '"'),
                Kind::Named { a: 0, b: Some("[{") },
            ],
            counts: BTreeMap::from([(0, vec![]), (u32::MAX, vec![(), ()])]),
            debts: BTreeMap::from([(-7, 1)]),
            units: (Unit, Newtype(u64::MAX), Both(false, 0.1)),
            raw: &raw,
            text: "\u{0}\u{8}\t\n\u{c}\r\u{1f}\"\\/\u{7f}é\u{2028}",
            bytes: *b"abc",
            more: json!({"x": {}, "y": [[], [1e300, -0.0, 1]], "": null}),
        };
        assert_eq!(write(&everything).unwrap(), serde_json::to_string(&everything).unwrap());
        assert_eq!(write(&f64::NAN).unwrap(), "null");
        assert_eq!(write("").unwrap(), "\"\"");
    }

    #[test]
    fn a_map_whose_keys_are_no_names_is_an_error() {
        assert!(write(&BTreeMap::from([(vec![1], 1)])).is_err());
        assert!(write(&BTreeMap::from([((), 1)])).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_serde_json_writes_it(value in any_json()) {
            prop_assert_eq!(write(&value).unwrap(), value.to_string());
        }
    }
}
