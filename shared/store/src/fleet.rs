//! The whole fleet in numbers.
//!
//! [`versions`] and [`people`] are the only statements that read a whole table; their answers are kept for a minute, so that the database
//! sees them once a minute at most, whoever looks. What is asked about a time is read from rows an hour, which are added up
//! once, a thousand devices a statement ([`crate::hours`]).

use rs1_domain::json;
use rs1_domain::port::{Database, PortError, Statement};
use rs1_domain::time::{DAY, HOUR};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_telemetry::alert::Kind;
use serde::{Deserialize, Serialize};

use crate::sql::{rows, run};

/// The devices of one variant and version.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCounts {
    /// The variant; null while it is not known.
    pub product_sku: Option<String>,
    /// The version; null while it is not known.
    pub firmware_version: Option<String>,
    /// Devices.
    pub devices: i64,
    /// Those that are connected.
    pub online: i64,
    /// Those that were heard of lately.
    pub active_24h: i64,
    /// Those that have reported for duty.
    pub provisioned: i64,
    /// Those that somebody owns.
    pub owned: i64,
}

/// The [`VersionCounts`] of the fleet; active is what was heard of since `since`.
pub fn versions(since: UnixMillis) -> Statement {
    Statement {
        name: "fleet_versions",
        sql: "/* fleet_versions */
            SELECT product_sku, firmware_version, count(*) AS devices, sum(online) AS online,
              sum(coalesce(last_seen_at, 0) >= ?1) AS active_24h, sum(provisioned_at IS NOT NULL) AS provisioned,
              sum(EXISTS (SELECT 1 FROM device_access AS a WHERE a.device_id = devices.device_id AND a.role = 'owner')) AS owned
            FROM devices GROUP BY firmware_version, product_sku",
        params: vec![since.into()],
    }
}

/// The people in numbers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeopleCounts {
    /// Who ever signed in.
    pub total: i64,
    /// Whose app was in use lately.
    pub active_24h: i64,
}

/// The [`PeopleCounts`]; active is who signed in or refreshed since `since`.
pub fn people(since: UnixMillis) -> Statement {
    Statement {
        name: "fleet_people",
        sql: "/* fleet_people */
            SELECT (SELECT count(*) FROM users) AS total,
              (SELECT count(DISTINCT user_id) FROM sessions WHERE refreshed_at >= ?1) AS active_24h",
        params: vec![since.into()],
    }
}

/// The devices in numbers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeviceStats {
    /// Enrolled.
    pub total: i64,
    /// Connected.
    pub online: i64,
    /// Heard of within a day.
    pub active_24h: i64,
    /// That have reported for duty at least once.
    pub provisioned: i64,
    /// That somebody owns.
    pub owned: i64,
}

impl DeviceStats {
    /// All versions together.
    pub fn of(versions: &[VersionCounts]) -> Self {
        versions.iter().fold(Self::default(), |sum, one| Self {
            total: sum.total.saturating_add(one.devices),
            online: sum.online.saturating_add(one.online),
            active_24h: sum.active_24h.saturating_add(one.active_24h),
            provisioned: sum.provisioned.saturating_add(one.provisioned),
            owned: sum.owned.saturating_add(one.owned),
        })
    }
}

/// The alerts of a kind that are not over.
#[derive(Clone, Debug, Deserialize)]
pub struct AlertCounts {
    /// The kind.
    pub kind: Kind,
    /// Of which nobody said that they know.
    pub open: i64,
    /// Of which somebody did.
    pub acknowledged: i64,
}

/// The [`AlertCounts`] of the fleet.
pub fn alerts() -> Statement {
    Statement {
        name: "fleet_alerts",
        sql: "/* fleet_alerts */
            SELECT kind, sum(acknowledged_at IS NULL) AS open, sum(acknowledged_at IS NOT NULL) AS acknowledged
            FROM alerts WHERE resolved_at IS NULL GROUP BY kind",
        params: Vec::new(),
    }
}

