//! Reading configuration: every fault is named, none of the values is.

/// Reads a worker's variables and secrets and collects what is wrong with them.
pub struct Settings<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
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
}
