//! `connectors` and `actions`: those of type `http` (`emqx_bridge_http_schema`,
//! `emqx_resource_schema:fields("creation_opts")`), and in `s3` those of that type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::header::HeaderMap;

use super::reader::{Findings, Section};
use super::request;
use super::s3::{self, S3Action, S3Connector};
use crate::http::{Origins, Target};
use crate::template::Template;

/// Where actions send.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Where it leads.
    pub target: Target,
    /// The path of its URL, which action paths are appended to.
    pub base_path: String,
    /// Its headers, names as written.
    pub headers: Vec<(String, String)>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How many connections there are.
    pub pool_size: usize,
    /// Whether everything of one client takes the same connection (`pool_type = hash`).
    pub by_client: bool,
}

/// What a rule sets off.
#[derive(Debug, Clone)]
pub struct Action {
    /// The name of its connector.
    pub connector: String,
    /// Path and query.
    pub path: hyper::Uri,
    /// Headers of connector and action together.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Body,
    /// How many workers there are, each with a buffer of its own.
    pub worker_pool_size: usize,
    /// Whether a worker waits for each answer before it sends the next message.
    pub query_mode: QueryMode,
    /// How many requests a worker has under way at most.
    pub inflight_window: usize,
    /// How long a message is worth sending.
    pub request_ttl: Duration,
    /// How long a worker waits before it tries again what failed.
    pub resume_interval: Duration,
    /// The most that a worker keeps, in bytes.
    pub max_buffer_bytes: u64,
}

/// `resource_opts.query_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryMode {
    /// One message after the other.
    Sync,
    /// Up to `inflight_window` at a time.
    Async,
}

/// The body of an action's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// JSON of everything that the rule selected: what EMQX sends when no body is configured.
    Selected,
    /// A template; values are put in raw, without escaping.
    Template(Template<BodyPath>),
}

/// What a placeholder in an action's body names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPath {
    /// `${.}`: everything, as JSON.
    Everything,
    /// `${a.b}`: what stands there.
    At(Vec<String>),
}

/// Things with names, and the names of those that are switched off.
#[derive(Debug)]
pub struct Named<T> {
    /// Those that are enabled.
    pub enabled: BTreeMap<String, T>,
    /// The names of all, so that naming a disabled one is not taken for a misspelling.
    pub names: BTreeSet<String>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { enabled: BTreeMap::new(), names: BTreeSet::new() }
    }
}

/// Things of both types.
#[derive(Debug)]
pub struct Typed<H, S> {
    /// Of type `http`.
    pub http: Named<H>,
    /// Of type `s3`.
    pub s3: Named<S>,
}

impl<H, S> Default for Typed<H, S> {
    fn default() -> Self {
        Self { http: Named::default(), s3: Named::default() }
    }
}

