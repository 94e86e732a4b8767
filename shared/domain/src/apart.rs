//! A future that stays a function of its own.
//!
//! An `async fn` that is called in one place becomes a part of its caller, and so all that a worker can be asked became one
//! function: 290 KB of machine code in the telemetry worker, which a fresh isolate had to compile before it could give its
//! first answer (20 ms instead of 12; 31 instead of 16 in the device API), and of which a request runs a little here
//! and a little there.

use std::pin::Pin;

/// `future`, behind a pointer that the compiler does not look through.
///
/// For the arms of a route table, and for what is seldom done on a way that is often gone.
#[inline(never)]
pub fn apart<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(future)
}
