//! What nobody else may read: a token or a password, and the file that hands one to a program.
//!
//! Secrets are not given to GitHub's `::add-mask::`. That command is the secret itself, printed: the runner swallows
//! it, but a `tee`, a local runner of workflows or a script around the step keeps it. What this program never prints
//! needs no mask: a secret goes to another program over its stdin, or in a file that only this user can read, and what
//! the program says passes [`redacted`] before anybody sees it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use anyhow::Context as _;
use camino::Utf8PathBuf;

use crate::run::context::Context;

/// What stands in the place of a secret.
const COVER: &str = "***";
/// A shorter text is no secret, and covering it would make every message unreadable.
const SHORTEST: usize = 4;

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
        f.write_str(COVER)
    }
}

/// A text without the secrets, also not in the form in which HTTP's basic authentication sends `AWS:<secret>`.
pub fn redacted(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for Secret(secret) in secrets.iter().filter(|secret| secret.0.len() >= SHORTEST) {
        // A secret of several lines is printed line by line.
        for part in std::iter::once(secret.as_str()).chain(secret.lines().filter(|line| line.len() >= SHORTEST)) {
            text = text.replace(part, COVER);
        }
        text = text.replace(&base64(secret.as_bytes()), COVER);
        text = text.replace(&base64(format!("AWS:{secret}").as_bytes()), COVER);
    }
    text
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let six = (bits >> (18 - 6 * i) & 0x3f) as usize;
            out.push(if i <= chunk.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    out
}

/// A file with a secret that only this user can read, gone when it is dropped.
#[derive(Debug)]
pub struct SecretFile {
    path: Utf8PathBuf,
}

impl SecretFile {
    /// Writes the secret to a new file outside of the repository, so that no build context and no cache of `target/`
    /// can take it up: in the runner's own folder, which the runner empties, or the machine's for temporary files.
    ///
    /// # Errors
    /// The file cannot be made. One that is there already, or a link, is never written to.
    pub fn new(ctx: &Context, name: &str, secret: &Secret) -> anyhow::Result<SecretFile> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let dir = ["RUNNER_TEMP", "TMPDIR"].into_iter().find_map(|name| ctx.env.get(name)).unwrap_or("/tmp");
        let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Utf8PathBuf::from(dir).join(format!("{name}-{}-{nanoseconds}-{count}", std::process::id()));
        let not_written = || format!("could not write a file for a token in {dir}");
        // `create_new` is O_EXCL, and the mode is part of the same call: the file is never readable by others.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(not_written)?;
        let this = SecretFile { path };
        file.write_all(secret.reveal().as_bytes()).with_context(not_written)?;
        Ok(this)
    }

    pub fn path(&self) -> &str {
        self.path.as_str()
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // Gone already is as good; anything else leaves a file that only this user can read, and that soon expires.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_in_every_form_they_are_sent_in() {
        let secret = Secret::new("pass-word");
        let text = "pass-word, cGFzcy13b3Jk, QVdTOnBhc3Mtd29yZA==, passw";
        assert_eq!(redacted(text, &[&secret]), "***, ***, ***, passw");
        assert_eq!(redacted("abc", &[&Secret::new(""), &Secret::new("b")]), "abc");
        assert_eq!(redacted("x: line one\ny: line two", &[&Secret::new("line one\nline two")]), "x: ***\ny: ***");
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn base64_is_padded() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
