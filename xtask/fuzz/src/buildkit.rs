//! A second opinion on ignore files: patterns become regular expressions, as in BuildKit (moby/patternmatcher).

use regex_lite::Regex;

/// The patterns of an ignore file. Those that [`crate::dockerfile::Ignore`] calls unclear are not understood here.
pub struct Patterns(Vec<(bool, Regex)>);

impl Patterns {
    pub fn parse(text: &str) -> Patterns {
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
        let patterns = lines.filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        Patterns(patterns.map(pattern).collect())
    }

    /// Whether the file at `path` is kept out of the context.
    pub fn ignored(&self, path: &str) -> bool {
        let mut matched = vec![false; self.0.len()];
        let mut ignored = false;
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        for name in folders.chain([path]) {
            ignored = false;
            for ((is_exception, regex), matched) in self.0.iter().zip(&mut matched) {
                // What is said of a folder holds for all below it; else only what would change anything is asked.
                *matched = *matched || *is_exception == ignored && regex.is_match(name);
                if *matched {
                    ignored = !is_exception;
                }
            }
        }
        ignored
    }
}

/// Whether it is an exception, and what it matches.
fn pattern(line: &str) -> (bool, Regex) {
    let (is_exception, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
    let parts = pattern.split('/').filter(|part| !matches!(*part, "" | "."));
    let cleaned = parts.collect::<Vec<_>>().join("/");
    (is_exception, Regex::new(&regex_of(&cleaned)).unwrap_or_else(|error| panic!("`{line}`: {error}")))
}

fn regex_of(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (length, text) = match c {
            '*' if matches!(rest, "**" | "**/") => (rest.len(), ".*".to_owned()),
            '*' if rest.starts_with("**/") => (3, "(.*/)?".to_owned()),
            '*' if rest.starts_with("**") => (2, "(.*/)?".to_owned()),
            '*' => (1, "[^/]*".to_owned()),
            '?' => (1, "[^/]".to_owned()),
            '[' => {
                let length = rest.find(']').map_or(1, |end| end + 1);
                (length, rest[..length].to_owned())
            }
            '\\' => {
                let length = rest.chars().nth(1).map_or(0, char::len_utf8);
                (1 + length, regex_lite::escape(&rest[1..1 + length]))
            }
            c => (c.len_utf8(), regex_lite::escape(&rest[..c.len_utf8()])),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out + "$"
}
