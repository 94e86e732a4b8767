//! People and their devices, on real SQL: what each role may do, and that nobody learns of what is not theirs.

use pollster::block_on;
use rs1_domain::time::{DAY, SECOND};
use rs1_domain::{Answer, DeviceId, Method, Role};
use rs1_store::native::Failure;
use rs1_store::sql::run;
use rs1_worker_device_api::routes;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, User, body, cloud};

const NOTHING: &Value = &Value::Null;

/// A device of Ada's that Bob administers and Vic views; Eve has nothing to do with it.
struct Scene {
    cloud: Cloud,
    ada: User,
    bob: User,
    vic: User,
    eve: User,
    device: DeviceId,
}

fn scene() -> Scene {
    let cloud = cloud();
    let (ada, bob) = (cloud.user("ada@example.com"), cloud.user("bob@example.com"));
    let (vic, eve) = (cloud.user("vic@example.com"), cloud.user("eve@example.com"));
    let device = cloud.device(1);
    cloud.grant(&ada, &device, Role::Owner);
    cloud.grant(&bob, &device, Role::Admin);
    cloud.grant(&vic, &device, Role::Viewer);
    cloud.broker.subscribe(format!("opticworks/{device}/command/factory-reset"));
    Scene { cloud, ada, bob, vic, eve, device }
}

impl Scene {
    fn path(&self, rest: &str) -> String {
        format!("/api/devices/{}{rest}", self.device)
    }

    fn patch(&self, user: &User, version: &str, change: &Value) -> Answer {
        self.cloud.call_with(user, Method::Patch, &self.path(""), &[("if-match", version)], change)
    }

    fn post(&self, user: &User, rest: &str, document: &Value) -> Answer {
        self.cloud.call(user, Method::Post, &self.path(rest), document)
    }

    fn get(&self, user: &User, rest: &str) -> Answer {
        self.cloud.call(user, Method::Get, &self.path(rest), NOTHING)
    }

    fn delete(&self, user: &User, rest: &str) -> Answer {
        self.cloud.call(user, Method::Delete, &self.path(rest), NOTHING)
    }

    /// Who has which role.
    fn roles(&self) -> Vec<(String, String)> {
        let rows = self.cloud.sql(
            "SELECT u.email, a.role FROM device_access AS a JOIN users AS u ON u.user_id = a.user_id ORDER BY u.email",
            vec![],
        );
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row["email"]), text(&row["role"]))).collect()
    }

    /// What the audit log says was done, in order.
    fn acts(&self) -> Vec<String> {
        let rows = self
            .cloud
            .sql("SELECT action FROM audit_log WHERE action <> 'admin_api_access' ORDER BY id", vec![]);
        rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
    }
}

/// Every route about one device that a person has, with a request that an owner may send; statuses for owner, admin, viewer, a stranger.
#[test]
fn every_role_may_do_what_the_table_says_and_no_more() {
    type Send = fn(&Scene, &User) -> Answer;
    let rows: &[(&str, Send, [u16; 4])] = &[
        ("view", |s, u| s.get(u, ""), [200, 200, 200, 404]),
        ("edit", |s, u| s.patch(u, "\"0\"", &json!({"name": "Lamp"})), [200, 200, 403, 404]),
        ("shares", |s, u| s.get(u, "/shares"), [200, 403, 403, 404]),
        (
            "share",
            |s, u| s.post(u, "/shares", &json!({"email": "new@example.com", "role": "viewer"})),
            [201, 403, 403, 404],
        ),
        (
            "share with a user",
            |s, u| s.post(u, "/shares", &json!({"email": "eve@example.com", "role": "viewer"})),
            [201, 403, 403, 404],
        ),
        (
            "unshare",
            |s, u| {
                let bob = s.bob.person.user.to_string();
                if u.email == s.bob.email {
                    return s.delete(u, &format!("/shares/{}", s.vic.person.user));
                }
                s.delete(u, &format!("/shares/{bob}"))
            },
            [204, 403, 403, 404],
        ),
        ("offer", |s, u| s.post(u, "/transfer", &json!({"email": "eve@example.com"})), [201, 403, 403, 404]),
        ("see an offer", |s, u| s.get(u, "/transfer"), [404, 404, 404, 404]),
        ("withdraw an offer", |s, u| s.delete(u, "/transfer"), [404, 404, 404, 404]),
        ("accept an offer", |s, u| s.post(u, "/transfer/accept", NOTHING), [200, 404, 404, 404]),
        ("reset", |s, u| s.post(u, "/factory-reset", NOTHING), [202, 403, 403, 404]),
        ("give up", |s, u| s.delete(u, ""), [204, 403, 403, 404]),
        ("zones", |s, u| s.get(u, "/zones"), [200, 200, 200, 404]),
        ("zone history", |s, u| s.get(u, "/zones/history"), [200, 200, 200, 404]),
        (
            "replace zones",
            |s, u| {
                s.cloud.call_with(
                    u,
                    Method::Put,
                    &s.path("/zones"),
                    &[("if-match", "\"0\"")],
                    &json!({"zones": []}),
                )
            },
            [200, 200, 403, 404],
        ),
    ];
    for (what, send, statuses) in rows {
        for (index, status) in statuses.iter().enumerate() {
            let scene = scene();
            let user = [&scene.ada, &scene.bob, &scene.vic, &scene.eve][index];
            let before = scene.roles();
            let answer = send(&scene, user);
            assert_eq!(answer.status, *status, "{what} by {}: {}", user.email, answer.body);
            if *status >= 400 {
                assert_eq!(scene.roles(), before, "{what} by {} changed something", user.email);
                assert!(scene.acts().is_empty(), "{what} by {}", user.email);
                assert!(scene.cloud.broker.take().is_empty() && scene.cloud.broker.take_kicked().is_empty());
            }
        }
    }
    // Nothing of the table is missing: one route is tried twice, and two (a version, and its restoring) are tried with the zones.
    let is_ours =
        |route: &&routes::Route| route.endpoint != routes::Endpoint::Person(routes::Person::History);
    let covered = routes::ROUTES
        .iter()
        .filter(|route| route.pattern.starts_with("/api/devices/{id}"))
        .filter(is_ours)
        .count();
    assert_eq!(covered, rows.len() - 1 + 2);
}

