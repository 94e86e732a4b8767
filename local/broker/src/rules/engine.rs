//! Which rules an event concerns, and what they hand to their actions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use super::eval::{self, Outcome};
use super::event::{Event, Kind};
use super::sql::Source;
use super::term::Term;
use crate::config::{Rule, Target};
use crate::topic;

/// What rules hand their output to.
pub trait Sink {
    /// Takes what a rule selected from an event of the client `clientid`, for the action `action`.
    fn take(&self, action: &Target, clientid: &str, selected: &BTreeMap<String, Term>);
}

/// All rules, with their counters.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<(Rule, Counters)>,
}

/// What `GET /rules/ID/metrics` counts in EMQX.
#[derive(Debug, Default)]
struct Counters {
    matched: AtomicU64,
    passed: AtomicU64,
    no_result: AtomicU64,
    failed: AtomicU64,
}

impl Engine {
    /// An engine that runs `rules`.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules: rules.into_iter().map(|rule| (rule, Counters::default())).collect() }
    }

    /// Runs every rule that listens to `event`.
    pub fn run(&self, event: &Event, sink: &impl Sink) {
        for (rule, counters) in &self.rules {
            if !rule.statement.from.iter().any(|source| concerns(source, event)) {
                continue;
            }
            counters.matched.fetch_add(1, Ordering::Relaxed);
            match eval::run(&rule.statement, &rule.id, event) {
                Outcome::Selected(selected) => {
                    counters.passed.fetch_add(1, Ordering::Relaxed);
                    for action in &rule.actions {
                        sink.take(action, event.clientid(), &selected);
                    }
                }
                Outcome::Filtered => {
                    counters.no_result.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Failed(why) => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    log::warn!("rule {} failed for {}: {why}", rule.id, event.clientid());
                }
            }
        }
    }

    /// The counters, by rule.
    pub fn counters(&self) -> Json {
        self.rules
            .iter()
            .map(|(rule, counters)| {
                let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                let counted = json!({
                    "matched": read(&counters.matched),
                    "passed": read(&counters.passed),
                    "failed.no_result": read(&counters.no_result),
                    "failed.exception": read(&counters.failed),
                });
                (rule.id.clone(), counted)
            })
            .collect()
    }
}

/// Whether a rule that listens to `source` is to see `event`. Messages of the `$SYS` tree are hidden
/// from rules (`rule_engine.ignore_sys_message`, true unless set).
fn concerns(source: &Source, event: &Event) -> bool {
    match (source, &event.kind) {
        (Source::Topic(filter), Kind::Message(message)) => {
            !message.topic.starts_with("$SYS/") && topic::covers(filter, &message.topic)
        }
        (Source::Connected, Kind::Connected(..)) | (Source::Disconnected, Kind::Disconnected(..)) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
