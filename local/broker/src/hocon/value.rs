//! Values of a HOCON document with the place each was written at.

use std::fmt;
use std::sync::Arc;

/// A file and a line in it, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file's name as it was given, or as the include named it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something wrong in a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it was written.
    pub at: Position,
    /// What is wrong, for the person who wrote it.
    pub what: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(at: &Position, what: impl Into<String>) -> Self {
        Self { at: at.clone(), what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// A value and the place it was written at.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value (for a field: its key) stands.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// A value of a resolved document.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string, quoted or not: durations, sizes and percentages are strings to HOCON too.
    Text(String),
    /// `[…]`.
    Array(Vec<Node>),
    /// `{…}`.
    Object(Object),
}

impl Value {
    /// What it is, for an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// An object: its fields in the order they were first written, each name once.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Where the object begins.
    pub at: Position,
    /// Field names and values.
    pub fields: Vec<(String, Node)>,
}

impl Object {
    /// The field of that name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }
}
