//! EMQX's own events, as its rules deliver them.

use serde::Deserialize;

use super::fields;
use crate::{ClientId, Faults, UnixMillis};

/// Why a session ended, as far as we tell reasons apart. EMQX's reasons are an open set
/// (`emqx_rule_events:reason/1` passes any atom on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The device said goodbye.
    Clean,
    /// The connection was lost or closed by the broker.
    Lost,
    /// Another connection of the same client id took the session over (`takenover`), or replaced
    /// it (`discarded`): the device is not gone, it is here again.
    Replaced,
}

/// A client's session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// Whose session it was. Clients that are not devices (the cloud's own tools) give `None`.
    pub client: Option<ClientId>,
    /// EMQX's word for the reason, at most 64 characters of it.
    pub reason: String,
    /// What the reason means for us.
    pub ending: Ending,
    /// When the session had begun.
    pub connected_at: Option<UnixMillis>,
    /// When it ended.
    pub disconnected_at: UnixMillis,
}

/// A session ended, as a rule of EMQX says it. Other columns are ignored.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "SessionEnd", extend("required" = ["clientid"])))]
#[derive(Deserialize)]
struct Body {
    /// `client.disconnected`.
    #[serde(default)]
    event: Option<String>,
    /// Whose session it was.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "String", length(min = 1)))]
    clientid: Option<String>,
    /// EMQX's word for why.
    #[serde(default)]
    reason: Option<String>,
    /// When the session began, in Unix milliseconds.
    #[serde(default)]
    connected_at: Option<i64>,
    /// When it ended, in Unix milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 253_402_300_799_999_i64)))]
    disconnected_at: Option<i64>,
    /// The same, where the rule does not select `disconnected_at`.
    #[serde(default)]
    timestamp: Option<i64>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Disconnected {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Body::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Body::json_schema(generator)
    }
}

impl Disconnected {
    /// Reads a webhook's body.
    ///
    /// # Errors
    /// Every fault: no JSON object, another event, no client id, no time.
    pub fn read(body: &[u8]) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let body: Body = fields::record(body)?;
        let right_event = body.event.as_deref().is_none_or(|event| event == "client.disconnected");
        faults.require(right_event, "/event", "must be client.disconnected");
        let clientid = body.clientid.filter(|id| !id.is_empty());
        faults.require(clientid.is_some(), "/clientid", "is required");
        let at = body.disconnected_at.or(body.timestamp).and_then(UnixMillis::from_outside);
        faults.require(at.is_some(), "/disconnected_at", fields::UNIX_MILLIS);
        let (Some(clientid), Some(at), true) = (clientid, at, faults.is_empty()) else { return Err(faults) };
        let reason: String = body.reason.unwrap_or_default().chars().take(64).collect();
        let ending = match reason.as_str() {
            "normal" => Ending::Clean,
            "takenover" | "discarded" => Ending::Replaced,
            _ => Ending::Lost,
        };
        Ok(Self {
            client: ClientId::parse(&clientid),
            reason,
            ending,
            connected_at: body.connected_at.and_then(UnixMillis::from_outside),
            disconnected_at: at,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";

    #[test]
    fn reasons_are_sorted_by_what_they_mean() {
        for (reason, ending) in [
            ("normal", Ending::Clean),
            ("takenover", Ending::Replaced),
            ("discarded", Ending::Replaced),
            ("keepalive_timeout", Ending::Lost),
            ("tcp_closed", Ending::Lost),
            ("kicked", Ending::Lost),
            ("some_new_atom", Ending::Lost),
        ] {
            let body = json!({"event": "client.disconnected", "reason": reason, "clientid": format!("{ID}-1"),
                "connected_at": 1_763_690_000_000_i64, "disconnected_at": 1_763_690_475_123_i64});
            let event = Disconnected::read(body.to_string().as_bytes()).unwrap();
            assert_eq!(event.ending, ending, "{reason}");
            assert_eq!(event.client.unwrap().device().as_str(), ID);
            assert_eq!(event.disconnected_at, UnixMillis(1_763_690_475_123));
        }
    }

    #[test]
    fn every_fault_is_named() {
        let faults = Disconnected::read(br#"{"event": "client.connected"}"#).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/event", "/clientid", "/disconnected_at"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Disconnected::read(&bytes);
        }
    }
}
