//! Variables in a Dockerfile's words: `$X`, `${X:-default}`, quotes and escapes.
//!
//! Follows BuildKit's lexer (moby/buildkit, `frontend/dockerfile/shell/lex.go`) to the letter, because a word that is
//! read differently here is a base image that is not pinned or an input that is not seen.

mod pattern;

use std::iter::Peekable;
use std::str::Chars;

/// The longest text that is of use here, in bytes: no path on Linux is longer. `ENV A=$A$A` doubles a text with each
/// line, and would fill the memory.
const LONGEST: usize = 4096;
/// How deep a `${` may stand in others, and in quotes.
const DEEPEST: usize = 100;

/// Why a word has no known value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoValue {
    pub what: String,
    /// Whether BuildKit refuses the word too. Otherwise it has a value that is not known here.
    pub is_refused: bool,
}

/// Replaces the variables in `word` and takes away its quotes, as BuildKit does with one argument of an instruction.
/// `value_of` tells a variable's value, `None` if it has none.
pub fn expand(
    word: &str,
    escape: char,
    value_of: &mut dyn FnMut(&str) -> Result<Option<String>, NoValue>,
) -> Result<String, NoValue> {
    let chars = word.chars().peekable();
    let mut lexer = Lexer { chars, escape, escapes: Escapes::Taken, value_of, unknown: None, depth: 0 };
    let text = lexer.until(None)?;
    lexer.unknown.map_or(Ok(text), Err)
}

/// What becomes of an escape character: in a pattern it still has to escape something.
#[derive(Clone, Copy)]
enum Escapes {
    Taken,
    Kept,
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    escapes: Escapes,
    value_of: &'a mut dyn FnMut(&str) -> Result<Option<String>, NoValue>,
    /// The first thing that is not known. Reading goes on, because BuildKit may refuse what follows.
    unknown: Option<NoValue>,
    /// How many ends are looked for.
    depth: usize,
}

fn refused<T>(what: String) -> Result<T, NoValue> {
    Err(NoValue { what, is_refused: true })
}

