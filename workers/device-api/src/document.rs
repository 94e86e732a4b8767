//! What this worker answers, for the OpenAPI document: one operation for each line of
//! [`ROUTES`](crate::routes::ROUTES).

#![expect(
    clippy::too_many_lines,
    reason = "these are tables, with an example of each type that their lines name"
)]

use std::collections::BTreeMap;

use rs1_domain::limits::{
    BULK_ENROLL_BODY, BULK_ENROLL_LINES, BULK_ORDERS_BODY, BULK_ORDERS_LINES, PROFILE_TEXT,
};
use rs1_domain::problem::Kind;
use rs1_domain::{DeviceId, EmailAddress, MacAddress, Role, Sku, UnixMillis};
use rs1_openapi::{Caller, Operation, Tag, sample};
use rs1_store::access::{MyDevice, Share, Transfer};
use rs1_store::devices::Device;
use rs1_store::fleet::{
    DeviceStats, ErrorCount, FleetHealth, OpenAlerts, PeopleCounts, TroubledDevice, VersionCounts,
};
use rs1_store::security::AuditRow;
use rs1_store::sql::Page;
use rs1_store::users::{User, UserSummary};
use rs1_store::zones::VersionRow;
use rs1_telemetry::alert::Kind as AlertKind;
use rs1_telemetry::event::Kind as EventKind;
use rs1_zones::Zone;
use rs1_zones::delivery::Standing;
use schemars::JsonSchema;
use serde_json::json;
use serde_json::value::RawValue;

use crate::handlers::{
    diagnostics, enroll, fleet, my_devices, operators, orders, session, shares, tags, telemetry, zones,
};

/// Every operation.
pub fn operations() -> Vec<Operation> {
    [service(), sessions(), devices(), sharing(), zones(), registry(), look_ups(), fleet()]
        .into_iter()
        .flatten()
        .collect()
}

fn device_path(operation: Operation) -> Operation {
    operation.path::<DeviceId>("id", "The device.", sample::device_id().as_str())
}

/// What a page is refused for.
fn paged(operation: Operation, cursor: &str) -> Operation {
    operation.paged(cursor).refuses_faults(&[
        ("?limit", "must be a whole number from 1 to 200"),
        ("?colour", "is not known; known are limit, cursor"),
    ])
}

/// A list that has one page, or a route without parameters.
fn plain(operation: Operation) -> Operation {
    operation.refuses_faults(&[("?colour", "is not known; known are ")])
}

fn page<T>(item: T) -> Page<T> {
    Page { items: vec![item], next_cursor: None }
}

/// A route about one device of a person's.
fn of_device(operation: Operation, tag: Tag) -> Operation {
    device_path(operation.of(tag, Caller::Person)).refuses(Kind::NotFound, "you have no such device")
}

/// A route about one device of a person's that some roles may not use.
fn of_role(operation: Operation, tag: Tag, what: &str) -> Operation {
    of_device(operation, tag).refuses(Kind::Forbidden, &format!("the role viewer may not {what}"))
}

/// An operator's route about one device.
fn of_enrolled(operation: Operation, tag: Tag) -> Operation {
    device_path(operation.of(tag, Caller::Operator)).refuses(Kind::NotFound, "no such device is enrolled")
}

fn service() -> Vec<Operation> {
    vec![sample::health(Operation::get("/api/health", "deviceApiHealth", "How this worker is"))]
}

/// What `POST /api/auth/refresh` takes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct RefreshRequest {
    /// Of the session's latest answer.
    refresh_token: String,
}

fn user() -> User {
    User {
        user_id: sample::user_id(),
        email: sample::email("ada@example.com"),
        name: Some("Ada".to_owned()),
        created_at: sample::NOW,
    }
}

