//! Outgoing HTTP, and the signatures of what it brings.

use js_sys::Promise;
use rs1_domain::port::{DocumentSource, PortError, SignatureVerifier};
use wasm_bindgen::prelude::*;

use crate::task;

#[wasm_bindgen(module = "/src/js/http_client.js")]
extern "C" {
    /// A promise of the text of a 200 answer.
    fn fetch_text(url: &str, limit: usize, milliseconds: u32) -> Promise;
    /// A promise of whether the signature is good. Copies what it is given before it returns.
    fn verify_rs256(key: &str, message: &[u8], signature: &[u8]) -> Promise;
}

/// The longest document in bytes.
const DOCUMENT_BYTES: usize = 64 * 1024;
/// The longest wait for one, in milliseconds, from the request to its last byte.
const DOCUMENT_TIME: u32 = 5_000;

/// Fetches documents. Redirects are not followed: who serves a key set is not for it to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpClient;

impl DocumentSource for HttpClient {
    async fn fetch(&self, url: &str) -> Result<String, PortError> {
        let text = task::wait(&fetch_text(url, DOCUMENT_BYTES, DOCUMENT_TIME)).await;
        text.map(|text| text.as_string().unwrap_or_default())
            .map_err(|cause| PortError { operation: format!("fetch {url}"), cause })
    }
}

/// `WebCrypto`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebCrypto;

impl SignatureVerifier for WebCrypto {
    async fn verify_rs256(&self, key: &str, message: &[u8], signature: &[u8]) -> Result<bool, PortError> {
        let good = task::wait(&verify_rs256(key, message, signature)).await;
        good.map(|good| good.is_truthy())
            .map_err(|cause| PortError { operation: "verify rs256".into(), cause })
    }
}
