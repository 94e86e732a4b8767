//! Outgoing HTTP, and the signatures of what it brings.

use js_sys::Promise;
use rs1_domain::port::{DocumentSource, Messenger, PortError, Posted, SignatureVerifier};
use wasm_bindgen::prelude::*;

use crate::task;

#[wasm_bindgen(module = "/src/js/http_client.js")]
extern "C" {
    /// A promise of the text of a 200 answer.
    fn fetch_text(url: &str, limit: usize, milliseconds: u32) -> Promise;
    /// A promise of an answer's status and text, with a line break between. `headers` are names and values in turn.
    #[wasm_bindgen(js_name = exchange)]
    fn exchange_text(
        method: &str,
        url: &str,
        headers: Vec<String>,
        body: Option<&str>,
        limit: usize,
        milliseconds: u32,
    ) -> Promise;
    /// A promise of an answer's status, `Retry-After` and text, with line breaks between. `headers` as above.
    #[wasm_bindgen(js_name = post)]
    fn post_text(url: &str, headers: Vec<String>, body: &str, limit: usize, milliseconds: u32) -> Promise;
    /// A promise that resolves after so long.
    fn pause(milliseconds: u32) -> Promise;
    /// A promise of whether the signature is good. Copies what it is given before it returns.
    fn verify_rs256(key: &str, message: &[u8], signature: &[u8]) -> Promise;
    /// The same for the other algorithm.
    fn verify_es256(key: &str, message: &[u8], signature: &[u8]) -> Promise;
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

/// A request to a service, as [`exchange`] sends it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'static str,
    /// The whole URL.
    pub url: &'a str,
    /// Names, in lower case, and values.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body, if it has one.
    pub body: Option<&'a str>,
    /// The longest answer in bytes that is read.
    pub limit: usize,
    /// The longest wait in milliseconds, from the request to the answer's last byte.
    pub milliseconds: u32,
}

/// Sends a request and reads the answer, whatever its status: status and text. Redirects are not followed.
///
/// # Errors
/// What prevented an answer, or made it too long, or no text.
pub async fn exchange(request: Outgoing<'_>) -> Result<(u16, String), String> {
    let Outgoing { method, url, headers, body, limit, milliseconds } = request;
    let packed = task::wait(&exchange_text(method, url, flat(headers), body, limit, milliseconds)).await?;
    let packed = packed.as_string().unwrap_or_default();
    let (status, text) = packed.split_once('\n').ok_or("the answer could not be read")?;
    Ok((status.parse().map_err(|_| "the answer has no status")?, text.to_owned()))
}

/// The most of an answer that [`Messenger::post`] reads: receivers say in a few words what is wrong.
const POSTED_BYTES: usize = 4 * 1024;
/// The longest wait for it, in milliseconds.
const POSTED_TIME: u32 = 10_000;

impl Messenger for HttpClient {
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Posted, PortError> {
        // The URL may hold a secret.
        let failed = |cause: String| PortError { operation: "post".into(), cause };
        let promise = post_text(url, flat(headers), body, POSTED_BYTES, POSTED_TIME);
        let packed = task::wait(&promise).await.map_err(failed)?.as_string().unwrap_or_default();
        let mut parts = packed.splitn(3, '\n');
        let status = parts.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| failed("the answer has no status".to_owned()))?;
        let retry_after = parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Posted { status, retry_after, text: parts.next().unwrap_or_default().to_owned() })
    }

    async fn pause(&self, milliseconds: u32) {
        // It does not fail.
        let _ = task::wait(&pause(milliseconds)).await;
    }
}

fn flat(headers: &[(&'static str, &str)]) -> Vec<String> {
    headers.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
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

    async fn verify_es256(&self, key: &str, message: &[u8], signature: &[u8]) -> Result<bool, PortError> {
        let good = task::wait(&verify_es256(key, message, signature)).await;
        good.map(|good| good.is_truthy())
            .map_err(|cause| PortError { operation: "verify es256".into(), cause })
    }
}
