//! The words in which workers describe their routes, and the OpenAPI 3.1 document made of them.
//!
//! - [`Operation`]: what one method of one path takes and answers, with an example of each;
//! - [`document`](document()): all operations as one document;
//! - [`sample`]: values for the examples.
//!
//! An answer is described by a value of its type: the schema is derived from the type, the example is what the type writes. A
//! problem's example is what a handler would answer. So the document says what the code does, or does not compile.
//!
//! Native builds only: a worker has its descriptions behind the feature `schema`, and no bundle has it.

mod document;
mod operation;
pub mod sample;

pub use document::document;
pub use operation::{Caller, Host, Operation, Reason, Tag};

/// JSON of a value, for examples.
fn json_of<T: serde::Serialize + ?Sized>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
