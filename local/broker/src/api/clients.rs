//! `/clients/…` and `/authorization/cache` (`emqx_mgmt_api_clients.erl`,
//! `emqx_authz_api_cache.erl`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use chrono::{DateTime, SecondsFormat};
use rmqtt::session::Session;
use rmqtt::shared::Entry;
use rmqtt::types::{ClientId, Id};
use serde_json::{Map, Value as Json};

use super::Api;
use super::reply::Reply;

/// `GET /clients/{clientid}`.
pub async fn get(State(api): State<Arc<Api>>, Path(clientid): Path<String>) -> Reply {
    match entry(&api, clientid).await.session() {
        Some(session) => Reply::json(200, describe(&session, &api.broker.node).await),
        None => not_found(),
    }
}

/// `DELETE /clients/{clientid}`: the client is disconnected and its session dropped.
pub async fn kick(State(api): State<Arc<Api>>, Path(clientid): Path<String>) -> Reply {
    if kick_out(&api, clientid).await { Reply::no_content() } else { not_found() }
}

/// `POST /clients/kickout/bulk`, with an array of client ids.
pub async fn kick_all(State(api): State<Arc<Api>>, body: Bytes) -> Reply {
    let Ok(clientids) = serde_json::from_slice::<Vec<String>>(&body) else {
        return Reply::error(400, "BAD_REQUEST", "the body is not an array of client ids");
    };
    for clientid in clientids {
        kick_out(&api, clientid).await;
    }
    Reply::no_content()
}

/// `DELETE /authorization/cache`.
pub async fn clear_cache(State(api): State<Arc<Api>>) -> Reply {
    api.broker.authorizer.clear_cache();
    Reply::no_content()
}

/// Returns whether there was a session to end.
async fn kick_out(api: &Api, clientid: String) -> bool {
    let mut entry = entry(api, clientid).await;
    if !entry.exist() {
        return false;
    }
    // As for a clean start: the session is gone, and so its will is published.
    if let Err(error) = entry.kick(true, true, true).await {
        log::warn!("{} could not be kicked out: {error}", entry.id().client_id);
    }
    true
}

async fn entry(api: &Api, clientid: String) -> Box<dyn Entry> {
    let id = Id::from(api.scx.node.id(), ClientId::from(clientid));
    api.scx.extends.shared().await.entry(id)
}

fn not_found() -> Reply {
    Reply::error(404, "CLIENTID_NOT_FOUND", "Client ID not found")
}

async fn describe(session: &Session, node: &str) -> Json {
    let connected = session.connected().await.unwrap_or_default();
    let mut client = Map::new();
    let mut put = |name: &str, value: Json| {
        client.insert(name.to_owned(), value);
    };
    put("clientid", Json::from(&*session.id.client_id));
    put("username", session.id.username.as_deref().map_or(Json::Null, Json::from));
    put("node", Json::from(node));
    put("connected", Json::from(connected));
    put("created_at", time(session.created_at().await.unwrap_or_default()));
    put("connected_at", time(session.connected_at().await.unwrap_or_default()));
    if !connected {
        put("disconnected_at", time(session.disconnected_at().await.unwrap_or_default()));
    }
    if let Some(peer) = session.id.remote_addr {
        put("ip_address", Json::from(peer.ip().to_string()));
        put("port", Json::from(peer.port()));
    }
    put("proto_name", Json::from("MQTT"));
    put("proto_ver", Json::from(session.protocol().await.unwrap_or_default()));
    if let Ok(connect) = session.connect_info().await {
        put("keepalive", Json::from(connect.keep_alive()));
        put("clean_start", Json::from(connect.clean_start()));
    }
    put("expiry_interval", Json::from(session.fitter.session_expiry_interval(None).as_secs()));
    if let Ok(subscriptions) = session.subscriptions().await {
        put("subscriptions_cnt", Json::from(subscriptions.len().await));
    }
    put("mqueue_len", Json::from(session.deliver_queue().len()));
    Json::Object(client)
}

fn time(millis: i64) -> Json {
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    Json::from(time.to_rfc3339_opts(SecondsFormat::Millis, false))
}
