//! The part of EMQX's rule SQL that is played here, parsed and checked when the configuration is read.
//!
//! ```sql
//! SELECT *, payload.x as x, base64_encode(payload) as payload_b64
//! FROM "opticworks/+/state", "$events/client_disconnected"
//! WHERE qos = 1 and (clientid != 'http_api' or payload.force = true)
//! ```
//!
//! Anything else (`FOREACH`, `CASE`, other functions, columns that no event has) is refused with the
//! word that is not understood.

use super::event::{CONNECTED_COLUMNS, DISCONNECTED_COLUMNS, MESSAGE_COLUMNS};
use crate::topic;

/// A parsed rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What is selected, in order.
    pub select: Vec<Selected>,
    /// What is listened to.
    pub from: Vec<Source>,
    /// What must hold.
    pub condition: Option<Condition>,
}

/// One item of the SELECT list.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// `*`.
    Everything,
    /// `expression as alias`; a column without alias is its own.
    Field {
        /// What.
        value: Expression,
        /// Under which path.
        alias: Vec<String>,
    },
}

/// One item of the FROM list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Messages whose topic the filter covers.
    Topic(String),
    /// `$events/client_connected`.
    Connected,
    /// `$events/client_disconnected`.
    Disconnected,
}

/// Something with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A column, or a path into one.
    Path(Vec<String>),
    /// `'text'`.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A function of one argument.
    Call(Function, Box<Expression>),
}

/// Functions that are played here (`emqx_rule_funcs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Standard base64, padded.
    Base64Encode,
    /// Text to a value; fails the rule if the text is not JSON.
    JsonDecode,
    /// A value to text.
    JsonEncode,
}

