//! Which clients have been let in, between the moment authentication decides and the moment the
//! engine has a session for them; and which connection of a client id is the latest.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmqtt::types::{ClientId, Id};

use crate::auth::Client;

/// The register of clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Let in, without a session yet.
    admitted: Mutex<HashMap<Id, Arc<Client>>>,
    /// The latest connection of each client id, and whether it asked for a clean start.
    latest: Mutex<HashMap<ClientId, (Id, bool)>>,
}

impl Clients {
    /// Lets a client in.
    pub fn admit(&self, id: &Id, client: Arc<Client>, clean_start: bool) {
        self.admitted.lock().insert(id.clone(), client);
        self.latest.lock().insert(id.client_id.clone(), (id.clone(), clean_start));
    }

    /// Takes what `admit` left for a session that now exists.
    pub fn claim(&self, id: &Id) -> Option<Arc<Client>> {
        self.admitted.lock().remove(id)
    }

    /// Whether the connection that took this one's place asked for a clean start; `None` if none did.
    pub fn replaced_by_clean_start(&self, id: &Id) -> Option<bool> {
        let latest = self.latest.lock();
        latest.get(&id.client_id).filter(|(other, _)| other != id).map(|(_, clean_start)| *clean_start)
    }

    /// Forgets a connection that ended.
    pub fn forget(&self, id: &Id) {
        let mut latest = self.latest.lock();
        if latest.get(&id.client_id).is_some_and(|(other, _)| other == id) {
            latest.remove(&id.client_id);
        }
    }
}
