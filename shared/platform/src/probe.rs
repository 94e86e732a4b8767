//! Looks at buckets, namespaces, queues and servers as their users do.

use js_sys::Promise;
use rs1_domain::UnixMillis;
use rs1_domain::limits::PROBE_BODY;
use rs1_domain::port::{Answered, Backlog, PortError, Probes, Question};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/probe.js")]
extern "C" {
    /// A promise of the status, the location and the beginning of the body, with a line break between. No binding is an empty one,
    /// no authorization likewise.
    fn ask(
        env: &Env,
        binding: &str,
        url: &str,
        authorization: &str,
        limit: usize,
        milliseconds: u32,
    ) -> Promise;
    /// A promise of nothing.
    fn bucket(env: &Env, binding: &str, key: &str, text: &str) -> Promise;
    /// A promise of nothing.
    fn namespace(env: &Env, binding: &str, key: &str, text: &str) -> Promise;
    /// A promise of the number of messages and of the time of the oldest, 0 for none, with a space between.
    fn backlog(env: &Env, binding: &str) -> Promise;
    /// A promise of nothing, after so many milliseconds.
    fn pause(milliseconds: u32) -> Promise;
}

/// The bindings of a worker, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    env: &'a Env,
}

impl<'a> Bindings<'a> {
    /// Those of that environment. Each is looked up when it is used.
    pub fn new(env: &'a Env) -> Self {
        Self { env }
    }
}

/// Where something was looked at, and what went wrong.
fn failed(what: &str, which: &str) -> impl FnOnce(String) -> PortError {
    let operation = format!("probe {what} {which}");
    move |cause| PortError { operation, cause }
}

impl Probes for Bindings<'_> {
    async fn ask(&self, question: Question<'_>) -> Result<Answered, PortError> {
        let Question { binding, url, authorization, milliseconds } = question;
        let (binding, authorization) = (binding.unwrap_or_default(), authorization.unwrap_or_default());
        let told = task::wait(&ask(self.env, binding, url, authorization, PROBE_BODY, milliseconds)).await;
        let packed = told.map_err(failed("http", url))?.as_string().unwrap_or_default();
        let mut lines = packed.splitn(3, '\n');
        let status = lines.next().and_then(|status| status.parse().ok()).unwrap_or_default();
        let (location, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        Ok(Answered { status, location: location.to_owned(), body: body.to_owned() })
    }

    async fn bucket(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError> {
        let done = task::wait(&bucket(self.env, binding, key, text)).await;
        done.map(drop).map_err(failed("r2", binding))
    }

    async fn namespace(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError> {
        let done = task::wait(&namespace(self.env, binding, key, text)).await;
        done.map(drop).map_err(failed("kv", binding))
    }

    async fn backlog(&self, binding: &str) -> Result<Backlog, PortError> {
        let told = task::wait(&backlog(self.env, binding)).await;
        let packed = told.map_err(failed("queue", binding))?.as_string().unwrap_or_default();
        let read = packed.split_once(' ').and_then(|(waiting, oldest)| {
            // Whole numbers both: to read any other takes 16 KB.
            let oldest_at = Some(UnixMillis(oldest.parse().ok()?)).filter(|at| at.0 > 0);
            Some(Backlog { waiting: waiting.parse().ok()?, oldest_at })
        });
        read.ok_or_else(|| failed("queue", binding)(packed))
    }

    async fn pause(&self, milliseconds: u32) {
        // A timer cannot fail.
        let _ = task::wait(&pause(milliseconds)).await;
    }
}
