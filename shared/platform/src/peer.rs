//! Service bindings: another worker of ours is asked, and its answer passed on. Its body never enters wasm.

use js_sys::{Array, Promise};
use rs1_domain::http::{CONTENT_TYPES, Stream};
use rs1_domain::port::{Peer, PortError};
use rs1_domain::{Answer, Request};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/peer.js")]
extern "C" {
    /// A promise of the answer's packed head and the stream of its body, which may be null. `headers` are names and values in turn.
    #[wasm_bindgen(js_name = pass)]
    fn pass_on(
        env: &Env,
        binding: &str,
        method: &str,
        target: &str,
        headers: Vec<String>,
        wanted: Vec<String>,
    ) -> Promise;
}

/// The headers of an answer that are passed on; the rest is as this worker has it.
const HEADERS: [&str; 7] =
    ["allow", "cache-control", "content-security-policy", "etag", "link", "retry-after", "www-authenticate"];

/// Another worker.
#[derive(Clone, Copy, Debug)]
pub struct ServiceBinding<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> ServiceBinding<'a> {
    /// The worker bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }
}

impl Peer for ServiceBinding<'_> {
    async fn pass(&self, request: &Request, headers: &[&'static str]) -> Result<Answer, PortError> {
        let failed = |cause: String| PortError { operation: format!("service {}", self.binding), cause };
        let target = match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        };
        let id = [("x-request-id", request.request_id.as_str())];
        let given = headers.iter().filter_map(|name| Some((*name, request.header(name)?)));
        let flat = id.into_iter().chain(given).flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
        let wanted = HEADERS.map(str::to_owned).to_vec();
        let method = request.method.as_str();
        let passing = pass_on(self.env, self.binding, method, &target, flat.collect(), wanted);
        let answered = task::wait(&passing).await.map_err(failed)?.unchecked_into::<Array>();
        let packed = answered.get(0).as_string().unwrap_or_default();
        let mut lines = packed.split('\n');
        let status = lines.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| failed("the answer has no status".to_owned()))?;
        let content_type = lines.next().unwrap_or_default();
        let content_type = CONTENT_TYPES.into_iter().find(|known| *known == content_type);
        let body = answered.get(1);
        let mut answer = match content_type {
            Some(content_type) if !body.is_null() => {
                Answer::streamed(status, content_type, Stream::new(body))
            }
            // To HEAD.
            Some(content_type) => Answer::text(status, content_type, String::new()),
            None => Answer::empty(status),
        };
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            if let Some(name) = HEADERS.into_iter().find(|known| *known == name) {
                answer = answer.with_header(name, value);
            }
        }
        Ok(answer)
    }
}
