//! This worker's configuration.

use rs1_domain::config::{BadConfig, Environment, Settings};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault, by the setting's name.
    pub fn read(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let mut settings = Settings::new(look_up);
        let config = settings.environment().map(|environment| Self { environment });
        settings.finish(config)
    }
}
