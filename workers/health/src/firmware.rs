//! The artifacts' bytes, held against the hashes that were recorded when they came: a slice a day, those first that were
//! never looked at, then those that wait longest. Each is noted when it is done, so a run that is cut off loses one look.

use rs1_domain::UnixMillis;
use rs1_domain::port::{Database, PortError, Shelf};
use rs1_domain::time::DAY;
use rs1_store::firmware::{self, ToCheck};
use rs1_store::sql::{rows, run};

/// Most bytes of a day: 16 images of the largest size, or hundreds as they are.
const SLICE_BYTES: u64 = 256 * 1024 * 1024;
/// Most artifacts of a day.
const SLICE: u32 = 100;
/// None is looked at more often than this, but for those that are new or were found faulty.
const AGAIN_MS: i64 = 7 * DAY;
/// After so many reads that failed the bucket is taken to be away.
const GIVE_UP: usize = 3;

/// Looks at today's slice. What it did, for the log.
///
/// # Errors
/// When the database fails, or objects could not be read; those come again the next day.
pub async fn verify(db: &impl Database, files: &impl Shelf, now: UnixMillis) -> Result<String, PortError> {
    let slice = slice(db, now).await?;
    let (mut done, mut faulty, mut errors) = (0_u32, 0_u32, Vec::new());
    let mut bytes = 0_u64;
    for artifact in &slice {
        bytes = bytes.saturating_add(artifact.size);
        if done > 0 && bytes > SLICE_BYTES || errors.len() >= GIVE_UP {
            break;
        }
        match fault(files, artifact).await {
            Ok(fault) => {
                run(db, [firmware::note_check(&artifact.artifact_id, fault.as_deref(), now)]).await?;
                done = done.saturating_add(1);
                faulty = faulty.saturating_add(u32::from(fault.is_some()));
            }
            Err(error) => errors.push(error),
        }
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(format!("{done} firmware images verified, {faulty} faulty")),
    }
}

async fn slice(db: &impl Database, now: UnixMillis) -> Result<Vec<ToCheck>, PortError> {
    let before = now.plus(AGAIN_MS.saturating_neg());
    let wanted =
        [firmware::faulty(SLICE), firmware::never_checked(SLICE), firmware::checked_before(before, SLICE)];
    let mut slice: Vec<ToCheck> = Vec::new();
    for outcome in run(db, wanted).await? {
        for artifact in rows::<ToCheck>(&outcome)? {
            if !slice.contains(&artifact) {
                slice.push(artifact);
            }
        }
    }
    Ok(slice)
}

/// What is wrong with an artifact's bytes.
async fn fault(files: &impl Shelf, artifact: &ToCheck) -> Result<Option<String>, PortError> {
    let key = firmware::file(artifact.sku, &artifact.version, &artifact.sha256);
    Ok(match files.digest(&key).await? {
        None => Some("it is not in the bucket".to_owned()),
        Some(digest) if digest.size != artifact.size => {
            Some(format!("it is {} bytes, and was {}", digest.size, artifact.size))
        }
        Some(digest) if digest.sha256 != artifact.sha256 => Some(format!("its SHA-256 is {}", digest.sha256)),
        Some(_) => None,
    })
}
