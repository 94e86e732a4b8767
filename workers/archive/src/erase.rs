//! Erasures: what a device said goes, made step by step by the minute's cron.
//!
//! In the archive devices share objects. A device's lines lie in a gzip member of their own, in the pack of its shard, and the index says where; that
//! member is overwritten with one that is empty and as long, and the device's line leaves the index. So every other device's
//! lines stay where they were, to the byte, no other object changes, and a reader at any moment finds them. Nothing is overwritten
//! before it was read and every line of it was seen to be that device's.
//!
//! It begins when the hour is over in which it was asked for, the last one that goes. First the device takes in nothing of these hours any
//! more ([`close`](erasures::close)): what comes late is kept nowhere, and neither the compaction nor the sealing counts what they still find
//! of it, or misses what they do not. Lines that lie loose by then are packed within hours, and objects that the broker stored may be read
//! for days; so the last days of the archive are gone through once more when they take no more messages, and what lies loose is packed first.
//!
//! The database may be restored from before the erasure; so it is kept beside the archive, too, and made [`again`] then.

use rs1_domain::http::NDJSON;
use rs1_domain::json;
use rs1_domain::port::{Bucket, Encoding, Listed, NewObject, Packs, PortError};
use rs1_domain::time::HOUR;
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_store::erasures::{self, ErasureRow, FINAL, KEPT, Kept, Saved, Unknown, kept_key};
use rs1_store::exports::{ExportRow, prefix};
use rs1_store::lines;
use rs1_store::sql::{first_row, rows, run};
use rs1_telemetry::archive::{folder, may_hold, read_object};
use rs1_telemetry::pack::{self, Kind, Part};

use crate::compact;
use crate::recount::Reader;
use crate::world::{Ports, World};

/// Hours of the archive that one run goes through: a week. A year takes an hour or two of runs.
const HOURS: i64 = 7 * 24;
/// Hours after which a run notes how far it is.
const STEP: i64 = 24;
/// Events that one statement deletes, about.
const EVENTS: u32 = 2_000;

/// Goes on with the erasure that is due longest. What was done, for the log; nothing if there is none.
///
/// # Errors
/// What failed. What was not noted is looked at again by a later run.
pub async fn step(now: UnixMillis, world: &World<impl Ports>) -> Result<Option<String>, PortError> {
    let [taken] = run(&world.db, [erasures::take(now)]).await?;
    let Some(mut erasure) = first_row::<ErasureRow>(&taken)? else { return Ok(None) };
    let outcome = go_on(&mut erasure, now, world).await;
    if outcome.is_err() {
        // Otherwise the next run would wait for as long as this one might still be at it.
        run(&world.db, [erasures::let_go(&erasure, now)]).await?;
    }
    outcome.map(Some)
}

async fn go_on(
    erasure: &mut ErasureRow,
    now: UnixMillis,
    world: &World<impl Ports>,
) -> Result<String, PortError> {
    let (device, end) = (erasure.device_id.clone(), erasure.until_hour);
    let settling = erasure.state != "running";
    if erasure.state == "running" {
        erasures::keep(erasure, &world.archives).await?;
        run(&world.db, [erasures::close(&device, end)]).await?;
    }
    if erasure.state == "waiting" {
        // It is due: no hour takes messages any more, and all before these took none already when they were gone through.
        erasure.next_hour = end.saturating_sub(FINAL).saturating_sub(2).max(erasure.from_hour);
    }
    let last = erasure.next_hour.saturating_add(HOURS).min(end);
    while erasure.next_hour < last {
        let stop = erasure.next_hour.saturating_add(STEP).min(last);
        for hour in erasure.next_hour..stop {
            let erased = erase_hour(&device, hour, now, world).await?;
            erasure.lines = erasure.lines.saturating_add(erased);
        }
        erasure.next_hour = stop;
        if stop < end {
            let saved = Saved {
                state: if settling { "settling" } else { "running" },
                next_hour: stop,
                lines: erasure.lines,
                due_at: now,
                held_until: now.plus(erasures::HOLD),
            };
            if !save(erasure, &saved, now, world).await? {
                return Ok(format!("{} became another", erasure.erasure_id));
            }
        }
    }
    if erasure.next_hour < end {
        run(&world.db, [erasures::let_go(erasure, now)]).await?;
        return Ok(format!("{}: {} hours to go", erasure.erasure_id, end.saturating_sub(erasure.next_hour)));
    }
    delete_rows(&device, end, now, world).await?;
    delete_exports(&device, world).await?;
    let final_at = UnixMillis(end.saturating_add(FINAL).saturating_mul(HOUR));
    let (state, due_at) = if settling { ("done", now) } else { ("waiting", final_at) };
    let saved = Saved { state, next_hour: end, lines: erasure.lines, due_at, held_until: now };
    if !save(erasure, &saved, now, world).await? {
        return Ok(format!("{} became another", erasure.erasure_id));
    }
    Ok(format!("{} {state}: {} lines", erasure.erasure_id, erasure.lines))
}