/// How the fleet is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetHealth {
    /// When it was counted; at most a minute ago.
    pub counted_at: UnixMillis,
    /// The devices.
    pub devices: DeviceStats,
    /// The alerts that are not over, by type.
    pub alerts: Vec<OpenAlerts>,
    /// The devices by variant and version.
    pub versions: Vec<VersionCounts>,
}

/// The alerts of a type that are not over.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenAlerts {
    /// What is wrong: `low_memory`, `device_offline` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// Of which nobody said that they know.
    pub open: i64,
    /// Of which somebody did.
    pub acknowledged: i64,
}

/// The key of the fleet's health in KV, and how long it is good, in seconds.
pub const HEALTH: (&str, u32) = ("fleet-health", 60);

/// How the fleet is now. It reads the whole registry, so what it answers is to be kept under [`HEALTH`].
///
/// # Errors
/// When the database fails.
pub async fn health(db: &impl Database, now: UnixMillis) -> Result<FleetHealth, PortError> {
    let [versions, alerts] = run(db, [versions(now.plus(-DAY)), alerts()]).await?;
    let versions = rows::<VersionCounts>(&versions)?;
    let open = |AlertCounts { kind, open, acknowledged }| OpenAlerts {
        kind: kind.as_str().to_owned(),
        severity: kind.severity().as_str().to_owned(),
        open,
        acknowledged,
    };
    let alerts = rows::<AlertCounts>(&alerts)?.into_iter().map(open).collect();
    Ok(FleetHealth { counted_at: now, devices: DeviceStats::of(&versions), alerts, versions })
}

/// What is known of a metric in an hour of the fleet, or of a part of it; as a row, and as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSum {
    /// The metric's name.
    pub name: String,
    /// Messages that carried it.
    pub count: i64,
    /// The sum of its values.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl MetricSum {
    /// Takes in what is known of the same metric elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Takes `other` into the list of those that are known.
    pub fn add_to(all: &mut Vec<Self>, other: Self) {
        match all.iter_mut().find(|known| known.name == other.name) {
            Some(known) => known.add(&other),
            None => all.push(other),
        }
    }
}

/// The [`MetricSum`]s of the metrics that are stored like that in an hour, of the devices after `after` up to `last`; and one without a
/// name, which counts the devices that said anything and sums up their messages.
///
/// # Errors
/// When the list cannot be written as JSON, which texts always can.
pub fn metrics_of_hour(
    after: &str,
    last: &DeviceId,
    hour: i64,
    metrics: &[&str],
) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "fleet_metrics_of_hour",
        sql: "/* fleet_metrics_of_hour */
            SELECT '' AS name, count(*) AS count, coalesce(sum(r.messages), 0) AS sum, 0 AS min, 0 AS max
            FROM devices AS d CROSS JOIN telemetry_rollups AS r ON r.device_id = d.device_id AND r.hour = ?3
            WHERE d.device_id > ?1 AND d.device_id <= ?2
            UNION ALL
            SELECT m.key, sum(m.value->>0), sum(m.value->>1), min(m.value->>2), max(m.value->>3)
            FROM devices AS d CROSS JOIN telemetry_rollups AS r ON r.device_id = d.device_id AND r.hour = ?3
            CROSS JOIN json_each(r.metrics) AS m
            WHERE d.device_id > ?1 AND d.device_id <= ?2 AND m.key IN (SELECT value FROM json_each(?4))
            GROUP BY m.key",
        params: vec![after.into(), last.as_str().into(), hour.into(), json::write(metrics)?.into()],
    })
}

/// How often something was wrong with a device in an hour.
#[derive(Clone, Debug, Deserialize)]
pub struct Trouble {
    /// The device.
    pub device_id: DeviceId,
    /// `event`: it said so; `alert`: one was opened.
    pub source: String,
    /// Of which kind.
    pub kind: String,
    /// How often.
    pub count: i64,
}

