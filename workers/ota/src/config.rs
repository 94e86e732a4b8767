//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::signed_url::UrlKeys;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings, is_strong_secret};

/// How often a device may begin to download an image in one rollout, unless `DOWNLOAD_ATTEMPTS` says otherwise. A device
/// tries an update four times, and a trigger may be sent again.
const DOWNLOAD_ATTEMPTS: u32 = 10;

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// Where the broker is told what devices are to hear.
    pub broker: BrokerApi,
    /// Where devices find this worker, without a slash at the end: `https://ota.optic.works`.
    pub origin: String,
    /// Signs download links.
    pub links: UrlKeys,
    /// How often a device may begin to download an image in one rollout.
    pub download_attempts: u32,
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
        let broker = settings.broker_api();
        let origin = settings.url("FIRMWARE_ORIGIN");
        let signing_key = settings.required("SIGNING_KEY", "must have at least 32 characters", |text| {
            is_strong_secret(text).then(|| text.to_owned())
        });
        let previous = settings.optional("SIGNING_KEY_PREVIOUS");
        let attempts = match settings.optional("DOWNLOAD_ATTEMPTS") {
            None => Some(DOWNLOAD_ATTEMPTS),
            Some(_) => {
                settings.required("DOWNLOAD_ATTEMPTS", "must be a whole number from 1 to 1000", |text| {
                    text.parse().ok().filter(|attempts| (1..=1_000).contains(attempts))
                })
            }
        };
        let config = match (environment, operators, broker, origin, signing_key, attempts) {
            (
                Some(environment),
                Some(operators),
                Some(broker),
                Some(origin),
                Some(signing_key),
                Some(download_attempts),
            ) => Some(Self {
                environment,
                operators,
                broker,
                origin: origin.trim_end_matches('/').to_owned(),
                links: UrlKeys::new(&signing_key, previous.as_deref()),
                download_attempts,
            }),
            _ => None,
        };
        settings.finish(config)
    }
}
