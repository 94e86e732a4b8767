use serde_json::json;

use super::*;

fn identity() -> Identity {
    Identity {
        clientid: "dev-1".to_owned(),
        username: Some("dev".to_owned()),
        peer: None,
        local: None,
        proto_ver: 5,
    }
}

fn publish(topic: &str, qos: u8, retain: bool) -> Operation {
    Operation::Publish { topic: topic.to_owned(), qos, retain }
}

fn subscribe(filter: &str) -> Operation {
    Operation::Subscribe { filter: filter.to_owned(), qos: 1 }
}

fn decide(rule: &Json, operation: &Operation) -> Option<bool> {
    Rule::read(rule).unwrap_or_else(|why| panic!("{rule}: {why}")).decide(&identity(), operation)
}

#[test]
fn a_rule_is_about_its_action() {
    for (action, publishing, subscribing) in [
        ("pub", Some(true), None),
        ("publish", Some(true), None),
        ("sub", None, Some(true)),
        ("subscribe", None, Some(true)),
        ("all", Some(true), Some(true)),
    ] {
        let rule = json!({ "permission": "allow", "action": action, "topic": "a" });
        assert_eq!(decide(&rule, &publish("a", 0, false)), publishing, "{action}");
        assert_eq!(decide(&rule, &subscribe("a")), subscribing, "{action}");
    }
}

#[test]
fn topics_are_filters_unless_they_begin_with_eq() {
    let rule = json!({ "permission": "deny", "action": "all", "topics": ["eq a/#", "b/+"] });
    for (operation, expected) in [
        (subscribe("a/#"), Some(false)),
        (subscribe("a/b"), None),
        (publish("b/c", 0, false), Some(false)),
        (publish("b/c/d", 0, false), None),
        // What emqx_topic:match/2 does with a filter for a name.
        (subscribe("b/#"), Some(false)),
    ] {
        assert_eq!(decide(&rule, &operation), expected, "{operation:?}");
    }
}

#[test]
fn placeholders_stand_for_the_client() {
    let rule = json!({ "permission": "allow", "action": "all", "topics": ["a/${clientid}/#", "b/${username}", "c/${other}"] });
    for (topic, expected) in
        [("a/dev-1/x", Some(true)), ("a/dev-2/x", None), ("b/dev", Some(true)), ("c/${other}", Some(true))]
    {
        assert_eq!(decide(&rule, &publish(topic, 0, false)), expected, "{topic}");
    }
    let nameless = Identity { username: None, ..identity() };
    let rule = Rule::read(&rule).unwrap();
    assert_eq!(rule.decide(&nameless, &publish("b/", 0, false)), None, "no user name matches nothing");
}

#[test]
fn qos_and_retain_narrow_a_rule() {
    let rule = |more: Json| {
        let mut rule = json!({ "permission": "allow", "action": "publish", "topics": ["#"] });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    for (more, qos, retain, covered) in [
        (json!({ "qos": 2 }), 2, false, true),
        (json!({ "qos": "1,2" }), 1, false, true),
        (json!({ "qos": [1, "2"] }), 0, false, false),
        (json!({ "qos": null }), 0, false, true),
        (json!({ "retain": true }), 0, false, false),
        (json!({ "retain": "1" }), 0, true, true),
        (json!({ "retain": "all" }), 0, true, true),
        (json!({ "retain": false }), 0, true, false),
    ] {
        let decided = decide(&rule(more.clone()), &publish("a", qos, retain));
        assert_eq!(decided, covered.then_some(true), "{more}");
    }
    assert_eq!(
        decide(
            &json!({ "permission": "allow", "action": "all", "topics": ["#"], "retain": true }),
            &subscribe("a")
        ),
        Some(true),
        "retain is nothing that a subscription has"
    );
}

#[test]
fn a_rule_that_emqx_refuses_is_refused() {
    let good = json!({ "permission": "allow", "action": "publish", "topics": [] });
    assert!(Rule::read(&good).is_ok(), "a rule about no topic is good for nothing, and good");
    for (field, value) in [
        ("permission", json!("allo")),
        ("action", json!("publis")),
        ("topics", json!({})),
        ("topics", json!([1])),
        ("topics", json!(null)),
        ("qos", json!(3)),
        ("qos", json!("three")),
        ("qos", json!(["3"])),
        ("retain", json!(3)),
        ("ipaddr", json!("10.0.0.0/8")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(Rule::read(&bad).is_err(), "{bad}");
    }
    assert!(Rule::read(&json!({ "permission": "allow", "action": "publish" })).is_err());
    assert!(Rule::read(&json!("allow")).is_err());
}
