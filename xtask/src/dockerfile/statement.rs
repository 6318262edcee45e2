//! A Dockerfile's text cut into statements: directives, comments, continued lines, flags and here-documents.
//!
//! Follows BuildKit's parser (moby/buildkit, `frontend/dockerfile/parser/`): where a statement ends decides whether the
//! next line is read as an instruction at all.

use std::fmt;

use crate::dockerfile::expand::{NoValue, plain_words, written_words};
use crate::model::problem::Problem;

/// What is wrong with a Dockerfile, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl Fault {
    pub fn new(line: usize, what: impl Into<String>) -> Fault {
        Fault { line, what: what.into() }
    }

    /// The same about the file at `path`.
    pub fn at(&self, path: &str) -> Problem {
        Problem::new(format!("{path}:{}", self.line), self.what.as_str())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Fault {}

/// One instruction with its continued lines joined and its here-documents taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The line on which it begins.
    pub line: usize,
    /// In lower case.
    pub keyword: String,
    /// The words that begin with `--` between the keyword and everything else, without quotes.
    pub flags: Vec<String>,
    /// The rest, as written.
    pub rest: String,
}

/// The lines of a text with their numbers.
struct Lines<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    number: usize,
}

/// The statements of a Dockerfile, and its escape character.
pub fn statements(text: &str) -> Result<(Vec<Statement>, char), Fault> {
    let mut lines = Lines { lines: text.trim_start_matches('\u{feff}').split_inclusive('\n'), number: 0 };
    let mut directives = Directives::default();
    let mut statements = Vec::new();
    while let Some(first) = lines.next() {
        let line = lines.number;
        directives.read(first.trim_start(), line)?;
        let Some(text) = joined(first.trim_start(), &mut lines, directives.escape) else { continue };
        let statement = Statement::parse(line, &text);
        for document in statement.here_documents(&text)? {
            document.skip(&mut lines, line)?;
        }
        statements.push(statement);
    }
    if statements.is_empty() {
        return Err(Fault::new(lines.number.max(1), "a Dockerfile without instructions"));
    }
    Ok((statements, directives.escape))
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        let line = self.lines.next();
        if line.is_none() {
            self.number -= 1;
        }
        line.map(|line| line.trim_end_matches(['\r', '\n']))
    }
}

/// The parser directives that the file begins with: `# escape=`, `# syntax=`, `# check=`.
struct Directives {
    escape: char,
    seen: Vec<String>,
    over: bool,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { escape: '\\', seen: Vec::new(), over: false }
    }
}

impl Directives {
    fn read(&mut self, line: &str, number: usize) -> Result<(), Fault> {
        if self.over {
            return Ok(());
        }
        let Some((name, value)) = directive(line) else {
            self.over = true;
            return Ok(());
        };
        if self.seen.contains(&name) {
            return Err(Fault::new(number, format!("a second `{name}` directive")));
        }
        match (name.as_str(), value) {
            ("escape", "`") => self.escape = '`',
            ("escape", "\\") => self.escape = '\\',
            ("escape", _) => return Err(Fault::new(number, format!("`{value}` is not an escape character"))),
            _ => {}
        }
        self.seen.push(name);
        Ok(())
    }
}

/// The name and the value of a directive; anything else, also an unknown directive, ends them.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim_end().to_ascii_lowercase();
    let value = value.trim();
    let known = matches!(name.as_str(), "escape" | "syntax" | "check");
    (known && !value.is_empty()).then_some((name, value))
}

/// The image of the frontend that a `# syntax=` directive names, and its line.
///
/// BuildKit looks for it before it parses, so unlike `# escape=` it has to begin its line, and may follow a `#!`.
pub fn syntax(text: &str) -> Option<(usize, String)> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate().peekable();
    lines.next_if(|(_, line)| line.starts_with("#!"));
    let mut seen = Vec::new();
    for (index, line) in lines {
        let (name, value) = directive(line)?;
        if name == "syntax" {
            return Some((index + 1, value.split(' ').next().unwrap_or(value).to_owned()));
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    None
}

/// The statement that begins with the line `first`; `None` if that is empty or a comment.
fn joined(first: &str, lines: &mut Lines, escape: char) -> Option<String> {
    let (part, mut continued) = continuation(if first.starts_with('#') { "" } else { first }, escape);
    if part.is_empty() && !continued {
        return None;
    }
    let mut text = part.to_owned();
    while continued {
        let Some(line) = lines.next() else { break };
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let part;
        (part, continued) = continuation(line, escape);
        text.push_str(part);
    }
    Some(text)
}

/// The line without its continuation character, and whether it had one: an escaped escape character is none.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(part) if !part.ends_with(escape) => (part, true),
        _ => (line, false),
    }
}

