//! This worker's configuration.

use rs1_auth::{KeyRing, Vault};
use rs1_domain::config::{BadConfig, Settings, is_strong_secret};

/// The settings this worker reads.
pub const NAMES: &[&str] = &["WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS", "DEVICE_KEK"];

/// What this worker needs to know.
pub struct Config {
    /// What EMQX says in `X-Webhook-Secret`.
    pub webhook_secret: KeyRing,
    /// Opens device keys.
    pub vault: Vault,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault, by the setting's name.
    pub fn read(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let mut settings = Settings::new(look_up);
        let secret = settings.required("WEBHOOK_SECRET", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("WEBHOOK_SECRET_PREVIOUS");
        let vault = settings.required("DEVICE_KEK", "must be 64 hex digits", Vault::new);
        settings.finish(secret.zip(vault).map(|(secret, vault)| Self {
            webhook_secret: KeyRing::new(&secret, previous.as_deref()),
            vault,
        }))
    }
}
