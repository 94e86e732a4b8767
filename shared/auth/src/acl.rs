//! Which topics a device may use (contract, section 2): publish on exactly the channels that come
//! from a device, subscribe to exactly those that come from the cloud, its own id only.
//!
//! The rules leave the cloud twice: as [`rules`] in the answer to a connection, so that EMQX decides
//! most requests itself, and as [`decide`] for whatever those rules did not allow. There is no deny
//! rule on purpose: what falls through reaches us, is refused, and is seen.

use rs1_domain::topic::{self, Channel, DeviceTopic, Publisher};
use rs1_domain::wire::admission::{AclRule, Action, Authorization, Verdict};
use rs1_domain::{ClientId, DeviceId};

/// Whether a request is allowed, with the device it comes from.
///
/// # Errors
/// Why it is refused.
pub fn decide(request: &Authorization<'_>) -> Result<DeviceId, Violation> {
    let device = DeviceId::parse(&request.username).ok_or(Violation::Client)?;
    let client = ClientId::parse(&request.clientid).ok_or(Violation::Client)?;
    if *client.device() != device {
        return Err(Violation::Client);
    }
    let publisher = match request.action().ok_or(Violation::Action)? {
        Action::Publish => Publisher::Device,
        Action::Subscribe => Publisher::Cloud,
    };
    // A filter with a wildcard is no topic name, so it parses to nothing and is refused whole.
    let topic = DeviceTopic::parse(&request.topic).ok_or(Violation::Topic)?;
    if topic.device != device {
        return Err(Violation::OtherDevice);
    }
    if topic.channel.publisher() != publisher {
        return Err(Violation::Direction);
    }
    Ok(device)
}

/// Why a topic is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// User name and client id are not one device's.
    Client,
    /// Neither publish nor subscribe.
    Action,
    /// No topic of the contract, or a filter with wildcards.
    Topic,
    /// Another device's topic.
    OtherDevice,
    /// A topic of the device, in the wrong direction.
    Direction,
}

impl Violation {
    /// The violation's word in the security log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Action => "action",
            Self::Topic => "topic",
            Self::OtherDevice => "other_device",
            Self::Direction => "direction",
        }
    }
}

