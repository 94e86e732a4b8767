//! Which handler answers which request. Everything but health needs the webhook secret, before
//! anything of the body is looked at.

use rs1_auth::Presented;
use rs1_domain::config::BadConfig;
use rs1_domain::port::PortError;
use rs1_domain::security::{SecurityKind, Told};
use rs1_domain::{Answer, Method, Problem, Request, apart, limits};
use rs1_store::health;
use serde_json::json;

use crate::config::Config;
use crate::handlers::{acl, auth, config_status, diagnostics, gone, ota_status, provision, state, telemetry};
use crate::notice;
use crate::world::{Ports, World};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &["x-webhook-secret", "content-type", "cf-connecting-ip"];

/// The routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// How this worker is.
    Health,
    /// May a client connect?
    MqttAuth,
    /// May a client publish or subscribe?
    MqttAcl,
    /// A device says what it is.
    DeviceState,
    /// A session ended.
    DeviceOffline,
    /// A device measured.
    Telemetry,
    /// A device says how its update goes.
    OtaStatus,
    /// A device made something of a zone configuration.
    ConfigStatus,
    /// A device answers an operator.
    Diagnostics,
    /// A device reports for duty.
    Provision,
}

impl Route {
    pub(crate) const ALL: [Self; 10] = [
        Self::Health,
        Self::MqttAuth,
        Self::MqttAcl,
        Self::DeviceState,
        Self::DeviceOffline,
        Self::Telemetry,
        Self::OtaStatus,
        Self::ConfigStatus,
        Self::Diagnostics,
        Self::Provision,
    ];

    /// The path, which is also the pattern in logs.
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/webhook/health",
            Self::MqttAuth => "/webhook/mqtt-auth",
            Self::MqttAcl => "/webhook/mqtt-acl",
            Self::DeviceState => "/webhook/device-state",
            Self::DeviceOffline => "/webhook/device-offline",
            Self::Telemetry => "/webhook/telemetry",
            Self::OtaStatus => "/webhook/ota-status",
            Self::ConfigStatus => "/webhook/config-status",
            Self::Diagnostics => "/webhook/diagnostics",
            Self::Provision => "/webhook/provision",
        }
    }

    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Health => &[Method::Get, Method::Head],
            _ => &[Method::Post],
        }
    }

    /// The route of a path.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path() == path)
    }
}

/// The most bytes of a body that a request to this path may have.
pub fn body_limit(_: Method, path: &str) -> usize {
    match Route::of(path) {
        Some(Route::MqttAuth | Route::MqttAcl) => limits::ADMISSION_BODY,
        Some(Route::Health) | None => 0,
        Some(Route::Telemetry) => limits::BATCH_BODY,
        Some(_) => limits::WEBHOOK_BODY,
    }
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<impl Ports>,
) -> (&'static str, Answer) {
    let Some(route) = Route::of(&request.path) else {
        return (
            "unknown",
            Answer::problem(Problem::not_found("there is no such resource"), &request.request_id),
        );
    };
    let answer = answer(route, &request, config, world).await;
    (route.path(), answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id)))
}

async fn answer(
    route: Route,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<impl Ports>,
) -> Result<Answer, Problem> {
    if !route.methods().contains(&request.method) {
        return Err(Problem::method_not_allowed(route.methods()));
    }
    if route == Route::Health {
        let config = config.map(|_| ());
        return Ok(apart(health::check("telemetry", env!("CARGO_PKG_VERSION"), config, &world.db)).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    let secret = request.header("x-webhook-secret").unwrap_or_default();
    match config.webhook_secret.recognize(secret) {
        Some(Presented::Current) => {}
        Some(Presented::Previous) => {
            // The request is none the worse for it. What the log is not told now, it is told with the next one.
            let _ = apart(log_secret(SecurityKind::OutdatedSecret, "previous", route, request, world)).await;
        }
        None => return Err(apart(refuse(route, request, world)).await),
    }
    match route {
        Route::MqttAuth => apart(auth::authenticate(world, config, request)),
        Route::MqttAcl => apart(acl::authorize(world, request)),
        Route::DeviceState => apart(state::report(&world.db, &world.updates, &world.broker, request)),
        Route::DeviceOffline => apart(gone::report(&world.db, request)),
        Route::Telemetry => apart(telemetry::accept(world, request)),
        Route::OtaStatus => apart(ota_status::accept(world, request)),
        Route::ConfigStatus => apart(config_status::report(&world.db, request)),
        Route::Diagnostics => apart(diagnostics::report(world, request)),
        Route::Provision => {
            apart(provision::provision(&world.db, &world.queue, &world.random, &world.broker, request))
        }
        Route::Health => return Err(Problem::internal("health was answered above")),
    }
    .await
}

/// Refuses a call that is not EMQX's, or EMQX's with a secret that is not good any more, and hands that on to the security log.
async fn refuse(route: Route, request: &Request, world: &World<impl Ports>) -> Problem {
    let problem = Problem::unauthenticated("X-Webhook-Secret is missing or not good");
    let secret = if request.header("x-webhook-secret").is_some() { "wrong" } else { "none" };
    match log_secret(SecurityKind::BadWebhookSecret, secret, route, request, world).await {
        Ok(()) => problem,
        Err(error) => problem.with_log(format!("not recorded: {error}")),
    }
}

/// Tells the security log which secret somebody called with, if that is due.
async fn log_secret(
    kind: SecurityKind,
    secret: &str,
    route: Route,
    request: &Request,
    world: &World<impl Ports>,
) -> Result<(), PortError> {
    let peerhost = request.header("cf-connecting-ip").unwrap_or_default();
    let Some(told) = notice::due(world, kind, peerhost, request) else { return Ok(()) };
    let detail = json!({"route": route.path(), "secret": secret});
    let Told { source, count } = &told;
    let event = notice::event(&world.random, kind, source, Some(peerhost), *count, detail, request);
    notice::tell(world, kind, &told, event).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_path_and_no_other() {
        for route in Route::ALL {
            assert_eq!(Route::of(route.path()), Some(route));
        }
        for path in [
            "",
            "/",
            "/webhook",
            "/webhook/",
            "/webhook/telemetry/",
            "/WEBHOOK/telemetry",
            "/webhook/telemetry%2f",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn only_routes_that_read_a_body_are_given_one() {
        assert_eq!(body_limit(Method::Get, "/webhook/health"), 0);
        assert_eq!(body_limit(Method::Post, "/nowhere"), 0);
        assert_eq!(body_limit(Method::Post, "/webhook/mqtt-acl"), limits::ADMISSION_BODY);
        assert_eq!(body_limit(Method::Post, "/webhook/device-state"), limits::WEBHOOK_BODY);
        assert_eq!(body_limit(Method::Post, "/webhook/telemetry"), limits::BATCH_BODY);
    }
}
