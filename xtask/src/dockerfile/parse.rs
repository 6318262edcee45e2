//! A Dockerfile's text cut into statements: directives, comments, continued lines, flags and here-documents.
//!
//! This is a scanner of our own after BuildKit's (moby/buildkit, `frontend/dockerfile/parser/`): where a statement ends
//! decides whether the next line is an instruction at all, and a misread line is a stale image. `parse-dockerfile`
//! 0.1.9 misreads here-documents, `\\` at a line's end and quoted flags, and refuses stages of the same name.

mod instruction;

use std::collections::BTreeSet;

use super::expand::{NoValue, expand};
use super::{Base, BaseRole, Dockerfile, Effect, Fault, Instruction};

impl Dockerfile {
    /// # Errors
    /// BuildKit would refuse the file too.
    pub fn parse(text: &str) -> Result<Dockerfile, Fault> {
        let text = text.trim_start_matches('\u{feff}');
        let escape = escape(text)?;
        let statements = statements(text, escape)?;
        let mut file = Dockerfile {
            syntax: syntax(text),
            escape,
            names_platforms: statements.iter().any(Statement::names_a_platform),
            globals: Vec::new(),
            stages: Vec::new(),
        };
        for statement in &statements {
            let line = statement.line;
            if statement.keyword == "from" {
                file.stages.push(instruction::stage(statement)?);
                continue;
            }
            let instruction = Instruction { line, effect: instruction::effect(statement, escape)? };
            match (file.stages.last_mut(), &instruction.effect) {
                (Some(stage), _) => stage.instructions.push(instruction),
                (None, Effect::Arg(_)) => file.globals.push(instruction),
                (None, _) => {
                    return Err(Fault::new(line, "an instruction before the first `FROM`")
                        .rule("only `ARG` may stand before the first `FROM`")
                        .help("move it below the `FROM` of the stage that it is for"));
                }
            }
        }
        let last = statements.last().filter(|_| file.stages.is_empty());
        last.map_or(Ok(file), |last| Err(no_from(last.line, "no `FROM`")))
    }
}

fn no_from(line: usize, what: &str) -> Fault {
    let fault = Fault::new(line, what).rule("an image is built from another one, or from `scratch`");
    fault.help("write what the job is built from, e.g. FROM busybox:1.37")
}

/// One instruction with its continued lines joined and its here-documents taken off.
struct Statement {
    /// The line on which it begins.
    line: usize,
    /// In lower case.
    keyword: String,
    /// The words that begin with `--` between the keyword and everything else, without quotes.
    flags: Vec<String>,
    /// The rest, as written.
    rest: String,
}

fn statements(text: &str, escape: char) -> Result<Vec<Statement>, Fault> {
    let mut lines = text.split_inclusive('\n').map(|line| line.trim_end_matches(['\r', '\n'])).zip(1..);
    let mut statements = Vec::new();
    while let Some((first, line)) = lines.next() {
        let mut rest = lines.by_ref().map(|(line, _)| line);
        let Some(text) = joined(first.trim_start(), &mut rest, escape) else { continue };
        let statement = Statement::parse(line, &text);
        statement.skip_here_documents(&text, &mut rest)?;
        statements.push(statement);
    }
    if statements.is_empty() {
        return Err(no_from(text.lines().count().max(1), "a Dockerfile without instructions"));
    }
    Ok(statements)
}

/// The character of the `# escape=` directive.
fn escape(text: &str) -> Result<char, Fault> {
    let mut escape = '\\';
    let mut seen = BTreeSet::new();
    for ((name, value), number) in text.lines().map_while(|line| directive(line.trim_start())).zip(1..) {
        match (name.as_str(), value) {
            ("escape", "`") => escape = '`',
            ("escape", "\\") | ("syntax" | "check", _) => {}
            _ => {
                return Err(Fault::new(number, format!("`{value}` is not an escape character"))
                    .rule("a backslash or a backtick escapes")
                    .help("write `# escape=\\`, or leave the line out"));
            }
        }
        if let Some(name) = seen.replace(name) {
            return Err(Fault::new(number, format!("a second `{name}` directive"))
                .rule("each directive stands once")
                .help("remove one of them"));
        }
    }
    Ok(escape)
}

/// The image of the frontend that a `# syntax=` directive names.
///
/// BuildKit looks for it before it parses, so unlike `# escape=` it has to begin its line, and may follow a `#!`.
fn syntax(text: &str) -> Option<Base> {
    let lines = text.lines().zip(1..).skip_while(|(line, number)| *number == 1 && line.starts_with("#!"));
    let mut directives = lines.map_while(|(line, number)| Some((directive(line)?, number)));
    let ((_, value), line) = directives.find(|((name, _), _)| name == "syntax")?;
    let written = value.split(' ').next().unwrap_or(value).to_owned();
    Some(Base { written, line: Some(line), role: BaseRole::Frontend })
}

