//! HTTP actions: what rules select, sent to the backend (`emqx_bridge_http_connector.erl`,
//! `emqx_resource_buffer_worker.erl`).
//!
//! Each action has `worker_pool_size` workers with a buffer each; all messages of one client go to
//! one worker. Buffers are in memory only, as in EMQX: what is in them when the broker ends is lost.

mod counters;
mod delivery;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Action, Body, BodyPath, Connector, QueryMode};
use crate::http::{Pool, Slot};
use crate::live::Gate;
use crate::rules::Term;
pub use counters::Counters;
use delivery::Delivery;
pub use worker::{Buffer, Item};

/// All actions, running.
#[derive(Debug)]
pub struct Actions {
    by_name: BTreeMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    settings: Action,
    by_client: bool,
    delivery: Arc<Delivery>,
    buffers: Vec<Arc<Buffer>>,
    counters: Arc<Counters>,
}

impl Actions {
    /// Starts the workers of every action on `tasks`, which ends them when it is dropped. Actions of
    /// one connector share its connections, behind `gate`.
    ///
    /// # Errors
    /// If a host cannot stand in a header.
    pub fn start(
        connectors: &BTreeMap<String, Connector>,
        actions: BTreeMap<String, Action>,
        gate: &Gate,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, String> {
        let mut pools = BTreeMap::new();
        for (name, connector) in connectors {
            let target = connector.target.clone();
            let pool = Pool::new(target, connector.pool_size, connector.connect_timeout, gate.clone())?;
            pools.insert(name.as_str(), (Arc::new(pool), connector.by_client));
        }
        let mut by_name = BTreeMap::new();
        for (name, settings) in actions {
            let Some((pool, by_client)) = pools.get(settings.connector.as_str()) else { continue };
            let counters = Arc::new(Counters::default());
            let delivery = Arc::new(Delivery::new(&name, &settings, pool.clone(), counters.clone()));
            let window = match settings.query_mode {
                QueryMode::Sync => 1,
                QueryMode::Async => settings.inflight_window,
            };
            let mut buffers = Vec::new();
            for _ in 0..settings.worker_pool_size {
                let buffer = Arc::new(Buffer::new(&name, settings.max_buffer_bytes, counters.clone()));
                tasks.spawn(worker::run(buffer.clone(), delivery.clone(), window, settings.resume_interval));
                buffers.push(buffer);
            }
            let by_client = *by_client;
            by_name.insert(name, Running { settings, by_client, delivery, buffers, counters });
        }
        Ok(Self { by_name })
    }

    /// Sends with the headers of `actions` from now on.
    pub fn renew(&self, actions: &BTreeMap<String, Action>) {
        for (name, running) in &self.by_name {
            if let Some(action) = actions.get(name) {
                running.delivery.renew(action.headers.clone());
            }
        }
    }

    /// The counters, by action.
    pub fn counters(&self) -> BTreeMap<String, Json> {
        self.by_name.iter().map(|(name, action)| (name.clone(), action.counters.read())).collect()
    }

    /// Takes what a rule selected from an event of the client `clientid`, for the action `action`.
    pub fn take(&self, action: &str, clientid: &str, selected: &BTreeMap<String, Term>) {
        if let Some(action) = self.by_name.get(action) {
            action.take(clientid, selected);
        }
    }
}

/// The worker of a client, and its buffer.
pub fn worker_of<'a>(buffers: &'a [Arc<Buffer>], clientid: &str) -> Option<(u64, &'a Buffer)> {
    let Slot::Keyed(key) = Slot::of(clientid) else { return None };
    let worker = key.checked_rem(u64::try_from(buffers.len()).ok()?)?;
    Some((worker, buffers.get(usize::try_from(worker).ok()?)?))
}

/// When a message that came now is too old. A TTL too large for the clock is none at all.
pub fn deadline(ttl: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(ttl).unwrap_or(now)
}

/// Everything that a rule selected, as JSON.
pub fn everything(selected: &BTreeMap<String, Term>) -> String {
    Json::Object(selected.iter().map(|(name, term)| (name.clone(), term.to_json())).collect()).to_string()
}

impl Running {
    fn take(&self, clientid: &str, selected: &BTreeMap<String, Term>) {
        let Some((worker, buffer)) = worker_of(&self.buffers, clientid) else { return };
        // With pool_type = hash EMQX keys on the selected client id, or else on the worker.
        let slot = match (self.by_client, selected.get("clientid")) {
            (false, _) => Slot::Any,
            (true, Some(Term::Text(selected))) => Slot::of(selected),
            (true, _) => Slot::Keyed(worker),
        };
        let deadline = deadline(self.settings.request_ttl);
        let body = render(&self.settings.body, selected);
        buffer.push(Item { body, slot, deadline });
    }
}

/// The body of a request (`emqx_bridge_http_connector:render_request_body/3`).
fn render(body: &Body, selected: &BTreeMap<String, Term>) -> Bytes {
    Bytes::from(match body {
        Body::Selected => everything(selected),
        Body::Template(template) => template
            .render::<std::convert::Infallible>(|path, out| {
                match path {
                    BodyPath::Everything => out.push_str(&everything(selected)),
                    BodyPath::At(path) => {
                        let root =
                            path.split_first().and_then(|(first, rest)| Some((selected.get(first)?, rest)));
                        let term = root.map_or(Term::Undefined, |(root, rest)| root.at(rest));
                        out.push_str(&term.to_text());
                    }
                }
                Ok(())
            })
            .unwrap_or_default(),
    })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
