//! The topic matcher and the access decision: a filter that is admitted matches one topic of one
//! device and nothing more, and the rules handed to the broker never allow what the decision refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs1_auth::acl;
use rs1_domain::DeviceId;
use rs1_domain::topic::{DeviceTopic, filter_matches, is_valid_filter};
use rs1_domain::wire::admission::{Action, Authorization};

const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";

fuzz_target!(|input: (&str, &str, bool)| {
    let (filter, topic, publish) = input;
    let matches = filter_matches(filter, topic);
    if filter == topic && !filter.contains(['+', '#']) {
        assert!(matches, "a name matches itself");
    }
    if matches && is_valid_filter(filter) && !filter.contains(['+', '#']) {
        assert_eq!(filter, topic, "without wildcards only itself");
    }

    // Half of the inputs are put below the device's own prefix, where it gets interesting.
    let asked = if filter.starts_with("opticworks/") { filter.to_owned() } else { format!("opticworks/{ID}/{filter}") };
    let action = if publish { Action::Publish } else { Action::Subscribe };
    let question = Authorization {
        clientid: ID.into(),
        username: ID.into(),
        peerhost: "".into(),
        action: action.as_str().into(),
        topic: asked.as_str().into(),
    };
    let decided = acl::decide(&question);
    if decided.is_ok() {
        let parsed = DeviceTopic::parse(&asked).expect("only topics of the contract are allowed");
        assert_eq!(parsed.device.as_str(), ID, "only the device's own");
        assert!(!asked.contains(['+', '#', '\0']), "no wildcards");
    }
    let device = DeviceId::parse(ID).expect("a device id");
    let by_rules = acl::rules(&device)
        .iter()
        .filter(|rule| rule.action == action)
        .flat_map(|rule| &rule.topics)
        .any(|rule| filter_matches(rule, &asked));
    let names_one_topic = !asked.contains(['+', '#', '\0']);
    if names_one_topic || !publish {
        assert_eq!(by_rules && names_one_topic, decided.is_ok(), "{action:?} {asked:?}");
    }
});
