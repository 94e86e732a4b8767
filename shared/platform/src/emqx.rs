//! The broker's management API: EMQX 5's `publish/bulk` and `clients`.
//!
//! What its answers mean (`emqx_mgmt_api_publish`): every message of a bulk is checked before any is published, and
//! one that is wrong has the whole bulk refused with 400. Otherwise the answer is a list, an element a message: an `id`
//! for one that somebody subscribes to, a `reason_code` for another; its status is 200, 202 (some without a
//! subscriber) or 503 (some failed). An empty bulk makes it fail inside, so it is never sent one.

use rs1_domain::config::BrokerApi;
use rs1_domain::json;
use rs1_domain::port::{Broker, PortError, Publication, Published, Qos};
use serde::{Deserialize, Serialize};

use crate::http_client::{Outgoing, exchange};

/// The longest answer in bytes: a few dozen for each message of a bulk.
const ANSWER_BYTES: usize = 64 * 1024;
/// The longest wait for one, in milliseconds.
const ANSWER_TIME: u32 = 10_000;
/// The `reason_code` of a message that nobody subscribes to (MQTT 5, "No matching subscribers").
const NO_SUBSCRIBERS: u32 = 16;

/// EMQX, spoken to with an API key.
#[derive(Clone, Copy, Debug)]
pub struct Emqx<'a> {
    api: Option<&'a BrokerApi>,
}

impl<'a> Emqx<'a> {
    /// The broker behind that API; one that cannot be asked while a worker's configuration is bad.
    pub fn new(api: Option<&'a BrokerApi>) -> Self {
        Self { api }
    }

    async fn call(
        &self,
        operation: &str,
        method: &'static str,
        path: &str,
        body: Option<&str>,
    ) -> Result<(u16, String), PortError> {
        let failed = |cause: String| PortError { operation: format!("emqx {operation}"), cause };
        let api = self.api.ok_or_else(|| failed("the configuration is bad".to_owned()))?;
        let headers = [
            ("authorization", api.authorization.as_str()),
            ("accept", "application/json"),
            // To the letter: EMQX answers 415 to JSON without it.
            ("content-type", "application/json"),
            ("user-agent", "rs1-cloud/1"),
        ];
        let url = format!("{}{path}", api.url);
        let request = Outgoing {
            method,
            url: &url,
            headers: &headers,
            body,
            limit: ANSWER_BYTES,
            milliseconds: ANSWER_TIME,
        };
        exchange(request).await.map_err(failed)
    }

    /// Publishes a bulk that is not empty. `None`: the broker takes none of it, since one of them is wrong.
    async fn publish_bulk(
        &self,
        messages: &[Publication],
    ) -> Result<Result<Vec<Published>, String>, PortError> {
        let body = bulk(messages).map_err(|error| PortError::new("emqx publish", error.to_string()))?;
        let (status, text) = self.call("publish", "POST", "/publish/bulk", Some(&body)).await?;
        read_bulk(status, &text, messages.len())
            .map_err(|cause| PortError { operation: "emqx publish".into(), cause })
    }
}

impl Broker for Emqx<'_> {
    /// One call; where the broker refuses a bulk, its halves, until what it refuses stands alone.
    async fn publish(&self, messages: &[Publication]) -> Result<Vec<Published>, PortError> {
        let mut published = Vec::with_capacity(messages.len());
        let mut waiting = vec![messages];
        while let Some(part) = waiting.pop() {
            if part.is_empty() {
                continue;
            }
            match self.publish_bulk(part).await? {
                Ok(answers) => published.extend(answers),
                Err(why) if part.len() == 1 => published.push(Published::Refused(why)),
                Err(_) => {
                    let (front, back) = part.split_at(part.len() / 2);
                    waiting.extend([back, front]);
                }
            }
        }
        Ok(published)
    }

    async fn kick(&self, client_id: &str) -> Result<bool, PortError> {
        // Devices' client ids need no escaping; another's must not become another path.
        if !client_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Ok(false);
        }
        match self.call("kick", "DELETE", &format!("/clients/{client_id}"), None).await? {
            (204, _) => Ok(true),
            (404, _) => Ok(false),
            (status, text) => Err(PortError::new("emqx kick", unexpected(status, &text))),
        }
    }
}