/// What BuildKit splits words at outside of quotes.
pub fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

impl Statement {
    /// The statement in `text`, which has neither continued lines nor here-documents.
    pub fn parse(line: usize, text: &str) -> Statement {
        let text = text.trim();
        let (keyword, rest) = text.split_once(is_blank).unwrap_or((text, ""));
        let (flags, rest) = leading_flags(rest.trim_start_matches(is_blank));
        Statement { line, keyword: keyword.to_lowercase(), flags, rest: rest.trim().to_owned() }
    }

    /// What `ONBUILD` holds back for the images that build on this one.
    pub fn held_back(&self) -> Option<Statement> {
        (self.keyword == "onbuild").then(|| Statement::parse(self.line, &self.rest))
    }

    /// The arguments, if they are written as a JSON array.
    pub fn json(&self) -> Result<Option<Vec<String>>, Fault> {
        if !self.rest.starts_with('[') {
            return Ok(None);
        }
        let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&self.rest) else { return Ok(None) };
        let strings: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        match strings {
            Some(strings) => Ok(Some(strings)),
            None => Err(Fault::new(self.line, "a JSON array may hold strings only")),
        }
    }

    fn here_documents(&self, text: &str) -> Result<Vec<HereDocument>, Fault> {
        let held_back = self.held_back();
        let inner = held_back.as_ref().unwrap_or(self);
        if !matches!(inner.keyword.as_str(), "add" | "copy" | "run") || !text.contains("<<") || inner.json()?.is_some()
        {
            return Ok(Vec::new());
        }
        let mut documents = Vec::new();
        // Where BuildKit's lexer gives up, at a quote in a comment for one, BuildKit sees no here-document either.
        for word in written_words(text).unwrap_or_default() {
            match HereDocument::parse(&word) {
                Ok(document) => documents.extend(document),
                Err(NoValue::Unknown(what) | NoValue::Refused(what)) => return Err(Fault::new(self.line, what)),
            }
        }
        Ok(documents)
    }
}

/// The flags that `text` begins with, without their quotes, and what follows.
fn leading_flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = unquoted_word(rest);
        rest = after;
        if word == "--" {
            break;
        }
        flags.push(word);
        rest = rest.trim_start();
    }
    (flags, rest)
}

/// The first word, without its quotes, and what follows. Flags escape with a backslash whatever the directive says.
fn unquoted_word(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if quote.is_none() && c.is_whitespace() => return (word, &text[at..]),
            '\\' => word.extend(chars.next().map(|(_, escaped)| escaped)),
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c => word.push(c),
        }
    }
    (word, "")
}

/// The operator of a here-document: `<<EOF`, `<<-EOF`, `3<<"EOF"`.
pub struct HereDocument {
    terminator: String,
    strips_tabs: bool,
}

impl HereDocument {
    /// The operator that the word is, if it is one (BuildKit's `^(\d*)<<(-?)\s*([^<]*)$`).
    pub fn parse(word: &str) -> Result<Option<HereDocument>, NoValue> {
        let Some(operator) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else {
            return Ok(None);
        };
        let (strips_tabs, terminator) = match operator.strip_prefix('-') {
            Some(terminator) => (true, terminator),
            None => (false, operator),
        };
        if terminator.contains('<') {
            return Ok(None);
        }
        let [terminator] = plain_words(terminator.trim_start())?.try_into().unwrap_or([String::new()]);
        Ok((!terminator.is_empty()).then_some(HereDocument { terminator, strips_tabs }))
    }

    fn skip(&self, lines: &mut Lines, line: usize) -> Result<(), Fault> {
        while let Some(text) = lines.next() {
            let text = if self.strips_tabs { text.trim_start_matches('\t') } else { text };
            if text == self.terminator {
                return Ok(());
            }
        }
        Err(Fault::new(line, format!("the here-document `<<{}` is not terminated", self.terminator)))
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
