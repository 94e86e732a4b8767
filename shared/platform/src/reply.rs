//! An answer, its log line and its analytics point, packed as the one text that crosses to JavaScript.
//!
//! The text is lines: status, level, log line, index, five blobs, duration, request id, content type, then a name and a value
//! for each further header. The other side adds what every answer has. The body crosses beside it, untouched.

use rs1_domain::http::Stream;
use rs1_domain::{Answer, Method, RequestId, UnixMillis, json};

use crate::analytics::Point;
use crate::log::{Level, RequestLine};

/// What is known of a request besides its answer.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The worker's name.
    pub worker: &'a str,
    /// The deployment's environment.
    pub environment: &'a str,
    /// The method.
    pub method: Method,
    /// The route's pattern.
    pub route: &'a str,
    /// The request's id.
    pub request_id: &'a RequestId,
    /// The data centre.
    pub colo: &'a str,
    /// When the request arrived.
    pub started: UnixMillis,
    /// When the answer was ready.
    pub ended: UnixMillis,
}

/// What crosses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The lines.
    pub packed: String,
    /// The body; `None` where there must be none, or where it is a stream.
    pub body: Option<String>,
    /// The body that is passed on unread.
    pub stream: Option<Stream>,
}

impl Reply {
    /// Packs `answer`.
    ///
    /// To what answers `GET` or `HEAD` the other side adds `X-Content-Type-Options: nosniff`, and `Cache-Control: no-store` unless
    /// the answer says otherwise.
    /// A header whose name or value cannot stand in HTTP is left out, and a status that is not
    /// one (200 to 599) becomes 500; both are noted in the log.
    pub fn pack(answer: Answer, about: About<'_>) -> Self {
        let Answer { status: wanted, content_type, headers, body, stream, mut log } = answer;
        let mut note = |text: String| match &mut log {
            Some(log) => {
                log.push_str("; ");
                log.push_str(&text);
            }
            None => log = Some(text),
        };
        let status = if (200..600).contains(&wanted) { wanted } else { 500 };
        if status != wanted {
            note(format!("no such status: {wanted}"));
        }
        let mut header_lines = String::new();
        for (name, value) in &headers {
            if is_name(name) && is_value(value) {
                for text in [*name, value] {
                    header_lines.push('\n');
                    header_lines.push_str(text);
                }
            } else {
                note(format!("left out header {name:?}: {value:?}"));
            }
        }

        let level = Level::of_status(status);
        let duration_ms = about.ended.since(about.started);
        let line = RequestLine {
            ts: about.started,
            level,
            worker: about.worker,
            request_id: about.request_id.as_str(),
            method: about.method.as_str(),
            route: about.route,
            status,
            duration_ms,
            log: log.as_deref(),
        };
        let point = Point {
            worker: about.worker,
            route: about.route,
            method: about.method.as_str(),
            status,
            colo: about.colo,
            environment: about.environment,
            duration_ms,
        };
        // An empty index tells the other side that there is no point.
        let (index, [route, method, class, colo, environment]) = point.texts().unwrap_or_default();
        let (status_text, duration_text) = (decimal(status.into()), decimal(duration_ms));
        let text = line.text();
        let lines = [
            status_text.as_str(),
            level.as_str(),
            &text,
            index,
            route,
            method,
            class,
            colo,
            environment,
            &duration_text,
            about.request_id.as_str(),
            content_type.unwrap_or_default(),
        ];
        let mut packed = lines.join("\n");
        packed.push_str(&header_lines);
        let bodiless = about.method == Method::Head || matches!(status, 204 | 205 | 304);
        let stream = stream.filter(|_| !bodiless);
        let body = (!bodiless && stream.is_none() && content_type.is_some()).then_some(body);
        Self { packed, body, stream }
    }
}

/// A number's digits. (`format!` brings code for all that it could be asked for.)
fn decimal(number: i64) -> String {
    json::write(&number).unwrap_or_default()
}

/// A field name (RFC 9110 §5.6.2), in lower case.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        })
}

/// A field value (RFC 9110 §5.5) in ASCII.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use rs1_domain::Problem;

    use super::*;

    fn pack(method: Method, answer: Answer) -> (Vec<String>, Option<String>) {
        let request_id = RequestId::from_header("req-7").unwrap();
        let about = About {
            worker: "telemetry",
            environment: "local",
            method,
            route: "/webhook/acl",
            request_id: &request_id,
            colo: "AMS",
            started: UnixMillis(1_768_903_200_000),
            ended: UnixMillis(1_768_903_200_007),
        };
        let reply = Reply::pack(answer, about);
        (reply.packed.split('\n').map(str::to_owned).collect(), reply.body)
    }

    fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
        lines[12..].chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
    }

    #[test]
    fn the_lines_are_where_the_other_side_looks_for_them() {
        let (lines, body) = pack(Method::Post, Answer::json(200, &[1, 2]));
        assert_eq!(lines[0], "200");
        assert_eq!(lines[1], "info");
        assert!(lines[2].starts_with("{\"ts\":") && lines[2].ends_with("\"duration_ms\":7}"), "{}", lines[2]);
        assert_eq!(lines[3..10], ["telemetry", "/webhook/acl", "POST", "2xx", "AMS", "local", "7"]);
        assert_eq!(lines[10..], ["req-7", "application/json"]);
        assert_eq!(body.as_deref(), Some("[1,2]"));
    }

    #[test]
    fn an_answer_may_say_how_long_it_may_be_cached() {
        let (lines, _) =
            pack(Method::Get, Answer::json(200, "").with_header("cache-control", "public, max-age=60"));
        assert_eq!(header(&lines, "cache-control"), Some("public, max-age=60"));
    }

    #[test]
    fn head_and_bodiless_statuses_have_no_body() {
        assert_eq!(pack(Method::Head, Answer::json(200, "x")).1, None);
        for status in [204, 205, 304] {
            assert_eq!(pack(Method::Get, Answer::json(status, "x")).1, None, "{status}");
        }
        assert_eq!(pack(Method::Get, Answer::empty(202)).1, None);
    }

    #[test]
    fn a_header_cannot_bring_another_one_in() {
        let answer = Answer::empty(200)
            .with_header("location", "/x\nset-cookie\nevil=1")
            .with_header("Retry-After", "1")
            .with_header("etag", "\"é\"")
            .with_log("slow");
        let (lines, _) = pack(Method::Get, answer);
        assert_eq!(lines[10..], ["req-7", ""], "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
        let log = line["log"].as_str().unwrap();
        assert!(log.starts_with("slow; left out header \"location\"") && log.contains("etag"), "{log}");
    }

    #[test]
    fn a_status_that_is_none_becomes_500() {
        for status in [0, 101, 600] {
            let (lines, _) = pack(Method::Get, Answer::empty(status));
            assert_eq!((lines[0].as_str(), lines[1].as_str()), ("500", "error"), "{status}");
        }
    }

    #[test]
    fn a_problems_cause_is_logged_and_not_sent() {
        let request_id = RequestId::from_header("req-7").unwrap();
        let (lines, body) =
            pack(Method::Get, Answer::problem(Problem::internal("secret cause"), &request_id));
        assert!(lines[2].contains("secret cause"));
        assert!(!body.unwrap().contains("secret cause"));
    }
}
