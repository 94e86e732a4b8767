//! A request's head, as the shim packs it: one text, a line a field.
//!
//! A newline can stand neither in a method, nor in a serialized URL, nor in a header's value, so it
//! separates without escaping.

use rs1_domain::{Method, RequestId};

/// What a request says before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path, percent-encoding untouched.
    pub path: String,
    /// The query without `?`; empty when there is none.
    pub query: String,
    /// The data centre that took the request (`AMS`); empty on the local runtime.
    pub colo: String,
    /// `Content-Length`, if there was one that can be read.
    pub content_length: Option<usize>,
    /// `X-Request-Id`, if there was one that is well-formed.
    pub request_id: Option<RequestId>,
    /// The declared headers that were present, in the order of their declaration.
    pub headers: Vec<(&'static str, String)>,
}

impl Head {
    /// Reads the packed text; `names` are the declared headers.
    ///
    /// The lines are: method, URL, `Cf-Ray`, `Content-Length`, `X-Request-Id`, then one for each
    /// declared header: `=` and the value, or nothing when it is absent.
    pub fn unpack(text: &str, names: &'static [&'static str]) -> Self {
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default();
        let method = Method::parse(next());
        let (path, query) = path_and_query(next());
        let (path, query) = (path.to_owned(), query.to_owned());
        let colo = colo(next()).to_owned();
        let content_length = next().parse().ok();
        let request_id = RequestId::from_header(next());
        let headers =
            names.iter().filter_map(|name| Some((*name, next().strip_prefix('=')?.to_owned()))).collect();
        Self { method, path, query, colo, content_length, request_id, headers }
    }
}

/// Splits a serialized URL (`https://host/path?query`), as the runtime writes it: absolute, without
/// credentials, percent-encoded. Everything after the first `#` is not the server's.
pub fn path_and_query(url: &str) -> (&str, &str) {
    let rest = url.split_once(':').and_then(|(_scheme, rest)| rest.strip_prefix("//")).unwrap_or(url);
    let rest = rest.split_once('#').map_or(rest, |(rest, _fragment)| rest);
    let start = rest.bytes().position(|byte| matches!(byte, b'/' | b'?'));
    let path = start.and_then(|start| rest.get(start..)).unwrap_or("/");
    match path.split_once('?') {
        Some(("", query)) => ("/", query),
        Some(parts) => parts,
        None => (path, ""),
    }
}

/// The colo of a `Cf-Ray` (`8f2b3c4d5e6f7a8b-AMS`); the local runtime sends none.
fn colo(ray: &str) -> &str {
    ray.rsplit_once('-').map_or("", |(_ray, colo)| colo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_head_unpacks() {
        let text =
            "POST\nhttps://api.optic.works/webhook/acl?x=1\n8f2b-AMS\n12\nreq-7\n=application/json\n\n=";
        let head = Head::unpack(text, &["content-type", "x-absent", "x-empty"]);
        assert_eq!(
            head,
            Head {
                method: Method::Post,
                path: "/webhook/acl".into(),
                query: "x=1".into(),
                colo: "AMS".into(),
                content_length: Some(12),
                request_id: RequestId::from_header("req-7"),
                headers: vec![("content-type", "application/json".into()), ("x-empty", String::new())],
            }
        );
    }

    #[test]
    fn what_is_missing_or_bad_reads_as_absent() {
        let head = Head::unpack("BREW\n\n\nten\nno spaces allowed", &["content-type"]);
        assert_eq!(head.method, Method::Other);
        assert_eq!((head.path.as_str(), head.query.as_str(), head.colo.as_str()), ("/", "", ""));
        assert_eq!((head.content_length, head.request_id, head.headers), (None, None, vec![]));
    }

    #[test]
    fn urls_split_where_a_url_parser_would() {
        for (url, path, query) in [
            (
                "https://api.optic.works/api/devices?limit=10&cursor=a%2Fb",
                "/api/devices",
                "limit=10&cursor=a%2Fb",
            ),
            ("http://127.0.0.1:8787/", "/", ""),
            ("http://127.0.0.1:8787", "/", ""),
            ("http://host?q=/x", "/", "q=/x"),
            ("http://host/a?b?c", "/a", "b?c"),
            ("http://host/a#b?c", "/a", ""),
            ("http://host/a%20b//c/", "/a%20b//c/", ""),
            ("http://host/x?u=http://other/y", "/x", "u=http://other/y"),
        ] {
            assert_eq!(path_and_query(url), (path, query), "{url}");
        }
    }
}
