//! A worker's health, as its health route answers it: `{status, version, checks}`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Answer;
use crate::config::BadConfig;
use crate::port::PortError;

/// The outcome of one check.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it went well.
    pub status: Status,
    /// What is wrong, or else to be known, for an operator; no values of settings, no internal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Well or not.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HealthStatus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
    /// It is not.
    Fail,
}

/// What a health route answers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Health"))]
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shown<'a> {
    /// Well if every check went well.
    pub status: Status,
    /// The worker's version.
    pub version: &'a str,
    /// By what was looked at.
    pub checks: &'a BTreeMap<&'static str, Check>,
}

/// The checks of one health request.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: BTreeMap<&'static str, Check>,
    log: Vec<String>,
}

impl Health {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the check of the configuration. Its faults name settings, never values.
    pub fn config(&mut self, config: Result<(), &BadConfig>) {
        let check = match config {
            Ok(()) => Check { status: Status::Ok, detail: None },
            Err(BadConfig(faults)) => Check { status: Status::Fail, detail: Some(faults.join("; ")) },
        };
        self.checks.insert("config", check);
    }

    /// Notes something that is as it is.
    pub fn tell(&mut self, name: &'static str, detail: String) {
        self.checks.insert(name, Check { status: Status::Ok, detail: Some(detail) });
    }

    /// Notes the check of something we depend on. Why it failed goes to the log, not to the caller.
    pub fn dependency(&mut self, name: &'static str, outcome: Result<(), PortError>) {
        let check = match outcome {
            Ok(()) => Check { status: Status::Ok, detail: None },
            Err(error) => {
                self.log.push(error.to_string());
                Check { status: Status::Fail, detail: Some("does not answer".to_owned()) }
            }
        };
        self.checks.insert(name, check);
    }

    /// 200 if every check went well, else 503.
    pub fn into_answer(self, version: &str) -> Answer {
        let well = self.checks.values().all(|check| check.status == Status::Ok);
        let status = if well { Status::Ok } else { Status::Fail };
        let mut answer =
            Answer::json(if well { 200 } else { 503 }, &Shown { status, version, checks: &self.checks });
        answer.log = (!self.log.is_empty()).then(|| self.log.join("; "));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_fails_the_whole_and_keeps_its_cause_to_the_log() {
        let mut health = Health::new();
        health.config(Ok(()));
        assert_eq!(health.clone().into_answer("1.0.0").status, 200);
        health.dependency("database", Err(PortError::new("d1 cron_runs", "no such table")));
        let answer = health.into_answer("1.0.0");
        assert_eq!(answer.status, 503);
        assert!(!answer.body.contains("no such table"));
        assert_eq!(
            answer.body,
            r#"{"status":"fail","version":"1.0.0","checks":{"config":{"status":"ok"},"database":{"status":"fail","detail":"does not answer"}}}"#
        );
        assert_eq!(answer.log.as_deref(), Some("d1 cron_runs: no such table"));
    }

    #[test]
    fn what_is_as_it_is_is_told() {
        let mut health = Health::new();
        health.tell("notices", "slack".to_owned());
        let answer = health.into_answer("1.0.0");
        assert_eq!(
            (answer.status, answer.body.contains(r#""notices":{"status":"ok","detail":"slack"}"#)),
            (200, true)
        );
    }

    #[test]
    fn a_bad_configuration_is_named() {
        let mut health = Health::new();
        health.config(Err(&BadConfig(vec!["DEVICE_KEK is missing; it must be 64 hex digits".into()])));
        assert!(health.into_answer("1.0.0").body.contains("DEVICE_KEK is missing"));
    }
}
