//! One list in three forms: a JSON page, NDJSON, CSV. In the latter two the way to the next page stands in a `Link` header (RFC
//! 8288), since there is nowhere else for it.

use rs1_api::format::{Format, next_link};
use rs1_domain::http::{CSV, NDJSON};
use rs1_domain::json;
use rs1_domain::{Answer, Problem, Request};
use serde::Serialize;

/// A thing of a list, which is one or more rows of a table.
pub trait Tabled: Serialize {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];

    /// Hands each row's cells to `row`.
    fn rows(&self, row: &mut dyn FnMut(&[String]));
}

/// A page as one JSON document.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "{H}Of{T}"))]
#[derive(Serialize)]
pub struct Document<'a, H, T> {
    /// What is said before the items.
    #[serde(flatten)]
    pub head: &'a H,
    /// The items.
    pub items: &'a [T],
    /// What to ask the next page with; null on the last one.
    pub next_cursor: Option<&'a str>,
}

/// The answer of a page. `head` are the fields that a JSON document has before its items.
///
/// # Errors
/// When something cannot be written, which these types always can.
pub fn page<T: Tabled>(
    request: &Request,
    head: &impl Serialize,
    items: &[T],
    next_cursor: Option<&str>,
) -> Result<Answer, Problem> {
    let answer = match Format::of(request) {
        Format::Json => Answer::json(200, &Document { head, items, next_cursor }),
        Format::Ndjson => {
            let mut body = String::new();
            for item in items {
                let line = json::write(item).map_err(|error| Problem::internal(error.to_string()))?;
                body.push_str(&line);
                body.push('\n');
            }
            Answer::text(200, NDJSON, body)
        }
        Format::Csv => {
            let mut body = T::COLUMNS.join(",") + "\r\n";
            for item in items {
                item.rows(&mut |cells| {
                    let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
                    body.push_str(&cells.join(","));
                    body.push_str("\r\n");
                });
            }
            Answer::text(200, CSV, body)
        }
    };
    let answer = answer.with_header("vary", "accept");
    Ok(match next_cursor {
        Some(cursor) => answer.with_header("link", next_link(request, cursor)),
        None => answer,
    })
}

/// A cell as RFC 4180 has it. A spreadsheet takes text that begins like a formula for one, so that is set off with an apostrophe.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '@', '\t', '\r'])
        || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_in_their_columns_and_are_no_formulas() {
        for (cell, written) in [
            ("plain", "plain"),
            ("-12.5", "-12.5"),
            ("a,b", "\"a,b\""),
            ("say \"x\"\n", "\"say \"\"x\"\"\n\""),
            ("=1+1", "'=1+1"),
            ("-cmd,", "\"'-cmd,\""),
            ("@x", "'@x"),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), written, "{cell:?}");
        }
    }
}