/// The [`Trouble`] of an hour, of the devices after `after` up to `last`: events of those kinds, and alerts that were opened.
///
/// # Errors
/// When the list cannot be written as JSON, which texts always can.
pub fn trouble_of_hour(
    after: &str,
    last: &DeviceId,
    hour: i64,
    kinds: &[&str],
) -> Result<Statement, json::Error> {
    let at = |hour: i64| UnixMillis(hour.saturating_mul(HOUR));
    let (begin, end) = (at(hour), at(hour.saturating_add(1)));
    let border = |at| RecordId::generate("alr", at, [0; 10]);
    Ok(Statement {
        name: "fleet_trouble_of_hour",
        sql: "/* fleet_trouble_of_hour */
            SELECT d.device_id, 'event' AS source, e.kind, sum(e.count) AS count
            FROM devices AS d CROSS JOIN telemetry_events AS e ON e.device_id = d.device_id AND e.at >= ?3 AND e.at < ?4
            WHERE d.device_id > ?1 AND d.device_id <= ?2 AND e.kind IN (SELECT value FROM json_each(?5))
            GROUP BY d.device_id, e.kind
            UNION ALL
            SELECT d.device_id, 'alert', a.kind, count(*)
            FROM devices AS d CROSS JOIN alerts AS a ON a.device_id = d.device_id AND a.alert_id >= ?6 AND a.alert_id < ?7
            WHERE d.device_id > ?1 AND d.device_id <= ?2 GROUP BY d.device_id, a.kind",
        params: vec![
            after.into(),
            last.as_str().into(),
            begin.into(),
            end.into(),
            json::write(kinds)?.into(),
            border(begin).as_str().into(),
            border(end).as_str().into(),
        ],
    })
}

/// How often something was wrong, of a kind.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "FleetError"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// `event`: devices said so in their log lines; `alert`: alerts that were opened.
    pub source: String,
    /// A kind of event, a type of alert.
    pub kind: String,
    /// How often.
    pub count: i64,
}

impl ErrorCount {
    /// Takes `other` into the list of those that are known.
    pub fn add_to(all: &mut Vec<Self>, other: Self) {
        match all.iter_mut().find(|known| known.source == other.source && known.kind == other.kind) {
            Some(known) => known.count = known.count.saturating_add(other.count),
            None => all.push(other),
        }
    }
}

/// A device, and how often something was wrong with it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubledDevice {
    /// The device.
    pub device_id: DeviceId,
    /// So often it said that something went wrong.
    pub events: i64,
    /// So many alerts were opened.
    pub alerts: i64,
}

impl TroubledDevice {
    /// How often something was wrong with it.
    pub fn all(&self) -> i64 {
        self.events.saturating_add(self.alerts)
    }
}

/// An hour of the fleet.
#[derive(Clone, Debug)]
pub struct FleetHour {
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
    /// Devices of which messages were counted.
    pub devices: i64,
    /// Messages.
    pub messages: i64,
    /// The contract's metrics.
    pub metrics: Vec<MetricSum>,
    /// What went wrong.
    pub errors: Vec<ErrorCount>,
    /// With how many devices.
    pub troubled: i64,
    /// With which most.
    pub worst: Vec<TroubledDevice>,
}

