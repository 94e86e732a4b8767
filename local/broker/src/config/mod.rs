//! The production configuration, typed, and nothing in it that this broker does not play.
//!
//! Key names, defaults and units are those of EMQX 5.10's schema modules, named in each part. All
//! faults are collected and reported together, each with the line it stands in.

mod actions;
mod authorization;
mod elsewhere;
mod mqtt;
mod reader;
mod request;
mod rules;
mod s3;

use std::collections::BTreeMap;

pub use actions::{Action, Body, BodyPath, Connector, QueryMode};
pub use authorization::{Authorization, CacheLimits, DenyAction};
pub use mqtt::MqttLimits;
pub use reader::Ignored;
pub use request::{AuthRequest, BodyTemplate, Variable};
pub use rules::{Rule, Target};
pub use s3::{KeyPart, S3Action, S3Connector, TimeFormat};

use crate::hocon::{self, Fault, Includes};
use crate::http::Origins;
use reader::{Findings, Section};

/// Everything that the broker is told.
#[derive(Debug)]
pub struct Config {
    /// `node.name`, the `node` column of every event.
    pub node: String,
    /// The id of the listener that devices use in production, such as `ssl:default`.
    pub listener: String,
    /// Limits of the MQTT engine.
    pub mqtt: MqttLimits,
    /// Authenticators that are enabled, in order. None at all means that everyone may connect.
    pub authentication: Vec<AuthRequest>,
    /// Who may publish and subscribe what.
    pub authorization: Authorization,
    /// HTTP connectors that are enabled, by name.
    pub connectors: BTreeMap<String, Connector>,
    /// HTTP actions that are enabled, by name.
    pub actions: BTreeMap<String, Action>,
    /// S3 connectors that are enabled, by name.
    pub s3_connectors: BTreeMap<String, S3Connector>,
    /// S3 actions that are enabled, by name.
    pub s3_actions: BTreeMap<String, S3Action>,
    /// Rules that are enabled, in the order written.
    pub rules: Vec<Rule>,
    /// Settings that mean nothing on this broker.
    pub ignored: Vec<Ignored>,
}

impl Config {
    /// Reads the configuration in `text`, the content of `file`.
    ///
    /// # Errors
    /// Every fault found, in the order of the lines.
    pub fn read(file: &str, text: &str, includes: &Includes, origins: &Origins) -> Result<Self, Vec<Fault>> {
        let document = hocon::parse(file, text, includes)?;
        let mut findings = Findings::default();
        let mut root = Section::new("", &document);

        let node = elsewhere::node(&mut root, &mut findings);
        let listener = elsewhere::listeners(&mut root, &mut findings);
        elsewhere::operations(&mut root, &mut findings);
        let mqtt = mqtt::read(&mut root, &mut findings);
        let authentication = request::authenticators(&mut root, origins, &mut findings);
        let authorization = authorization::read(&mut root, origins, &mut findings);
        let connectors = actions::connectors(&mut root, origins, &mut findings);
        let actions = actions::actions(&mut root, &connectors, &mut findings);
        let rules = rules::read(&mut root, &actions, &mut findings);
        root.finish(&mut findings);

        if findings.faults.is_empty() {
            let (s3_connectors, s3_actions) = (connectors.s3.enabled, actions.s3.enabled);
            let (connectors, actions) = (connectors.http.enabled, actions.http.enabled);
            let ignored = findings.ignored;
            Ok(Self {
                node,
                listener,
                mqtt,
                authentication,
                authorization,
                connectors,
                actions,
                s3_connectors,
                s3_actions,
                rules,
                ignored,
            })
        } else {
            findings.faults.sort();
            findings.faults.dedup();
            Err(findings.faults)
        }
    }
}

#[cfg(test)]
mod tests;
