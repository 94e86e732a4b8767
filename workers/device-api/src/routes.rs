//! Which handler answers which request: one table, and who may use each of its lines.
//!
//! A person's routes need an access token, an operator's (below `/api/admin`) the operator's own, and those are audited before
//! they are carried out. Whoever it is, their requests are counted first ([`limit`](crate::limit)).

use rs1_api::{audit, operator, person};
use rs1_auth::access_token;
use rs1_auth::operator::Operator;
use rs1_domain::config::BadConfig;
use rs1_domain::port::Peer;
use rs1_domain::{Answer, Method, Problem, Request, apart, limits};
use rs1_store::health;

use crate::config::Config;
use crate::handlers::{
    devices, diagnostics, enroll, fleet, my_devices, operators, orders, session, shares, tags, telemetry,
    transfers, zones,
};
use crate::trail::Trail;
use crate::world::{Ports, World};
use crate::{cors, limit};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &[
    "accept",
    "authorization",
    "cf-access-jwt-assertion",
    "cf-connecting-ip",
    "if-match",
    "origin",
    "access-control-request-method",
];

/// One line of the table: what answers a method on a path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method. `HEAD` is answered as `GET` is.
    pub method: Method,
    /// The path, a parameter in braces; also what logs and analytics say.
    pub pattern: &'static str,
    /// The longest body in bytes; 0 where none is read.
    pub body: usize,
    /// What answers, and whom.
    pub endpoint: Endpoint,
}

/// What answers, by who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Anybody, and without being counted: whoever watches us must not be turned away.
    Health,
    /// Somebody who is not known yet, counted by their address.
    Stranger(Stranger),
    /// A user of the app.
    Person(Person),
    /// An operator.
    Operator(Admin),
}

/// What anybody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Begin a session, by an identity provider's word.
    SignIn,
    /// Go on with a session.
    Refresh,
}

/// What a user may ask for. What they may do with a device is their role's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    /// End the session.
    SignOut,
    /// Who they are.
    Me,
    /// Their devices.
    Devices,
    /// One device.
    Device,
    /// That it is called something else.
    EditDevice,
    /// That it is theirs no more.
    GiveUp,
    /// That it forgets everything.
    FactoryReset,
    /// With whom they share it.
    Shares,
    /// That they share it.
    Share,
    /// That they share it no more.
    Unshare,
    /// What is offered of it.
    Transfer,
    /// That it goes to somebody else.
    OfferTransfer,
    /// That it does not.
    WithdrawTransfer,
    /// That it comes to them.
    AcceptTransfer,
    /// What is offered to them.
    Offers,
    /// What the device watches.
    Zones,
    /// That it watches something else.
    ReplaceZones,
    /// What it watched before.
    ZoneHistory,
    /// What it watched once.
    ZoneVersion,
    /// That it watches that again.
    RestoreZones,
    /// What it said.
    History,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Enrol one device.
    Enroll,
    /// Enrol up to a thousand.
    EnrollBulk,
    /// The registry.
    Devices,
    /// One device.
    Device,
    /// One device's hours.
    DeviceTelemetry,
    /// What it is labelled with.
    Tags,
    /// That it is labelled with something else.
    ReplaceTags,
    /// What was done with one device.
    DeviceAudit,
    /// That a device is somebody's.
    Claim,
    /// What the shop sold.
    ImportOrders,
    /// Who uses the app.
    Users,
    /// The whole in numbers.
    Stats,
    /// That a device tells about itself.
    AskDiagnostics,
    /// What it told.
    Diagnostics,
    /// How the fleet is.
    FleetHealth,
    /// What it measured.
    FleetMetrics,
    /// What went wrong with it.
    FleetErrors,
    /// What somebody tried: `history` tells.
    SecurityLog,
    /// How the fleet and the pipeline are, for Prometheus: `history` tells.
    Metrics,
}

