//! Variables in a Dockerfile's words: `$X`, `${X:-default}`, quotes and escapes.
//!
//! Follows BuildKit's lexer (moby/buildkit, `frontend/dockerfile/shell/lex.go`) to the letter, because a word that is
//! read differently here is a base image that is not pinned or an input that is not seen.

use std::iter::Peekable;
use std::str::Chars;

/// What is known about a variable at some point of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Set(String),
    Unset,
    /// It may have any value or none: a base image's environment is not in the Dockerfile.
    Unknown,
}

/// Why a word has no known value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// The word depends on this variable, whose value is not known.
    Unknown(String),
    /// BuildKit refuses the word, or this program does not follow it.
    Refused(String),
}

/// A word with its variables replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// The variables that had no value, for messages.
    pub unset: Vec<String>,
}

/// Replaces the variables in `word` and takes away its quotes, as BuildKit does with one argument of an instruction.
///
/// `${X#…}`, `${X%…}` and `${X/…/…}` are refused: a pattern that is matched differently here would go unnoticed.
pub fn expand(word: &str, escape: char, value_of: &dyn Fn(&str) -> Value) -> Result<Expanded, NoValue> {
    let mut lexer = Lexer { chars: word.chars().peekable(), escape, style: Style::Value(value_of), unset: Vec::new() };
    let (text, _) = lexer.until(None)?;
    Ok(Expanded { text, unset: lexer.unset })
}

/// The shell words of a line as written, with quotes, escapes and variables left in, but `<<` joined to what follows.
/// `None` if BuildKit's lexer gives up on the line.
pub fn written_words(line: &str) -> Option<Vec<String>> {
    let mut lexer = Lexer { chars: line.chars().peekable(), escape: '\\', style: Style::Written, unset: Vec::new() };
    lexer.until(None).ok().map(|(_, words)| words)
}

/// The shell words of a line without quotes and escapes, with variables left in.
pub fn plain_words(line: &str) -> Result<Vec<String>, NoValue> {
    let mut lexer = Lexer { chars: line.chars().peekable(), escape: '\\', style: Style::Plain, unset: Vec::new() };
    lexer.until(None).map(|(_, words)| words)
}

#[derive(Clone, Copy)]
enum Style<'a> {
    /// Variables are replaced, quotes and escapes go.
    Value(&'a dyn Fn(&str) -> Value),
    /// Everything stays.
    Written,
    /// Variables stay, quotes and escapes go.
    Plain,
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    style: Style<'a>,
    unset: Vec<String>,
}

