//! Moved into another repository by the commands of README: into one without Rust, and into a workspace of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::examples::example;
use crate::harness::{Run, Tree, mirrors};

const DOCKERFILE: &str = "FROM busybox:1.37\nCOPY vote.sh /\nCMD [\"/vote.sh\"]\n";
const JOB: [(&str, &str); 2] = [("vote/Dockerfile", DOCKERFILE), ("vote/vote.sh", "#!/bin/sh\n")];
/// What step 3 of the section says of such a layout.
const SETTINGS: &str = "jobs-dirs = [\".\"]\ncontext = \"job\"\n";

/// Runs the commands of README's section; what they say.
fn move_into(host: &Tree) -> String {
    let commands = example("README.md", "Move into a repository", 0);
    assert!(commands.contains("../jobs"), "{commands}");
    let from = Tree::of_this_repository();
    let commands = commands.replace("../jobs", from.path().to_str().unwrap());
    let output = Command::new("bash").args(["-c", &commands]).current_dir(host.path()).output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs `cargo xtask` in a folder of a repository.
fn cargo_xtask(host: &Tree, folder: &str, args: &[&str]) -> Run {
    cargo(host, folder, &[&["xtask"], args].concat())
}

/// Runs cargo. All of the repositories compile into one folder, under one profile, so that they share the crates.
fn cargo(host: &Tree, folder: &str, args: &[&str]) -> Run {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
        let of_this_run = ["JOBS_", "GITHUB_", "CARGO_PKG_", "CARGO_MANIFEST_"];
        if of_this_run.iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moved");
    command.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true").env("JOBS_MIRRORS", mirrors());
    command.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_INCREMENTAL", "false")]);
    command.env("CARGO_PROFILE_DEV_PANIC", "abort").env("CARGO_PROFILE_DEV_BUILD_OVERRIDE_CODEGEN_UNITS", "1");
    command.args(args).current_dir(host.path().join(folder)).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(host.path().to_str().unwrap(), "<tree>");
    let code = output.status.code().unwrap_or(-1);
    Run { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn replace(host: &Tree, path: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(host.path().join(path)).unwrap();
    assert!(text.contains(from), "{path}: {text}");
    host.write(path, &text.replace(from, to));
}

/// What is compiled from a folder of this run alone goes with it, and one test after the other does so.
fn clean(host: &Tree) {
    cargo(host, ".", &["clean", "--package", "xtask"]).ended(0);
}

static ONE_BY_ONE: Mutex<()> = Mutex::new(());

const TABLE: &str = "[workspace.metadata.jobs]\n";
const PLAN: &str =
    "JOB   PLAN   BUILDS       REASON\nvote  build  amd64 arm64  there is no registry to find images in\n";

const REFUSED: &str = "error: --faults: the fault bench is not in this repository\n  \
                       rule: it tests the xtask itself, where that comes from\n  \
                       help: leave it out; `cargo xtask test` checks the jobs and their workflow\n";

#[test]
fn a_repository_without_rust_gets_a_folder_more_and_its_own_checks() {
    let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Tree::new(&JOB);
    std::fs::remove_file(host.path().join("Cargo.toml")).unwrap();
    host.commit("no Rust");
    assert_eq!(move_into(&host), "");
    replace(&host, "Cargo.toml", TABLE, &format!("{TABLE}{SETTINGS}"));
    host.commit("moved in");
    let top = host.git(&["ls-tree", "--name-only", "HEAD"]);
    let top: Vec<&str> = top.lines().collect();
    assert_eq!(top, [".cargo", ".github", ".gitignore", "Cargo.lock", "Cargo.toml", "vote", "xtask"]);
    assert_eq!(cargo_xtask(&host, "vote", &["plan"]).ended(0).stdout, PLAN);
    // The job, and two checks of the workflow.
    assert_eq!(cargo_xtask(&host, ".", &["test"]).ended(0).stdout, "3 passed, 0 failed\n");
    replace(&host, "vote/Dockerfile", "COPY vote.sh", "COPY gone.sh");
    replace(&host, ".github/workflows/images.yml", "\npermissions: {}\n", "\n");
    let run = cargo_xtask(&host, ".", &["test"]).ended(1);
    assert_eq!(run.stdout, "1 passed, 2 failed\n");
    assert!(run.errors().contains("vote/Dockerfile:2: "), "{}", run.errors());
    assert!(run.errors().contains("error: .github/workflows/images.yml: failed\n"), "{}", run.errors());
    assert!(run.stderr.contains("no-rights-by-default"), "{}", run.stderr);
    let refused = cargo_xtask(&host, ".", &["test", "--faults"]).ended(2);
    assert!(refused.stderr.contains(REFUSED), "{}", refused.stderr);
    clean(&host);
}

/// A workspace with lints, a profile and an alias of its own.
const WORKSPACE: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"2\"\nmembers = [\"core\"]\n\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n\n\
         [profile.release]\nlto = true\n\n[workspace.metadata.jobs]\n",
    ),
    (
        "core/Cargo.toml",
        "[package]\nname = \"core-of-host\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[lints]\nworkspace = true\n",
    ),
    ("core/src/lib.rs", ""),
    (".cargo/config.toml", "[alias]\nb = \"build\"\n"),
];

#[test]
fn a_workspace_gets_a_member_more_and_keeps_its_own_settings() {
    let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Tree::new(&[&JOB[..], &WORKSPACE[..]].concat());
    let said = move_into(&host);
    for kept in [".cargo/config.toml", "Cargo.toml"] {
        assert!(said.contains(&format!("{kept}: ")), "{said}");
    }
    assert_eq!(said.matches("File exists").count(), 2, "{said}");
    replace(&host, ".cargo/config.toml", "[alias]\n", "[alias]\nxtask = \"run --package xtask --\"\n");
    replace(&host, "Cargo.toml", "[\"core\"]", "[\"core\", \"xtask\"]");
    replace(&host, "Cargo.toml", TABLE, &format!("{TABLE}{SETTINGS}"));
    host.commit("moved in");
    assert_eq!(cargo_xtask(&host, "core", &["plan"]).ended(0).stdout, PLAN);
    clean(&host);
}
