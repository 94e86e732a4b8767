//! This worker's configuration.

use rs1_auth::Vault;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Who issues operators' tokens.
    pub operator_issuer: String,
    /// For whom they are issued.
    pub operator_audience: String,
    /// Where the issuer's keys are.
    pub operator_jwks_url: String,
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
        let issuer = settings.url("OPERATOR_ISSUER");
        let audience = settings.text("OPERATOR_AUDIENCE");
        let jwks_url = settings.url("OPERATOR_JWKS_URL");
        let vault = settings.required("DEVICE_KEK", "must be 64 hex digits", Vault::new);
        let broker = settings.broker_api();
        let config = match (environment, issuer, audience, jwks_url, vault, broker) {
            (
                Some(environment),
                Some(operator_issuer),
                Some(operator_audience),
                Some(operator_jwks_url),
                Some(vault),
                Some(broker),
            ) => Some(Self {
                environment,
                operator_issuer,
                operator_audience,
                operator_jwks_url,
                vault,
                broker,
            }),
            _ => None,
        };
        settings.finish(config)
    }
}
