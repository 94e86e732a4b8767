//! `/api/devices`: a person's own devices and those that others share with them.

use rs1_api::access::{device_id, require, unknown_device};
use rs1_api::if_match::{IfMatch, etag};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::{Broker, Database, Publication, Published, Qos, Random};
use rs1_domain::topic::of_device;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, Faults, Problem, RecordId, Request, Verb, limits};
use rs1_store::access::{self, MyDevice, Ownership, RoleRow};
use rs1_store::sql::{Page, first_row, rows, run};
use rs1_store::zones;
use serde::Serialize;
use serde_json::{Value, json};

use crate::trail::Trail;

/// A page of the person's devices, in the order of device ids. There are 50 at most, so they are all read and the filters look
/// at them here: case and accents are those of the person's language, not SQLite's.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, person: &Person, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| DeviceId::parse(cursor).is_some());
    let online = query.flag("online");
    let version = query.text("firmware_version");
    let text = query.text("q").map(|text| text.to_lowercase());
    query.finish()?;
    let [outcome] = run(db, [access::my_devices(&person.user, page.after.as_deref())]).await?;
    let mut devices = rows::<MyDevice>(&outcome)?;
    devices.retain(|device| {
        online.is_none_or(|online| device.online == online)
            && version.as_ref().is_none_or(|version| device.firmware_version.as_ref() == Some(version))
            && text.as_ref().is_none_or(|text| mentions(device, text))
    });
    Ok(Answer::json(200, &Page::of(devices, &page, |device| device.device_id.to_string())))
}

/// Whether a device's name, room or MAC address has `text` in it, or its id begins so; `text` is in lower case.
fn mentions(device: &MyDevice, text: &str) -> bool {
    let says =
        |field: &Option<String>| field.as_ref().is_some_and(|field| field.to_lowercase().contains(text));
    says(&device.name)
        || says(&device.room)
        || device.device_id.as_str().starts_with(text)
        || device.mac_address.to_string().to_lowercase().contains(text)
}

/// One device. The `ETag` is what `PATCH` wants in `If-Match`.
///
/// # Errors
/// 404 for a device that the person has no role with, 422 for parameters, 503 when the database fails.
pub async fn one(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [outcome] = run(db, [access::my_device(&person.user, &device)]).await?;
    let device = first_row::<MyDevice>(&outcome)?.ok_or_else(unknown_device)?;
    Ok(answer(&device))
}

fn answer(device: &MyDevice) -> Answer {
    Answer::json(200, device).with_header("etag", etag(device.version))
}

/// What `PATCH /api/devices/{id}` takes.
struct ProfilePatch {
    name: Change,
    room: Change,
}

/// What becomes of a text.
#[derive(PartialEq, Eq)]
enum Change {
    /// It was not mentioned.
    Keep,
    /// It is another, or with null none.
    Set(Option<String>),
}

impl Change {
    fn of<'a>(&'a self, present: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Keep => present,
            Self::Set(text) => text.as_deref(),
        }
    }
}

impl ProfilePatch {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let expected = format!("must be text of 1 to {} characters, or null", limits::PROFILE_TEXT);
        let mut change = |name: &str| {
            if object.contains_key(name) {
                Change::Set(fields.optional(name, &expected, &mut faults, profile_text))
            } else {
                Change::Keep
            }
        };
        let (name, room) = (change("name"), change("room"));
        let changes = name != Change::Keep || room != Change::Keep;
        faults.require(changes, "", "must have name or room");
        fields.refuse_unknown(&["name", "room"], &mut faults);
        faults.into_result(Self { name, room })
    }
}

fn profile_text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let fine = !text.is_empty()
        && text.chars().count() <= limits::PROFILE_TEXT
        && !text.chars().any(char::is_control);
    fine.then(|| text.to_owned())
}

