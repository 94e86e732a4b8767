//! What EMQX asks when a client connects (authentication) and when it publishes or subscribes
//! (authorization), and the answers it understands.
//!
//! EMQX renders every value as a JSON string and a missing one as `""` (EMQX 5.10,
//! `emqx_auth_template`). It reads an answer only from status 200 with `application/json`; anything
//! else counts as "no opinion", so a refusal is a 200 that says `deny`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fields;
use crate::Faults;

/// A client wants to connect.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Deserialize)]
pub struct Authentication<'a> {
    /// MQTT client id.
    #[serde(borrow, default)]
    pub clientid: Cow<'a, str>,
    /// MQTT user name.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// MQTT password.
    #[serde(borrow, default)]
    pub password: Cow<'a, str>,
    /// The client's IP address, without a port.
    #[serde(borrow, default)]
    pub peerhost: Cow<'a, str>,
}

/// What a client wants to do with a topic.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Publish to a topic name.
    Publish,
    /// Subscribe to a topic filter.
    Subscribe,
}

impl Action {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// A connected client wants to publish or subscribe.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Deserialize)]
pub struct Authorization<'a> {
    /// MQTT client id.
    #[serde(borrow, default)]
    pub clientid: Cow<'a, str>,
    /// MQTT user name, as admitted.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// The client's IP address, without a port.
    #[serde(borrow, default)]
    pub peerhost: Cow<'a, str>,
    /// `publish` or `subscribe`.
    #[serde(borrow, default)]
    pub action: Cow<'a, str>,
    /// The topic name, or the filter with its wildcards; a shared subscription's group is cut off.
    #[serde(borrow, default)]
    pub topic: Cow<'a, str>,
}

impl<'a> Authentication<'a> {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When it is not a JSON object of strings.
    pub fn read(body: &'a [u8]) -> Result<Self, Faults> {
        fields::record(body)
    }
}

impl<'a> Authorization<'a> {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When it is not a JSON object of strings.
    pub fn read(body: &'a [u8]) -> Result<Self, Faults> {
        fields::record(body)
    }

    /// The action; `None` if it is neither of the two.
    pub fn action(&self) -> Option<Action> {
        match &*self.action {
            "publish" => Some(Action::Publish),
            "subscribe" => Some(Action::Subscribe),
            _ => None,
        }
    }
}

/// The answer to either question.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No; EMQX asks nobody else.
    Deny,
}

/// A rule that EMQX applies itself, before it asks us again (EMQX 5.8 and later, `acl` in the
/// authentication answer). No match falls through to the authorization webhook.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclRule {
    /// What the rule grants.
    pub permission: Verdict,
    /// What it is about.
    pub action: Action,
    /// Topic names and filters.
    pub topics: Vec<String>,
}

/// The body of an answer to [`Authentication`].
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthenticationAnswer {
    /// Whether the client may connect.
    pub result: Verdict,
    /// Always false: a superuser would skip every topic check.
    pub is_superuser: bool,
    /// Rules for the session; none with a refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<AclRule>,
}

/// The body of an answer to [`Authorization`].
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationAnswer {
    /// Whether the client may do it.
    pub result: Verdict,
}