/// Writes an hour in place of the one that may be there. Three statements for one transaction.
///
/// # Errors
/// When it cannot be written as JSON, which these types always can.
pub fn write_hour(hour: &FleetHour, now: UnixMillis) -> Result<[Statement; 3], json::Error> {
    Ok([
        Statement {
            name: "fleet_write_hour",
            sql: "/* fleet_write_hour */
                INSERT INTO fleet_hours (hour, devices, messages, metrics, errors, troubled, made_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                ON CONFLICT (hour) DO UPDATE SET devices = excluded.devices, messages = excluded.messages,
                  metrics = excluded.metrics, errors = excluded.errors, troubled = excluded.troubled, made_at = excluded.made_at",
            params: vec![
                hour.hour.into(),
                hour.devices.into(),
                hour.messages.into(),
                json::write(&hour.metrics)?.into(),
                json::write(&hour.errors)?.into(),
                hour.troubled.into(),
                now.into(),
            ],
        },
        Statement {
            name: "fleet_forget_troubled",
            sql: "/* fleet_forget_troubled */ DELETE FROM fleet_troubled WHERE hour = ?1",
            params: vec![hour.hour.into()],
        },
        Statement {
            name: "fleet_write_troubled",
            sql: "/* fleet_write_troubled */
                INSERT INTO fleet_troubled (hour, device_id, events, alerts)
                SELECT ?1, value->>'device_id', value->>'events', value->>'alerts' FROM json_each(?2)
                WHERE EXISTS (SELECT 1 FROM devices WHERE device_id = value->>'device_id' AND erased_before <= ?1)
                ON CONFLICT (hour, device_id) DO UPDATE SET events = excluded.events, alerts = excluded.alerts",
            params: vec![hour.hour.into(), json::write(&hour.worst)?.into()],
        },
    ])
}

/// A stored hour of the fleet.
#[derive(Clone, Debug, Deserialize)]
pub struct HourRow {
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
    /// Devices of which messages were counted.
    pub devices: i64,
    /// Messages.
    pub messages: i64,
    /// JSON: [`MetricSum`]s.
    pub metrics: String,
    /// JSON: [`ErrorCount`]s.
    pub errors: String,
    /// Devices with which something was wrong.
    pub troubled: i64,
}

/// Most hours that there are: those of 30 days, and the one that is pruned next.
const MOST_HOURS: u32 = 721;

/// The [`HourRow`]s from an hour on, oldest first.
pub fn hours(from_hour: i64) -> Statement {
    Statement {
        name: "fleet_hours",
        sql: "/* fleet_hours */
            SELECT hour, devices, messages, metrics, errors, troubled FROM fleet_hours
            WHERE hour >= ?1 ORDER BY hour LIMIT ?2",
        params: vec![from_hour.into(), MOST_HOURS.into()],
    }
}

/// An hour that is there.
#[derive(Clone, Debug, Deserialize)]
pub struct KnownHour {
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
}

/// Which hours are there from an hour on, and are what their rollups say: not those of which some were made anew since.
pub fn known_hours(from_hour: i64) -> Statement {
    Statement {
        name: "fleet_known_hours",
        sql: "/* fleet_known_hours */
            SELECT hour FROM fleet_hours AS f WHERE hour >= ?1 AND NOT EXISTS
              (SELECT 1 FROM telemetry_seals WHERE hour = f.hour AND repaired > 0 AND updated_at >= f.made_at)",
        params: vec![from_hour.into()],
    }
}

/// The `limit` [`TroubledDevice`]s with which most was wrong since an hour.
pub fn troubled(from_hour: i64, limit: u32) -> Statement {
    Statement {
        name: "fleet_troubled",
        sql: "/* fleet_troubled */
            SELECT device_id, sum(events) AS events, sum(alerts) AS alerts FROM fleet_troubled
            WHERE hour >= ?1 GROUP BY device_id ORDER BY sum(events) + sum(alerts) DESC, device_id LIMIT ?2",
        params: vec![from_hour.into(), limit.into()],
    }
}

/// Deletes hours before `before_hour`. Two statements.
pub fn prune(before_hour: i64) -> [Statement; 2] {
    [
        Statement {
            name: "fleet_prune_hours",
            sql: "/* fleet_prune_hours */ DELETE FROM fleet_hours WHERE hour < ?1",
            params: vec![before_hour.into()],
        },
        Statement {
            name: "fleet_prune_troubled",
            sql: "/* fleet_prune_troubled */ DELETE FROM fleet_troubled WHERE hour < ?1",
            params: vec![before_hour.into()],
        },
    ]
}
