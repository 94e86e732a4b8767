//! `/connectors/{id}` and `/actions/{id}`, as far as they tell how those of type `s3` are (`emqx_connector_api`,
//! `emqx_bridge_v2_api`).

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value as Json, json};

use super::Api;
use super::reply::Reply;
use crate::collected::Status;

/// `GET /connectors/s3:{name}`.
pub async fn connector(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Reply {
    answer(&api, &id, |name| api.broker.collected.connector(name))
}

/// `GET /actions/s3:{name}`.
pub async fn action(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Reply {
    answer(&api, &id, |name| api.broker.collected.action(name))
}

fn answer(api: &Api, id: &str, status: impl Fn(&str) -> Option<Status>) -> Reply {
    let found = id
        .split_once(':')
        .filter(|(kind, _)| *kind == "s3")
        .and_then(|(_, name)| Some((name, status(name)?)));
    let Some((name, status)) = found else {
        return Reply::error(404, "NOT_FOUND", format!("{id} is not known, or not of type s3"));
    };
    let node = &api.broker.node;
    Reply::json(
        200,
        match status {
            Status::Connecting => described(name, node, &json!({ "status": "connecting" })),
            Status::Connected => described(name, node, &json!({ "status": "connected" })),
            Status::Disconnected(reason) => {
                described(name, node, &json!({ "status": "disconnected", "status_reason": reason }))
            }
        },
    )
}

/// Of one node, what all have is what it has.
fn described(name: &str, node: &str, status: &Json) -> Json {
    let with = |fields: Json| -> Json {
        [fields, status.clone()].into_iter().filter_map(|one| one.as_object().cloned()).flatten().collect()
    };
    let nodes = [with(json!({ "node": node }))];
    with(json!({ "type": "s3", "name": name, "enable": true, "node_status": nodes }))
}