fn sessions() -> Vec<Operation> {
    let tokens = || session::Tokens {
        access_token: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…".to_owned(),
        token_type: "Bearer",
        expires_in: 300,
        refresh_token: "rt-…".to_owned(),
        refresh_expires_in: 86_400,
    };
    let refused = "this token is not good; sign in again";
    vec![
        Operation::post("/api/auth/session", "signIn", "Begin a session, by an identity provider's word")
            .of(Tag::Sessions, Caller::Stranger)
            .about("The first sign-in makes the user. What waited for their e-mail address is theirs from then on.")
            .takes::<session::SessionRequest>(vec![
                ("a token", json!({"id_token": "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.…"})),
                ("with its nonce", json!({"id_token": "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.…", "nonce": "n-0S6_WzA2Mj"})),
            ])
            .answers(201, "The session's tokens, and who it is", &session::SignedIn { tokens: tokens(), user: user() })
            .refuses(Kind::Unauthenticated, refused)
            .refuses(Kind::Forbidden, "the e-mail address must be verified with the identity provider first")
            .refuses_faults(&[("/id_token", "is required and must be an ID token")]),
        Operation::post("/api/auth/refresh", "refresh", "The session's next tokens")
            .of(Tag::Sessions, Caller::Stranger)
            .about("A refresh token is good once. Whoever presents one that was used before ends the session.")
            .takes::<RefreshRequest>(vec![("a token", json!({"refresh_token": "rt-…"}))])
            .answers(200, "The next tokens", &tokens())
            .refuses(Kind::Unauthenticated, refused)
            .refuses_faults(&[("/refresh_token", "is required and must be a refresh token")]),
        Operation::delete("/api/auth/session", "signOut", "End the session")
            .of(Tag::Sessions, Caller::Person)
            .about("Its refresh token is good no more; access tokens that are about live out their five minutes.")
            .answers_empty(204, "It is over"),
        Operation::get("/api/me", "me", "Who is asking")
            .of(Tag::Sessions, Caller::Person)
            .answers(200, "The user", &user()),
    ]
}

fn my_device() -> MyDevice {
    MyDevice {
        device_id: sample::device_id(),
        mac_address: sample::mac_address(),
        product_sku: Some(Sku::Pro),
        name: Some("Living room".to_owned()),
        room: None,
        version: 3,
        role: Role::Owner,
        online: true,
        offline_reason: None,
        last_seen_at: Some(sample::NOW),
        last_telemetry_at: Some(sample::NOW),
        state_at: Some(sample::NOW),
        firmware_version: Some("1.2.0".to_owned()),
        uptime_sec: Some(86_400),
        wifi_rssi: Some(-52),
        config_version: Some(4),
        zone_count: Some(2),
        radar_connected: Some(true),
    }
}

/// What `PATCH /api/devices/{id}` takes: at least one of these.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[expect(dead_code, reason = "it describes, and is never made")]
struct ProfilePatch {
    /// What it is called; null for nothing.
    #[schemars(length(min = 1, max = PROFILE_TEXT), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"))]
    name: Option<String>,
    /// Where it is; null for nowhere.
    #[schemars(length(min = 1, max = PROFILE_TEXT), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"))]
    room: Option<String>,
}

fn devices() -> Vec<Operation> {
    let sent = my_devices::ResetSent { request_id: sample::record_id("cmd").to_string() };
    vec![
        paged(Operation::get("/api/devices", "listDevices", "The person's devices")
            .of(Tag::Devices, Caller::Person), sample::DEVICE_ID)
            .query::<bool>("online", "Those that are connected, or those that are not.")
            .query::<String>("firmware_version", "Those that run this version.")
            .query::<String>("q", "Those whose name, room or MAC address has this in it, or whose id begins so.")
            .answers(200, "A page, in the order of device ids", &page(my_device())),
        plain(of_device(Operation::get("/api/devices/{id}", "device", "One device"), Tag::Devices))
            .answers(200, "The device", &my_device())
            .with(200, "etag", "What a change names in `If-Match`."),
        of_role(Operation::patch("/api/devices/{id}", "editDevice", "Give a device another name or room"), Tag::Devices, "change the device")
            .needs_if_match()
            .takes::<ProfilePatch>(vec![
                ("a name", json!({"name": "Kitchen"})),
                ("no room", json!({"room": null})),
            ])
            .answers(200, "The device as it is now", &my_device())
            .with(200, "etag", "Of the device as it is now.")
            .refuses_stale("the device was changed meanwhile", &my_device())
            .refuses_faults(&[("/name", "must be text of 1 to 64 characters, or null")]),
        plain(of_role(Operation::delete("/api/devices/{id}", "giveUpDevice", "Give a device up"), Tag::Devices, "give the device up or reset it"))
            .about("Who owned it, whom it was shared with, what it was called and its zones are forgotten. Its history stays, and it may be claimed again.")
            .answers_empty(204, "It is nobody's"),
        plain(of_role(Operation::post("/api/devices/{id}/factory-reset", "factoryReset", "Set a device back to how it left the factory"), Tag::Devices, "give the device up or reset it"))
            .answers(202, "The device was told", &sent)
            .refuses(Kind::Conflict, "the device is not connected"),
    ]
}

