//! What changes while the broker runs: settings that are read anew, and a gate before the backend.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock as Turnstile, RwLockReadGuard};

/// A value that can be replaced. Whoever has read it goes on with what they read.
#[derive(Debug)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.write() = Arc::new(value);
    }
}

/// Stands before the backend. While it is held, requests wait in front of it: so the backend can be exchanged for another
/// without anyone being refused meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Turnstile<()>>);

impl Gate {
    /// Waits until the gate is open, and keeps it from being held until the guard is dropped.
    pub async fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }

    /// Lets nobody pass any more, and waits for those who have; it opens when the guard is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.0.clone().write_owned().await
    }
}
