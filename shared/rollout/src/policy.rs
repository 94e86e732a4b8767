//! What a configuration may set: timers and limits that hold for every rollout.

use rs1_domain::time::{DAY, HOUR, MINUTE};

use crate::Share;

/// Timers and limits. Times are in milliseconds. [`Policy::default`] has the values of production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the trigger's delivery to the device's first status. A device's first status needs no download,
    /// so minutes suffice.
    pub acknowledge_timeout: i64,
    /// From the first status to the confirmation. A device retries a download after 1, 5 and 30 minutes.
    pub finish_timeout: i64,
    /// How long a trigger may wait for the broker before it is taken back.
    pub send_timeout: i64,
    /// How long a device is left alone after its last confirmed update.
    pub cooldown: i64,
    /// Most triggers that one run decides: one bulk publish.
    pub triggers_per_run: u32,
    /// Most times that a device is offered the image in one rollout, the first included.
    pub max_offers: u32,
    /// Outcomes from which on failure shares are judged (or the whole stage, if it is smaller).
    pub min_outcomes: u32,
    /// Above this share of failures a rollout pauses.
    pub pause_share: Share,
    /// Above this share of failures it is aborted.
    pub abort_share: Share,
    /// Above this share of devices that fell back to their old image it pauses.
    pub rollback_share: Share,
    /// More failures than this within [`Self::spike_window`], across all rollouts, pause every one.
    pub spike_failures: u32,
    /// See [`Self::spike_failures`].
    pub spike_window: i64,
    /// Confirmed devices that a stage needs when it names no number (or all it can reach, if they are fewer).
    pub min_confirmed: u32,
    /// Triggers a minute of a rollout that names no number.
    pub rate_per_minute: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            acknowledge_timeout: 15 * MINUTE,
            finish_timeout: 2 * HOUR,
            send_timeout: 2 * HOUR,
            cooldown: DAY,
            triggers_per_run: 100,
            max_offers: 3,
            min_outcomes: 10,
            pause_share: Share::percent(2),
            abort_share: Share::percent(5),
            rollback_share: Share::percent(1),
            spike_failures: 5,
            spike_window: HOUR,
            min_confirmed: 10,
            rate_per_minute: 100,
        }
    }
}