/// The text read so far, whole and split at the spaces that are not quoted.
#[derive(Default)]
struct Words {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, c: char) {
        self.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn push_unsplit(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn finish(mut self) -> (String, Vec<String>) {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        (self.text, self.words)
    }
}

impl Lexer<'_> {
    /// Reads up to and including `stop`, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), NoValue> {
        let mut out = Words::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(out.finish());
            }
            match c {
                '\'' => out.push_unsplit(&self.single_quoted()?),
                '"' => out.push_unsplit(&self.double_quoted()?),
                '$' => self.variable()?.chars().for_each(|c| out.push(c)),
                '<' => out.push_unsplit(&self.less_than()),
                _ => self.plain(&mut out),
            }
        }
        match stop {
            None => Ok(out.finish()),
            Some(stop) => Err(NoValue::Refused(format!("`{stop}` is missing"))),
        }
    }

    fn keeps_quotes(&self) -> bool {
        matches!(self.style, Style::Written)
    }

    fn plain(&mut self, out: &mut Words) {
        let Some(c) = self.chars.next() else { return };
        if c != self.escape {
            return out.push(c);
        }
        if self.keeps_quotes() {
            out.push_unsplit(&c.to_string());
        }
        if let Some(escaped) = self.chars.next() {
            out.push_unsplit(&escaped.to_string());
        }
    }

    fn single_quoted(&mut self) -> Result<String, NoValue> {
        let mut out = String::new();
        let quote = self.chars.next().filter(|_| self.keeps_quotes());
        out.extend(quote);
        loop {
            match self.chars.next() {
                None => return Err(NoValue::Refused("`'` is not closed".to_owned())),
                Some('\'') => break,
                Some(c) => out.push(c),
            }
        }
        out.extend(quote);
        Ok(out)
    }

    fn double_quoted(&mut self) -> Result<String, NoValue> {
        let mut out = String::new();
        let quote = self.chars.next().filter(|_| self.keeps_quotes());
        out.extend(quote);
        loop {
            match self.chars.peek().copied() {
                None => return Err(NoValue::Refused("`\"` is not closed".to_owned())),
                Some('"') => break,
                Some('$') => out.push_str(&self.variable()?),
                Some(c) => {
                    self.chars.next();
                    self.quoted(c, &mut out);
                }
            }
        }
        self.chars.next();
        out.extend(quote);
        Ok(out)
    }

    /// Between double quotes the escape character escapes only a quote, a dollar and itself.
    fn quoted(&mut self, c: char, out: &mut String) {
        if c != self.escape {
            return out.push(c);
        }
        if self.keeps_quotes() {
            out.push(c);
        }
        match self.chars.peek().copied() {
            None => {}
            Some(next) if next == '"' || next == '$' || next == self.escape => {
                self.chars.next();
                out.push(next);
            }
            Some(_) => out.push(c),
        }
    }

    /// The spaces after `<<` belong to the word, so that `<< EOF` is one here-document operator.
    fn less_than(&mut self) -> String {
        let mut out = String::new();
        out.extend(self.chars.next());
        let Some(second) = self.chars.next_if_eq(&'<') else { return out };
        out.push(second);
        while let Some(space) = self.chars.next_if(|c| c.is_whitespace()) {
            out.push(space);
        }
        out
    }

    fn variable(&mut self) -> Result<String, NoValue> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        match (self.name(), self.style) {
            (name, _) if name.is_empty() => Ok("$".to_owned()),
            (name, Style::Value(value_of)) => Ok(self.value(&name, value_of)?.unwrap_or_default()),
            (name, _) => Ok(format!("${name}")),
        }
    }

    fn braced(&mut self) -> Result<String, NoValue> {
        if matches!(self.chars.peek(), None | Some('{' | '}' | ':')) {
            return Err(NoValue::Refused("bad substitution after `${`".to_owned()));
        }
        let name = self.name();
        let mut operator = String::new();
        operator.extend(self.chars.next());
        if operator == "}" {
            return match self.style {
                Style::Value(value_of) => Ok(self.value(&name, value_of)?.unwrap_or_default()),
                _ => Ok(format!("${{{name}}}")),
            };
        }
        if operator == ":" {
            operator.extend(self.chars.next());
        }
        match (operator.as_str(), self.style) {
            ("/" | "#" | "%", Style::Value(_)) => {
                Err(NoValue::Refused(format!("`${{{name}{operator}…}}` is not understood here")))
            }
            ("/", _) => {
                self.chars.next_if_eq(&'/');
                let (pattern, _) = self.until(Some('/'))?;
                let (replacement, _) = self.until(Some('}'))?;
                Ok(format!("${{{name}/{pattern}/{replacement}}}"))
            }
            ("+" | "-" | "?" | "#" | "%", _) => self.chosen(&name, &operator),
            (operator, _) if operator.starts_with(':') => self.chosen(&name, operator),
            _ => Err(NoValue::Refused(format!("unsupported modifier `{operator}` after `${{{name}`"))),
        }
    }

    /// `${name<operator>word}`; with a colon, an empty value counts as none.
    fn chosen(&mut self, name: &str, operator: &str) -> Result<String, NoValue> {
        let (word, _) = self.until(Some('}'))?;
        let Style::Value(value_of) = self.style else { return Ok(format!("${{{name}{operator}{word}}}")) };
        let refused = |what: String| Err(NoValue::Refused(what));
        if !matches!(operator.trim_start_matches(':'), "-" | "+" | "?") {
            return refused(format!("`${{{name}{operator}…}}` is not understood here"));
        }
        let value = match value_of(name) {
            Value::Unknown => return Err(NoValue::Unknown(name.to_owned())),
            Value::Unset => None,
            Value::Set(value) if value.is_empty() && operator.starts_with(':') => None,
            Value::Set(value) => Some(value),
        };
        match (operator.trim_start_matches(':'), value) {
            ("-", Some(value)) | ("?", Some(value)) => Ok(value),
            ("-", None) | ("+", Some(_)) => Ok(word),
            ("?", None) if word.is_empty() => refused(format!("{name}: has no value")),
            ("?", None) => refused(format!("{name}: {word}")),
            _ => Ok(String::new()),
        }
    }

    fn value(&mut self, name: &str, value_of: &dyn Fn(&str) -> Value) -> Result<Option<String>, NoValue> {
        match value_of(name) {
            Value::Set(value) => return Ok(Some(value)),
            Value::Unset => self.unset.push(name.to_owned()),
            Value::Unknown => return Err(NoValue::Unknown(name.to_owned())),
        }
        Ok(None)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(digit);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
