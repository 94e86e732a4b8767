//! Errors as callers see them: RFC 9457 problem documents.
//!
//! A [`Problem`] has two audiences. `detail` and `faults` go to the caller and say what the caller
//! can mend; `log` stays with us and may carry internal text. Nothing moves from the one to the other.
//!
//! Every `type` is a stable URN, `urn:rs1:problem:{kind}`; the kinds are listed by [`Kind`].

use serde::Serialize;
use serde_json::value::RawValue;

use crate::RequestId;
use crate::http::{Answer, PROBLEM_JSON};
use crate::port::PortError;

/// The kinds of problem there are. Each has one status, one URN and one title, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 400: the body or the query could not be read at all.
    Malformed,
    /// 401: no credentials, or credentials that are not good.
    Unauthenticated,
    /// 403: known, but not allowed.
    Forbidden,
    /// 403: the link is not one of ours, or was changed.
    BadSignature,
    /// 403: the link's time is over.
    UrlExpired,
    /// 403: the device is not to have this firmware from this rollout, or not any more.
    NotInRollout,
    /// 404: nothing here, or nothing that the caller may know of.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: the request contradicts what is there.
    Conflict,
    /// 410: this firmware was withdrawn, or its signer is not trusted any more.
    Yanked,
    /// 411: the length of the body must be said beforehand.
    LengthRequired,
    /// 412: what is there is not what the caller has seen; `current` says what is.
    PreconditionFailed,
    /// 413: the body is larger than the route takes.
    TooLarge,
    /// 415: the body's media type is not the one the route takes.
    UnsupportedMediaType,
    /// 416: there is no such part of the resource.
    RangeNotSatisfiable,
    /// 422: well-formed, but not valid; `errors` names every fault.
    Invalid,
    /// 428: the change must say what it was made from (`If-Match`).
    PreconditionRequired,
    /// 429: too many requests.
    TooManyRequests,
    /// 429: the device has begun this download too often.
    TooManyAttempts,
    /// 500: a fault of ours that trying again will not mend.
    Internal,
    /// 503: a fault of ours, or of something we depend on, that may have passed when tried again.
    Unavailable,
    /// 504: a device that was asked did not answer in time.
    DeviceSilent,
}

impl Kind {
    /// Every kind, for documentation and table tests.
    pub const ALL: [Self; 22] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::BadSignature,
        Self::UrlExpired,
        Self::NotInRollout,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Yanked,
        Self::LengthRequired,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::Invalid,
        Self::PreconditionRequired,
        Self::TooManyRequests,
        Self::TooManyAttempts,
        Self::Internal,
        Self::Unavailable,
        Self::DeviceSilent,
    ];

    /// HTTP status, the URN's last part and the title.
    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "malformed", "The request cannot be read"),
            Self::Unauthenticated => (401, "unauthenticated", "Credentials are missing or not good"),
            Self::Forbidden => (403, "forbidden", "Not allowed"),
            Self::BadSignature => (403, "bad-signature", "This is no link of ours"),
            Self::UrlExpired => (403, "url-expired", "The link has expired"),
            Self::NotInRollout => (403, "not-in-rollout", "The device is not in this rollout"),
            Self::NotFound => (404, "not-found", "Not found"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The resource does not take this method"),
            Self::Conflict => (409, "conflict", "The request contradicts the present state"),
            Self::Yanked => (410, "yanked", "This firmware was withdrawn"),
            Self::LengthRequired => (411, "length-required", "The body's length must be said beforehand"),
            Self::PreconditionFailed => (412, "precondition-failed", "It was changed in the meantime"),
            Self::TooLarge => (413, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The media type is not supported"),
            Self::RangeNotSatisfiable => (416, "range-not-satisfiable", "There is no such part"),
            Self::Invalid => (422, "invalid", "The request is not valid"),
            Self::PreconditionRequired => {
                (428, "precondition-required", "The change must say what it was made from")
            }
            Self::TooManyRequests => (429, "too-many-requests", "Too many requests"),
            Self::TooManyAttempts => (429, "too-many-attempts", "The download was begun too often"),
            Self::Internal => (500, "internal", "Something went wrong on our side"),
            Self::Unavailable => (503, "unavailable", "Not available right now"),
            Self::DeviceSilent => (504, "device-silent", "The device did not answer"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.facts().0
    }

    /// The kind in a word: the URN's last part.
    pub const fn word(self) -> &'static str {
        self.facts().1
    }

    /// The stable URN that stands in `type`.
    pub fn urn(self) -> String {
        format!("urn:rs1:problem:{}", self.word())
    }

    /// The title, the same for every problem of a kind.
    pub const fn title(self) -> &'static str {
        self.facts().2
    }
}

