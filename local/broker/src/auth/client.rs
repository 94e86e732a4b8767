//! A connection that was let in, and what is known of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::authn::Grant;
use super::cache::Decisions;

/// Who is on the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Client id.
    pub clientid: String,
    /// User name, if the client gave one.
    pub username: Option<String>,
    /// The client's end of the connection.
    pub peer: Option<SocketAddr>,
    /// The broker's end of the connection.
    pub local: Option<SocketAddr>,
    /// 3, 4 or 5.
    pub proto_ver: u8,
}

/// A client that is let in.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub identity: Identity,
    /// What authentication said of it.
    pub grant: Grant,
    /// What authorization said to it lately.
    pub decisions: Mutex<Decisions>,
    will_published: AtomicBool,
}

impl Client {
    /// A client that has just been let in.
    pub fn new(identity: Identity, grant: Grant) -> Self {
        let decisions = Mutex::new(Decisions::default());
        Self { identity, grant, decisions, will_published: AtomicBool::new(false) }
    }

    /// Notes that the will is being published. Returns whether this is the first time.
    pub fn publish_will_once(&self) -> bool {
        !self.will_published.swap(true, Ordering::Relaxed)
    }
}
