//! D1: a list of statements in, their outcomes out, each way as one text.
//!
//! One statement runs by itself, several as a D1 batch, which is a transaction: all or nothing. The
//! runtime repeats reads that fail on the way; writes are not repeated here, since a lost connection can hide a
//! commit. Whoever writes makes it safe to repeat, and repeats it.

use js_sys::{Promise, Uint8Array};
use rs1_domain::json;
use rs1_domain::port::{Database, Outcome, Param, PortError, Reader, Statement};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/d1.js")]
extern "C" {
    /// A promise of the outcomes: for each statement a line with its `changes` and one with its rows.
    fn batch(env: &Env, binding: &str, statements: &str) -> Promise;
    /// The same for one statement that changes nothing. Its rows are lists, after one with the names of their columns: a name
    /// crosses once, and nobody on the way makes an object of a row.
    fn read(env: &Env, binding: &str, statements: &str) -> Promise;
    /// A promise of the bookmark of now.
    fn bookmark(env: &Env, binding: &str) -> Promise;
}

/// A D1 database.
#[derive(Clone, Copy, Debug)]
pub struct D1<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> D1<'a> {
    /// The database bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }
}

impl Database for D1<'_> {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |cause: String| {
            let names = statements.iter().map(|statement| statement.name).collect::<Vec<_>>().join(", ");
            PortError { operation: format!("d1 {names}"), cause }
        };
        let parts = statements.iter().map(|statement| (statement.sql, statement.params.as_slice()));
        let packed = pack(parts).map_err(|error| failed(error.to_string()))?;
        let reads = statements.iter().all(|statement| only_reads(statement.sql));
        let ask = if reads && statements.len() == 1 { read } else { batch };
        let promise = ask(self.env, self.binding, &packed);
        // Nothing is lost if a read is given up with the client that wanted it.
        let outcomes = if reads { task::read(&promise).await } else { task::wait(&promise).await };
        let outcomes = outcomes.map_err(failed)?;
        unpack(&text_of(&outcomes), statements.len())
            .ok_or_else(|| failed("the outcomes cannot be read".into()))
    }
}

impl Reader for D1<'_> {
    async fn read(&self, sql: &str, params: &[Param]) -> Result<Outcome, PortError> {
        let failed = |cause: String| PortError { operation: "d1 read".into(), cause };
        let packed = pack(std::iter::once((sql, params))).map_err(|error| failed(error.to_string()))?;
        let outcome = task::read(&read(self.env, self.binding, &packed)).await.map_err(failed)?;
        unpack(&text_of(&outcome), 1)
            .and_then(|outcomes| outcomes.into_iter().next())
            .ok_or_else(|| failed("the outcome cannot be read".into()))
    }

    async fn bookmark(&self) -> Result<String, PortError> {
        let failed = |cause: String| PortError { operation: "d1 bookmark".into(), cause };
        let bookmark = task::read(&bookmark(self.env, self.binding)).await.map_err(failed)?;
        bookmark.as_string().ok_or_else(|| failed("there is none".into()))
    }
}

/// Whether a statement changes nothing: a SELECT, after the comment with its name. A `WITH` may end in an INSERT.
fn only_reads(sql: &str) -> bool {
    let sql = sql.trim_start();
    let sql = sql.strip_prefix("/*").and_then(|rest| rest.split_once("*/")).map_or(sql, |(_name, sql)| sql);
    sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
}

/// The largest magnitude up to which every integer is a JavaScript number: 2^53.
const LARGEST: u64 = 1 << 53;

