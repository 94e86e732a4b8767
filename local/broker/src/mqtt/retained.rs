//! Retained messages, in memory: the engine brings the tree and leaves it switched off.

use std::time::Duration;

use async_trait::async_trait;
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::types::{Retain, TopicFilter, TopicName};

/// The engine's tree of retained messages, switched on.
#[derive(Default)]
pub struct Retained {
    tree: DefaultRetainStorage,
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    async fn set(&self, topic: &TopicName, retain: Retain, expiry: Option<Duration>) -> rmqtt::Result<()> {
        // The engine says zero for a message that does not expire.
        let expiry = expiry.filter(|expiry| !expiry.is_zero());
        self.tree.set_with_timeout(topic, retain, expiry).await
    }

    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        self.tree.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.tree.remove_expired_messages().await;
        self.tree.count().await
    }

    async fn max(&self) -> isize {
        self.tree.max().await
    }
}