/// Begins once more the erasures that the database does not know, because it was restored from before they were asked for; those that are
/// older than `border` are forgotten. How many were begun.
///
/// # Errors
/// When the archive or the database cannot be reached, or one is not as it was kept.
pub async fn again(now: UnixMillis, border: &RecordId, world: &World<impl Ports>) -> Result<u64, PortError> {
    let failed = |error: json::Error| PortError::new("kept erasures", error.to_string());
    let keys = keys(KEPT, world).await?;
    let ids = keys.iter().filter_map(|key| key.strip_prefix(KEPT)?.strip_suffix(".json"));
    // The latest first: of two of a device it has more.
    let (old, ids): (Vec<&str>, Vec<&str>) = ids.rev().partition(|id| *id < border.as_str());
    if !old.is_empty() {
        discard(&old.into_iter().map(kept_key).collect::<Vec<_>>(), world).await?;
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let [unknown] = run(&world.db, [erasures::unknown(&ids).map_err(failed)?]).await?;
    let mut begun = 0_u64;
    for Unknown { erasure_id } in rows(&unknown)? {
        let kept = world.archives.get(&kept_key(&erasure_id)).await?.unwrap_or_default();
        let kept: Kept = json::read(&String::from_utf8_lossy(&kept)).map_err(failed)?;
        let device = &kept.device_id;
        let [again, ..] = run(
            &world.db,
            [erasures::again(&kept, now), erasures::hide(device), erasures::cancel_exports(device)],
        )
        .await?;
        begun = begun.saturating_add(again.changes);
    }
    Ok(begun)
}

async fn save(
    erasure: &mut ErasureRow,
    saved: &Saved,
    now: UnixMillis,
    world: &World<impl Ports>,
) -> Result<bool, PortError> {
    let [outcome] = run(&world.db, [erasures::save(erasure, saved, now)]).await?;
    erasure.generation = erasure.generation.saturating_add(1);
    Ok(outcome.changes > 0)
}

/// Takes a device's lines out of an hour, as far as it is packed; an hour that takes no more messages is packed first. How many they were.
async fn erase_hour(
    device: &DeviceId,
    hour: i64,
    now: UnixMillis,
    world: &World<impl Ports>,
) -> Result<i64, PortError> {
    let folder = folder(hour);
    let mut objects = lines::list(&world.archives, &folder).await?;
    if now.hour().saturating_sub(hour) >= FINAL {
        let loose = |object: &Listed| {
            Kind::of(&object.key) == Kind::Loose && may_hold(object.label.as_deref(), device)
        };
        if objects.iter().any(loose) {
            compact::pack_hour(hour, world).await?;
            objects = lines::list(&world.archives, &folder).await?;
            if objects.iter().any(loose) {
                return Err(PortError::new(format!("erase {folder}"), "the hour is not packed yet"));
            }
        }
    }
    let whole = pack::whole(objects.iter().map(|object| object.key.as_str()));
    let mut erased = 0_i64;
    for object in &objects {
        if let Kind::Index(part) = Kind::of(&object.key)
            && whole.contains(part.digest)
            && part.has(device)
        {
            erased = erased.saturating_add(erase_member(device, &folder, &part, world).await?);
        }
    }
    Ok(erased)
}

/// Takes a device's lines out of a pack, and the device out of its index.
async fn erase_member(
    device: &DeviceId,
    folder: &str,
    part: &Part<'_>,
    world: &World<impl Ports>,
) -> Result<i64, PortError> {
    let archives = &world.archives;
    let (key, index_key) = (part.packed(folder), part.index(folder));
    let wrong = |why: &str| PortError::new(format!("erase {key}"), why);
    let index = archives.get(&index_key).await?.ok_or_else(|| wrong("its index is gone"))?;
    let index = String::from_utf8(index).map_err(|error| wrong(&error.to_string()))?;
    let Some((rest, entry)) = pack::without(&index, device).map_err(|why| wrong(&why))? else { return Ok(0) };
    let lengths = [entry.length];
    let member = || archives.unpack(&key, entry.offset, &lengths);
    let text = member().await?.ok_or_else(|| wrong("it is gone"))?;
    // Empty: a run before this one was cut off here.
    if !text.is_empty() {
        let messages = read_object(text.as_bytes()).map_err(|why| wrong(&why))?;
        let own = messages.iter().all(|message| message.device == *device);
        if !own || u32::try_from(messages.len()) != Ok(entry.lines) {
            return Err(wrong("the index leads to others' lines"));
        }
        archives.blank(&key, entry.offset, entry.length).await?;
        if member().await?.as_deref() != Some("") {
            return Err(wrong("the lines are still there"));
        }
    }
    let new = NewObject {
        key: &index_key,
        body: rest.as_bytes(),
        content_type: NDJSON,
        encoding: Encoding::Gzip,
        label: None,
    };
    archives.replace(new).await?;
    if archives.get(&index_key).await?.as_deref() != Some(rest.as_bytes()) {
        return Err(PortError::new(format!("erase {index_key}"), "it is not what was written"));
    }
    Ok(i64::from(entry.lines))
}

/// Deletes what the database has of the time before an hour.
async fn delete_rows(
    device: &DeviceId,
    end: i64,
    now: UnixMillis,
    world: &World<impl Ports>,
) -> Result<(), PortError> {
    run(&world.db, erasures::delete_rows(device, end, now)).await?;
    loop {
        let [events] = run(&world.db, [erasures::delete_events(device, end, EVENTS)]).await?;
        if events.changes == 0 {
            return Ok(());
        }
    }
}

/// Deletes the objects of exports that were cancelled. Their rows stay until nobody can be writing them any more.
async fn delete_exports(device: &DeviceId, world: &World<impl Ports>) -> Result<(), PortError> {
    let [doomed] = run(&world.db, [erasures::doomed_exports(device)]).await?;
    for ExportRow { export_id, .. } in rows(&doomed)? {
        discard_all(&prefix(&export_id), world).await?;
    }
    Ok(())
}

/// Deletes all objects whose keys begin like this.
///
/// # Errors
/// When the archive cannot be reached.
pub async fn discard_all(prefix: &str, world: &World<impl Ports>) -> Result<usize, PortError> {
    let keys = keys(prefix, world).await?;
    discard(&keys, world).await?;
    Ok(keys.len())
}

async fn keys(prefix: &str, world: &World<impl Ports>) -> Result<Vec<String>, PortError> {
    let objects = Reader::new(&world.archives).list(prefix).await?;
    Ok(objects.into_iter().map(|object| object.key).collect())
}

async fn discard(keys: &[String], world: &World<impl Ports>) -> Result<(), PortError> {
    for keys in keys.chunks(1_000) {
        world.archives.discard(keys).await?;
    }
    Ok(())
}
