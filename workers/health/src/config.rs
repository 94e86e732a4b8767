//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_domain::config::{BadConfig, Environment, Settings};
use rs1_ops::watch::Watched;

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// What is expected of the company's backups; empty where they are not to be watched.
    pub watched: Vec<Watched>,
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
        let watched = match settings.optional("WATCHED_BACKUPS") {
            None => Some(Vec::new()),
            Some(_) => settings.required("WATCHED_BACKUPS", Watched::EXPECTED, Watched::read_list),
        };
        let config = match (environment, operators, watched) {
            (Some(environment), Some(operators), Some(watched)) => {
                Some(Self { environment, operators, watched })
            }
            _ => None,
        };
        settings.finish(config)
    }
}
