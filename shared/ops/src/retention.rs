//! Which backups may go.

use rs1_domain::UnixMillis;

/// How long a backup is kept.
pub const KEPT_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// A whole backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub backup_id: String,
    /// When it began.
    pub started_at: UnixMillis,
    /// Whether it was loaded into a database and found equal.
    pub good: bool,
}

/// The ids of the backups that are past their time, never the newest good one, and none at all while no
/// backup is good: one of them may be all there is.
pub fn expired(backups: &[Kept], now: UnixMillis) -> Vec<String> {
    let Some(last_good) = backups.iter().filter(|backup| backup.good).max_by_key(|backup| backup.started_at)
    else {
        return Vec::new();
    };
    let limit = KEPT_DAYS.saturating_mul(DAY_MS);
    let old = backups
        .iter()
        .filter(|backup| now.since(backup.started_at) > limit && backup.backup_id != last_good.backup_id);
    old.map(|backup| backup.backup_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_690_475_123);

    fn backup(days: i64, good: bool) -> Kept {
        Kept { backup_id: format!("{days} days"), started_at: UnixMillis(NOW.0 - days * DAY_MS), good }
    }

    #[test]
    fn what_is_older_than_30_days_goes() {
        let backups = [backup(1, true), backup(30, true), backup(31, true), backup(90, false)];
        assert_eq!(expired(&backups, NOW), ["31 days", "90 days"]);
    }

    #[test]
    fn the_last_good_one_stays_however_old() {
        let backups = [backup(1, false), backup(2, false), backup(40, true), backup(41, true)];
        assert_eq!(expired(&backups, NOW), ["41 days"]);
    }

    #[test]
    fn while_none_is_good_all_stay() {
        assert!(expired(&[backup(40, false), backup(41, false)], NOW).is_empty());
    }
}