#[test]
fn what_devices_said_is_asked_of_another_worker_and_its_answer_passed_on() {
    let scene = scene();
    for rest in ["/telemetry", "/events", "/alerts"] {
        scene.cloud.history.answers(Some(Answer::empty(204)));
        assert_eq!(
            scene.get(&scene.eve, rest).status,
            204,
            "{rest}: whose device it is, is for the other worker to see"
        );
        assert_eq!(scene.cloud.history.take().len(), 1);
    }
    scene.cloud.history.answers(Some(Answer::empty(204)));
    assert_eq!(scene.post(&scene.eve, "/alerts/alr-1/ack", NOTHING).status, 204);
    assert_eq!(scene.cloud.history.take()[0].0.method, Method::Post);
    scene.cloud.history.answers(None);
    let target = scene.path("/telemetry?resolution=raw&metric=system.free_heap");
    let ask = || {
        let headers = [("accept", "text/csv"), ("origin", "https://app.optic.works"), ("if-match", "*")];
        scene.cloud.call_with(&scene.ada, Method::Get, &target, &headers, NOTHING)
    };
    assert_eq!(ask().status, 503, "it does not answer");
    scene.cloud.history.take();
    let theirs = Answer::text(200, rs1_domain::http::CSV, "time,metric".into())
        .with_header("link", "<x>; rel=\"next\"");
    scene.cloud.history.answers(Some(theirs.clone()));
    let answer = ask();
    assert_eq!((answer.status, &answer.body), (200, &theirs.body));
    let header =
        |name: &str| answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("link"), Some("<x>; rel=\"next\""));
    assert_eq!(header("access-control-allow-origin"), Some("https://app.optic.works"));
    let [(request, headers)] = scene.cloud.history.take().try_into().unwrap();
    assert_eq!(format!("{}?{}", request.path, request.query), target);
    assert_eq!(headers, ["accept", "authorization"], "it judges the token for itself");
    assert!(request.header("authorization").is_some());
    let asked = scene.cloud.request(Method::Get, &target, &[], b"");
    assert_eq!(
        (asked.status, scene.cloud.history.take().len()),
        (401, 0),
        "nobody gets that far without a token"
    );
}

#[test]
fn without_a_token_every_route_of_a_person_is_closed() {
    let scene = scene();
    for route in routes::ROUTES {
        let path = route.pattern.replace("{id}", scene.device.as_str()).replace("{share}", "usr-1");
        let path = path.replace("{version}", "1").replace("{request}", "req-1");
        let answer = scene.cloud.request(route.method, &path, &[], b"{}");
        let open = matches!(route.endpoint, routes::Endpoint::Health | routes::Endpoint::Stranger(_));
        assert_eq!(answer.status == 401, !open, "{} {path}: {}", route.method.as_str(), answer.body);
    }
}

#[test]
fn lists_filter_page_and_refuse_what_they_do_not_know() {
    let Scene { cloud, ada, .. } = &scene();
    for number in 2..7 {
        let device = cloud.device(number);
        cloud.grant(ada, &device, Role::Owner);
        let name = if number == 3 { "Küche" } else { "Flur" };
        cloud.sql(
            "UPDATE devices SET name = ?2 WHERE device_id = ?1",
            vec![device.as_str().into(), name.into()],
        );
    }
    cloud.sql("UPDATE devices SET online = 1, firmware_version = '1.2.0' WHERE name = 'Küche'", vec![]);
    let list = |query: &str| {
        let answer = cloud.call(ada, Method::Get, &format!("/api/devices?{query}"), NOTHING);
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        body(&answer)
    };
    let count = |query: &str| list(query)["items"].as_array().unwrap().len();
    assert_eq!(count(""), 6);
    assert_eq!((count("online=true"), count("online=false")), (1, 5));
    assert_eq!((count("firmware_version=1.2.0"), count("firmware_version=1.2")), (1, 0));
    assert_eq!((count("q=K%C3%9CCHE"), count("q=flur"), count("q=02:00:00:00:00:04")), (1, 4, 1));
    let first = list("limit=4");
    assert_eq!(first["items"].as_array().unwrap().len(), 4);
    let rest = list(&format!("limit=4&cursor={}", first["next_cursor"].as_str().unwrap()));
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (2, &Value::Null));
    for query in ["online=1", "limit=0", "cursor=x", "colour=red"] {
        assert_eq!(
            cloud.call(ada, Method::Get, &format!("/api/devices?{query}"), NOTHING).status,
            422,
            "{query}"
        );
    }
}

