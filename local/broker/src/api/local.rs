//! What the local stack tells its broker: to read its files again, and to hold what is for the backend.

use std::sync::Arc;

use axum::extract::State;

use super::reply::Reply;
use super::{Api, authorizations};
use crate::Settings;

/// `POST /local/reload`: reads the configuration and the API keys again. What it cannot play changes nothing.
pub async fn reload(State(api): State<Arc<Api>>) -> Reply {
    match api.reader.read() {
        Ok(Settings { config, keys }) => {
            api.authorizations.set(authorizations(&keys));
            api.broker.renew(config);
            Reply::no_content()
        }
        Err(error) => Reply::error(422, "BAD_CONFIG", format!("{error:#}")),
    }
}

/// `POST /local/hold`: from the answer on nothing is under way to the backend, and whatever is for it waits, each message and
/// each question for as long as the configuration has it wait for an answer.
pub async fn hold(State(api): State<Arc<Api>>) -> Reply {
    if api.held.lock().is_none() {
        let guard = api.broker.gate.hold().await;
        *api.held.lock() = Some(guard);
    }
    Reply::no_content()
}

/// `DELETE /local/hold`: it goes on.
pub async fn release(State(api): State<Arc<Api>>) -> Reply {
    drop(api.held.lock().take());
    Reply::no_content()
}
