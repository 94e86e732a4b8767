//! The MQTT side: the `rmqtt` engine, with EMQX's decisions and events hung into its hooks.
//!
//! The engine keeps sessions, subscriptions, queues and retained messages. What EMQX decides
//! differently from it, or tells rules about, is in the modules here; what it does differently and no
//! hook can reach is listed in `emqx/README.md`.

mod clients;
mod delayed;
mod hooks;
mod publish;
mod reasons;
mod retained;
mod session;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use rmqtt::subscribe::SharedSubscription;
use tokio::task::JoinSet;

pub use clients::Clients;
pub use publish::{Dispatch, dispatch, from_management_api, message, properties};

use crate::broker::Broker;
use crate::config::MqttLimits;
use hooks::Hooks;

/// The engine's number for the one listener.
const LISTENER_ID: u16 = 1;

/// Opens the port.
///
/// # Errors
/// If it cannot be opened.
pub fn bind(address: SocketAddr, limits: &MqttLimits) -> anyhow::Result<(Listener, SocketAddr)> {
    let listener = Builder::new()
        .name("mqtt")
        .laddr(address)
        // A restart must not wait for the connections of the last run to be forgotten.
        .reuseaddr(Some(true))
        .nodelay(true)
        // Without an authenticator EMQX lets everyone in; with one it asks about anonymous clients
        // too. The hook does both, so that the engine must never decide by itself.
        .allow_anonymous(false)
        // Above what one authentication may take: three sends of request_timeout each.
        .handshake_timeout(Duration::from_mins(1))
        .max_packet_size(limits.max_packet_size)
        .max_clientid_len(limits.max_clientid_len)
        .max_topic_levels(limits.max_topic_levels)
        .max_inflight(NonZeroU16::new(limits.max_inflight).unwrap_or(NonZeroU16::MAX))
        .max_mqueue_len(limits.max_mqueue_len)
        .session_expiry_interval(limits.session_expiry_interval)
        // A message lives as long as its publisher says, and for ever if they say nothing.
        .message_expiry_interval(Duration::ZERO)
        .max_topic_aliases(65_535)
        .bind()?
        .tcp()?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Starts the engine on `listener`.
pub async fn start(broker: Arc<Broker>, listener: Listener, tasks: &mut JoinSet<()>) -> ServerContext {
    let scx = ServerContext::new()
        // It would refuse clients when the machine is busy with something else.
        .busy_check_enable(false)
        .build()
        .await;
    *scx.extends.retain_mut().await = Box::new(retained::Retained::default());
    *scx.extends.session_mgr_mut().await = Box::new(session::Sessions);
    *scx.extends.shared_subscription_mut().await = Box::new(Shared);
    *scx.extends.delayed_sender_mut().await = Box::new(delayed::Delayed::new(broker.clone(), scx.clone()));
    Hooks::register(&broker, &scx).await;
    let server = MqttServer::new(scx.clone()).listener_by_id(listener, LISTENER_ID).build();
    tasks.spawn(async move {
        if let Err(error) = server.run().await {
            log::error!("the MQTT listener ended: {error}");
        }
    });
    scx
}

/// Switches `$share/GROUP/FILTER` on.
struct Shared;

#[async_trait]
impl SharedSubscription for Shared {
    fn is_supported(&self) -> bool {
        true
    }
}
