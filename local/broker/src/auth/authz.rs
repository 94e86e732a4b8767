//! Authorization (`emqx_access_control:authorize/3`, `emqx_authz.erl`, `emqx_authz_http.erl`).
//!
//! In EMQX's order: the client's cache, then superusers, then the rules that authentication handed
//! out, then the sources, then `no_match`. Whatever comes out is cached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::acl::Operation;
use super::answer;
use super::client::Client;
use super::render::{self, Asking};
use crate::config::{AuthRequest, Authorization, CacheLimits, DenyAction};
use crate::http::Pool;
use crate::live::{Gate, Live};
use crate::metrics::{Counter, Metrics};

/// Decides what clients may do.
#[derive(Debug)]
pub struct Authorizer {
    sources: Vec<(Live<AuthRequest>, Pool)>,
    cache: Option<CacheLimits>,
    allow_no_match: bool,
    deny_action: DenyAction,
    listener: String,
    /// Raised to clear every client's cache.
    generation: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Authorizer {
    /// Decides by `settings`, and asks behind `gate`.
    ///
    /// # Errors
    /// If a host cannot stand in a header.
    pub fn new(
        settings: Authorization,
        listener: String,
        metrics: Arc<Metrics>,
        gate: &Gate,
    ) -> Result<Self, String> {
        let sources = settings
            .sources
            .into_iter()
            .map(|request| {
                let AuthRequest { target, pool_size, connect_timeout, .. } = &request;
                let pool = Pool::new(target.clone(), *pool_size, *connect_timeout, gate.clone())?;
                Ok((Live::new(request), pool))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            sources,
            cache: settings.cache,
            allow_no_match: settings.allow_no_match,
            deny_action: settings.deny_action,
            listener,
            generation: AtomicU64::new(0),
            metrics,
        })
    }

    /// Asks as `sources` say from now on, over the same connections.
    pub fn renew(&self, sources: Vec<AuthRequest>) {
        for ((known, _), request) in self.sources.iter().zip(sources) {
            known.set(request);
        }
    }

    /// Whether a denied client is to be disconnected.
    pub fn disconnects(&self) -> bool {
        self.deny_action == DenyAction::Disconnect
    }

    /// Forgets every cached decision (`DELETE /authorization/cache`).
    pub fn clear_cache(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether `client` may do `operation`.
    pub async fn authorize(&self, client: &Client, operation: Operation) -> bool {
        self.metrics.count(Counter::ClientAuthorize);
        let generation = self.generation.load(Ordering::Relaxed);
        if let Some(limits) = self.cache {
            let cached = client.decisions.lock().get(&operation, limits, generation);
            if let Some(allowed) = cached {
                self.metrics.count(Counter::AuthorizationCacheHit);
                return self.counted(client, &operation, allowed);
            }
            self.metrics.count(Counter::AuthorizationCacheMiss);
        }
        let allowed = self.decide(client, &operation).await;
        self.counted(client, &operation, allowed);
        if let Some(limits) = self.cache {
            client.decisions.lock().put(operation, allowed, limits, generation);
        }
        allowed
    }

    async fn decide(&self, client: &Client, operation: &Operation) -> bool {
        if client.grant.is_superuser {
            self.metrics.count(Counter::AuthorizationSuperuser);
            return true;
        }
        let by_rule = client.grant.acl.iter().find_map(|rule| rule.decide(&client.identity, operation));
        if let Some(allowed) = by_rule {
            return self.matched(allowed);
        }
        for (request, pool) in &self.sources {
            match self.ask(&request.get(), pool, client, operation).await {
                Ok(Some(allowed)) => return self.matched(allowed),
                Ok(None) => {}
                Err(why) => log::warn!(
                    "authorization of {} for {operation:?} was not decided: {why}",
                    client.identity.clientid
                ),
            }
        }
        self.metrics.count(Counter::AuthorizationNoMatch);
        self.allow_no_match
    }

    fn matched(&self, allowed: bool) -> bool {
        self.metrics.count(if allowed {
            Counter::AuthorizationMatchedAllow
        } else {
            Counter::AuthorizationMatchedDeny
        });
        allowed
    }

    fn counted(&self, client: &Client, operation: &Operation, allowed: bool) -> bool {
        if allowed {
            self.metrics.count(Counter::AuthorizationAllow);
        } else {
            self.metrics.count(Counter::AuthorizationDeny);
            log::info!("denied to {}: {operation:?}", client.identity.clientid);
        }
        allowed
    }

    async fn ask(
        &self,
        request: &AuthRequest,
        pool: &Pool,
        client: &Client,
        operation: &Operation,
    ) -> Result<Option<bool>, String> {
        let asking = Asking {
            identity: &client.identity,
            client_attrs: &client.grant.client_attrs,
            listener: &self.listener,
            password: None,
            operation: Some(operation),
        };
        let outgoing = render::render(request, &asking)?;
        let answer = pool
            .send_retrying(&outgoing, request.request_timeout)
            .await
            .map_err(|failure| failure.to_string())?;
        judge(answer.status.as_u16(), answer.content_type(), &answer.body)
    }
}

/// What an answer means: allow, deny, or nothing. Without a content type a body is taken for JSON,
/// other than in authentication.
///
/// # Errors
/// Why it means nothing, where that is no proper answer.
fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Option<bool>, String> {
    match status {
        204 => Ok(Some(true)),
        200 => {
            let fields = answer::fields(content_type.unwrap_or("application/json"), body)?;
            match fields.get("result").and_then(serde_json::Value::as_str) {
                Some("allow") => Ok(Some(true)),
                Some("deny") => Ok(Some(false)),
                Some("ignore") => Ok(None),
                other => Err(format!("result {}", other.unwrap_or("missing"))),
            }
        }
        other => Err(format!("status {other}")),
    }
}

#[cfg(test)]
#[path = "authz_tests.rs"]
mod tests;
