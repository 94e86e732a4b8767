//! `GET /api/admin/devices` and `GET /api/admin/devices/{id}`.

use rs1_api::query::Query;
use rs1_domain::port::Database;
use rs1_domain::{Answer, DeviceId, Problem, Request, Sku};
use rs1_store::devices::{self, Device, Wanted};
use rs1_store::sql::{Page, first_row, rows, run};

/// A page of the registry, in the order of device ids: all of it, or what `status`, `version`, `sku` and `q` leave.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| DeviceId::parse(cursor).is_some());
    let wanted = Wanted {
        online: query.parsed("status", "must be online or offline", |text| match text {
            "online" => Some(true),
            "offline" => Some(false),
            _ => None,
        }),
        version: query.text("version"),
        sku: query.parsed("sku", Sku::EXPECTED, Sku::parse),
        text: query.text("q").map(|text| text.to_lowercase()),
    };
    query.finish()?;
    let [outcome] = run(db, [devices::list(&wanted, &page)]).await?;
    let devices = rows::<Device>(&outcome)?;
    Ok(Answer::json(200, &Page::of(devices, &page, |device| device.device_id.to_string())))
}

/// One device.
///
/// # Errors
/// 404 if it is not enrolled, 422 for parameters, 503 when the database fails.
pub async fn one(db: &impl Database, device: &str, request: &Request) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    Query::of(request).finish()?;
    let [outcome] = run(db, [devices::by_id(&device)]).await?;
    let found = first_row::<Device>(&outcome)?.ok_or_else(not_enrolled)?;
    Ok(Answer::json(200, &found))
}

/// The device that a path names.
///
/// # Errors
/// 404: what is no device id is no device either.
pub fn parse_id(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).ok_or_else(not_enrolled)
}

/// 404 for a device that is not there.
pub fn not_enrolled() -> Problem {
    Problem::not_found("no such device is enrolled")
}