/// Gives a device another name or room. `If-Match` says which version the change was made from.
///
/// # Errors
/// 428 without `If-Match`, 404 and 403 by role, 412 with the device as it is when somebody was faster, 422 naming every
/// fault, 503 when the database fails.
pub async fn patch(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [found] = run(db, [access::my_device(&person.user, &device)]).await?;
    let present = first_row::<MyDevice>(&found)?.ok_or_else(unknown_device)?;
    require(Some(RoleRow { role: present.role }), Verb::Edit)?;
    let wanted = IfMatch::required(request)?;
    let change = ProfilePatch::read(&request.body)?;
    let stale =
        |present: &MyDevice| Problem::precondition_failed("the device was changed meanwhile", present);
    if !wanted.holds(present.version) {
        return Err(stale(&present));
    }
    let (name, room) = (change.name.of(present.name.as_deref()), change.room.of(present.room.as_deref()));
    let edit = access::edit_profile(&person.user, &device, name, room, present.version);
    let [edited, now] = run(db, [edit, access::my_device(&person.user, &device)]).await?;
    let now = first_row::<MyDevice>(&now)?.ok_or_else(unknown_device)?;
    if edited.rows_json == "[]" {
        require(Some(RoleRow { role: now.role }), Verb::Edit)?;
        return Err(stale(&now));
    }
    Ok(answer(&now))
}

/// Gives a device up: who owned it, whom it was shared with, what it was called and its zones are forgotten, its history stays,
/// and it may be claimed again. Its MQTT session is ended, so that what it does next it does as nobody's.
///
/// # Errors
/// 404 and 403 by role, 503 when the database fails. A broker that fails changes nothing: the session ends another time.
pub async fn give_up(
    db: &impl Database,
    broker: &impl Broker,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [found] = run(db, [access::ownership(&person.user, &device)]).await?;
    let found = first_row::<Ownership>(&found)?;
    require(found.as_ref().map(|found| RoleRow { role: found.role }), Verb::Delete)?;
    let [people, invitations] = access::forget_people(&device);
    let [zones, drawings] = zones::forget(&device, request.now);
    run(
        db,
        [
            access::give_up(&person.user, &device),
            trail.act(person.user.as_str(), "device_given_up", &device, json!({})),
            people,
            invitations,
            access::forget_offers(&device),
            access::forget_profile(&device),
            zones,
            drawings,
        ],
    )
    .await?;
    let client = found.and_then(|found| found.client_id).unwrap_or_else(|| device.to_string());
    match broker.kick(&client).await {
        Ok(_) => Ok(Answer::empty(204)),
        Err(error) => Ok(Answer::empty(204).with_log(format!("its session was not ended: {error}"))),
    }
}

/// What `POST /api/devices/{id}/factory-reset` answers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct ResetSent {
    /// The command's id, which the device logs.
    pub request_id: String,
}

/// Tells a device to set itself back to how it left the factory. Who owns it stays.
///
/// # Errors
/// 404 and 403 by role, 409 for a device that is not connected, 503 when the database or the broker fails.
pub async fn factory_reset(
    db: &impl Database,
    broker: &impl Broker,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [role] = run(db, [access::role_of(&person.user, &device)]).await?;
    require(first_row(&role)?, Verb::Delete)?;
    let id = RecordId::generate("cmd", request.now, trail.random.bytes());
    let command = Publication {
        topic: of_device(&device, "command/factory-reset"),
        payload: json!({"request_id": id.as_str(), "issued_at": request.now}).to_string(),
        qos: Qos::AtLeastOnce,
        retain: false,
        // Whoever asked has turned to something else by then.
        expires_after: Some(60),
    };
    // Written down first: what is not on record must not happen.
    run(
        db,
        [trail.note(person.user.as_str(), "factory_reset_sent", &device, json!({"command": id.as_str()}))],
    )
    .await?;
    match broker.publish(std::slice::from_ref(&command)).await?.first() {
        Some(Published::Accepted) => Ok(Answer::json(202, &ResetSent { request_id: id.to_string() })),
        Some(Published::NoSubscriber) => Err(Problem::conflict("the device is not connected")),
        Some(Published::Refused(why)) => Err(Problem::internal(format!("the broker refused: {why}"))),
        Some(Published::Failed) | None => Err(Problem::unavailable("the broker failed to publish")),
    }
}
