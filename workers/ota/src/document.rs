//! What this worker answers, for the OpenAPI document.

use std::collections::BTreeMap;

use rs1_domain::limits;
use rs1_domain::problem::Kind;
use rs1_domain::{DeviceId, FirmwareVersion, Method, Sku, UnixMillis};
use rs1_openapi::{Caller, Host, Operation, Reason, Tag, sample};
use rs1_rollout::request::{MAX_RATE, MAX_REASON, MAX_STAGE_SECONDS, MAX_STAGES};
use rs1_rollout::{DeviceState, HoldBack, Report, Selector, Stage, Verb};
use rs1_store::firmware::{Artifact, ArtifactName, Key};
use rs1_store::sql::Page;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::handlers::{keys, rollouts};

const BINARY: &str = "application/octet-stream";
const OPERATOR: &str = "operator@optic.works";

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let health = sample::health(Operation::get("/health", "health", "How this worker is").on(Host::Ota));
    [vec![health], downloads(), firmware_keys(), artifacts(), rollouts(), verbs()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_operator(operation: Operation, tag: Tag) -> Operation {
    operation.on(Host::Ota).of(tag, Caller::Operator)
}

fn plain(operation: Operation) -> Operation {
    operation.refuses_faults(&[("?colour", "is not known; known are ")])
}

fn paged(operation: Operation, cursor: &str) -> Operation {
    operation.paged(cursor).refuses_faults(&[("?limit", "must be a whole number from 1 to 200")])
}

fn page<T>(item: T) -> Page<T> {
    Page { items: vec![item], next_cursor: None }
}

fn named(operation: Operation) -> Operation {
    operation.path::<Sku>("sku", "The variant.", Sku::Pro.as_str()).path::<FirmwareVersion>(
        "version",
        "The version.",
        "1.2.0",
    )
}

fn downloads() -> Vec<Operation> {
    let download = |method, name, summary| {
        let name_of_link = "^[A-Za-z0-9-]{1,64}$";
        named(Operation::new(method, "/firmware/{sku}/{version}.bin", name, summary).on(Host::Ota).of(Tag::Downloads, Caller::Link))
            .about("For a device that was sent the link. Every request is judged anew; only the bytes are ever cached.")
            .required_query("device", "Who may download.", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}), sample::device_id().as_str())
            .required_query("expires", "Unix seconds from which on it is not good any more.", json!({"type": "string", "pattern": "^[1-9][0-9]{0,11}$"}), "1768904100")
            .required_query("kid", "Which key signed it.", json!({"type": "string", "pattern": name_of_link}), "5fa1c2d3")
            .required_query("rollout", "In which rollout.", json!({"type": "string", "pattern": name_of_link}), sample::record_id("rol").as_str())
            .required_query("sig", "The signature.", json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}), "bm90IGEgc2lnbmF0dXJlLCBidXQgYXMgbG9uZyBhcyA")
            .header("Range", false, "The part that is missing; what is no range of bytes is ignored.", json!({"type": "string"}), "bytes=1024-")
            .header("If-Range", false, "The `ETag` of what is there already: another image is sent whole.", json!({"type": "string"}), "\"5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f\"")
            .with(200, "etag", "The image's SHA-256.")
            .with(200, "repr-digest", "The same, as RFC 9530 has it.")
            .with(206, "content-range", "Which part it is.")
            .answers_empty(304, "It is what `If-None-Match` names")
            .refuses(Kind::BadSignature, "only links that were sent to a device are good")
            .refuses(Kind::UrlExpired, "ask for the image again when you are sent a new link")
            .refuses(Kind::NotInRollout, "the rollout is paused")
            .refuses(Kind::NotFound, "there is no such image")
            .refuses(Kind::Yanked, "this image is not handed out any more")
            .refuses(Kind::PreconditionFailed, "the image is \"5f5f5f…\"")
            .refuses(Kind::RangeNotSatisfiable, "the image has 1048576 bytes")
            .with(416, "content-range", "How long the image is.")
            .refuses(Kind::TooManyAttempts, "5 downloads of this image were begun in this rollout")
            .with(429, "retry-after", "Seconds after which to try again.")
    };
    vec![
        download(Method::Get, "download", "An image on its way to a device")
            .answers_bytes(200, "The image", BINARY)
            .answers_bytes(206, "The part that was asked for", BINARY),
        download(Method::Head, "downloadHead", "What a download would begin with")
            .answers_empty(200, "The image can be had")
            .answers_empty(206, "The part can be had"),
    ]
}

