//! What holds for every line of the table, on real SQL: what is somebody else's is not there, one kind of token opens nothing of
//! the other's, and a request costs what it may. A line that is added is tried here, or this does not compile.

use rs1_domain::{Answer, DeviceId, Method, Role};
use rs1_worker_device_api::routes::{Admin, Endpoint, Person, ROUTES, Route};
use serde_json::{Value, json};

use crate::common::{Cloud, Headers, NOW, User, cloud};

/// What a request has beyond its path.
type Rest = (Headers<'static>, Vec<u8>);

/// Ada, whom everything here belongs to but what Eve has.
struct Scene {
    cloud: Cloud,
    ada: User,
    bob: User,
    eve: User,
    /// Ada's: shared with Bob and an invited guest, its zones were edited, it was asked about itself, Grace may have it.
    device: DeviceId,
    /// Grace's, offered to Ada.
    offered: DeviceId,
    /// Nobody's.
    unowned: DeviceId,
    /// Eve's own.
    other: DeviceId,
    /// The guest's invitation, and the question to the device.
    invitation: String,
    question: String,
}

fn scene() -> Scene {
    let cloud = cloud();
    let [ada, bob, eve, grace] =
        ["ada", "bob", "eve", "grace"].map(|name| cloud.user(&format!("{name}@example.com")));
    let [device, offered, unowned, other] = [1, 2, 3, 4].map(|number| cloud.device(number));
    cloud.grant(&ada, &device, Role::Owner);
    cloud.grant(&bob, &device, Role::Viewer);
    cloud.grant(&grace, &offered, Role::Owner);
    cloud.grant(&eve, &other, Role::Owner);
    for topic in ["command/factory-reset", "diag/request", "config/update"] {
        cloud.broker.subscribe(format!("opticworks/{device}/{topic}"));
    }
    let of = |device: &DeviceId, rest: &str| format!("/api/devices/{device}{rest}");
    let did = |answer: Answer| -> Value {
        assert!(answer.status < 300, "{} {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let guest = json!({"email": "guest@example.com", "role": "viewer"});
    let shared = did(cloud.call(&ada, Method::Post, &of(&device, "/shares"), &guest));
    let to = |email: &str| json!({"email": email});
    did(cloud.call(&ada, Method::Post, &of(&device, "/transfer"), &to(&grace.email)));
    did(cloud.call(&grace, Method::Post, &of(&offered, "/transfer"), &to(&ada.email)));
    let zones = json!({"zones": []});
    did(cloud.call_with(&ada, Method::Put, &of(&device, "/zones"), &[("if-match", "*")], &zones));
    let asked = did(cloud.post(&format!("/api/admin/devices/{device}/diagnostics"), &json!({})));
    // A device is asked once in ten seconds.
    cloud.now.set(NOW.plus(11_000));
    cloud.history.answers(Some(Answer::text(200, rs1_domain::http::JSON, "{}".into())));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (invitation, question) = (text(&shared["id"]), text(&asked["request_id"]));
    cloud.broker.take();
    cloud.history.take();
    Scene { cloud, ada, bob, eve, device, offered, unowned, other, invitation, question }
}

impl Scene {
    /// The path of a route, about Ada's device and what belongs to it, unless the route is about another.
    fn path(&self, route: &Route) -> String {
        let device = match route.endpoint {
            Endpoint::Person(Person::AcceptTransfer) => &self.offered,
            Endpoint::Operator(Admin::Claim) => &self.unowned,
            _ => &self.device,
        };
        route
            .pattern
            .replace("{id}", device.as_str())
            .replace("{share}", self.bob.person.user.as_str())
            .replace("{version}", "1")
            .replace("{request}", &self.question)
    }

    /// A request that Ada, or an operator, may send and that succeeds.
    fn good(&self, route: &Route) -> Rest {
        const ANY: Headers<'static> = &[("if-match", "*")];
        let json = |value: Value| -> Vec<u8> { value.to_string().into_bytes() };
        match route.endpoint {
            Endpoint::Person(wanted) => match wanted {
                Person::EditDevice => (&[("if-match", "\"0\"")], json(json!({"name": "Lamp"}))),
                Person::Share => (&[], json(json!({"email": "eve@example.com", "role": "viewer"}))),
                Person::OfferTransfer => (&[], json(json!({"email": "eve@example.com"}))),
                Person::ReplaceZones => (ANY, json(json!({"zones": []}))),
                Person::RestoreZones => (ANY, Vec::new()),
                Person::SignOut
                | Person::Me
                | Person::Devices
                | Person::Device
                | Person::GiveUp
                | Person::FactoryReset
                | Person::Shares
                | Person::Unshare
                | Person::Transfer
                | Person::WithdrawTransfer
                | Person::AcceptTransfer
                | Person::Offers
                | Person::Zones
                | Person::ZoneHistory
                | Person::ZoneVersion
                | Person::History => (&[], Vec::new()),
            },
            Endpoint::Operator(wanted) => match wanted {
                Admin::Enroll | Admin::EnrollBulk => (&[], json(crate::common::device(9, 9))),
                Admin::ImportOrders => {
                    let order = json!({"order_id": "1", "mac_address": crate::common::mac(3), "email": self.eve.email});
                    (&[], json(order))
                }
                Admin::ReplaceTags => (&[], json(json!({"tags": ["beta"]}))),
                Admin::Claim => (&[], json(json!({"email": self.eve.email, "reason": "a test"}))),
                Admin::Devices
                | Admin::Device
                | Admin::DeviceTelemetry
                | Admin::Tags
                | Admin::DeviceAudit
                | Admin::Users
                | Admin::Stats
                | Admin::AskDiagnostics
                | Admin::Diagnostics
                | Admin::FleetHealth
                | Admin::FleetMetrics
                | Admin::FleetErrors
                | Admin::SecurityLog
                | Admin::Metrics => (&[], Vec::new()),
            },
            Endpoint::Health | Endpoint::Stranger(_) => (&[], Vec::new()),
        }
    }

    fn send(&self, route: &Route, path: &str, bearer: &str) -> Answer {
        let (headers, body) = self.good(route);
        let authorization = format!("Bearer {bearer}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.cloud.request(route.method, path, &all, &body)
    }

    fn token_of(&self, user: &User) -> String {
        self.cloud.config.access_tokens.issue(&user.person, self.cloud.now.get())
    }

    /// Every row of every table.
    fn everything(&self) -> Vec<(String, Vec<Value>)> {
        let tables =
            self.cloud.sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", vec![]);
        let rows = |table: &Value| {
            let name = table["name"].as_str().unwrap().to_owned();
            let sql: &'static str = Box::leak(format!("SELECT * FROM \"{name}\"").into_boxed_str());
            let rows = self.cloud.sql(sql, vec![]);
            (name, rows)
        };
        tables.iter().map(rows).collect()
    }

    /// Nothing was written, nobody was told anything, and no other worker was asked.
    fn is_untouched_since(&self, before: &[(String, Vec<Value>)], what: &str) {
        for (then, now) in before.iter().zip(self.everything()) {
            assert_eq!(*then, now, "{what} has written");
        }
        assert!(self.cloud.broker.take().is_empty() && self.cloud.broker.take_kicked().is_empty(), "{what}");
        assert!(self.cloud.history.take().is_empty(), "{what} was passed on");
    }
}

/// How a route is named when it fails.
fn name(route: &Route) -> String {
    format!("{} {}", route.method.as_str(), route.pattern)
}

fn is_persons(route: &Route) -> bool {
    matches!(route.endpoint, Endpoint::Person(_))
}

fn is_operators(route: &Route) -> bool {
    matches!(route.endpoint, Endpoint::Operator(_))
}

#[test]
fn every_route_costs_two_reads_and_one_batch_of_writes_at_most() {
    for route in ROUTES.iter().filter(|route| is_persons(route) || is_operators(route)) {
        let scene = scene();
        let bearer = if is_persons(route) { scene.token_of(&scene.ada) } else { crate::common::token("k1") };
        let db = &scene.cloud.db;
        let (trips, writes) = (db.batches_run(), db.writing_batches_run());
        let answer = scene.send(route, &scene.path(route), &bearer);
        assert!(answer.status < 300, "{}: {} {}", name(route), answer.status, answer.body);
        // That an operator asked is written down before it is done.
        let audits = u64::from(is_operators(route));
        let writes = db.writing_batches_run() - writes - audits;
        let reads = db.batches_run() - trips - audits - writes;
        assert!(writes <= 1 && reads <= 2, "{}: {reads} reads, {writes} batches of writes", name(route));
        if route.method == Method::Get {
            assert_eq!(writes, 0, "{}", name(route));
        }
    }
}

#[test]
fn what_is_somebody_elses_is_not_there_on_any_route() {
    for route in ROUTES.iter().filter(|route| is_persons(route)) {
        let scene = scene();
        let (what, eve) = (name(route), scene.token_of(&scene.eve));
        let before = scene.everything();
        if route.endpoint == Endpoint::Person(Person::History) {
            // It is for who answers to say whose it is; that worker's tests do.
            continue;
        }
        if !route.pattern.contains("{id}") {
            let answer = scene.send(route, &scene.path(route), &eve);
            assert!(answer.status < 300, "{what}: {}", answer.body);
            for foreign in [scene.device.as_str(), scene.offered.as_str(), &scene.ada.email] {
                assert!(!answer.body.contains(foreign), "{what} tells of {foreign}: {}", answer.body);
            }
            if route.method == Method::Get {
                scene.is_untouched_since(&before, &what);
            }
            continue;
        }
        let answer = scene.send(route, &scene.path(route), &eve);
        assert_eq!(answer.status, 404, "{what}: {}", answer.body);
        scene.is_untouched_since(&before, &what);
        // Nor is it by way of what is one's own.
        let own = scene.path(route).replace(scene.device.as_str(), scene.other.as_str());
        let belongs = |part: &str| route.pattern.contains(part);
        for path in [own.clone(), own.replace(scene.bob.person.user.as_str(), &scene.invitation)] {
            if belongs("{share}") || belongs("{version}") {
                let answer = scene.send(route, &path, &eve);
                assert_eq!(answer.status, 404, "{what} by {path}: {}", answer.body);
                scene.is_untouched_since(&before, &what);
            }
        }
    }
}

#[test]
fn a_question_to_one_device_is_none_to_another() {
    let scene = scene();
    let ask = |device: &DeviceId| {
        scene.cloud.get(&format!("/api/admin/devices/{device}/diagnostics/{}", scene.question)).status
    };
    assert_eq!((ask(&scene.device), ask(&scene.other)), (202, 404));
}

#[test]
fn one_kind_of_token_opens_no_route_of_the_other_kind_bulk_ones_included() {
    for route in ROUTES.iter().filter(|route| is_persons(route) || is_operators(route)) {
        let scene = scene();
        let wrong = if is_persons(route) { crate::common::token("k1") } else { scene.token_of(&scene.ada) };
        let before = scene.everything();
        let answer = scene.send(route, &scene.path(route), &wrong);
        assert_eq!(answer.status, 401, "{}: {}", name(route), answer.body);
        scene.is_untouched_since(&before, &name(route));
    }
}
