//! `/api/devices/{id}/transfer` and `/api/transfers`: a device changes hands, when both want it.

use rs1_api::access::{device_id, require, unknown_device};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::{Database, Random};
use rs1_domain::time::DAY;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, EmailAddress, Faults, Problem, RecordId, Request, Role, Verb};
use rs1_store::access::{self, MyDevice, Transfer};
use rs1_store::sql::{Page, first_row, rows, run};
use serde_json::json;

use crate::trail::Trail;

/// How long an offer stands, in milliseconds.
const OFFER_LIFETIME: i64 = 7 * DAY;

/// The address of `{email}`.
fn read_offer(json: &[u8]) -> Result<EmailAddress, Faults> {
    let object = fields::object(json)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let email = fields
        .required("email", EmailAddress::EXPECTED, &mut faults, |value| EmailAddress::parse(value.as_str()?));
    fields.refuse_unknown(&["email"], &mut faults);
    match email {
        Some(email) if faults.is_empty() => Ok(email),
        _ => Err(faults),
    }
}

/// Offers a device to an address, for a week, in the place of any offer before: 201.
///
/// # Errors
/// 404 and 403 by role, 422 naming every fault, 503 when the database fails.
pub async fn offer(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = device_id(device)?;
    let [role] = run(db, [access::role_of(&person.user, &device)]).await?;
    require(first_row(&role)?, Verb::Share)?;
    let email = read_offer(&request.body)?;
    let id = RecordId::generate("trf", request.now, trail.random.bytes());
    let expires_at = request.now.plus(OFFER_LIFETIME);
    let [_, _, offered] = run(
        db,
        [
            access::offer(&id, &person.user, &device, &email, request.now, expires_at),
            trail.act(person.user.as_str(), "transfer_offered", &device, json!({"email": email})),
            access::transfer(&person.user, &device, request.now),
        ],
    )
    .await?;
    let offered = first_row::<Transfer>(&offered)?.ok_or_else(unknown_device)?;
    Ok(Answer::json(201, &offered))
}

/// The offer of a device, for its owner and for whom it was made to.
///
/// # Errors
/// 404 where there is none that concerns the person, 503 when the database fails.
pub async fn show(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [found] = run(db, [access::transfer(&person.user, &device, request.now)]).await?;
    Ok(Answer::json(200, &first_row::<Transfer>(&found)?.ok_or_else(no_offer)?))
}

/// Takes an offer back, or declines it.
///
/// # Errors
/// 404 where there is none that concerns the person, 503 when the database fails.
pub async fn withdraw(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    let act = trail.act(person.user.as_str(), "transfer_withdrawn", &device, json!({}));
    let [gone, _] = run(db, [access::withdraw(&person.user, &device), act]).await?;
    if gone.rows_json == "[]" {
        return Err(no_offer());
    }
    Ok(Answer::empty(204))
}

/// A page of what waits for the person's word.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn offers(db: &impl Database, person: &Person, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| DeviceId::parse(cursor).is_some());
    query.finish()?;
    let [found] = run(db, [access::offers_to(&person.user, &page, request.now)]).await?;
    let offers = rows::<Transfer>(&found)?;
    Ok(Answer::json(200, &Page::of(offers, &page, |offer| offer.device_id.to_string())))
}

/// Accepts an offer: the device is the person's, and whoever had a role with it has none any more. Accepting again says the same.
///
/// # Errors
/// 404 where there is no offer to the person, 409 for somebody at the limit of devices, 503 when the database fails.
pub async fn accept(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = device_id(device)?;
    let loading =
        [access::transfer(&person.user, &device, request.now), access::my_device(&person.user, &device)];
    let [offer, mine] = run(db, loading).await?;
    let mine = first_row::<MyDevice>(&mine)?;
    if mine.as_ref().is_some_and(|mine| mine.role == Role::Owner) {
        return Ok(Answer::json(200, &mine));
    }
    let offer = first_row::<Transfer>(&offer)?.ok_or_else(no_offer)?;
    let [clears, accepts, uninvites, settles] =
        access::accept(&person.user, &offer.transfer_id, &device, request.now);
    let act = json!({"transfer": offer.transfer_id, "from": offer.from_email});
    let [_, _, _, _, _, mine] = run(
        db,
        [
            clears,
            accepts,
            trail.act(person.user.as_str(), "transfer_accepted", &device, act),
            uninvites,
            settles,
            access::my_device(&person.user, &device),
        ],
    )
    .await?;
    match first_row::<MyDevice>(&mine)? {
        Some(mine) if mine.role == Role::Owner => Ok(Answer::json(200, &mine)),
        _ => Err(Problem::conflict(
            "the offer is gone, or you have 50 devices and there is no room for another",
        )),
    }
}

fn no_offer() -> Problem {
    Problem::not_found("there is no such offer")
}
