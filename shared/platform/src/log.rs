//! Log lines: one JSON object an event, the same fields in the same order everywhere.
//!
//! A request: `{ts, level, worker, request_id, method, route, status, duration_ms, log?}`. A job (a
//! batch of a queue, a cron trigger): `{ts, level, worker, request_id, event, outcome, duration_ms, log?}`.

use rs1_domain::UnixMillis;
use rs1_domain::json;
use serde::Serialize;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = log)]
    fn console_log(line: &str);
    #[wasm_bindgen(js_namespace = console, js_name = warn)]
    fn console_warn(line: &str);
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(line: &str);
}

/// Most bytes of a note; the rest is cut off. One event may log 256 KB in all.
const NOTE_BYTES: usize = 8_192;

/// How serious a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Info,
    /// The caller's fault, or something that will be tried again.
    Warn,
    /// Our fault.
    Error,
}

impl Level {
    /// The level of a request that was answered with `status`.
    pub fn of_status(status: u16) -> Self {
        match status {
            ..400 => Self::Info,
            400..500 => Self::Warn,
            500.. => Self::Error,
        }
    }

    /// The level's name, as it stands in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The line of a request.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the module says what the fields are")]
pub struct RequestLine<'a> {
    pub ts: UnixMillis,
    pub level: Level,
    pub worker: &'a str,
    pub request_id: &'a str,
    pub method: &'a str,
    pub route: &'a str,
    pub status: u16,
    pub duration_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<&'a str>,
}

/// The line of a job.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the module says what the fields are")]
pub struct JobLine<'a> {
    pub ts: UnixMillis,
    pub level: Level,
    pub worker: &'a str,
    pub request_id: &'a str,
    /// `queue rs1-telemetry` or `cron 0 * * * *`.
    pub event: &'a str,
    /// What became of it, in a few words.
    pub outcome: &'a str,
    pub duration_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<&'a str>,
}

impl RequestLine<'_> {
    /// The line's text: one JSON object without a newline.
    pub fn text(&self) -> String {
        json::write(&Self { log: self.log.map(cut), ..*self }).unwrap_or_default()
    }
}

impl JobLine<'_> {
    /// The line's text: one JSON object without a newline.
    pub fn text(&self) -> String {
        json::write(&Self { log: self.log.map(cut), ..*self }).unwrap_or_default()
    }

    /// Writes the line to the log.
    pub fn write(&self) {
        let text = self.text();
        match self.level {
            Level::Info => console_log(&text),
            Level::Warn => console_warn(&text),
            Level::Error => console_error(&text),
        }
    }
}

/// The note, cut between two characters where it is too long.
fn cut(note: &str) -> &str {
    note.get(..note.floor_char_boundary(NOTE_BYTES)).unwrap_or(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_one_json_object_on_one_line() {
        let line = RequestLine {
            ts: UnixMillis(1_768_903_200_000),
            level: Level::of_status(503),
            worker: "telemetry",
            request_id: "req-7",
            method: "POST",
            route: "/webhook/acl",
            status: 503,
            duration_ms: 4,
            log: Some("d1 \"devices\":\nlost"),
        };
        assert_eq!(
            line.text(),
            "{\"ts\":\"2026-01-20T10:00:00Z\",\"level\":\"error\",\"worker\":\"telemetry\",\"request_id\":\"req-7\",\
             \"method\":\"POST\",\"route\":\"/webhook/acl\",\"status\":503,\"duration_ms\":4,\
             \"log\":\"d1 \\\"devices\\\":\\nlost\"}"
        );
        assert!(!RequestLine { log: None, ..line }.text().contains("log"));
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = format!("x{}", "é".repeat(NOTE_BYTES));
        let line = JobLine {
            ts: UnixMillis(0),
            level: Level::Info,
            worker: "ota",
            request_id: "req-7",
            event: "cron * * * * *",
            outcome: "ok",
            duration_ms: 0,
            log: Some(&note),
        };
        let value: serde_json::Value = serde_json::from_str(&line.text()).unwrap();
        assert_eq!(value["log"].as_str().unwrap().len(), NOTE_BYTES - 1);
    }

    #[test]
    fn levels_follow_whose_fault_it_is() {
        for (status, level) in [
            (200, Level::Info),
            (304, Level::Info),
            (404, Level::Warn),
            (429, Level::Warn),
            (500, Level::Error),
        ] {
            assert_eq!(Level::of_status(status), level, "{status}");
        }
    }
}