const DEFAULT_HEADERS: &[(&str, &str)] = &[
    ("accept", "application/json"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
    ("content-type", "application/json"),
    ("keep-alive", "timeout=5"),
];

const CONNECT_ON_DEMAND: &str = "connections are opened when they are needed";

/// Reads `connectors`.
pub fn connectors(
    root: &mut Section<'_>,
    origins: &Origins,
    findings: &mut Findings,
) -> Typed<Connector, S3Connector> {
    let mut named = Typed::default();
    let Some(mut outer) = root.section("connectors", findings) else { return named };
    for (name, section) in outer.named_sections("s3", findings) {
        named.s3.names.insert(name.clone());
        if let Some(connector) = s3::connector(section, origins, findings) {
            named.s3.enabled.insert(name, connector);
        }
    }
    for (name, section) in outer.named_sections("http", findings) {
        named.http.names.insert(name.clone());
        if let Some(connector) = connector(section, origins, findings) {
            named.http.enabled.insert(name, connector);
        }
    }
    outer.finish(findings);
    named
}

/// Reads `actions`.
pub fn actions(
    root: &mut Section<'_>,
    connectors: &Typed<Connector, S3Connector>,
    findings: &mut Findings,
) -> Typed<Action, S3Action> {
    let mut named = Typed::default();
    let Some(mut outer) = root.section("actions", findings) else { return named };
    for (name, section) in outer.named_sections("s3", findings) {
        named.s3.names.insert(name.clone());
        if let Some(action) = s3::action(section, &connectors.s3, findings) {
            named.s3.enabled.insert(name, action);
        }
    }
    for (name, section) in outer.named_sections("http", findings) {
        named.http.names.insert(name.clone());
        if let Some(action) = action(section, &connectors.http, findings) {
            named.http.enabled.insert(name, action);
        }
    }
    outer.finish(findings);
    named
}

fn connector(mut section: Section<'_>, origins: &Origins, findings: &mut Findings) -> Option<Connector> {
    let enabled = section.flag("enable", true, findings);
    section.text("description", findings);
    let url = request::url(&mut section, origins, findings);
    let headers = headers(&mut section, findings);
    let by_client = section.choice("pool_type", &[("random", false), ("hash", true)], false, findings);
    let (connect_timeout, pool_size) = request::pool(&mut section, findings);
    section.ignore(
        "resource_opts",
        CONNECT_ON_DEMAND,
        &["health_check_interval", "start_after_created", "start_timeout"],
        findings,
    );
    section.finish(findings);
    let (target, path) = url.filter(|_| enabled)?;
    Some(Connector { target, base_path: path.to_string(), headers, connect_timeout, pool_size, by_client })
}

fn action(
    mut section: Section<'_>,
    connectors: &Named<Connector>,
    findings: &mut Findings,
) -> Option<Action> {
    let at = section.at().clone();
    let enabled = section.flag("enable", true, findings);
    section.text("description", findings);
    let connector = connector_of(&mut section, connectors, findings)?;
    let parameters = section.section("parameters", findings);
    let options = options(&mut section, findings);
    section.finish(findings);
    let Some(mut parameters) = parameters else {
        findings.fault(&at, "parameters are missing");
        return None;
    };
    parameters.choice("method", &[("post", ())], (), findings);
    let path = parameters.text("path", findings).unwrap_or_default();
    let own_headers = headers(&mut parameters, findings);
    let body = parameters.text("body", findings).map_or(Body::Selected, |text| body(&text));
    // Parsed by EMQX and used nowhere on this path: what is retried is decided by the answer.
    parameters.ignore("max_retries", "EMQX parses it and does not use it", &[], findings);
    parameters.finish(findings);

    let connector_settings = connectors.enabled.get(&connector)?;
    let path = match join(&connector_settings.base_path, &path).parse() {
        Ok(path) => path,
        Err(error) => {
            findings.fault(&at, format!("path: {error}"));
            return None;
        }
    };
    let headers = match request::header_map(&merge(&connector_settings.headers, &own_headers)) {
        Ok(headers) => headers,
        Err(why) => {
            findings.fault(&at, why);
            return None;
        }
    };
    enabled.then_some(Action { connector, path, headers, body, ..options })
}

/// Reads `connector`: the name of one that there is.
pub(super) fn connector_of<T>(
    section: &mut Section<'_>,
    connectors: &Named<T>,
    findings: &mut Findings,
) -> Option<String> {
    let connector = section.required_text("connector", findings)?;
    if !connectors.names.contains(&connector) {
        findings.fault(section.at(), format!("there is no connector {connector}"));
    }
    Some(connector)
}

/// Reads `resource_opts` into an action that has nothing else yet.
fn options(section: &mut Section<'_>, findings: &mut Findings) -> Action {
    let mut action = Action {
        connector: String::new(),
        path: hyper::Uri::default(),
        headers: HeaderMap::new(),
        body: Body::Selected,
        worker_pool_size: 16,
        query_mode: QueryMode::Async,
        inflight_window: 100,
        request_ttl: Duration::from_secs(45),
        resume_interval: Duration::from_secs(15),
        max_buffer_bytes: 256 << 20,
    };
    let mut health_check_interval = Duration::from_secs(15);
    let mut resume_interval = None;
    if let Some(mut options) = section.section("resource_opts", findings) {
        let mut count = |name, default: u32, least| {
            usize::try_from(options.number(name, default, least, findings)).unwrap_or(usize::MAX)
        };
        action.worker_pool_size = count("worker_pool_size", 16, 1);
        action.inflight_window = count("inflight_window", 100, 1);
        let modes = [("async", QueryMode::Async), ("sync", QueryMode::Sync)];
        action.query_mode = options.choice("query_mode", &modes, QueryMode::Async, findings);
        action.request_ttl = options.duration("request_ttl", action.request_ttl, findings);
        action.max_buffer_bytes = options.bytes("max_buffer_bytes", action.max_buffer_bytes, findings);
        health_check_interval = options.duration("health_check_interval", health_check_interval, findings);
        resume_interval =
            Some(options.duration("resume_interval", Duration::ZERO, findings)).filter(|set| !set.is_zero());
        options.finish(findings);
    }
    action.resume_interval = resuming(resume_interval, health_check_interval, action.request_ttl);
    action
}

/// How long a worker waits before it tries again what failed; `set` is the hidden `resume_interval`
/// (`emqx_resource_buffer_worker:default_resume_interval/2`).
pub(super) fn resuming(set: Option<Duration>, health_check_interval: Duration, ttl: Duration) -> Duration {
    set.unwrap_or_else(|| health_check_interval.min(ttl.checked_div(3).unwrap_or_default()))
        .max(Duration::from_millis(1))
}

fn headers(section: &mut Section<'_>, findings: &mut Findings) -> Vec<(String, String)> {
    let Some(mut configured) = section.section("headers", findings) else {
        return DEFAULT_HEADERS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
    };
    let texts = request::header_texts(&mut configured, findings);
    texts.into_iter().map(|(name, _, value)| (name, value)).collect()
}

/// The action's headers over the connector's, by name to the letter
/// (`emqx_bridge_http_connector:process_request_and_action/3`).
fn merge(connector: &[(String, String)], action: &[(String, String)]) -> Vec<(String, String)> {
    let mut merged: Vec<(String, String)> =
        connector.iter().filter(|(name, _)| action.iter().all(|(own, _)| own != name)).cloned().collect();
    merged.extend_from_slice(action);
    merged
}

/// One slash between the two (`emqx_bridge_http_connector:join_paths/2`).
fn join(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let path = path.trim_start_matches('/');
    if path.is_empty() && !base.is_empty() { base.to_owned() } else { format!("{base}/{path}") }
}

fn body(text: &str) -> Body {
    Body::Template(Template::parse(text, |name| {
        if name == "." {
            return Some(BodyPath::Everything);
        }
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        path.iter().all(|part| !part.is_empty()).then_some(BodyPath::At(path))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_with_one_slash() {
        for (base, path, expected) in [
            ("/", "/webhook/telemetry", "/webhook/telemetry"),
            ("/api", "webhook", "/api/webhook"),
            ("/api/", "/webhook?x=1", "/api/webhook?x=1"),
            ("/api", "", "/api"),
            ("/", "", "/"),
        ] {
            assert_eq!(join(base, path), expected, "{base} and {path}");
        }
    }

    #[test]
    fn an_action_header_replaces_only_the_same_name_in_the_same_case() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let connector = [pair("content-type", "a"), pair("x-webhook-secret", "s")];
        let merged = merge(&connector, &[pair("Content-Type", "b"), pair("x-webhook-secret", "t")]);
        assert_eq!(
            merged,
            [pair("content-type", "a"), pair("Content-Type", "b"), pair("x-webhook-secret", "t")]
        );
    }
}
