//! MQTT topics under `opticworks/{device_id}/…` and the filters that clients ask for.
//!
//! [`DeviceTopic`] is the contract's table (section 2) as a type: what a device publishes and what
//! the cloud publishes to it. [`filter_matches`] is the matching of MQTT 5.0, section 4.7.

use crate::DeviceId;

/// The first level of every topic of ours.
pub const ROOT: &str = "opticworks";

/// What a topic of a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `state`: what the device is, retained; also its last will.
    State,
    /// `telemetry` and `telemetry/…`.
    Telemetry,
    /// `telemetry/diagnostics` and `diag/response`: the answer to a diagnostics request.
    Diagnostics,
    /// `ota/status`: how an update goes.
    OtaStatus,
    /// `config/status`: whether a zone configuration was taken.
    ConfigStatus,
    /// `provision`: the device presents itself.
    Provision,
    /// `targets/stream`: live positions for the Zone Editor; never stored.
    TargetStream,
    /// `ota/trigger`: begin an update.
    OtaTrigger,
    /// `config/update`: a zone configuration.
    ConfigUpdate,
    /// `diag/request`: send diagnostics.
    DiagnosticsRequest,
    /// `provision/response`: the answer to `provision`.
    ProvisionResponse,
    /// `command/factory-reset`: forget everything.
    FactoryReset,
}

/// Who publishes on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// The device; the cloud reads.
    Device,
    /// The cloud; the device subscribes.
    Cloud,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Telemetry,
        Self::Diagnostics,
        Self::OtaStatus,
        Self::ConfigStatus,
        Self::Provision,
        Self::TargetStream,
        Self::OtaTrigger,
        Self::ConfigUpdate,
        Self::DiagnosticsRequest,
        Self::ProvisionResponse,
        Self::FactoryReset,
    ];

    /// Who publishes there.
    pub fn publisher(self) -> Publisher {
        match self {
            Self::State
            | Self::Telemetry
            | Self::Diagnostics
            | Self::OtaStatus
            | Self::ConfigStatus
            | Self::Provision
            | Self::TargetStream => Publisher::Device,
            Self::OtaTrigger
            | Self::ConfigUpdate
            | Self::DiagnosticsRequest
            | Self::ProvisionResponse
            | Self::FactoryReset => Publisher::Cloud,
        }
    }

    /// The filters, relative to `opticworks/{device_id}/`, that cover exactly this channel's topics.
    pub fn filters(self) -> &'static [&'static str] {
        match self {
            Self::State => &["state"],
            // `telemetry/#` matches `telemetry` itself too (MQTT 5.0, section 4.7.1.2).
            Self::Telemetry => &["telemetry/#"],
            Self::Diagnostics => &["telemetry/diagnostics", "diag/response"],
            Self::OtaStatus => &["ota/status"],
            Self::ConfigStatus => &["config/status"],
            Self::Provision => &["provision"],
            Self::TargetStream => &["targets/stream"],
            Self::OtaTrigger => &["ota/trigger"],
            Self::ConfigUpdate => &["config/update"],
            Self::DiagnosticsRequest => &["diag/request"],
            Self::ProvisionResponse => &["provision/response"],
            Self::FactoryReset => &["command/factory-reset"],
        }
    }

    /// The channel of a topic below `opticworks/{device_id}/`; `None` if the contract has none.
    fn of(rest: &str) -> Option<Self> {
        Some(match rest {
            "state" => Self::State,
            "telemetry/diagnostics" | "diag/response" => Self::Diagnostics,
            "telemetry" => Self::Telemetry,
            "ota/status" => Self::OtaStatus,
            "config/status" => Self::ConfigStatus,
            "provision" => Self::Provision,
            "targets/stream" => Self::TargetStream,
            "ota/trigger" => Self::OtaTrigger,
            "config/update" => Self::ConfigUpdate,
            "diag/request" => Self::DiagnosticsRequest,
            "provision/response" => Self::ProvisionResponse,
            "command/factory-reset" => Self::FactoryReset,
            _ if rest.starts_with("telemetry/") => Self::Telemetry,
            _ => return None,
        })
    }
}

/// A topic name of the contract: whose it is and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTopic {
    /// The device in the topic; for messages from devices this is the truth about who sent them.
    pub device: DeviceId,
    /// What the topic is for.
    pub channel: Channel,
}

impl DeviceTopic {
    /// Reads a topic *name*. A name with a wildcard, a NUL or a level that no channel has is `None`,
    /// so this is also the check for a filter that must match one topic and nothing more.
    pub fn parse(topic: &str) -> Option<Self> {
        if topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
            return None;
        }
        let (device, rest) = topic.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        Some(Self { device: DeviceId::parse(device)?, channel: Channel::of(rest)? })
    }
}

