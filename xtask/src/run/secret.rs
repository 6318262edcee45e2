//! Secrets: kept out of logs, `argv` and child environments.
//!
//! They are not given to GitHub's `::add-mask::`. That command is the secret itself, printed: the runner swallows it,
//! but a `tee`, a local runner of workflows or a script around the step keeps it. What this program never prints needs
//! no mask: a secret goes to another program over its stdin, or in a file that only this user can read, and is covered
//! in what that program says before anybody sees it (`tools/process.rs`).

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use anyhow::Context as _;
use camino::Utf8PathBuf;

use super::context::Context;

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

/// A file with a secret that only this user can read, gone when it is dropped.
#[derive(Debug)]
pub struct SecretFile {
    pub path: Utf8PathBuf,
}

impl SecretFile {
    /// Writes the secret to a new file outside of the repository, where no build context and no cache of `target/`
    /// includes it: in the runner's own folder, which the runner empties, or the machine's for temporary files.
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
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // If this fails, the file is gone already, or stays readable for this user alone until the token expires.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        assert_eq!(format!("{:?}", Secret::new("pass-word")), "***");
    }

    #[test]
    fn a_file_with_a_secret_is_this_users_alone_and_goes_when_it_is_dropped() {
        use std::os::unix::fs::PermissionsExt;
        let file = SecretFile::new(&Context::for_tests(), "xtask-test", &Secret::new("pass-word")).unwrap();
        let path = file.path.clone();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pass-word");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
