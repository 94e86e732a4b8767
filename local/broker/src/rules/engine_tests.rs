use std::cell::RefCell;

use bytes::Bytes;

use super::*;
use crate::rules::{ClientEvent, Disconnected, Message, Properties, parse_sql};

#[derive(Default)]
struct Taken(RefCell<Vec<(Target, Json)>>);

impl Sink for Taken {
    fn take(&self, action: &Target, _clientid: &str, selected: &BTreeMap<String, Term>) {
        let selected = selected.iter().map(|(name, term)| (name.clone(), term.to_json())).collect();
        self.0.borrow_mut().push((action.clone(), selected));
    }
}

fn engine(sql: &str) -> Engine {
    let statement = parse_sql(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
    Engine::new(vec![Rule { id: "r1".to_owned(), statement, actions: vec![Target::Http("a1".to_owned())] }])
}

fn message(topic: &str, payload: &'static [u8]) -> Event {
    let message = Message {
        id: "0006532A9C1F7B9DF445000013F90000".to_owned(),
        clientid: "dev-1".to_owned(),
        username: None,
        peer: Some("203.0.113.7:50412".parse().unwrap()),
        topic: topic.to_owned(),
        payload: Bytes::from_static(payload),
        qos: 1,
        dup: Some(false),
        retain: true,
        properties: Properties::new(),
        received_at: 1_763_690_475_123,
        client_attrs: BTreeMap::new(),
    };
    Event { kind: Kind::Message(message), node: "emqx@10.0.0.5".to_owned(), timestamp: 1_763_690_475_124 }
}

fn disconnected() -> Event {
    let client = ClientEvent {
        clientid: "dev-1".to_owned(),
        username: Some("dev".to_owned()),
        peer: Some("203.0.113.7:50412".parse().unwrap()),
        local: Some("10.0.0.5:8883".parse().unwrap()),
        proto_ver: 4,
        client_attrs: BTreeMap::new(),
        connected_at: 1_763_690_000_000,
    };
    let how =
        Disconnected { reason: "takenover".to_owned(), properties: Properties::new(), at: 1_763_690_475_123 };
    Event {
        kind: Kind::Disconnected(client, how),
        node: "emqx@10.0.0.5".to_owned(),
        timestamp: 1_763_690_475_124,
    }
}

fn selected(sql: &str, event: &Event) -> Option<Json> {
    let taken = Taken::default();
    engine(sql).run(event, &taken);
    taken.0.into_inner().pop().map(|(_, selected)| selected)
}

#[test]
fn select_star_of_a_message_has_every_column() {
    assert_eq!(
        selected(
            "SELECT * FROM \"opticworks/+/telemetry/#\"",
            &message("opticworks/d/telemetry/temp", b"{\"t\": 21.5}")
        ),
        Some(json!({
            "id": "0006532A9C1F7B9DF445000013F90000", "event": "message.publish", "clientid": "dev-1",
            "username": "undefined", "payload": "{\"t\": 21.5}", "peerhost": "203.0.113.7",
            "peername": "203.0.113.7:50412", "topic": "opticworks/d/telemetry/temp", "qos": 1,
            "flags": { "dup": false, "retain": true }, "pub_props": {}, "client_attrs": {},
            "publish_received_at": 1_763_690_475_123_i64, "timestamp": 1_763_690_475_124_i64,
            "node": "emqx@10.0.0.5", "metadata": { "rule_id": "r1" },
        }))
    );
}

#[test]
fn select_star_of_a_disconnection_has_every_column() {
    assert_eq!(
        selected("SELECT * FROM \"$events/client_disconnected\"", &disconnected()),
        Some(json!({
            "event": "client.disconnected", "reason": "takenover", "clientid": "dev-1", "username": "dev",
            "peername": "203.0.113.7:50412", "sockname": "10.0.0.5:8883", "proto_name": "MQTT", "proto_ver": 4,
            "disconn_props": {}, "disconnected_at": 1_763_690_475_123_i64,
            "connected_at": 1_763_690_000_000_i64, "client_attrs": {}, "timestamp": 1_763_690_475_124_i64,
            "node": "emqx@10.0.0.5", "metadata": { "rule_id": "r1" },
        }))
    );
}

#[test]
fn a_rule_hears_only_what_it_listens_to() {
    let rule = "SELECT clientid FROM \"a/+\", \"$events/client_disconnected\"";
    assert!(selected(rule, &message("a/b", b"")).is_some());
    assert!(selected(rule, &disconnected()).is_some());
    assert!(selected(rule, &message("b/a", b"")).is_none());
    assert!(selected("SELECT clientid FROM \"#\"", &disconnected()).is_none());
    assert!(selected("SELECT clientid FROM \"$SYS/#\"", &message("$SYS/brokers", b"")).is_none());
}

#[test]
fn selected_names_paths_and_functions() {
    let payload = br#"{"a":{"b":[1]},"n":2}"#;
    for (list, expected) in [
        ("payload.a.b as list, payload.n as n", json!({ "list": [1], "n": 2 })),
        ("payload.n", json!({ "payload": { "n": 2 } })),
        ("qos as a.b, topic as a.c", json!({ "a": { "b": 1, "c": "t" } })),
        ("json_decode(payload) as p, p.a.b as b", json!({ "p": { "a": { "b": [1] }, "n": 2 }, "b": [1] })),
        ("json_encode(flags) as f", json!({ "f": "{\"dup\":false,\"retain\":true}" })),
        ("json_encode(clientid) as c", json!({ "c": "\"dev-1\"" })),
        ("base64_encode(payload) as p", json!({ "p": "eyJhIjp7ImIiOlsxXX0sIm4iOjJ9" })),
        ("payload.missing as m, flags.retain as r", json!({ "m": "undefined", "r": true })),
        ("'x' as s, 7 as i, true as t", json!({ "s": "x", "i": 7, "t": true })),
    ] {
        assert_eq!(
            selected(&format!("SELECT {list} FROM \"t\""), &message("t", payload)),
            Some(expected),
            "{list}"
        );
    }
}

#[test]
fn a_function_that_fails_fails_the_rule() {
    let engine = engine("SELECT json_decode(payload) as payload FROM \"t\"");
    let taken = Taken::default();
    engine.run(&message("t", b"no json"), &taken);
    engine.run(&message("t", b"{}"), &taken);
    assert_eq!(taken.0.borrow().len(), 1);
    assert_eq!(engine.counters()["r1"]["failed.exception"], 1);
    assert_eq!(selected("SELECT base64_encode(qos) as q FROM \"t\"", &message("t", b"")), None);
}

#[test]
fn where_compares_like_with_like() {
    for (condition, holds) in [
        ("qos = 1", true),
        ("qos != 1", false),
        ("qos > 0 and qos <= 1", true),
        ("qos = 0 or flags.retain = true", true),
        ("(qos = 0 or qos = 1) and topic = 't'", true),
        ("payload.n = 2", true),
        ("clientid = 'dev-1'", true),
        ("clientid <> 'dev-1'", false),
        ("username = 'undefined'", false),
        ("payload.x != 2", true),
        ("qos = '1'", false),
    ] {
        let sql = format!("SELECT clientid FROM \"t\" WHERE {condition}");
        assert_eq!(selected(&sql, &message("t", b"{\"n\":2}")).is_some(), holds, "{condition}");
    }
}
