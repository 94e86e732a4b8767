//! What an operator asks for when making a rollout, read and checked.

use rs1_domain::wire::fields::{self, Fields, integer};
use rs1_domain::{DeviceId, Faults, FirmwareVersion, Sku, UnixMillis};
use serde_json::{Map, Value};

use crate::policy::Policy;
use crate::rollout::Stage;
use crate::selector::{Selector, is_tag};
use crate::share::Share;

/// Most stages of a rollout.
pub const MAX_STAGES: usize = 10;
/// Longest stage, in seconds: 30 days.
pub const MAX_STAGE_SECONDS: i64 = 30 * 86_400;
/// Most triggers a minute that may be asked for.
pub const MAX_RATE: i64 = 10_000;
/// Longest reason, in characters.
pub const MAX_REASON: usize = 500;

/// A rollout that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRequest {
    /// The variant.
    pub sku: Sku,
    /// The artifact's version.
    pub version: FirmwareVersion,
    /// The stages, the default ones if none were named.
    pub stages: Vec<Stage>,
    /// dBm, −100 to 0.
    pub min_rssi: i64,
    /// Whether devices of a higher version get it, too.
    pub force: bool,
    /// Why.
    pub reason: Option<String>,
    /// When it is to start by itself.
    pub schedule_at: Option<UnixMillis>,
    /// Most triggers in any minute.
    pub rate_per_minute: u32,
    /// Which devices.
    pub selector: Selector,
}

const FIELDS: [&str; 9] =
    ["sku", "version", "stages", "min_rssi", "force", "reason", "schedule_at", "rate_per_minute", "selector"];
const STAGE_FIELDS: [&str; 4] = ["percent", "duration_sec", "max_failure_share", "min_confirmed"];
const SELECTOR_FIELDS: [&str; 3] = ["tags", "versions", "device_ids"];

impl RolloutRequest {
    /// Reads a request's body, sent at `now`.
    ///
    /// # Errors
    /// Every fault, with its pointer; an unknown field is one.
    pub fn read(body: &[u8], policy: &Policy, now: UnixMillis) -> Result<Self, Faults> {
        let object = fields::object(body)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        fields.refuse_unknown(&FIELDS, f);
        let sku = fields.required("sku", Sku::EXPECTED, f, |value| Sku::parse(value.as_str()?));
        let version = fields.required("version", FirmwareVersion::EXPECTED, f, |value| {
            FirmwareVersion::parse(value.as_str()?)
        });
        let stages = fields
            .optional("stages", "must be an array of stages", f, Value::as_array)
            .map_or_else(Stage::defaults, |stages| read_stages(stages, f));
        let min_rssi = fields
            .optional("min_rssi", "must be an integer from -100 to 0", f, |value| integer(value, -100..=0))
            .unwrap_or(rs1_domain::wire::ota::DEFAULT_MIN_RSSI);
        let force = fields.optional("force", "must be true or false", f, Value::as_bool).unwrap_or(false);
        let reason = read_reason(&fields, f);
        let schedule_at = read_schedule(&fields, now, f);
        let rate_per_minute = fields
            .optional("rate_per_minute", "must be an integer from 1 to 10000", f, |value| {
                integer(value, 1..=MAX_RATE).and_then(|rate| u32::try_from(rate).ok())
            })
            .unwrap_or(policy.rate_per_minute);
        let selector = fields
            .optional("selector", "must be an object of tags, versions and device_ids", f, Value::as_object)
            .map(|selector| read_selector(selector, f))
            .unwrap_or_default();
        let (Some(sku), Some(version), true) = (sku, version, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Self { sku, version, stages, min_rssi, force, reason, schedule_at, rate_per_minute, selector })
    }
}

/// Reads the optional `reason` of any request about a rollout: text of at most 500 characters.
pub fn read_reason(fields: &Fields<'_>, faults: &mut Faults) -> Option<String> {
    fields.optional("reason", "must be text of at most 500 characters", faults, |value| {
        value.as_str().filter(|text| text.chars().count() <= MAX_REASON).map(str::to_owned)
    })
}

/// Reads an optional `schedule_at`, which must lie in the future.
pub fn read_schedule(fields: &Fields<'_>, now: UnixMillis, faults: &mut Faults) -> Option<UnixMillis> {
    fields.optional("schedule_at", "must be an RFC 3339 time in the future", faults, |value| {
        fields::time(value).filter(|at| *at > now)
    })
}

