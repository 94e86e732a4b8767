//! What the parts of the broker share: who decides, who is told, what is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::action::Actions;
use crate::auth::{Authenticator, Authorizer};
use crate::clock;
use crate::collected::Collected;
use crate::config::{Config, Target};
use crate::live::Gate;
use crate::metrics::{Counter, Metrics};
use crate::mqtt::Clients;
use crate::rules::{Engine, Event, Guids, Kind, Message, Sink, Term};

/// The broker, apart from the MQTT engine and the management API that call it.
#[derive(Debug)]
pub struct Broker {
    /// `node.name`.
    pub node: String,
    /// Where devices connect.
    pub mqtt_address: SocketAddr,
    /// The largest packet, in bytes.
    pub max_packet_size: u32,
    /// Who may connect.
    pub authenticator: Authenticator,
    /// Who may do what.
    pub authorizer: Authorizer,
    /// What is told to the backend.
    pub rules: Engine,
    /// How it is told, by HTTP.
    pub actions: Actions,
    /// What is collected for it, into objects.
    pub collected: Collected,
    /// Who has been let in.
    pub clients: Clients,
    /// What all requests to the backend pass.
    pub gate: Gate,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Makes message ids.
    pub guids: Guids,
    /// When the broker started, in Unix milliseconds.
    pub started_at: i64,
}

impl Broker {
    /// Asks and tells the backend as `config` says from now on: headers, the secret among them, and access keys. Clients stay
    /// connected. Anything else that changed is for the next start, as are other targets.
    pub fn renew(&self, config: Config) {
        self.authenticator.renew(config.authentication);
        self.authorizer.renew(config.authorization.sources);
        self.actions.renew(&config.actions);
        self.collected.renew(&config.s3_connectors);
    }

    /// A new message id.
    pub fn message_id(&self) -> String {
        self.guids.next(clock::unix_micros())
    }

    /// Tells rules of a message that may be published.
    pub fn published(&self, message: Message) {
        self.metrics.count(Counter::MessagesPublish);
        self.happened(Kind::Message(message));
    }

    /// Tells rules of something that happened.
    pub fn happened(&self, kind: Kind) {
        let event = Event { kind, node: self.node.clone(), timestamp: clock::unix_millis() };
        self.rules.run(&event, self);
    }
}

impl Sink for Broker {
    fn take(&self, action: &Target, clientid: &str, selected: &BTreeMap<String, Term>) {
        match action {
            Target::Http(name) => self.actions.take(name, clientid, selected),
            Target::S3(name) => self.collected.take(name, clientid, selected),
        }
    }
}