#[test]
fn a_change_of_name_says_what_it_was_made_from() {
    let scene = scene();
    let first = scene.get(&scene.ada, "");
    assert!(first.headers.contains(&("etag", "\"0\"".to_owned())));
    let renamed = scene.patch(&scene.bob, "\"0\"", &json!({"name": " Lamp ", "room": "Hall"}));
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    assert!(renamed.headers.contains(&("etag", "\"1\"".to_owned())));
    assert_eq!((&body(&renamed)["name"], &body(&renamed)["room"]), (&json!("Lamp"), &json!("Hall")));

    let stale = scene.patch(&scene.ada, "\"0\"", &json!({"name": "Mine"}));
    assert_eq!(stale.status, 412);
    assert_eq!(
        (&body(&stale)["current"]["name"], &body(&stale)["current"]["version"]),
        (&json!("Lamp"), &json!(1))
    );
    let cleared = scene.patch(&scene.ada, "\"1\"", &json!({"room": null}));
    assert_eq!((&body(&cleared)["name"], &body(&cleared)["room"]), (&json!("Lamp"), &Value::Null));

    let without = scene.cloud.call(&scene.ada, Method::Patch, &scene.path(""), &json!({"name": "x"}));
    assert_eq!(without.status, 428);
    for change in [
        json!({}),
        json!({"name": ""}),
        json!({"name": 1}),
        json!({"name": "x".repeat(65)}),
        json!({"name": "a\u{7}b"}),
        json!({"name": "x", "role": "owner"}),
        json!([]),
    ] {
        assert_eq!(scene.patch(&scene.ada, "\"2\"", &change).status, 422, "{change}");
    }
}

#[test]
fn of_two_changes_from_one_version_one_wins_even_if_they_cross() {
    let scene = scene();
    let edit = |name: &str| {
        rs1_store::access::edit_profile(&scene.ada.person.user, &scene.device, Some(name), None, 0)
    };
    let apply = |statement| block_on(run(&scene.cloud.db, [statement])).unwrap()[0].rows_json.clone();
    assert_ne!(apply(edit("first")), "[]");
    assert_eq!(apply(edit("second")), "[]");
}

#[test]
fn a_share_with_a_user_counts_at_once_and_one_with_a_stranger_when_they_sign_in() {
    let scene = scene();
    let share =
        |email: &str, role: &str| scene.post(&scene.ada, "/shares", &json!({"email": email, "role": role}));
    assert_eq!(share("EVE@example.com", "viewer").status, 201);
    assert_eq!(scene.get(&scene.eve, "").status, 200);
    scene.cloud.now.set(NOW.plus(SECOND));
    assert_eq!(share("eve@example.com", "admin").status, 200, "another role");
    assert_eq!(body(&scene.get(&scene.eve, ""))["role"], "admin");

    let invited = body(&share("new@example.com", "viewer"));
    assert_eq!((&invited["pending"], &invited["email"]), (&json!(true), &json!("new@example.com")));
    scene.cloud.now.set(NOW.plus(2 * SECOND));
    assert_eq!(share("new@example.com", "admin").status, 200);
    let list = body(&scene.get(&scene.ada, "/shares"));
    assert_eq!(list["items"].as_array().unwrap().len(), 5, "{list}");

    let who = sign_in(&scene.cloud, "New@Example.com");
    let device = scene.cloud.send(Method::Get, &scene.path(""), Some(who), Vec::new());
    assert_eq!((device.status, &body(&device)["role"]), (200, &json!("admin")));
    assert!(scene.cloud.sql("SELECT 1 FROM invitations", vec![]).is_empty(), "it was taken up");

    for (email, role, status) in [
        ("ada@example.com", "viewer", 409),
        ("x", "viewer", 422),
        ("x@example.com", "owner", 422),
        ("x@example.com", "", 422),
    ] {
        assert_eq!(share(email, role).status, status, "{email} {role}");
    }
    assert_eq!(scene.roles().iter().filter(|(_, role)| role == "owner").count(), 1);
}

