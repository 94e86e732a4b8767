//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::Vault;
use rs1_auth::access_token::AccessTokens;
use rs1_auth::oidc::Provider;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings, is_strong_secret};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// Whose word is good for who a user is.
    pub providers: Vec<Provider>,
    /// Signs users' access tokens.
    pub access_tokens: AccessTokens,
    /// The pages that may read our answers: `https://app.optic.works`.
    pub app_origins: Vec<String>,
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
        let sealed_before = settings.optional("DEVICE_KEK_PREVIOUS");
        let vault =
            settings.required("DEVICE_KEK", "must be 64 hex digits, and so must …_PREVIOUS", |text| {
                Vault::new(text, sealed_before.as_deref())
            });
        let broker = settings.broker_api();
        let providers = Provider::read(&mut settings);
        let access_tokens = settings.required("JWT_SECRET", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("JWT_SECRET_PREVIOUS");
        let app_origins = settings.required(
            "APP_ORIGINS",
            "must be origins like https://app.optic.works, with spaces between",
            origins,
        );
        let config = match (environment, operators, providers, access_tokens, app_origins, vault, broker) {
            (
                Some(environment),
                Some(operators),
                Some(providers),
                Some(secret),
                Some(app_origins),
                Some(vault),
                Some(broker),
            ) => {
                let access_tokens = AccessTokens::new(&secret, previous.as_deref());
                Some(Self { environment, operators, providers, access_tokens, app_origins, vault, broker })
            }
            _ => None,
        };
        settings.finish(config)
    }
}

/// Origins: scheme and host, perhaps a port, and nothing behind it.
fn origins(text: &str) -> Option<Vec<String>> {
    let is_origin = |origin: &str| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#']))
    };
    let origins: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    (!origins.is_empty() && origins.iter().all(|origin| is_origin(origin))).then_some(origins)
}