/// Every route there is.
pub const ROUTES: &[Route] = &[
    get("/api/health", Endpoint::Health),
    post("/api/auth/session", limits::API_BODY, Endpoint::Stranger(Stranger::SignIn)),
    delete("/api/auth/session", Endpoint::Person(Person::SignOut)),
    post("/api/auth/refresh", limits::API_BODY, Endpoint::Stranger(Stranger::Refresh)),
    get("/api/me", Endpoint::Person(Person::Me)),
    get("/api/devices", Endpoint::Person(Person::Devices)),
    get("/api/devices/{id}", Endpoint::Person(Person::Device)),
    patch("/api/devices/{id}", limits::API_BODY, Endpoint::Person(Person::EditDevice)),
    delete("/api/devices/{id}", Endpoint::Person(Person::GiveUp)),
    post("/api/devices/{id}/factory-reset", 0, Endpoint::Person(Person::FactoryReset)),
    get("/api/devices/{id}/shares", Endpoint::Person(Person::Shares)),
    post("/api/devices/{id}/shares", limits::API_BODY, Endpoint::Person(Person::Share)),
    delete("/api/devices/{id}/shares/{share}", Endpoint::Person(Person::Unshare)),
    get("/api/devices/{id}/transfer", Endpoint::Person(Person::Transfer)),
    post("/api/devices/{id}/transfer", limits::API_BODY, Endpoint::Person(Person::OfferTransfer)),
    delete("/api/devices/{id}/transfer", Endpoint::Person(Person::WithdrawTransfer)),
    post("/api/devices/{id}/transfer/accept", 0, Endpoint::Person(Person::AcceptTransfer)),
    get("/api/transfers", Endpoint::Person(Person::Offers)),
    get("/api/devices/{id}/zones", Endpoint::Person(Person::Zones)),
    put("/api/devices/{id}/zones", limits::API_BODY, Endpoint::Person(Person::ReplaceZones)),
    get("/api/devices/{id}/zones/history", Endpoint::Person(Person::ZoneHistory)),
    get("/api/devices/{id}/zones/history/{version}", Endpoint::Person(Person::ZoneVersion)),
    post("/api/devices/{id}/zones/restore/{version}", 0, Endpoint::Person(Person::RestoreZones)),
    get("/api/devices/{id}/telemetry", Endpoint::Person(Person::History)),
    get("/api/devices/{id}/events", Endpoint::Person(Person::History)),
    get("/api/devices/{id}/alerts", Endpoint::Person(Person::History)),
    post("/api/devices/{id}/alerts/{alert}/ack", 0, Endpoint::Person(Person::History)),
    get("/api/devices/{id}/export", Endpoint::Person(Person::History)),
    post("/api/devices/{id}/export", 0, Endpoint::Person(Person::History)),
    get("/api/devices/{id}/data", Endpoint::Person(Person::History)),
    delete("/api/devices/{id}/data", Endpoint::Person(Person::History)),
    post("/api/admin/enroll", limits::API_BODY, Endpoint::Operator(Admin::Enroll)),
    post("/api/admin/enroll/bulk", limits::BULK_ENROLL_BODY, Endpoint::Operator(Admin::EnrollBulk)),
    get("/api/admin/devices", Endpoint::Operator(Admin::Devices)),
    get("/api/admin/devices/{id}", Endpoint::Operator(Admin::Device)),
    get("/api/admin/devices/{id}/telemetry", Endpoint::Operator(Admin::DeviceTelemetry)),
    get("/api/admin/devices/{id}/tags", Endpoint::Operator(Admin::Tags)),
    put("/api/admin/devices/{id}/tags", limits::API_BODY, Endpoint::Operator(Admin::ReplaceTags)),
    get("/api/admin/devices/{id}/audit", Endpoint::Operator(Admin::DeviceAudit)),
    post("/api/admin/devices/{id}/claim", limits::API_BODY, Endpoint::Operator(Admin::Claim)),
    post("/api/admin/devices/{id}/diagnostics", limits::API_BODY, Endpoint::Operator(Admin::AskDiagnostics)),
    get("/api/admin/devices/{id}/diagnostics/{request}", Endpoint::Operator(Admin::Diagnostics)),
    post("/api/admin/orders/bulk", limits::BULK_ORDERS_BODY, Endpoint::Operator(Admin::ImportOrders)),
    get("/api/admin/users", Endpoint::Operator(Admin::Users)),
    get("/api/admin/stats", Endpoint::Operator(Admin::Stats)),
    get("/api/admin/security-log", Endpoint::Operator(Admin::SecurityLog)),
    get("/api/admin/metrics", Endpoint::Operator(Admin::Metrics)),
    get("/api/admin/telemetry/health", Endpoint::Operator(Admin::FleetHealth)),
    get("/api/admin/telemetry/metrics", Endpoint::Operator(Admin::FleetMetrics)),
    get("/api/admin/telemetry/errors", Endpoint::Operator(Admin::FleetErrors)),
];

