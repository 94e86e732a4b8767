//! The counters of `GET /metrics`, under EMQX's names (`emqx_metrics.erl`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($variant:ident = $name:literal,)*) => {
        /// A counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the counter of the name beside it")]
        pub enum Counter {
            $($variant,)*
        }

        /// Every counter with its name, in the order of the variants.
        const ALL: &[(Counter, &str)] = &[$((Counter::$variant, $name),)*];
    };
}

counters! {
    ClientConnected = "client.connected",
    ClientDisconnected = "client.disconnected",
    ClientAuthenticate = "client.authenticate",
    ClientAuthorize = "client.authorize",
    ClientSubscribe = "client.subscribe",
    ClientUnsubscribe = "client.unsubscribe",
    SessionCreated = "session.created",
    SessionResumed = "session.resumed",
    SessionTakenOver = "session.takenover",
    SessionDiscarded = "session.discarded",
    SessionTerminated = "session.terminated",
    AuthenticationSuccess = "authentication.success",
    AuthenticationAnonymous = "authentication.success.anonymous",
    AuthenticationFailure = "authentication.failure",
    AuthorizationAllow = "authorization.allow",
    AuthorizationDeny = "authorization.deny",
    AuthorizationCacheHit = "authorization.cache_hit",
    AuthorizationCacheMiss = "authorization.cache_miss",
    AuthorizationMatchedAllow = "authorization.matched_allow",
    AuthorizationMatchedDeny = "authorization.matched_deny",
    AuthorizationNoMatch = "authorization.nomatch",
    AuthorizationSuperuser = "authorization.superuser",
    PacketsConnackAuthError = "packets.connack.auth_error",
    PacketsPublishAuthError = "packets.publish.auth_error",
    PacketsSubscribeAuthError = "packets.subscribe.auth_error",
    MessagesReceived = "messages.received",
    MessagesQos0Received = "messages.qos0.received",
    MessagesQos1Received = "messages.qos1.received",
    MessagesQos2Received = "messages.qos2.received",
    MessagesPublish = "messages.publish",
    MessagesSent = "messages.sent",
    MessagesDelivered = "messages.delivered",
    MessagesAcked = "messages.acked",
    MessagesDropped = "messages.dropped",
    MessagesDroppedNoSubscribers = "messages.dropped.no_subscribers",
    DeliveryDropped = "delivery.dropped",
    DeliveryDroppedQueueFull = "delivery.dropped.queue_full",
    DeliveryDroppedExpired = "delivery.dropped.expired",
}

/// All counters since the broker started.
#[derive(Debug)]
pub struct Metrics {
    values: Vec<AtomicU64>,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self { values: ALL.iter().map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds one.
    pub fn count(&self, counter: Counter) {
        if let Some(value) = self.values.get(counter as usize) {
            value.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every counter by name.
    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        ALL.iter()
            .zip(&self.values)
            .map(|((_, name), value)| (*name, value.load(Ordering::Relaxed)))
            .collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_counts_under_its_own_name() {
        let metrics = Metrics::new();
        for (counter, name) in ALL {
            metrics.count(*counter);
            assert_eq!(metrics.read().get(name), Some(&1), "{name}");
        }
    }
}