#[test]
fn an_invitation_can_be_taken_back_and_a_guest_can_leave() {
    let scene = scene();
    let invited =
        body(&scene.post(&scene.ada, "/shares", &json!({"email": "new@example.com", "role": "viewer"})));
    let path = format!("/shares/{}", invited["id"].as_str().unwrap());
    assert_eq!(scene.delete(&scene.bob, &path).status, 403);
    assert_eq!(scene.delete(&scene.ada, &path).status, 204);
    assert_eq!(scene.delete(&scene.ada, &path).status, 404);
    let own = |user: &User| format!("/shares/{}", user.person.user);
    assert_eq!(scene.delete(&scene.vic, &own(&scene.vic)).status, 204);
    assert_eq!(scene.get(&scene.vic, "").status, 404);
    assert_eq!(scene.delete(&scene.ada, &own(&scene.ada)).status, 409, "an owner does not leave");
    assert_eq!(scene.delete(&scene.ada, "/shares/x").status, 404);
    assert_eq!(scene.acts(), ["device_shared", "device_unshared", "device_unshared"]);
}

#[test]
fn nobody_has_more_than_fifty_devices_and_no_device_more_than_twenty_people() {
    let scene = scene();
    for number in 2..52 {
        let device = scene.cloud.device(number);
        scene.cloud.grant(&scene.eve, &device, Role::Owner);
    }
    let share =
        |email: &str| scene.post(&scene.ada, "/shares", &json!({"email": email, "role": "viewer"})).status;
    assert_eq!(share("eve@example.com"), 409, "she has fifty");
    scene.post(&scene.ada, "/transfer", &json!({"email": "eve@example.com"}));
    let before = scene.roles();
    assert_eq!(scene.post(&scene.eve, "/transfer/accept", NOTHING).status, 409);
    assert_eq!(scene.roles(), before, "all of it or none");
    assert_eq!(scene.cloud.call(&scene.eve, Method::Get, "/api/devices", NOTHING).status, 200);
    for number in 0..17 {
        assert_eq!(share(&format!("guest{number}@example.com")), 201, "{number}");
    }
    assert_eq!(share("guest17@example.com"), 409, "three people and seventeen invitations");
    scene.cloud.now.set(NOW.plus(SECOND));
    assert_eq!(share("guest16@example.com"), 200, "who is there already stays");
}

#[test]
fn a_device_changes_hands_when_both_want_it() {
    let scene = scene();
    scene.post(&scene.ada, "/shares", &json!({"email": "new@example.com", "role": "viewer"}));
    let offered = scene.post(&scene.ada, "/transfer", &json!({"email": "eve@example.com"}));
    assert_eq!(offered.status, 201, "{}", offered.body);
    assert_eq!(scene.get(&scene.eve, "").status, 404, "not yet");
    let waiting = body(&scene.cloud.call(&scene.eve, Method::Get, "/api/transfers", NOTHING));
    assert_eq!(waiting["items"][0]["from_email"], "ada@example.com");
    assert_eq!(scene.get(&scene.eve, "/transfer").status, 200);
    assert_eq!(scene.post(&scene.bob, "/transfer/accept", NOTHING).status, 404, "it is not for Bob");
    for _ in 0..2 {
        let accepted = scene.post(&scene.eve, "/transfer/accept", NOTHING);
        assert_eq!((accepted.status, &body(&accepted)["role"]), (200, &json!("owner")), "{}", accepted.body);
    }
    assert_eq!(scene.roles(), [("eve@example.com".to_owned(), "owner".to_owned())], "and nobody of before");
    assert!(
        scene.cloud.sql("SELECT 1 FROM invitations UNION ALL SELECT 1 FROM transfers", vec![]).is_empty()
    );
    assert_eq!(scene.acts(), ["device_shared", "transfer_offered", "transfer_accepted"]);
}

#[test]
fn an_offer_can_be_withdrawn_declined_replaced_and_grows_old() {
    let scene = scene();
    let offer = |email: &str| scene.post(&scene.ada, "/transfer", &json!({"email": email})).status;
    let accept = |user: &User| scene.post(user, "/transfer/accept", NOTHING).status;
    offer("eve@example.com");
    assert_eq!(scene.delete(&scene.ada, "/transfer").status, 204);
    assert_eq!(accept(&scene.eve), 404);
    offer("eve@example.com");
    assert_eq!(scene.delete(&scene.eve, "/transfer").status, 204, "declined");
    offer("eve@example.com");
    offer("bob@example.com");
    assert_eq!(accept(&scene.eve), 404, "replaced");
    scene.cloud.now.set(NOW.plus(8 * DAY));
    assert_eq!(accept(&scene.bob), 404, "too late");
    offer("bob@example.com");
    assert_eq!(accept(&scene.bob), 200);
    assert_eq!(scene.roles(), [("bob@example.com".to_owned(), "owner".to_owned())]);
}

