//! What the house style asks for and a program can check.

#![allow(clippy::unwrap_used)] // a panic is how a test says no

use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file, in lines.
const LONGEST: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files that git tracks, with their texts.
fn files(ending: &str) -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let paths = list.split('\0').filter(|path| path.ends_with(ending) && !path.is_empty());
    paths.filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?))).collect()
}

fn sources() -> Vec<(String, String)> {
    let sources = files(".rs");
    assert!(sources.len() > 30, "{}", sources.len());
    sources
}

fn of_the_program() -> Vec<(String, String)> {
    sources().into_iter().filter(|(path, _)| path.starts_with("xtask/src/") && !path.ends_with("_tests.rs")).collect()
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn programs_are_started_in_tools_alone() {
    let starters: Vec<String> = of_the_program()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("xtask/src/tools/"))
        .filter(|(_, text)| ["cmd!(", "Command::new(", "std::process::Command"].iter().any(|way| text.contains(way)))
        .map(|(path, _)| path)
        .collect();
    assert!(starters.is_empty(), "{starters:?}");
}

#[test]
fn no_shell_runs_a_string() {
    for (path, text) in of_the_program() {
        for shell in ["sh -c", "bash -c", "\"sh\"", "\"bash\""] {
            assert!(!text.contains(shell), "{path}: {shell}");
        }
    }
}

#[test]
fn the_environment_is_read_in_one_place() {
    for (path, text) in of_the_program() {
        if path != "xtask/src/run/environment.rs" {
            assert!(!without_tests(&text).contains("env::var"), "{path}");
        }
    }
}

#[test]
fn decisions_are_pure() {
    for (path, text) in of_the_program() {
        if path.starts_with("xtask/src/model") {
            for impure in
                ["std::fs", "std::env::var", "std::process", "Instant", "SystemTime", "crate::tools", "crate::context"]
            {
                assert!(!without_tests(&text).contains(impure), "{path}: {impure}");
            }
        }
    }
}

#[test]
fn stdout_and_stderr_are_written_in_one_place() {
    for (path, text) in of_the_program() {
        let allowed = path.ends_with("/report.rs") || path.ends_with("/main.rs");
        assert!(allowed || !without_tests(&text).contains("io::stdout()"), "{path}");
        assert!(!without_tests(&text).contains("println!"), "{path}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("xtask/Cargo.toml")).unwrap();
    let mut previous = "";
    for line in manifest.split("[dependencies]").nth(1).unwrap().split("[lints]").next().unwrap().lines() {
        let names_a_crate = line.split_once(" = ").is_some_and(|(name, _)| !name.contains('#'));
        assert!(!names_a_crate || line.contains(" # ") || line.contains("# ") || previous.starts_with('#'), "{line}");
        previous = line;
    }
}

#[test]
fn the_readme_lists_every_command() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let listed: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(command, _)| command.split_whitespace().next().unwrap())
        .filter(|command| !command.contains(['-', '[', '.', '=']) || *command == "ecr")
        .collect();
    for command in &commands {
        assert!(listed.contains(command), "README.md does not list `{command}`");
    }
}

#[test]
fn ci_runs_what_the_readme_says() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(readme.contains("\ncargo xtask test --setup "), "README.md names the command");
    let commands: Vec<&str> = ci.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(commands, ["cargo xtask test --setup"]);
}

#[test]
fn the_top_level_is_what_the_readme_says() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let mut top: Vec<&str> = list.lines().map(|path| path.split('/').next().unwrap()).collect();
    top.dedup();
    let known = [
        ".cargo",
        ".ci",
        ".dockerignore",
        ".github",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "clippy.toml",
        "jobs",
        "rustfmt.toml",
        "xtask",
    ];
    for entry in top {
        assert!(known.contains(&entry), "{entry}: before adding a file, look for the room it belongs to");
    }
}
