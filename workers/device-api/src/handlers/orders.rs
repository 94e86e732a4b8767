//! `POST /api/admin/orders/bulk` and `POST /api/admin/devices/{id}/claim`: how a device gets its owner, by what the shop sold or by
//! support's word.

use rs1_auth::operator::Operator;
use rs1_domain::http::NDJSON;
use rs1_domain::json;
use rs1_domain::port::{Database, Random};
use rs1_domain::problem::Fault;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{
    Answer, DeviceId, EmailAddress, Faults, MacAddress, Problem, Request, UnixMillis, UserId, limits,
};
use rs1_store::access::{self, OwnerRow};
use rs1_store::orders::{self, NewOrder, Order};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::users::{self, UserRow};
use serde::Serialize;
use serde_json::{Value, json};

use crate::handlers::devices::{not_enrolled, parse_id};
use crate::trail::Trail;

/// Longest order id in characters.
const ORDER_ID: usize = 64;
/// Longest reason of a claim in characters.
const REASON: usize = 500;

fn read_order(json: &[u8]) -> Result<NewOrder, Faults> {
    let object = fields::object(json)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let order_id = fields.required(
        "order_id",
        "must be 1 to 64 of the letters A to Z, a to z, digits, '.', '_', '#' and '-'",
        &mut faults,
        |value| value.as_str().filter(|text| is_order_id(text)),
    );
    let mac_address =
        fields.required("mac_address", "must be like AA:BB:CC:DD:EE:FF", &mut faults, |value| {
            MacAddress::parse(value.as_str()?)
        });
    let email = fields
        .required("email", EmailAddress::EXPECTED, &mut faults, |value| EmailAddress::parse(value.as_str()?));
    let shipped_at = fields.optional("shipped_at", fields::TIME, &mut faults, fields::time);
    fields.refuse_unknown(&["order_id", "mac_address", "email", "shipped_at"], &mut faults);
    match (order_id, mac_address, email) {
        (Some(order_id), Some(mac_address), Some(email)) if faults.is_empty() => Ok(NewOrder {
            device_id: DeviceId::of(&mac_address),
            order_id: order_id.to_owned(),
            mac_address,
            email,
            shipped_at: shipped_at.map(|time| time.0),
        }),
        _ => Err(faults),
    }
}

fn is_order_id(text: &str) -> bool {
    (1..=ORDER_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._#-".contains(&byte))
}

/// One line of an import's answer.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "OrderLine"))]
#[derive(Serialize)]
pub(crate) struct Line {
    /// The line's number in the request, from 1; empty lines count but are not answered.
    #[serde(rename = "line")]
    pub(crate) number: usize,
    /// 201 for an order that is new, 200 for one that is known, 409 for one that cannot be changed any more, 422 for a line that is not good.
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_id: Option<DeviceId>,
    /// Who owns the device now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Fault>,
}

impl Line {
    /// What became of a good line.
    fn of(number: usize, order: NewOrder, stored: Order, now: UnixMillis) -> Self {
        let (status, detail) = if stored.email != order.email {
            (409, Some("the order has made another address the owner"))
        } else if stored.imported_at == now {
            (201, None)
        } else {
            (200, None)
        };
        let (device_id, owner) = (Some(order.device_id), stored.owner);
        Self { number, status, device_id, owner, detail, errors: Vec::new() }
    }
}

/// Takes in up to a thousand orders, a JSON object a line (`order_id`, `mac_address`, `email`, `shipped_at`), and answers a line each.
/// Devices that have reported already get their owner now. The same again is the same.
///
/// # Errors
/// 400 for a body that is not text, 422 for one of no lines or too many, 503 when the database fails.
pub async fn import(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let text =
        std::str::from_utf8(&request.body).map_err(|_| Problem::malformed("the body must be UTF-8"))?;
    let lines: Vec<_> = text.lines().zip(1_usize..).filter(|(line, _)| !line.trim().is_empty()).collect();
    let mut faults = Faults::new();
    faults.require(!lines.is_empty(), "", "must have at least one line, each a JSON object");
    faults.require(lines.len() <= limits::BULK_ORDERS_LINES, "", "must have at most 1000 lines");
    faults.into_result(())?;

    let mut good = Vec::new();
    let mut read = Vec::with_capacity(lines.len());
    for (line, number) in lines {
        // A good line is known by its place among the good ones.
        read.push((number, read_order(line.as_bytes()).map(|order| good.push(order))));
    }
    let stored = commit(db, &good, request).await?;
    let mut outcomes = good.into_iter().zip(stored);
    let mut answers = Vec::with_capacity(read.len());
    for (number, line) in read {
        answers.push(match line {
            Ok(()) => {
                let outcome = outcomes.next().and_then(|(order, stored)| Some((order, stored?)));
                let (order, stored) =
                    outcome.ok_or_else(|| Problem::internal("an order that was not stored"))?;
                Line::of(number, order, stored, request.now)
            }
            Err(faults) => Line {
                number,
                status: 422,
                device_id: None,
                owner: None,
                detail: None,
                errors: faults.as_slice().to_vec(),
            },
        });
    }
    let mut body = String::new();
    for answer in &answers {
        body.push_str(&json::write(answer).map_err(|error| Problem::internal(error.to_string()))?);
        body.push('\n');
    }
    Ok(Answer::text(200, NDJSON, body))
}

/// Stores orders and links what is to be linked: one transaction of four statements, whatever the number. What is stored is in
/// the order of `good`.
async fn commit(
    db: &impl Database,
    good: &[NewOrder],
    request: &Request,
) -> Result<Vec<Option<Order>>, Problem> {
    if good.is_empty() {
        return Ok(Vec::new());
    }
    let internal = |error: json::Error| Problem::internal(error.to_string());
    let devices: Vec<_> = good.iter().map(|order| &order.device_id).collect();
    let [_, _, _, found] = run(
        db,
        [
            orders::import(good, request.now).map_err(internal)?,
            orders::link_orders(&devices, request.now).map_err(internal)?,
            orders::mark_linked(&devices, request.now).map_err(internal)?,
            orders::stored(good).map_err(internal)?,
        ],
    )
    .await?;
    let mut stored: Vec<_> = good.iter().map(|_| None).collect();
    for order in rows::<Order>(&found)? {
        if let Some(slot) = stored.get_mut(order.place) {
            *slot = Some(order);
        }
    }
    Ok(stored)
}

/// What `POST /api/admin/devices/{id}/claim` takes: whom to, and why.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct ClaimRequest {
    email: EmailAddress,
    /// Why, for the audit log; at most 500 characters.
    #[cfg_attr(feature = "schema", schemars(length(max = 500), regex(pattern = r"\S")))]
    reason: String,
}

