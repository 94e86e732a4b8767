//! S3 actions in aggregated mode: what rules select, collected on disk and uploaded as objects (`emqx_bridge_s3_connector`,
//! `emqx_connector_aggregator`).
//!
//! A connector is asked every `health_check_interval` whether it works. While it does, its actions have their [`buffers`] open;
//! while it does not, what comes for them waits in memory, up to `max_buffer_bytes` a worker and `request_ttl` long, and what is on
//! disk stays there. An action looks after its buffers every `health_check_interval` of its own: one whose interval is over is
//! uploaded then. An upload that fails leaves its buffer where it is; the action is then closed, opened again at the connector's
//! next good check, and what it finds on disk is uploaded (`emqx_resource_manager`, channels that are not connected are removed
//! and added again).

mod buffers;
mod channel;
mod upload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::action::{self, Buffer, Counters, Item};
use crate::config::{S3Action, S3Connector};
use crate::http::Slot;
use crate::live::Gate;
use crate::rules::Term;
use crate::s3::Client;
use channel::{Channel, Connector};

/// How a connector or an action is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nobody has looked yet.
    Connecting,
    /// It works.
    Connected,
    /// It does not, for this reason.
    Disconnected(String),
}

/// All S3 actions, running.
#[derive(Debug)]
pub struct Collected {
    connectors: BTreeMap<String, Arc<Connector>>,
    actions: BTreeMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    settings: Arc<S3Action>,
    channel: Arc<Channel>,
    buffers: Vec<Arc<Buffer>>,
    counters: Arc<Counters>,
}

impl Collected {
    /// Starts the connectors and actions on `tasks`, which ends them when it is dropped. `node` is the node's name; records are
    /// kept below `data`.
    ///
    /// # Errors
    /// If there is no place for the records, or a host cannot stand in a header.
    pub fn start(
        node: &str,
        data: Option<&Path>,
        connectors: BTreeMap<String, S3Connector>,
        actions: BTreeMap<String, S3Action>,
        gate: &Gate,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, String> {
        let mut collected = Self { connectors: BTreeMap::new(), actions: BTreeMap::new() };
        for (name, settings) in connectors {
            let client = Client::new(&settings, gate.clone())?;
            let connector = Arc::new(Connector::new(&name, client));
            tasks.spawn(connector.clone().run(settings.health_check_interval));
            collected.connectors.insert(name, connector);
        }
        for (name, settings) in actions {
            let Some(connector) = collected.connectors.get(&settings.connector) else { continue };
            let data = data.ok_or_else(|| {
                format!("the action s3:{name} keeps records in node.data_dir: say with --data where that is")
            })?;
            let directory = data.join("bridge").join("s3").join(&name);
            let settings = Arc::new(settings);
            let counters = Arc::new(Counters::default());
            let (channel, run) = Channel::new(&name, node, directory, settings.clone(), connector.clone());
            tasks.spawn(run);
            let mut buffers = Vec::new();
            for _ in 0..settings.worker_pool_size {
                let buffer = Arc::new(Buffer::new(&name, settings.max_buffer_bytes, counters.clone()));
                tasks.spawn(channel.clone().collect(buffer.clone(), counters.clone()));
                buffers.push(buffer);
            }
            collected.actions.insert(name, Running { settings, channel, buffers, counters });
        }
        Ok(collected)
    }

    /// Signs with the credentials of `connectors` from now on.
    pub fn renew(&self, connectors: &BTreeMap<String, S3Connector>) {
        for (name, connector) in &self.connectors {
            if let Some(settings) = connectors.get(name) {
                connector.client.renew(settings.credentials.clone());
            }
        }
    }

    /// Takes what a rule selected from an event of the client `clientid`, for the action `action`.
    pub fn take(&self, action: &str, clientid: &str, selected: &BTreeMap<String, Term>) {
        let Some(Running { settings, buffers, .. }) = self.actions.get(action) else { return };
        let Some((_, buffer)) = action::worker_of(buffers, clientid) else { return };
        let deadline = action::deadline(settings.request_ttl);
        buffer.push(Item { body: Bytes::from(action::everything(selected)), slot: Slot::Any, deadline });
    }

    /// How a connector is; `None` if there is no such one.
    pub fn connector(&self, name: &str) -> Option<Status> {
        self.connectors.get(name).map(|connector| connector.status())
    }

    /// How an action is; `None` if there is no such one.
    pub fn action(&self, name: &str) -> Option<Status> {
        self.actions.get(name).map(|action| action.channel.status())
    }

    /// The counters, by action, as rules name it. Of a record that is on disk an action has done its part.
    pub fn counters(&self) -> BTreeMap<String, Json> {
        let read = |running: &Running| {
            let (uploaded, failed) = running.channel.objects();
            let mut counters = running.counters.read();
            if let Json::Object(fields) = &mut counters {
                fields.insert("objects".to_owned(), json!({ "uploaded": uploaded, "failed": failed }));
            }
            counters
        };
        self.actions.iter().map(|(name, running)| (format!("s3:{name}"), read(running))).collect()
    }
}