/// What a WHERE clause asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// At least one.
    Or(Box<Condition>, Box<Condition>),
    /// A comparison.
    Compare(Expression, Comparison, Expression),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=` or `<>`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Parses a rule's SQL.
///
/// # Errors
/// What is not understood.
pub fn parse(sql: &str) -> Result<Statement, String> {
    let mut tokens = tokens(sql)?;
    tokens.reverse();
    let mut parser = Parser { tokens, depth: 0 };
    let statement = parser.statement()?;
    check_columns(&statement)?;
    Ok(statement)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Number(i64),
    /// `'…'`
    Text(String),
    /// `"…"`
    Name(String),
    Symbol(&'static str),
}

/// Longer symbols first, so that `<=` is not read as `<` and `=`.
const SYMBOLS: &[&str] = &["!=", "<>", "<=", ">=", "(", ")", ",", "*", ".", "=", "<", ">"];

fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' | '"' => quoted(rest, first)?,
            c if c.is_ascii_digit() || c == '-' => number(rest)?,
            c if c.is_ascii_alphabetic() || c == '_' => word(rest),
            _ => symbol(rest)?,
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn quoted(text: &str, quote: char) -> Result<(Token, &str), String> {
    let inner = text.strip_prefix(quote).unwrap_or(text);
    let (content, after) =
        inner.split_once(quote).ok_or_else(|| format!("{quote} is opened and not closed"))?;
    let token = if quote == '"' { Token::Name(content.to_owned()) } else { Token::Text(content.to_owned()) };
    Ok((token, after))
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text
        .char_indices()
        .find(|(index, c)| !(c.is_ascii_digit() || (*index == 0 && *c == '-')))
        .map_or(text.len(), |(index, _)| index);
    let (digits, after) = text.split_at(end);
    let number = digits.parse().map_err(|_| format!("{digits} is not a whole number"))?;
    Ok((Token::Number(number), after))
}

fn word(text: &str) -> (Token, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    (Token::Word(word.to_owned()), after)
}

fn symbol(text: &str) -> Result<(Token, &str), String> {
    SYMBOLS
        .iter()
        .find_map(|symbol| text.strip_prefix(symbol).map(|after| (Token::Symbol(symbol), after)))
        .ok_or_else(|| format!("{} is not understood", text.chars().take(12).collect::<String>()))
}

/// Parentheses nested beyond this are refused, so that no SQL can exhaust the stack.
const MAX_DEPTH: usize = 32;

struct Parser {
    /// What is left, the next token last.
    tokens: Vec<Token>,
    depth: usize,
}

impl Parser {
    fn statement(&mut self) -> Result<Statement, String> {
        self.keyword("select")?;
        let select = self.list(Self::selected)?;
        self.keyword("from")?;
        let from = self.list(Self::source)?;
        let condition = if self.accept_keyword("where") { Some(self.condition()?) } else { None };
        match self.tokens.last() {
            None => Ok(Statement { select, from, condition }),
            Some(token) => Err(format!("{} is not understood", describe(token))),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut items = vec![item(self)?];
        while self.accept_symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn selected(&mut self) -> Result<Selected, String> {
        if self.accept_symbol("*") {
            return Ok(Selected::Everything);
        }
        let value = self.expression()?;
        if self.accept_keyword("as") {
            return Ok(Selected::Field { value, alias: self.path()? });
        }
        match &value {
            Expression::Path(path) => Ok(Selected::Field { alias: path.clone(), value }),
            _ => Err("a value that is not a column needs a name: … as name".to_owned()),
        }
    }

    fn source(&mut self) -> Result<Source, String> {
        let Some(Token::Name(name)) = self.tokens.pop() else {
            return Err("FROM takes topics in double quotes".to_owned());
        };
        match name.as_str() {
            "$events/client_connected" | "$events/client/connected" => Ok(Source::Connected),
            "$events/client_disconnected" | "$events/client/disconnected" => Ok(Source::Disconnected),
            other if other.starts_with("$events/") => Err(format!("the event {other} is not played here")),
            other if topic::is_filter(other) => Ok(Source::Topic(name)),
            other => Err(format!("{other} is not a topic filter")),
        }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let mut left = self.conjunction()?;
        while self.accept_keyword("or") {
            left = Condition::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Condition, String> {
        let mut left = self.comparison()?;
        while self.accept_keyword("and") {
            left = Condition::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        if self.accept_symbol("(") {
            self.deeper()?;
            let inner = self.condition()?;
            self.symbol(")")?;
            self.depth = self.depth.saturating_sub(1);
            return Ok(inner);
        }
        let left = self.expression()?;
        let comparison = match self.tokens.pop() {
            Some(Token::Symbol("=")) => Comparison::Equal,
            Some(Token::Symbol("!=" | "<>")) => Comparison::Unequal,
            Some(Token::Symbol("<")) => Comparison::Less,
            Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
            Some(Token::Symbol(">")) => Comparison::Greater,
            Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
            Some(token) => return Err(format!("{} is not a comparison", describe(&token))),
            None => return Err("WHERE ends where a comparison is expected".to_owned()),
        };
        Ok(Condition::Compare(left, comparison, self.expression()?))
    }

    fn expression(&mut self) -> Result<Expression, String> {
        match self.tokens.pop() {
            Some(Token::Number(number)) => Ok(Expression::Integer(number)),
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Word(word)) if self.tokens.last() == Some(&Token::Symbol("(")) => self.call(&word),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Ok(Expression::Bool(true)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Ok(Expression::Bool(false)),
            Some(word @ Token::Word(_)) => {
                self.tokens.push(word);
                Ok(Expression::Path(self.path()?))
            }
            Some(token) => Err(format!("{} is not understood", describe(&token))),
            None => Err("it ends where a column is expected".to_owned()),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expression, String> {
        let function = match name {
            "base64_encode" => Function::Base64Encode,
            "json_decode" => Function::JsonDecode,
            "json_encode" => Function::JsonEncode,
            _ => return Err(format!("the function {name} is not played here")),
        };
        self.symbol("(")?;
        self.deeper()?;
        let argument = self.expression()?;
        self.symbol(")")?;
        self.depth = self.depth.saturating_sub(1);
        Ok(Expression::Call(function, Box::new(argument)))
    }

    fn path(&mut self) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        loop {
            match self.tokens.pop() {
                Some(Token::Word(word)) if is_reserved(&word) => {
                    return Err(format!("{word} is out of place"));
                }
                Some(Token::Word(word)) => path.push(word),
                _ => return Err("expected the name of a column".to_owned()),
            }
            if !self.accept_symbol(".") {
                return Ok(path);
            }
        }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH { Err("it is nested too deep".to_owned()) } else { Ok(()) }
    }

    fn symbol(&mut self, symbol: &'static str) -> Result<(), String> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(format!("{symbol} is missing")) }
    }

    fn accept_symbol(&mut self, symbol: &'static str) -> bool {
        self.tokens.pop_if(|token| *token == Token::Symbol(symbol)).is_some()
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), String> {
        if self.accept_keyword(keyword) {
            return Ok(());
        }
        let found = self.tokens.last().map_or("the end".to_owned(), describe);
        Err(format!("expected {}, found {found}", keyword.to_uppercase()))
    }

    fn accept_keyword(&mut self, keyword: &str) -> bool {
        let is_it =
            |token: &mut Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.tokens.pop_if(is_it).is_some()
    }
}

fn is_reserved(word: &str) -> bool {
    ["select", "from", "where", "as", "and", "or", "not", "foreach", "case", "do", "incase"]
        .iter()
        .any(|reserved| word.eq_ignore_ascii_case(reserved))
}

fn describe(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::Number(number) => number.to_string(),
        Token::Text(text) => format!("'{text}'"),
        Token::Name(name) => format!("\"{name}\""),
        Token::Symbol(symbol) => (*symbol).to_owned(),
    }
}

/// A column that none of the events has would be `undefined` for ever: a misspelling.
fn check_columns(statement: &Statement) -> Result<(), String> {
    let mut known: Vec<&str> = Vec::new();
    for source in &statement.from {
        known.extend_from_slice(match source {
            Source::Topic(_) => MESSAGE_COLUMNS,
            Source::Connected => CONNECTED_COLUMNS,
            Source::Disconnected => DISCONNECTED_COLUMNS,
        });
    }
    for selected in &statement.select {
        if let Selected::Field { value, alias } = selected {
            check_expression(value, &known)?;
            // What an earlier item named, a later one may use.
            known.extend(alias.first().map(String::as_str));
        }
    }
    statement.condition.as_ref().map_or(Ok(()), |condition| check_condition(condition, &known))
}

fn check_condition(condition: &Condition, known: &[&str]) -> Result<(), String> {
    match condition {
        Condition::And(left, right) | Condition::Or(left, right) => {
            check_condition(left, known)?;
            check_condition(right, known)
        }
        Condition::Compare(left, _, right) => {
            check_expression(left, known)?;
            check_expression(right, known)
        }
    }
}

fn check_expression(expression: &Expression, known: &[&str]) -> Result<(), String> {
    match expression {
        Expression::Path(path) => match path.first() {
            Some(column) if !known.contains(&column.as_str()) => {
                Err(format!("there is no column {column} in what FROM names"))
            }
            _ => Ok(()),
        },
        Expression::Call(_, argument) => check_expression(argument, known),
        Expression::Text(_) | Expression::Integer(_) | Expression::Bool(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (sql, complaint) in [
            ("", "expected SELECT, found the end"),
            ("SELECT", "it ends where"),
            ("SELECT * FROM t", "double quotes"),
            ("SELECT * FROM \"a/#/b\"", "a/#/b is not a topic filter"),
            ("SELECT * FROM \"$events/session_subscribed\"", "$events/session_subscribed is not played"),
            ("SELECT payloda FROM \"t\"", "no column payloda"),
            ("SELECT peerhost FROM \"$events/client_disconnected\"", "no column peerhost"),
            ("SELECT now_timestamp() as t FROM \"t\"", "now_timestamp is not played"),
            ("SELECT base64_encode(payload) FROM \"t\"", "needs a name"),
            ("FOREACH payload.list FROM \"t\"", "expected SELECT, found FOREACH"),
            ("SELECT * FROM \"t\" WHERE qos =~ 1", "~ 1 is not understood"),
            ("SELECT * FROM \"t\" WHERE qos", "a comparison"),
            ("SELECT * FROM \"t\" LIMIT 1", "LIMIT is not understood"),
            ("SELECT 'a FROM \"t\"", "' is opened"),
        ] {
            let error = parse(sql).unwrap_err();
            assert!(error.contains(complaint), "{sql}: {error}");
        }
    }

    #[test]
    fn both_spellings_of_an_event_and_several_sources_are_understood() {
        let statement = parse(
            "select clientid from \"a/+\", \"$events/client_disconnected\", \"$events/client/connected\"",
        )
        .unwrap();
        assert_eq!(
            statement.from,
            [Source::Topic("a/+".to_owned()), Source::Disconnected, Source::Connected]
        );
    }

    #[test]
    fn and_binds_closer_than_or() {
        let statement = parse("SELECT * FROM \"t\" WHERE qos = 0 or qos = 1 and retain_ = 2");
        assert!(statement.is_err(), "retain_ is no column");
        let statement = parse("SELECT * FROM \"t\" WHERE qos = 0 or qos = 1 and topic != 'x'").unwrap();
        assert!(
            matches!(statement.condition, Some(Condition::Or(_, right)) if matches!(*right, Condition::And(..)))
        );
    }
}