const fn get(pattern: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::Get, pattern, body: 0, endpoint }
}

const fn post(pattern: &'static str, body: usize, endpoint: Endpoint) -> Route {
    Route { method: Method::Post, pattern, body, endpoint }
}

const fn delete(pattern: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::Delete, pattern, body: 0, endpoint }
}

const fn patch(pattern: &'static str, body: usize, endpoint: Endpoint) -> Route {
    Route { method: Method::Patch, pattern, body, endpoint }
}

const fn put(pattern: &'static str, body: usize, endpoint: Endpoint) -> Route {
    Route { method: Method::Put, pattern, body, endpoint }
}

/// What a path's parameters stand for, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a>(Vec<&'a str>);

impl<'a> Parameters<'a> {
    /// The parameters of `path`, if it is of that pattern. A parameter is never empty.
    fn of(pattern: &str, path: &'a str) -> Option<Self> {
        let mut parameters = Vec::new();
        let mut given = path.split('/');
        for wanted in pattern.split('/') {
            let segment = given.next()?;
            if wanted.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                parameters.push(segment);
            } else if wanted != segment {
                return None;
            }
        }
        given.next().is_none().then_some(Self(parameters))
    }

    /// The first one: mostly a device.
    pub fn first(&self) -> &'a str {
        self.0.first().copied().unwrap_or_default()
    }

    /// The second one: what of it.
    pub fn second(&self) -> &'a str {
        self.0.get(1).copied().unwrap_or_default()
    }
}

/// What is known of a path.
struct Found<'a> {
    pattern: &'static str,
    parameters: Parameters<'a>,
}

impl<'a> Found<'a> {
    /// Patterns do not overlap, so the first that fits is the one.
    fn of(path: &'a str) -> Option<Self> {
        ROUTES.iter().find_map(|route| {
            let parameters = Parameters::of(route.pattern, path)?;
            Some(Self { pattern: route.pattern, parameters })
        })
    }

    fn routes(&self) -> impl Iterator<Item = &'static Route> {
        ROUTES.iter().filter(|route| route.pattern == self.pattern)
    }

    fn route(&self, method: Method) -> Option<&'static Route> {
        let method = if method == Method::Head { Method::Get } else { method };
        self.routes().find(|route| route.method == method)
    }

    fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        for route in self.routes() {
            methods.push(route.method);
            if route.method == Method::Get {
                methods.push(Method::Head);
            }
        }
        methods
    }
}

/// The most bytes of a body that a request to this path may have.
pub fn body_limit(method: Method, path: &str) -> usize {
    Found::of(path).and_then(|found| found.route(method)).map_or(0, |route| route.body)
}

/// Answers a request, and says which route it was for the log.
pub async fn handle<P: Ports>(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
) -> (&'static str, Answer) {
    let found = Found::of(&request.path);
    let pattern = found.as_ref().map_or("unknown", |found| found.pattern);
    let answer = match found {
        Some(found) => answer(&found, &request, config, world).await,
        None => Err(Problem::not_found("there is no such resource")),
    };
    let answer = answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id));
    match config {
        Ok(config) => (pattern, cors::allow(answer, &request, config)),
        Err(_) => (pattern, answer),
    }
}

