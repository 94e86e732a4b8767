//! The fetch event: a request in, an answer out, in two crossings.
//!
//! The shim (`shim.js`) reads a request's head and, where it is small, its body, and enters wasm with both. What is
//! left to ask for is a body that is long, or whose length is not known.

use std::cell::OnceCell;

use js_sys::{Promise, Uint8Array};
use rs1_domain::http::Stream;
use rs1_domain::limits::STREAMED_BODY;
use rs1_domain::{Answer, Method, Problem, Request, RequestId, UnixMillis};
use wasm_bindgen::prelude::*;

use crate::head::Head;
use crate::reply::{About, Reply};
use crate::{Env, clock, random, task};

/// The runtime's request object.
pub type JsRequest = worker::web_sys::Request;

/// A request as the shim hands it over.
#[derive(Debug)]
pub struct RawRequest {
    request: JsRequest,
    arrived: UnixMillis,
    head: String,
    body: Option<Vec<u8>>,
}

impl RawRequest {
    /// `arrived` is JavaScript's time; `head` is packed as [`Head::unpack`] reads it; `body` is there if it is small.
    #[doc(hidden)]
    pub fn new(request: JsRequest, arrived: f64, head: String, body: Option<Vec<u8>>) -> Self {
        Self { request, arrived: clock::from_js(arrived), head, body }
    }

    /// The runtime's object, for a port that streams the body. Good for this event only.
    pub fn object(&self) -> JsRequest {
        // Not the request's own method of that name, which copies its body.
        Clone::clone(&self.request)
    }
}

/// The runtime's response.
pub type RawResponse = worker::web_sys::Response;

#[wasm_bindgen(module = "/src/js/serve.js")]
extern "C" {
    /// The environment's name.
    fn environment(env: &Env) -> String;
    /// A promise of the body, as a `Uint8Array`, or of `undefined` when it is longer than `limit`.
    /// `measured` says that the length is known to be within the limit.
    fn body(request: &JsRequest, limit: usize, measured: bool, drained: usize) -> Promise;
    /// Writes the log line and the analytics point, and makes the response.
    fn respond(env: &Env, packed: &str, body: Option<&str>) -> RawResponse;
    /// The same for a body that is a stream of JavaScript's.
    #[wasm_bindgen(js_name = respond)]
    fn respond_streaming(env: &Env, packed: &str, body: &JsValue) -> RawResponse;
}

/// How many bytes beyond the limit are still read, and dropped, before a body is refused. A client that
/// is still sending when the connection closes often does not see the answer; this lets one that is only
/// a little over the limit see it.
const DRAINED: usize = 1024 * 1024;

/// What the boundary must know of a worker before it can read a request.
#[derive(Debug)]
pub struct Service {
    /// The worker's name in log lines and as analytics index, at most 96 bytes.
    pub name: &'static str,
    /// The headers that its routes read, names in lower case. No other header reaches a handler.
    pub headers: &'static [&'static str],
    /// The longest body in bytes that it takes on a method and a path; 0 where none is read, and
    /// [`STREAMED_BODY`] where the handler streams it. `GET` and `HEAD` are not asked: their bodies are not read.
    pub body_limit: fn(Method, &str) -> usize,
}

thread_local! {
    /// The environment's name, read once an instance.
    static ENVIRONMENT: OnceCell<String> = const { OnceCell::new() };
}

/// Answers a fetch event.
///
/// Reads the request, lets `handler` answer it, and leaves one log line and one analytics point. The
/// handler gives the route's pattern, which stands in both, beside its answer.
///
/// A body above the limit is answered with 413 and never held in memory; the handler does not hear of it.
///
/// An answer that streams (firmware out of R2) is another way to fill the body of the same response: reading, packing and
/// logging know nothing of where it comes from.
pub async fn serve<F>(request: RawRequest, env: &Env, service: &'static Service, handler: F) -> RawResponse
where
    F: AsyncFnOnce(Request) -> (&'static str, Answer),
{
    let RawRequest { request, arrived: started, head, body } = request;
    let Head { method, path, query, colo, content_length, request_id, headers } =
        Head::unpack(&head, service.headers);
    let request_id = request_id.unwrap_or_else(|| RequestId::generate(started, random::bytes()));

    let limit = (service.body_limit)(method, &path);
    let (route, answer) = match read_body(&request, body, limit, method, content_length).await {
        Ok(body) => {
            let request_id = request_id.clone();
            let answered =
                handler(Request { method, path, query, headers, body, now: started, request_id }).await;
            if limit == STREAMED_BODY {
                // Nothing is left of it if the handler has read it.
                drain(&request, content_length).await;
            }
            answered
        }
        Err(problem) => ("(refused)", Answer::problem(problem.with_log(path), &request_id)),
    };

    let environment = ENVIRONMENT.with(|name| name.get_or_init(|| environment(env)).clone());
    let about = About {
        worker: service.name,
        environment: &environment,
        method,
        route,
        request_id: &request_id,
        colo: &colo,
        started,
        ended: clock::now(),
    };
    let Reply { packed, body, stream } = Reply::pack(answer, about);
    match stream.as_ref().and_then(Stream::source::<JsValue>) {
        Some(stream) => respond_streaming(env, &packed, stream),
        None => respond(env, &packed, body.as_deref()),
    }
}

/// The body, as bytes: that it is UTF-8 is for the handler to find out.
async fn read_body(
    request: &JsRequest,
    given: Option<Vec<u8>>,
    limit: usize,
    method: Method,
    content_length: Option<usize>,
) -> Result<Vec<u8>, Problem> {
    if matches!(method, Method::Get | Method::Head) || content_length == Some(0) {
        return Ok(Vec::new());
    }
    if limit == STREAMED_BODY {
        return Ok(given.unwrap_or_default());
    }
    if let Some(body) = given {
        return match body.len() {
            // Nobody looks at it.
            _ if limit == 0 => Ok(Vec::new()),
            length if length > limit => Err(Problem::too_large(limit)),
            _ => Ok(body),
        };
    }
    if limit == 0 {
        // Nobody looks at it: whoever posts to a path that takes nothing is to hear that.
        drain(request, content_length).await;
        return Ok(Vec::new());
    }
    if content_length.is_some_and(|length| length > limit.saturating_add(DRAINED)) {
        return Err(Problem::too_large(limit));
    }
    let measured = content_length.is_some_and(|length| length <= limit);
    match task::read(&body(request, limit, measured, DRAINED)).await {
        Ok(bytes) if bytes.is_undefined() => Err(Problem::too_large(limit)),
        Ok(bytes) => Ok(bytes.unchecked_into::<Uint8Array>().to_vec()),
        Err(_hung_up) => Err(Problem::malformed("the body ended early")),
    }
}

/// Reads and drops a body if it is not large, for the runtime closes a connection whose request was not read.
async fn drain(request: &JsRequest, content_length: Option<usize>) {
    if content_length.is_none_or(|length| length <= DRAINED) {
        let _ = task::read(&body(request, 0, false, DRAINED)).await;
    }
}