/// The body of a bulk.
fn bulk(messages: &[Publication]) -> Result<String, json::Error> {
    #[derive(Serialize)]
    struct Message<'a> {
        topic: &'a str,
        payload: &'a str,
        qos: u8,
        retain: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        properties: Option<Properties>,
    }
    #[derive(Serialize)]
    struct Properties {
        message_expiry_interval: u32,
    }
    let messages = messages.iter().map(|message| Message {
        topic: &message.topic,
        payload: &message.payload,
        qos: match message.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
        },
        retain: message.retain,
        properties: message.expires_after.map(|seconds| Properties { message_expiry_interval: seconds }),
    });
    json::write(&messages.collect::<Vec<_>>())
}

/// What became of each of `count` messages; or, with the inner error, why the broker takes none of them.
///
/// # Errors
/// Whatever leaves open what became of them.
fn read_bulk(status: u16, text: &str, count: usize) -> Result<Result<Vec<Published>, String>, String> {
    /// It has the one or the other.
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        reason_code: Option<u32>,
    }
    match status {
        200 | 202 | 503 => {}
        400 => return Ok(Err(shortened(text))),
        _ => return Err(unexpected(status, text)),
    }
    // A node that is starting or stopping answers 503 as well, with something else in it.
    let items: Vec<Item> = json::read(text).map_err(|_| unexpected(status, text))?;
    if items.len() != count {
        return Err(format!("{} answers for {count} messages", items.len()));
    }
    let published = items.into_iter().map(|item| match item {
        Item { id: Some(_), .. } => Ok(Published::Accepted),
        Item { reason_code: Some(NO_SUBSCRIBERS), .. } => Ok(Published::NoSubscriber),
        Item { reason_code: Some(_), .. } => Ok(Published::Failed),
        Item { id: None, reason_code: None } => Err(unexpected(status, text)),
    });
    published.collect::<Result<_, _>>().map(Ok)
}

fn unexpected(status: u16, text: &str) -> String {
    format!("status {status}: {}", shortened(text))
}

/// As much of an answer as belongs into a log line.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_is_a_list_of_messages_as_the_broker_reads_them() {
        let trigger = Publication {
            topic: "opticworks/x/ota/trigger".into(),
            payload: r#"{"version":"1.2.0"}"#.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_after: Some(900),
        };
        let plain =
            Publication { qos: Qos::AtMostOnce, retain: true, expires_after: None, ..trigger.clone() };
        assert_eq!(
            bulk(&[trigger, plain]).unwrap(),
            concat!(
                r#"[{"topic":"opticworks/x/ota/trigger","payload":"{\"version\":\"1.2.0\"}","qos":1,"retain":false,"#,
                r#""properties":{"message_expiry_interval":900}},"#,
                r#"{"topic":"opticworks/x/ota/trigger","payload":"{\"version\":\"1.2.0\"}","qos":0,"retain":true}]"#
            )
        );
    }

    #[test]
    fn each_message_of_an_answer_is_read() {
        let mixed = r#"[{"id":"0006"},{"reason_code":16,"message":"no_matching_subscribers"},{"reason_code":131,"message":"failed_to_dispatch"}]"#;
        let expected = vec![Published::Accepted, Published::NoSubscriber, Published::Failed];
        assert_eq!(read_bulk(503, mixed, 3), Ok(Ok(expected.clone())));
        assert_eq!(read_bulk(202, mixed, 3), Ok(Ok(expected)));
        assert_eq!(read_bulk(200, r#"[{"id":"0006"}]"#, 1), Ok(Ok(vec![Published::Accepted])));
    }

    #[test]
    fn a_refusal_is_told_apart_from_an_answer_that_leaves_everything_open() {
        let refused = r#"{"reason_code":144,"message":"topic_name_invalid"}"#;
        assert_eq!(read_bulk(400, refused, 2), Ok(Err(refused.to_owned())));
        for (status, text) in [
            (200, r#"[{"id":"0006"}]"#),
            (200, "<html>"),
            (401, r#"{"code":"BAD_API_KEY_OR_SECRET"}"#),
            (404, ""),
            (500, "INTERNAL_ERROR"),
            (503, "Node emqx@10.0.0.5 is starting"),
            (302, ""),
        ] {
            assert!(read_bulk(status, text, 2).is_err(), "{status} {text}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_for_the_log() {
        assert_eq!(
            read_bulk(500, &"é".repeat(5_000), 1).unwrap_err().chars().count(),
            "status 500: ".len() + 200
        );
    }
}