#[test]
fn a_device_that_is_given_up_is_nobodys_and_forgets_whom_it_knew() {
    let scene = scene();
    scene.patch(&scene.ada, "\"0\"", &json!({"name": "Bedroom"}));
    scene.post(&scene.ada, "/shares", &json!({"email": "new@example.com", "role": "viewer"}));
    scene.post(&scene.ada, "/transfer", &json!({"email": "eve@example.com"}));
    let zones = json!({"zones": [{"id": "bed", "name": "Bed", "type": "include", "sensitivity": 50,
        "vertices": [[0, 0], [1000, 0], [1000, 1000]]}]});
    let put = scene.cloud.call_with(
        &scene.ada,
        Method::Put,
        &scene.path("/zones"),
        &[("if-match", "\"0\"")],
        &zones,
    );
    assert_eq!(put.status, 200, "{}", put.body);
    let _ = scene.cloud.broker.take();

    assert_eq!(scene.delete(&scene.ada, "").status, 204);
    assert_eq!(scene.cloud.broker.take_kicked(), [scene.device.to_string()]);
    for user in [&scene.ada, &scene.bob, &scene.vic, &scene.eve] {
        assert_eq!(scene.get(user, "").status, 404);
        assert_eq!(scene.post(user, "/transfer/accept", NOTHING).status, 404);
    }
    let left = scene.cloud.sql(
        "SELECT name, room, (SELECT count(*) FROM invitations) AS invitations, (SELECT count(*) FROM transfers) AS transfers,
           (SELECT zones FROM zone_configurations) AS zones FROM devices",
        vec![],
    );
    assert_eq!(left, [json!({"name": null, "room": null, "invitations": 0, "transfers": 0, "zones": "[]"})]);
    assert_eq!(scene.acts().last().map(String::as_str), Some("device_given_up"), "its history stays");

    let claim = |email: &str| {
        let document = json!({"email": email, "reason": "bought second-hand, invoice 17"});
        scene.cloud.post(&format!("/api/admin/devices/{}/claim", scene.device), &document)
    };
    assert_eq!(claim("eve@example.com").status, 200, "it may be claimed again");
    assert_eq!(scene.get(&scene.eve, "").status, 200);
}

#[test]
fn what_a_broker_does_not_do_is_said_or_does_not_matter() {
    let scene = scene();
    scene.cloud.broker.fail(Some(Failure::BeforeCommit));
    assert_eq!(scene.post(&scene.ada, "/factory-reset", NOTHING).status, 503);
    assert_eq!(scene.delete(&scene.ada, "").status, 204, "its session ends another time");
    scene.cloud.broker.fail(None);
    scene.cloud.grant(&scene.ada, &scene.device, Role::Owner);
    assert_eq!(scene.post(&scene.ada, "/factory-reset", NOTHING).status, 202);
    let sent = scene.cloud.broker.take();
    assert_eq!(sent[0].topic, format!("opticworks/{}/command/factory-reset", scene.device));
    assert!(!sent[0].retain, "a reset must not wait for the next owner");
    scene.cloud.broker.unsubscribe(&sent[0].topic);
    assert_eq!(scene.post(&scene.ada, "/factory-reset", NOTHING).status, 409, "it is not there");
}

#[test]
fn a_database_that_fails_changes_nothing_and_everything_may_be_asked_again() {
    type Send = fn(&Scene) -> Answer;
    /// A request, the statement that carries it out, and the answer to it when it has been carried out before.
    const REQUESTS: &[(Send, &str, u16)] = &[
        (|s| s.patch(&s.ada, "\"0\"", &json!({"name": "x"})), "edit_profile", 412),
        (
            |s| s.post(&s.ada, "/shares", &json!({"email": "eve@example.com", "role": "viewer"})),
            "share_with_user",
            201,
        ),
        (|s| s.delete(&s.ada, &format!("/shares/{}", s.bob.person.user)), "unshare", 404),
        (|s| s.post(&s.ada, "/transfer", &json!({"email": "eve@example.com"})), "offer", 201),
        (|s| s.delete(&s.ada, ""), "give_up", 404),
    ];
    for (send, statement, again) in REQUESTS {
        let scene = scene();
        let before = scene.roles();
        for failing in ["", *statement] {
            scene.cloud.db.fail_statement(failing, Some(Failure::BeforeCommit));
            assert_eq!(send(&scene).status, 503, "{statement}");
        }
        scene.cloud.db.fail(None);
        assert_eq!(scene.roles(), before, "{statement}");
        scene.cloud.db.fail_once(statement, Failure::AfterCommit);
        assert_eq!(send(&scene).status, 503, "{statement}");
        let answer = send(&scene);
        assert_eq!(answer.status, *again, "{statement}: {}", answer.body);
    }
}

/// Signs somebody in at an identity provider, and gives the header for what they send.
fn sign_in(cloud: &Cloud, email: &str) -> String {
    let claims = json!({
        "iss": "https://accounts.example", "aud": "app", "sub": email, "exp": NOW.seconds() + 3_600,
        "email": email, "email_verified": true,
    });
    let document = json!({"id_token": crate::common::signed("RS256", "k1", &claims)});
    let answer = cloud.send(Method::Post, "/api/auth/session", None, document.to_string().into_bytes());
    assert_eq!(answer.status, 201, "{}", answer.body);
    format!("Bearer {}", body(&answer)["access_token"].as_str().unwrap())
}

