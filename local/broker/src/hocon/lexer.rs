//! Text to tokens, after `emqx/hocon`'s `hocon_scanner.xrl`.

use std::iter::Peekable;
use std::str::Chars;

use super::value::{Fault, Position};

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Where.
    pub at: Position,
    /// What.
    pub kind: Kind,
    /// Whether a line break stands between this token and the one before it.
    pub after_break: bool,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One of `{ } [ ] , = :` or, after `required`, `( )`.
    Punctuation(char),
    /// `"…"` or `"""…"""`, unescaped.
    Quoted(String),
    /// A word without quotes: a key, a string, a number, a duration, `true` …
    Bare(String),
    /// `${path}`.
    Substitution {
        /// The path between the braces.
        path: String,
        /// Written `${?path}`: absent is not an error.
        optional: bool,
    },
}

/// All tokens of `text`.
pub fn tokens(file: &Position, text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { chars: text.chars().peekable(), at: file.clone(), tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    at: Position,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut after_break = false;
        while let Some(c) = self.next() {
            let at = self.at.clone();
            let kind = match c {
                '\n' => {
                    after_break = true;
                    continue;
                }
                c if c.is_whitespace() || c == '\u{feff}' => continue,
                '#' => {
                    self.comment();
                    continue;
                }
                '/' if self.chars.peek() == Some(&'/') => {
                    self.comment();
                    continue;
                }
                '{' | '}' | '[' | ']' | ',' | '=' | ':' | '(' | ')' => Kind::Punctuation(c),
                '"' => Kind::Quoted(self.quoted(&at)?),
                '$' => self.substitution(&at)?,
                c => Kind::Bare(self.bare(c)),
            };
            // A triple-quoted string may have moved the line on: the token stands where it began.
            self.tokens.push(Token { at, kind, after_break });
            after_break = false;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        // The break itself belongs to the line it ends; what follows is on the next one.
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
        }
        Some(c)
    }

    fn comment(&mut self) {
        while self.chars.peek().is_some_and(|c| *c != '\n') {
            self.chars.next();
        }
    }

    fn quoted(&mut self, at: &Position) -> Result<String, Fault> {
        if self.chars.peek() != Some(&'"') {
            return self.single_quoted(at);
        }
        self.next();
        if self.chars.peek() != Some(&'"') {
            return Ok(String::new());
        }
        self.next();
        self.triple_quoted(at)
    }

    fn single_quoted(&mut self, at: &Position) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(at)?),
                Some('\n') | None => return Err(Fault::new(at, "this string is not closed on its line")),
                Some(c) => text.push(c),
            }
        }
    }

    fn triple_quoted(&mut self, at: &Position) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('\\') => text.push(self.escape(at)?),
                Some(c) => text.push(c),
                None => return Err(Fault::new(at, "this \"\"\" string is not closed")),
            }
            if let Some(content) = text.strip_suffix("\"\"\"") {
                return Ok(content.to_owned());
            }
        }
    }

    fn escape(&mut self, at: &Position) -> Result<char, Fault> {
        match self.next() {
            Some('\\') => Ok('\\'),
            Some('"') => Ok('"'),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some(c) => Err(Fault::new(at, format!("\\{c} is not an escape that EMQX undoes"))),
            None => Err(Fault::new(at, "the file ends inside a string")),
        }
    }

    fn substitution(&mut self, at: &Position) -> Result<Kind, Fault> {
        let malformed = || Fault::new(at, "expected ${path.to.a.key}");
        if self.next() != Some('{') {
            return Err(malformed());
        }
        let optional = self.chars.peek() == Some(&'?');
        if optional {
            self.next();
        }
        let mut path = String::new();
        loop {
            match self.next() {
                Some('}') if is_word(&path) => return Ok(Kind::Substitution { path, optional }),
                Some(c) if is_word_char(c) => path.push(c),
                _ => return Err(malformed()),
            }
        }
    }

    fn bare(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.chars.peek().copied() {
            if c.is_whitespace() || "{}[],=:()\"#$".contains(c) {
                break;
            }
            word.push(c);
            self.chars.next();
        }
        word
    }
}

/// The scanner's `Unquoted`: what a key, or a string without quotes, may look like.
pub fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_ascii_alphabetic()) && text.chars().all(is_word_char)
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.@%-|".contains(c)
}
