//! `$delayed/SECONDS/TOPIC`: published to TOPIC after that time (`emqx_delayed.erl`). Rules see the
//! message when it is published, not when it comes in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::delayed::DelayedSender;
use rmqtt::types::{From, Publish};

use super::publish;
use crate::broker::Broker;
use crate::topic;

/// Messages that wait for their time.
pub struct Delayed {
    broker: Arc<Broker>,
    scx: ServerContext,
}

impl Delayed {
    /// None yet.
    pub fn new(broker: Arc<Broker>, scx: ServerContext) -> Self {
        Self { broker, scx }
    }
}

#[async_trait]
impl DelayedSender for Delayed {
    fn enable(&self) -> bool {
        true
    }

    fn parse(&self, mut publish: Publish) -> rmqtt::Result<Publish> {
        if let Some((seconds, real)) = topic::delayed(&publish.topic) {
            let real = real.to_owned();
            publish.topic = real.into();
            publish.delay_interval = Some(seconds);
        }
        Ok(publish)
    }

    async fn delay_publish(
        &self,
        from: From,
        mut publish: Publish,
        _message_storage_available: bool,
        expiry: Option<Duration>,
    ) -> rmqtt::Result<Option<(From, Publish)>> {
        let Some(seconds) = publish.delay_interval.take() else { return Ok(Some((from, publish))) };
        let (broker, scx) = (self.broker.clone(), self.scx.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
            broker.published(publish::message(&from.id, &publish, BTreeMap::new(), &broker));
            publish::dispatch(&scx, from, publish, expiry).await;
        });
        Ok(None)
    }

    async fn len(&self) -> usize {
        0
    }
}