/// The role of a share.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes, and is never made")]
pub(crate) enum SharedRole {
    /// May change the device.
    Admin,
    /// May look at it.
    Viewer,
}

/// What `POST …/transfer` takes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct TransferOffer {
    /// Who is to have the device.
    email: EmailAddress,
}

fn sharing() -> Vec<Operation> {
    let share = Share {
        id: sample::user_id().to_string(),
        email: sample::email("grace@example.com"),
        name: Some("Grace".to_owned()),
        role: Role::Viewer,
        pending: false,
        since: sample::NOW,
    };
    let transfer = || Transfer {
        transfer_id: sample::record_id("trf").to_string(),
        device_id: sample::device_id(),
        device_name: Some("Living room".to_owned()),
        from_email: sample::email("ada@example.com"),
        to_email: sample::email("grace@example.com"),
        created_at: sample::NOW,
        expires_at: sample::NOW.plus(604_800_000),
    };
    let of_share = |operation| of_role(operation, Tag::Sharing, "say who may use the device");
    let of_transfer = |operation: Operation| {
        device_path(operation.of(Tag::Sharing, Caller::Person))
            .refuses(Kind::NotFound, "there is no such offer")
    };
    vec![
        plain(of_share(Operation::get("/api/devices/{id}/shares", "listShares", "Whom a device is shared with")))
            .answers(200, "Everybody with a role and everybody invited to one, on one page", &page(share.clone())),
        of_share(Operation::post("/api/devices/{id}/shares", "share", "Share a device with an e-mail address"))
            .about("Its user has the role at once; an address that is nobody's yet has it with the first sign-in. Sharing again changes the role.")
            .takes::<shares::ShareRequest>(vec![("a viewer", json!({"email": "grace@example.com", "role": "viewer"}))])
            .answers(200, "It was shared before; the role is this one now", &share)
            .answers(201, "It is shared", &share)
            .refuses(Kind::Conflict, "the device is this person's own")
            .refuses_faults(&[("/role", "is required and must be admin or viewer")]),
        of_share(Operation::delete("/api/devices/{id}/shares/{share}", "unshare", "Take a role or an invitation back"))
            .about("Somebody who has a role may take their own.")
            .path_of("share", "The share's `id`: a user's, or an invitation's.", json!({"type": "string", "pattern": "^(usr|inv)-[0-9A-HJKMNP-TV-Z]{26}$"}), sample::user_id().as_str())
            .answers_empty(204, "It is taken back")
            .refuses(Kind::NotFound, "there is no such share")
            .refuses(Kind::Conflict, "an owner does not leave: transfer the device, or give it up"),
        plain(of_transfer(Operation::get("/api/devices/{id}/transfer", "transfer", "The offer of a device")))
            .about("For its owner and for whom it was made to.")
            .answers(200, "The offer", &transfer()),
        of_share(Operation::post("/api/devices/{id}/transfer", "offerTransfer", "Offer a device to an e-mail address"))
            .about("For a week, in the place of any offer before.")
            .takes::<TransferOffer>(vec![("an address", json!({"email": "grace@example.com"}))])
            .answers(201, "It is offered", &transfer())
            .refuses_faults(&[("/email", "is required and must be an e-mail address")]),
        of_transfer(Operation::delete("/api/devices/{id}/transfer", "withdrawTransfer", "Take an offer back, or decline it"))
            .answers_empty(204, "There is no offer any more"),
        of_transfer(Operation::post("/api/devices/{id}/transfer/accept", "acceptTransfer", "Accept an offer"))
            .about("The device is the person's, and whoever had a role with it has none any more. Accepting again says the same.")
            .answers(200, "The device, which is theirs", &my_device())
            .refuses(Kind::Conflict, "the offer is gone, or you have 50 devices and there is no room for another"),
        paged(Operation::get("/api/transfers", "listOffers", "What is offered to the person").of(Tag::Sharing, Caller::Person), sample::DEVICE_ID)
            .answers(200, "A page, in the order of device ids", &page(transfer())),
    ]
}

