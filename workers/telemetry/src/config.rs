//! This worker's configuration.

use rs1_auth::{KeyRing, Vault};
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings, is_strong_secret};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// What EMQX says in `X-Webhook-Secret`.
    pub webhook_secret: KeyRing,
    /// Opens device keys.
    pub vault: Vault,
    /// Where the broker is told what devices are to hear.
    pub broker: BrokerApi,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault, by the setting's name.
    pub fn read(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let mut settings = Settings::new(look_up);
        let environment = settings.environment();
        let secret = settings.required("WEBHOOK_SECRET", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("WEBHOOK_SECRET_PREVIOUS");
        let sealed_before = settings.optional("DEVICE_KEK_PREVIOUS");
        let vault =
            settings.required("DEVICE_KEK", "must be 64 hex digits, and so must …_PREVIOUS", |text| {
                Vault::new(text, sealed_before.as_deref())
            });
        let broker = settings.broker_api();
        let config = match (environment, secret, vault, broker) {
            (Some(environment), Some(secret), Some(vault), Some(broker)) => {
                let webhook_secret = KeyRing::new(&secret, previous.as_deref());
                Some(Self { environment, webhook_secret, vault, broker })
            }
            _ => None,
        };
        settings.finish(config)
    }
}