/// The rules that EMQX is given when `device` connects.
pub fn rules(device: &DeviceId) -> Vec<AclRule> {
    let topics = |publisher| {
        Channel::ALL
            .into_iter()
            .filter(|channel| channel.publisher() == publisher)
            .flat_map(Channel::filters)
            .map(|filter| topic::of_device(device, filter))
            .collect()
    };
    [(Action::Publish, Publisher::Device), (Action::Subscribe, Publisher::Cloud)]
        .map(|(action, publisher)| AclRule { permission: Verdict::Allow, action, topics: topics(publisher) })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::topic::filter_matches;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
    const OTHER: &str = "00112233445566778899aabbccddeeff";

    fn ask(action: &str, topic: &str) -> Result<DeviceId, Violation> {
        decide(&Authorization {
            clientid: ID.into(),
            username: ID.into(),
            peerhost: "203.0.113.7".into(),
            action: action.into(),
            topic: topic.into(),
        })
    }

    #[test]
    fn a_device_publishes_what_is_its_own_to_say() {
        for rest in [
            "state",
            "telemetry",
            "telemetry/radar",
            "telemetry/diagnostics",
            "diag/response",
            "ota/status",
            "config/status",
            "provision",
            "targets/stream",
        ] {
            assert!(ask("publish", &format!("opticworks/{ID}/{rest}")).is_ok(), "{rest}");
            assert_eq!(
                ask("subscribe", &format!("opticworks/{ID}/{rest}")),
                Err(Violation::Direction),
                "{rest}"
            );
            assert_eq!(
                ask("publish", &format!("opticworks/{OTHER}/{rest}")),
                Err(Violation::OtherDevice),
                "{rest}"
            );
        }
    }

    #[test]
    fn a_device_subscribes_to_what_the_cloud_says_to_it() {
        for rest in
            ["ota/trigger", "config/update", "diag/request", "provision/response", "command/factory-reset"]
        {
            assert!(ask("subscribe", &format!("opticworks/{ID}/{rest}")).is_ok(), "{rest}");
            assert_eq!(
                ask("publish", &format!("opticworks/{ID}/{rest}")),
                Err(Violation::Direction),
                "{rest}"
            );
            assert_eq!(
                ask("subscribe", &format!("opticworks/{OTHER}/{rest}")),
                Err(Violation::OtherDevice),
                "{rest}"
            );
        }
    }

    #[test]
    fn filters_that_could_match_more_are_refused_whole() {
        for filter in [
            "#",
            "+",
            "$SYS/#",
            "opticworks/#",
            "opticworks/+/ota/trigger",
            &format!("opticworks/{ID}/#"),
            &format!("opticworks/{ID}/+"),
            &format!("opticworks/{ID}/ota/#"),
            &format!("opticworks/{ID}/ota/+"),
            &format!("opticworks/{ID}/ota/trigger/#"),
            "",
            "/",
            "$share/g/x",
        ] {
            assert_eq!(ask("subscribe", filter), Err(Violation::Topic), "{filter}");
            assert_eq!(ask("publish", filter), Err(Violation::Topic), "{filter}");
        }
    }

    #[test]
    fn nobody_else_gets_anything() {
        let request = |client: &'static str, username: &'static str, action: &'static str| Authorization {
            clientid: client.into(),
            username: username.into(),
            peerhost: "".into(),
            action: action.into(),
            topic: format!("opticworks/{ID}/state").into(),
        };
        assert_eq!(decide(&request(OTHER, ID, "publish")), Err(Violation::Client));
        assert_eq!(decide(&request(ID, OTHER, "publish")), Err(Violation::Client));
        assert_eq!(decide(&request("", "", "publish")), Err(Violation::Client));
        assert_eq!(decide(&request("http_api", "undefined", "publish")), Err(Violation::Client));
        assert_eq!(decide(&request(ID, ID, "")), Err(Violation::Action));
        assert_eq!(decide(&request(ID, ID, "all")), Err(Violation::Action));
    }

    #[test]
    fn the_rules_have_the_form_that_emqx_reads() {
        let json = serde_json::to_value(rules(&DeviceId::parse(ID).unwrap())).unwrap();
        assert_eq!(json[0]["permission"], "allow");
        assert_eq!(json[0]["action"], "publish");
        assert_eq!(json[0]["topics"][0], format!("opticworks/{ID}/state"));
        assert_eq!(json[1]["action"], "subscribe");
        assert_eq!(json[1]["topics"].as_array().unwrap().len(), 5);
    }

    proptest! {
        /// What EMQX decides by the rules and what we decide when asked must never differ.
        #[test]
        fn rules_and_decision_agree(
            id in prop_oneof![Just(ID), Just(OTHER)],
            rest in "(state|telemetry(/[a-z]{0,4}){0,3}|diag/(request|response|x)|ota/(status|trigger|#)|config/(status|update)|provision(/response)?|targets/stream|command/[a-z-]{0,16}|[+#a-z/]{0,10})",
            publish: bool,
        ) {
            let topic = format!("opticworks/{id}/{rest}");
            let action = if publish { Action::Publish } else { Action::Subscribe };
            // EMQX matches a subscriber's filter against a rule's topic as if it were a name.
            let by_rules = rules(&DeviceId::parse(ID).unwrap())
                .iter()
                .filter(|rule| rule.action == action)
                .flat_map(|rule| &rule.topics)
                .any(|filter| filter_matches(filter, &topic));
            let asked = ask(action.as_str(), &topic).is_ok();
            // A publish to a name with a wildcard never gets as far as a rule: MQTT forbids it.
            let impossible = publish && topic.contains(['+', '#']);
            prop_assert!(by_rules == asked || impossible, "{} {}: rules {}, asked {}", action.as_str(), topic, by_rules, asked);
        }

        #[test]
        fn no_topic_makes_the_decision_panic(topic in ".{0,100}") {
            let _ = (ask("publish", &topic), ask("subscribe", &topic));
        }
    }
}