/// What a device's zones are to be. A document that was read may be sent back whole.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct ZonesEdit {
    /// Left out, or the version that was edited, or the one that this becomes.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    version: Option<i64>,
    /// The cloud puts its own time in the place of this.
    updated_at: Option<UnixMillis>,
    /// At most 16, none for an `rs1_lite`. Polygons are simple, and no two zones have one `id`.
    #[schemars(length(max = 16))]
    zones: Vec<Zone>,
}

fn zones() -> Vec<Operation> {
    let sofa = json!([{
        "id": "sofa", "name": "Sofa", "type": "include", "sensitivity": 50,
        "vertices": [[-1000, 500], [1000, 500], [1000, 2500], [-1000, 2500]],
    }]);
    let raw = || serde_json::value::to_raw_value(&sofa).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let device = sample::device_id();
    let user = sample::user_id();
    let shown = |delivery| zones::Shown {
        device_id: &device,
        version: 3,
        updated_at: Some(sample::NOW),
        updated_by: Some(user.as_str()),
        zones: raw(),
        desired: 3,
        applied: 2,
        applied_at: Some(sample::NOW),
        in_sync: false,
        status: Standing::Pending,
        error: None,
        delivery,
    };
    let changed = shown(Some(zones::Delivery::Sent));
    let kept = zones::Kept {
        device_id: &device,
        version: 2,
        updated_at: sample::NOW,
        updated_by: user.as_str(),
        zones: raw(),
    };
    let summary =
        VersionRow { version: 2, updated_at: sample::NOW, updated_by: user.to_string(), zone_count: 1 };
    let version = |operation: Operation| {
        operation
            .path_of(
                "version",
                "One of the last ten.",
                json!({"type": "string", "pattern": "^[1-9][0-9]{0,9}$"}),
                "2",
            )
            .refuses(Kind::NotFound, "that version is not kept: a device's last ten are")
    };
    let edits = |operation| of_role(operation, Tag::Zones, "change the device");
    let stale = |operation: Operation| {
        operation.refuses_stale("the zones are at version 3", &shown(None)).with(
            412,
            "etag",
            "The present version.",
        )
    };
    vec![
        plain(of_device(
            Operation::get("/api/devices/{id}/zones", "zones", "What a device watches"),
            Tag::Zones,
        ))
        .about("`desired` is the version the device is to have, `applied` the one it said last that it has.")
        .answers(200, "The present configuration", &shown(None))
        .with(200, "etag", "The version, which a change names in `If-Match`."),
        stale(
            edits(Operation::put("/api/devices/{id}/zones", "replaceZones", "Make other zones the device's"))
                .needs_if_match()
                .takes::<ZonesEdit>(vec![
                    ("one zone", json!({"zones": sofa})),
                    ("none", json!({"zones": []})),
                ])
                .answers(200, "The configuration that is now desired", &changed)
                .with(200, "etag", "Its version."),
        )
        .refuses_faults(&[(
            "/zones/0/vertices/3",
            "the edge that begins here must not cross or touch the edges from vertex 1",
        )]),
        plain(of_device(
            Operation::get("/api/devices/{id}/zones/history", "zoneHistory", "The versions that are kept"),
            Tag::Zones,
        ))
        .answers(200, "Newest first: ten at most, on one page", &page(summary)),
        plain(version(of_device(
            Operation::get(
                "/api/devices/{id}/zones/history/{version}",
                "zoneVersion",
                "One version that is kept",
            ),
            Tag::Zones,
        )))
        .answers(200, "The version", &kept),
        stale(
            plain(version(edits(Operation::post(
                "/api/devices/{id}/zones/restore/{version}",
                "restoreZones",
                "Make an earlier version's zones the device's again",
            ))))
            .about("As a new version.")
            .header(
                "If-Match",
                false,
                "What is to be replaced; without it, whatever is there.",
                json!({"type": "string", "pattern": r#"^(\*|"[0-9]+")$"#}),
                "*",
            )
            .refuses(Kind::Malformed, "If-Match must name a version, like \"3\"")
            .answers(200, "The configuration that is now desired", &changed)
            .with(200, "etag", "Its version."),
        )
        .refuses(Kind::Conflict, "an rs1_lite has no zones, and that version has some"),
    ]
}

/// One order of an import.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct NewOrder {
    /// The shop's.
    #[schemars(regex(pattern = "^[A-Za-z0-9._#-]{1,64}$"))]
    order_id: String,
    /// The MAC address on the box.
    mac_address: MacAddress,
    /// The buyer's address.
    email: EmailAddress,
    /// When it was shipped; left out while it was not.
    shipped_at: Option<UnixMillis>,
}

/// What a device is to be labelled with.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct TagsEdit {
    /// Labels of `a-z`, `0-9`, `-` and `_`.
    #[schemars(length(max = 32), inner(regex(pattern = "^[a-z0-9_-]{1,32}$")))]
    tags: Vec<String>,
}

