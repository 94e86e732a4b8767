//! `rule_engine.rules` (`emqx_rule_engine_schema`).

use super::actions::{Action, Named, Typed};
use super::reader::{Findings, Section};
use super::s3::S3Action;
use crate::rules::{Statement, parse_sql};

/// A rule: what it listens to, what it selects, where that goes.
#[derive(Debug)]
pub struct Rule {
    /// Its id, the `rule_id` of its output's metadata.
    pub id: String,
    /// Its SQL.
    pub statement: Statement,
    /// Enabled actions.
    pub actions: Vec<Target>,
}

/// An action, as a rule names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `http:NAME`.
    Http(String),
    /// `s3:NAME`.
    S3(String),
}

/// Reads `rule_engine`.
pub fn read(root: &mut Section<'_>, actions: &Typed<Action, S3Action>, findings: &mut Findings) -> Vec<Rule> {
    let mut rules = Vec::new();
    let Some(mut engine) = root.section("rule_engine", findings) else { return rules };
    for (id, mut section) in engine.named_sections("rules", findings) {
        let at = section.at().clone();
        let enabled = section.flag("enable", true, findings);
        section.text("description", findings);
        let sql = section.required_text("sql", findings).unwrap_or_default();
        let mut targets = Vec::new();
        for (target, at) in section.texts("actions", findings) {
            let (is_known, enabled) = match target.split_once(':') {
                Some(("http", name)) => find(&actions.http, name, Target::Http),
                Some(("s3", name)) => find(&actions.s3, name, Target::S3),
                _ => (false, None),
            };
            if !is_known {
                let what = format!("there is no action {target}; http:NAME and s3:NAME are played here");
                findings.fault(&at, what);
            }
            targets.extend(enabled);
        }
        section.finish(findings);
        match parse_sql(&sql) {
            Ok(statement) if enabled => rules.push(Rule { id, statement, actions: targets }),
            Ok(_) => {}
            Err(why) => findings.fault(&at, format!("the SQL of rule {id}: {why}")),
        }
    }
    engine.finish(findings);
    rules
}

/// Whether there is an action of that name, and it, if it is enabled.
fn find<T>(actions: &Named<T>, name: &str, target: fn(String) -> Target) -> (bool, Option<Target>) {
    let enabled = actions.enabled.contains_key(name).then(|| target(name.to_owned()));
    (actions.names.contains(name), enabled)
}