fn import(cloud: &Cloud, orders: &[Value]) -> Vec<Value> {
    let lines: Vec<_> = orders.iter().map(Value::to_string).collect();
    let token = Some(format!("Bearer {}", crate::common::token("k1")));
    let body = lines.join("\n").into_bytes();
    let answer = cloud.send(Method::Post, "/api/admin/orders/bulk", token, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn order(number: u8, id: &str, email: &str, shipped: bool) -> Value {
    let mut order = json!({"order_id": id, "mac_address": crate::common::mac(number), "email": email});
    if shipped {
        order["shipped_at"] = "2026-01-19T10:00:00Z".into();
    }
    order
}

/// As the telemetry worker does it when a device reports for duty.
fn provision(cloud: &Cloud, device: &DeviceId) -> Value {
    let now = cloud.now.get();
    let [_, _, _, owner] = block_on(run(
        &cloud.db,
        [
            rs1_store::devices::provision(device, now),
            rs1_store::orders::link_device(device, now),
            rs1_store::orders::mark_linked(&[device], now).unwrap(),
            rs1_store::access::owner(device),
        ],
    ))
    .unwrap();
    serde_json::from_str::<Vec<Value>>(&owner.rows_json).unwrap()[0]["owner"].clone()
}

#[test]
fn an_order_makes_its_buyer_the_owner_whatever_comes_last() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Order,
        Ship,
        SignIn,
        Provision,
    }
    use Step::{Order, Provision, Ship, SignIn};
    for steps in [
        [Order, Ship, SignIn, Provision],
        [Order, Provision, SignIn, Ship],
        [Provision, Order, Ship, SignIn],
        [SignIn, Provision, Order, Ship],
        [Provision, SignIn, Order, Ship],
        [SignIn, Order, Ship, Provision],
    ] {
        let cloud = cloud();
        let device = cloud.device(1);
        for (count, step) in steps.iter().enumerate() {
            cloud.now.set(NOW.plus(i64::try_from(count).unwrap() * SECOND));
            match step {
                Order => drop(import(&cloud, &[order(1, "A-1", "Ada@example.com", false)])),
                Ship => drop(import(&cloud, &[order(1, "A-1", "ada@example.com", true)])),
                SignIn => drop(sign_in(&cloud, "ada@example.com")),
                Provision => drop(provision(&cloud, &device)),
            }
            let owners = cloud.sql("SELECT role, granted_by FROM device_access", vec![]);
            let expected =
                if count == 3 { vec![json!({"role": "owner", "granted_by": "order"})] } else { vec![] };
            assert_eq!(owners, expected, "{steps:?} after {step:?}");
        }
    }
}

#[test]
fn an_order_links_once_and_never_against_an_owner() {
    let cloud = cloud();
    let device = cloud.device(1);
    let (ada, bob) = (cloud.user("ada@example.com"), cloud.user("bob@example.com"));
    import(&cloud, &[order(1, "A-1", "ada@example.com", true)]);
    assert_eq!(provision(&cloud, &device), json!(ada.person.user));
    assert_eq!(provision(&cloud, &device), json!(ada.person.user), "again is the same");
    assert_eq!(cloud.call(&ada, Method::Delete, &format!("/api/devices/{device}"), NOTHING).status, 204);
    assert_eq!(provision(&cloud, &device), Value::Null, "what was given up does not come back");
    cloud.now.set(NOW.plus(SECOND));
    assert_eq!(import(&cloud, &[order(1, "A-1", "ada@example.com", true)])[0]["status"], 200);
    assert_eq!(provision(&cloud, &device), Value::Null);

    let mut resold = order(1, "B-2", "bob@example.com", true);
    resold["shipped_at"] = "2026-01-20T09:00:00Z".into();
    let answer = import(&cloud, &[resold.clone()]);
    assert_eq!(
        (&answer[0]["status"], &answer[0]["owner"]),
        (&json!(201), &json!(bob.person.user)),
        "sold again"
    );
    let mut third = resold;
    third["order_id"] = "C-3".into();
    third["email"] = "ada@example.com".into();
    third["shipped_at"] = "2026-01-20T09:30:00Z".into();
    assert_eq!(import(&cloud, &[third])[0]["owner"], json!(bob.person.user), "an owner is never replaced");
}

#[test]
fn a_bad_line_of_an_import_harms_no_other() {
    let cloud = cloud();
    let answers = import(
        &cloud,
        &[
            order(1, "A-1", "ada@example.com", true),
            json!({"order_id": "", "mac_address": "x", "email": "x", "shipped_at": "soon", "note": 1}),
            order(2, "A-2", "bob@example.com", false),
        ],
    );
    let statuses: Vec<_> = answers.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 422, 201]);
    assert_eq!(answers[1]["errors"].as_array().unwrap().len(), 5, "{}", answers[1]);
    let linked = [order(1, "A-1", "ada@example.com", true)];
    cloud.device(1);
    cloud.user("ada@example.com");
    provision(&cloud, &DeviceId::of(&rs1_domain::MacAddress::parse(&crate::common::mac(1)).unwrap()));
    cloud.now.set(NOW.plus(SECOND));
    assert_eq!(import(&cloud, &linked)[0]["status"], 200);
    assert_eq!(import(&cloud, &[order(1, "A-1", "eve@example.com", true)])[0]["status"], 409);
    let token = Some(format!("Bearer {}", crate::common::token("k1")));
    for (text, status) in [("", 422), ("\u{0}", 200)] {
        let answer =
            cloud.send(Method::Post, "/api/admin/orders/bulk", token.clone(), text.as_bytes().to_vec());
        assert_eq!(answer.status, status, "{text:?}: {}", answer.body);
    }
}

