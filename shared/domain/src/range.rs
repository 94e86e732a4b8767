//! Which part of a file a request selects: conditions and ranges (RFC 9110, sections 13 and 14), the way an ESP32 client
//! needs them (contract, section 5).
//!
//! Where the standard leaves a choice, the choice is for a client that writes what it gets into flash at an offset that
//! it has worked out before: **a `GET` with a `Range` is never answered with the whole file**, unless an `If-Range` says
//! that the client holds another file. What is no range of bytes is refused with 416, which the standard allows;
//! of several ranges the first that can be satisfied is sent alone.

use crate::{Method, Request};

/// What a request gets of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 200: all of it.
    Whole,
    /// 206: some of it.
    Part(Part),
    /// 304: nothing, the client has it.
    NotModified,
    /// 412: nothing, the client wants another.
    PreconditionFailed,
    /// 416: nothing, there is no such part.
    NotSatisfiable,
}

/// A stretch of a file, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first byte.
    pub first: u64,
    /// How many bytes.
    pub length: u64,
}

impl Part {
    /// The bytes from `first` to `last`, both included; `None` if there are none.
    fn between(first: u64, last: u64) -> Option<Self> {
        last.checked_sub(first)?.checked_add(1).map(|length| Self { first, length })
    }

    /// The last byte.
    pub fn last(self) -> u64 {
        self.first.saturating_add(self.length).saturating_sub(1)
    }

    /// The value of `Content-Range` for this part of a file of `size` bytes.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.first, self.last())
    }
}

/// The request headers that count; a worker that calls [`select`] declares them.
pub const HEADERS: [&str; 4] = ["if-match", "if-none-match", "if-range", "range"];

/// What `request` gets of a file of `size` bytes whose strong entity tag is `etag` (with its quotes).
///
/// Dates mean nothing: the file's tag is its hash, and no `Last-Modified` is ever sent.
pub fn select(request: &Request, size: u64, etag: &str) -> Selection {
    // The order is the standard's (section 13.2.2).
    if request.header("if-match").is_some_and(|tags| !matches_any(tags, etag, Comparison::Strong)) {
        return Selection::PreconditionFailed;
    }
    if request.header("if-none-match").is_some_and(|tags| matches_any(tags, etag, Comparison::Weak)) {
        return Selection::NotModified;
    }
    let Some(range) = request.header("range").filter(|_| request.method == Method::Get) else {
        return Selection::Whole;
    };
    if request.header("if-range").is_some_and(|tag| tag.trim() != etag) {
        return Selection::Whole;
    }
    first_part(range, size).map_or(Selection::NotSatisfiable, Selection::Part)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    /// `W/` is overlooked.
    Weak,
}

/// Whether a list of entity tags has `etag` in it, or is `*`.
fn matches_any(tags: &str, etag: &str, comparison: Comparison) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = if comparison == Comparison::Weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == etag || tag == "*"
    })
}

/// The first range of `bytes=0-99,200-` that a file of `size` bytes has something of.
fn first_part(range: &str, size: u64) -> Option<Part> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let ranges = set.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Range::read);
    // One that is malformed spoils the set; one that lies beyond the end does not.
    let ranges: Vec<_> = ranges.collect::<Option<_>>()?;
    ranges.into_iter().find_map(|range| range.within(size))
}

/// One range, before it is held against a file.
enum Range {
    /// From the first number to the second, both included, or to the end.
    From(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        if first.is_empty() {
            return number(last).map(Self::Last);
        }
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        (first <= last).then_some(Self::From(first, last))
    }

    fn within(self, size: u64) -> Option<Part> {
        let end = size.checked_sub(1)?;
        match self {
            Self::From(first, last) => Part::between(first, last.min(end)),
            Self::Last(0) => None,
            Self::Last(length) => Part::between(size.saturating_sub(length), end),
        }
    }
}