/// The RFC 9457 document of a [`Problem`].
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Problem"))]
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a> {
    /// The kind of problem, a stable URN.
    pub r#type: String,
    /// The kind in a few words, always the same.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: &'a str,
    /// The request, as our log has it.
    pub request_id: &'a str,
    /// Every fault of the input.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    pub errors: &'a [Fault],
    /// What is there now, where knowing it helps to mend the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<&'a RawValue>,
}

/// One thing wrong with the input, and where.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// Collects faults, so that the caller hears of all of them at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    faults: Vec<Fault>,
    /// There was nothing to find faults in: the document could not be read at all.
    unreadable: bool,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The one fault of a document that cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        let mut faults = Self { unreadable: true, ..Self::default() };
        faults.add("", detail);
        faults
    }

    /// The same faults, of a document that stands inside another: the request could be read, so
    /// what is wrong with it is its content.
    #[must_use]
    pub fn of_content(self) -> Self {
        Self { unreadable: false, ..self }
    }

    /// Notes one fault.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.faults.push(Fault { pointer: pointer.into(), detail: detail.into() });
    }

    /// Notes a fault unless `fine`.
    pub fn require(&mut self, fine: bool, pointer: &str, detail: &str) {
        if !fine {
            self.add(pointer, detail);
        }
    }

    /// Notes the faults of an item at a place of a list; the list is the whole document.
    pub fn nest(&mut self, place: usize, faults: impl IntoIterator<Item = Fault>) {
        for Fault { pointer, detail } in faults {
            self.add(format!("/{place}{pointer}"), detail);
        }
    }

    /// The faults so far.
    pub fn as_slice(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// `value`, if there were no faults.
    ///
    /// # Errors
    /// The faults, if there were any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.faults.is_empty() { Ok(value) } else { Err(self) }
    }

    /// One line for a log: `/metrics: required; /timestamp: …`.
    pub fn summary(&self) -> String {
        summary(&self.faults)
    }
}

fn summary(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect::<Vec<_>>().join("; ")
}

/// An error to be told to a caller.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: Kind,
    /// What happened this time, for the caller. Never internal text.
    pub detail: String,
    /// Every fault of the input; empty unless `kind` is about input.
    pub faults: Vec<Fault>,
    /// What is there now, where knowing it helps to mend the request: the document's `current`.
    pub current: Option<Box<RawValue>>,
    /// Further headers for the answer (`allow`, `retry-after`).
    pub headers: Vec<(&'static str, String)>,
    /// The internal cause, for the log. Never sent.
    pub log: Option<String>,
}

impl Problem {
    /// A problem of that kind with a detail for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (faults, headers) = (Vec::new(), Vec::new());
        Self { kind, detail: detail.into(), faults, current: None, headers, log: None }
    }

    /// 400 with a detail.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// 401; the detail says no more than is safe to tell a stranger.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, detail)
    }

    /// 403: known, but not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// 409 with a detail.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    /// 412, with what is there now.
    pub fn precondition_failed(detail: impl Into<String>, current: &impl Serialize) -> Self {
        // Our types have string keys and finite numbers, so they always have a JSON form.
        let current = serde_json::value::to_raw_value(current).ok();
        Self { current, ..Self::new(Kind::PreconditionFailed, detail) }
    }

    /// 428: a change without `If-Match`.
    pub fn precondition_required() -> Self {
        Self::new(Kind::PreconditionRequired, "If-Match must name the version that the change was made from")
    }

    /// 429, to be tried again after so many seconds.
    pub fn too_many_requests(detail: impl Into<String>, retry_after_seconds: i64) -> Self {
        let mut problem = Self::new(Kind::TooManyRequests, detail);
        problem.headers.push(("retry-after", retry_after_seconds.max(1).to_string()));
        problem
    }

    /// 405, with the methods that the path does take.
    pub fn method_not_allowed(allowed: &[crate::Method]) -> Self {
        let allowed = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
        let mut problem = Self::new(Kind::MethodNotAllowed, format!("this resource takes {allowed}"));
        problem.headers.push(("allow", allowed));
        problem
    }

    /// 413, with the limit in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(Kind::TooLarge, format!("the body may be at most {limit} bytes long"))
    }

    /// 422, naming every fault; 400 for what cannot be read at all.
    pub fn invalid(faults: Faults) -> Self {
        let Faults { faults, unreadable } = faults;
        if unreadable {
            let details: Vec<_> = faults.iter().map(|fault| fault.detail.as_str()).collect();
            return Self::malformed(format!("the body {}", details.join("; ")));
        }
        let count = faults.len();
        let detail = format!("{count} {} found", if count == 1 { "fault was" } else { "faults were" });
        Self { faults, ..Self::new(Kind::Invalid, detail) }
    }

    /// 500; `cause` goes to the log only.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(Kind::Internal, "the fault has been logged under this request id").with_log(cause)
    }

    /// 503; `cause` goes to the log only.
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, "please try again").with_log(cause)
    }

    /// The same problem with an internal cause for the log.
    #[must_use]
    pub fn with_log(mut self, cause: impl Into<String>) -> Self {
        self.log = Some(cause.into());
        self
    }

    /// The RFC 9457 document, as the answer to the request of that id.
    pub fn into_answer(self, request_id: &RequestId) -> Answer {
        let status = self.kind.status();
        let document = Document {
            r#type: self.kind.urn(),
            title: self.kind.title(),
            status,
            detail: &self.detail,
            request_id: request_id.as_str(),
            errors: &self.faults,
            current: self.current.as_deref(),
        };
        let mut answer = Answer::json(status, &document);
        answer.content_type = Some(PROBLEM_JSON);
        answer.headers = self.headers;
        answer.log = self.log.or_else(|| (!self.faults.is_empty()).then(|| summary(&self.faults)));
        answer
    }
}

