//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::signed_url::UrlKeys;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings, is_strong_secret};
use rs1_domain::time::SECOND;
use rs1_rollout::Policy;

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
    /// Timers and limits of rollouts.
    pub policy: Policy,
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
        let policy = read_policy(&mut settings);
        let config = match (environment, operators, broker, origin, signing_key, attempts, policy) {
            (
                Some(environment),
                Some(operators),
                Some(broker),
                Some(origin),
                Some(signing_key),
                Some(download_attempts),
                Some(policy),
            ) => Some(Self {
                environment,
                operators,
                broker,
                origin: origin.trim_end_matches('/').to_owned(),
                links: UrlKeys::new(&signing_key, previous.as_deref()),
                download_attempts,
                policy,
            }),
            _ => None,
        };
        settings.finish(config)
    }
}

/// The policy of production, but for what is set otherwise: a fleet of simulated devices does in seconds what real ones
/// do in hours.
fn read_policy(settings: &mut Settings<'_>) -> Option<Policy> {
    let default = Policy::default();
    let month = 30 * 86_400;
    let mut seconds = |name: &str, default: i64| {
        let seconds = settings.number(name, 1..=month, default.div_euclid(SECOND));
        seconds.map(|seconds| seconds.saturating_mul(SECOND))
    };
    let acknowledge_timeout = seconds("ROLLOUT_ACKNOWLEDGE_TIMEOUT_SEC", default.acknowledge_timeout);
    let finish_timeout = seconds("ROLLOUT_FINISH_TIMEOUT_SEC", default.finish_timeout);
    let send_timeout = seconds("ROLLOUT_SEND_TIMEOUT_SEC", default.send_timeout);
    let spike_window = seconds("ROLLOUT_SPIKE_WINDOW_SEC", default.spike_window);
    let cooldown = settings.number("ROLLOUT_COOLDOWN_SEC", 0..=month, default.cooldown.div_euclid(SECOND));
    let mut count = |name: &str, default: u32| {
        let count = settings.number(name, 1..=1_000_000, i64::from(default));
        count.and_then(|count| u32::try_from(count).ok())
    };
    let triggers_per_run = count("ROLLOUT_TRIGGERS_PER_RUN", default.triggers_per_run);
    let spike_failures = count("ROLLOUT_SPIKE_FAILURES", default.spike_failures);
    let max_offers = count("ROLLOUT_MAX_OFFERS", default.max_offers);
    Some(Policy {
        acknowledge_timeout: acknowledge_timeout?,
        finish_timeout: finish_timeout?,
        send_timeout: send_timeout?,
        spike_window: spike_window?,
        cooldown: cooldown?.saturating_mul(SECOND),
        triggers_per_run: triggers_per_run?,
        spike_failures: spike_failures?,
        max_offers: max_offers?,
        ..default
    })
}