/// Digits; more than a number can hold are as good as the greatest.
fn number(digits: &str) -> Option<u64> {
    let fine = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RequestId, UnixMillis};

    const ETAG: &str = "\"abc\"";

    fn ask(method: Method, headers: &[(&'static str, &str)], size: u64) -> Selection {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let request = Request {
            method,
            path: "/x".into(),
            query: String::new(),
            headers,
            body: Vec::new(),
            now: UnixMillis(0),
            request_id: RequestId::from_header("r").unwrap(),
        };
        select(&request, size, ETAG)
    }

    fn range(range: &str) -> Selection {
        ask(Method::Get, &[("range", range)], 1_000)
    }

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part(Part::between(first, last).unwrap())
    }

    #[test]
    fn every_form_of_range_is_answered_with_that_part() {
        for (text, first, last) in [
            ("bytes=0-", 0, 999),
            ("bytes=0-0", 0, 0),
            ("bytes=0-999", 0, 999),
            ("bytes=500-", 500, 999),
            ("bytes=999-", 999, 999),
            ("bytes=100-199", 100, 199),
            ("bytes=-1", 999, 999),
            ("bytes=-1000", 0, 999),
            ("BYTES=0-1", 0, 1),
            ("bytes = 0-1", 0, 1),
            ("bytes= 0-1 ", 0, 1),
        ] {
            assert_eq!(range(text), part(first, last), "{text}");
        }
    }

    #[test]
    fn an_end_beyond_the_last_byte_is_clamped() {
        for (text, first, last) in [
            ("bytes=0-1000", 0, 999),
            ("bytes=999-1000", 999, 999),
            ("bytes=500-99999999999999999999999999", 500, 999),
            ("bytes=-1001", 0, 999),
            ("bytes=-99999999999999999999999999", 0, 999),
        ] {
            assert_eq!(range(text), part(first, last), "{text}");
        }
    }

    #[test]
    fn a_start_at_or_past_the_end_is_not_satisfiable() {
        for text in
            ["bytes=1000-", "bytes=1000-1000", "bytes=1001-2000", "bytes=99999999999999999999-", "bytes=-0"]
        {
            assert_eq!(range(text), Selection::NotSatisfiable, "{text}");
        }
        assert_eq!(ask(Method::Get, &[("range", "bytes=0-")], 0), Selection::NotSatisfiable);
    }

    #[test]
    fn what_is_no_range_is_never_answered_with_the_whole() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=x-",
            "bytes=5-2",
            "bytes=1-2-3",
            "bytes=0x1-",
            "bytes=+1-",
            "bytes=--1",
            "bytes=0-1,x",
            "items=0-1",
            "0-1",
            "bytes 0-1",
            "bytes=1.5-2",
        ] {
            assert_eq!(range(text), Selection::NotSatisfiable, "{text}");
        }
    }

    #[test]
    fn of_several_ranges_the_first_that_there_is_is_sent() {
        assert_eq!(range("bytes=0-1,5-9"), part(0, 1));
        assert_eq!(range("bytes=5-9, 0-1"), part(5, 9));
        assert_eq!(range("bytes=1000-,5-9"), part(5, 9));
        assert_eq!(range("bytes=,-2,"), part(998, 999));
        assert_eq!(range("bytes=1000-,2000-"), Selection::NotSatisfiable);
    }

    #[test]
    fn a_range_counts_for_get_only_and_conditions_for_head_too() {
        assert_eq!(ask(Method::Head, &[("range", "bytes=5-")], 1_000), Selection::Whole);
        assert_eq!(ask(Method::Head, &[("if-none-match", ETAG)], 1_000), Selection::NotModified);
        assert_eq!(ask(Method::Get, &[], 1_000), Selection::Whole);
    }

    #[test]
    fn only_an_if_range_that_does_not_match_earns_the_whole() {
        let with = |tag| ask(Method::Get, &[("range", "bytes=5-"), ("if-range", tag)], 1_000);
        assert_eq!(with(ETAG), part(5, 999));
        for other in
            ["\"abd\"", "W/\"abc\"", "abc", "*", "", "Tue, 20 Jan 2026 10:00:00 GMT", "\"abc\", \"abd\""]
        {
            assert_eq!(with(other), Selection::Whole, "{other}");
        }
        assert_eq!(ask(Method::Get, &[("if-range", "\"abd\"")], 1_000), Selection::Whole);
    }

    #[test]
    fn conditions_come_before_ranges_and_if_match_before_all() {
        let ask = |headers: &[(&'static str, &str)]| ask(Method::Get, headers, 1_000);
        assert_eq!(ask(&[("if-none-match", ETAG), ("range", "bytes=5-")]), Selection::NotModified);
        assert_eq!(ask(&[("if-none-match", "W/\"abc\"")]), Selection::NotModified, "compared weakly");
        assert_eq!(ask(&[("if-none-match", "\"x\", \"abc\"")]), Selection::NotModified);
        assert_eq!(ask(&[("if-none-match", "*")]), Selection::NotModified);
        assert_eq!(ask(&[("if-none-match", "\"x\""), ("range", "bytes=5-")]), part(5, 999));
        assert_eq!(ask(&[("if-match", "\"x\"")]), Selection::PreconditionFailed);
        assert_eq!(ask(&[("if-match", "W/\"abc\"")]), Selection::PreconditionFailed, "compared strongly");
        assert_eq!(ask(&[("if-match", "\"x\", \"abc\""), ("range", "bytes=5-")]), part(5, 999));
        assert_eq!(ask(&[("if-match", "*")]), Selection::Whole);
        assert_eq!(ask(&[("if-match", "\"x\""), ("if-none-match", ETAG)]), Selection::PreconditionFailed);
    }

    #[test]
    fn a_part_says_where_it_stands() {
        let Selection::Part(part) = range("bytes=5-9") else { panic!("a part") };
        assert_eq!((part.content_range(1_000).as_str(), part.length), ("bytes 5-9/1000", 5));
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(text in "(bytes=)?[0-9, -]{0,40}", size in 0_u64..2_000) {
            match ask(Method::Get, &[("range", &text)], size) {
                Selection::Part(part) => prop_assert!(part.length > 0 && part.first + part.length <= size),
                other => prop_assert_eq!(other, Selection::NotSatisfiable),
            }
        }

        #[test]
        fn a_range_within_the_file_is_what_is_sent(first in 0_u64..1_000, length in 1_u64..2_000) {
            let last = first + length - 1;
            let wanted = Selection::Part(Part { first, length: length.min(1_000 - first) });
            prop_assert_eq!(range(&format!("bytes={first}-{last}")), wanted);
        }

        #[test]
        fn no_header_makes_the_reader_panic(text in ".{0,60}", tag in ".{0,20}") {
            let _ = ask(Method::Get, &[("range", &text), ("if-range", &tag), ("if-match", &tag)], 1_000);
        }
    }
}
