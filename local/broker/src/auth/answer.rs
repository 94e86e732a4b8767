//! The body of an answer, read by its content type (`emqx_auth_http_utils:parse_http_resp_body/2`).

use serde_json::{Map, Value as Json};

/// Reads the fields of a body. The content type is compared by its beginning and in its case, so that
/// `application/json; charset=utf-8` is JSON and `Application/JSON` is not.
///
/// # Errors
/// Why there are none.
pub fn fields(content_type: &str, body: &[u8]) -> Result<Map<String, Json>, String> {
    if content_type.starts_with("application/json") {
        return match serde_json::from_slice(body) {
            Ok(Json::Object(fields)) => Ok(fields),
            Ok(_) => Err("the body is not an object".to_owned()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        };
    }
    if content_type.starts_with("application/x-www-form-urlencoded") {
        let pairs = form_urlencoded::parse(body);
        return Ok(pairs.map(|(name, value)| (name.into_owned(), Json::from(value))).collect());
    }
    Err(format!("unsupported content type {content_type:?}"))
}
