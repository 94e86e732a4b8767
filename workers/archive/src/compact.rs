//! The hourly compaction: an hour of the archive that is over becomes few objects, in which a device's lines lie together.
//!
//! What there is to do is read off the bucket itself, so a run that is cut off anywhere is gone on with by the next: many small
//! objects become fewer larger ones; those become packs, a shard of the devices each, with their indexes; a manifest says that all are
//! there; and only then do the objects go that they were made from. Whatever is written is read back and compared first. The
//! keys follow from the contents, so what is done twice is the same.
//!
//! On the way every message is looked for in its hour's rollup. One that is archived and not counted, because the two could not be
//! done together, is counted now; one whose rollup is sealed has that marked, to be made anew (see [`seal`](mod@crate::seal)).
//!
//! Messages that come when their hour is packed lie beside the packs, and are packed by themselves when they are some days old; those
//! that the packs have already are left out then.

use rs1_domain::http::{JSON, NDJSON};
use rs1_domain::port::{Archive, Bucket, Encoding, NewObject, Packs, PortError, Stored};
use rs1_domain::{DeviceId, UnixMillis, json};
use rs1_store::objects::PATIENCE;
use rs1_store::rollups::{event_row, load, write};
use rs1_store::sql::run;
use rs1_store::tallies::{self, Compacted, Door, Tally};
use rs1_store::{seals, telemetry};
use rs1_telemetry::Rollup;
use rs1_telemetry::archive::{Line, folder};
use rs1_telemetry::batch::{Adds, Key, Slot, Write, key_of};
use rs1_telemetry::event::events_of;
use rs1_telemetry::pack::{self, Head, Kind, Manifest, Pack, Part};
use rs1_telemetry::rollup::Merge;

use crate::recount::{MOST_BYTES, Reader, Wanted};
use crate::world::{Ports, World};

/// How old an hour is when it is packed for the first time: objects come half an hour late, and retries a quarter.
const FIRST: i64 = 2;
/// How old it may have become when that is still to be done.
const LAST: i64 = 30;
/// How old an hour is when what came late is packed: until it is sealed, when the last collected objects have gone, and when its
/// rollups go.
const AGAIN: [i64; 7] = [31, 48, 72, 96, 121, 8 * 24, 30 * 24];

/// Objects that one run opens, about. By the message, an hour of 10,000 devices is 6,000 objects, each of which is read and
/// measured to be merged; `limits` in wrangler/archive.jsonc allow three times as many calls.
const OPENED: usize = 16_000;
/// Compressed bytes of an object that is made of small ones, about.
const MERGED_BYTES: u64 = 1_000_000;
/// Objects that need not become fewer.
const FEW: usize = 64;
/// Rollups that are read with one statement.
const READ: usize = 2_500;
/// Keys that are deleted at once.
const DELETED: usize = 500;

/// What a run did.
#[derive(Default)]
struct Done {
    merged: usize,
    packed: u64,
    duplicates: u64,
    deleted: usize,
    repaired: usize,
}

/// Compacts the hours that are due, the oldest first, until enough is done for one run. What was done, for the log.
///
/// # Errors
/// What failed. The next run goes on.
pub async fn compact(now: UnixMillis, world: &World<impl Ports>) -> Result<String, PortError> {
    let ages =
        AGAIN.into_iter().rev().map(|age| (age, true)).chain((FIRST..=LAST).rev().map(|age| (age, false)));
    let mut run = Run { world, left: OPENED, done: Done::default() };
    for (age, again) in ages {
        if run.left == 0 {
            break;
        }
        run.hour(now.hour().saturating_sub(age), again).await?;
    }
    let Done { merged, packed, duplicates, deleted, repaired } = run.done;
    Ok(format!(
        "{packed} lines packed, {duplicates} of them twice before, {repaired} counted that were not; {merged} objects merged, {deleted} deleted"
    ))
}

/// Packs what lies loose of an hour that takes no more messages, as far as one run gets.
///
/// # Errors
/// What failed. It can be done again.
pub(crate) async fn pack_hour(hour: i64, world: &World<impl Ports>) -> Result<(), PortError> {
    Run { world, left: OPENED, done: Done::default() }.hour(hour, true).await
}

