//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::access_token::AccessTokens;
use rs1_auth::export_link::ExportLinks;
use rs1_domain::config::{BadConfig, Environment, Settings, is_strong_secret};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// Tells good access tokens of users.
    pub access_tokens: AccessTokens,
    /// Signs links to exports.
    pub export_links: ExportLinks,
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
        let secret = settings.required("JWT_SECRET", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("JWT_SECRET_PREVIOUS");
        let config = match (environment, operators, secret) {
            (Some(environment), Some(operators), Some(secret)) => {
                let access_tokens = AccessTokens::new(&secret, previous.as_deref());
                let export_links = ExportLinks::new(&secret, previous.as_deref());
                Some(Self { environment, operators, access_tokens, export_links })
            }
            _ => None,
        };
        settings.finish(config)
    }
}
