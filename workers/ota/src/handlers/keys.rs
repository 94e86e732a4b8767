//! `/admin/firmware-keys`: whose signatures on firmware are good.
//!
//! A revoked key stays revoked. What it signed is handed out no more, and rollouts of it pause.

use rs1_api::query::Query;
use rs1_auth::firmware::PublicKey;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random};
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, Faults, Problem, RecordId, Request};
use rs1_store::firmware::{self, ArtifactName, Key};
use rs1_store::rollouts;
use rs1_store::sql::{Page, first_row, rows, run};
use serde::Serialize;

/// The prefix of a key's id.
const PREFIX: &str = "fwk";
/// Longest name, in characters.
const NAME: usize = 64;

/// A page of the keys, newest first.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| RecordId::parse(PREFIX, cursor).is_some());
    query.finish()?;
    let [outcome] = run(db, [firmware::keys(&page)]).await?;
    let keys = rows::<Key>(&outcome)?;
    Ok(Answer::json(200, &Page::of(keys, &page, |key| key.key_id.clone())))
}

/// What is asked for.
struct Registering {
    name: String,
    public_key: PublicKey,
}

impl Registering {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let name = fields.required("name", "must be 1 to 64 characters of text", &mut faults, |value| {
            let name = value.as_str()?.trim();
            let fine = (1..=NAME).contains(&name.chars().count()) && !name.contains(char::is_control);
            fine.then(|| name.to_owned())
        });
        let public_key = fields.required("public_key", PublicKey::EXPECTED, &mut faults, |value| {
            PublicKey::parse(value.as_str()?)
        });
        fields.refuse_unknown(&["name", "public_key"], &mut faults);
        match (name, public_key) {
            (Some(name), Some(public_key)) if faults.is_empty() => Ok(Self { name, public_key }),
            _ => Err(faults),
        }
    }
}

/// Registers a key: 201, or 200 if it was registered under that name before.
///
/// # Errors
/// 422 naming every fault; 409 if it has another name, or was revoked; 503 when the database fails.
pub async fn register(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let Registering { name, public_key } = Registering::read(&request.body)?;
    let (id, digits) = (RecordId::generate(PREFIX, request.now, random.bytes()), public_key.to_hex());
    let add = firmware::add_key(&id, &name, &digits, request.now, &operator.name);
    let [_, outcome] = run(db, [add, firmware::key_by_public_key(&digits)]).await?;
    let key = first_row::<Key>(&outcome)?
        .ok_or_else(|| Problem::unavailable("a key that was just registered is not there"))?;
    if key.revoked_at.is_some() {
        return Err(Problem::conflict(format!("this key was revoked as {}; that is for good", key.key_id)));
    }
    if key.name != name {
        return Err(Problem::conflict(format!("this key is registered already, as {}", key.key_id)));
    }
    Ok(Answer::json(if key.key_id == id.as_str() { 201 } else { 200 }, &key))
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RevokedKey"))]
#[derive(Serialize)]
pub(crate) struct Revoked {
    #[serde(flatten)]
    pub(crate) key: Key,
    /// What it signed, none of which is handed out any more.
    pub(crate) artifacts: Vec<ArtifactName>,
}

/// Revokes a key. What it signed is handed out no more, and the rollouts of it pause. Doing so again changes nothing.
///
/// # Errors
/// 404 if there is no such key, 503 when the database fails.
pub async fn revoke(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    key_id: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let id = RecordId::parse(PREFIX, key_id).ok_or_else(no_such_key)?;
    Query::of(request).finish()?;
    let decision = RecordId::generate("dec", request.now, random.bytes());
    let revoke = firmware::revoke_key(id.as_str(), request.now, &operator.name);
    let [pause, note] = rollouts::pause_for_key(id.as_str(), &operator.name, &decision, request.now);
    let (key, signed) = (firmware::key_by_id(id.as_str()), firmware::signed_with(id.as_str()));
    let [_, _, _, key, signed] = run(db, [revoke, pause, note, key, signed]).await?;
    let key = first_row::<Key>(&key)?.ok_or_else(no_such_key)?;
    let artifacts = rows::<ArtifactName>(&signed)?;
    Ok(Answer::json(200, &Revoked { key, artifacts }))
}

fn no_such_key() -> Problem {
    Problem::not_found("there is no such key")
}
