//! This worker's configuration.

use rs1_api::operator::Issuer;
use rs1_auth::Secret;
use rs1_auth::webhook::WebhookKeys;
use rs1_domain::config::{BadConfig, BrokerApi, Environment, Settings, is_strong_secret};
use rs1_ops::check::{self, Check};
use rs1_ops::notice::Channel;
use rs1_ops::watch::Watched;

/// What is checked of our own, the same in every environment; the variable `CHECKS` takes its place.
pub const OWN_CHECKS: &str = include_str!("checks.json");

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Whose tokens operators have.
    pub operators: Issuer,
    /// What is expected of the company's backups; empty where they are not to be watched.
    pub watched: Vec<Watched>,
    /// The ways to people.
    pub channels: Channels,
    /// From which minute of the day (UTC) on the digest is told; none where nobody wants it.
    pub digest_at: Option<i64>,
    /// What is checked in every round: what is ours, and the `TARGETS` of the rest of the company.
    pub checks: Vec<Check>,
    /// The broker's API, where a check asks it.
    pub broker: Option<BrokerApi>,
    /// Who is to be told of every round that was carried out, and raises the alarm if none was; `None`: nobody.
    pub heartbeat: Option<String>,
}

/// The ways to people, those that are configured.
pub struct Channels {
    /// `PagerDuty`.
    pub pagerduty: Option<PagerDuty>,
    /// The URL of Slack's incoming webhook, which is a secret.
    pub slack: Option<Secret<String>>,
    /// The signed webhook.
    pub webhook: Option<Webhook>,
    /// What this system is called in what is sent.
    pub origin: &'static str,
}

/// `PagerDuty`'s Events API v2.
pub struct PagerDuty {
    /// Where events go.
    pub url: String,
    /// The integration's key.
    pub routing_key: Secret<String>,
}

/// The signed webhook.
pub struct Webhook {
    /// Where notices go.
    pub url: String,
    /// What they are signed with.
    pub keys: WebhookKeys,
}

impl Channels {
    /// Those that are configured.
    pub fn configured(&self) -> Vec<Channel> {
        let is = |channel: &Channel| match channel {
            Channel::PagerDuty => self.pagerduty.is_some(),
            Channel::Slack => self.slack.is_some(),
            Channel::Webhook => self.webhook.is_some(),
        };
        Channel::ALL.into_iter().filter(is).collect()
    }

    fn read(settings: &mut Settings<'_>, environment: Option<Environment>) -> Option<Self> {
        let pagerduty = match settings.optional("PAGERDUTY_ROUTING_KEY") {
            None => Some(None),
            Some(_) => PagerDuty::read(settings).map(Some),
        };
        let slack = match settings.optional("SLACK_WEBHOOK_URL") {
            None => Some(None),
            Some(_) => settings.url("SLACK_WEBHOOK_URL").map(|url| Some(Secret::new(url))),
        };
        let webhook = match settings.optional("NOTICE_WEBHOOK_URL") {
            None => Some(None),
            Some(_) => Webhook::read(settings).map(Some),
        };
        let origin = match environment? {
            Environment::Local => "rs1-cloud-local",
            Environment::Staging => "rs1-cloud-staging",
            Environment::Production => "rs1-cloud",
        };
        Some(Self { pagerduty: pagerduty?, slack: slack?, webhook: webhook?, origin })
    }
}

impl PagerDuty {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let routing_key =
            settings.required("PAGERDUTY_ROUTING_KEY", "must be 32 letters and digits", |text| {
                let fine = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                fine.then(|| Secret::new(text.to_owned()))
            });
        let base = settings.url("PAGERDUTY_URL");
        let url = format!("{}/v2/enqueue", base?.trim_end_matches('/'));
        Some(Self { url, routing_key: routing_key? })
    }
}

