//! The watch over backups: once an hour it looks at this system's own, at firmware and at the company's bucket, and notes
//! what it found together with the alarms that follow.
//!
//! What cannot be looked at is a finding as well: somebody has to see to it.

use rs1_domain::config::BadConfig;
use rs1_domain::port::{Database, PortError, Random, Shelf, Vault};
use rs1_domain::time::MINUTE;
use rs1_domain::{RecordId, UnixMillis, json};
use rs1_ops::plan::check_key;
use rs1_ops::watch::{Finding, FirmwareState, Tally, Watched, judge_firmware, judge_own};
use rs1_store::backups::{self, BackupId, BackupRow, Check};
use rs1_store::firmware::{self, CheckState, Faulty};
use rs1_store::sql::{PageRequest, first_row, rows, run};
use rs1_store::watch::{self, WatchRow};
use serde_json::json;

use crate::config::Config;
use crate::world::{Ports, World};

/// The ticks come every 5 minutes; the first after this looks again.
const EVERY_MS: i64 = 55 * MINUTE;
/// How many backups are looked at: a month of daily ones and some that were asked for.
const BACKUPS: u32 = 50;
/// How many restore checks are taken in at once; each is a read of the bucket.
const CHECKS: u32 = 10;
/// The most pages of a prefix, of 1,000 objects each.
const PAGES: u32 = 50;
/// The most faults that are named.
const NAMED: u32 = 20;

/// Looks, if the last look was an hour ago. What it did, for the log.
///
/// # Errors
/// When the database fails, or the configuration is bad; then what needs none is looked at all the same.
pub async fn look<P: Ports>(
    world: &World<'_, P>,
    config: Result<&Config, &BadConfig>,
    now: UnixMillis,
) -> Result<String, PortError> {
    let db = &world.db;
    let [known] = run(db, [watch::list()]).await?;
    let known: Vec<WatchRow> = rows(&known)?;
    if known.iter().any(|row| now.since(row.looked_at) < EVERY_MS) {
        return Ok("watched before".to_owned());
    }
    let checks = take_in_checks(db, &world.vault, now).await;
    let first_at = known.iter().find(|row| row.subject == "backup").map_or(now, |row| row.first_at);
    let mut findings = own(db, first_at, now).await?;
    for rule in config.map(|config| config.watched.as_slice()).unwrap_or_default() {
        findings.push(company(&world.company, rule, now).await);
    }
    let ill = findings.iter().filter(|finding| !finding.faults.is_empty()).count();
    let said = format!("watched {} things, {ill} with faults", findings.len());
    let named: Vec<(String, Finding)> = findings
        .into_iter()
        .map(|finding| (RecordId::generate("sec", now, world.random.bytes()).to_string(), finding))
        .collect();
    let note = watch::note(&named, now).map_err(|error| PortError::new("watch", error.to_string()))?;
    run(db, note).await?;
    checks?;
    match config {
        Ok(_) => Ok(said),
        Err(faults) => Err(PortError::new("configuration", faults.0.join("; "))),
    }
}

/// Reads what restore checks left beside the backups, and notes it in their rows.
async fn take_in_checks(db: &impl Database, vault: &impl Vault, now: UnixMillis) -> Result<(), PortError> {
    let [unproven] = run(db, [backups::unproven(CHECKS)]).await?;
    for BackupId { backup_id } in rows(&unproven)? {
        let Some(text) = vault.text(&check_key(&backup_id)).await? else { continue };
        // What is no check is none: it will be missed when it is due.
        let Ok(check) = json::read::<Check>(&text) else { continue };
        run(db, [backups::note_check(&backup_id, &check, now)?]).await?;
    }
    Ok(())
}

async fn own(db: &impl Database, first_at: UnixMillis, now: UnixMillis) -> Result<Vec<Finding>, PortError> {
    let page = PageRequest { limit: BACKUPS, after: None };
    let [listed, state, faults] =
        run(db, [backups::list(&page), firmware::check_state(), firmware::faults(NAMED)]).await?;
    let backups: Vec<_> = rows::<BackupRow>(&listed)?.iter().map(BackupRow::made).collect();
    let mut findings = Vec::from(judge_own(&backups, first_at, now));
    let name = |faulty: Faulty| (format!("{} {}", faulty.sku, faulty.version), faulty.fault);
    let waits = first_row::<CheckState>(&state)?;
    let state = FirmwareState {
        oldest_at: waits.as_ref().and_then(|waits| waits.oldest_at),
        waiting_since: waits.and_then(|waits| waits.waiting_since),
        faulty: rows(&faults)?.into_iter().map(name).collect(),
    };
    findings.push(judge_firmware(&state, now));
    Ok(findings)
}

async fn company(bucket: &impl Shelf, rule: &Watched, now: UnixMillis) -> Finding {
    match tally(bucket, rule, now).await {
        Ok(tally) => tally.judge(rule, now),
        Err(error) => Finding {
            subject: rule.prefix.clone(),
            faults: vec![format!("it cannot be looked at: {}", error.operation)],
            facts: json!({}),
        },
    }
}

async fn tally(bucket: &impl Shelf, rule: &Watched, now: UnixMillis) -> Result<Tally, PortError> {
    let mut tally = Tally::default();
    let mut cursor = None;
    for _ in 0..PAGES {
        let page = bucket.inventory(&rule.prefix, cursor.as_deref()).await?;
        for object in &page.objects {
            tally.add(rule, &object.key, object.size, object.uploaded, now);
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(tally);
        }
    }
    Err(PortError::new(format!("list {}: more than {PAGES} pages", rule.prefix), ""))
}
