//! A request and an answer as plain values, so that every route can be run without a runtime.
//!
//! `rs1-platform` reads a [`Request`] out of the runtime in two crossings (head, body) and writes
//! an [`Answer`] back in one; handlers in between see ordinary Rust.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;

use crate::problem::Problem;
use crate::{RequestId, UnixMillis, json};

/// The methods our routes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "RFC 9110 §9.3 says what each is")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// Anything else; no route takes it.
    Other,
}

impl Method {
    /// The method of a request line. Methods are case-sensitive (RFC 9110 §9.1).
    pub fn parse(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// The method as it stands in an `Allow` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "OTHER",
        }
    }
}

/// A request, with the headers that the worker declared it reads and a body read under a cap.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as sent, percent-encoding untouched, without the query: `/api/admin/devices`.
    pub path: String,
    /// The query as sent, without `?`; empty when there is none.
    pub query: String,
    /// Declared headers that were present: name in lower case, value.
    pub headers: Vec<(&'static str, String)>,
    /// The body, at most the route's limit; empty when there is none.
    pub body: Vec<u8>,
    /// When the request arrived.
    pub now: UnixMillis,
    /// The id that logs, problems and the `X-Request-Id` header carry.
    pub request_id: RequestId,
}

impl Request {
    /// The value of a declared header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The first query parameter of that name, percent-decoded; `None` if absent or not UTF-8.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        self.query_parameters().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All query parameters in order, percent-decoded (`application/x-www-form-urlencoded`:
    /// `+` is a space). Pairs that are not UTF-8 are left out.
    pub fn query_parameters(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(key)?, percent_decode(value)?))
        })
    }

    /// The path's segments between slashes: `/api/health` gives `["api", "health"]`.
    ///
    /// A trailing slash gives a last empty segment, so `/api/health/` is another path.
    pub fn segments(&self) -> Vec<&str> {
        self.path.strip_prefix('/').unwrap_or(&self.path).split('/').collect()
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let [value] = crate::hex::decode::<1>(std::str::from_utf8(&pair).ok()?)?;
                value
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A body that is passed on without being read: a file on its way out of a bucket. What is inside is between the port that
/// opened it and the platform that sends it; a handler can only pass it on.
#[derive(Clone)]
pub struct Stream(Rc<dyn Any>);

impl Stream {
    /// Wraps whatever the platform sends from.
    pub fn new(source: impl Any) -> Self {
        Self(Rc::new(source))
    }

    /// What was wrapped, if it is of that type.
    pub fn source<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl PartialEq for Stream {
    /// One and the same stream.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stream {}

/// What a handler answers: status, headers and a body, in memory or out of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Value of `Content-Type`; `None` for an answer without a body.
    pub content_type: Option<&'static str>,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body as text; every body that this system composes is JSON or text.
    pub body: String,
    /// The body instead of `body`, where it is one that is passed on unread.
    pub stream: Option<Stream>,
    /// What the log line should say beyond status and route; never sent to the caller.
    pub log: Option<String>,
}

/// `application/json`.
pub const JSON: &str = "application/json";
/// `application/problem+json` (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// `application/x-ndjson`: one JSON value a line.
pub const NDJSON: &str = "application/x-ndjson";

/// `text/csv` (RFC 4180), in UTF-8, its first line a header.
pub const CSV: &str = "text/csv; charset=utf-8; header=present";

/// `text/html`, in UTF-8.
pub const HTML: &str = "text/html; charset=utf-8";
/// `application/atom+xml` (RFC 4287), in UTF-8.
pub const ATOM: &str = "application/atom+xml; charset=utf-8";
/// Prometheus' text format.
pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content types of every body that our workers compose.
pub const CONTENT_TYPES: [&str; 7] = [JSON, PROBLEM_JSON, NDJSON, CSV, HTML, ATOM, METRICS];

impl Answer {
    /// An answer with a JSON body.
    pub fn json<T: Serialize + ?Sized>(status: u16, body: &T) -> Self {
        match json::write(body) {
            Ok(body) => Self::text(status, JSON, body),
            // Our types have string keys and finite numbers, so this cannot happen; if it does, the
            // caller learns nothing and the log learns why.
            Err(error) => {
                Self { log: Some(format!("answer: {error}")), ..Self::text(500, JSON, "{}".into()) }
            }
        }
    }

    /// An answer with a body that is text already.
    pub fn text(status: u16, content_type: &'static str, body: String) -> Self {
        let (headers, stream, log) = (Vec::new(), None, None);
        Self { status, content_type: Some(content_type), headers, body, stream, log }
    }

    /// An answer with a body that is passed on unread.
    pub fn streamed(status: u16, content_type: &'static str, stream: Stream) -> Self {
        Self { stream: Some(stream), ..Self::text(status, content_type, String::new()) }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        let (headers, body) = (Vec::new(), String::new());
        Self { status, content_type: None, headers, body, stream: None, log: None }
    }

    /// The same answer with one more header; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same answer with a note for the log line.
    #[must_use]
    pub fn with_log(mut self, note: impl Into<String>) -> Self {
        self.log = Some(note.into());
        self
    }

    /// The RFC 9457 document of `problem`, for the request of that id.
    pub fn problem(problem: Problem, request_id: &RequestId) -> Self {
        problem.into_answer(request_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request {
        Request {
            method: Method::Get,
            path: "/api/health".into(),
            query: query.into(),
            headers: vec![("accept", "application/json".into())],
            body: Vec::new(),
            now: UnixMillis(0),
            request_id: RequestId::from_header("r-1").unwrap(),
        }
    }

    #[test]
    fn query_parameters_are_percent_decoded() {
        let request = request("q=living+room%20%C3%A9&limit=10&&flag&bad=%zz");
        assert_eq!(request.query_parameter("q").as_deref(), Some("living room é"));
        assert_eq!(request.query_parameter("limit").as_deref(), Some("10"));
        assert_eq!(request.query_parameter("flag").as_deref(), Some(""));
        assert_eq!(request.query_parameter("bad"), None);
        assert_eq!(request.query_parameter("other"), None);
    }

    #[test]
    fn a_trailing_slash_is_another_path() {
        let mut request = request("");
        assert_eq!(request.segments(), ["api", "health"]);
        request.path = "/api/health/".into();
        assert_eq!(request.segments(), ["api", "health", ""]);
        request.path = "/".into();
        assert_eq!(request.segments(), [""]);
    }
}
