//! The management API, as far as the workers and the tests call it (`emqx_dashboard.erl`,
//! `emqx_mgmt_api_*.erl`).
//!
//! `/local/…` is no part of EMQX: it lets a test wait for what EMQX shows on its dashboard, does what `emqx ctl conf reload`
//! does, and holds what is for the backend while that is exchanged.

mod bridges;
mod clients;
mod local;
mod publish;
mod reply;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rmqtt::context::ServerContext;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::Reader;
use crate::broker::Broker;
use crate::live::Live;
use reply::Reply;

/// An API key.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

/// What every handler works on.
pub struct Api {
    broker: Arc<Broker>,
    scx: ServerContext,
    reader: Reader,
    /// The `Authorization` headers of callers who may call.
    authorizations: Live<Vec<String>>,
    /// While it is there, nothing passes to the backend.
    held: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
}

/// The headers of callers that have these keys.
fn authorizations(keys: &[Credentials]) -> Vec<String> {
    let of = |Credentials { key, secret }: &Credentials| {
        format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")))
    };
    keys.iter().map(of).collect()
}

/// All routes.
pub fn router(broker: Arc<Broker>, scx: ServerContext, reader: Reader, keys: &[Credentials]) -> Router {
    let authorizations = Live::new(authorizations(keys));
    let api = Arc::new(Api { broker, scx, reader, authorizations, held: Mutex::default() });
    let guarded = Router::new()
        .route("/publish", post(publish::one))
        .route("/publish/bulk", post(publish::bulk))
        .route("/stats", get(status::stats))
        .route("/metrics", get(status::metrics))
        .route("/clients/{clientid}", get(clients::get).delete(clients::kick))
        .route("/clients/kickout/bulk", post(clients::kick_all))
        .route("/authorization/cache", delete(clients::clear_cache))
        .route("/connectors/{id}", get(bridges::connector))
        .route("/actions/{id}", get(bridges::action))
        .layer(middleware::from_fn(require_json))
        .layer(middleware::from_fn_with_state(api.clone(), authenticate))
        .route("/status", get(status::status));
    Router::new()
        .nest("/api/v5", guarded)
        .route("/status", get(status::status))
        .route("/local/actions", get(status::actions))
        .route("/local/reload", post(local::reload))
        .route("/local/hold", post(local::hold).delete(local::release))
        .fallback(|| async { Reply::error(404, "NOT_FOUND", "Request Path Not Found") })
        .with_state(api)
}

/// `emqx_dashboard:authorize/2`.
async fn authenticate(State(api): State<Arc<Api>>, request: Request, next: Next) -> Result<Response, Reply> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given {
        None => Err(Reply::error(401, "AUTHORIZATION_HEADER_ERROR", "Support authorization: basic/bearer")),
        Some(given) if api.authorizations.get().iter().any(|known| known == given) => {
            Ok(next.run(request).await)
        }
        Some(_) => Err(Reply::error(401, "BAD_API_KEY_OR_SECRET", "Check api_key/api_secret")),
    }
}

/// A body must be declared as JSON (emqx#13078).
async fn require_json(request: Request, next: Next) -> Result<Response, Reply> {
    if request.method() == Method::POST && !is_json(request.headers()) {
        return Err(Reply::error(415, "UNSUPPORTED_MEDIA_TYPE", "content-type:application/json Required"));
    }
    Ok(next.run(request).await)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
