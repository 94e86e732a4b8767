//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::Vault;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// Seals device keys.
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
        let operators = Issuer::read(&mut settings);
        let vault = settings.required("DEVICE_KEK", "must be 64 hex digits", Vault::new);
        let broker = settings.broker_api();
        let config = match (environment, operators, vault, broker) {
            (Some(environment), Some(operators), Some(vault), Some(broker)) => {
                Some(Self { environment, operators, vault, broker })
            }
            _ => None,
        };
        settings.finish(config)
    }
}
