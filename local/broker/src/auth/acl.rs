//! The rules that authentication may hand out with its answer (`acl`), as
//! `emqx_authz_rule_raw:parse_rule/1` reads and `emqx_authz_rule:match/4` applies them.

use serde_json::Value as Json;

use super::client::Identity;
use crate::template::Template;
use crate::topic;

/// Something that a client wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the packet")]
pub enum Operation {
    Publish { topic: String, qos: u8, retain: bool },
    Subscribe { filter: String, qos: u8 },
}

impl Operation {
    /// The topic name or filter.
    pub fn topic(&self) -> &str {
        match self {
            Self::Publish { topic, .. } => topic,
            Self::Subscribe { filter, .. } => filter,
        }
    }
}

/// One rule. The first that covers an operation decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    allow: bool,
    action: Action,
    /// Which `QoS` levels it is about.
    qos: Vec<u8>,
    /// Whether it is only about publishing with, or without, the retain flag.
    retain: Option<bool>,
    topics: Vec<Filter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Publish,
    Subscribe,
    All,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    /// Covers by wildcards.
    Covering(Template<Placeholder>),
    /// `eq …`: to the letter.
    Equal(Template<Placeholder>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Placeholder {
    ClientId,
    Username,
}

impl Rule {
    /// Reads one rule.
    ///
    /// # Errors
    /// What is wrong with it; EMQX then refuses the client.
    pub fn read(json: &Json) -> Result<Self, String> {
        let field = |name: &str| json.get(name);
        let allow = match field("permission").and_then(Json::as_str) {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err(bad("permission", field("permission"))),
        };
        let action = match field("action").and_then(Json::as_str) {
            Some("publish" | "pub") => Action::Publish,
            Some("subscribe" | "sub") => Action::Subscribe,
            Some("all") => Action::All,
            _ => return Err(bad("action", field("action"))),
        };
        // EMQX can bind a rule to addresses and patterns of names; an answer that is about one client
        // has no use for that, and ignoring it here would grant more than EMQX does.
        if let Some(name) =
            ["ipaddr", "clientid_re", "username_re", "who"].iter().find(|name| field(name).is_some())
        {
            return Err(format!("{name} in an acl rule is not played by the local broker"));
        }
        let topics = match (field("topics"), field("topic")) {
            (Some(Json::Array(topics)), _) => topics.iter().map(Filter::read).collect::<Result<_, _>>()?,
            (None, Some(topic)) => vec![Filter::read(topic)?],
            (topics, _) => return Err(bad("topics", topics)),
        };
        Ok(Self {
            allow,
            action,
            qos: read_qos(field("qos"))?,
            retain: read_retain(field("retain"))?,
            topics,
        })
    }

    /// Whether the rule allows or denies the operation; `None` if it does not cover it.
    pub fn decide(&self, identity: &Identity, operation: &Operation) -> Option<bool> {
        let covered = match operation {
            Operation::Publish { qos, retain, .. } => {
                self.action != Action::Subscribe
                    && self.qos.contains(qos)
                    && self.retain.is_none_or(|wanted| wanted == *retain)
            }
            Operation::Subscribe { qos, .. } => self.action != Action::Publish && self.qos.contains(qos),
        };
        let covers = |filter: &Filter| filter.covers(identity, operation.topic());
        (covered && self.topics.iter().any(covers)).then_some(self.allow)
    }
}

impl Filter {
    fn read(json: &Json) -> Result<Self, String> {
        let text = json.as_str().ok_or_else(|| bad("topics", Some(json)))?;
        let template = |text: &str| {
            Template::parse(text, |name| match name {
                "clientid" => Some(Placeholder::ClientId),
                "username" => Some(Placeholder::Username),
                _ => None,
            })
        };
        Ok(match text.strip_prefix("eq ") {
            Some(exact) => Self::Equal(template(exact)),
            None => Self::Covering(template(text)),
        })
    }

    fn covers(&self, identity: &Identity, topic: &str) -> bool {
        let render = |template: &Template<Placeholder>| {
            template.render::<()>(|placeholder, out| {
                match placeholder {
                    Placeholder::ClientId => out.push_str(&identity.clientid),
                    // Without a user name there is nothing that the filter could mean.
                    Placeholder::Username => out.push_str(identity.username.as_deref().ok_or(())?),
                }
                Ok(())
            })
        };
        match self {
            Self::Covering(template) => {
                render(template).is_ok_and(|filter: String| topic::covers(&filter, topic))
            }
            Self::Equal(template) => render(template).is_ok_and(|filter: String| filter == topic),
        }
    }
}

fn read_qos(json: Option<&Json>) -> Result<Vec<u8>, String> {
    let level = |json: &Json| {
        let number = json.as_u64().or_else(|| json.as_str()?.trim().parse().ok());
        number.filter(|level| *level <= 2).and_then(|level| u8::try_from(level).ok())
    };
    let levels: Option<Vec<u8>> = match json {
        None | Some(Json::Null) => Some(vec![0, 1, 2]),
        Some(Json::Array(items)) => items.iter().map(level).collect(),
        Some(Json::String(text)) => text.split(',').map(|item| level(&Json::from(item))).collect(),
        Some(other) => level(other).map(|level| vec![level]),
    };
    levels.ok_or_else(|| bad("qos", json))
}

fn read_retain(json: Option<&Json>) -> Result<Option<bool>, String> {
    match json {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(*flag)),
        Some(Json::String(text)) if text == "all" => Ok(None),
        Some(Json::String(text)) if matches!(text.as_str(), "true" | "1") => Ok(Some(true)),
        Some(Json::String(text)) if matches!(text.as_str(), "false" | "0") => Ok(Some(false)),
        Some(Json::Number(number)) if number.as_u64() == Some(1) => Ok(Some(true)),
        Some(Json::Number(number)) if number.as_u64() == Some(0) => Ok(Some(false)),
        other => Err(bad("retain", other)),
    }
}

fn bad(field: &str, json: Option<&Json>) -> String {
    match json {
        Some(json) => format!("bad_acl_rule: {field} is {json}"),
        None => format!("bad_acl_rule: {field} is missing"),
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
