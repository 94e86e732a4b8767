//! The day in lines, for people who look once a day.

use rs1_domain::port::{Database, PortError};
use rs1_domain::time::DAY;
use rs1_domain::{RecordId, UnixMillis};
use rs1_store::backups::{self, BackupRow};
use rs1_store::fleet::{self, VersionCounts};
use rs1_store::incidents::{self, IncidentRow};
use rs1_store::notices::{self, Count, OpenRollout};
use rs1_store::sql::{PageRequest, first_row, rows, run};
use rs1_store::watch::{self, WatchRow};

/// The most of a kind that are named.
const NAMED: usize = 10;

/// The lines of the day that ends now.
///
/// # Errors
/// As [`Database::batch`].
pub async fn lines(db: &impl Database, now: UnixMillis) -> Result<Vec<String>, PortError> {
    let yesterday = now.plus(-DAY);
    let latest = PageRequest { limit: 1, after: None };
    let [incidents, alerts, rollouts, backup, watched, security, fleet] = run(
        db,
        [
            incidents::open(),
            notices::open_alerts(),
            notices::open_rollouts(20),
            backups::list(&latest),
            watch::list(),
            notices::security_since(&RecordId::generate("sec", yesterday, [0; 10])),
            fleet::versions(yesterday),
        ],
    )
    .await?;
    let incidents: Vec<IncidentRow> = rows(&incidents)?;
    let mut lines = vec![format!("Open incidents: {}", none_or(incidents.len()))];
    let since = |it: &IncidentRow| format!("{}, since {}", it.title, it.opened_at.to_rfc3339());
    lines.extend(incidents.iter().take(NAMED).map(since));
    lines.push(format!("Open alerts of devices: {}", counted(&rows(&alerts)?)));
    let rollouts: Vec<OpenRollout> = rows(&rollouts)?;
    let named: Vec<_> =
        rollouts.iter().map(|it| format!("{} {} {}", it.rollout_id, it.version, it.status)).collect();
    lines.push(format!("Rollouts in progress: {}", listed(&named)));
    let backup = first_row::<BackupRow>(&backup)?.map_or_else(
        || "none".to_owned(),
        |it| {
            let checked = match it.check_ok {
                Some(true) => "restored well",
                Some(false) => "does not restore",
                None => "not checked yet",
            };
            format!("{} {}, {checked}", it.backup_id, it.state)
        },
    );
    lines.push(format!("Latest backup: {backup}"));
    let ill = |it: &WatchRow| it.faults.as_array().is_some_and(|faults| !faults.is_empty());
    let ill: Vec<String> = rows(&watched)?.into_iter().filter(ill).map(|it: WatchRow| it.subject).collect();
    lines.push(format!("Backups with faults: {}", listed(&ill)));
    lines.push(format!("Security log of the last day: {}", counted(&rows(&security)?)));
    let fleet: Vec<VersionCounts> = rows(&fleet)?;
    let sum = |of: fn(&VersionCounts) -> i64| fleet.iter().map(of).fold(0, i64::saturating_add);
    let (online, all, active) = (sum(|it| it.online), sum(|it| it.devices), sum(|it| it.active_24h));
    lines.push(format!("Devices: {online} of {all} online, {active} heard of in the last day"));
    Ok(lines)
}

fn none_or(count: usize) -> String {
    if count == 0 { "none".to_owned() } else { count.to_string() }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn counted(counts: &[Count]) -> String {
    listed(&counts.iter().map(|it| format!("{} {}", it.count, it.kind)).collect::<Vec<_>>())
}