#[test]
fn a_claim_needs_a_reason_and_a_device_that_nobody_owns() {
    let scene = scene();
    let free = scene.cloud.device(2);
    let claim = |device: &DeviceId, document: &Value| {
        scene.cloud.post(&format!("/api/admin/devices/{device}/claim"), document)
    };
    let eve = json!({"email": "Eve@example.com", "reason": "lost the box; serial on the photo"});
    let answer = claim(&free, &eve);
    assert_eq!((answer.status, &body(&answer)["owner"]), (200, &json!(scene.eve.person.user)));
    assert_eq!(claim(&free, &eve).status, 200, "again is the same");
    assert_eq!(claim(&scene.device, &eve).status, 409, "it is Ada's");
    assert_eq!(claim(&DeviceId::parse(&"0".repeat(32)).unwrap(), &eve).status, 404);
    for document in [
        json!({"email": "eve@example.com"}),
        json!({"email": "eve@example.com", "reason": " "}),
        json!({"email": "nobody@example.com", "reason": "x"}),
        json!({"email": "eve@example.com", "reason": "x".repeat(501)}),
    ] {
        assert_eq!(claim(&free, &document).status, 422, "{document}");
    }
    let trail = body(&scene.cloud.get(&format!("/api/admin/devices/{free}/audit")));
    let claimed: Vec<_> =
        trail["items"].as_array().unwrap().iter().filter(|act| act["action"] == "device_claimed").collect();
    assert_eq!(claimed.len(), 1, "what changed nothing is not an act: {trail}");
    assert_eq!(
        (&claimed[0]["actor"], &claimed[0]["detail"]["reason"]),
        (&json!("ada@optic.works"), &eve["reason"])
    );
}

