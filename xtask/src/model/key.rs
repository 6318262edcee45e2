//! The key of a job: the hash of everything that determines its image.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::commit::Commit;
use super::problem::Problem;
use super::reference::Digest;

/// Changes when the list below does: images of another version are not found again, and are rebuilt.
const VERSION: &str = "jobs-key-2";

/// How many hex digits a key has: enough that no two of a repository's are ever alike.
const DIGITS: usize = 20;

/// The first 20 hex digits of a SHA-256 over a canonical list of what determines an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The key of what determines a job's image: the stage that is built, the build arguments, the digests of the bases
    /// by their names in the Dockerfile, and [`hash_of_files`] of the files that the job names; `folder` where the
    /// context is not the repository's root, and the hash of all of the context where all of it counts.
    pub fn of(
        stage: Option<&str>,
        args: &BTreeMap<String, String>,
        bases: &BTreeMap<String, Digest>,
        files: [u8; 32],
        folder: &str,
        context: Option<[u8; 32]>,
    ) -> Key {
        let mut hash = Sha256::new();
        record(&mut hash, "version", &[VERSION.as_bytes()]);
        record(&mut hash, "stage", &[stage.unwrap_or_default().as_bytes()]);
        for (name, value) in args {
            record(&mut hash, "argument", &[name.as_bytes(), value.as_bytes()]);
        }
        for (written, digest) in bases {
            record(&mut hash, "base", &[written.as_bytes(), digest.to_string().as_bytes()]);
        }
        record(&mut hash, "files", &[&files]);
        if !folder.is_empty() {
            record(&mut hash, "folder", &[folder.as_bytes()]);
        }
        if let Some(context) = &context {
            record(&mut hash, "context", &[context]);
        }
        let mut hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(DIGITS);
        Key(hex)
    }
}

/// As an index says it.
impl FromStr for Key {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Key, Problem> {
        if text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
            return Ok(Key(text.to_owned()));
        }
        Err(Problem::new(format!("key `{text}`"), "not a key").rule(format!("{DIGITS} lower-case hex digits")))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file as git's tree lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// From the repository's root; git's paths need not be UTF-8.
    pub path: Vec<u8>,
    /// `0o120000` is a symbolic link, `0o160000` a submodule.
    pub mode: u32,
    pub blob: String,
}

/// The hash of files that are sorted by path. `history` is the commit, for a job whose context holds `.git` itself.
pub fn hash_of_files<'a>(files: impl Iterator<Item = &'a TreeEntry>, history: Option<&Commit>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        record(&mut hash, "file", &[format!("{:06o}", file.mode).as_bytes(), file.blob.as_bytes(), &file.path]);
    }
    if let Some(commit) = history {
        record(&mut hash, "history", &[commit.to_string().as_bytes()]);
    }
    hash.finalize().into()
}

/// Adds a record to a hash. Its parts are preceded by their length, so that no two lists are written alike.
fn record(hash: &mut Sha256, kind: &str, parts: &[&[u8]]) {
    let mut part = |bytes: &[u8]| {
        // A length is 8 bytes on every machine.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(kind.as_bytes());
    part(&(parts.len() as u64).to_be_bytes());
    parts.iter().for_each(|bytes| part(bytes));
}

#[cfg(test)]
impl Key {
    /// A key that nothing was hashed for.
    pub fn for_test(digits: &str) -> Key {
        Key(digits.to_owned())
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
