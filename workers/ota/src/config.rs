//! This worker's configuration.

use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
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
        let broker = settings.broker_api();
        let config = match (environment, broker) {
            (Some(environment), Some(broker)) => Some(Self { environment, broker }),
            _ => None,
        };
        settings.finish(config)
    }
}
