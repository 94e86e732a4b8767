//! Which handler answers which request.
//!
//! Everything below `/api/admin` needs an operator, and is audited before it is carried out.

use rs1_api::{audit, operator};
use rs1_domain::config::BadConfig;
use rs1_domain::port::{Database, DocumentSource, Random, SignatureVerifier};
use rs1_domain::{Answer, Method, Problem, Request, limits};
use rs1_store::health;

use crate::config::Config;
use crate::handlers::{devices, enroll, security_log, telemetry};
use crate::world::World;

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &["authorization", "cf-access-jwt-assertion", "cf-connecting-ip"];

/// The routes, with what their paths name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// How this worker is.
    Health,
    /// Enrol one device.
    Enroll,
    /// Enrol up to a thousand.
    EnrollBulk,
    /// The registry.
    Devices,
    /// One device.
    Device(&'a str),
    /// One device's hours.
    DeviceTelemetry(&'a str),
    /// What somebody tried.
    SecurityLog,
}

impl<'a> Route<'a> {
    /// The route of a path.
    pub fn of(path: &'a str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix("/api/")?.split('/').collect();
        Some(match *segments.as_slice() {
            ["health"] => Self::Health,
            ["admin", "enroll"] => Self::Enroll,
            ["admin", "enroll", "bulk"] => Self::EnrollBulk,
            ["admin", "devices"] => Self::Devices,
            ["admin", "devices", device] if !device.is_empty() => Self::Device(device),
            ["admin", "devices", device, "telemetry"] => Self::DeviceTelemetry(device),
            ["admin", "security-log"] => Self::SecurityLog,
            _ => return None,
        })
    }

    /// The pattern, for logs.
    pub fn pattern(&self) -> &'static str {
        match self {
            Self::Health => "/api/health",
            Self::Enroll => "/api/admin/enroll",
            Self::EnrollBulk => "/api/admin/enroll/bulk",
            Self::Devices => "/api/admin/devices",
            Self::Device(_) => "/api/admin/devices/{id}",
            Self::DeviceTelemetry(_) => "/api/admin/devices/{id}/telemetry",
            Self::SecurityLog => "/api/admin/security-log",
        }
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Enroll | Self::EnrollBulk => &[Method::Post],
            _ => &[Method::Get, Method::Head],
        }
    }

    fn target(&self) -> Option<&'a str> {
        match self {
            Self::Device(device) | Self::DeviceTelemetry(device) => Some(device),
            _ => None,
        }
    }
}

/// The most bytes of a body that a request to this path may have.
pub fn body_limit(_: Method, path: &str) -> usize {
    match Route::of(path) {
        Some(Route::Enroll) => limits::API_BODY,
        Some(Route::EnrollBulk) => limits::BULK_ENROLL_BODY,
        _ => 0,
    }
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Database, impl DocumentSource, impl SignatureVerifier, impl Random>,
) -> (&'static str, Answer) {
    let Some(route) = Route::of(&request.path) else {
        return (
            "unknown",
            Answer::problem(Problem::not_found("there is no such resource"), &request.request_id),
        );
    };
    let answer = answer(&route, &request, config, world).await;
    (route.pattern(), answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id)))
}

async fn answer(
    route: &Route<'_>,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Database, impl DocumentSource, impl SignatureVerifier, impl Random>,
) -> Result<Answer, Problem> {
    if !route.methods().contains(&request.method) {
        return Err(Problem::method_not_allowed(route.methods()));
    }
    let db = &world.db;
    if *route == Route::Health {
        return Ok(health::check("device-api", env!("CARGO_PKG_VERSION"), config.map(|_| ()), db).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    let operator =
        operator::identify(request, &config.operators, world.keys, &world.documents, &world.signatures)
            .await?;
    audit::admin_access(db, &world.random, &operator, route.pattern(), route.target(), request).await?;
    match route {
        Route::Health => Err(Problem::internal("health was answered above")),
        Route::Enroll => enroll::one(db, &world.random, config, &operator, request).await,
        Route::EnrollBulk => enroll::bulk(db, &world.random, config, &operator, request).await,
        Route::Devices => devices::list(db, request).await,
        Route::Device(device) => devices::one(db, device, request).await,
        Route::DeviceTelemetry(device) => telemetry::hours(db, device, request).await,
        Route::SecurityLog => security_log::list(db, request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        for (path, route) in [
            ("/api/health", Some(Route::Health)),
            ("/api/admin/enroll", Some(Route::Enroll)),
            ("/api/admin/enroll/bulk", Some(Route::EnrollBulk)),
            ("/api/admin/devices", Some(Route::Devices)),
            ("/api/admin/devices/x", Some(Route::Device("x"))),
            ("/api/admin/devices/x/telemetry", Some(Route::DeviceTelemetry("x"))),
            ("/api/admin/security-log", Some(Route::SecurityLog)),
            ("/api/admin/devices/", None),
            ("/api/admin/devices/x/", None),
            ("/api/health/", None),
            ("/api", None),
            ("/", None),
            ("/webhook/health", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
