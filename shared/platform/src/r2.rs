//! R2: objects are written once and read whole.
//!
//! An object that was compressed on the way in is what its key says it is, a gzip file: its `Content-Type` is
//! `application/gzip` and it has no `Content-Encoding`, so whoever downloads `x.ndjson.gz` by other means gets a
//! `.gz` file. Its metadata field `gzip-of` holds the content's own type, and is what tells
//! [`get`](Bucket::get) to decompress.

use js_sys::{Promise, Uint8Array};
use rs1_domain::port::{Bucket, Encoding, NewObject, PortError};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/r2.js")]
extern "C" {
    /// A promise of whether the object was stored. Copies `body` before it returns.
    fn put_new(env: &Env, binding: &str, key: &str, body: &[u8], content_type: &str, gzip: bool) -> Promise;
    /// A promise of the object's bytes, or of `undefined`.
    fn get(env: &Env, binding: &str, key: &str) -> Promise;
}

/// An R2 bucket.
#[derive(Clone, Copy, Debug)]
pub struct R2<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> R2<'a> {
    /// The bucket bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }

    fn failed(self, verb: &str, key: &str) -> impl FnOnce(String) -> PortError {
        let operation = format!("r2 {} {verb} {key}", self.binding);
        move |cause| PortError { operation, cause }
    }
}

impl Bucket for R2<'_> {
    async fn put_new(&self, object: NewObject<'_>) -> Result<bool, PortError> {
        let NewObject { key, body, content_type, encoding } = object;
        let gzip = encoding == Encoding::Gzip;
        let stored = put_new(self.env, self.binding, key, body, content_type, gzip);
        let stored = task::wait(&stored).await.map_err(self.failed("put", key))?;
        Ok(stored.is_truthy())
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        let bytes = task::wait(&get(self.env, self.binding, key)).await.map_err(self.failed("get", key))?;
        Ok((!bytes.is_undefined()).then(|| bytes.unchecked_into::<Uint8Array>().to_vec()))
    }
}