/// A run.
struct Run<'a, P: Ports> {
    world: &'a World<P>,
    /// Objects that it may still open.
    left: usize,
    done: Done,
}

fn unreadable(key: &str, why: impl Into<String>) -> PortError {
    PortError::new(format!("compact {key}"), why)
}

fn parsed<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, PortError> {
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable(key, error.to_string()))?;
    json::read(text).map_err(|error| unreadable(key, error.to_string()))
}

impl<P: Ports> Run<'_, P> {
    /// Compacts an hour, as far as it gets; one that is packed only if what came late is to be, too.
    async fn hour(&mut self, hour: i64, again: bool) -> Result<(), PortError> {
        let folder = folder(hour);
        let mut all = self.list(&folder).await?;
        self.finish(&folder, &mut all).await?;
        let packed = all.iter().any(|object| matches!(Kind::of(&object.key), Kind::Manifest(_)));
        let mut loose: Vec<Stored> =
            all.iter().filter(|object| Kind::of(&object.key) == Kind::Loose).cloned().collect();
        if loose.is_empty() || (packed && !again) {
            return Ok(());
        }
        if loose.len() > FEW {
            loose = self.merge(&folder, loose).await?;
        }
        let keys: Vec<&str> = loose.iter().map(|object| object.key.as_str()).collect();
        let digest = pack::digest_of(&keys);
        let bytes = loose.iter().map(|object| object.size).fold(0, u64::saturating_add);
        let of = pack::shards_for(bytes);
        let parts: Vec<Part<'_>> = (0..of)
            .map(|shard| Part { digest: &digest, shard, of })
            .filter(|part| !all.iter().any(|object| object.key == part.index(&folder)))
            .collect();
        for parts in parts.chunks(pack::at_once(bytes, of)) {
            if !self.opens(keys.len()) {
                return Ok(());
            }
            let needles: Vec<String> = parts.iter().flat_map(Part::needles).collect();
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let lines = self.lines(&keys, &needles).await?;
            for part in parts {
                self.shard(&folder, &all, &lines, part).await?;
            }
        }
        if self.opens(keys.len()) {
            self.manifest(&folder, &keys, &digest, of).await?;
            let mut all = self.list(&folder).await?;
            self.finish(&folder, &mut all).await?;
        }
        Ok(())
    }

    /// Whether so many more objects may be opened.
    fn opens(&mut self, count: usize) -> bool {
        // A run opens at least something, however much an hour has.
        let may = self.left >= count || self.left == OPENED;
        self.left = if may { self.left.saturating_sub(count) } else { 0 };
        may
    }

    async fn list(&self, folder: &str) -> Result<Vec<Stored>, PortError> {
        Reader::new(&self.world.archives).list(folder).await
    }

    /// Deletes what packs that are whole stand for, and what is left of packings that were given up. `all` becomes what stays.
    async fn finish(&mut self, folder: &str, all: &mut Vec<Stored>) -> Result<(), PortError> {
        let whole = pack::whole(all.iter().map(|object| object.key.as_str()));
        if whole.is_empty() {
            return Ok(());
        }
        let mut replaced = Vec::new();
        for digest in &whole {
            let key = pack::manifest(folder, digest);
            let manifest = self.world.archives.get(&key).await?;
            let manifest: Manifest = parsed(&key, &manifest.unwrap_or_default())?;
            replaced.extend(manifest.sources);
        }
        let given_up = |part: Part<'_>| !whole.contains(part.digest);
        let gone = |object: &Stored| match Kind::of(&object.key) {
            Kind::Loose => replaced.contains(&object.key),
            Kind::Packed(part) | Kind::Index(part) => given_up(part),
            Kind::Manifest(_) | Kind::Foreign => false,
        };
        let keys: Vec<String> =
            all.iter().filter(|object| gone(object)).map(|object| object.key.clone()).collect();
        for keys in keys.chunks(DELETED) {
            self.world.archives.discard(keys).await?;
            self.done.deleted = self.done.deleted.saturating_add(keys.len());
        }
        all.retain(|object| !keys.contains(&object.key));
        Ok(())
    }

    /// Makes few objects of many. Answers those that there are then.
    async fn merge(&mut self, folder: &str, loose: Vec<Stored>) -> Result<Vec<Stored>, PortError> {
        let archives = &self.world.archives;
        let (mut left, mut kept) = (loose.into_iter().peekable(), Vec::new());
        while let Some(first) = left.next() {
            let (mut group, mut bytes) = (vec![first.key.clone()], first.size);
            while let Some(next) = left.next_if(|next| bytes.saturating_add(next.size) <= MERGED_BYTES) {
                bytes = bytes.saturating_add(next.size);
                group.push(next.key);
            }
            if group.len() == 1 || !self.opens(group.len().saturating_mul(2)) {
                // What is not merged now is packed as it is, or merged by the next run.
                kept.push(first);
                if group.len() > 1 {
                    return Err(PortError::new("compact", "enough for this time"));
                }
                continue;
            }
            let keys: Vec<&str> = group.iter().map(String::as_str).collect();
            let lines = self.lines(&keys, &["\"device_id\":\""]).await?;
            if self.measure(&keys).await? != length(lines.len()) {
                return Err(unreadable(folder, "not every line was read"));
            }
            let object = pack::merged(folder, &lines).map_err(|why| unreadable(folder, why))?;
            let new = NewObject {
                key: &object.key,
                body: object.body.as_bytes(),
                content_type: NDJSON,
                encoding: Encoding::Gzip,
                label: object.label.as_deref(),
            };
            archives.put_new(new).await?;
            if archives.get(&object.key).await?.as_deref() != Some(object.body.as_bytes()) {
                return Err(unreadable(&object.key, "is not what was written"));
            }
            // One that was made of the others by a run that was cut off is what they become again.
            group.retain(|key| *key != object.key);
            for keys in group.chunks(DELETED) {
                archives.discard(keys).await?;
            }
            self.done.merged = self.done.merged.saturating_add(group.len());
            kept.push(Stored { key: object.key, size: bytes, uploaded: first.uploaded });
        }
        Ok(kept)
    }

    async fn lines(&self, keys: &[&str], needles: &[&str]) -> Result<String, PortError> {
        self.world.archives.lines_with(keys, needles, MOST_BYTES).await
    }

    /// What these objects hold together, in bytes.
    async fn measure(&self, keys: &[&str]) -> Result<u64, PortError> {
        let mut bytes = 0_u64;
        for key in keys {
            let size = self.world.archives.measure(key).await?;
            bytes = bytes.saturating_add(size.ok_or_else(|| unreadable(key, "is gone"))?);
        }
        Ok(bytes)
    }

    /// What packs of the folder have already of the devices of a pack.
    async fn earlier(
        &self,
        folder: &str,
        all: &[Stored],
        later: &Pack,
        part: &Part<'_>,
    ) -> Result<Pack, PortError> {
        let devices: Vec<DeviceId> = later.devices.iter().map(|(device, _)| device.clone()).collect();
        let wanted = Wanted { part: *part, devices, hour: None };
        let mut lines = String::new();
        Reader::new(&self.world.archives).packed(folder, all, &wanted, &mut lines).await?;
        pack::pack(&lines, part, &Pack::default()).map_err(|why| unreadable(folder, why))
    }

    /// Packs a shard out of lines among which are its own, and writes its index once the pack was read back.
    async fn shard(
        &mut self,
        folder: &str,
        all: &[Stored],
        lines: &str,
        part: &Part<'_>,
    ) -> Result<(), PortError> {
        let archives = &self.world.archives;
        let pack = |earlier: &Pack| pack::pack(lines, part, earlier).map_err(|why| unreadable(folder, why));
        let mut packed = pack(&Pack::default())?;
        if all.iter().any(|object| matches!(Kind::of(&object.key), Kind::Manifest(_))) {
            packed = pack(&self.earlier(folder, all, &packed, part).await?)?;
        }
        self.repair(&packed).await?;
        let key = part.packed(folder);
        let lengths = archives.pack(&key, &packed.text, &packed.ends).await?;
        if !lengths.is_empty()
            && archives.unpack(&key, 0, &lengths).await?.as_deref() != Some(packed.text.as_str())
        {
            return Err(unreadable(&key, "is not what was written"));
        }
        let (key, index) = (part.index(folder), pack::index(&packed, &lengths));
        let new = NewObject {
            key: &key,
            body: index.as_bytes(),
            content_type: NDJSON,
            encoding: Encoding::Gzip,
            label: None,
        };
        archives.put_new(new).await.map(drop)
    }

    /// Counts what is archived and was not.
    async fn repair(&mut self, packed: &Pack) -> Result<(), PortError> {
        let mut keys: Vec<Key> = Vec::new();
        for message in &packed.messages {
            let key = key_of(message);
            if !keys.iter().rev().take_while(|(device, _)| *device == key.0).any(|other| *other == key) {
                keys.push(key);
            }
        }
        let (mut writes, mut late, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for keys in keys.chunks(READ) {
            for (key, slot) in load(&self.world.db, keys).await?.0 {
                let (mut rollup, generation) = match slot {
                    Slot::Sealed => {
                        late.push(key);
                        continue;
                    }
                    Slot::Erased => continue,
                    Slot::Empty => (Rollup::default(), 0),
                    // Whether what it has forgotten was counted it cannot tell.
                    Slot::Open(rollup, _) if !rollup.remembers_all() => continue,
                    Slot::Open(rollup, generation) => (rollup, generation),
                };
                let begin = packed.messages.partition_point(|message| message.device < key.0);
                let (device, mut adds) = (&key.0, Adds::default());
                for message in packed.messages.iter().skip(begin).take_while(|other| other.device == *device)
                {
                    if message.event_time().hour() == key.1 && rollup.merge(message) == Merge::Counted {
                        self.done.repaired = self.done.repaired.saturating_add(1);
                        adds.count(&Line::of(message));
                        events.extend(events_of(message).iter().map(event_row));
                    }
                }
                if adds.messages > 0 {
                    writes.push(Write { key, rollup, generation: generation.saturating_add(1), adds });
                }
            }
        }
        if writes.is_empty() && late.is_empty() {
            return Ok(());
        }
        let unwritable = |error: json::Error| PortError::new("repair", error.to_string());
        let late: Vec<_> = late.iter().map(|(device, hour)| (device, *hour)).collect();
        let beside = vec![
            telemetry::record_events(&events).map_err(unwritable)?,
            seals::mark(&late).map_err(unwritable)?,
        ];
        // Those that somebody else wrote in between were known to them, or the next run finds them.
        write(&self.world.db, writes, beside, PATIENCE, Door::Archive, Tally::default()).await.map(drop)
    }

    /// Looks whether the packs have every line of their sources, and says so.
    async fn manifest(
        &mut self,
        folder: &str,
        keys: &[&str],
        digest: &str,
        of: u32,
    ) -> Result<(), PortError> {
        let mut sum = Head::default();
        for shard in 0..of {
            let key = Part { digest, shard, of }.index(folder);
            let index = self.world.archives.get(&key).await?.ok_or_else(|| unreadable(&key, "is gone"))?;
            let first = index.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let head: Head = parsed(&key, first)?;
            sum.read_bytes = sum.read_bytes.saturating_add(head.read_bytes);
            sum.lines = sum.lines.saturating_add(head.lines);
            sum.duplicates = sum.duplicates.saturating_add(head.duplicates);
        }
        let there = self.measure(keys).await?;
        if sum.read_bytes != there {
            return Err(unreadable(folder, format!("{} bytes of {there} are packed", sum.read_bytes)));
        }
        let sources = keys.iter().map(|key| (*key).to_owned()).collect();
        let manifest = Manifest { sources, shards: of, lines: sum.lines, duplicates: sum.duplicates };
        let document = json::write(&manifest).map_err(|error| unreadable(folder, error.to_string()))?;
        let new = NewObject {
            key: &pack::manifest(folder, digest),
            body: document.as_bytes(),
            content_type: JSON,
            encoding: Encoding::Identity,
            label: None,
        };
        if self.world.archives.put_new(new).await? {
            let Head { lines: messages, duplicates, read_bytes: bytes, .. } = sum;
            let objects = length(keys.len());
            let done = Compacted { hours: 1, messages, duplicates, bytes, objects };
            run(&self.world.db, [tallies::compacted(&done)]).await?;
        }
        self.done.packed = self.done.packed.saturating_add(sum.lines);
        self.done.duplicates = self.done.duplicates.saturating_add(sum.duplicates);
        Ok(())
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

const _: () = assert!(FIRST >= 2 && LAST < AGAIN[0]);
