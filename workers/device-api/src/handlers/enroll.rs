//! `POST /api/admin/enroll` and `POST /api/admin/enroll/bulk`: the factory's devices become known.
//!
//! Enrolling again with the same values answers the same; with another secret or another variant it
//! is a conflict, and what is stored stays. Which of the two it was is seen from the row: a fresh
//! seal is never the same text twice, so a row that carries ours is new.

use rs1_auth::DeviceKey;
use rs1_auth::operator::Operator;
use rs1_domain::http::NDJSON;
use rs1_domain::json;
use rs1_domain::port::{Database, Random};
use rs1_domain::problem::Fault;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, Faults, MacAddress, Problem, Request, Sku, UnixMillis, limits};
use rs1_store::devices::{self, Enrollment, NewDevice};
use rs1_store::sql::{rows, run};
use serde::Serialize;

use crate::config::Config;

/// A device that is to be enrolled.
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "Enrolment", deny_unknown_fields)
)]
pub(crate) struct Enrolling {
    mac_address: MacAddress,
    /// SHA-256 of the device's secret.
    #[cfg_attr(
        feature = "schema",
        schemars(rename = "device_secret_hash", with = "String", regex(pattern = "^[0-9a-f]{64}$"))
    )]
    key: DeviceKey,
    product_sku: Option<Sku>,
}

impl Enrolling {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let mac_address =
            fields.required("mac_address", "must be like AA:BB:CC:DD:EE:FF", &mut faults, |value| {
                MacAddress::parse(value.as_str()?)
            });
        let key =
            fields.required("device_secret_hash", "must be 64 lower-case hex digits", &mut faults, |value| {
                DeviceKey::parse(value.as_str()?)
            });
        let product_sku =
            fields.optional("product_sku", Sku::EXPECTED, &mut faults, |value| Sku::parse(value.as_str()?));
        fields.refuse_unknown(&["mac_address", "device_secret_hash", "product_sku"], &mut faults);
        match (mac_address, key) {
            (Some(mac_address), Some(key)) if faults.is_empty() => Ok(Self { mac_address, key, product_sku }),
            _ => Err(faults),
        }
    }
}

/// What became of one enrolment.
enum Outcome {
    /// It is enrolled now.
    Created(UnixMillis),
    /// It was enrolled before, with the same values.
    Same(UnixMillis),
    /// It was enrolled before, with others.
    Conflict(&'static str),
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct Enrolled<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) enrolled_at: UnixMillis,
}

/// Enrols one device: 201, or 200 if it was enrolled with the same values before.
///
/// # Errors
/// 422 naming every fault, 409 for other values, 503 when the database fails.
pub async fn one(
    db: &impl Database,
    random: &impl Random,
    config: &Config,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    let enrolling = Enrolling::read(&request.body)?;
    let device_id = DeviceId::of(&enrolling.mac_address);
    let outcomes = commit(db, random, config, operator, &[enrolling], request.now).await?;
    match outcomes.into_iter().next() {
        Some(Outcome::Created(enrolled_at)) => {
            Ok(Answer::json(201, &Enrolled { device_id: &device_id, enrolled_at })
                .with_header("location", format!("/api/admin/devices/{device_id}")))
        }
        Some(Outcome::Same(enrolled_at)) => {
            Ok(Answer::json(200, &Enrolled { device_id: &device_id, enrolled_at }))
        }
        Some(Outcome::Conflict(why)) => Err(Problem::conflict(why)),
        None => Err(Problem::internal("an enrolment without an outcome")),
    }
}

/// One line of a bulk answer.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EnrolmentLine"))]
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// The line's number in the request, from 1; empty lines count but are not answered.
    #[serde(rename = "line")]
    pub(crate) number: usize,
    /// As [`one`] would answer it.
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_id: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enrolled_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Fault>,
}