/// What registers a key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct NewKey {
    /// What people call it: 1 to 64 characters.
    #[schemars(
        length(max = 64),
        regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")
    )]
    name: String,
    /// A point of the curve P-256: x and y, 128 hex digits.
    #[schemars(regex(pattern = "^[0-9a-f]{128}$"))]
    public_key: String,
}

fn key() -> Key {
    Key {
        key_id: sample::record_id("fwk").to_string(),
        name: "release 2026".to_owned(),
        public_key: PUBLIC_KEY.to_owned(),
        created_at: sample::NOW,
        created_by: OPERATOR.to_owned(),
        revoked_at: None,
        revoked_by: None,
    }
}

/// The generator of P-256: a point that anybody can check.
const PUBLIC_KEY: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                          4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn firmware_keys() -> Vec<Operation> {
    let revoked = keys::Revoked {
        key: Key { revoked_at: Some(sample::NOW), revoked_by: Some(OPERATOR.to_owned()), ..key() },
        artifacts: vec![ArtifactName { sku: Sku::Pro, version: sample::version("1.2.0") }],
    };
    vec![
        paged(of_operator(Operation::get("/admin/firmware-keys", "listKeys", "The keys that sign firmware"), Tag::Firmware), &sample::record_pattern("fwk"))
            .answers(200, "A page, newest first", &page(key())),
        of_operator(Operation::post("/admin/firmware-keys", "registerKey", "Register a key"), Tag::Firmware)
            .takes::<NewKey>(vec![("a key", json!({"name": "release 2026", "public_key": PUBLIC_KEY}))])
            .answers(200, "It was registered under that name before", &key())
            .answers(201, "It is registered", &key())
            .refuses(Kind::Conflict, "this key was revoked; that is for good")
            .refuses_faults(&[("/public_key", "is required")]),
        plain(of_operator(Operation::delete("/admin/firmware-keys/{id}", "revokeKey", "Revoke a key, for good"), Tag::Firmware))
            .about("What it signed is handed out no more, and the rollouts of it pause. Doing so again changes nothing.")
            .path_of("id", "The key.", json!({"type": "string", "pattern": "^fwk-[0-9A-HJKMNP-TV-Z]{26}$"}), &key().key_id)
            .answers(200, "It is revoked", &revoked)
            .refuses(Kind::NotFound, "there is no such key"),
    ]
}

fn artifact() -> Artifact {
    Artifact {
        sku: Sku::Pro,
        version: sample::version("1.2.0"),
        artifact_id: sample::record_id("fwa").to_string(),
        sha256: "5f".repeat(32),
        size: 1_048_576,
        elf_sha256: "a7".repeat(32),
        fw_version: 7,
        project_name: "rs1".to_owned(),
        built_at: sample::NOW,
        key_id: key().key_id,
        key_name: key().name,
        key_revoked_at: None,
        uploaded_at: sample::NOW,
        uploaded_by: OPERATOR.to_owned(),
        yanked_at: None,
        yanked_by: None,
        yank_reason: None,
    }
}

