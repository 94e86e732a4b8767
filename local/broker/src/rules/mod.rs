//! The rule engine: events in, selected data out (`emqx_rule_engine`).
//!
//! A rule's SQL is parsed once, when the configuration is read. For each event, every rule that
//! listens to it selects its data and hands it to its actions; a rule that fails (`json_decode` of
//! something that is not JSON) hands on nothing and counts a failure.

mod engine;
mod eval;
mod event;
mod guid;
mod sql;
mod term;

pub use engine::{Engine, Sink};
pub use event::{ClientEvent, Connected, Disconnected, Event, Kind, Message, Properties};
pub use guid::Guids;
pub use sql::{Statement, parse as parse_sql};
pub use term::Term;
