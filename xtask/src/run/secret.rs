//! Secrets: kept out of logs, `argv` and child environments.
//!
//! They are not given to GitHub's `::add-mask::`. That command is the secret itself, printed: the runner swallows it,
//! but a `tee`, a local runner of workflows or a script around the step keeps it. What this program never prints needs
//! no mask: a secret goes to another program over its stdin, or in a file that only this user can read, and is covered
//! in what that program says before anybody sees it (`tools/process.rs`).

use std::fmt;

/// A token or a password. It has no `Display`, so that it cannot get into a message by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, for a program's stdin or a file of its own.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        assert_eq!(format!("{:?}", Secret::new("pass-word")), "***");
    }
}
