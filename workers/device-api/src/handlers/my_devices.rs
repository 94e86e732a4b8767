//! `/api/devices`: a person's own devices and those that others share with them.

use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::Database;
use rs1_domain::{Answer, DeviceId, Problem, Request};
use rs1_store::access::{self, MyDevice};
use rs1_store::sql::{Page, first_row, rows, run};

use crate::access::{device_id, unknown_device};

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
    Answer::json(200, device).with_header("etag", format!("\"{}\"", device.version))
}