/// The name and the value of a parser directive. Anything else, also an unknown directive, ends them.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim_end().to_ascii_lowercase();
    let value = value.trim();
    let known = matches!(name.as_str(), "escape" | "syntax" | "check");
    (known && !value.is_empty()).then_some((name, value))
}

/// The statement that begins with the line `first`; `None` if that is empty or a comment.
fn joined<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>, escape: char) -> Option<String> {
    let (part, mut continued) = continuation(if first.starts_with('#') { "" } else { first }, escape);
    if part.is_empty() && !continued {
        return None;
    }
    let mut text = part.to_owned();
    let is_text = |line: &&str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    while continued {
        let Some(line) = lines.find(is_text) else { break };
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
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

impl Statement {
    /// The statement in `text`, which has neither continued lines nor here-documents.
    fn parse(line: usize, text: &str) -> Statement {
        let text = text.trim();
        let (keyword, rest) = text.split_once(is_blank).unwrap_or((text, ""));
        let mut flags = Vec::new();
        let mut rest = rest.trim_start();
        while rest.starts_with("--") {
            let word = first_word(rest, '\\');
            rest = rest[word.len()..].trim_start();
            if word == "--" {
                break;
            }
            flags.push(unquoted(word));
        }
        Statement { line, keyword: keyword.to_lowercase(), flags, rest: rest.to_owned() }
    }

    /// What `ONBUILD` holds back for the images that build on this one.
    fn held_back(&self) -> Option<Statement> {
        (self.keyword == "onbuild").then(|| Statement::parse(self.line, &self.rest))
    }

    /// The arguments, if they are written as a JSON array.
    fn json(&self) -> Result<Option<Vec<String>>, Fault> {
        if !self.rest.starts_with('[') {
            return Ok(None);
        }
        let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&self.rest) else { return Ok(None) };
        let strings: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        strings.map(Some).ok_or_else(|| {
            Fault::new(self.line, "a JSON array may hold strings only").help("put every word in double quotes")
        })
    }

    /// Takes the here-documents that follow the statement, whose text with flags is `text`, off the lines.
    fn skip_here_documents<'a>(&self, text: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let held_back = self.held_back();
        let inner = held_back.as_ref().unwrap_or(self);
        let may_have_some = matches!(inner.keyword.as_str(), "add" | "copy" | "run") && text.contains("<<");
        // Where BuildKit's lexer gives up, at a quote in a comment for one, BuildKit sees no here-document either. It
        // leaves variables as they are for this.
        let no_value = NoValue { what: String::new(), is_refused: false };
        let gives_up = || expand(text, '\\', &mut |_| Err(no_value.clone())).is_err_and(|reason| reason.is_refused);
        if !may_have_some || inner.json()?.is_some() || gives_up() {
            return Ok(());
        }
        let mut words = words(text, '\\');
        while let Some(word) = words.next() {
            // Blanks may follow `<<`, but not `<<-`.
            let joins = word.ends_with("<<") && !word.ends_with("<<<");
            let word = if joins { format!("{word} {}", words.next().unwrap_or_default()) } else { word.to_owned() };
            let Some(delimiter) = here_document(&word) else { continue };
            let tabs: &[char] = if word.contains("<<-") { &['\t'] } else { &[] };
            if !lines.any(|line| line.trim_start_matches(tabs) == delimiter) {
                return Err(Fault::new(self.line, format!("the here-document `<<{delimiter}` is not terminated"))
                    .rule("it ends at a line that is its delimiter, and nothing besides")
                    .help(format!("add the line `{delimiter}`")));
            }
        }
        Ok(())
    }

    /// Whether it may name a platform, or a variable that differs between platforms, such as `BUILDARCH`.
    fn names_a_platform(&self) -> bool {
        let texts = self.flags.iter().chain([&self.rest]);
        texts.into_iter().any(|text| ["--platform", "TARGET", "BUILD"].iter().any(|part| text.contains(part)))
    }
}

/// The delimiter of the here-document whose operator the word is: `<<EOF`, `<<-EOF`, `3<<"EOF"` (BuildKit's
/// `^(\d*)<<(-?)\s*([^<]*)$`).
fn here_document(word: &str) -> Option<String> {
    let operand = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let delimiter = unquoted(operand.strip_prefix('-').unwrap_or(operand).trim_start());
    (!operand.contains('<') && !delimiter.is_empty()).then_some(delimiter)
}

/// The words of a text, split at spaces outside of quotes. Quotes and escapes stay until variables are replaced.
fn words(mut text: &str, escape: char) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        text = text.trim_start();
        let word = first_word(text, escape);
        text = &text[word.len()..];
        (!word.is_empty()).then_some(word)
    })
}

fn first_word(text: &str, escape: char) -> &str {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if quote.is_none() && c.is_whitespace() => return &text[..at],
            c if c == escape && quote != Some('\'') => drop(chars.next()),
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ => {}
        }
    }
    text
}

/// The word without its quotes. What a backslash escapes stays, whatever the `# escape=` directive says.
fn unquoted(word: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
