//! Passwords and tokens: no other user sees them among the processes, and none stays in a file or in the output.

use std::time::Duration;

use super::published::{self, DockerConfig, READERS, USER, base64};
use super::token::{Login, Scopes, Tokens};
use crate::cloud::{Watch, files_with};
use crate::harness::{Run, TempDir, Tree};
use crate::proxy::Proxy;

/// Of these tests alone: others may show theirs to everybody, and all processes are watched.
const PASSWORD: &str = "the-watched-password";
/// Its hash, one of bcrypt's.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuumua9HS1dBnhEHdRDUpDGqQP1gfJYzwO";

/// Passes on slowly, so that whoever asks can be watched.
fn slow(address: &str) -> Proxy {
    Proxy::start(address, |request, upstream| {
        std::thread::sleep(Duration::from_millis(200));
        upstream.ask(request)
    })
}

/// Runs all that reads, and looks for secrets wherever they might be.
fn check(docker: &DockerConfig, registry: &str, secrets: impl Fn() -> Vec<String>) {
    let (tree, temp) = (published::tree(), TempDir::new());
    let watch = Watch::start(&temp.0, PASSWORD);
    let runs: Vec<(&[&str], Run)> =
        READERS.iter().map(|command| (*command, run(docker, &tree, registry, &temp, command))).collect();
    let seen = watch.end();
    let secrets = secrets();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let has_secret = |text: &str| secrets.iter().any(|secret| text.contains(secret));
    for (command, run) in runs {
        assert!(!has_secret(&run.stdout) && !has_secret(&run.stderr), "{command:?}: {}\n{}", run.stdout, run.stderr);
        run.ended(0);
    }
    let curl: Vec<&String> = seen.commands.iter().filter(|line| line.contains("curl")).collect();
    assert!(!curl.is_empty(), "curl was not seen");
    for line in &seen.commands {
        assert!(!has_secret(line), "{line}");
    }
    assert!(seen.holders.is_empty(), "{:#?}", seen.holders);
    assert!(seen.files.iter().all(|(_, mode)| mode & 0o077 == 0), "others may read {:?}", seen.files);
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 0, "nothing stays in the folder for temporary files");
    for folder in [tree.path(), &temp.0] {
        let found = files_with(folder, &secrets, "config.json");
        assert!(found.is_empty(), "{found:?}");
    }
}

fn run(docker: &DockerConfig, tree: &Tree, registry: &str, temp: &TempDir, command: &[&str]) -> Run {
    let temp = temp.0.to_str().unwrap();
    docker.run_with(tree, registry, &[&["-vv"], command].concat(), &[("TMPDIR", temp), ("RUNNER_TEMP", temp)])
}

#[test]
fn a_password_is_kept_from_everybody() {
    let registry = published::registry_with_hash(HASH);
    let proxy = slow(&registry.address);
    let docker = DockerConfig::with_password(&proxy.address, USER, PASSWORD);
    let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
    check(&docker, &proxy.address, || vec![PASSWORD.to_owned(), auth.clone()]);
}

#[test]
fn a_token_is_kept_from_everybody() {
    let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
    let tokens = Tokens::start(Login::Only(format!("Basic {auth}")), Scopes::First, "token");
    let registry = published::registry(&tokens.configuration());
    let proxy = slow(&registry.address);
    let docker = DockerConfig::with_password(&proxy.address, USER, PASSWORD);
    check(&docker, &proxy.address, || {
        let given = tokens.given.lock().unwrap().clone();
        assert!(!given.is_empty());
        given.into_iter().chain([PASSWORD.to_owned(), auth.clone()]).collect()
    });
}
