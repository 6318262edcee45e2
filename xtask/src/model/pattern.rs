//! Patterns of paths, with the wildcards of the crate `glob`: `*` and `?` do not cross a `/`, and `**` does.

/// Whether a text has wildcards, and is more than the one name that it spells.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A pattern of paths, git refs among them.
///
/// It is matched name by name, because over a whole path the time that `glob` takes grows exponentially with the number
/// of stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// What stands between its slashes; `None` for `**`.
    parts: Vec<Option<glob::Pattern>>,
}

impl PathPattern {
    /// # Errors
    /// A `**` that is not alone between slashes, or a class of characters that does not end there.
    pub fn new(text: &str) -> Result<PathPattern, glob::PatternError> {
        let part = |part| if part == "**" { Ok(None) } else { glob::Pattern::new(part).map(Some) };
        Ok(PathPattern { parts: text.split('/').map(part).collect::<Result<_, _>>()? })
    }

    /// Whether it matches the path of these names, from beginning to end.
    pub fn matches(&self, names: &[&str]) -> bool {
        let (mut part, mut name) = (0, 0);
        // The last `**` and the names that it takes: if what follows does not match, it takes one more. Those before it
        // need never take more than they did.
        let mut last_stars = None;
        loop {
            match (self.parts.get(part), names.get(name)) {
                (None, None) => return true,
                // At the end, `**` takes at least one name.
                (Some(None), _) if part + 1 == self.parts.len() => return name < names.len(),
                (Some(None), _) => {
                    part += 1;
                    last_stars = Some((part, name));
                    continue;
                }
                (Some(Some(glob)), Some(text)) if glob.matches(text) => {
                    (part, name) = (part + 1, name + 1);
                    continue;
                }
                _ => {}
            }
            match last_stars {
                Some((after, taken)) if taken < names.len() => {
                    (part, name) = (after, taken + 1);
                    last_stars = Some((part, name));
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern).unwrap().matches(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn stars_stay_between_slashes_and_double_ones_do_not() {
        for (pattern, path) in [
            ("refs/heads/*", "refs/heads/main"),
            ("refs/tags/v*.?", "refs/tags/v1.2"),
            ("**", "a/b"),
            ("a/**", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/b/b/c"),
            ("**/a/**/b", "a/x/a/b/b"),
            ("/opt/**/*.so", "/opt/a/b.so"),
            ("[!a]/[]]", "b/]"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("refs/heads/*", "refs/heads/a/b"), ("a/**", "a"), ("a/**/c", "a/b"), ("**/a/**/b", "b/a"), ("a?b", "a/b")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for wrong in ["a**", "a[", "[a/b]", "***"] {
            assert!(PathPattern::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_few() {
        let (name, deep) = ("a".repeat(200), "a/".repeat(200));
        for pattern in ["*a".repeat(30) + "b", "**/a/".repeat(30) + "b", "**/*a*a*a/".repeat(30) + "b"] {
            assert!(!matches(&pattern, &format!("{name}/{deep}c")), "{pattern}");
        }
    }
}
