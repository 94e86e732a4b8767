//! The fleet's hours: each is added up out of its devices' rollups, events and alerts once it is over, and again when what came late is
//! in or was put right. A run walks through the registry once, however many hours are due, and no statement is about more devices than [`STEP`].

use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::port::{Database, PortError};
use rs1_telemetry::event::Kind;
use rs1_telemetry::rollup::{METRICS, name_of};

use crate::fleet::{self, ErrorCount, FleetHour, KnownHour, MetricSum, Trouble, TroubledDevice};
use crate::sql::{first_row, rows, run};
use crate::telemetry::{Step, next_devices};

/// How old an hour is when it is added up: when it is over, when what comes by the object is in, when a device's clock may not be
/// behind it any more, and when it takes no more messages.
const AGES: [i64; 4] = [1, 2, 26, 121];
/// Hours that were missed are made up for, so many a run, the latest first.
const MISSED: usize = 4;
/// Hours are kept as long as the rollups.
const KEPT_HOURS: i64 = 30 * 24;
/// Devices handled by one statement.
const STEP: u32 = 1_000;
/// Devices with which most was wrong that an hour knows by name.
pub const WORST: usize = 100;

/// Adds up the hours that are due, and forgets those that are too old. What was done, for the log.
///
/// # Errors
/// What failed. The hours are missing then, and the next run makes up for them.
pub async fn add_up(now: UnixMillis, db: &impl Database) -> Result<String, PortError> {
    let failed = |error: json::Error| PortError::new("fleet hours", error.to_string());
    let hour = now.hour();
    let oldest = hour.saturating_sub(KEPT_HOURS);
    let [known] = run(db, [fleet::known_hours(oldest)]).await?;
    let known: Vec<_> = rows::<KnownHour>(&known)?.into_iter().map(|known| known.hour).collect();
    let mut due: Vec<i64> = AGES.into_iter().map(|age| hour.saturating_sub(age)).collect();
    let missed = (oldest..hour).rev().filter(|hour| !known.contains(hour) && !due.contains(hour));
    due.extend(missed.take(MISSED).collect::<Vec<_>>());
    let mut sums: Vec<FleetHour> = due.into_iter().map(FleetHour::empty).collect();

    let (kinds, metrics) = (Kind::TROUBLE.map(Kind::as_str), METRICS.map(|(letter, _)| letter));
    let mut after = String::new();
    loop {
        let [step] = run(db, [next_devices(&after, STEP)]).await?;
        let Some(last) = first_row::<Step>(&step)?.and_then(|step| step.last) else { break };
        let mut statements = Vec::with_capacity(sums.len().saturating_mul(2));
        for of in &sums {
            statements.push(fleet::metrics_of_hour(&after, &last, of.hour, &metrics).map_err(failed)?);
            statements.push(fleet::trouble_of_hour(&after, &last, of.hour, &kinds).map_err(failed)?);
        }
        let outcomes = db.batch(statements).await?;
        for (sum, outcomes) in sums.iter_mut().zip(outcomes.chunks(2)) {
            let [metrics, trouble] = outcomes else {
                return Err(PortError::new("fleet hours", "an outcome is missing"));
            };
            sum.count(rows(metrics)?);
            sum.blame(rows(trouble)?);
        }
        after = last.to_string();
    }
    let mut statements = Vec::from(fleet::prune(oldest));
    for of in &sums {
        statements.extend(fleet::write_hour(of, now).map_err(failed)?);
    }
    db.batch(statements).await?;
    Ok(format!("{} hours of the fleet added up", sums.len()))
}

impl FleetHour {
    /// One to which nothing is added yet.
    fn empty(hour: i64) -> Self {
        Self {
            hour,
            devices: 0,
            messages: 0,
            metrics: Vec::new(),
            errors: Vec::new(),
            troubled: 0,
            worst: Vec::new(),
        }
    }

    fn count(&mut self, metrics: Vec<MetricSum>) {
        for metric in metrics {
            if metric.name.is_empty() {
                #[expect(clippy::cast_possible_truncation, reason = "a number of messages, below 2^53")]
                let messages = metric.sum as i64;
                self.devices = self.devices.saturating_add(metric.count);
                self.messages = self.messages.saturating_add(messages);
            } else {
                let name = name_of(&metric.name).to_owned();
                MetricSum::add_to(&mut self.metrics, MetricSum { name, ..metric });
            }
        }
    }

    /// Takes in the trouble of a step's devices, which no other step is about.
    fn blame(&mut self, troubles: Vec<Trouble>) {
        // Sorted by device: rows of a source come so.
        let mut devices: Vec<TroubledDevice> = Vec::new();
        for Trouble { device_id, source, kind, count } in troubles {
            let (events, alerts) = if source == "event" { (count, 0) } else { (0, count) };
            match devices.binary_search_by(|known| known.device_id.cmp(&device_id)) {
                Ok(place) => {
                    if let Some(known) = devices.get_mut(place) {
                        known.events = known.events.saturating_add(events);
                        known.alerts = known.alerts.saturating_add(alerts);
                    }
                }
                Err(place) => devices.insert(place, TroubledDevice { device_id, events, alerts }),
            }
            ErrorCount::add_to(&mut self.errors, ErrorCount { source, kind, count });
        }
        self.troubled = self.troubled.saturating_add(i64::try_from(devices.len()).unwrap_or(i64::MAX));
        for device in devices {
            // Behind those that are as bad: of equals the first ones stay.
            let worst = &mut self.worst;
            let place = worst.partition_point(|known| known.all() >= device.all());
            worst.insert(place, device);
            worst.truncate(WORST);
        }
    }
}