/// The full topic or filter for `rest` of a device.
pub fn of_device(device: &DeviceId, rest: &str) -> String {
    [ROOT, "/", device.as_str(), "/", rest].concat()
}

/// Whether `filter` is a well-formed MQTT topic filter (MQTT 5.0, section 4.7.1): not empty, no
/// NUL, `#` only as the whole last level, `+` only as a whole level.
pub fn is_valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > 65_535 || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.peek().is_none() => {}
            other if other.contains(['+', '#']) => return false,
            _ => {}
        }
    }
    true
}

/// Whether a topic name matches a filter. A filter that begins with a wildcard does not match a
/// topic that begins with `$` (MQTT 5.0, section 4.7.2).
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut wanted = filter.split('/');
    let mut given = topic.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(want), Some(have)) if want == "+" || want == have => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";

    fn channel(rest: &str) -> Option<Channel> {
        DeviceTopic::parse(&format!("opticworks/{ID}/{rest}")).map(|topic| topic.channel)
    }

    #[test]
    fn every_topic_of_the_contract_has_its_channel() {
        for (rest, expected) in [
            ("state", Channel::State),
            ("telemetry", Channel::Telemetry),
            ("telemetry/radar/raw", Channel::Telemetry),
            ("telemetry/diagnostics", Channel::Diagnostics),
            ("diag/response", Channel::Diagnostics),
            ("ota/status", Channel::OtaStatus),
            ("config/status", Channel::ConfigStatus),
            ("provision", Channel::Provision),
            ("targets/stream", Channel::TargetStream),
            ("ota/trigger", Channel::OtaTrigger),
            ("config/update", Channel::ConfigUpdate),
            ("diag/request", Channel::DiagnosticsRequest),
            ("provision/response", Channel::ProvisionResponse),
            ("command/factory-reset", Channel::FactoryReset),
        ] {
            assert_eq!(channel(rest), Some(expected), "{rest}");
        }
    }

    #[test]
    fn anything_else_is_no_topic_of_ours() {
        for rest in [
            "",
            "stat",
            "state/",
            "State",
            "telemetryx",
            "#",
            "+",
            "telemetry/#",
            "telemetry/+",
            "ota",
            "command/reboot",
        ] {
            assert_eq!(channel(rest), None, "{rest}");
        }
        for topic in [
            "",
            "opticworks",
            "opticworks/+/state",
            "#",
            "$SYS/brokers",
            &format!("opticworks/{}/state", ID.to_uppercase()),
            &format!("other/{ID}/state"),
            &format!("/opticworks/{ID}/state"),
        ] {
            assert_eq!(DeviceTopic::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn filters_match_as_the_mqtt_specification_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("", "", true),
        ] {
            assert_eq!(filter_matches(filter, topic), expected, "{filter} ~ {topic}");
        }
    }

    #[test]
    fn only_well_formed_filters_are_valid() {
        for (filter, fine) in [
            ("#", true),
            ("+", true),
            ("a/+/b/#", true),
            ("/", true),
            ("", false),
            ("a#", false),
            ("#/a", false),
            ("a/#/b", false),
            ("a+/b", false),
            ("a\0b", false),
        ] {
            assert_eq!(is_valid_filter(filter), fine, "{filter:?}");
        }
    }

    /// Matching as the specification words it, without care for speed.
    fn slow_match(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => slow_match(filter, topic),
            ([level, filter @ ..], [name, topic @ ..]) => level == name && slow_match(filter, topic),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_plain_reading(filter in "[ab+/]{0,8}(/#)?", topic in "[ab/]{0,10}") {
            prop_assume!(is_valid_filter(&filter));
            let filter_levels: Vec<_> = filter.split('/').collect();
            let topic_levels: Vec<_> = topic.split('/').collect();
            prop_assert_eq!(filter_matches(&filter, &topic), slow_match(&filter_levels, &topic_levels));
        }

        #[test]
        fn a_name_that_parses_matches_a_filter_of_its_channel_and_of_no_other_publisher(rest in "(state|telemetry|telemetry/[a-z/]{0,6}|ota/(status|trigger)|diag/(request|response))") {
            if let Some(channel) = channel(&rest) {
                prop_assert!(channel.filters().iter().any(|filter| filter_matches(filter, &rest)));
                for other in Channel::ALL.into_iter().filter(|other| other.publisher() != channel.publisher()) {
                    prop_assert!(!other.filters().iter().any(|filter| filter_matches(filter, &rest)));
                }
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,80}") {
            let _ = (DeviceTopic::parse(&text), is_valid_filter(&text), filter_matches(&text, &text));
        }
    }
}
