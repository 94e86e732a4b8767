//! The subset of EMQX's HOCON that a configuration file of ours may use, read strictly.
//!
//! The grammar is that of the `emqx/hocon` library (`src/hocon_scanner.xrl`, `src/hocon_token.erl`,
//! `src/hocon.erl`), minus everything that has surprised people:
//!
//! - two values side by side are refused (EMQX joins them, even across a line break);
//! - a trailing comma is refused (EMQX removes them in the file it is given, but not in a file that
//!   is included, and it reads `emqx.conf` by including it);
//! - a quoted key with a dot in it is refused (EMQX splits it all the same).
//!
//! Substitutions (`${path.to.key}`, `${?optional}`) look up the whole, merged document, included
//! files and all, and never the environment: the library has no such interpolation (emqx/hocon#302).
//!
//! Every value keeps the file and line it came from, so that whoever reads the document can say
//! `emqx/emqx.conf:12: …`.

mod include;
mod lexer;
mod parser;
mod resolve;
mod units;
mod value;

pub use include::Includes;
pub use units::{bytes, duration};
pub use value::{Fault, Node, Object, Position, Value};

/// Parses `text`, the content of `file`, follows its includes and resolves its substitutions.
///
/// # Errors
/// All faults found: one for a syntax error (parsing stops there), otherwise one for each
/// substitution that cannot be resolved.
pub fn parse(file: &str, text: &str, includes: &Includes) -> Result<Object, Vec<Fault>> {
    let raw = parser::document(file, text, includes).map_err(|fault| vec![fault])?;
    resolve::resolve(&raw)
}

#[cfg(test)]
mod tests;