fn artifacts() -> Vec<Operation> {
    let none = "there is no such artifact";
    vec![
        paged(of_operator(Operation::get("/admin/firmware", "listArtifacts", "The artifacts"), Tag::Firmware), &sample::record_pattern("fwa"))
            .query::<Sku>("sku", "Those of this variant.")
            .answers(200, "A page, newest first", &page(artifact())),
        plain(named(of_operator(Operation::get("/admin/firmware/{sku}/{version}", "artifact", "One artifact"), Tag::Firmware)))
            .answers(200, "The artifact", &artifact())
            .refuses(Kind::NotFound, none),
        named(of_operator(Operation::put("/admin/firmware/{sku}/{version}", "uploadFirmware", "An image becomes an artifact"), Tag::Firmware))
            .about("It must say the version that the path says, and carry a block signed with a key that is registered. Send its `Content-Length`.")
            .takes_bytes(BINARY, "The image, up to 16 MiB, as it is.")
            .header("Repr-Digest", false, "The image's SHA-256 (RFC 9530).", json!({"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"}), "sha-256=:X19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX18=:")
            .answers(200, "The same image is there already", &artifact())
            .answers(201, "It is an artifact", &artifact())
            .refuses(Kind::Malformed, "the body did not come whole")
            .refuses(Kind::Conflict, "rs1_pro 1.2.0 is another image, and versions never change")
            .refuses(Kind::LengthRequired, "send the image with its Content-Length")
            .refuses(Kind::TooLarge, "the body may have at most 16777216 bytes")
            .refuses(Kind::UnsupportedMediaType, "the image is sent as it is: application/octet-stream, without an encoding")
            .refuses_faults(&[("/app_desc/version", "is 1.1.0, and must be 1.2.0"), ("/signature_block/public_key", "is not registered")]),
        named(of_operator(Operation::post("/admin/firmware/{sku}/{version}/yank", "yank", "Withdraw an artifact"), Tag::Firmware))
            .about("Nobody is sent it any more, downloads of it are refused, and its rollouts pause. Doing so again changes nothing.")
            .takes::<Reason>(vec![("a reason", json!({"reason": "it loses its zones"}))])
            .answers(200, "It is withdrawn", &Artifact { yanked_at: Some(sample::NOW), yanked_by: Some(OPERATOR.to_owned()), yank_reason: Some("it loses its zones".to_owned()), ..artifact() })
            .refuses(Kind::NotFound, none)
            .refuses_faults(&[("/reason", "is required and must be 1 to 500 characters of text")]),
    ]
}

/// A stage of a rollout that is asked for.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct NewStage {
    /// How much of the fleet it covers: more than the stage before, 100 in the last one.
    #[schemars(range(min = 1, max = 100))]
    percent: i64,
    /// How long it lasts at least; the last one may have no end.
    #[schemars(range(min = 1, max = MAX_STAGE_SECONDS))]
    duration_sec: Option<i64>,
    /// It advances only while failures are under this share.
    #[schemars(range(min = 0, max = 1))]
    max_failure_share: Option<f64>,
    /// It advances only with so many confirmed devices.
    #[schemars(range(min = 0, max = 1_000_000))]
    min_confirmed: Option<i64>,
}

/// Which devices a rollout is for: all that match every list; a list is matched by any of its entries.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct NewSelector {
    /// Devices with any of these tags.
    #[schemars(length(min = 1, max = 32), inner(regex(pattern = "^[a-z0-9_-]{1,32}$")))]
    tags: Option<Vec<String>>,
    /// Devices that run any of these versions.
    #[schemars(length(min = 1, max = 32))]
    versions: Option<Vec<FirmwareVersion>>,
    /// These devices.
    #[schemars(length(min = 1, max = 1_000))]
    device_ids: Option<Vec<DeviceId>>,
}

/// A rollout that is asked for.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct NewRollout {
    /// The variant.
    sku: Sku,
    /// The artifact's version.
    version: FirmwareVersion,
    /// 1 % for an hour, 10 % for four, 50 % for a day, then all, when left out.
    #[schemars(length(min = 1, max = MAX_STAGES))]
    stages: Option<Vec<NewStage>>,
    /// Below this many dBm a device puts the update off.
    #[schemars(range(min = -100, max = 0))]
    min_rssi: Option<i64>,
    /// Whether devices of a higher version get it, too; needs a reason.
    force: Option<bool>,
    /// Why.
    #[schemars(length(max = MAX_REASON))]
    reason: Option<String>,
    /// When it starts by itself.
    schedule_at: Option<UnixMillis>,
    /// Most triggers in any minute.
    #[schemars(range(min = 1, max = MAX_RATE))]
    rate_per_minute: Option<i64>,
    /// Which devices; all of the variant when left out.
    selector: Option<NewSelector>,
}

