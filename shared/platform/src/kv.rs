//! Workers KV: short texts that expire.

use js_sys::Promise;
use rs1_domain::port::{KeyValue, PortError};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/kv.js")]
extern "C" {
    /// A promise of the value, or of `undefined`.
    fn get(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise that the value was taken.
    fn put(env: &Env, binding: &str, key: &str, value: &str, seconds: u32) -> Promise;
}

/// The least lifetime that KV takes, in seconds.
const LEAST_SECONDS: u32 = 60;

/// A KV namespace.
#[derive(Clone, Copy, Debug)]
pub struct Kv<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> Kv<'a> {
    /// The namespace bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }

    /// Keys may be derived from secrets, so they are not named.
    fn failed(self, verb: &str) -> impl FnOnce(String) -> PortError {
        let operation = format!("kv {} {verb}", self.binding);
        move |cause| PortError { operation, cause }
    }
}

impl KeyValue for Kv<'_> {
    async fn get(&self, key: &str) -> Result<Option<String>, PortError> {
        let value = task::wait(&get(self.env, self.binding, key)).await.map_err(self.failed("get"))?;
        Ok(value.as_string())
    }

    async fn put(&self, key: &str, value: &str, seconds: u32) -> Result<(), PortError> {
        let stored = put(self.env, self.binding, key, value, seconds.max(LEAST_SECONDS));
        task::wait(&stored).await.map(drop).map_err(self.failed("put"))
    }
}
