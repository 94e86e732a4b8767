//! Plays the production EMQX on this machine.
//!
//! Production runs EMQX 5.10 with the configuration in `emqx/emqx.conf`. This broker reads that very
//! file and does what EMQX does with it: MQTT 3.1.1 and 5.0 clients are authenticated and authorized
//! by the same HTTP requests, the same rules send the same webhooks, and the management API answers
//! the same calls, so that the workers cannot tell which of the two they are talking to. It reads the
//! file strictly: what it would play differently from EMQX, or not at all, it refuses at start.
//!
//! Where to start reading: [`config`] for what the file may say, [`mqtt`] for what happens to a
//! client, [`auth`] for who may do what, [`rules`], [`action`] and [`collected`] for what reaches the backend,
//! [`api`] for what reaches us. [`broker::Broker`] holds them together.
//!
//! Facts about EMQX are named with the Erlang module they come from, at tag `e5.10.4`.

pub mod action;
pub mod api;
pub mod auth;
pub mod broker;
pub mod clock;
pub mod collected;
pub mod config;
pub mod hocon;
pub mod http;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod mqtt;
pub mod rules;
pub mod s3;
pub mod template;
pub mod topic;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::action::Actions;
use crate::api::Credentials;
use crate::auth::{Authenticator, Authorizer};
use crate::broker::Broker;
use crate::collected::Collected;
use crate::config::Config;
use crate::live::Gate;
use crate::metrics::Metrics;
use crate::mqtt::Clients;
use crate::rules::{Engine, Guids};

/// What is read of files, at the start and whenever the broker is told to read them again.
#[derive(Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// The API keys of the management API.
    pub keys: Vec<Credentials>,
}

/// Reads the settings.
pub struct Reader(Box<dyn Fn() -> anyhow::Result<Settings> + Send + Sync>);

impl Reader {
    /// Reads with `read`.
    pub fn new(read: impl Fn() -> anyhow::Result<Settings> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Reads.
    ///
    /// # Errors
    /// What cannot be read, or played.
    pub fn read(&self) -> anyhow::Result<Settings> {
        (self.0)()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// What to start.
#[derive(Debug)]
pub struct Options {
    /// Where its settings are from.
    pub reader: Reader,
    /// What outlives it is kept here; needed only where something does.
    pub data: Option<PathBuf>,
    /// Where devices connect; port 0 for any free one.
    pub mqtt: SocketAddr,
    /// Where the management API listens; port 0 for any free one.
    pub api: SocketAddr,
}

/// A broker that is running, until this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where devices connect.
    pub mqtt: SocketAddr,
    /// Where the management API listens.
    pub api: SocketAddr,
    /// Listeners and workers; dropping them ends them.
    _tasks: JoinSet<()>,
}

/// Starts the broker. When this returns, both ports answer.
///
/// # Errors
/// If the settings cannot be read, or a port cannot be opened.
pub async fn start(options: Options) -> anyhow::Result<Running> {
    let Options { reader, data, mqtt, api } = options;
    let Settings { config, keys } = reader.read()?;
    for setting in &config.ignored {
        log::debug!("{} has no effect here: {}", setting.path, setting.reason);
    }
    let (mqtt_listener, mqtt) =
        mqtt::bind(mqtt, &config.mqtt).with_context(|| format!("cannot listen for MQTT on {mqtt}"))?;
    let api_listener = TcpListener::bind(api)
        .await
        .with_context(|| format!("cannot listen for the management API on {api}"))?;
    let api = api_listener.local_addr()?;

    let mut tasks = JoinSet::new();
    let metrics = Arc::new(Metrics::new());
    let listener = config.listener;
    let gate = Gate::default();
    let broker = Arc::new(Broker {
        mqtt_address: mqtt,
        max_packet_size: config.mqtt.max_packet_size,
        authenticator: Authenticator::new(config.authentication, listener.clone(), &gate)
            .map_err(anyhow::Error::msg)?,
        authorizer: Authorizer::new(config.authorization, listener, metrics.clone(), &gate)
            .map_err(anyhow::Error::msg)?,
        rules: Engine::new(config.rules),
        actions: Actions::start(&config.connectors, config.actions, &gate, &mut tasks)
            .map_err(anyhow::Error::msg)?,
        collected: Collected::start(
            &config.node,
            data.as_deref(),
            config.s3_connectors,
            config.s3_actions,
            &gate,
            &mut tasks,
        )
        .map_err(anyhow::Error::msg)?,
        node: config.node,
        clients: Clients::default(),
        gate,
        metrics,
        guids: Guids::new(),
        started_at: clock::unix_millis(),
    });
    let scx = mqtt::start(broker.clone(), mqtt_listener, &mut tasks).await;
    let router = api::router(broker, scx, reader, &keys);
    tasks.spawn(async move {
        if let Err(error) = axum::serve(api_listener, router).await {
            log::error!("the management API ended: {error}");
        }
    });
    Ok(Running { mqtt, api, _tasks: tasks })
}