fn read_stages(stages: &[Value], faults: &mut Faults) -> Vec<Stage> {
    if stages.is_empty() || stages.len() > MAX_STAGES {
        faults.add("/stages", "must have 1 to 10 stages");
        return Vec::new();
    }
    let last = stages.len().saturating_sub(1);
    let mut below = 0;
    let mut read = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let at = format!("/stages/{index}");
        let Some(object) = stage.as_object() else {
            faults.add(at, "must be an object");
            continue;
        };
        let fields = Fields::new(object, at);
        let Some(stage) = read_stage(&fields, index == last, faults) else { continue };
        if stage.percent <= below {
            faults.add(fields.pointer("percent"), "must be more than the stage before it");
        } else if index == last && stage.percent != 100 {
            faults.add(fields.pointer("percent"), "must be 100 in the last stage");
        }
        below = stage.percent.max(below);
        read.push(stage);
    }
    read
}

fn read_stage(fields: &Fields<'_>, is_last: bool, faults: &mut Faults) -> Option<Stage> {
    fields.refuse_unknown(&STAGE_FIELDS, faults);
    let percent = fields.required("percent", "must be an integer from 1 to 100", faults, |value| {
        integer(value, 1..=100).and_then(|percent| u8::try_from(percent).ok())
    });
    let seconds = |value: &Value| integer(value, 1..=MAX_STAGE_SECONDS);
    let expected = "must be an integer from 1 to 2592000 (30 days)";
    // The last stage has no end of its own: it lasts until all are done.
    let duration_sec = if is_last {
        fields.optional("duration_sec", expected, faults, seconds)
    } else {
        fields.required("duration_sec", expected, faults, seconds)
    };
    let max_failure_share = fields
        .optional("max_failure_share", "must be a number from 0 to 1", faults, |value| {
            Share::from_fraction(value.as_f64()?)
        })
        .or_else(|| default_failure_share(percent?, is_last));
    let min_confirmed =
        fields.optional("min_confirmed", "must be an integer from 0 to 1000000", faults, |value| {
            integer(value, 0..=1_000_000).and_then(|number| u32::try_from(number).ok())
        });
    Some(Stage { percent: percent?, duration_sec, max_failure_share, min_confirmed })
}

/// What the default stages allow at that size: 1 %, and 2 % from half of the fleet on. The last stage has none, since
/// nothing comes after it.
fn default_failure_share(percent: u8, is_last: bool) -> Option<Share> {
    (!is_last).then(|| Share::percent(if percent < 50 { 1 } else { 2 }))
}

fn read_selector(object: &Map<String, Value>, faults: &mut Faults) -> Selector {
    let fields = Fields::new(object, "/selector");
    fields.refuse_unknown(&SELECTOR_FIELDS, faults);
    let tags = read_list(
        &fields,
        "tags",
        Selector::MAX_TAGS,
        "must be 1 to 32 of a-z, 0-9, - and _",
        faults,
        |text| is_tag(text).then(|| text.to_owned()),
    );
    let versions = read_list(
        &fields,
        "versions",
        Selector::MAX_VERSIONS,
        FirmwareVersion::EXPECTED,
        faults,
        FirmwareVersion::parse,
    );
    let device_ids = read_list(
        &fields,
        "device_ids",
        Selector::MAX_DEVICES,
        "must be a device id, 32 lower-case hex digits",
        faults,
        DeviceId::parse,
    );
    Selector { tags, versions, device_ids }.normalized()
}

