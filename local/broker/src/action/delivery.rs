//! One message to the backend, and what its answer means
//! (`emqx_bridge_http_connector:transform_result/1`, `maybe_retry/3`).

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::counters::Counters;
use super::worker::Item;
use crate::config::Action;
use crate::http::{Answer, Failure, Outgoing, Pool};
use crate::live::Live;

/// How often a message is sent back to back before its worker is blocked.
const QUICK_ATTEMPTS: u32 = 3;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The backend has it.
    Delivered,
    /// It is worth trying again.
    Recoverable(String),
    /// The backend does not want it.
    Refused(String),
}

/// What an answer means: 2xx is success; 429, 503, a timeout and a broken connection are worth
/// another attempt; every other status, redirects included, is final.
fn judge(result: &Result<Answer, Failure>) -> Outcome {
    match result {
        Ok(answer) if answer.status.is_success() => Outcome::Delivered,
        Ok(answer)
            if matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) =>
        {
            Outcome::Recoverable(format!("status {}", answer.status))
        }
        Ok(answer) => Outcome::Refused(format!("status {}", answer.status)),
        Err(failure) => Outcome::Recoverable(failure.to_string()),
    }
}

/// Sends the messages of one action.
#[derive(Debug)]
pub struct Delivery {
    action: String,
    path: hyper::Uri,
    headers: Live<HeaderMap>,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
}

impl Delivery {
    /// Sends for the action `name` over `pool`.
    pub fn new(name: &str, settings: &Action, pool: Arc<Pool>, counters: Arc<Counters>) -> Self {
        Self {
            action: name.to_owned(),
            path: settings.path.clone(),
            headers: Live::new(settings.headers.clone()),
            pool,
            counters,
        }
    }

    /// Sends with other headers from now on, what waits already as well.
    pub fn renew(&self, headers: HeaderMap) {
        self.headers.set(headers);
    }

    /// Tries up to three times without a pause. What is left, if anything, is worth another attempt
    /// later.
    pub async fn send(&self, item: Item) -> Option<Item> {
        for attempt in 0..QUICK_ATTEMPTS {
            if attempt > 0 {
                Counters::count(&self.counters.retried);
            }
            if self.attempt(&item).await {
                return None;
            }
        }
        Some(item)
    }

    /// Tries once more what failed before. Returns whether the message came to an end.
    pub async fn send_again(&self, item: &Item) -> bool {
        Counters::count(&self.counters.retried);
        self.attempt(item).await
    }

    /// Returns whether the message came to an end: delivered, refused, or too old.
    async fn attempt(&self, item: &Item) -> bool {
        let left = item.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Counters::count(&self.counters.expired);
            log::warn!("action {}: a message expired before it could be delivered", self.action);
            return true;
        }
        let headers = self.headers.get().as_ref().clone();
        let (path, body) = (self.path.clone(), item.body.clone());
        let outgoing = Outgoing { method: Method::POST, path, headers, body };
        match judge(&self.pool.send(&outgoing, item.slot, left).await) {
            Outcome::Delivered => {
                Counters::count(&self.counters.success);
                true
            }
            Outcome::Refused(why) => {
                Counters::count(&self.counters.failed);
                log::warn!("action {}: a message was dropped: {why}", self.action);
                true
            }
            Outcome::Recoverable(why) => {
                log::info!("action {}: will try again: {why}", self.action);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(status: u16) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        judge(&Ok(Answer { status, headers: HeaderMap::new(), body: Bytes::new() }))
    }

    #[test]
    fn every_2xx_is_a_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answered(status), Outcome::Delivered, "{status}");
        }
    }

    #[test]
    fn only_429_503_and_transport_faults_are_tried_again() {
        for status in [429, 503] {
            assert!(matches!(answered(status), Outcome::Recoverable(_)), "{status}");
        }
        for failure in [Failure::Timeout, Failure::Connection("refused".to_owned())] {
            assert!(matches!(judge(&Err(failure.clone())), Outcome::Recoverable(_)), "{failure}");
        }
        for status in [301, 304, 400, 401, 403, 404, 409, 422, 500, 502, 504, 520, 530] {
            assert!(matches!(answered(status), Outcome::Refused(_)), "{status}");
        }
    }
}
