//! `/api/admin/devices/{id}/tags`: labels that operators give devices, by which rollouts choose them.

use rs1_api::query::Query;
use rs1_domain::json;
use rs1_domain::port::Database;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, Faults, Problem, Request};
use rs1_rollout::selector::is_tag;
use rs1_store::devices::{self, Tags};
use rs1_store::sql::{first_row, run};
use serde::Serialize;

use super::devices::{not_enrolled, parse_id};

/// Most tags of a device.
const MOST: usize = 32;

/// The tags of a device.
///
/// # Errors
/// 404 if it is not enrolled, 422 for parameters, 503 when the database fails.
pub async fn show(db: &impl Database, device: &str, request: &Request) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    Query::of(request).finish()?;
    let [found] = run(db, [devices::tags(&device)]).await?;
    let Tags { tags } = first_row(&found)?.ok_or_else(not_enrolled)?;
    let tags: Vec<String> = json::read(&tags).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(shown(&device, &tags))
}

/// Gives a device these tags, `{tags: […]}`, instead of those that it had.
///
/// # Errors
/// 404 if it is not enrolled, 422 naming every fault, 503 when the database fails.
pub async fn replace(db: &impl Database, device: &str, request: &Request) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    Query::of(request).finish()?;
    let tags = read(&request.body)?;
    let json = json::write(&tags).map_err(|error| Problem::internal(error.to_string()))?;
    let [done] = run(db, [devices::set_tags(&device, &json)]).await?;
    if done.changes == 0 {
        return Err(not_enrolled());
    }
    Ok(shown(&device, &tags))
}

/// Reads the tags, sorted and each once.
fn read(body: &[u8]) -> Result<Vec<String>, Faults> {
    let object = fields::object(body)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    fields.refuse_unknown(&["tags"], &mut faults);
    let expected = "must be an array of at most 32 tags";
    let given = fields
        .required("tags", expected, &mut faults, |value| value.as_array().filter(|tags| tags.len() <= MOST));
    let mut tags = Vec::new();
    for (index, tag) in given.into_iter().flatten().enumerate() {
        match tag.as_str().filter(|tag| is_tag(tag)) {
            Some(tag) => tags.push(tag.to_owned()),
            None => faults.add(format!("/tags/{index}"), "must be 1 to 32 of a-z, 0-9, - and _"),
        }
    }
    tags.sort_unstable();
    tags.dedup();
    faults.into_result(tags)
}

/// What a device is labelled with.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct Tagged<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) tags: &'a [String],
}

fn shown(device: &DeviceId, tags: &[String]) -> Answer {
    Answer::json(200, &Tagged { device_id: device, tags })
}