#[test]
fn operators_find_devices_and_people_and_see_the_whole_in_numbers() {
    let scene = scene();
    let cloud = &scene.cloud;
    for number in 2..6 {
        cloud.device(number);
    }
    cloud.sql("UPDATE devices SET name = 'Loft', firmware_version = '1.2.0', online = 1, last_seen_at = ?1 WHERE device_id = ?2",
        vec![NOW.into(), scene.device.as_str().into()]);
    let count = |query: &str| {
        let answer = cloud.get(&format!("/api/admin/devices?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        body(&answer)["items"].as_array().unwrap().len()
    };
    let id = scene.device.as_str();
    for (query, expected) in [
        ("", 5),
        ("status=online", 1),
        ("status=offline", 4),
        ("version=1.2.0", 1),
        ("sku=rs1_pro", 5),
        ("sku=rs1_lite", 0),
        ("status=online&version=1.2.0&sku=rs1_pro&q=loft", 1),
        ("status=offline&version=1.2.0", 0),
        ("q=ADA@example.com", 1),
        ("q=bob@example.com", 0),
        ("q=02:00:00:00:00:03", 1),
        (&format!("q={}", &id[..12]), 1),
    ] {
        assert_eq!(count(query), expected, "{query}");
    }
    for query in ["status=on", "sku=x", "colour=red"] {
        assert_eq!(cloud.get(&format!("/api/admin/devices?{query}")).status, 422, "{query}");
    }
    let people = body(&cloud.get("/api/admin/users?limit=3"));
    assert_eq!(people["items"].as_array().unwrap().len(), 3);
    let rest = body(
        &cloud.get(&format!("/api/admin/users?limit=3&cursor={}", people["next_cursor"].as_str().unwrap())),
    );
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    let ada = body(&cloud.get("/api/admin/users?q=ada@example.com"));
    assert_eq!(
        (&ada["items"][0]["email"], &ada["items"][0]["devices"]),
        (&json!("ada@example.com"), &json!(1))
    );

    let stats = body(&cloud.get("/api/admin/stats"));
    assert_eq!(
        stats["devices"],
        json!({"total": 5, "online": 1, "active_24h": 1, "provisioned": 0, "owned": 1}),
        "{stats}"
    );
    assert_eq!(stats["users"], json!({"total": 4, "active_24h": 0}));
    assert_eq!(stats["versions"].as_array().unwrap().len(), 2);
    cloud.device(9);
    assert_eq!(body(&cloud.get("/api/admin/stats")), stats, "a minute old at most");
    cloud.cache.expire();
    assert_eq!(body(&cloud.get("/api/admin/stats"))["devices"]["total"], 6);
    cloud.cache.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.get("/api/admin/stats").status, 200, "a cache is not needed");
}

#[test]
fn callers_are_limited_each_by_themselves_and_the_first_excess_of_a_minute_is_logged() {
    let scene = scene();
    let cloud = &scene.cloud;
    cloud.people_limit.set_limit(3);
    cloud.operators_limit.set_limit(5);
    for count in 1..=6 {
        let answer = scene.get(&scene.ada, "");
        assert_eq!(answer.status, if count <= 3 { 200 } else { 429 });
        if answer.status == 429 {
            assert!(answer.headers.contains(&("retry-after", "60".to_owned())), "{:?}", answer.headers);
        }
    }
    assert_eq!(scene.get(&scene.bob, "").status, 200, "another person");
    let stranger = |address: &str| {
        cloud
            .request(
                Method::Get,
                "/api/me",
                &[("cf-connecting-ip", address), ("authorization", "Bearer x")],
                b"",
            )
            .status
    };
    assert_eq!([0; 4].map(|_| stranger("203.0.113.7")), [401, 401, 401, 429]);
    assert_eq!(stranger("198.51.100.1"), 401, "another address");
    assert_eq!(cloud.request(Method::Get, "/api/health", &[], b"").status, 200, "health is not counted");
    let logged = cloud.sql(
        "SELECT subject, count FROM security_log WHERE kind = 'rate_limit_exceeded' ORDER BY subject",
        vec![],
    );
    assert_eq!(
        logged,
        [
            json!({"subject": "ip:203.0.113.7", "count": 1}),
            json!({"subject": format!("user:{}", scene.ada.person.user), "count": 1}),
        ]
    );
    cloud.people_limit.fail(true);
    assert_eq!(scene.get(&scene.ada, "").status, 200, "who cannot count lets pass");
    // One of an operator's five went into making the scene.
    let operator: Vec<_> = (0..5).map(|_| cloud.get("/api/admin/users").status).collect();
    assert_eq!(operator, [200, 200, 200, 200, 429], "operators have a limit of their own");
}

#[test]
fn the_apps_pages_may_read_answers_and_no_others() {
    let scene = scene();
    let path = scene.path("");
    let ask = |method, origin: &str| {
        scene.cloud.request(
            method,
            &path,
            &[("origin", origin), ("access-control-request-method", "PATCH")],
            b"",
        )
    };
    let header = |answer: &Answer, wanted: &str| {
        answer.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    };
    for origin in ["https://app.optic.works", "http://localhost:5173"] {
        let preflight = ask(Method::Options, origin);
        assert_eq!(preflight.status, 204);
        assert_eq!(header(&preflight, "access-control-allow-origin").as_deref(), Some(origin));
        assert_eq!(
            header(&preflight, "access-control-allow-methods").as_deref(),
            Some("GET, HEAD, PATCH, DELETE")
        );
        assert!(header(&preflight, "access-control-allow-headers").unwrap().contains("if-match"));
        let refused = ask(Method::Get, origin);
        assert_eq!(refused.status, 401);
        assert_eq!(header(&refused, "access-control-allow-origin").as_deref(), Some(origin), "errors too");
        assert_eq!(header(&refused, "access-control-allow-credentials"), None, "there are no cookies");
    }
    for origin in
        ["https://evil.example", "https://app.optic.works.evil.example", "http://app.optic.works", "null"]
    {
        for method in [Method::Options, Method::Get] {
            let answer = ask(method, origin);
            assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control")), "{origin}");
        }
    }
    assert_eq!(scene.cloud.request(Method::Options, "/api/nothing", &[], b"").status, 404);
}

#[test]
fn a_person_costs_two_reads_and_one_batch_of_writes_at_most() {
    let scene = scene();
    let spent = |send: &dyn Fn() -> Answer| {
        let before = scene.cloud.db.batches_run();
        assert!(send().status < 300);
        scene.cloud.db.batches_run() - before
    };
    assert_eq!(spent(&|| scene.cloud.call(&scene.ada, Method::Get, "/api/devices", NOTHING)), 1);
    assert_eq!(spent(&|| scene.get(&scene.ada, "")), 1);
    assert_eq!(spent(&|| scene.get(&scene.ada, "/shares")), 1);
    assert_eq!(spent(&|| scene.patch(&scene.ada, "\"0\"", &json!({"name": "x"}))), 2);
    assert_eq!(
        spent(&|| scene.post(&scene.ada, "/shares", &json!({"email": "eve@example.com", "role": "viewer"}))),
        2
    );
    assert_eq!(spent(&|| scene.delete(&scene.ada, "")), 2);
}

#[test]
fn a_person_sees_their_devices_and_no_others() {
    let cloud = cloud();
    let (ada, bob) = (cloud.user("ada@example.com"), cloud.user("bob@example.com"));
    let (mine, shared, other) = (cloud.device(1), cloud.device(2), cloud.device(3));
    cloud.grant(&ada, &mine, Role::Owner);
    cloud.grant(&bob, &shared, Role::Owner);
    cloud.grant(&ada, &shared, Role::Viewer);
    let list = body(&cloud.call(&ada, Method::Get, "/api/devices", &Value::Null));
    let mut seen: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device_id"].as_str().unwrap().to_owned(), device["role"].clone()))
        .collect();
    let mut expected = vec![(mine.to_string(), json!("owner")), (shared.to_string(), json!("viewer"))];
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(seen, expected);
    for (device, status) in [(mine.as_str(), 200), (shared.as_str(), 200), (other.as_str(), 404), ("x", 404)]
    {
        let answer = cloud.call(&ada, Method::Get, &format!("/api/devices/{device}"), &Value::Null);
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}
