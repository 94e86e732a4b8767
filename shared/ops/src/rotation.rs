//! When secrets are due to be replaced.
//!
//! `npm run secrets` notes in the database when it replaced one, and when it dropped the one before; the table says how long
//! each is good. From that follows what to warn of: pure, so that a check and a command line say the same.

use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, as_millis, as_optional_millis};
use serde::{Deserialize, Serialize};

/// A rotation that was begun is to be finished within this: as long as it is not, a secret that was replaced is still good.
pub const TO_FINISH: i64 = 7 * DAY;

/// A secret, and when it was last replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The secret: `WEBHOOK_SECRET`.
    pub name: String,
    /// How many days one is good.
    pub every_days: i64,
    /// Since when the present one is good.
    #[serde(with = "as_millis")]
    pub rotated_at: UnixMillis,
    /// Since when the one before it is not; `None` while both are.
    #[serde(with = "as_optional_millis")]
    pub dropped_at: Option<UnixMillis>,
}

/// How a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It need not be replaced before then.
    Fine(UnixMillis),
    /// It was replaced, and the one before it should have been dropped at that time.
    Unfinished(UnixMillis),
    /// It should have been replaced at that time.
    Due(UnixMillis),
}

impl Rotation {
    /// When it is to be replaced.
    pub fn due_at(&self) -> UnixMillis {
        self.rotated_at.plus(DAY.saturating_mul(self.every_days))
    }

    /// How it stands.
    pub fn standing(&self, now: UnixMillis) -> Standing {
        let finish_by = self.rotated_at.plus(TO_FINISH);
        if now >= self.due_at() {
            Standing::Due(self.due_at())
        } else if self.dropped_at.is_none() && now >= finish_by {
            Standing::Unfinished(finish_by)
        } else {
            Standing::Fine(self.due_at())
        }
    }
}

/// What a check warns of, in words: the secrets that are due, and rotations that were left half way. Empty if all is well.
pub fn warnings(rotations: &[Rotation], now: UnixMillis) -> Vec<String> {
    let warning = |rotation: &Rotation| match rotation.standing(now) {
        Standing::Fine(_) => None,
        Standing::Due(since) => {
            Some(format!("{} is due to be replaced since {}", rotation.name, since.date()))
        }
        Standing::Unfinished(since) => {
            Some(format!("{}: the one before it should have been dropped on {}", rotation.name, since.date()))
        }
    };
    rotations.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_763_690_400_000);

    fn rotation(every_days: i64, dropped_at: Option<UnixMillis>) -> Rotation {
        Rotation { name: "WEBHOOK_SECRET".into(), every_days, rotated_at: START, dropped_at }
    }

    #[test]
    fn a_secret_is_due_when_its_days_are_over() {
        let webhook = rotation(91, Some(START));
        let due = START.plus(91 * DAY);
        assert_eq!(webhook.standing(START), Standing::Fine(due));
        assert_eq!(webhook.standing(due.plus(-1)), Standing::Fine(due));
        assert_eq!(webhook.standing(due), Standing::Due(due));
        assert_eq!(warnings(std::slice::from_ref(&webhook), due.plus(-1)), [""; 0]);
        assert_eq!(warnings(&[webhook], due), ["WEBHOOK_SECRET is due to be replaced since 2026-02-20"]);
    }

    #[test]
    fn a_rotation_that_is_left_half_way_is_told_after_a_week() {
        let begun = rotation(91, None);
        let week = START.plus(TO_FINISH);
        assert_eq!(begun.standing(week.plus(-1)), Standing::Fine(START.plus(91 * DAY)));
        assert_eq!(begun.standing(week), Standing::Unfinished(week));
        let told = warnings(std::slice::from_ref(&begun), week);
        assert_eq!(told, ["WEBHOOK_SECRET: the one before it should have been dropped on 2025-11-28"]);
        let due = START.plus(91 * DAY);
        assert_eq!(begun.standing(due), Standing::Due(due), "that is the worse of the two");
    }

    #[test]
    fn all_that_is_wrong_is_told_and_nothing_else() {
        let other = Rotation { name: "SIGNING_KEY".into(), ..rotation(365, Some(START)) };
        let told = warnings(&[rotation(91, Some(START)), other], START.plus(100 * DAY));
        assert_eq!(told.len(), 1);
        assert!(warnings(&[], START).is_empty());
    }
}
