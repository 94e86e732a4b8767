//! Values that rules work on: Erlang terms, as far as a rule can tell them apart.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;

/// A value in an event or in what a rule selected.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// The atom `undefined`: no such column, or nothing in it. In JSON it is the *string*.
    Undefined,
    /// `null`, which only JSON text can bring in.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// An atom, or a binary that is known to be UTF-8.
    Text(String),
    /// A binary of any bytes: a payload.
    Binary(Bytes),
    /// A list.
    List(Vec<Term>),
    /// A map.
    Map(BTreeMap<String, Term>),
}

impl Term {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Text, or `undefined`.
    pub fn optional(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Undefined, |text| Self::Text(text.into()))
    }

    /// A map of texts.
    pub fn texts(texts: &BTreeMap<String, String>) -> Self {
        Self::Map(texts.iter().map(|(name, value)| (name.clone(), Self::text(value))).collect())
    }

    /// The value as EMQX encodes it to JSON (`emqx_utils_json:encode/1`): `undefined` becomes a
    /// string, and bytes that are not UTF-8 become U+FFFD.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Undefined => Json::from("undefined"),
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::from(*flag),
            Self::Integer(number) => Json::from(*number),
            Self::Float(number) => Json::from(*number),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Binary(bytes) => Json::from(String::from_utf8_lossy(bytes)),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(fields) => {
                Json::Object(fields.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }

    /// The value put raw into a body template: text as it is, maps and lists as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Self::Undefined => "undefined".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => other.to_json().to_string(),
        }
    }

    /// What stands at `path` below this value. Text on the way is read as JSON if it is JSON
    /// (`emqx_jsonish`).
    #[must_use]
    pub fn at(&self, path: &[String]) -> Self {
        let Some((first, rest)) = path.split_first() else { return self.clone() };
        match self {
            Self::Map(fields) => fields.get(first).map_or(Self::Undefined, |value| value.at(rest)),
            Self::Text(_) | Self::Binary(_) => {
                self.decode().map_or(Self::Undefined, |decoded| match decoded {
                    Self::Map(_) => decoded.at(path),
                    _ => Self::Undefined,
                })
            }
            _ => Self::Undefined,
        }
    }

    /// Puts `value` at `path`, making maps on the way.
    pub fn put(fields: &mut BTreeMap<String, Self>, path: &[String], value: Self) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            fields.insert(first.clone(), value);
            return;
        }
        let inner = fields.entry(first.clone()).or_insert(Self::Undefined);
        if !matches!(inner, Self::Map(_)) {
            *inner = Self::Map(BTreeMap::new());
        }
        if let Self::Map(inner) = inner {
            Self::put(inner, rest, value);
        }
    }

    /// Text that is JSON, as a value; `None` if it is not.
    pub fn decode(&self) -> Option<Self> {
        let json: Json = match self {
            Self::Text(text) => serde_json::from_str(text).ok()?,
            Self::Binary(bytes) => serde_json::from_slice(bytes).ok()?,
            _ => return None,
        };
        Some(Self::from(json))
    }
}

impl From<Json> for Term {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(flag),
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Self::Float(number.as_f64().unwrap_or_default()), Self::Integer),
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
        }
    }
}