/// A list of texts. An empty one is a fault: does it mean nobody, or everybody?
fn read_list<T>(
    fields: &Fields<'_>,
    name: &str,
    most: usize,
    expected: &str,
    faults: &mut Faults,
    read: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let size = format!("must be an array of 1 to {most} texts");
    let Some(values) = fields.optional(name, &size, faults, Value::as_array) else { return Vec::new() };
    if values.is_empty() || values.len() > most {
        faults.add(fields.pointer(name), size);
        return Vec::new();
    }
    let mut list = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match value.as_str().and_then(&read) {
            Some(value) => list.push(value),
            None => faults.add(format!("{}/{index}", fields.pointer(name)), expected),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn read(body: &Value) -> Result<RolloutRequest, Faults> {
        RolloutRequest::read(body.to_string().as_bytes(), &Policy::default(), NOW)
    }

    fn pointers(body: &Value) -> Vec<String> {
        let faults = read(body).unwrap_err();
        faults.as_slice().iter().map(|fault| fault.pointer.clone()).collect()
    }

    #[test]
    fn the_least_that_may_be_asked_for_gets_the_defaults() {
        let request = read(&json!({"sku": "rs1_pro", "version": "1.2.0"})).unwrap();
        assert_eq!(request.min_rssi, -70);
        assert_eq!(request.rate_per_minute, 100);
        assert_eq!(request.selector, Selector::default());
        let stages: Vec<_> = request.stages.iter().map(|stage| (stage.percent, stage.duration_sec)).collect();
        assert_eq!(stages, [(1, Some(3_600)), (10, Some(14_400)), (50, Some(86_400)), (100, None)]);
        let shares: Vec<_> = request.stages.iter().map(|stage| stage.max_failure_share).collect();
        let percent = |percent| Some(Share::percent(percent));
        assert_eq!(shares, [percent(1), percent(1), percent(2), None]);
    }

    #[test]
    fn all_that_may_be_asked_for_is_read() {
        let request = read(&json!({
            "sku": "rs1_lite", "version": "1.2.0-rc.1", "min_rssi": -100, "force": true, "reason": "é".repeat(500),
            "schedule_at": "2026-01-20T10:00:01Z", "rate_per_minute": 10_000,
            "stages": [
                {"percent": 5, "duration_sec": 1, "max_failure_share": 0, "min_confirmed": 0},
                {"percent": 60, "duration_sec": 2_592_000},
                {"percent": 100, "duration_sec": null, "max_failure_share": 1},
            ],
            "selector": {
                "tags": ["beta", "attic", "beta"], "versions": ["1.1.0", "1.0.0"],
                "device_ids": ["ff32e97b9d6cf5e193d3a3a7e8fd9a97", "3e32e97b9d6cf5e193d3a3a7e8fd9a97"],
            },
        }))
        .unwrap();
        assert_eq!(request.schedule_at, Some(NOW.plus(1_000)));
        assert_eq!(request.stages[0].max_failure_share, Some(Share::NONE));
        assert_eq!(request.stages[1].max_failure_share, Some(Share::percent(2)));
        assert_eq!(request.stages[2].max_failure_share, Some(Share::ALL));
        assert_eq!(request.selector.tags, ["attic", "beta"], "sorted, each once");
        assert!(request.selector.device_ids.is_sorted());
    }

    #[test]
    fn every_fault_is_named_with_its_pointer() {
        let body = json!({
            "sku": "rs2", "version": "new", "min_rssi": 1, "force": "yes", "reason": "x".repeat(501), "schedule_at": "2026-01-20T10:00:00Z",
            "rate_per_minute": 0, "rollout": 1,
            "stages": [
                {"percent": 0, "duration_sec": 0, "max_failure_share": 1.1, "min_confirmed": -1, "share": 1},
                {"percent": 50},
                {"percent": 50, "duration_sec": 2_592_001},
                7,
                {"percent": 99},
            ],
            "selector": {"tags": ["A"], "versions": [], "device_ids": [5], "all": true},
        });
        assert_eq!(
            pointers(&body),
            [
                "/rollout",
                "/sku",
                "/version",
                "/stages/0/share",
                "/stages/0/percent",
                "/stages/0/duration_sec",
                "/stages/0/max_failure_share",
                "/stages/0/min_confirmed",
                "/stages/1/duration_sec",
                "/stages/2/duration_sec",
                "/stages/2/percent",
                "/stages/3",
                "/stages/4/percent",
                "/min_rssi",
                "/force",
                "/reason",
                "/schedule_at",
                "/rate_per_minute",
                "/selector/all",
                "/selector/tags/0",
                "/selector/versions",
                "/selector/device_ids/0",
            ]
        );
        assert_eq!(pointers(&json!({})), ["/sku", "/version"]);
    }

    #[test]
    fn sizes_hold_at_their_edge() {
        let with = |name: &str, value: Value| {
            let mut body = json!({"sku": "rs1_pro", "version": "1.2.0"});
            body[name] = value;
            read(&body)
        };
        let stages = |count: usize| -> Value {
            (1..=count)
                .map(|n| json!({"percent": if n == count { 100 } else { n }, "duration_sec": 60}))
                .collect()
        };
        assert!(with("stages", stages(10)).is_ok());
        assert!(with("stages", stages(11)).is_err());
        assert!(with("stages", json!([])).is_err());
        let ids =
            |count: usize| json!({"device_ids": (0..count).map(|n| format!("{n:032x}")).collect::<Vec<_>>()});
        assert!(with("selector", ids(1_000)).is_ok());
        assert!(with("selector", ids(1_001)).is_err());
        let tags = |count: usize| json!({"tags": (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>()});
        assert!(with("selector", tags(32)).is_ok());
        assert!(with("selector", tags(33)).is_err());
        assert!(with("selector", json!({"tags": ["x".repeat(33)]})).is_err());
        assert!(with("selector", json!({})).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = RolloutRequest::read(&bytes, &Policy::default(), NOW);
        }

        #[test]
        fn stages_that_are_taken_rise_to_a_hundred(percents in proptest::collection::vec(-1_i64..103, 0..13)) {
            let stages: Vec<_> = percents.iter().map(|percent| json!({"percent": percent, "duration_sec": 60})).collect();
            let fine = percents.iter().all(|percent| (1..=100).contains(percent))
                && percents.windows(2).all(|pair| pair[0] < pair[1])
                && percents.last() == Some(&100)
                && percents.len() <= MAX_STAGES;
            prop_assert_eq!(read(&json!({"sku": "rs1_pro", "version": "1.2.0", "stages": stages})).is_ok(), fine);
        }
    }
}
