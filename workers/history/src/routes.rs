//! Which handler answers which request.
//!
//! Only `/api/history/*` leads here from outside, and nothing is there but health, and exports for whoever has a link to one. Whatever else is
//! here comes by way of `device-api`.

use rs1_api::{operator, person};
use rs1_domain::config::BadConfig;
use rs1_domain::{Answer, Method, Problem, Request, apart};
use rs1_store::health;

use crate::config::Config;
use crate::handlers::{alerts, events, metrics, own_data, security_log, telemetry};
use crate::world::{Ports, World};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &["accept", "authorization", "cf-access-jwt-assertion"];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// How this worker is.
    Health,
    /// What a device measured.
    Telemetry(&'a str),
    /// What happened to it.
    Events(&'a str),
    /// What is wrong with it.
    Alerts(&'a str),
    /// That somebody knows.
    Acknowledge(&'a str, &'a str),
    /// All that there is of it, in one archive.
    Export(&'a str),
    /// That archive, by a link that we signed.
    Download(&'a str),
    /// That what there is of it goes.
    Data(&'a str),
    /// What somebody tried.
    SecurityLog,
    /// How the fleet and the pipeline are, for Prometheus.
    Metrics,
}

impl<'a> Route<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix("/api/")?.split('/').collect();
        match *segments.as_slice() {
            ["history", "health"] => Some(Self::Health),
            ["history", "exports", export] if !export.is_empty() => Some(Self::Download(export)),
            ["devices", device, "export"] if !device.is_empty() => Some(Self::Export(device)),
            ["devices", device, "data"] if !device.is_empty() => Some(Self::Data(device)),
            ["admin", "security-log"] => Some(Self::SecurityLog),
            ["admin", "metrics"] => Some(Self::Metrics),
            ["devices", device, "telemetry"] if !device.is_empty() => Some(Self::Telemetry(device)),
            ["devices", device, "events"] if !device.is_empty() => Some(Self::Events(device)),
            ["devices", device, "alerts"] if !device.is_empty() => Some(Self::Alerts(device)),
            ["devices", device, "alerts", alert, "ack"] if !device.is_empty() && !alert.is_empty() => {
                Some(Self::Acknowledge(device, alert))
            }
            _ => None,
        }
    }

    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Acknowledge(..) => &[Method::Post],
            Self::Export(_) => &[Method::Get, Method::Head, Method::Post],
            Self::Data(_) => &[Method::Get, Method::Head, Method::Delete],
            _ => &[Method::Get, Method::Head],
        }
    }

    /// What logs and analytics say.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::Health => "/api/history/health",
            Self::Telemetry(_) => "/api/devices/{id}/telemetry",
            Self::Events(_) => "/api/devices/{id}/events",
            Self::Alerts(_) => "/api/devices/{id}/alerts",
            Self::Acknowledge(..) => "/api/devices/{id}/alerts/{alert}/ack",
            Self::Export(_) => "/api/devices/{id}/export",
            Self::Download(_) => "/api/history/exports/{export}",
            Self::Data(_) => "/api/devices/{id}/data",
            Self::SecurityLog => "/api/admin/security-log",
            Self::Metrics => "/api/admin/metrics",
        }
    }
}

/// No route takes a body.
pub fn body_limit(_: Method, _: &str) -> usize {
    0
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<impl Ports>,
) -> (&'static str, Answer) {
    let route = Route::of(&request.path);
    let answer = match route {
        Some(route) => answer(route, &request, config, world).await,
        None => Err(Problem::not_found("there is no such resource")),
    };
    let answer = answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id));
    (route.map_or("unknown", Route::pattern), answer)
}

async fn answer(
    route: Route<'_>,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<impl Ports>,
) -> Result<Answer, Problem> {
    let methods = route.methods();
    if !methods.contains(&request.method) {
        return Err(Problem::method_not_allowed(methods));
    }
    if route == Route::Health {
        let config = config.map(|_| ());
        return Ok(health::check("history", env!("CARGO_PKG_VERSION"), config, &world.db).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    if matches!(route, Route::SecurityLog | Route::Metrics) {
        let World { documents, signatures, keys, .. } = world;
        operator::identify(request, &config.operators, keys, documents, signatures).await?;
        let asked = match route {
            Route::Metrics => apart(metrics::show(&world.db, &world.cache, request)),
            _ => apart(security_log::list(&world.db, request)),
        };
        return asked.await;
    }
    let World { db, archives, random, .. } = world;
    if let Route::Download(export) = route {
        return apart(own_data::download(db, archives, random, &config.export_links, export, request)).await;
    }
    let person = person::identify(request, &config.access_tokens)?;
    match route {
        Route::Health | Route::Download(_) | Route::SecurityLog | Route::Metrics => {
            return Err(Problem::internal("that was answered above"));
        }
        Route::Telemetry(device) => {
            apart(telemetry::show(&world.db, &world.archives, &person, device, request))
        }
        Route::Export(device) if request.method == Method::Post => {
            apart(own_data::export(db, random, &person, device, request))
        }
        Route::Export(device) => {
            apart(own_data::exported(db, &config.export_links, &person, device, request))
        }
        Route::Data(device) if request.method == Method::Delete => {
            apart(own_data::erase(db, archives, random, &person, device, request))
        }
        Route::Data(device) => apart(own_data::erased(db, &person, device, request)),
        Route::Events(device) => apart(events::list(&world.db, &person, device, request)),
        Route::Alerts(device) => apart(alerts::list(&world.db, &person, device, request)),
        Route::Acknowledge(device, alert) => {
            apart(alerts::acknowledge(&world.db, &person, device, alert, request))
        }
    }
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_path_and_no_other() {
        assert_eq!(Route::of("/api/history/health"), Some(Route::Health));
        assert_eq!(Route::of("/api/history/exports/exp-1"), Some(Route::Download("exp-1")));
        assert_eq!(Route::of("/api/devices/x1/export"), Some(Route::Export("x1")));
        assert_eq!(Route::of("/api/devices/x1/data"), Some(Route::Data("x1")));
        assert_eq!(Route::of("/api/devices/x1/telemetry"), Some(Route::Telemetry("x1")));
        assert_eq!(Route::of("/api/admin/security-log"), Some(Route::SecurityLog));
        assert_eq!(Route::of("/api/admin/metrics"), Some(Route::Metrics));
        assert_eq!(Route::of("/api/devices/x1/events"), Some(Route::Events("x1")));
        assert_eq!(Route::of("/api/devices/x1/alerts"), Some(Route::Alerts("x1")));
        assert_eq!(Route::of("/api/devices/x1/alerts/a2/ack"), Some(Route::Acknowledge("x1", "a2")));
        for path in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/history/",
            "/api/history/exports/",
            "/api/devices//telemetry",
            "/api/devices/x/telemetry/",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        // What the route from outside lets through must be none of the others, however the path is read.
        for path in [
            "/api/history/../devices/x1/telemetry",
            "/api/history/%2e%2e/devices/x1/telemetry",
            "/api/history/devices/x1/telemetry",
            "/api/history/admin/security-log",
            "/api/history/../admin/security-log",
            "/api/history/admin/metrics",
            "/api/history/../admin/metrics",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }
}
