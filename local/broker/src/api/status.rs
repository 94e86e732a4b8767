//! `/status`, `/stats` and `/metrics` (`emqx_mgmt_api_status.erl`, `emqx_mgmt_api_stats.erl`,
//! `emqx_mgmt_api_metrics.erl`), and the local `/local/actions`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::reply::Reply;
use crate::clock;

/// Query parameters.
type Parameters = Query<BTreeMap<String, String>>;

/// `GET /status`: for load balancers, without authentication.
pub async fn status(State(api): State<Arc<Api>>, Query(parameters): Parameters) -> Response {
    let node = &api.broker.node;
    if parameters.get("format").map(String::as_str) == Some("json") {
        let status = json!({
            "node_name": node,
            "cluster": "emqxcl",
            "broker_status": "started",
            "app_status": "running",
        });
        return Reply::json(200, status).into_response();
    }
    format!("Node {node} is started\nemqx is running").into_response()
}

/// `GET /stats`.
pub async fn stats(State(api): State<Arc<Api>>, Query(parameters): Parameters) -> Reply {
    let scx = &api.scx;
    let shared = scx.extends.shared().await;
    let sessions = shared.sessions_count();
    let subscriptions = shared.subscriptions_count().await;
    let topics = scx.extends.router().await.topics();
    let numbers = [
        // Sessions without a connection are connections to EMQX, too.
        ("connections.count", json!(sessions)),
        ("live_connections.count", json!(scx.connections.count())),
        ("live_connections.max", json!(scx.connections.max())),
        ("sessions.count", json!(sessions)),
        ("sessions.max", json!(scx.sessions.max())),
        ("cluster_sessions.count", json!(sessions)),
        ("subscriptions.count", json!(subscriptions)),
        ("suboptions.count", json!(subscriptions)),
        ("topics.count", json!(topics.count())),
        ("retained.count", json!(scx.extends.retain().await.count().await)),
    ];
    answer(&api, &parameters, numbers)
}

/// `GET /metrics`.
pub async fn metrics(State(api): State<Arc<Api>>, Query(parameters): Parameters) -> Reply {
    let numbers = api.broker.metrics.read().into_iter().map(|(name, value)| (name, Json::from(value)));
    answer(&api, &parameters, numbers)
}

/// `GET /local/actions`: counters of actions and rules, for whoever waits for all to be delivered.
pub async fn actions(State(api): State<Arc<Api>>) -> Reply {
    let uptime = clock::unix_millis().saturating_sub(api.broker.started_at);
    let mut actions = api.broker.actions.counters();
    actions.extend(api.broker.collected.counters());
    Reply::json(
        200,
        json!({
            "actions": actions,
            "rules": api.broker.rules.counters(),
            "uptime_ms": uptime,
        }),
    )
}

/// With `?aggregate=true` one object, else an array with an object for each node: for the one there is.
fn answer<'a>(
    api: &Api,
    parameters: &BTreeMap<String, String>,
    numbers: impl IntoIterator<Item = (&'a str, Json)>,
) -> Reply {
    let mut object: Map<String, Json> =
        numbers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if parameters.get("aggregate").map(String::as_str) == Some("true") {
        return Reply::json(200, Json::Object(object));
    }
    object.insert("node".to_owned(), Json::from(api.broker.node.as_str()));
    Reply::json(200, Json::Array(vec![Json::Object(object)]))
}
