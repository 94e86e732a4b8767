//! What wakes a worker besides a request: a batch from a queue, a tick of the clock. Plain values, as
//! [`http`](crate::http) has them for requests, so that what a worker does with them can be run natively.

use crate::{RequestId, UnixMillis};

/// Messages that a queue delivers together. Their order means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The queue's name: `rs1-telemetry`.
    pub queue: String,
    /// At most 100 messages.
    pub deliveries: Vec<Delivery>,
    /// When the batch arrived.
    pub now: UnixMillis,
    /// What the log line of this batch is known by.
    pub request_id: RequestId,
}

/// One message, as it was delivered this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The queue's id of the message, the same each time it is delivered.
    pub id: String,
    /// 1 the first time it is delivered.
    pub attempts: u32,
    /// When it was sent.
    pub sent_at: UnixMillis,
    /// The text that was sent. Of a message from elsewhere: its JSON text if it was a JSON value, or its bytes
    /// read as UTF-8, with U+FFFD for what is none.
    pub body: String,
}

/// What became of a batch. Whatever is not to be retried is done with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The messages to deliver again.
    pub retries: Vec<Retry>,
    /// What the log line should say.
    pub log: Option<String>,
}

/// One message to deliver again; after the queue's own maximum of attempts it goes to the dead-letter queue instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Its place in [`Batch::deliveries`].
    pub index: usize,
    /// How long to wait, in seconds; at most 86,400.
    pub delay_seconds: u32,
}

impl Retry {
    /// The longest delay of [`Retry::after`], a quarter of an hour: a dependency that comes back is
    /// noticed soon.
    pub const LONGEST_SECONDS: u32 = 900;

    /// A retry of the message at `index` that was delivered `attempts` times: after 2, 4, 8, …
    /// seconds, at most [`Retry::LONGEST_SECONDS`].
    pub fn after(index: usize, attempts: u32) -> Self {
        let delay_seconds = 1_u32.checked_shl(attempts.max(1)).unwrap_or(u32::MAX).min(Self::LONGEST_SECONDS);
        Self { index, delay_seconds }
    }
}

impl Settlement {
    /// Everything is done with.
    pub fn done() -> Self {
        Self::default()
    }
}

/// A cron trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The expression as configured: `0 * * * *`. It says which job is due.
    pub cron: String,
    /// The minute it was due, the same when the platform triggers twice: the job's idempotency key.
    pub scheduled: UnixMillis,
    /// When it really came.
    pub now: UnixMillis,
    /// What the log line of this run is known by.
    pub request_id: RequestId,
}

/// How a cron job ended: a note for the log, empty for none.
///
/// # Errors
/// The cause of the failure, for the log. The platform does not run the job again before its next time.
pub type JobResult = Result<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off_to_a_quarter_of_an_hour() {
        let delays: Vec<_> =
            [0, 1, 2, 3, 9, 10, 31, 32, 100].map(|attempts| Retry::after(0, attempts).delay_seconds).into();
        assert_eq!(delays, [2, 2, 4, 8, 512, 900, 900, 900, 900]);
    }
}
