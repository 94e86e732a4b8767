//! This worker's configuration.

use rs1_auth::access_token::AccessTokens;
use rs1_domain::config::{BadConfig, Environment, Settings, is_strong_secret};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Tells good access tokens of users.
    pub access_tokens: AccessTokens,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault, by the setting's name.
    pub fn read(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let mut settings = Settings::new(look_up);
        let environment = settings.environment();
        let secret = settings.required("JWT_SECRET", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("JWT_SECRET_PREVIOUS");
        let config = environment.zip(secret).map(|(environment, secret)| Self {
            environment,
            access_tokens: AccessTokens::new(&secret, previous.as_deref()),
        });
        settings.finish(config)
    }
}