impl ClaimRequest {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let email = fields.required("email", EmailAddress::EXPECTED, &mut faults, |value| {
            EmailAddress::parse(value.as_str()?)
        });
        let reason =
            fields.required("reason", "must be text of 1 to 500 characters", &mut faults, |value: &Value| {
                let text = value.as_str()?.trim();
                (!text.is_empty() && text.chars().count() <= REASON).then(|| text.to_owned())
            });
        fields.refuse_unknown(&["email", "reason"], &mut faults);
        match (email, reason) {
            (Some(email), Some(reason)) if faults.is_empty() => Ok(Self { email, reason }),
            _ => Err(faults),
        }
    }
}

/// What a claim answers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct Claimed {
    /// The device.
    pub device_id: DeviceId,
    /// Whose it is now.
    pub owner: UserId,
}

/// Makes somebody the owner of a device that nobody owns. Claiming again for the same person says the same.
///
/// # Errors
/// 404 for a device that is not enrolled, 409 for one that somebody else owns and for a person at the limit of devices, 422 naming every
/// fault, an address that is no user's included, 503 when the database fails.
pub async fn claim(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    operator: &Operator,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = parse_id(device)?;
    let ClaimRequest { email, reason } = ClaimRequest::read(&request.body)?;
    let [user, found] = run(db, [users::of_email(&email), access::owner(&device)]).await?;
    first_row::<OwnerRow>(&found)?.ok_or_else(not_enrolled)?;
    let Some(UserRow { user_id }) = first_row(&user)? else {
        let mut faults = Faults::new();
        faults.add("/email", "must be the address of somebody who has signed in");
        return Err(faults.into());
    };
    let detail = json!({"user": user_id, "email": email, "reason": reason});
    let [_, _, found] = run(
        db,
        [
            access::claim(&device, &user_id, &operator.name, request.now),
            trail.act(&operator.name, "device_claimed", &device, detail),
            access::owner(&device),
        ],
    )
    .await?;
    match first_row::<OwnerRow>(&found)?.and_then(|row| row.owner) {
        Some(owner) if owner == user_id => Ok(Answer::json(200, &Claimed { device_id: device, owner })),
        Some(_) => Err(Problem::conflict("somebody else owns the device")),
        None => Err(Problem::conflict("the person has 50 devices: no more are possible")),
    }
}