/// Enrols up to a thousand devices, a JSON object a line, and answers a line each. A bad line harms
/// no other.
///
/// # Errors
/// 400 for a body that is not text, 422 for one of no lines or too many, 503 when the database
/// fails; then none is enrolled, or all good ones are and asking again says so.
pub async fn bulk(
    db: &impl Database,
    random: &impl Random,
    config: &Config,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    let text =
        std::str::from_utf8(&request.body).map_err(|_| Problem::malformed("the body must be UTF-8"))?;
    let lines: Vec<_> = text.lines().zip(1_usize..).filter(|(line, _)| !line.trim().is_empty()).collect();
    let mut faults = Faults::new();
    faults.require(!lines.is_empty(), "", "must have at least one line, each a JSON object");
    faults.require(lines.len() <= limits::BULK_ENROLL_LINES, "", "must have at most 1000 lines");
    faults.into_result(())?;

    let mut good = Vec::new();
    let mut read = Vec::with_capacity(lines.len());
    for (line, number) in lines {
        // A good line is known by its place among the good ones.
        read.push((number, Enrolling::read(line.as_bytes()).map(|enrolling| good.push(enrolling))));
    }
    let outcomes = commit(db, random, config, operator, &good, request.now).await?;
    let mut outcomes = good.iter().zip(outcomes);
    let mut answers = Vec::with_capacity(read.len());
    for (number, line) in read {
        answers.push(match line {
            Ok(()) => {
                let (enrolling, outcome) =
                    outcomes.next().ok_or_else(|| Problem::internal("an enrolment without an outcome"))?;
                let (status, enrolled_at, detail) = match outcome {
                    Outcome::Created(at) => (201, Some(at), None),
                    Outcome::Same(at) => (200, Some(at), None),
                    Outcome::Conflict(why) => (409, None, Some(why)),
                };
                let device_id = Some(DeviceId::of(&enrolling.mac_address));
                Line { number, status, device_id, enrolled_at, detail, errors: Vec::new() }
            }
            Err(faults) => Line {
                number,
                status: 422,
                device_id: None,
                enrolled_at: None,
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

/// Stores what is not there yet and compares the rest: one transaction, two statements, whatever
/// the number. Outcomes are in the order of `enrolling`.
async fn commit(
    db: &impl Database,
    random: &impl Random,
    config: &Config,
    operator: &Operator,
    enrolling: &[Enrolling],
    now: UnixMillis,
) -> Result<Vec<Outcome>, Problem> {
    if enrolling.is_empty() {
        return Ok(Vec::new());
    }
    let internal = |error: json::Error| Problem::internal(error.to_string());
    let new: Vec<_> = enrolling
        .iter()
        .map(|enrolling| {
            let device_id = DeviceId::of(&enrolling.mac_address);
            let sealed_key = config.vault.seal(&enrolling.key, &device_id, random.bytes())?;
            let (mac_address, product_sku) = (enrolling.mac_address, enrolling.product_sku);
            Some(NewDevice { device_id, mac_address, product_sku, sealed_key })
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::internal("a key could not be sealed"))?;
    let ids: Vec<_> = new.iter().map(|device: &NewDevice| &device.device_id).collect();
    let [_, found] = run(
        db,
        [
            devices::enroll(&new, now, &operator.name).map_err(internal)?,
            devices::enrollments(&ids).map_err(internal)?,
        ],
    )
    .await?;
    let mut stored: Vec<_> = new.iter().map(|_| None).collect();
    for row in rows::<Enrollment>(&found)? {
        if let Some(slot) = stored.get_mut(row.place) {
            *slot = Some(row);
        }
    }
    let each = enrolling.iter().zip(&new).zip(stored);
    each.map(|((enrolling, new), stored)| compare(enrolling, new, stored, config)).collect()
}

fn compare(
    enrolling: &Enrolling,
    new: &NewDevice,
    stored: Option<Enrollment>,
    config: &Config,
) -> Result<Outcome, Problem> {
    let row = stored.ok_or_else(|| Problem::internal("an enrolment that was not stored"))?;
    if row.sealed_key == new.sealed_key {
        return Ok(Outcome::Created(row.enrolled_at));
    }
    let key = config
        .vault
        .unseal(&row.sealed_key, &new.device_id)
        .map_err(|_| Problem::unavailable(format!("the key of {} does not open", new.device_id)))?;
    if !key.same_as(&enrolling.key) {
        return Ok(Outcome::Conflict("the device is enrolled with another device_secret_hash"));
    }
    if enrolling.product_sku.is_some_and(|sku| row.product_sku != Some(sku)) {
        return Ok(Outcome::Conflict("the device is enrolled with another product_sku"));
    }
    Ok(Outcome::Same(row.enrolled_at))
}