/// The statements as JSON: `[[sql, value, …], …]`.
fn pack<'a>(statements: impl Iterator<Item = (&'a str, &'a [Param])>) -> Result<String, json::Error> {
    struct Packed<'a>(&'a str, &'a [Param]);
    impl Serialize for Packed<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut values = serializer.serialize_seq(None)?;
            values.serialize_element(self.0)?;
            for (index, param) in self.1.iter().enumerate() {
                match param {
                    Param::Null => values.serialize_element(&())?,
                    Param::Int(value) if value.unsigned_abs() <= LARGEST => {
                        values.serialize_element(value)?;
                    }
                    Param::Real(value) if value.is_finite() => values.serialize_element(value)?,
                    Param::Text(value) => values.serialize_element(value)?,
                    Param::Int(value) => {
                        return Err(out_of_range(index, &format!("{value} is beyond ±2^53")));
                    }
                    // Spelled out, because writing down any number would bring 12 KB of code.
                    Param::Real(value) if value.is_nan() => {
                        return Err(out_of_range(index, "NaN is not finite"));
                    }
                    Param::Real(_) => return Err(out_of_range(index, "inf is not finite")),
                }
            }
            values.end()
        }
    }
    fn out_of_range<E: serde::ser::Error>(index: usize, why: &str) -> E {
        E::custom(format!("?{}: {why}", index.saturating_add(1)))
    }
    json::write(&statements.map(|(sql, params)| Packed(sql, params)).collect::<Vec<_>>())
}

/// A text that comes as what it is, or as its bytes.
fn text_of(crossed: &JsValue) -> String {
    let bytes = || String::from_utf8(crossed.unchecked_ref::<Uint8Array>().to_vec()).unwrap_or_default();
    crossed.as_string().unwrap_or_else(bytes)
}

/// Reads the packed outcomes; JSON text has no line breaks in it.
fn unpack(text: &str, count: usize) -> Option<Vec<Outcome>> {
    let mut lines = text.split('\n');
    let outcomes = (0..count).map(|_| {
        let changes = lines.next()?.parse().ok()?;
        Some(Outcome { rows_json: lines.next()?.to_owned(), changes })
    });
    outcomes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cross_as_json() {
        let params = [
            Param::Null,
            Param::Int(-9_007_199_254_740_992),
            Param::Real(0.1),
            Param::Text("a\"\n\0é".into()),
        ];
        assert_eq!(
            pack([("SELECT ?1", &params[..]), ("SELECT ?1", &[])].into_iter()).unwrap(),
            r#"[["SELECT ?1",null,-9007199254740992,0.1,"a\"\n\u0000é"],["SELECT ?1"]]"#
        );
    }

    #[test]
    fn numbers_that_javascript_has_not_are_refused() {
        for (param, says) in [
            (Param::Int(9_007_199_254_740_993), "?2: 9007199254740993 is beyond ±2^53"),
            (Param::Int(i64::MIN), "?2: -9223372036854775808 is beyond ±2^53"),
            (Param::Real(f64::NAN), "?2: NaN is not finite"),
            (Param::Real(f64::INFINITY), "?2: inf is not finite"),
        ] {
            let error = pack(std::iter::once(("SELECT ?1", &[Param::Null, param][..]))).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
    }

    #[test]
    fn only_a_select_is_known_to_read_only() {
        for sql in ["SELECT 1", "/* one */\n    SELECT 1", "  /* one */select 1"] {
            assert!(only_reads(sql), "{sql}");
        }
        for sql in [
            "",
            "/* one */",
            "INSERT INTO t SELECT 1",
            "/* SELECT */ DELETE FROM t",
            "WITH a AS (SELECT 1) DELETE FROM t",
        ] {
            assert!(!only_reads(sql), "{sql}");
        }
    }

    #[test]
    fn outcomes_come_back_a_pair_of_lines_each() {
        assert_eq!(
            unpack("0\n[{\"a\":1}]\n2\n[]", 2),
            Some(vec![
                Outcome { rows_json: "[{\"a\":1}]".into(), changes: 0 },
                Outcome { rows_json: "[]".into(), changes: 2 },
            ])
        );
        assert_eq!(unpack("0\n[]", 2), None);
        assert_eq!(unpack("x\n[]", 1), None);
    }
}
