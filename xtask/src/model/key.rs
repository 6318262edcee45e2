//! The key of a job: the hash of everything that determines its image.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::dockerfile::inputs::Entry;
use crate::model::problem::Problem;
use crate::model::reference::{Digest, Tag};

/// The label (and annotation) with the key.
pub const LABEL: &str = "vnd.jobs.key";
/// The label with the digests of the bases, so that a moved one can be named.
pub const BASES_LABEL: &str = "vnd.jobs.bases";

/// Changes when the list below does: images of another version are not found again, and are rebuilt.
const VERSION: &str = "jobs-key-1";

/// How many hex digits a key has: enough that no two of a repository's are ever alike.
const DIGITS: usize = 20;

/// The first 20 hex digits of a SHA-256 over a canonical list of what determines an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// `key-<20 hex>`: the tag by which later runs find the same image again.
    pub fn tag(&self) -> Result<Tag, Problem> {
        format!("key-{}", self.0).parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Key, Problem> {
        if text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
            return Ok(Key(text.to_owned()));
        }
        Err(Problem::new(format!("key `{text}`"), "not a key").rule(format!("{DIGITS} lower-case hex digits")))
    }
}

/// The hash of a list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesHash([u8; 32]);

impl FilesHash {
    /// Of files sorted by path. `history` is the commit, for a job whose context holds `.git` itself.
    pub fn of<'a>(files: impl Iterator<Item = &'a Entry>, history: Option<&str>) -> FilesHash {
        let mut list = List::default();
        for file in files {
            list.add("file", &[format!("{:06o}", file.mode).as_bytes(), file.blob.as_bytes(), &file.path]);
        }
        if let Some(commit) = history {
            list.add("history", &[commit.as_bytes()]);
        }
        FilesHash(list.hash())
    }
}

/// The bases of an image as its label tells them: `<name>@<digest>`, joined by commas.
pub fn bases_label(bases: &BTreeMap<String, Digest>) -> String {
    bases.iter().map(|(name, digest)| format!("{name}@{digest}")).collect::<Vec<_>>().join(",")
}

/// Reads [`bases_label`]; what cannot be read is left out.
pub fn bases_of_label(label: &str) -> BTreeMap<String, Digest> {
    let base = |text: &str| {
        let (name, digest) = text.rsplit_once('@')?;
        Some((name.to_owned(), digest.parse().ok()?))
    };
    label.split(',').filter_map(base).collect()
}

/// A base that an image was built from, and that is something else by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// As the Dockerfile names it.
    pub name: String,
    pub old: Digest,
    pub new: Digest,
}

/// The first of the bases that is not what it was for an image with these labels.
pub fn moved_base(labels: &BTreeMap<String, String>, bases: &BTreeMap<String, Digest>) -> Option<Moved> {
    let built_from = bases_of_label(labels.get(BASES_LABEL)?);
    bases.iter().find_map(|(name, new)| {
        let old = built_from.get(name).filter(|old| *old != new)?;
        Some(Moved { name: name.clone(), old: old.clone(), new: new.clone() })
    })
}

/// Everything that determines a job's image, in types whose order is fixed.
#[derive(Clone, Debug)]
pub struct Ingredients<'a> {
    /// The stage of the Dockerfile that is built.
    pub stage: Option<&'a str>,
    pub args: &'a BTreeMap<String, String>,
    /// As the Dockerfile names it -> digest.
    pub bases: &'a BTreeMap<String, Digest>,
    /// The job's own files.
    pub files: FilesHash,
    /// All files of the context, where all of them count.
    pub context: Option<FilesHash>,
}

impl Ingredients<'_> {
    pub fn key(&self) -> Key {
        let mut list = List::default();
        list.add("version", &[VERSION.as_bytes()]);
        list.add("stage", &[self.stage.unwrap_or_default().as_bytes()]);
        for (name, value) in self.args {
            list.add("argument", &[name.as_bytes(), value.as_bytes()]);
        }
        for (written, digest) in self.bases {
            list.add("base", &[written.as_bytes(), digest.to_string().as_bytes()]);
        }
        list.add("files", &[&self.files.0]);
        if let Some(context) = &self.context {
            list.add("context", &[&context.0]);
        }
        let mut hex: String = list.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(DIGITS);
        Key(hex)
    }
}

/// Records whose parts are preceded by their length, so that no two lists are written alike.
#[derive(Default)]
struct List(Sha256);

impl List {
    fn add(&mut self, kind: &str, parts: &[&[u8]]) {
        self.part(kind.as_bytes());
        self.part(&(parts.len() as u64).to_be_bytes());
        for part in parts {
            self.part(part);
        }
    }

    fn part(&mut self, bytes: &[u8]) {
        // A length is 8 bytes on every machine.
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn hash(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