fn enrolled_device() -> Device {
    let MyDevice { device_id, mac_address, product_sku, .. } = my_device();
    Device {
        device_id,
        mac_address,
        product_sku,
        name: Some("Living room".to_owned()),
        room: None,
        enrolled_at: sample::NOW,
        enrolled_by: "factory@optic.works".to_owned(),
        provisioned_at: Some(sample::NOW),
        owner: Some(sample::user_id()),
        online: true,
        offline_reason: None,
        last_seen_at: Some(sample::NOW),
        last_telemetry_at: Some(sample::NOW),
        state_at: Some(sample::NOW),
        firmware_version: Some("1.2.0".to_owned()),
        protocol_version: Some("1.0".to_owned()),
        uptime_sec: Some(86_400),
        wifi_rssi: Some(-52),
        config_version: Some(4),
        zone_count: Some(2),
        radar_connected: Some(true),
        boot_count: Some(12),
        reset_reason: Some("power_on".to_owned()),
    }
}

fn registry() -> Vec<Operation> {
    let device = sample::device_id();
    let enrolled = enroll::Enrolled { device_id: &device, enrolled_at: sample::NOW };
    let enrolment = json!({
        "mac_address": sample::mac_address(), "device_secret_hash": "5f".repeat(32), "product_sku": "rs1_pro",
    });
    let order = json!({
        "order_id": "#1042", "mac_address": sample::mac_address(), "email": "ada@example.com",
        "shipped_at": sample::NOW,
    });
    let lines = enroll::Line {
        number: 1,
        status: 201,
        device_id: Some(device.clone()),
        enrolled_at: Some(sample::NOW),
        detail: None,
        errors: Vec::new(),
    };
    let imported = orders::Line {
        number: 1,
        status: 201,
        device_id: Some(device.clone()),
        owner: Some(sample::user_id()),
        detail: None,
        errors: Vec::new(),
    };
    let tagged = ["attic".to_owned(), "beta".to_owned()];
    let tagged = tags::Tagged { device_id: &device, tags: &tagged };
    let no_lines = [("", "must have at least one line, each a JSON object")];
    vec![
        Operation::post("/api/admin/enroll", "enroll", "Enrol a device")
            .of(Tag::Registry, Caller::Operator)
            .about("Enrolling again with the same values answers the same.")
            .takes::<enroll::Enrolling>(vec![("a device", enrolment.clone())])
            .answers(200, "It was enrolled with the same values before", &enrolled)
            .answers(201, "It is enrolled", &enrolled)
            .with(201, "location", "The device.")
            .refuses(Kind::Conflict, "the device is enrolled with another device_secret_hash")
            .refuses_faults(&[("/mac_address", "is required and must be like AA:BB:CC:DD:EE:FF")]),
        Operation::post("/api/admin/enroll/bulk", "enrollBulk", "Enrol up to a thousand devices")
            .of(Tag::Registry, Caller::Operator)
            .about("A bad line harms no other.")
            .takes_lines::<enroll::Enrolling>(BULK_ENROLL_LINES, vec![enrolment])
            .of_at_most(BULK_ENROLL_BODY)
            .answers_lines(200, "A line each, with the status that it would have alone", &vec![lines])
            .refuses_faults(&no_lines),
        paged(Operation::get("/api/admin/devices", "listRegistry", "The registry").of(Tag::Registry, Caller::Operator), sample::DEVICE_ID)
            .query_of("status", "Those that are connected, or those that are not.", json!({"type": "string", "enum": ["online", "offline"]}))
            .query::<String>("version", "Those that run this version.")
            .query::<Sku>("sku", "Those of this variant.")
            .query::<String>("q", "Those whose name or MAC address has this in it, whose id begins so, or whose owner has this address.")
            .answers(200, "A page, in the order of device ids", &page(enrolled_device())),
        plain(of_enrolled(Operation::get("/api/admin/devices/{id}", "registeredDevice", "One device"), Tag::Registry))
            .answers(200, "The device", &enrolled_device()),
        plain(of_enrolled(Operation::get("/api/admin/devices/{id}/tags", "tags", "What a device is labelled with"), Tag::Registry))
            .answers(200, "The tags, by which rollouts choose devices", &tagged),
        of_enrolled(Operation::put("/api/admin/devices/{id}/tags", "replaceTags", "Label a device"), Tag::Registry)
            .takes::<TagsEdit>(vec![("two tags", json!({"tags": ["beta", "attic"]})), ("none", json!({"tags": []}))])
            .answers(200, "The tags, sorted and each once", &tagged)
            .refuses_faults(&[("/tags/0", "must be 1 to 32 of a-z, 0-9, - and _")]),
        of_enrolled(Operation::post("/api/admin/devices/{id}/claim", "claim", "Make somebody the owner of a device that nobody owns"), Tag::Registry)
            .about("Claiming again for the same person says the same.")
            .takes::<orders::ClaimRequest>(vec![("a claim", json!({"email": "ada@example.com", "reason": "bought second hand, ticket 4711"}))])
            .answers(200, "Whose it is", &orders::Claimed { device_id: device.clone(), owner: sample::user_id() })
            .refuses(Kind::Conflict, "somebody else owns the device")
            .refuses_faults(&[("/email", "must be the address of somebody who has signed in")]),
        Operation::post("/api/admin/orders/bulk", "importOrders", "Import up to a thousand orders")
            .of(Tag::Registry, Caller::Operator)
            .about("Devices that have reported already get their owner now. The same again is the same.")
            .takes_lines::<NewOrder>(BULK_ORDERS_LINES, vec![order])
            .of_at_most(BULK_ORDERS_BODY)
            .answers_lines(200, "A line each, with the status that it would have alone", &vec![imported])
            .refuses_faults(&no_lines),
    ]
}

