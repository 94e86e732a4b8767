//! Reads out of the archive what it holds about an hour, however it lies there: in packs, of which only the members that an index
//! points to are read, and loose beside them.

use std::rc::Rc;

use rs1_domain::port::{Archive, Bucket, Packs, PortError, Shelf, Stored};
use rs1_domain::{DeviceId, json};
use rs1_telemetry::Rollup;
use rs1_telemetry::archive::folder;
use rs1_telemetry::pack::{self, Entry, Kind, Pack, Part};
use rs1_telemetry::queued::received_hours;
use rs1_telemetry::{recount, series};

/// Most bytes of the lines that lie in memory at once.
pub(crate) const MOST_BYTES: usize = 40 * 1024 * 1024;

/// Whose lines are wanted, and about when.
pub(crate) struct Wanted<'a> {
    /// A shard's devices'.
    pub(crate) part: Part<'a>,
    /// Only these of them, in order; none for all.
    pub(crate) devices: Vec<DeviceId>,
    /// Only those about that hour.
    pub(crate) hour: Option<i64>,
}

impl Wanted<'_> {
    fn has(&self, entry: &Entry) -> bool {
        self.hour.is_none_or(|hour| entry.may_tell_of(hour))
            && self.part.has(&entry.device_id)
            && (self.devices.is_empty() || self.devices.binary_search(&entry.device_id).is_ok())
    }

    fn needles(&self) -> Vec<String> {
        if self.devices.is_empty() {
            return self.part.needles();
        }
        self.devices.iter().map(series::needle).collect()
    }
}

/// The archive, and how often it was asked.
pub(crate) struct Reader<'a, A> {
    archives: &'a A,
    /// Calls that were made.
    pub(crate) calls: usize,
    /// What was found in folders, for who need not see it anew each time.
    found: Option<Vec<(String, Rc<[Stored]>)>>,
}

impl<'a, A: Archive + Bucket + Packs + Shelf> Reader<'a, A> {
    /// One that looks anew each time.
    pub(crate) fn new(archives: &'a A) -> Self {
        Self { archives, calls: 0, found: None }
    }

    /// One that lists a folder once, for who reads the same ones shard by shard: a listing costs what a write does. What it
    /// has not seen, because it came meanwhile, must not matter to him.
    pub(crate) fn remembering(archives: &'a A) -> Self {
        Self { found: Some(Vec::new()), ..Self::new(archives) }
    }

    fn called(&mut self, times: usize) {
        self.calls = self.calls.saturating_add(times);
    }

    /// Every object of a folder, or what is remembered of it.
    pub(crate) async fn look(&mut self, folder: &str) -> Result<Rc<[Stored]>, PortError> {
        let known = self.found.iter().flatten().find(|(known, _)| known == folder);
        if let Some((_, objects)) = known {
            return Ok(Rc::clone(objects));
        }
        let objects: Rc<[Stored]> = self.list(folder).await?.into();
        if let Some(found) = &mut self.found {
            found.push((folder.to_owned(), Rc::clone(&objects)));
        }
        Ok(objects)
    }

    /// Every object whose key begins like this, as it is now.
    pub(crate) async fn list(&mut self, prefix: &str) -> Result<Vec<Stored>, PortError> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            self.called(1);
            let page = self.archives.inventory(prefix, cursor.as_deref()).await?;
            all.extend(page.objects);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// The first key that begins like this.
    pub(crate) async fn oldest(&mut self, prefix: &str) -> Result<Option<String>, PortError> {
        self.called(1);
        let page = self.archives.inventory(prefix, None).await?;
        Ok(page.objects.into_iter().next().map(|object| object.key))
    }

    /// The rollups of an hour, as what is archived makes them, by device.
    pub(crate) async fn rollups(
        &mut self,
        hour: i64,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<(DeviceId, Rollup)>, PortError> {
        let mut lines = String::new();
        for received in received_hours(hour) {
            let prefix = folder(received);
            let objects = self.look(&prefix).await?;
            self.packed(&prefix, &objects, wanted, &mut lines).await?;
            let mut loose: Vec<&str> = Vec::new();
            for object in objects.iter() {
                if Kind::of(&object.key) == Kind::Loose {
                    loose.push(&object.key);
                }
            }
            if loose.is_empty() {
                continue;
            }
            let needles = wanted.needles();
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            self.called(loose.len());
            lines.push_str(&self.archives.lines_with(&loose, &needles, MOST_BYTES).await?);
            // What was packed meanwhile is gone from where it lay, and would be missing.
            let there = self.list(&prefix).await?;
            if !loose.iter().all(|key| there.iter().any(|object| object.key == *key)) {
                return Err(PortError::new(prefix, "is being packed"));
            }
        }
        let pack = pack::pack(&lines, &wanted.part, &Pack::default())
            .map_err(|why| PortError::new("recount", why))?;
        Ok(recount::rollups(&pack, hour))
    }

    /// Adds the lines that are wanted, out of a folder's packs that are whole.
    pub(crate) async fn packed(
        &mut self,
        folder: &str,
        objects: &[Stored],
        wanted: &Wanted<'_>,
        lines: &mut String,
    ) -> Result<(), PortError> {
        let whole = pack::whole(objects.iter().map(|object| object.key.as_str()));
        for object in objects {
            let key = object.key.as_str();
            let Kind::Index(part) = Kind::of(key) else { continue };
            if !whole.contains(part.digest) || !part.meets(&wanted.part) {
                continue;
            }
            let gone = |key: &str| PortError::new(key, "is gone");
            self.called(1);
            let index = self.archives.get(key).await?.ok_or_else(|| gone(key))?;
            let packed = part.packed(folder);
            for (offset, lengths) in runs(key, &index, wanted)? {
                self.called(1);
                let text = self.archives.unpack(&packed, offset, &lengths).await?;
                lines.push_str(&text.ok_or_else(|| gone(&packed))?);
            }
        }
        Ok(())
    }
}

/// Where the members of an index's wanted entries are: those that lie side by side are read at once.
fn runs(key: &str, index: &[u8], wanted: &Wanted<'_>) -> Result<Vec<(u64, Vec<u32>)>, PortError> {
    let (mut runs, mut follows): (Vec<(u64, Vec<u32>)>, bool) = (Vec::new(), false);
    for line in String::from_utf8_lossy(index).lines().skip(1) {
        let entry: Entry = json::read(line).map_err(|error| PortError::new(key, error.to_string()))?;
        let is_wanted = wanted.has(&entry);
        if is_wanted {
            match runs.last_mut().filter(|_| follows) {
                Some((_, lengths)) => lengths.push(entry.length),
                None => runs.push((entry.offset, vec![entry.length])),
            }
        }
        follows = is_wanted;
    }
    Ok(runs)
}
