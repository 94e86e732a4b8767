//! Reading configuration: every fault is named, none of the values is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Reads a worker's variables and secrets and collects what is wrong with them.
pub struct Settings<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

/// The broker's management API, and what to say to it.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerApi {
    /// Its base, without a slash at the end: `https://emqx.optic.works/api/v5`.
    pub url: String,
    /// The value of `Authorization`.
    pub authorization: String,
}

impl fmt::Debug for BrokerApi {
    /// Where it is, and not the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerApi").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// The local stack.
    Local,
    /// Before production.
    Staging,
    /// Where people's devices are.
    Production,
}

/// What is wrong with a configuration: a line a setting, with its name and what it should be, and
/// never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<String>);

impl<'a> Settings<'a> {
    /// Settings out of an environment.
    pub fn new(look_up: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { look_up, faults: Vec::new() }
    }

    /// A setting that may be missing; an empty one counts as missing.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.look_up)(name).filter(|value| !value.is_empty())
    }

    /// A setting that must be there and that `read` understands.
    pub fn required<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.optional(name) else {
            self.faults.push(format!("{name} is missing; it {expected}"));
            return None;
        };
        let value = read(&value);
        if value.is_none() {
            self.faults.push(format!("{name} {expected}"));
        }
        value
    }

    /// A setting that is any text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.required(name, "must not be empty", |text| Some(text.to_owned()))
    }

    /// `ENVIRONMENT`, which every worker has.
    pub fn environment(&mut self) -> Option<Environment> {
        self.required("ENVIRONMENT", "must be local, staging or production", |text| match text {
            "local" => Some(Environment::Local),
            "staging" => Some(Environment::Staging),
            "production" => Some(Environment::Production),
            _ => None,
        })
    }

    /// A setting that is an `http` or `https` URL.
    pub fn url(&mut self, name: &str) -> Option<String> {
        self.required(name, "must be an http or https URL", |text| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            (!host.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned())
        })
    }

    /// A setting that is a whole number within a range, and has a default.
    pub fn number(&mut self, name: &str, range: std::ops::RangeInclusive<i64>, default: i64) -> Option<i64> {
        if self.optional(name).is_none() {
            return Some(default);
        }
        let expected = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.required(name, &expected, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// `EMQX_API_URL` and `EMQX_API_KEY`, which every worker has that publishes to devices.
    pub fn broker_api(&mut self) -> Option<BrokerApi> {
        let url = self.url("EMQX_API_URL");
        let authorization =
            self.required("EMQX_API_KEY", "must be an API key and its secret, key:secret", |text| {
                let (key, secret) = text.split_once(':')?;
                let fine =
                    !key.is_empty() && !secret.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
                fine.then(|| format!("Basic {}", STANDARD.encode(text)))
            });
        Some(BrokerApi { url: url?.trim_end_matches('/').to_owned(), authorization: authorization? })
    }

    /// Notes a fault of what was read elsewhere.
    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// The configuration, once `build` finds everything it needs.
    ///
    /// # Errors
    /// Every fault found.
    pub fn finish<T>(self, build: Option<T>) -> Result<T, BadConfig> {
        match build {
            Some(config) if self.faults.is_empty() => Ok(config),
            _ => Err(BadConfig(self.faults)),
        }
    }
}

/// What a shared secret must be like: long enough not to be guessed.
pub fn is_strong_secret(text: &str) -> bool {
    text.len() >= 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_and_no_value_is() {
        let environment = |name: &str| match name {
            "URL" => Some("ftp://secret".to_owned()),
            "EMPTY" => Some(String::new()),
            "FINE" => Some("https://example.org/x".to_owned()),
            "ENVIRONMENT" => Some("moon".to_owned()),
            _ => None,
        };
        let mut settings = Settings::new(&environment);
        assert!(settings.url("FINE").is_some());
        assert_eq!(settings.environment(), None);
        let (url, empty, missing) = (settings.url("URL"), settings.text("EMPTY"), settings.text("MISSING"));
        assert_eq!((url, empty.as_deref(), missing.as_deref()), (None, None, None));
        let BadConfig(faults) = settings.finish(Some(())).unwrap_err();
        assert_eq!(
            faults,
            [
                "ENVIRONMENT must be local, staging or production",
                "URL must be an http or https URL",
                "EMPTY is missing; it must not be empty",
                "MISSING is missing; it must not be empty"
            ]
        );
        assert!(!faults.concat().contains("secret"));
    }

    #[test]
    fn the_brokers_api_is_spoken_to_with_its_key_and_the_key_is_never_shown() {
        let read = |key: &'static str| {
            let environment = move |name: &str| match name {
                "EMQX_API_URL" => Some("http://127.0.0.1:18083/api/v5/".to_owned()),
                "EMQX_API_KEY" => Some(key.to_owned()),
                _ => None,
            };
            let mut settings = Settings::new(&environment);
            let api = settings.broker_api();
            settings.finish(api)
        };
        let api = read("rs1:s3cret").unwrap();
        assert_eq!(api.url, "http://127.0.0.1:18083/api/v5");
        assert_eq!(api.authorization, "Basic cnMxOnMzY3JldA==");
        assert!(!format!("{api:?}").contains("cnMxOnMzY3JldA"));
        for key in ["rs1", "rs1:", ":s3cret", "rs1:s3 cret", "rs1:s3\ncret"] {
            let BadConfig(faults) = read(key).unwrap_err();
            assert_eq!(faults, ["EMQX_API_KEY must be an API key and its secret, key:secret"], "{key}");
        }
    }
}
