//! This worker's configuration.

use rs1_auth::KeyRing;
use rs1_domain::config::{BadConfig, Environment, Settings, is_strong_secret};

/// What this worker needs to know.
pub struct Config {
    /// Where this worker runs.
    pub environment: Environment,
    /// Where the page is, without a slash at the end: `https://status.optic.works`.
    pub origin: String,
    /// Components that are nobody's business but operators'.
    pub hidden: Vec<String>,
    /// Who may read the metrics; `None`: nobody.
    pub metrics: Option<KeyRing>,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault, by the setting's name.
    pub fn read(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let mut settings = Settings::new(look_up);
        let environment = settings.environment();
        let origin = settings.url("STATUS_ORIGIN");
        let hidden = settings.optional("HIDDEN_COMPONENTS").unwrap_or_default();
        let metrics = if settings.optional("METRICS_TOKEN").is_some() {
            let current = settings.required("METRICS_TOKEN", "must be at least 32 characters", |text| {
                is_strong_secret(text).then(|| text.to_owned())
            });
            let previous = settings.optional("METRICS_TOKEN_PREVIOUS");
            current.map(|current| Some(KeyRing::new(&current, previous.as_deref())))
        } else {
            Some(None)
        };
        let config = match (environment, origin, metrics) {
            (Some(environment), Some(origin), Some(metrics)) => Some(Self {
                environment,
                origin: origin.trim_end_matches('/').to_owned(),
                hidden: hidden.split_whitespace().map(str::to_owned).collect(),
                metrics,
            }),
            _ => None,
        };
        settings.finish(config)
    }
}
