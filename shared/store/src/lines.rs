//! A device's lines in an hour of the archive, wherever they lie.

use rs1_domain::port::{Archive, Listed, Packs, PortError};
use rs1_domain::{DeviceId, json};
use rs1_telemetry::archive::may_hold;
use rs1_telemetry::pack::{self, Entry, Kind};
use rs1_telemetry::series;

/// Most bytes of archive lines that an hour of one device may have; at a message a minute it has 40 KB.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of an index that are about one device.
const MOST_ENTRY: usize = 1_024;

/// All objects whose keys begin like this.
///
/// # Errors
/// When the archive cannot be reached.
pub async fn list(archives: &impl Archive, prefix: &str) -> Result<Vec<Listed>, PortError> {
    let (mut objects, mut after) = (Vec::new(), None::<String>);
    loop {
        let listing = archives.list(prefix, after.as_deref()).await?;
        after = listing.objects.last().map(|object| object.key.clone());
        objects.extend(listing.objects);
        if !listing.more {
            return Ok(objects);
        }
    }
}

/// A device's lines among an hour's objects: those that lie loose, and those that the index of its shard points to. Some may stand
/// in both, while the hour is being packed.
///
/// # Errors
/// When the archive cannot be reached, or has what we do not write.
pub async fn of_hour(
    archives: &(impl Archive + Packs),
    device: &DeviceId,
    folder: &str,
    objects: &[Listed],
) -> Result<String, PortError> {
    let keys = || objects.iter().map(|object| object.key.as_str());
    let whole = pack::whole(keys());
    let loose = objects
        .iter()
        .filter(|object| Kind::of(&object.key) == Kind::Loose && may_hold(object.label.as_deref(), device));
    let loose: Vec<_> = loose.map(|object| object.key.as_str()).collect();
    let mut lines = String::new();
    if !loose.is_empty() {
        lines = archives.lines_with(&loose, &[&series::needle(device)], MOST_BYTES).await?;
    }
    for key in keys() {
        let Kind::Index(part) = Kind::of(key) else { continue };
        if !whole.contains(part.digest) || !part.has(device) {
            continue;
        }
        let entry = archives.lines_with(&[key], &[device.as_str()], MOST_ENTRY).await?;
        if entry.is_empty() {
            continue;
        }
        let Entry { offset, length, .. } =
            json::read(entry.trim_end()).map_err(|error| PortError::new(key, error.to_string()))?;
        let key = part.packed(folder);
        let packed = archives.unpack(&key, offset, &[length]).await?;
        lines.push_str(&packed.ok_or_else(|| PortError::new(key, "is gone"))?);
    }
    Ok(lines)
}