/// One rollout, and how its devices fare.
#[derive(JsonSchema, Serialize)]
struct RolloutInFull<'a> {
    #[serde(flatten)]
    rollout: rollouts::Shown<'a>,
    /// How many devices are in each state.
    counts: BTreeMap<DeviceState, u64>,
    /// Failures of outcomes; 0 of none.
    failure_share: f64,
    /// When something may change next only because time has passed.
    next_judgement_at: Option<UnixMillis>,
    /// When the planner last looked at it.
    planned_at: Option<UnixMillis>,
    /// What the planner then had to say.
    report: Option<Report>,
}

/// Whom a rollout would reach.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DryRun")]
struct Reach<'a> {
    /// True: nothing was made.
    dry_run: bool,
    /// Whom each stage would reach.
    stages: Vec<StageReach<'a>>,
    /// Who is held back, by the reason.
    held_back: BTreeMap<HoldBack, rollouts::Devices<'a>>,
}

/// Whom a stage would reach: how many, and who the first hundred are.
#[derive(JsonSchema, Serialize)]
struct StageReach<'a> {
    percent: u8,
    devices: usize,
    device_ids: Vec<&'a DeviceId>,
}

fn shown() -> rollouts::Shown<'static> {
    rollouts::Shown {
        rollout_id: "rol-01KDQ3Y8E0C8M4T6R2V9W1X5Z7",
        sku: Sku::Pro,
        version: "1.2.0",
        status: "STAGED",
        cause: Some("operator"),
        stage: 0,
        stage_started_at: Some(sample::NOW),
        stage_ends_at: Some(sample::NOW.plus(3_600_000)),
        stages: json!(Stage::defaults()),
        min_rssi: -70,
        force: false,
        rate_per_minute: 100,
        selector: json!(Selector { tags: vec!["beta".to_owned()], ..Selector::default() }),
        reason: Some("fixes the lost zones"),
        schedule_at: None,
        created_at: sample::NOW,
        created_by: OPERATOR,
        started_at: Some(sample::NOW),
        paused_at: None,
        finished_at: None,
        acknowledged_at: None,
    }
}

fn of_rollout(operation: Operation) -> Operation {
    let schema = json!({"type": "string", "pattern": "^rol-[0-9A-HJKMNP-TV-Z]{26}$"});
    of_operator(operation, Tag::Rollouts)
        .path_of("id", "The rollout.", schema, shown().rollout_id)
        .refuses(Kind::NotFound, "there is no such rollout")
}

fn idempotent(operation: Operation) -> Operation {
    operation.header(
        "Idempotency-Key",
        false,
        "The same request with the same key is done once and answered the same.",
        json!({"type": "string", "pattern": "^[!-~]{1,128}$"}),
        "5d1c2a3e-8f60-4a53-9c0e-0d3f3a6a1d11",
    )
}

