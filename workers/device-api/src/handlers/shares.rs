//! `/api/devices/{id}/shares`: whom a device is shared with.

use rs1_api::access::{device_id, require};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::{Database, Random};
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, EmailAddress, Faults, Problem, RecordId, Request, Role, UserId, Verb};
use rs1_store::access::{self, NewShare, Share};
use rs1_store::sql::{Page, first_row, rows, run};
use serde_json::json;

use crate::trail::Trail;

/// What `POST …/shares` takes.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct ShareRequest {
    email: EmailAddress,
    #[cfg_attr(feature = "schema", schemars(with = "crate::document::SharedRole"))]
    role: Role,
}

impl ShareRequest {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let email = fields.required("email", EmailAddress::EXPECTED, &mut faults, |value| {
            EmailAddress::parse(value.as_str()?)
        });
        let role = fields.required("role", Role::EXPECTED_OF_SHARE, &mut faults, |value| {
            Role::parse(value.as_str()?).filter(|role| *role != Role::Owner)
        });
        fields.refuse_unknown(&["email", "role"], &mut faults);
        match (email, role) {
            (Some(email), Some(role)) if faults.is_empty() => Ok(Self { email, role }),
            _ => Err(faults),
        }
    }
}

/// Everybody with a role, and everybody who is invited to one: all on one page.
///
/// # Errors
/// 404 and 403 by role (addresses are the owner's to see), 422 for parameters, 503 when the database fails.
pub async fn list(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [role, shares] = run(db, [access::role_of(&person.user, &device), access::shares(&device)]).await?;
    require(first_row(&role)?, Verb::Share)?;
    Ok(Answer::json(200, &Page { items: rows::<Share>(&shares)?, next_cursor: None }))
}

/// Shares a device with an address: its user has the role at once; an address that is nobody's yet is invited, and has it with the first
/// sign-in. Sharing again changes the role. 201, or 200 for a change.
///
/// # Errors
/// 404 and 403 by role, 409 for the owner's own address and where a limit is reached, 422 naming every fault, 503 when the database fails.
pub async fn share(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
) -> Result<Answer, Problem> {
    let request = trail.request;
    let device = device_id(device)?;
    let [role] = run(db, [access::role_of(&person.user, &device)]).await?;
    require(first_row(&role)?, Verb::Share)?;
    let ShareRequest { email, role } = ShareRequest::read(&request.body)?;
    let share = NewShare { device: &device, owner: &person.user, email: &email, role, at: request.now };
    let invitation = RecordId::generate("inv", request.now, trail.random.bytes());
    let detail = || json!({"email": email, "role": role});
    let [_, _, _, _, found] = run(
        db,
        [
            access::share_with_user(&share),
            trail.act(person.user.as_str(), "device_shared", &device, detail()),
            access::invite(&invitation, &share),
            trail.act(person.user.as_str(), "device_shared", &device, detail()),
            access::share_of(&device, &email),
        ],
    )
    .await?;
    match first_row::<Share>(&found)? {
        Some(found) if found.role == Role::Owner => Err(Problem::conflict("the device is this person's own")),
        Some(found) if found.role == role => {
            Ok(Answer::json(if found.since == request.now { 201 } else { 200 }, &found))
        }
        _ => Err(Problem::conflict(
            "the device has 20 people, or the person has 50 devices: no more are possible",
        )),
    }
}

/// Takes a role or an invitation back, by the share's `id`. Somebody who has a role may take their own.
///
/// # Errors
/// 404 and 403 by role, 404 for a share that there is not, 409 for the owner's own role, 503 when the database fails.
pub async fn unshare(
    db: &impl Database,
    trail: &Trail<'_, impl Random>,
    person: &Person,
    device: &str,
    share: &str,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    let [role] = run(db, [access::role_of(&person.user, &device)]).await?;
    let role = first_row(&role)?;
    let own = share == person.user.as_str();
    let mine = require(role, if own { Verb::View } else { Verb::Share })?;
    if own && mine == Role::Owner {
        return Err(Problem::conflict("an owner does not leave: transfer the device, or give it up"));
    }
    let removal = match (UserId::parse(share), RecordId::parse("inv", share)) {
        (Some(user), _) => access::unshare(&device, &person.user, &user),
        (None, Some(invitation)) => access::uninvite(&device, &person.user, &invitation),
        (None, None) => return Err(no_such_share()),
    };
    let act = trail.act(person.user.as_str(), "device_unshared", &device, json!({"share": share}));
    let [removed, _] = run(db, [removal, act]).await?;
    if removed.rows_json == "[]" {
        return Err(no_such_share());
    }
    Ok(Answer::empty(204))
}

fn no_such_share() -> Problem {
    Problem::not_found("there is no such share")
}
