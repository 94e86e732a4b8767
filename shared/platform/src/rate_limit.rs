//! The rate-limiting binding: a limit and a period are configured with it, callers are told apart by a key.

use js_sys::Promise;
use rs1_domain::port::{PortError, RateLimiter};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/rate_limit.js")]
extern "C" {
    /// A promise of whether the caller is within the limit.
    fn admit(env: &Env, binding: &str, caller: &str) -> Promise;
}

/// A limit.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> RateLimit<'a> {
    /// The limit bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }
}

impl RateLimiter for RateLimit<'_> {
    async fn admit(&self, caller: &str) -> Result<bool, PortError> {
        let within = task::read(&admit(self.env, self.binding, caller)).await;
        within
            .map(|within| within.is_truthy())
            .map_err(|cause| PortError { operation: format!("rate limit {}", self.binding), cause })
    }
}
