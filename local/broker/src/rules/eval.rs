//! Running a statement over an event (`emqx_rule_runtime`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::event::Event;
use super::sql::{Comparison, Condition, Expression, Function, Selected, Statement};
use super::term::Term;

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// This was selected.
    Selected(BTreeMap<String, Term>),
    /// The WHERE clause says no.
    Filtered,
    /// It went wrong (`SELECT_clause_exception`); nothing is handed on.
    Failed(String),
}

/// Selects from `event` for the rule `rule`.
pub fn run(statement: &Statement, rule: &str, event: &Event) -> Outcome {
    let mut scope = Scope { event, rule, selected: BTreeMap::new(), everything: false };
    if let Err(why) = scope.select(&statement.select) {
        return Outcome::Failed(why);
    }
    if let Some(condition) = &statement.condition {
        match scope.holds(condition) {
            Ok(true) => {}
            Ok(false) => return Outcome::Filtered,
            Err(why) => return Outcome::Failed(why),
        }
    }
    Outcome::Selected(scope.output())
}

struct Scope<'a> {
    event: &'a Event,
    rule: &'a str,
    /// Named so far; it hides the columns of the same name.
    selected: BTreeMap<String, Term>,
    everything: bool,
}

impl Scope<'_> {
    fn select(&mut self, items: &[Selected]) -> Result<(), String> {
        for item in items {
            match item {
                Selected::Everything => self.everything = true,
                Selected::Field { value, alias } => {
                    let value = self.value(value)?;
                    Term::put(&mut self.selected, alias, value);
                }
            }
        }
        Ok(())
    }

    fn output(mut self) -> BTreeMap<String, Term> {
        if self.everything {
            for column in self.event.columns() {
                self.selected
                    .entry((*column).to_owned())
                    .or_insert_with(|| self.event.column(column, self.rule));
            }
        }
        self.selected
    }

    fn value(&self, expression: &Expression) -> Result<Term, String> {
        match expression {
            Expression::Path(path) => Ok(self.at(path)),
            Expression::Text(text) => Ok(Term::text(text)),
            Expression::Integer(number) => Ok(Term::Integer(*number)),
            Expression::Bool(flag) => Ok(Term::Bool(*flag)),
            Expression::Call(function, argument) => call(*function, &self.value(argument)?),
        }
    }

    fn at(&self, path: &[String]) -> Term {
        let Some((column, rest)) = path.split_first() else { return Term::Undefined };
        let root = match self.selected.get(column) {
            Some(named) => named.clone(),
            None => self.event.column(column, self.rule),
        };
        root.at(rest)
    }

    fn holds(&self, condition: &Condition) -> Result<bool, String> {
        match condition {
            Condition::And(left, right) => Ok(self.holds(left)? && self.holds(right)?),
            Condition::Or(left, right) => Ok(self.holds(left)? || self.holds(right)?),
            Condition::Compare(left, comparison, right) => {
                Ok(compare(&self.value(left)?, *comparison, &self.value(right)?))
            }
        }
    }
}

fn call(function: Function, argument: &Term) -> Result<Term, String> {
    match (function, argument) {
        (Function::Base64Encode, Term::Text(text)) => Ok(Term::text(STANDARD.encode(text))),
        (Function::Base64Encode, Term::Binary(bytes)) => Ok(Term::text(STANDARD.encode(bytes))),
        (Function::Base64Encode, _) => Err("base64_encode of what is not text".to_owned()),
        (Function::JsonDecode, text) => {
            text.decode().ok_or_else(|| "json_decode of what is not JSON".to_owned())
        }
        (Function::JsonEncode, value) => Ok(Term::text(value.to_json().to_string())),
    }
}

fn compare(left: &Term, comparison: Comparison, right: &Term) -> bool {
    let order = match (left, right) {
        (Term::Integer(left), Term::Integer(right)) => left.partial_cmp(right),
        (Term::Integer(left), Term::Float(right)) => (*left as f64).partial_cmp(right),
        (Term::Float(left), Term::Integer(right)) => left.partial_cmp(&(*right as f64)),
        (Term::Float(left), Term::Float(right)) => left.partial_cmp(right),
        (Term::Text(_) | Term::Binary(_), Term::Text(_) | Term::Binary(_)) => {
            left.to_text().partial_cmp(&right.to_text())
        }
        (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    match comparison {
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Unequal => !order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}
