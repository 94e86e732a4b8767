//! The Workers runtime, and nothing else: this is the only library crate that knows of it.
//!
//! Everything above this crate sees plain Rust values. It turns a fetch event into a
//! [`Request`](rs1_domain::Request) and an [`Answer`](rs1_domain::Answer) back into a response, a batch of
//! messages into [`Batch`](event::Batch), a cron trigger into [`Tick`](event::Tick), and it implements the ports of
//! [`rs1_domain::port`] on D1, R2, Queues, `fetch` and `WebCrypto`.
//!
//! Two rules shape it:
//!
//! - **Crossings are paid once.** A string that crosses between wasm and JavaScript is copied and
//!   transcoded, and a JavaScript object read field by field costs one crossing a field. So a request's
//!   head crosses as one packed text together with its body as one block of bytes, an answer with its log line and
//!   its analytics point as one packed text, a D1 batch as one text each way.
//! - **No JavaScript handle outlives its event.** The runtime ties bindings, streams and promises to
//!   the request they came with and refuses them to any other. [`Env`] is passed along, never kept;
//!   what is kept for an isolate's life ([`env::PerIsolate`]) is plain data.
//!
//! It must never hold a decision: no routes, no SQL, no names of buckets, no policy on retries.
//!
//! Start reading at [`serve()`] and [`events!`]; then one module a binding: [`d1`], [`r2`], [`queue`],
//! [`kv`], [`rate_limit`], [`http_client`], [`emqx`], [`peer`], [`probe`]. [`task`] says how a future is run. The JavaScript halves are in `src/js`, one file a
//! module. The parts that need no runtime ([`head`], [`reply`], [`analytics`], [`log`]) have native tests.

pub mod analytics;
pub mod clock;
pub mod cron;
pub mod d1;
pub mod emqx;
pub mod env;
pub mod files;
pub mod head;
pub mod http_client;
pub mod kv;
pub mod log;
pub mod peer;
pub mod probe;
pub mod queue;
pub mod r2;
pub mod random;
pub mod rate_limit;
pub mod reply;
mod serve;
pub mod task;

pub use env::{PerIsolate, Vars};
pub use rs1_domain::event;
pub use serve::{JsRequest, RawRequest, RawResponse, Service, serve};
/// The bindings of the worker, as the runtime hands them to an event. Good for that event only.
pub use worker::Env;

/// What [`events!`] needs in the crate that uses it.
#[doc(hidden)]
pub mod __macro {
    pub use wasm_bindgen;
}

/// Exports a worker's event handlers to the runtime.
///
/// ```text
/// rs1_platform::events! {
///     fetch(SERVICE) = fetch, // async fn fetch(request: RawRequest, env: Env) -> RawResponse
///     queue = consume,        // async fn consume(batch: queue::RawBatch, env: Env)
///     scheduled = tick,       // async fn tick(event: cron::RawEvent, env: Env)
/// }
/// ```
///
/// This stands in for `#[worker::event]`, for two reasons. That macro hides the JavaScript batch of a
/// queue event, so it could be read only message by message. And it runs futures through
/// `queueMicrotask`, where ours run in the continuation of the very promise they waited for (see
/// [`task`]): cheaper, and a handler that panics fails its request at once instead of leaving it to hang.
#[macro_export]
macro_rules! events {
    ($($event:ident $(($service:path))? = $handler:path),+ $(,)?) => {
        $( $crate::events! { @$event $($service)? => $handler } )+
    };
    (@fetch $service:path => $handler:path) => {
        #[doc(hidden)]
        #[$crate::__macro::wasm_bindgen::prelude::wasm_bindgen(
            wasm_bindgen = $crate::__macro::wasm_bindgen,
            js_name = declared_headers
        )]
        pub fn __declared_headers() -> String {
            $service.headers.join("\n")
        }
        #[doc(hidden)]
        #[$crate::__macro::wasm_bindgen::prelude::wasm_bindgen(
            wasm_bindgen = $crate::__macro::wasm_bindgen,
            js_name = fetch
        )]
        pub fn __fetch_event(
            request: $crate::JsRequest,
            env: $crate::Env,
            context: $crate::task::Context,
            arrived: f64,
            head: String,
            body: Option<Vec<u8>>,
        ) -> $crate::__macro::wasm_bindgen::JsValue {
            let request = $crate::RawRequest::new(request, arrived, head, body);
            $crate::task::start(&context, $handler(request, env))
        }
    };
    (@queue => $handler:path) => {
        $crate::events! { @export queue, __queue_event, $crate::queue::RawBatch, $handler }
    };
    (@scheduled => $handler:path) => {
        $crate::events! { @export scheduled, __scheduled_event, $crate::cron::RawEvent, $handler }
    };
    (@export $event:ident, $export:ident, $argument:ty, $handler:path) => {
        #[doc(hidden)]
        #[$crate::__macro::wasm_bindgen::prelude::wasm_bindgen(
            wasm_bindgen = $crate::__macro::wasm_bindgen,
            js_name = $event
        )]
        pub fn $export(
            given: $argument,
            env: $crate::Env,
            context: $crate::task::Context,
        ) -> $crate::__macro::wasm_bindgen::JsValue {
            $crate::task::start(&context, $handler(given, env))
        }
    };
}
