//! Which handler answers which request on ota.optic.works.
//!
//! Everything below `/admin` needs an operator, and is audited before it is carried out. What devices download needs a link
//! that we signed.

use rs1_api::{audit, operator};
use rs1_domain::config::BadConfig;
use rs1_domain::port::FileStore;
use rs1_domain::{Answer, Method, Problem, Request, apart, limits, range};
use rs1_rollout::Verb;
use rs1_store::health;

use crate::config::Config;
use crate::handlers::{download, firmware, keys, replay, rollouts, upload};
use crate::world::{Ports, World};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &[
    "authorization",
    "cf-access-jwt-assertion",
    "cf-connecting-ip",
    replay::HEADER,
    upload::HEADERS[0],
    upload::HEADERS[1],
    upload::HEADERS[2],
    upload::HEADERS[3],
    range::HEADERS[0],
    range::HEADERS[1],
    range::HEADERS[2],
    range::HEADERS[3],
];

/// The routes, with what their paths name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// How this worker is.
    Health,
    /// What devices download: variant, and version with `.bin` behind it.
    Download(&'a str, &'a str),
    /// The keys that sign firmware.
    Keys,
    /// One of them.
    Key(&'a str),
    /// The artifacts.
    Artifacts,
    /// One of them: variant and version.
    Artifact(&'a str, &'a str),
    /// Withdrawing it.
    Yank(&'a str, &'a str),
    /// The rollouts.
    Rollouts,
    /// One of them.
    Rollout(&'a str),
    /// Its devices.
    RolloutDevices(&'a str),
    /// Its history.
    RolloutEvents(&'a str),
    /// What it is told: its id and the verb.
    RolloutVerb(&'a str, &'a str),
}

impl<'a> Route<'a> {
    /// The route of a path.
    pub fn of(path: &'a str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        Some(match *segments.as_slice() {
            ["health"] => Self::Health,
            ["firmware", sku, file] => Self::Download(sku, file.strip_suffix(".bin")?),
            ["admin", "firmware-keys"] => Self::Keys,
            ["admin", "firmware-keys", key] if !key.is_empty() => Self::Key(key),
            ["admin", "firmware"] => Self::Artifacts,
            ["admin", "firmware", sku, version] if !version.is_empty() => Self::Artifact(sku, version),
            ["admin", "firmware", sku, version, "yank"] => Self::Yank(sku, version),
            ["admin", "rollouts"] => Self::Rollouts,
            ["admin", "rollouts", id] if !id.is_empty() => Self::Rollout(id),
            ["admin", "rollouts", id, "devices"] => Self::RolloutDevices(id),
            ["admin", "rollouts", id, "events"] => Self::RolloutEvents(id),
            ["admin", "rollouts", id, verb] if Verb::parse(verb).is_some() => Self::RolloutVerb(id, verb),
            _ => return None,
        })
    }

    /// The pattern, for logs.
    pub fn pattern(&self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Download(..) => "/firmware/{sku}/{version}.bin",
            Self::Keys => "/admin/firmware-keys",
            Self::Key(_) => "/admin/firmware-keys/{id}",
            Self::Artifacts => "/admin/firmware",
            Self::Artifact(..) => "/admin/firmware/{sku}/{version}",
            Self::Yank(..) => "/admin/firmware/{sku}/{version}/yank",
            Self::Rollouts => "/admin/rollouts",
            Self::Rollout(_) => "/admin/rollouts/{id}",
            Self::RolloutDevices(_) => "/admin/rollouts/{id}/devices",
            Self::RolloutEvents(_) => "/admin/rollouts/{id}/events",
            Self::RolloutVerb(..) => "/admin/rollouts/{id}/{verb}",
        }
    }

    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Keys | Self::Rollouts => &[Method::Get, Method::Head, Method::Post],
            Self::Key(_) => &[Method::Delete],
            Self::Artifact(..) => &[Method::Get, Method::Head, Method::Put],
            Self::Yank(..) | Self::RolloutVerb(..) => &[Method::Post],
            Self::Health
            | Self::Download(..)
            | Self::Artifacts
            | Self::Rollout(_)
            | Self::RolloutDevices(_)
            | Self::RolloutEvents(_) => &[Method::Get, Method::Head],
        }
    }

    fn target(&self) -> Option<String> {
        match self {
            Self::Key(id)
            | Self::Rollout(id)
            | Self::RolloutDevices(id)
            | Self::RolloutEvents(id)
            | Self::RolloutVerb(id, _) => Some((*id).to_owned()),
            Self::Artifact(sku, version) | Self::Yank(sku, version) => Some(format!("{sku}/{version}")),
            _ => None,
        }
    }
}

