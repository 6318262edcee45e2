//! `.dockerignore`: which files of the repository are not part of the build context.
//!
//! Follows moby/patternmatcher, with which BuildKit filters the context: its patterns become regular expressions, which
//! makes them differ from shell patterns, and from `.gitignore`, in the corners.

/// The patterns of a `.dockerignore` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Begins with `!`: takes back what patterns before it ignore.
    exception: bool,
    matcher: Matcher,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Glob(Vec<Token>),
    /// BuildKit would refuse it, or take it for something that nobody meant. It ignores nothing here.
    Unclear,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: a character other than `/`.
    AnyChar,
    /// `*`: characters other than `/`, or none.
    AnyName,
    /// `**` at the end: everything.
    Rest,
    /// `**/`, first half: directories, or none.
    MaybeDirectories,
    /// `**/`, second half: up to and including a `/`.
    Directories,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    pub fn parse(text: &str) -> Ignore {
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
        Ignore { patterns: lines.filter_map(Pattern::parse).collect() }
    }

    /// Whether the file at `path`, relative to the context's root, is kept out of the context.
    ///
    /// Directories are asked first, from the outermost: what a pattern says about one holds for all below it.
    pub fn ignored(&self, path: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let mut matched = vec![false; self.patterns.len()];
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut ignored = false;
        for end in ends.chain([path.len()]) {
            ignored = false;
            for (pattern, matched) in self.patterns.iter().zip(&mut matched) {
                *matched = *matched || pattern.exception == ignored && pattern.matches(&path[..end]);
                if *matched {
                    ignored = !pattern.exception;
                }
            }
        }
        ignored
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Pattern> {
        if line.starts_with('#') || line.trim().is_empty() {
            return None;
        }
        let (exception, pattern) = match line.trim().strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line.trim()),
        };
        let cleaned = clean(pattern);
        let matcher = match cleaned.strip_prefix('/').filter(|pattern| !pattern.is_empty()).unwrap_or(&cleaned) {
            "" | "/" if exception => Matcher::Unclear,
            pattern => Matcher::parse(pattern),
        };
        Some(Pattern { exception, matcher })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match (&self.matcher, str::from_utf8(path)) {
            (Matcher::Exact(text), _) => path == text.as_bytes(),
            (Matcher::Prefix(text), _) => path.starts_with(text.as_bytes()),
            (Matcher::Suffix(text), _) => {
                path.ends_with(text.as_bytes()) || text.strip_prefix('/').is_some_and(|name| path == name.as_bytes())
            }
            (Matcher::Glob(tokens), Ok(path)) => glob(tokens, path),
            // Whatever is not certain is kept in the context.
            (Matcher::Glob(_), Err(_)) | (Matcher::Unclear, _) => self.exception,
        }
    }
}

/// The shortest path that is equal to `path` (Go's `filepath.Clean`).
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", None) if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    match (path.starts_with('/'), parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

impl Matcher {
    fn parse(pattern: &str) -> Matcher {
        let mut tokens = Vec::new();
        let mut matcher = Matcher::Exact(pattern.to_owned());
        let mut anchored = false;
        let mut chars = pattern.chars().peekable();
        let mut first = true;
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    matcher = match (chars.peek(), &matcher) {
                        _ if first => Matcher::Suffix(pattern.get(2..).unwrap_or_default().to_owned()),
                        (None, Matcher::Exact(_)) => Matcher::Prefix(pattern.trim_end_matches("**").to_owned()),
                        _ => Matcher::Glob(Vec::new()),
                    };
                    tokens.extend(match chars.peek() {
                        None => vec![Token::Rest],
                        Some(_) => vec![Token::MaybeDirectories, Token::Directories],
                    });
                }
                '*' | '?' | '[' | ']' | '\\' => {
                    matcher = Matcher::Glob(Vec::new());
                    let Some(token) = special(c, &mut chars) else { return Matcher::Unclear };
                    tokens.push(token);
                }
                c => {
                    anchored |= c == '^';
                    tokens.push(Token::Char(c));
                }
            }
            first = false;
        }
        match matcher {
            // In a regular expression it is not a character, and nothing can match it in the middle.
            Matcher::Glob(_) if anchored => Matcher::Unclear,
            Matcher::Glob(_) => Matcher::Glob(tokens),
            matcher => matcher,
        }
    }
}

fn special(c: char, chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<Token> {
    match c {
        '*' => Some(Token::AnyName),
        '?' => Some(Token::AnyChar),
        '[' => class(chars),
        // An escaped letter or digit is a class or an assertion of regular expressions.
        '\\' => chars.next().filter(|c| c.is_ascii() && !c.is_ascii_alphanumeric()).map(Token::Char),
        c => Some(Token::Char(c)),
    }
}

/// The rest of `[a-z]`; `None` for what shell patterns and regular expressions understand differently.
fn class(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let member = |chars: &mut std::iter::Peekable<std::str::Chars>| match chars.next()? {
        '\\' => chars.next().filter(|c| c.is_ascii_punctuation()),
        '-' | '[' | ']' | '*' | '?' | '^' => None,
        c => Some(c),
    };
    loop {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if high < low {
            return None;
        }
        ranges.push((low, high));
        if chars.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
    }
}

/// Whether the tokens match all of `path`: every place in the pattern that can be reached is followed at once.
fn glob(tokens: &[Token], path: &str) -> bool {
    // Most paths already differ in the characters that a pattern begins or ends with, and there are many paths.
    let literal = |token: &Token| if let Token::Char(c) = token { Some(*c) } else { None };
    let mut begin = tokens.iter().map_while(literal).zip(path.chars());
    let mut end = tokens.iter().rev().map_while(literal).zip(path.chars().rev());
    if begin.any(|(expected, c)| expected != c) || end.any(|(expected, c)| expected != c) {
        return false;
    }
    let mut places = vec![false; tokens.len() + 1];
    enter(tokens, 0, &mut places);
    for c in path.chars() {
        let mut reached = vec![false; tokens.len() + 1];
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| places[*at]) {
            match token {
                Token::Char(expected) if *expected == c => enter(tokens, at + 1, &mut reached),
                Token::AnyChar if c != '/' => enter(tokens, at + 1, &mut reached),
                Token::Class { negated, ranges }
                    if ranges.iter().any(|(low, high)| (low..=high).contains(&&c)) != *negated =>
                {
                    enter(tokens, at + 1, &mut reached);
                }
                Token::AnyName if c != '/' => enter(tokens, at, &mut reached),
                Token::Rest if c != '\n' => enter(tokens, at, &mut reached),
                Token::Directories if c != '\n' => {
                    reached[at] = true;
                    if c == '/' {
                        enter(tokens, at + 1, &mut reached);
                    }
                }
                _ => {}
            }
        }
        places = reached;
    }
    places[tokens.len()]
}

/// Marks a place, and those that are reached from it without a character.
fn enter(tokens: &[Token], at: usize, places: &mut [bool]) {
    places[at] = true;
    match tokens.get(at) {
        Some(Token::AnyName | Token::Rest) => enter(tokens, at + 1, places),
        Some(Token::MaybeDirectories) => {
            enter(tokens, at + 1, places);
            enter(tokens, at + 2, places);
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