fn rollouts() -> Vec<Operation> {
    let device = sample::device_id();
    let in_full = RolloutInFull {
        rollout: shown(),
        counts: BTreeMap::from([(DeviceState::Confirmed, 1)]),
        failure_share: 0.0,
        next_judgement_at: Some(sample::NOW.plus(3_600_000)),
        planned_at: Some(sample::NOW),
        report: None,
    };
    let reach = Reach {
        dry_run: true,
        stages: vec![StageReach { percent: 100, devices: 1, device_ids: vec![&device] }],
        held_back: BTreeMap::from([(
            HoldBack::Offline,
            rollouts::Devices { devices: 1, device_ids: vec![&device] },
        )]),
    };
    let attempt = rollouts::ShownAttempt {
        device_id: device.clone(),
        state: "downloading".to_owned(),
        attempt: 1,
        stage: 0,
        from_version: Some("1.1.0".to_owned()),
        triggered_at: sample::NOW,
        sent_at: Some(sample::NOW),
        last_report_at: Some(sample::NOW),
        last_status: Some("downloading"),
        progress: Some(40),
        error: None,
        decision: None,
        closed_at: None,
    };
    let event = rollouts::ShownEvent {
        event_id: 1,
        at: sample::NOW,
        kind: "started".to_owned(),
        device_id: None,
        state: None,
        attempt: None,
        actor: Some(OPERATOR.to_owned()),
        detail: Some(json!({"reason": null})),
    };
    vec![
        paged(of_operator(Operation::get("/admin/rollouts", "listRollouts", "The rollouts"), Tag::Rollouts), &sample::record_pattern("rol"))
            .answers(200, "A page, newest first", &page(shown())),
        idempotent(of_operator(Operation::post("/admin/rollouts", "createRollout", "Make a rollout, which waits to be started"), Tag::Rollouts))
            .query::<bool>("dry_run", "Say whom each stage would reach, and make none.")
            .takes::<NewRollout>(vec![
                ("all of a variant", json!({"sku": "rs1_pro", "version": "1.2.0"})),
                ("some", json!({
                    "sku": "rs1_pro", "version": "1.2.0", "min_rssi": -80, "reason": "fixes the lost zones",
                    "stages": [{"percent": 10, "duration_sec": 3600, "max_failure_share": 0.01}, {"percent": 100}],
                    "selector": {"tags": ["beta"]},
                })),
            ])
            .answers(200, "Whom it would reach (`dry_run`)", &reach)
            .answers(201, "It is made", &shown())
            .with(201, "location", "The rollout.")
            .refuses(Kind::Conflict, "the artifact was withdrawn")
            .refuses_faults(&[("/version", "must be the version of an artifact of that variant; there is none")]),
        plain(of_rollout(Operation::get("/admin/rollouts/{id}", "rollout", "Where a rollout stands")))
            .answers(200, "The rollout, how its devices fare, and what the planner last had to say", &in_full),
        paged(of_rollout(Operation::get("/admin/rollouts/{id}/devices", "rolloutDevices", "The devices of a rollout")), sample::DEVICE_ID)
            .query::<DeviceState>("state", "Those in this state.")
            .answers(200, "A page, in the order of device ids", &page(attempt)),
        paged(of_rollout(Operation::get("/admin/rollouts/{id}/events", "rolloutEvents", "The history of a rollout")), "^[0-9]{1,18}$")
            .answers(200, "A page, oldest first", &page(event)),
    ]
}

/// When a rollout is to begin.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct Schedule {
    /// A time in the future.
    schedule_at: UnixMillis,
    /// Why.
    #[schemars(length(max = MAX_REASON))]
    reason: Option<String>,
}

/// Why a rollout begins, if there is more to say than when it was made.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct PerhapsReason {
    /// At most 500 characters.
    #[schemars(length(max = MAX_REASON))]
    reason: Option<String>,
}

fn verbs() -> Vec<Operation> {
    Verb::ALL.into_iter().map(verb).collect()
}

