//! The only place of this crate that reads the wall clock. Spans are measured with [`tokio::time::Instant`].

use std::time::{SystemTime, UNIX_EPOCH};

use rs1_domain::UnixMillis;

/// Now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "a native tool has to read the clock somewhere: here")]
pub fn now() -> UnixMillis {
    // A clock before 1970 has no meaning for any reader of these stamps; zero says so.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