async fn answer<P: Ports>(
    found: &Found<'_>,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
) -> Result<Answer, Problem> {
    let route = match (found.route(request.method), config) {
        (Some(route), _) => route,
        (None, Ok(config)) if request.method == Method::Options => {
            return Ok(cors::preflight(&found.methods(), request, config));
        }
        (None, _) => return Err(Problem::method_not_allowed(&found.methods())),
    };
    if route.endpoint == Endpoint::Health {
        let config = config.map(|_| ());
        return Ok(health::check("device-api", env!("CARGO_PKG_VERSION"), config, &world.db).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    match route.endpoint {
        Endpoint::Health => Err(Problem::internal("health was answered above")),
        Endpoint::Stranger(wanted) => {
            admit(&world.people_limit, &limit::of_stranger(request), request, world).await?;
            for_stranger(wanted, request, config, world).await
        }
        Endpoint::Person(wanted) => {
            let person = match person::identify(request, &config.access_tokens) {
                Ok(person) => person,
                Err(problem) => return Err(refuse_stranger(problem, request, world).await),
            };
            let caller = limit::of_person(&person);
            admit(&world.people_limit, &caller, request, world).await?;
            for_person(wanted, found, &person, request, world).await
        }
        Endpoint::Operator(wanted) => {
            let keys = &world.memory.operator_keys;
            let operator =
                operator::identify(request, &config.operators, keys, &world.documents, &world.signatures)
                    .await;
            let operator = match operator {
                Ok(operator) => operator,
                Err(problem) => return Err(refuse_stranger(problem, request, world).await),
            };
            let caller = limit::of_operator(&operator);
            admit(&world.operators_limit, &caller, request, world).await?;
            let target = Some(found.parameters.first()).filter(|target| !target.is_empty());
            audit::admin_access(&world.db, &world.random, &operator, route.pattern, target, request).await?;
            for_operator(wanted, found, &operator, request, config, world).await
        }
    }
}

/// Counts a request whose sender showed no good token against their address, so that trying tokens has its limit too.
async fn refuse_stranger<P: Ports>(problem: Problem, request: &Request, world: &World<'_, P>) -> Problem {
    let caller = limit::of_stranger(request);
    admit(&world.people_limit, &caller, request, world).await.err().unwrap_or(problem)
}

async fn admit<P: Ports>(
    limiter: &P::RateLimiter,
    caller: &str,
    request: &Request,
    world: &World<'_, P>,
) -> Result<(), Problem> {
    limit::admit(limiter, &world.db, &world.random, &world.memory.reported, caller, request).await
}

async fn for_stranger<P: Ports>(
    wanted: Stranger,
    request: &Request,
    config: &Config,
    world: &World<'_, P>,
) -> Result<Answer, Problem> {
    let World { db, sessions, random, documents, signatures, memory, .. } = world;
    match wanted {
        Stranger::SignIn => {
            let identity =
                apart(session::identify(documents, signatures, &memory.user_keys, config, request)).await?;
            apart(session::sign_in(db, sessions, random, config, &identity, request)).await
        }
        Stranger::Refresh => apart(session::refresh(db, sessions, random, config, request)).await,
    }
}

async fn for_person<P: Ports>(
    wanted: Person,
    found: &Found<'_>,
    person: &access_token::Person,
    request: &Request,
    world: &World<'_, P>,
) -> Result<Answer, Problem> {
    let World { db, broker, random, .. } = world;
    let (device, parameters) = (found.parameters.first(), &found.parameters);
    let trail = Trail { random, route: found.pattern, request };
    match wanted {
        Person::SignOut => apart(session::sign_out(db, person, request)),
        Person::Me => apart(session::me(db, person)),
        Person::Devices => apart(my_devices::list(db, person, request)),
        Person::Device => apart(my_devices::one(db, person, device, request)),
        Person::EditDevice => apart(my_devices::patch(db, person, device, request)),
        Person::GiveUp => apart(my_devices::give_up(db, broker, &trail, person, device)),
        Person::FactoryReset => apart(my_devices::factory_reset(db, broker, &trail, person, device)),
        Person::Shares => apart(shares::list(db, person, device, request)),
        Person::Share => apart(shares::share(db, &trail, person, device)),
        Person::Unshare => apart(shares::unshare(db, &trail, person, device, parameters.second())),
        Person::Transfer => apart(transfers::show(db, person, device, request)),
        Person::OfferTransfer => apart(transfers::offer(db, &trail, person, device)),
        Person::WithdrawTransfer => apart(transfers::withdraw(db, &trail, person, device)),
        Person::AcceptTransfer => apart(transfers::accept(db, &trail, person, device)),
        Person::Offers => apart(transfers::offers(db, person, request)),
        Person::Zones => apart(zones::show(db, person, device, request)),
        Person::ReplaceZones => apart(zones::replace(db, broker, person, device, request)),
        Person::ZoneHistory => apart(zones::history(db, person, device, request)),
        Person::ZoneVersion => apart(zones::version(db, person, device, parameters.second(), request)),
        Person::RestoreZones => {
            apart(zones::restore(db, broker, person, device, parameters.second(), request))
        }
        // That worker looks at the token for itself: being asked by us is no proof of anything.
        Person::History => return Ok(world.history.pass(request, &["accept", "authorization"]).await?),
    }
    .await
}

async fn for_operator<P: Ports>(
    wanted: Admin,
    found: &Found<'_>,
    operator: &Operator,
    request: &Request,
    config: &Config,
    world: &World<'_, P>,
) -> Result<Answer, Problem> {
    let (db, parameters) = (&world.db, &found.parameters);
    let trail = Trail { random: &world.random, route: found.pattern, request };
    match wanted {
        Admin::Enroll => apart(enroll::one(db, &world.random, config, operator, request)),
        Admin::EnrollBulk => apart(enroll::bulk(db, &world.random, config, operator, request)),
        Admin::Devices => apart(devices::list(db, request)),
        Admin::Device => apart(devices::one(db, parameters.first(), request)),
        Admin::DeviceTelemetry => apart(telemetry::hours(db, parameters.first(), request)),
        Admin::Tags => apart(tags::show(db, parameters.first(), request)),
        Admin::ReplaceTags => apart(tags::replace(db, parameters.first(), request)),
        Admin::AskDiagnostics => {
            let device = parameters.first();
            apart(diagnostics::ask(db, &world.broker, &world.random, operator, device, request))
        }
        Admin::Diagnostics => {
            apart(diagnostics::fetch(db, &world.files, parameters.first(), parameters.second(), request))
        }
        Admin::DeviceAudit => apart(operators::audit(db, parameters.first(), request)),
        Admin::Claim => apart(orders::claim(db, &trail, operator, parameters.first())),
        Admin::ImportOrders => apart(orders::import(db, request)),
        Admin::Users => apart(operators::users(db, request)),
        Admin::Stats => apart(operators::stats(db, &world.cache, request)),
        Admin::FleetHealth => apart(fleet::health(db, &world.cache, request)),
        Admin::FleetMetrics => apart(fleet::metrics(db, request)),
        Admin::FleetErrors => apart(fleet::errors(db, request)),
        // As with people's: that worker looks at the token for itself.
        Admin::SecurityLog | Admin::Metrics => {
            let headers = &["accept", "authorization", "cf-access-jwt-assertion"];
            return Ok(world.history.pass(request, headers).await?);
        }
    }
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of that pattern, its parameters made up.
    fn example(pattern: &str) -> String {
        let segments =
            pattern.split('/').map(|segment| if segment.starts_with('{') { "x1" } else { segment });
        segments.collect::<Vec<_>>().join("/")
    }

    #[test]
    fn every_line_is_found_by_its_own_path_and_method() {
        for route in ROUTES {
            let path = example(route.pattern);
            let found = Found::of(&path).unwrap();
            assert_eq!(found.pattern, route.pattern, "{path} is taken by another line");
            assert_eq!(found.route(route.method).map(|route| route.endpoint), Some(route.endpoint), "{path}");
            assert_eq!(body_limit(route.method, &path), route.body, "{path}");
        }
    }

    #[test]
    fn whatever_is_not_health_is_under_admin_exactly_if_it_is_an_operators() {
        for route in ROUTES {
            let admin = route.pattern.starts_with("/api/admin/");
            assert_eq!(matches!(route.endpoint, Endpoint::Operator(_)), admin, "{}", route.pattern);
            assert_eq!(route.endpoint == Endpoint::Health, route.pattern == "/api/health");
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "/api/admin/devices/",
            "/api/admin/devices/x/",
            "/api/devices/",
            "/api/devices//",
            "/api/health/",
            "/API/health",
            "/api",
            "/",
            "",
            "/webhook/health",
        ] {
            assert!(Found::of(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_path_says_its_parameters_and_its_methods() {
        let found = Found::of("/api/admin/devices/x/telemetry").unwrap();
        assert_eq!(found.parameters, Parameters(vec!["x"]));
        assert_eq!(found.methods(), [Method::Get, Method::Head]);
        assert!(found.route(Method::Head).is_some());
        assert!(found.route(Method::Post).is_none());
    }
}
