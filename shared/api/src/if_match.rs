//! `If-Match`: which version a change was made from (RFC 9110, section 13.1.1). An `ETag` here is a version in quotes.

use rs1_domain::{Problem, Request};

/// What a request's `If-Match` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Vec<Tag>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tag {
    /// `*`: whatever is there.
    Any,
    /// A version.
    Version(i64),
    /// A tag that this system never gave out, or a weak one, which a change may not go by: it matches nothing.
    Foreign,
}

impl IfMatch {
    /// Reads the header, if it is there. Quotes may be left out, as people at a command line do.
    ///
    /// # Errors
    /// 400 for a header that names nothing.
    pub fn read(request: &Request) -> Result<Option<Self>, Problem> {
        let Some(header) = request.header("if-match") else { return Ok(None) };
        let tags: Vec<_> = header.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(tag).collect();
        if tags.is_empty() {
            return Err(Problem::malformed("If-Match must name a version, like \"3\""));
        }
        Ok(Some(Self(tags)))
    }

    /// As [`IfMatch::read`], for changes that must say what they were made from.
    ///
    /// # Errors
    /// 428 without the header, 400 for one that names nothing.
    pub fn required(request: &Request) -> Result<Self, Problem> {
        Self::read(request)?.ok_or_else(Problem::precondition_required)
    }

    /// Whether the header names that version.
    pub fn holds(&self, version: i64) -> bool {
        self.0.iter().any(|tag| matches!(tag, Tag::Any) || *tag == Tag::Version(version))
    }
}

/// The `ETag` of a version.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

fn tag(text: &str) -> Tag {
    if text == "*" {
        return Tag::Any;
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    // As it was given out, to the letter: "03" and "+3" are others.
    inner.parse().ok().filter(|version: &i64| version.to_string() == inner).map_or(Tag::Foreign, Tag::Version)
}

#[cfg(test)]
mod tests {
    use rs1_domain::{Method, RequestId, UnixMillis};

    use super::*;

    fn request(if_match: Option<&str>) -> Request {
        Request {
            method: Method::Put,
            path: "/".into(),
            query: String::new(),
            headers: if_match.map(|value| ("if-match", value.to_owned())).into_iter().collect(),
            body: Vec::new(),
            now: UnixMillis(0),
            request_id: RequestId::from_header("r").unwrap(),
        }
    }

    #[test]
    fn a_change_is_held_to_the_versions_it_names() {
        for (header, held, not) in [
            ("\"3\"", &[3][..], &[0, 2, 30][..]),
            ("3", &[3], &[2]),
            ("\"2\", \"3\"", &[2, 3], &[1, 23]),
            ("*", &[0, 3], &[]),
            ("W/\"3\"", &[], &[3]),
            ("\"03\"", &[], &[3]),
            ("\"+3\"", &[], &[3]),
            ("\"abc\", \"1\"", &[1], &[0]),
        ] {
            let if_match = IfMatch::required(&request(Some(header))).unwrap();
            for version in held {
                assert!(if_match.holds(*version), "{header} {version}");
            }
            for version in not {
                assert!(!if_match.holds(*version), "{header} {version}");
            }
        }
        assert!(IfMatch::required(&request(Some(&etag(7)))).unwrap().holds(7));
    }

    #[test]
    fn a_change_that_names_nothing_is_refused() {
        assert_eq!(IfMatch::required(&request(None)).unwrap_err().kind.status(), 428);
        assert_eq!(IfMatch::read(&request(None)).unwrap(), None);
        for header in ["", " , ,"] {
            assert_eq!(IfMatch::read(&request(Some(header))).unwrap_err().kind.status(), 400, "{header:?}");
        }
    }
}
