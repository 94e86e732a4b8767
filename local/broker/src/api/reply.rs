//! Answers of the management API.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

/// A status and, unless it is 204, a JSON body.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    status: u16,
    body: Option<Json>,
}

impl Reply {
    /// A JSON body.
    pub fn json(status: u16, body: Json) -> Self {
        Self { status, body: Some(body) }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self { status: 204, body: None }
    }

    /// `{"code":…,"message":…}`.
    pub fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::json(status, json!({ "code": code, "message": message.into() }))
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response =
            Response::new(self.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string())));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        response
    }
}
