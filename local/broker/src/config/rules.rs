//! `rule_engine.rules` (`emqx_rule_engine_schema`).

use super::actions::{Action, Named};
use super::reader::{Findings, Section};
use crate::rules::{Statement, parse_sql};

/// A rule: what it listens to, what it selects, where that goes.
#[derive(Debug)]
pub struct Rule {
    /// Its id, the `rule_id` of its output's metadata.
    pub id: String,
    /// Its SQL.
    pub statement: Statement,
    /// Names of enabled HTTP actions.
    pub actions: Vec<String>,
}

/// Reads `rule_engine`.
pub fn read(root: &mut Section<'_>, actions: &Named<Action>, findings: &mut Findings) -> Vec<Rule> {
    let mut rules = Vec::new();
    let Some(mut engine) = root.section("rule_engine", findings) else { return rules };
    for (id, mut section) in engine.named_sections("rules", findings) {
        let at = section.at().clone();
        let enabled = section.flag("enable", true, findings);
        section.text("description", findings);
        let sql = section.required_text("sql", findings).unwrap_or_default();
        let mut targets = Vec::new();
        for (target, at) in section.texts("actions", findings) {
            match target.strip_prefix("http:") {
                Some(name) if actions.enabled.contains_key(name) => targets.push(name.to_owned()),
                Some(name) if actions.names.contains(name) => {}
                None if actions.elsewhere.contains(&target) => {}
                _ => {
                    findings
                        .fault(&at, format!("there is no action {target}; only http:NAME is played here"));
                }
            }
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
