//! Which form of a list is wanted, and the way to its next page where there is no place for it but a `Link` header (RFC 8288).

use rs1_domain::Request;

/// The form that a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One document.
    Json,
    /// A line an item.
    Ndjson,
    /// A table.
    Csv,
}

impl Format {
    /// What `Accept` wants most; JSON where it wants nothing that there is.
    pub fn of(request: &Request) -> Self {
        let mut best = (0, Self::Json);
        for range in request.header("accept").unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                "application/x-ndjson" | "application/ndjson" => Self::Ndjson,
                "text/csv" | "text/*" => Self::Csv,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }
}

/// A weight (RFC 9110, section 12.4.2) in thousandths; what is none counts as nothing.
fn thousandths(text: &str) -> u32 {
    let weight: f64 = text.parse().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
    thousandths
}

/// The same request for the next page. Cursors need no escaping.
pub fn next_link(request: &Request, cursor: &str) -> String {
    let others = request.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<_> = others.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
    format!("<{}?{}>; rel=\"next\"", request.path, query.join("&"))
}

#[cfg(test)]
mod tests {
    use rs1_domain::{RequestId, UnixMillis};

    use super::*;

    fn request(accept: Option<&str>) -> Request {
        Request {
            method: rs1_domain::Method::Get,
            path: "/api/devices/x/telemetry".into(),
            query: "metric=a.b&cursor=5&limit=2".into(),
            headers: accept.map(|value| ("accept", value.to_owned())).into_iter().collect(),
            body: Vec::new(),
            now: UnixMillis(0),
            request_id: RequestId::from_header("r").unwrap(),
        }
    }

    #[test]
    fn the_form_is_the_one_that_is_wanted_most() {
        for (accept, format) in [
            (None, Format::Json),
            (Some("*/*"), Format::Json),
            (Some("text/csv"), Format::Csv),
            (Some("Text/CSV; charset=utf-8"), Format::Csv),
            (Some("application/json;q=0.5, application/x-ndjson"), Format::Ndjson),
            (Some("text/html, application/xml;q=0.9, */*;q=0.8"), Format::Json),
            (Some("text/csv;q=0, application/x-ndjson;q=0.1"), Format::Ndjson),
            (Some("text/csv;q=0.9, application/json; q=1.0"), Format::Json),
            (Some("text/csv;q=many"), Format::Json),
            (Some("image/png"), Format::Json),
            (Some(""), Format::Json),
        ] {
            assert_eq!(Format::of(&request(accept)), format, "{accept:?}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_request_from_another_place() {
        assert_eq!(
            next_link(&request(None), "17-ab"),
            "</api/devices/x/telemetry?metric=a.b&limit=2&cursor=17-ab>; rel=\"next\""
        );
    }
}