/// What a device is asked about itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct DiagnosticsRequest {
    /// The sections; those of everyday use when left out.
    #[schemars(length(min = 1, max = 16), inner(regex(pattern = "^[a-z0-9_]{1,32}$")), extend("uniqueItems" = true))]
    include: Option<Vec<String>>,
}

fn look_ups() -> Vec<Operation> {
    let device = sample::device_id();
    let metric = telemetry::Metric { count: 60, sum: 1_290.0, min: 21.0, max: 22.0, last: 21.5 };
    let hours = telemetry::Hours {
        device_id: &device,
        items: vec![telemetry::Hour {
            begins_at: sample::NOW,
            messages: 60,
            last_at: sample::NOW.plus(3_540_000),
            metrics: BTreeMap::from([("environment.temperature".to_owned(), metric)]),
        }],
    };
    let request = sample::record_id("dia");
    let said = serde_json::value::to_raw_value(&json!({"heap": {"free": 81_920}})).ok();
    let clock = serde_json::value::to_raw_value(&sample::NOW).ok();
    let diagnostics = |is_there: bool| diagnostics::Shown {
        request_id: request.as_str(),
        device_id: &device,
        status: if is_there { "answered" } else { "waiting" },
        requested_at: sample::NOW,
        requested_by: "operator@optic.works",
        include: vec!["heap".to_owned()],
        answered_at: is_there.then_some(sample::NOW),
        timestamp: clock.as_deref().filter(|_| is_there),
        diagnostics: said.as_deref().filter(|_| is_there),
    };
    let versions = versions();
    let stats = operators::Stats {
        counted_at: sample::NOW,
        devices: DeviceStats { total: 2, online: 1, active_24h: 2, provisioned: 2, owned: 1 },
        users: PeopleCounts { total: 1, active_24h: 1 },
        versions,
    };
    let act = || AuditRow {
        id: sample::record_id("aud").to_string(),
        at: sample::NOW,
        actor: "operator@optic.works".to_owned(),
        action: "device_claimed".to_owned(),
        method: "POST".to_owned(),
        route: "/api/admin/devices/{id}/claim".to_owned(),
        request_id: "req-01KDQ3Y8E0C8M4T6R2V9W1X5Z7".to_owned(),
        detail: Some(json!({"reason": "ticket 4711"})),
    };
    let somebody = || UserSummary {
        user_id: sample::user_id(),
        email: sample::email("ada@example.com"),
        email_verified_at: sample::NOW,
        name: Some("Ada".to_owned()),
        issuer: "https://accounts.optic.works".to_owned(),
        created_at: sample::NOW,
        devices: 2,
    };
    vec![
        of_enrolled(
            Operation::get("/api/admin/devices/{id}/telemetry", "telemetry", "A device's hours"),
            Tag::Operations,
        )
        .about("Oldest first; hours without messages are left out.")
        .query_of(
            "hours",
            "How many, the present one included.",
            json!({"type": "integer", "minimum": 1, "maximum": 720, "default": 24}),
        )
        .answers(200, "Count, sum, least, greatest and last of each metric", &hours)
        .refuses_faults(&[("?hours", "must be a whole number from 1 to 720")]),
        paged(
            of_enrolled(
                Operation::get(
                    "/api/admin/devices/{id}/audit",
                    "audit",
                    "What was done with a device, and by whom",
                ),
                Tag::Operations,
            ),
            &sample::record_pattern("aud"),
        )
        .answers(200, "A page, newest first", &page(act())),
        plain(of_enrolled(
            Operation::post(
                "/api/admin/devices/{id}/diagnostics",
                "askDiagnostics",
                "Ask a device about itself",
            ),
            Tag::Operations,
        ))
        .takes::<DiagnosticsRequest>(vec![
            ("two sections", json!({"include": ["heap", "logs"]})),
            ("the usual", json!({})),
        ])
        .or_nothing()
        .answers(202, "It was asked", &diagnostics(false))
        .with(202, "location", "Where its answer will be.")
        .with(202, "retry-after", "Seconds after which to look.")
        .refuses(Kind::Conflict, "the device is not connected")
        .refuses(Kind::TooManyRequests, "a device is asked once in ten seconds"),
        plain(of_enrolled(
            Operation::get(
                "/api/admin/devices/{id}/diagnostics/{request}",
                "diagnostics",
                "What a device answered",
            ),
            Tag::Operations,
        ))
        .path_of(
            "request",
            "The `request_id` of the question.",
            json!({"type": "string", "pattern": "^dia-[0-9A-HJKMNP-TV-Z]{26}$"}),
            request.as_str(),
        )
        .answers(200, "Its answer, as it sent it", &diagnostics(true))
        .answers(202, "It may still come", &diagnostics(false))
        .with(202, "retry-after", "Seconds after which to look.")
        .refuses(Kind::NotFound, "the device was not asked that, or it is longer than seven days ago")
        .refuses(Kind::DeviceSilent, "the device has not answered within two minutes"),
        paged(
            Operation::get("/api/admin/users", "listUsers", "Who uses the app")
                .of(Tag::Operations, Caller::Operator),
            &sample::record_pattern("usr"),
        )
        .query::<EmailAddress>("q", "Those of this e-mail address.")
        .answers(200, "A page, oldest first", &page(somebody())),
        plain(
            Operation::get("/api/admin/stats", "stats", "The whole in numbers")
                .of(Tag::Operations, Caller::Operator),
        )
        .about("At most a minute old.")
        .answers(200, "The numbers", &stats),
    ]
}

