//! Rows out of outcomes, and pages out of rows.

use std::fmt::Display;

use rs1_domain::json::Document;
use rs1_domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use rs1_domain::port::{Database, Outcome, PortError, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Decodes the rows of one outcome.
///
/// # Errors
/// When a row is not a `T`: the schema and the code disagree.
pub fn rows<T: DeserializeOwned>(outcome: &Outcome) -> Result<Vec<T>, PortError> {
    let found = parse(outcome)?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        rows.push(row.read().map_err(|error| undecodable(&error))?);
    }
    Ok(rows)
}

fn parse(outcome: &Outcome) -> Result<Vec<Document<'_>>, PortError> {
    Document::parse(&outcome.rows_json).and_then(Document::into_rows).map_err(|error| undecodable(&error))
}

#[cold]
fn undecodable(why: &dyn Display) -> PortError {
    PortError::new("decode rows", why.to_string())
}

/// Decodes the only row of one outcome, if there is one.
///
/// # Errors
/// As [`rows`].
pub fn first_row<T: DeserializeOwned>(outcome: &Outcome) -> Result<Option<T>, PortError> {
    let found = parse(outcome)?;
    found.first().map(|row| row.read().map_err(|error| undecodable(&error))).transpose()
}

/// Runs a fixed number of statements as one transaction and answers exactly as many outcomes.
///
/// # Errors
/// As [`Database::batch`]; also when the database answers another number of outcomes.
pub async fn run<const N: usize>(
    db: &impl Database,
    statements: [Statement; N],
) -> Result<[Outcome; N], PortError> {
    let name = statements.first().map_or("nothing", |statement| statement.name);
    let outcomes = db.batch(statements.into()).await?;
    let count = outcomes.len();
    outcomes
        .try_into()
        .map_err(|_| PortError::new(format!("d1 {name}"), format!("{count} outcomes for {N} statements")))
}

/// A SQLite truth value: 0 or 1, which JSON shows as a number.
///
/// # Errors
/// When there is no number.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(f64::deserialize(deserializer)? != 0.0)
}

/// As [`flag`], where it may be null.
///
/// # Errors
/// When there is something else.
pub fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|value| value != 0.0))
}

/// What part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items, 1 to [`PAGE_MAX`].
    pub limit: u32,
    /// The key of the last item seen; the page begins after it.
    pub after: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: PAGE_DEFAULT, after: None }
    }
}

impl PageRequest {
    /// How many rows to select: one more than the page holds, to see whether another page follows.
    pub fn rows(&self) -> u32 {
        self.limit.min(PAGE_MAX).saturating_add(1)
    }
}

/// One page of a list.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "{T}Page"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to ask the next page with; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page out of the rows that [`PageRequest::rows`] asked for.
    pub fn of(mut rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(request.limit.min(PAGE_MAX)).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(key);
        Self { items: rows, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whether_another_follows() {
        let request = PageRequest { limit: 2, after: None };
        assert_eq!(request.rows(), 3);
        let page = Page::of(vec![1, 2, 3], &request, ToString::to_string);
        assert_eq!((page.items, page.next_cursor.as_deref()), (vec![1, 2], Some("2")));
        let page = Page::of(vec![1, 2], &request, ToString::to_string);
        assert_eq!((page.items, page.next_cursor), (vec![1, 2], None));
        let page = Page::of(Vec::<i32>::new(), &request, ToString::to_string);
        assert_eq!((page.items, page.next_cursor), (vec![], None));
    }
}