impl Lexer<'_> {
    /// Reads up to and including `stop`, or to the end. Between double quotes the escape character escapes only a
    /// quote, a dollar and itself.
    fn until(&mut self, stop: Option<char>) -> Result<String, NoValue> {
        let (escape, is_quoted) = (self.escape, stop == Some('"'));
        let mut out = String::new();
        self.depth += 1;
        if self.depth > DEEPEST {
            let what = format!("variables more than {DEEPEST} deep in each other are not understood here");
            return Err(NoValue { what, is_refused: false });
        }
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => {
                    self.depth -= 1;
                    return Ok(out);
                }
                '$' => out.push_str(&self.variable()?),
                c if c == escape => {
                    out.extend(matches!(self.escapes, Escapes::Kept).then_some(c));
                    match is_quoted {
                        true => out.push(self.chars.next_if(|c| matches!(c, '"' | '$') || *c == escape).unwrap_or(c)),
                        false => out.extend(self.chars.next()),
                    }
                }
                '"' => out.push_str(&self.until(Some('"'))?),
                '\'' if !is_quoted => self.single_quoted(&mut out)?,
                c => out.push(c),
            }
            if out.len() > LONGEST {
                self.not_known(format!("a text of more than {LONGEST} bytes is not looked into"));
                out.clear();
            }
        }
        match stop {
            None => Ok(out),
            Some('"') => refused("`\"` is not closed".to_owned()),
            Some(stop) => refused(format!("`{stop}` is missing")),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), NoValue> {
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return refused("`'` is not closed".to_owned()),
            }
        }
    }

    /// What follows a dollar.
    fn variable(&mut self) -> Result<String, NoValue> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() })
    }

    fn braced(&mut self) -> Result<String, NoValue> {
        if matches!(self.chars.peek(), None | Some('{' | '}' | ':')) {
            return refused("bad substitution after `${`".to_owned());
        }
        let name = self.name();
        let mut operator: String = self.chars.next().into_iter().collect();
        if operator == ":" {
            operator.extend(self.chars.next());
        }
        match operator.as_str() {
            "}" => Ok(self.value(&name).unwrap_or_default()),
            "-" | "+" | "?" | ":-" | ":+" | ":?" => self.chosen(&name, &operator),
            "#" | "%" => self.trimmed(&name, &operator),
            "/" => self.replaced(&name),
            _ => {
                let refused = || refused(format!("unsupported modifier `{operator}` after `${{{name}`"));
                if operator.len() < 2 || operator.ends_with(['#', '%']) {
                    return refused();
                }
                // BuildKit looks for the variable before it refuses the others.
                self.word('}', Escapes::Taken)?;
                self.value(&name);
                self.matched(refused)
            }
        }
    }

    /// `${name#pattern}` and `${name%pattern}`; the operator may be doubled.
    fn trimmed(&mut self, name: &str, operator: &str) -> Result<String, NoValue> {
        let word = self.word('}', Escapes::Kept)?;
        let value = self.value(name).unwrap_or_default();
        // It is looked for in the word, not before it: a variable may bring it too.
        let pattern = word.strip_prefix(operator);
        self.matched(|| match pattern {
            Some(pattern) => pattern::trimmed(&value, &operator.repeat(2), pattern),
            None => pattern::trimmed(&value, operator, &word),
        })
    }

    /// `${name/pattern/replacement}`; the first slash may be doubled.
    fn replaced(&mut self, name: &str) -> Result<String, NoValue> {
        let operator = if self.chars.next_if_eq(&'/').is_some() { "//" } else { "/" };
        let pattern = self.word('/', Escapes::Kept)?;
        let replacement = self.word('}', Escapes::Kept)?;
        let value = self.value(name).unwrap_or_default();
        self.matched(|| pattern::replaced(&value, operator, &pattern, &replacement))
    }

    /// What a pattern makes of a value, as long as both are known.
    fn matched(&mut self, text: impl FnOnce() -> Result<String, NoValue>) -> Result<String, NoValue> {
        if self.unknown.is_some() {
            return Ok(String::new());
        }
        match text() {
            Err(reason) if !reason.is_refused => {
                self.unknown = Some(reason);
                Ok(String::new())
            }
            text => text,
        }
    }

    /// What stands before `stop`, a part of a `${…}`.
    fn word(&mut self, stop: char, escapes: Escapes) -> Result<String, NoValue> {
        let outside = std::mem::replace(&mut self.escapes, escapes);
        let word = self.until(Some(stop));
        self.escapes = outside;
        word
    }

    fn not_known(&mut self, what: String) {
        self.unknown.get_or_insert(NoValue { what, is_refused: false });
    }

    /// `${name<operator>word}`; with a colon, an empty value counts as none.
    fn chosen(&mut self, name: &str, operator: &str) -> Result<String, NoValue> {
        let word = self.word('}', Escapes::Taken)?;
        let value = self.value(name).filter(|value| !(value.is_empty() && operator.starts_with(':')));
        match (operator.trim_start_matches(':'), value) {
            ("-" | "?", Some(value)) => Ok(value),
            ("-", None) | ("+", Some(_)) => Ok(word),
            ("?", None) if self.unknown.is_none() => {
                refused(format!("{name}: {}", if word.is_empty() { "has no value" } else { &word }))
            }
            _ => Ok(String::new()),
        }
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.value_of)(name);
        value.unwrap_or_else(|reason| {
            self.unknown.get_or_insert(reason);
            None
        })
    }

    fn name(&mut self) -> String {
        if let Some(special) = self.chars.next_if(|c| "@*#?-$!".contains(*c)) {
            return special.to_string();
        }
        let is_number = self.chars.peek().is_some_and(|c| c.is_numeric());
        let is_part = |c: &char| if is_number { c.is_numeric() } else { c.is_alphanumeric() || *c == '_' };
        std::iter::from_fn(|| self.chars.next_if(is_part)).collect()
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