/// The most bytes of a body that a request to this path may have.
pub fn body_limit(method: Method, path: &str) -> usize {
    match (method, Route::of(path)) {
        (Method::Post, Some(Route::Keys | Route::Yank(..) | Route::Rollouts | Route::RolloutVerb(..))) => {
            limits::API_BODY
        }
        (Method::Put, Some(Route::Artifact(..))) => limits::STREAMED_BODY,
        _ => 0,
    }
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
    files: &impl FileStore,
) -> (&'static str, Answer) {
    let Some(route) = Route::of(&request.path) else {
        return (
            "unknown",
            Answer::problem(Problem::not_found("there is no such resource"), &request.request_id),
        );
    };
    let answer = answer(&route, &request, config, world, files).await;
    (route.pattern(), answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id)))
}

async fn answer(
    route: &Route<'_>,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
    files: &impl FileStore,
) -> Result<Answer, Problem> {
    if !route.methods().contains(&request.method) {
        return Err(Problem::method_not_allowed(route.methods()));
    }
    let (db, random) = (&world.db, &world.random);
    if *route == Route::Health {
        return Ok(health::check("ota", env!("CARGO_PKG_VERSION"), config.map(|_| ()), db).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    if let Route::Download(sku, version) = *route {
        let from = download::From { db, reports: &world.reports, files, permits: world.permits };
        return apart(download::get(&from, config, (sku, version), request)).await;
    }
    let operator =
        operator::identify(request, &config.operators, world.keys, &world.documents, &world.signatures)
            .await?;
    audit::admin_access(db, random, &operator, route.pattern(), route.target().as_deref(), request).await?;
    match (route, request.method) {
        (Route::Health | Route::Download(..), _) => return Err(Problem::internal("it was answered above")),
        (Route::Keys, Method::Post) => apart(keys::register(db, random, &operator, request)),
        (Route::Keys, _) => apart(keys::list(db, request)),
        (Route::Key(key), _) => apart(keys::revoke(db, random, &operator, key, request)),
        (Route::Artifacts, _) => apart(firmware::list(db, request)),
        (Route::Artifact(sku, version), Method::Put) => {
            apart(upload::put(db, files, random, &operator, (sku, version), request))
        }
        (Route::Artifact(sku, version), _) => apart(firmware::one(db, (sku, version), request)),
        (Route::Yank(sku, version), _) => {
            apart(firmware::yank(db, random, &operator, (sku, version), request))
        }
        (Route::Rollouts, Method::Post) => apart(rollouts::create(world, &config.policy, &operator, request)),
        (Route::Rollouts, _) => apart(rollouts::list(db, request)),
        (Route::Rollout(id), _) => apart(rollouts::one(db, id, request)),
        (Route::RolloutDevices(id), _) => apart(rollouts::devices(db, id, request)),
        (Route::RolloutEvents(id), _) => apart(rollouts::events(db, id, request)),
        (Route::RolloutVerb(id, verb), _) => {
            apart(rollouts::command(world, &config.policy, &operator, (id, verb), request))
        }
    }
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        for (path, route) in [
            ("/health", Some(Route::Health)),
            ("/firmware/rs1_pro/1.2.0.bin", Some(Route::Download("rs1_pro", "1.2.0"))),
            ("/admin/firmware-keys", Some(Route::Keys)),
            ("/admin/firmware-keys/fwk-1", Some(Route::Key("fwk-1"))),
            ("/admin/firmware", Some(Route::Artifacts)),
            ("/admin/firmware/rs1_pro/1.2.0", Some(Route::Artifact("rs1_pro", "1.2.0"))),
            ("/admin/firmware/rs1_pro/1.2.0/yank", Some(Route::Yank("rs1_pro", "1.2.0"))),
            ("/admin/rollouts", Some(Route::Rollouts)),
            ("/admin/rollouts/rol-1", Some(Route::Rollout("rol-1"))),
            ("/admin/rollouts/rol-1/devices", Some(Route::RolloutDevices("rol-1"))),
            ("/admin/rollouts/rol-1/events", Some(Route::RolloutEvents("rol-1"))),
            ("/admin/rollouts/rol-1/pause", Some(Route::RolloutVerb("rol-1", "pause"))),
            ("/admin/rollouts/rol-1/delete", None),
            ("/admin/rollouts/", None),
            ("/firmware/rs1_pro/1.2.0", None),
            ("/firmware/rs1_pro/1.2.0.bin/", None),
            ("/admin/firmware-keys/", None),
            ("/admin/firmware/rs1_pro", None),
            ("/admin/firmware/rs1_pro/", None),
            ("/admin/firmware/rs1_pro/1.2.0/", None),
            ("/admin", None),
            ("/", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
