//! `GET /api/admin/metrics`: the fleet and the pipeline in Prometheus' text format, for the operators' Prometheus.
//!
//! Counters come out of rows that are kept as things happen ([`rs1_store::tallies`]), so that a scrape reads a few dozen rows, however many
//! devices there are. What is counted by looking at the whole registry comes out of the answer of
//! `/api/admin/telemetry/health` that is kept in KV, and is at most a minute old.

use rs1_api::kept::kept;
use rs1_api::query::Query;
use rs1_domain::exposition::{Exposition, seconds, timestamp};
use rs1_domain::http::METRICS;
use rs1_domain::port::{Database, KeyValue};
use rs1_domain::{Answer, Problem, Request, json};
use rs1_store::cron::{self, WorkerRun};
use rs1_store::fleet::{self, FleetHealth, HEALTH, VersionCounts};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::tallies::{self, Came, LatestHour, Opened, Upkeep};
use rs1_telemetry::alert::Kind;

/// Versions that are named. Devices say theirs themselves, so there may be any number; those of the fewest devices are `other`.
const MOST_VERSIONS: usize = 20;

/// How old the latest hour of the fleet may be to be told of, in hours.
const LATEST: i64 = 24;

/// What is measured.
pub(crate) struct Measured {
    pub(crate) fleet: FleetHealth,
    pub(crate) came: Vec<Came>,
    pub(crate) opened: Vec<Opened>,
    pub(crate) upkeep: Upkeep,
    pub(crate) hour: Option<LatestHour>,
    pub(crate) crons: Vec<WorkerRun>,
}

/// The metrics.
///
/// # Errors
/// 422 for parameters, 503 when the database fails.
pub async fn show(db: &impl Database, cache: &impl KeyValue, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let fleet = kept(cache, HEALTH, async || Ok(fleet::health(db, request.now).await?)).await?;
    let hour = tallies::latest_hour(request.now.hour().saturating_sub(LATEST));
    let statements = [tallies::came(), tallies::opened(), tallies::upkeep(), hour, cron::all_runs()];
    let [came, opened, upkeep, hour, crons] = run(db, statements).await?;
    let measured = Measured {
        fleet: json::read(&fleet.body)
            .map_err(|error| Problem::internal(format!("{}: {error}", HEALTH.0)))?,
        came: rows(&came)?,
        opened: rows(&opened)?,
        upkeep: first_row(&upkeep)?.ok_or_else(|| Problem::internal("no upkeep"))?,
        hour: first_row(&hour)?,
        crons: rows(&crons)?,
    };
    Ok(Answer { log: fleet.log, ..Answer::text(200, METRICS, render(&measured)) })
}

/// All of it as text.
pub(crate) fn render(measured: &Measured) -> String {
    let mut text = Exposition::default();
    of_messages(&measured.came, &mut text);
    of_upkeep(&measured.upkeep, &mut text);

    let mut opened =
        text.counter("rs1_alerts_opened_total", "Alerts that were opened. Exact: counted with the alert.");
    for kind in Kind::ALL {
        let count = measured.opened.iter().find(|known| known.kind == kind).map_or(0, |known| known.opened);
        opened.sample(&[("type", kind.as_str()), ("severity", kind.severity().as_str())], count);
    }
    of_fleet(measured, &mut text);

    let mut started = text.gauge(
        "rs1_cron_started_timestamp_seconds",
        "When the latest run of a cron trigger began, in seconds since 1970.",
    );
    for WorkerRun { worker, cron, started_at, .. } in &measured.crons {
        started.sample(&[("worker", worker), ("cron", cron)], timestamp(*started_at));
    }
    let mut failed =
        text.gauge("rs1_cron_failed", "Whether the latest run of a cron trigger that has ended failed.");
    for WorkerRun { worker, cron, outcome, .. } in &measured.crons {
        let is_bad = outcome.as_deref() == Some("failed");
        failed.sample(&[("worker", worker), ("cron", cron)], u8::from(is_bad));
    }
    text.into_text()
}

fn of_messages(came: &[Came], text: &mut Exposition) {
    type Count = fn(&Came) -> u64;
    let counters: [(_, _, Count); 5] = [
        (
            "rs1_telemetry_messages_received_total",
            "Messages that were archived and counted in their device's hour, each once however often it came, by the door that it came by \
             first; `archive` for those that compaction found archived and not counted. Exact: counted with the hour.",
            |came| came.received,
        ),
        (
            "rs1_telemetry_messages_duplicate_total",
            "Times that a message came which was counted already: sent again, delivered again by a queue, or gone over again after a \
             failure. Those of a batch whose count failed are missing.",
            |came| came.duplicates,
        ),
        (
            "rs1_telemetry_messages_late_total",
            "Messages that came when their hour was sealed. They are archived, are not among those received, and the hour is made anew \
             (rs1_telemetry_rollups_repaired_total). Nobody knows whether such a message is new. Those of a batch whose count failed are \
             missing.",
            |came| came.late,
        ),
        (
            "rs1_telemetry_archived_bytes_total",
            "Bytes, before compression, of the archive's lines of the messages received. Exact, as they are.",
            |came| came.archived_bytes,
        ),
        (
            "rs1_telemetry_archived_objects_total",
            "Objects that were written to the archive. Those of a batch whose count failed are missing.",
            |came| came.objects,
        ),
    ];
    for (name, help, count) in counters {
        let mut counter = text.counter(name, help);
        for each in came {
            counter.sample(&[("door", each.door.as_str())], count(each));
        }
    }
    let mut invalid = text.counter(
        "rs1_telemetry_messages_invalid_total",
        "What was put into quarantine: `malformed` is no message of ours, `not_enrolled` one of a device that is not, `damaged` an object \
         that is missing or cannot be read to its end. What the webhook refuses (4xx) never gets here: Analytics Engine has it. What was put \
         there by a batch whose count failed is missing.",
    );
    for Came { door, malformed, not_enrolled, damaged, .. } in came {
        for (reason, count) in
            [("malformed", malformed), ("not_enrolled", not_enrolled), ("damaged", damaged)]
        {
            invalid.sample(&[("door", door.as_str()), ("reason", reason)], count);
        }
    }
    let mut age = text.gauge(
        "rs1_telemetry_queue_age_seconds",
        "How long the oldest message of the latest batch had been waiting since the broker received it; an object, since it was uploaded.",
    );
    for Came { door, oldest_age, .. } in came {
        if let Some(oldest_age) = oldest_age {
            age.sample(&[("door", door.as_str())], seconds(*oldest_age));
        }
    }
    let mut taken = text.gauge(
        "rs1_telemetry_batch_timestamp_seconds",
        "When the latest batch was taken, in seconds since 1970.",
    );
    for Came { door, taken_at, .. } in came {
        if let Some(taken_at) = taken_at {
            taken.sample(&[("door", door.as_str())], timestamp(*taken_at));
        }
    }
}

