//! What came since ever, and what was done with it: counters that never go down.
//!
//! A batch's [`Tally`] goes along with its rollups in [`write_rollups`](crate::telemetry::write_rollups), and a trigger counts what that
//! statement writes: one row more a batch, and no statement. So messages are counted as exactly as they are in rollups. What a rollup
//! does not know is counted when it was found: what was found and could not be written is not, and what is found again is again.

use rs1_domain::UnixMillis;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_telemetry::batch::{Plan, Taken, Write};
use serde::{Deserialize, Serialize};

/// How telemetry came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// By the message.
    #[default]
    Webhook,
    /// By the object.
    Objects,
    /// It was archived and not counted, and found by what compacts the archive.
    Archive,
}

impl Door {
    /// The word in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Objects => "objects",
            Self::Archive => "archive",
        }
    }
}

/// What is counted of a batch besides its rollups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Messages that had been counted before, of hours that get nothing new; those of the others go with their rollups.
    pub duplicates: u64,
    /// Messages of sealed hours.
    pub late: u64,
    /// Put into quarantine: no messages of ours.
    pub malformed: u64,
    /// Put into quarantine: messages of devices that are not enrolled.
    pub not_enrolled: u64,
    /// Put into quarantine: objects that are missing, or cannot be read to their end.
    pub damaged: u64,
    /// Objects of the archive that were written.
    pub objects: u64,
    /// When the batch was taken; none for a part of one, or for one that was counted before in vain.
    #[serde(with = "as_optional_millis")]
    pub taken_at: Option<UnixMillis>,
    /// Milliseconds that its oldest message had been waiting.
    pub oldest_age: i64,
}

impl Tally {
    /// What a plan found besides what goes with its rollups.
    pub fn of(plan: &Plan) -> Self {
        let Taken { repeated, late, .. } = plan.taken;
        let duplicates = Self::repeated(number(repeated), &plan.writes);
        Self { duplicates, late: number(late), ..Self::default() }
    }

    /// Of so many messages that had been counted before, those that do not go with a rollup.
    pub fn repeated(all: u64, writes: &[Write]) -> u64 {
        writes.iter().fold(all, |rest, write| rest.saturating_sub(write.adds.duplicates))
    }

    /// Whether there is nothing to be counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What came by a door, since ever.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Came {
    /// The door.
    pub door: Door,
    /// Messages counted in rollups, each id once.
    pub received: u64,
    /// Bytes of their lines in the archive, before compression.
    pub archived_bytes: u64,
    /// Messages that had been counted before.
    pub duplicates: u64,
    /// Messages of sealed hours.
    pub late: u64,
    /// In quarantine: no messages of ours.
    pub malformed: u64,
    /// In quarantine: messages of devices that are not enrolled.
    pub not_enrolled: u64,
    /// In quarantine: objects that are missing, or cannot be read to their end.
    pub damaged: u64,
    /// Objects of the archive that were written.
    pub objects: u64,
    /// When the latest batch was taken.
    #[serde(with = "as_optional_millis")]
    pub taken_at: Option<UnixMillis>,
    /// Milliseconds that its oldest message had been waiting.
    pub oldest_age: Option<i64>,
}

/// What [`Came`] by each door.
pub fn came() -> Statement {
    Statement {
        name: "tallies",
        sql: "/* tallies */
            SELECT door, received, archived_bytes, duplicates, late, malformed, not_enrolled, damaged, objects, taken_at, oldest_age
            FROM telemetry_tallies",
        params: Vec::new(),
    }
}

/// Alerts of a kind that were opened, since ever.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// The kind.
    pub kind: rs1_telemetry::alert::Kind,
    /// How many.
    pub opened: u64,
}

/// The alerts that were [`Opened`], of each kind of which there were any.
pub fn opened() -> Statement {
    Statement {
        name: "alert_tallies",
        sql: "/* alert_tallies */ SELECT kind, opened FROM alert_tallies",
        params: Vec::new(),
    }
}

/// What the care of the archive and the rollups came to, since ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Upkeep {
    /// Hours that were compared with the archive to their end.
    pub hours_sealed: u64,
    /// Rollups that were compared.
    pub rollups_checked: u64,
    /// Of these: were not what the archive holds.
    pub rollups_differing: u64,
    /// Rollups that were made anew of the archive.
    pub rollups_repaired: u64,
    /// Times that an hour of the archive was packed.
    pub hours_compacted: u64,
    /// Lines that were packed.
    pub compacted_messages: u64,
    /// Lines that stood twice and were left out.
    pub compacted_duplicates: u64,
    /// Bytes that were read for it, before compression.
    pub compacted_bytes: u64,
    /// Loose objects that packs stand for.
    pub compacted_objects: u64,
}

/// The [`Upkeep`].
pub fn upkeep() -> Statement {
    Statement {
        name: "upkeep",
        sql: "/* upkeep */
            SELECT hours_sealed, rollups_checked, rollups_differing, rollups_repaired, hours_compacted, compacted_messages,
              compacted_duplicates, compacted_bytes, compacted_objects
            FROM telemetry_upkeep WHERE id = 1",
        params: Vec::new(),
    }
}

/// What packing hours of the archive came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Hours.
    pub hours: u32,
    /// Lines.
    pub messages: u64,
    /// Lines that stood twice and were left out.
    pub duplicates: u64,
    /// Bytes that were read, before compression.
    pub bytes: u64,
    /// Objects that the packs stand for.
    pub objects: u64,
}

/// Adds what was packed.
pub fn compacted(done: &Compacted) -> Statement {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX).into();
    Statement {
        name: "tally_compacted",
        sql: "/* tally_compacted */
            UPDATE telemetry_upkeep SET hours_compacted = hours_compacted + ?1, compacted_messages = compacted_messages + ?2,
              compacted_duplicates = compacted_duplicates + ?3, compacted_bytes = compacted_bytes + ?4,
              compacted_objects = compacted_objects + ?5
            WHERE id = 1",
        params: vec![
            done.hours.into(),
            count(done.messages),
            count(done.duplicates),
            count(done.bytes),
            count(done.objects),
        ],
    }
}

/// An hour of the fleet in two numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LatestHour {
    /// When it began.
    #[serde(with = "as_millis")]
    pub began_at: UnixMillis,
    /// Devices of which messages were counted.
    pub devices: u64,
    /// Messages.
    pub messages: u64,
}

/// The [`LatestHour`] that was added up, if that is one from `from_hour` on.
pub fn latest_hour(from_hour: i64) -> Statement {
    Statement {
        name: "fleet_latest_hour",
        sql: "/* fleet_latest_hour */
            SELECT hour * 3600000 AS began_at, devices, messages FROM fleet_hours
            WHERE hour >= ?1 ORDER BY hour DESC LIMIT 1",
        params: vec![from_hour.into()],
    }
}