fn versions() -> Vec<VersionCounts> {
    vec![VersionCounts {
        product_sku: Some(Sku::Pro.to_string()),
        firmware_version: Some("1.2.0".to_owned()),
        devices: 2,
        online: 1,
        active_24h: 2,
        provisioned: 2,
        owned: 1,
    }]
}

fn fleet() -> Vec<Operation> {
    vec![fleet_health(), fleet_metrics(), fleet_errors()]
}

fn fleet_health() -> Operation {
    let (low, offline) = (AlertKind::LowMemory, AlertKind::DeviceOffline);
    let open = |kind: AlertKind, open, acknowledged| OpenAlerts {
        kind: kind.as_str().to_owned(),
        severity: kind.severity().as_str().to_owned(),
        open,
        acknowledged,
    };
    let versions = versions();
    let health = FleetHealth {
        counted_at: sample::NOW,
        devices: DeviceStats::of(&versions),
        alerts: vec![open(low, 1, 0), open(offline, 0, 1)],
        versions,
    };
    Operation::get("/api/admin/telemetry/health", "fleetHealth", "How the fleet is")
        .of(Tag::Operations, Caller::Operator)
        .about(
            "At most a minute old: it reads the whole registry, so the answer is kept for whoever asks next.",
        )
        .answers(200, "The devices, the open alerts and the versions", &health)
        .refuses_faults(&[("?period", "is not known; known are ")])
}

