//! Authentication (`emqx_authn_http.erl`, `emqx_authn_chains.erl`).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use super::acl::Rule;
use super::answer;
use super::client::Identity;
use super::render::{self, Asking};
use crate::clock;
use crate::config::AuthRequest;
use crate::http::Pool;
use crate::live::{Gate, Live};

/// What a client that is let in may do, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Authorization does not concern it.
    pub is_superuser: bool,
    /// Attributes that placeholders and rules can name.
    pub client_attrs: BTreeMap<String, String>,
    /// When it is disconnected, in Unix **seconds**.
    pub expire_at: Option<i64>,
    /// Rules that decide before any source of authorization is asked.
    pub acl: Vec<Rule>,
}

/// What an authenticator, or all of them, said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in. `None` if there was nobody to ask.
    Allow(Option<Grant>),
    /// CONNACK 0x87 (MQTT 5) or 5.
    NotAuthorized,
    /// CONNACK 0x86 (MQTT 5) or 4, for the reason given.
    BadUsernameOrPassword(String),
    /// Not for this authenticator to say, for the reason given; the next one is asked.
    Ignore(String),
}

/// The chain of authenticators.
#[derive(Debug)]
pub struct Authenticator {
    chain: Vec<(Live<AuthRequest>, Pool)>,
    listener: String,
}

impl Authenticator {
    /// A chain of `requests`, asked in their order, behind `gate`.
    ///
    /// # Errors
    /// If a host cannot stand in a header.
    pub fn new(requests: Vec<AuthRequest>, listener: String, gate: &Gate) -> Result<Self, String> {
        let chain = requests
            .into_iter()
            .map(|request| {
                let AuthRequest { target, pool_size, connect_timeout, .. } = &request;
                let pool = Pool::new(target.clone(), *pool_size, *connect_timeout, gate.clone())?;
                Ok((Live::new(request), pool))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { chain, listener })
    }

    /// Asks as `requests` say from now on, over the same connections.
    pub fn renew(&self, requests: Vec<AuthRequest>) {
        for ((known, _), request) in self.chain.iter().zip(requests) {
            known.set(request);
        }
    }

    /// Asks one authenticator after the other until one decides. If none does, the client is denied;
    /// if there is none, it is let in.
    pub async fn authenticate(&self, identity: &Identity, password: Option<&Bytes>) -> Verdict {
        if self.chain.is_empty() {
            return Verdict::Allow(None);
        }
        for (request, pool) in &self.chain {
            match self.ask(&request.get(), pool, identity, password).await {
                Verdict::Ignore(why) => {
                    log::warn!("authentication of {} was not decided: {why}", identity.clientid);
                }
                decided => return decided,
            }
        }
        Verdict::NotAuthorized
    }

    async fn ask(
        &self,
        request: &AuthRequest,
        pool: &Pool,
        identity: &Identity,
        password: Option<&Bytes>,
    ) -> Verdict {
        let client_attrs = BTreeMap::new();
        let listener = &self.listener;
        let asking = Asking { identity, client_attrs: &client_attrs, listener, password, operation: None };
        let outgoing = match render::render(request, &asking) {
            Ok(outgoing) => outgoing,
            Err(why) => return Verdict::Ignore(why),
        };
        match pool.send_retrying(&outgoing, request.request_timeout).await {
            Ok(answer) => judge(
                answer.status.as_u16(),
                answer.content_type(),
                &answer.body,
                clock::unix_millis() / 1000,
            ),
            Err(failure) => Verdict::Ignore(failure.to_string()),
        }
    }
}

/// What an answer means. `now` is in Unix seconds.
fn judge(status: u16, content_type: Option<&str>, body: &[u8], now: i64) -> Verdict {
    match status {
        204 => Verdict::Allow(Some(Grant::default())),
        200 => match answer::fields(content_type.unwrap_or_default(), body) {
            Ok(fields) => judge_fields(&fields, now),
            Err(why) => Verdict::Ignore(why),
        },
        other => Verdict::Ignore(format!("status {other}")),
    }
}

fn judge_fields(fields: &Map<String, Json>, now: i64) -> Verdict {
    match fields.get("result").and_then(Json::as_str) {
        Some("allow") => {}
        Some("deny") => return Verdict::NotAuthorized,
        other => return Verdict::Ignore(format!("result {}", other.unwrap_or("missing"))),
    }
    let client_attrs = match client_attrs(fields.get("client_attrs")) {
        Ok(attrs) => attrs,
        Err(why) => return Verdict::Ignore(why),
    };
    let expire_at = match fields.get("expire_at").map(|value| expire_at(value, now)).transpose() {
        Ok(expire_at) => expire_at,
        Err(why) => return Verdict::BadUsernameOrPassword(why),
    };
    let acl = match fields.get("acl").map(acl).transpose() {
        Ok(rules) => rules.unwrap_or_default(),
        Err(why) => return Verdict::BadUsernameOrPassword(why),
    };
    let is_superuser = fields.get("is_superuser").is_some_and(to_bool);
    Verdict::Allow(Some(Grant { is_superuser, client_attrs, expire_at, acl }))
}

/// `emqx_authn_utils:is_superuser/1`.
fn to_bool(value: &Json) -> bool {
    match value {
        Json::Bool(flag) => *flag,
        Json::String(text) => matches!(text.as_str(), "true" | "1"),
        Json::Number(number) => number.as_i64().is_some_and(|number| number >= 1),
        _ => false,
    }
}

/// Names that are no identifiers are dropped. A value that is no string crashes EMQX's provider, and
/// the next authenticator is asked (`emqx_authn_utils:client_attrs/1`).
fn client_attrs(value: Option<&Json>) -> Result<BTreeMap<String, String>, String> {
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    let Json::Object(fields) = value else { return Err("client_attrs is not an object".to_owned()) };
    let mut attrs = BTreeMap::new();
    for (name, value) in fields {
        let Some(text) = value.as_str() else { return Err(format!("client_attrs.{name} is not a string")) };
        if is_attribute_name(name) {
            attrs.insert(name.clone(), text.to_owned());
        }
    }
    Ok(attrs)
}

/// `emqx_utils:is_restricted_str/1`.
fn is_attribute_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Seconds this large are far beyond any expiry: someone meant milliseconds.
const LOOKS_LIKE_MILLIS: i64 = 100_000_000_000;

fn expire_at(value: &Json, now: i64) -> Result<i64, String> {
    let Some(seconds) = value.as_i64() else { return Err(format!("expire_at {value} is not an integer")) };
    if seconds >= LOOKS_LIKE_MILLIS {
        return Err(format!("expire_at {seconds} is not in seconds"));
    }
    if seconds <= now {
        return Err(format!("expire_at {seconds} is in the past"));
    }
    Ok(seconds)
}

fn acl(value: &Json) -> Result<Vec<Rule>, String> {
    let Json::Array(rules) = value else { return Err("acl is not an array".to_owned()) };
    rules.iter().map(Rule::read).collect()
}

#[cfg(test)]
#[path = "authn_tests.rs"]
mod tests;
