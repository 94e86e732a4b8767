//! The only place of this crate that reads a clock.
//!
//! EMQX stamps messages and events with Unix milliseconds and its message ids with microseconds;
//! everything that measures a span (timeouts, TTLs) uses [`tokio::time::Instant`] instead.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "a native tool has to read the clock somewhere: here")]
pub fn unix_micros() -> u64 {
    // A clock before 1970 has no meaning for any reader of these stamps; zero says so.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub fn unix_millis() -> i64 {
    i64::try_from(unix_micros() / 1000).unwrap_or(i64::MAX)
}
