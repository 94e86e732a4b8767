//! `authorization` (`emqx_schema:authz_fields/0`, `emqx_authz_schema`).

use std::time::Duration;

use super::reader::{Findings, Section};
use super::request::{self, AuthRequest, Purpose};
use crate::http::Origins;

/// Who may publish and subscribe what.
#[derive(Debug)]
pub struct Authorization {
    /// Whether an operation that no source decides is allowed. EMQX's default is yes.
    pub allow_no_match: bool,
    /// What a denied client feels.
    pub deny_action: DenyAction,
    /// The cache of decisions that each client has, if it is enabled.
    pub cache: Option<CacheLimits>,
    /// HTTP sources that are enabled, in order.
    pub sources: Vec<AuthRequest>,
}

/// What a denied operation does to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyAction {
    /// The operation is refused, the connection stays.
    Ignore,
    /// The client is disconnected.
    Disconnect,
}

/// Limits of a client's cache of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// The most decisions kept.
    pub max_size: usize,
    /// How long each is kept.
    pub ttl: Duration,
}

/// Reads `authorization`.
pub fn read(root: &mut Section<'_>, origins: &Origins, findings: &mut Findings) -> Authorization {
    let mut authorization = Authorization {
        allow_no_match: true,
        deny_action: DenyAction::Ignore,
        cache: Some(CacheLimits { max_size: 32, ttl: Duration::from_mins(1) }),
        sources: Vec::new(),
    };
    let at = root.at().clone();
    let Some(mut section) = root.section("authorization", findings) else {
        findings.fault(&at, "authorization is missing: EMQX would fall back to its acl.conf file");
        return authorization;
    };
    authorization.allow_no_match =
        section.choice("no_match", &[("allow", true), ("deny", false)], true, findings);
    authorization.deny_action = section.choice(
        "deny_action",
        &[("ignore", DenyAction::Ignore), ("disconnect", DenyAction::Disconnect)],
        DenyAction::Ignore,
        findings,
    );
    if let Some(mut cache) = section.section("cache", findings) {
        let enabled = cache.flag("enable", true, findings);
        let max_size = cache.number("max_size", 32, 1, findings);
        let ttl = cache.duration("ttl", Duration::from_mins(1), findings);
        cache.finish(findings);
        let max_size = usize::try_from(max_size).unwrap_or(usize::MAX);
        authorization.cache = enabled.then_some(CacheLimits { max_size, ttl });
    }
    for mut source in section.sections("sources", findings) {
        source.choice("type", &[("http", ())], (), findings);
        authorization.sources.extend(request::read(source, Purpose::Authorization, origins, findings));
    }
    section.finish(findings);
    authorization
}
