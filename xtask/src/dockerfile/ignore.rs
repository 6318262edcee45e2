//! `.dockerignore`: which files of the repository are not part of the build context, and the list of those that are.
//!
//! BuildKit filters the context with moby/patternmatcher, whose patterns become regular expressions, so that they
//! differ from shell patterns, and from `.gitignore`, in the corners. Here their parts become patterns of the crate
//! `glob`; a pattern that has no equal there is not guessed at.

use std::iter::Peekable;
use std::str::Chars;

use super::{Fault, clean};
use crate::model::PathPattern;

/// The patterns of a `.dockerignore` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// The build context, with a slash at its end; empty where that is the root of what is listed.
    context: String,
    patterns: Vec<Pattern>,
    /// A pattern of which it is not certain what BuildKit makes of it. Nothing is ignored here then, and all of the
    /// context has to count, because BuildKit applies the file by itself.
    pub unclear: Option<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Begins with `!`: takes back what patterns before it ignore.
    is_exception: bool,
    text: String,
    paths: PathPattern,
}

impl Ignore {
    pub fn parse(text: &str) -> Ignore {
        let mut patterns = Vec::new();
        for (line, number) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().zip(1..) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let Some(pattern) = Pattern::parse(line.trim()) else {
                let what = format!("the pattern `{}` is not understood here", line.trim());
                return Ignore { unclear: Some(Fault::new(number, what)), ..Ignore::default() };
            };
            patterns.push(pattern);
        }
        Ignore { patterns, ..Ignore::default() }
    }

    /// The same for a context that is a folder of what is listed; nothing else is in the context then.
    pub fn of_context(self, folder: &str) -> Ignore {
        Ignore { context: format!("{folder}/"), ..self }
    }

    /// The path in the context of what is listed at `path`, if it is there.
    pub fn in_context<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        path.strip_prefix(self.context.as_bytes())
    }

    /// Whether the file at `path`, from the root of what is listed, is kept out of the context.
    ///
    /// Directories are asked first, from the outermost: what a pattern says about one holds for all below it.
    pub fn ignored(&self, path: &[u8]) -> bool {
        let Some(path) = self.in_context(path) else { return true };
        if self.patterns.is_empty() {
            return false;
        }
        let path = String::from_utf8_lossy(path);
        let names: Vec<&str> = path.split('/').collect();
        let mut matched = vec![false; self.patterns.len()];
        let mut ignored = false;
        for end in 1..=names.len() {
            ignored = false;
            for (pattern, matched) in self.patterns.iter().zip(&mut matched) {
                *matched = *matched || pattern.is_exception == ignored && pattern.paths.matches(&names[..end]);
                if *matched {
                    ignored = !pattern.is_exception;
                }
            }
        }
        ignored
    }

    /// Whether the folder and all that may be below it is kept out: no exception may be about something in there.
    pub(super) fn ignored_with_all_below(&self, folder: &[u8]) -> bool {
        if self.context.as_bytes().strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/")) {
            return false; // the context is in it
        }
        let Some(in_context) = self.in_context(folder) else { return true };
        let below = format!("{}/", String::from_utf8_lossy(in_context));
        let may_be_below = |pattern: &Pattern| {
            let text = &pattern.text;
            let wildcard = text.find(['*', '?', '[']);
            let fixed = &text[..wildcard.unwrap_or(text.len())];
            fixed.starts_with(&below) || wildcard.is_some() && below.starts_with(fixed)
        };
        self.ignored(folder) && !self.patterns.iter().any(|pattern| pattern.is_exception && may_be_below(pattern))
    }
}

impl Pattern {
    /// `None` if BuildKit refuses it, or if it has no equal here.
    fn parse(line: &str) -> Option<Pattern> {
        let (is_exception, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line),
        };
        let cleaned = clean(pattern);
        // For BuildKit, a `..` at the beginning leads out of the context.
        if is_exception && cleaned.is_empty() || pattern.split('/').any(|part| part == "..") {
            return None;
        }
        let text = translated(&cleaned)?;
        let paths = PathPattern::new(&text).ok()?;
        Some(Pattern { is_exception, text, paths })
    }
}

/// The same pattern for `glob`, which itself refuses a `**` that is not alone between slashes.
fn translated(pattern: &str) -> Option<String> {
    let has_wildcards = pattern.contains(['*', '?', '[', ']', '\\']);
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '[' => out.push_str(&class(&mut chars, out.is_empty() || out.ends_with('/'))?),
            // An escaped letter or digit is a class or an assertion of regular expressions, and an escaped slash parts
            // names, but ends no `**`.
            '\\' => {
                let literal = chars.next().filter(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && *c != '/')?;
                out.push_str(&glob::Pattern::escape(&literal.to_string()));
            }
            // In a regular expression it is not a character, and nothing can match it in the middle.
            '^' if has_wildcards => return None,
            char::REPLACEMENT_CHARACTER => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

/// The rest of `[a-z]`; `None` for what shell patterns and regular expressions may understand differently.
///
/// In a regular expression, `[^a]` matches a slash too. `begins_name` says that it cannot: no name is empty.
fn class(chars: &mut Peekable<Chars>, begins_name: bool) -> Option<String> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut class = String::from(if negated { "[!" } else { "[" });
    let is_clear = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '_');
    loop {
        let low = chars.next().filter(is_clear)?;
        class.push(low);
        if chars.next_if_eq(&'-').is_some() {
            let high = chars.next().filter(is_clear).filter(|high| *high >= low && !(low..=*high).contains(&'/'))?;
            class.extend(['-', high]);
        }
        if chars.next_if_eq(&']').is_some() {
            break;
        }
    }
    let ends_name = matches!(chars.peek(), None | Some('/'));
    class.push(']');
    (!negated || begins_name || ends_name).then_some(class)
}

/// The text of a `.dockerignore` that lets these paths into the context, these folders without what is in them, and
/// nothing else.
pub fn allow_list<'a>(empty: impl IntoIterator<Item = &'a [u8]>, paths: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut list = "*\n".to_owned();
    for folder in empty.into_iter().map(pattern) {
        list.push_str(&format!("!{folder}\n{folder}/*\n"));
    }
    for path in paths.into_iter().map(pattern) {
        list.extend(["!", &path, "\n"]);
    }
    list
}

/// The pattern of one path. A character that cannot be written there is a `?`, which stands for any other one.
fn pattern(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let last = path.chars().count().saturating_sub(1);
    let mut pattern = String::new();
    for (at, c) in path.chars().enumerate() {
        match c {
            // BuildKit sends the patterns in a header of HTTP, which takes no control characters.
            c if c.is_control() => pattern.push('?'),
            '\\' | '*' | '?' | '[' | ']' | '^' => pattern.extend(['\\', c]),
            // Blanks at the ends of a line would be taken away.
            c if c.is_whitespace() && (at == 0 || at == last) => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