fn of_upkeep(upkeep: &Upkeep, text: &mut Exposition) {
    for (name, help, count) in [
        (
            "rs1_telemetry_compactions_total",
            "Times that an hour of the archive was packed. What a run packed that could not note it is missing, here and below.",
            upkeep.hours_compacted,
        ),
        ("rs1_telemetry_compacted_messages_total", "Lines that were packed.", upkeep.compacted_messages),
        (
            "rs1_telemetry_compacted_duplicates_total",
            "Lines that stood twice in the archive and were left out.",
            upkeep.compacted_duplicates,
        ),
        (
            "rs1_telemetry_compacted_bytes_total",
            "Bytes, before compression, that were read to be packed.",
            upkeep.compacted_bytes,
        ),
        (
            "rs1_telemetry_compacted_objects_total",
            "Loose objects of the archive that packs stand for now.",
            upkeep.compacted_objects,
        ),
        (
            "rs1_telemetry_seals_total",
            "Hours that were compared with the archive to their end.",
            upkeep.hours_sealed,
        ),
        ("rs1_telemetry_rollups_checked_total", "Devices' hours that were compared.", upkeep.rollups_checked),
        (
            "rs1_telemetry_rollups_differing_total",
            "Devices' hours that were not what the archive holds.",
            upkeep.rollups_differing,
        ),
        (
            "rs1_telemetry_rollups_repaired_total",
            "Devices' hours that were made anew of the archive: those, and those of late messages.",
            upkeep.rollups_repaired,
        ),
    ] {
        text.counter(name, help).value(count);
    }
}

fn of_fleet(measured: &Measured, text: &mut Exposition) {
    let Measured { fleet, hour, .. } = measured;
    let devices = &fleet.devices;
    for (name, help, count) in [
        (
            "rs1_fleet_devices",
            "Devices that are enrolled; as the three below at most a minute old.",
            devices.total,
        ),
        ("rs1_fleet_devices_online", "Devices that are connected.", devices.online),
        ("rs1_fleet_devices_active", "Devices that were heard of within a day.", devices.active_24h),
        ("rs1_fleet_devices_owned", "Devices that somebody owns.", devices.owned),
    ] {
        text.gauge(name, help).value(count);
    }
    let mut reporting = text.gauge(
        "rs1_fleet_devices_reporting",
        "Devices of which messages were counted in the latest hour that is over and added up.",
    );
    if let Some(hour) = hour {
        reporting.value(hour.devices);
    }
    let mut by_version = text.gauge(
        "rs1_fleet_version_devices",
        "Devices by the firmware version that they say they run; `unknown` before they do, and `other` for all but the twenty commonest.",
    );
    for (version, count) in commonest(&fleet.versions) {
        by_version.sample(&[("firmware_version", &version)], count);
    }
    let mut alerts =
        text.gauge("rs1_fleet_alerts_open", "Alerts that are not over, and whether somebody knows.");
    for kind in Kind::ALL {
        let known = fleet.alerts.iter().find(|known| known.kind == kind.as_str());
        let severity = kind.severity().as_str();
        let counts = known.map_or([0, 0], |known| [known.open, known.acknowledged]);
        for (count, acknowledged) in counts.into_iter().zip(["false", "true"]) {
            let labels = [("type", kind.as_str()), ("severity", severity), ("acknowledged", acknowledged)];
            alerts.sample(&labels, count);
        }
    }
}

/// The devices of each version, the commonest first, and of all others together.
fn commonest(versions: &[VersionCounts]) -> Vec<(String, i64)> {
    let mut all: Vec<(&str, i64)> = Vec::new();
    for VersionCounts { firmware_version, devices, .. } in versions {
        let version = firmware_version.as_deref().unwrap_or("unknown");
        match all.iter_mut().find(|(known, _)| *known == version) {
            Some((_, count)) => *count = count.saturating_add(*devices),
            None => all.push((version, *devices)),
        }
    }
    let mut sorted: Vec<(&str, i64)> = Vec::with_capacity(all.len());
    for one in all {
        sorted.insert(sorted.partition_point(|known| known.1 >= one.1), one);
    }
    let others = sorted.split_off(sorted.len().min(MOST_VERSIONS));
    let mut shown: Vec<_> = sorted.into_iter().map(|(version, count)| (version.to_owned(), count)).collect();
    if !others.is_empty() {
        shown.push(("other".to_owned(), others.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))));
    }
    shown
}
