//! Files that stream by: from a request into R2, and out of R2, or of the cache in front of it, into an answer.
//!
//! No byte of them enters wasm but the first and the last few hundred. Hashes are taken by the runtime.

use js_sys::{Array, Promise, Uint8Array};
use rs1_domain::firmware::{BLOCK, HEAD, Received};
use rs1_domain::http::Stream;
use rs1_domain::port::{FileStore, PortError};
use rs1_domain::range::Part;
use wasm_bindgen::prelude::*;

use crate::serve::JsRequest;
use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/files.js")]
extern "C" {
    /// A promise of `[sha256, sha256 without the tail, head, tail]`, or of `undefined` when the body did not come whole.
    /// Copies `given` before it returns.
    fn receive(
        env: &Env,
        binding: &str,
        key: &str,
        request: &JsRequest,
        size: f64,
        given: &[u8],
        head: usize,
        tail: usize,
    ) -> Promise;
    /// A promise that the file is there. Copies `sha256` before it returns.
    fn publish(env: &Env, binding: &str, from: &str, to: &str, sha256: &[u8]) -> Promise;
    /// A promise of a stream, or of `undefined`.
    fn open(
        env: &Env,
        binding: &str,
        key: &str,
        request: &JsRequest,
        etag: &str,
        size: f64,
        first: f64,
        length: f64,
    ) -> Promise;
    /// A promise that the file is gone.
    fn remove(env: &Env, binding: &str, key: &str) -> Promise;
}

/// A bucket of files, for one request.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    env: &'a Env,
    binding: &'static str,
    request: JsRequest,
}

impl<'a> Files<'a> {
    /// The bucket bound under that name, and the request whose body may be stored there.
    pub fn new(env: &'a Env, binding: &'static str, request: JsRequest) -> Self {
        Self { env, binding, request }
    }

    fn failed(&self, verb: &str, key: &str) -> impl FnOnce(String) -> PortError {
        let operation = format!("r2 {} {verb} {key}", self.binding);
        move |cause| PortError { operation, cause }
    }
}

impl FileStore for Files<'_> {
    async fn receive(&self, key: &str, size: u64, given: &[u8]) -> Result<Option<Received>, PortError> {
        let storing = receive(self.env, self.binding, key, &self.request, number(size), given, HEAD, BLOCK);
        let seen = task::wait(&storing).await.map_err(self.failed("receive", key))?;
        if seen.is_undefined() {
            return Ok(None);
        }
        let seen = seen.unchecked_into::<Array>();
        let bytes = |place| seen.get(place).unchecked_into::<Uint8Array>().to_vec();
        let hash = |place| bytes(place).try_into().map_err(|_| self.failed("receive", key)("no hash".into()));
        Ok(Some(Received { size, sha256: hash(0)?, signed_sha256: hash(1)?, head: bytes(2), tail: bytes(3) }))
    }

    async fn publish(&self, from: &str, to: &str, sha256: &[u8; 32]) -> Result<(), PortError> {
        let copying = publish(self.env, self.binding, from, to, sha256);
        task::wait(&copying).await.map(drop).map_err(self.failed("publish", to))
    }

    async fn open(&self, key: &str, etag: &str, size: u64, part: Part) -> Result<Option<Stream>, PortError> {
        let (first, length) = (number(part.first), number(part.length));
        let opening = open(self.env, self.binding, key, &self.request, etag, number(size), first, length);
        let stream = task::read(&opening).await.map_err(self.failed("open", key))?;
        Ok((!stream.is_undefined()).then(|| Stream::new(stream)))
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        let removing = remove(self.env, self.binding, key);
        task::wait(&removing).await.map(drop).map_err(self.failed("delete", key))
    }
}

/// A number of bytes as JavaScript counts; exact up to 8 PiB.
fn number(bytes: u64) -> f64 {
    bytes as f64
}