fn fleet_metrics() -> Operation {
    let metric =
        fleet::FleetMetric { count: 120, sum: 19_660_800.0, mean: 163_840.0, min: 81_920.0, max: 196_608.0 };
    let span = fleet::FleetSpan {
        time: sample::NOW,
        devices: 2,
        messages: 120,
        metrics: [("system.free_heap".to_owned(), metric)].into_iter().collect(),
    };
    let from = sample::NOW;
    let page = fleet::FleetMetrics {
        from,
        to: from.plus(24 * 3_600_000),
        resolution: fleet::Step::Hour,
        items: vec![span],
    };
    Operation::get("/api/admin/telemetry/metrics", "fleetMetrics", "What the fleet measured")
        .of(Tag::Operations, Caller::Operator)
        .about(
            "The contract's metrics over all devices, up to the last hour that is over. The hours are added up once an hour, and again when \
             what came late is in, so this costs the same however many devices there are.",
        )
        .query::<fleet::Period>("period", "How long a time; a day when left out.")
        .query::<fleet::Step>("resolution", "How fine; hours when left out, of `30d` days.")
        .answers(200, "Hours or days, oldest first", &page)
        .refuses_faults(&[("?period", "must be 24h, 7d or 30d")])
}

fn fleet_errors() -> Operation {
    let error = |source: &str, kind: &str, count| ErrorCount {
        source: source.to_owned(),
        kind: kind.to_owned(),
        count,
    };
    let errors = fleet::FleetErrors {
        from: sample::NOW,
        to: sample::NOW.plus(24 * 3_600_000),
        errors: vec![
            error("event", EventKind::Error.as_str(), 7),
            error("alert", AlertKind::LowMemory.as_str(), 1),
        ],
        devices: vec![TroubledDevice { device_id: sample::device_id(), events: 7, alerts: 1 }],
        exact: true,
    };
    Operation::get("/api/admin/telemetry/errors", "fleetErrors", "What went wrong with the fleet")
        .of(Tag::Operations, Caller::Operator)
        .about(
            "Events that devices told of in their log lines, and alerts that were opened, by kind; and the twenty devices that were affected most. \
             Up to the last hour that is over.",
        )
        .query::<fleet::Period>("period", "How long a time; a day when left out.")
        .answers(200, "What went wrong", &errors)
        .refuses_faults(&[("?period", "must be 24h, 7d or 30d")])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::routes::{Admin, Endpoint, Person, ROUTES, body_limit};

    use super::*;

    #[test]
    fn what_is_described_is_what_the_table_has() {
        let described: BTreeSet<_> =
            operations().iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        let answered: BTreeSet<_> = ROUTES
            .iter()
            // Who it is passed on to describes it.
            .filter(|route| {
                let passed_on = matches!(
                    route.endpoint,
                    Endpoint::Person(Person::History)
                        | Endpoint::Operator(Admin::SecurityLog | Admin::Metrics)
                );
                !passed_on
            })
            .map(|route| (route.pattern, route.method.as_str()))
            .collect();
        assert_eq!(described, answered);
    }

    #[test]
    fn callers_and_bodies_are_the_table_s() {
        for operation in operations() {
            let path = operation.example_path();
            let found = ROUTES
                .iter()
                .find(|route| route.pattern == operation.path && route.method == operation.method)
                .unwrap();
            let caller = match found.endpoint {
                Endpoint::Health => Caller::Anybody,
                Endpoint::Stranger(_) => Caller::Stranger,
                Endpoint::Person(_) => Caller::Person,
                Endpoint::Operator(_) => Caller::Operator,
            };
            assert_eq!(operation.caller, caller, "{path}");
            assert_eq!(operation.body_limit(), body_limit(operation.method, &path), "{path}");
        }
    }
}
