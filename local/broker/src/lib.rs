//! Plays the production EMQX on this machine.
//!
//! Production runs EMQX 5.10 with the configuration in `emqx/emqx.conf`. This broker reads that very
//! file and does what EMQX does with it: MQTT 3.1.1 and 5.0 clients are authenticated and authorized
//! by the same HTTP requests, the same rules send the same webhooks, and the management API answers
//! the same calls, so that the workers cannot tell which of the two they are talking to. It reads the
//! file strictly: what it would play differently from EMQX, or not at all, it refuses at start.
//!
//! Where to start reading: [`config`] for what the file may say, [`mqtt`] for what happens to a
//! client, [`auth`] for who may do what, [`rules`] and [`action`] for what reaches the backend,
//! [`api`] for what reaches us. [`broker::Broker`] holds them together.
//!
//! Facts about EMQX are named with the Erlang module they come from, at tag `e5.10.4`.

pub mod action;
pub mod api;
pub mod auth;
pub mod broker;
pub mod clock;
pub mod config;
pub mod hocon;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod mqtt;
pub mod rules;
pub mod template;
pub mod topic;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::action::Actions;
use crate::auth::{Authenticator, Authorizer};
use crate::broker::Broker;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::mqtt::Clients;
use crate::rules::{Engine, Guids};

/// What to start.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where devices connect; port 0 for any free one.
    pub mqtt: SocketAddr,
    /// Where the management API listens; port 0 for any free one.
    pub api: SocketAddr,
    /// The API key of the management API.
    pub api_key: String,
    /// The secret of the API key.
    pub api_secret: String,
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
/// If a port cannot be opened.
pub async fn start(options: Options) -> anyhow::Result<Running> {
    let Options { config, mqtt, api, api_key, api_secret } = options;
    let (mqtt_listener, mqtt) =
        mqtt::bind(mqtt, &config.mqtt).with_context(|| format!("cannot listen for MQTT on {mqtt}"))?;
    let api_listener = TcpListener::bind(api)
        .await
        .with_context(|| format!("cannot listen for the management API on {api}"))?;
    let api = api_listener.local_addr()?;

    let mut tasks = JoinSet::new();
    let metrics = Arc::new(Metrics::new());
    let listener = config.listener;
    let broker = Arc::new(Broker {
        node: config.node,
        mqtt_address: mqtt,
        max_packet_size: config.mqtt.max_packet_size,
        authenticator: Authenticator::new(config.authentication, listener.clone())
            .map_err(anyhow::Error::msg)?,
        authorizer: Authorizer::new(config.authorization, listener, metrics.clone())
            .map_err(anyhow::Error::msg)?,
        rules: Engine::new(config.rules),
        actions: Actions::start(&config.connectors, config.actions, &mut tasks)
            .map_err(anyhow::Error::msg)?,
        clients: Clients::default(),
        metrics,
        guids: Guids::new(),
        started_at: clock::unix_millis(),
    });
    let scx = mqtt::start(broker.clone(), mqtt_listener, &mut tasks).await;
    let router = api::router(broker, scx, &api::Credentials { key: api_key, secret: api_secret });
    tasks.spawn(async move {
        if let Err(error) = axum::serve(api_listener, router).await {
            log::error!("the management API ended: {error}");
        }
    });
    Ok(Running { mqtt, api, _tasks: tasks })
}
