//! Commits and revisions. A text is parsed into one of them where it comes in, so that nothing else is handed to git.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use super::problem::Problem;

/// How a commit is shortened for people.
const SHORT: usize = 7;

/// The full name of a commit: 40 hex digits, or 64 in a repository that uses SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit(String);

impl Commit {
    /// The first digits, enough for a person to tell two commits apart.
    pub fn short(&self) -> &str {
        &self.0[..SHORT]
    }
}

/// A precision gives the first digits alone: `{commit:.12}`.
impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// As an argument of git.
impl AsRef<OsStr> for Commit {
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

impl FromStr for Commit {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Commit, Problem> {
        let is_hex = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if is_hex && matches!(text.len(), 40 | 64) {
            return Ok(Commit(text.to_owned()));
        }
        Err(Problem::new(format!("commit `{text}`"), "not a commit").rule("40 or 64 lower-case hex digits"))
    }
}

/// The commit that is built, and whether the working tree differs from it: the value of the revision label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub commit: Commit,
    pub dirty: bool,
}

impl Revision {
    /// Reads the revision label of an image or an index; `None` if it holds anything else.
    pub fn of_label(text: &str) -> Option<Revision> {
        let (commit, dirty) = text.strip_suffix("-dirty").map_or((text, false), |commit| (commit, true));
        Some(Revision { commit: commit.parse().ok()?, dirty })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.commit, if self.dirty { "-dirty" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_commit_is_a_commit() {
        let (sha1, sha256) = ("0123456789abcdef0123456789abcdef01234567", "ab".repeat(32));
        for text in [sha1, &sha256] {
            assert_eq!(text.parse::<Commit>().unwrap().to_string(), text);
        }
        for text in ["", "HEAD", "--output=x", "0123456", &sha1.to_uppercase(), &format!("{sha1}\n"), &"é".repeat(20)]
        {
            assert!(text.parse::<Commit>().is_err(), "{text:?}");
        }
        assert_eq!(sha1.parse::<Commit>().unwrap().short(), "0123456");
    }

    #[test]
    fn a_revision_round_trips_through_its_label() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for label in [commit.to_owned(), format!("{commit}-dirty")] {
            assert_eq!(Revision::of_label(&label).unwrap().to_string(), label);
        }
        for label in ["", "-dirty", "--output=FILE", "main"] {
            assert_eq!(Revision::of_label(label), None);
        }
    }
}