impl From<PortError> for Problem {
    /// A port that fails may work again in a moment, and EMQX retries on 503 and 429 only.
    fn from(error: PortError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Self::invalid(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: Problem) -> (Answer, serde_json::Value) {
        let answer = problem.into_answer(&RequestId::from_header("req-7").unwrap());
        let body = serde_json::from_str(&answer.body).unwrap();
        (answer, body)
    }

    #[test]
    fn every_kind_has_its_own_urn_and_says_its_status_twice_the_same() {
        let mut urns = std::collections::HashSet::new();
        for kind in Kind::ALL {
            let (answer, body) = document(Problem::new(kind, "why"));
            assert_eq!(answer.status, kind.status(), "{kind:?}");
            assert_eq!(answer.content_type, Some(PROBLEM_JSON));
            assert_eq!(body["status"], kind.status(), "{kind:?}");
            assert_eq!(body["type"], kind.urn());
            assert_eq!(body["title"], kind.title());
            assert_eq!(body["request_id"], "req-7");
            assert!(urns.insert(kind.urn()), "{kind:?} shares its URN");
        }
    }

    #[test]
    fn internal_causes_reach_the_log_and_never_the_caller() {
        let (answer, body) =
            document(Problem::from(PortError::new("d1 devices_by_id", "D1_ERROR: secret table")));
        assert_eq!(answer.status, 503);
        assert!(!answer.body.contains("D1_ERROR"), "{body}");
        assert_eq!(answer.log.as_deref(), Some("d1 devices_by_id: D1_ERROR: secret table"));
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let mut faults = Faults::new();
        faults.add("/mac_address", "required");
        faults.require(false, "/product_sku", "one of rs1_lite, rs1_pro");
        faults.require(true, "/fine", "not noted");
        let (_, body) = document(Problem::invalid(faults));
        assert_eq!(body["detail"], "2 faults were found");
        assert_eq!(body["errors"][1]["pointer"], "/product_sku");
        assert_eq!(body["errors"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_malformed_unless_it_stands_inside_something_that_can() {
        let (answer, body) = document(Faults::unreadable("must be JSON").into());
        assert_eq!((answer.status, body["detail"].as_str()), (400, Some("the body must be JSON")));
        let (answer, body) = document(Faults::unreadable("must be JSON").of_content().into());
        assert_eq!((answer.status, body["errors"][0]["detail"].as_str()), (422, Some("must be JSON")));
    }

    #[test]
    fn who_changes_what_another_has_changed_is_shown_what_is_there() {
        let (answer, body) =
            document(Problem::precondition_failed("stale", &serde_json::json!({"version": 4})));
        assert_eq!((answer.status, &body["current"]["version"]), (412, &serde_json::json!(4)));
        let (_, body) = document(Problem::precondition_required());
        assert_eq!(body.get("current"), None);
        let (answer, _) = document(Problem::too_many_requests("slow down", 0));
        assert_eq!(answer.headers, [("retry-after", "1".to_owned())]);
    }

    #[test]
    fn a_wrong_method_learns_the_right_ones() {
        let (answer, _) = document(Problem::method_not_allowed(&[crate::Method::Get, crate::Method::Post]));
        assert_eq!(answer.headers, [("allow", "GET, POST".to_owned())]);
    }
}