impl Webhook {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        const EXPECTED: &str = "must be at least 32 characters";
        let strong = |text: &str| is_strong_secret(text).then(|| text.to_owned());
        let url = settings.url("NOTICE_WEBHOOK_URL");
        let current = settings.required("NOTICE_WEBHOOK_SECRET", EXPECTED, strong);
        let previous = match settings.optional("NOTICE_WEBHOOK_SECRET_PREVIOUS") {
            None => Some(None),
            Some(_) => settings.required("NOTICE_WEBHOOK_SECRET_PREVIOUS", EXPECTED, strong).map(Some),
        };
        Some(Self { url: url?, keys: WebhookKeys::new(&current?, previous?.as_deref()) })
    }
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
        let channels = Channels::read(&mut settings, environment);
        let digest_at = match settings.optional("DIGEST_AT") {
            None => Some(None),
            Some(_) => settings
                .required("DIGEST_AT", "must be a time of day (UTC) like 08:00", minute_of_day)
                .map(Some),
        };
        let checks = read_checks(&mut settings);
        let asks = checks.iter().any(|check| check.kind.is_emqx());
        let broker = if asks { settings.broker_api() } else { None };
        let heartbeat = settings.optional("HEARTBEAT_URL").and_then(|_| settings.url("HEARTBEAT_URL"));
        let config = match (environment, operators, watched, channels, digest_at) {
            (Some(environment), Some(operators), Some(watched), Some(channels), Some(digest_at)) => {
                Some(Self { environment, operators, watched, channels, digest_at, checks, broker, heartbeat })
            }
            _ => None,
        };
        settings.finish(config)
    }
}

fn read_checks(settings: &mut Settings<'_>) -> Vec<Check> {
    let own = settings.optional("CHECKS");
    let targets = settings.optional("TARGETS");
    let lists =
        [("CHECKS", own.as_deref().unwrap_or(OWN_CHECKS)), ("TARGETS", targets.as_deref().unwrap_or("[]"))];
    match check::read_list(&lists) {
        Ok(checks) => checks,
        Err(faults) => {
            for fault in faults {
                settings.fault(fault);
            }
            Vec::new()
        }
    }
}

/// `08:00` is 480.
fn minute_of_day(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: i64| {
        let fine = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        fine.then(|| text.parse::<i64>().ok())?.filter(|number| *number <= most)
    };
    number(hour, 23)?.checked_mul(60)?.checked_add(number(minute, 59)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Config, BadConfig> {
        let base = [
            ("ENVIRONMENT", "staging"),
            ("OPERATOR_ISSUER", "https://i.example"),
            ("OPERATOR_AUDIENCE", "ops"),
            ("OPERATOR_JWKS_URL", "https://i.example/certs"),
            ("PAGERDUTY_URL", "https://events.example/"),
            ("CHECKS", "[]"),
        ];
        let all: Vec<_> = base.iter().chain(set).collect();
        Config::read(&|name| {
            all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_channel_is_there_if_it_is_configured() {
        let none = read(&[]).unwrap_or_else(|faults| panic!("{faults:?}"));
        assert!(none.channels.configured().is_empty());
        assert_eq!((none.digest_at, none.channels.origin), (None, "rs1-cloud-staging"));
        let (key, secret) = ("R".repeat(32), "s".repeat(32));
        let all = read(&[
            ("PAGERDUTY_ROUTING_KEY", &key),
            ("SLACK_WEBHOOK_URL", "https://hooks.example/services/T/B/x"),
            ("NOTICE_WEBHOOK_URL", "https://pager.example/rs1"),
            ("NOTICE_WEBHOOK_SECRET", &secret),
            ("DIGEST_AT", "08:30"),
        ])
        .unwrap_or_else(|faults| panic!("{faults:?}"));
        assert_eq!(all.channels.configured(), Channel::ALL);
        assert_eq!(
            all.channels.pagerduty.map(|it| it.url).as_deref(),
            Some("https://events.example/v2/enqueue")
        );
        assert_eq!(all.digest_at, Some(510));
    }

    #[test]
    fn what_is_half_configured_or_wrong_is_named_and_no_value_is() {
        let faults = read(&[
            ("PAGERDUTY_ROUTING_KEY", "s3cret"),
            ("SLACK_WEBHOOK_URL", "hooks/s3cret"),
            ("NOTICE_WEBHOOK_URL", "https://pager.example/rs1"),
            ("NOTICE_WEBHOOK_SECRET_PREVIOUS", "s3cret"),
            ("DIGEST_AT", "24:00"),
        ]);
        let Err(BadConfig(faults)) = faults else { panic!("it was read") };
        assert_eq!(
            faults,
            [
                "PAGERDUTY_ROUTING_KEY must be 32 letters and digits",
                "SLACK_WEBHOOK_URL must be an http or https URL",
                "NOTICE_WEBHOOK_SECRET is missing; it must be at least 32 characters",
                "NOTICE_WEBHOOK_SECRET_PREVIOUS must be at least 32 characters",
                "DIGEST_AT must be a time of day (UTC) like 08:00",
            ]
        );
        for text in ["8:00", "08:60", "0800", "+8:00", "ab:cd", ""] {
            assert_eq!(minute_of_day(text), None, "{text}");
        }
    }
}