fn verb(verb: Verb) -> Operation {
    let (path, name, summary) = match verb {
        Verb::Start => ("/admin/rollouts/{id}/start", "startRollout", "Begin at the first stage, now"),
        Verb::Pause => ("/admin/rollouts/{id}/pause", "pauseRollout", "Trigger nobody new"),
        Verb::Resume => {
            ("/admin/rollouts/{id}/resume", "resumeRollout", "Go on; the failures so far are taken note of")
        }
        Verb::Abort => ("/admin/rollouts/{id}/abort", "abortRollout", "Give a rollout up, for good"),
        Verb::Advance => (
            "/admin/rollouts/{id}/advance",
            "advanceRollout",
            "Begin the next stage without waiting for this one",
        ),
        Verb::Schedule => ("/admin/rollouts/{id}/schedule", "scheduleRollout", "Begin at a certain time"),
    };
    let operation = idempotent(of_rollout(Operation::post(path, name, summary)))
        .answers(200, "Where it stands now", &shown())
        .refuses(Kind::Conflict, "the rollout is COMPLETED, which does not allow it");
    let because = |reason: &str| vec![("a reason", json!({"reason": reason}))];
    match verb {
        Verb::Start => operation.takes::<PerhapsReason>(because("as agreed")).or_nothing(),
        Verb::Schedule => {
            let at: Value = json!({"schedule_at": "2099-01-20T10:00:00Z"});
            operation.takes::<Schedule>(vec![("a time", at)])
        }
        Verb::Pause | Verb::Resume | Verb::Abort | Verb::Advance => {
            operation.takes::<Reason>(because("ticket 4711"))
        }
    }
    .of_at_most(limits::API_BODY)
    .refuses_faults(&[("/reason", "is required: why, in at most 500 characters")])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::routes::{Route, body_limit};

    use super::*;

    /// One route of each kind. That none is missing is the compiler's to say, by [`place`].
    const ONE_EACH: [Route<'static>; 12] = [
        Route::Health,
        Route::Download("rs1_pro", "1.2.0"),
        Route::Keys,
        Route::Key("fwk-1"),
        Route::Artifacts,
        Route::Artifact("rs1_pro", "1.2.0"),
        Route::Yank("rs1_pro", "1.2.0"),
        Route::Rollouts,
        Route::Rollout("rol-1"),
        Route::RolloutDevices("rol-1"),
        Route::RolloutEvents("rol-1"),
        Route::RolloutVerb("rol-1", "start"),
    ];

    /// Where a route stands above.
    fn place(route: &Route<'_>) -> usize {
        match route {
            Route::Health => 0,
            Route::Download(..) => 1,
            Route::Keys => 2,
            Route::Key(_) => 3,
            Route::Artifacts => 4,
            Route::Artifact(..) => 5,
            Route::Yank(..) => 6,
            Route::Rollouts => 7,
            Route::Rollout(_) => 8,
            Route::RolloutDevices(_) => 9,
            Route::RolloutEvents(_) => 10,
            Route::RolloutVerb(..) => 11,
        }
    }

    #[test]
    fn what_is_described_is_what_the_routes_answer() {
        for (index, route) in ONE_EACH.iter().enumerate() {
            assert_eq!(place(route), index);
        }
        let described: BTreeSet<_> = operations()
            .iter()
            .map(|operation| {
                let path = operation.example_path();
                let route = Route::of(&path).unwrap_or_else(|| panic!("{path} leads nowhere"));
                let pattern = operation.path;
                assert!(route.pattern() == pattern || matches!(route, Route::RolloutVerb(..)), "{pattern}");
                (route.pattern(), operation.method.as_str())
            })
            .collect();
        let answered: BTreeSet<_> = ONE_EACH
            .iter()
            .flat_map(|route| route.methods().iter().map(move |method| (route, *method)))
            // Answered as `GET` is; only devices are told.
            .filter(|(route, method)| *method != Method::Head || matches!(route, Route::Download(..)))
            .map(|(route, method)| (route.pattern(), method.as_str()))
            .collect();
        assert_eq!(described, answered);
        let verbs = operations()
            .iter()
            .filter(|operation| {
                operation.path.starts_with("/admin/rollouts/{id}/") && operation.method == Method::Post
            })
            .count();
        assert_eq!(verbs, Verb::ALL.len());
    }

    #[test]
    fn bodies_are_as_long_as_they_may_be() {
        for operation in operations() {
            let path = operation.example_path();
            assert_eq!(operation.body_limit(), body_limit(operation.method, &path), "{path}");
        }
    }
}
