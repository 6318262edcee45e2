//! What the house style asks for and a program can check.

#![allow(clippy::unwrap_used)] // a panic is how a test says no

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file, in lines.
const LONGEST: usize = 450;
/// The longest line, in columns.
const WIDEST: usize = 120;

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

/// The folders of the program: each uses only those that come after it.
const FLOW: [&str; 10] =
    ["main", "commands", "cli", "publish", "plan", "dockerfile", "settings", "tools", "run", "model"];

/// The folder that a file or a path of the program belongs to.
fn folder(path: &str) -> &str {
    let path = path.trim_start_matches("xtask/src/");
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn place(folder: &str) -> usize {
    FLOW.iter().position(|known| *known == folder).unwrap_or_else(|| panic!("`{folder}` has no place in the flow"))
}

/// The code of a file, line by line: no comments and no unit tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The folders that a file uses: named in `use`, in a path, in an attribute or in a string.
fn used(text: &str) -> Vec<&str> {
    let name = |rest: &'_ str| rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    code(text).flat_map(|line| line.split("crate::").skip(1)).map(|rest| &rest[..name(rest)]).collect()
}

#[test]
fn folders_use_each_other_in_one_direction() {
    let mut arrows = 0;
    for (path, text) in of_the_program().iter().filter(|(path, _)| folder(path) != "main") {
        let from = folder(path);
        for to in used(text).into_iter().filter(|to| *to != from) {
            assert!(place(from) < place(to), "{path} uses `{to}`, which comes before `{from}`: {FLOW:?}");
            arrows += 1;
        }
        // The ways around `crate::` to another folder.
        let is_root = path.matches('/').count() == 2;
        let around = code(text).find(|line| line.contains("super::super::") || is_root && line.contains("super::"));
        assert_eq!(around, None, "{path}");
    }
    assert!(arrows > 100, "{arrows}");
}

/// The files that decide: what they are given is all that they know.
const PURE: [&str; 15] = [
    "model.rs",
    "model/",
    "dockerfile.rs",
    "dockerfile/",
    "plan/decide.rs",
    "plan/leg.rs",
    "plan/slice.rs",
    "publish/gate.rs",
    "publish/log.rs",
    "publish/record/picture.rs",
    "settings/build_args.rs",
    "settings/job.rs",
    "settings/read.rs",
    "settings/allowed.rs",
    "settings/timeouts.rs",
];

/// Other programs, the terminal, the disk, the network, the clock and the environment.
const IMPURE: [&str; 15] = [
    "crate::tools",
    "crate::run",
    "std::fs",
    "std::io",
    "TcpStream",
    "std::process",
    "std::thread",
    "env::var",
    "env::current",
    "Instant",
    "SystemTime",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    "read_to_string",
];

#[test]
fn decisions_are_pure() {
    for pure in PURE {
        let mut files = of_the_program();
        files.retain(|(path, _)| path.trim_start_matches("xtask/src/").starts_with(pure));
        assert!(!files.is_empty(), "there is no {pure}");
        for (path, text) in files {
            for line in code(&text) {
                let impure = IMPURE.iter().find(|impure| line.contains(**impure));
                assert_eq!(impure, None, "{path}: {line}");
            }
        }
    }
}

#[test]
fn no_two_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in of_the_program() {
        for line in code(&text) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let words: Vec<&str> = words.into_iter().skip_while(|word| matches!(*word, "" | "pub" | "super")).collect();
            if let ["struct" | "enum" | "trait" | "type", name, ..] = words[..] {
                places.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
    }
    assert!(places.len() > 80, "{}", places.len());
    // Every `FromStr` has one of these.
    places.remove("Err");
    places.retain(|_, paths| paths.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn no_line_is_too_long() {
    for (path, text) in of_the_program() {
        for (line, number) in without_tests(&text).lines().zip(1..) {
            let columns = line.chars().count();
            assert!(columns <= WIDEST, "{path}:{number}: {columns} columns");
        }
    }
}

#[test]
fn nothing_is_an_option_of_git_by_accident() {
    let mut calls = 0;
    for (path, text) in of_the_program().iter().filter(|(path, _)| path.starts_with("xtask/src/tools/")) {
        for call in without_tests(text).split("cmd!(").skip(1) {
            let Some(call) = call.split('"').nth(1).filter(|call| call.starts_with("git ")) else { continue };
            let ends_options = call.contains("--end-of-options") || call.split(' ').any(|word| word == "--");
            assert!(ends_options && path.ends_with("/git.rs"), "{path}: {call}");
            calls += 1;
        }
    }
    assert!(calls > 10, "{calls}");
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
    let help = printed(&["--help"]);
    let commands = listed(help.split("Commands:").nth(1).unwrap().split("options:").next().unwrap());
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

/// What the program prints.
fn printed(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(words).env("COLUMNS", "100").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The first words of the lines that are indented by two.
fn listed(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

/// The variables that the program reads: those of flags, those that it asks for by name, and those that nobody but
/// this program or GitHub sets.
fn read_variables(text: &str) -> Vec<&str> {
    let mut variables = Vec::new();
    for line in code(text) {
        let mut before = "";
        for (i, part) in line.split('"').enumerate() {
            let is_name = !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let is_asked = ["env.get(", "self.get(", "forced(", "env = "].iter().any(|way| before.ends_with(way));
            let is_own = ["JOBS_", "GITHUB_", "RUNNER_", "ACTIONS_"].iter().any(|start| part.starts_with(start));
            let is_set = before.ends_with("env(") || part.ends_with('_');
            if i % 2 == 1 && is_name && (is_asked || is_own && !is_set) {
                variables.push(part);
            }
            before = part;
        }
    }
    variables
}

#[test]
fn every_variable_that_is_read_is_listed_and_in_the_readme() {
    let help = printed(&["help", "environment"]);
    let listed: BTreeSet<&str> = listed(&help).into_iter().filter(|name| !name.contains('<')).collect();
    let sources = of_the_program();
    // The list itself proves nothing.
    let read: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| read_variables(text.split("\n/// The text on this topic").last().unwrap()))
        .collect();
    assert!(read.len() > 30, "{read:?}");
    assert_eq!(listed, read);
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let ours = listed.iter().filter(|name| name.starts_with("JOBS_"));
    let missing: Vec<_> = ours.filter(|name| !readme.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
    for name in readme
        .split('`')
        .filter(|name| name.starts_with("JOBS_") && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    {
        assert!(listed.contains(name) || name.starts_with("JOBS_PASSWORD_"), "`help environment` does not list {name}");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_readme() {
    let help = printed(&["help", "exit-codes"]);
    let codes = help.lines().skip(2).filter_map(|line| line.trim_start().split_once("  "));
    let codes: Vec<String> =
        codes.map(|(code, meaning)| format!("`{}` {}", code.replace(" or ", "` or `"), meaning.trim())).collect();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("\nExit codes: {}.\n", codes.join(" · "))), "{codes:?}");
}

#[test]
fn the_first_compile_is_seen() {
    let alias = std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(alias.contains("xtask = \"run --package xtask --\""), "no `--quiet`: {alias}");
}

#[test]
fn nothing_is_asked_at_the_terminal() {
    let readers: Vec<String> =
        of_the_program().into_iter().filter(|(_, text)| text.contains("io::stdin()")).map(|(path, _)| path).collect();
    assert_eq!(readers, ["xtask/src/commands/login.rs"], "for --password-stdin");
}

#[test]
fn ci_runs_what_the_readme_says() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(readme.contains("\ncargo xtask test --setup --faults "), "README.md names the command");
    let commands: Vec<&str> = ci.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(commands, ["cargo xtask test --setup --faults"]);
}

#[test]
fn every_promise_has_its_test() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, promises) = readme.split_once("\n## What it promises\n").unwrap();
    let promises = promises.split("\n## ").next().unwrap();
    let tests: String = sources().into_iter().map(|(_, text)| text).collect();
    let named = |line: &str| line.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).count();
    let lines: Vec<&str> = promises.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| named(line) > 0 || line.contains("`cargo xtask test --faults`")), "{promises}");
    for name in promises.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && *name != "bad_inputs") {
        assert!(tests.contains(&format!("#[test]\nfn {name}() {{")), "{name}");
    }
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
        "jobs",
        "xtask",
    ];
    for entry in top {
        assert!(known.contains(&entry), "{entry}: before adding a file, look for the room it belongs to");
    }
}

#[test]
fn every_crate_has_a_reason() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (lock, table) = (read("Cargo.lock"), read("xtask/crates.md"));
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let locked: BTreeSet<&str> = names.filter(|name| *name != "xtask").collect();
    assert!(locked.len() > 40, "{}", locked.len());
    let row = |line: &'_ str| -> Option<(String, String)> {
        let (name, reason) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((name.to_owned(), reason.to_owned()))
    };
    let rows: Vec<(String, String)> = table.lines().filter_map(row).filter(|(name, _)| name != "crate").collect();
    assert!(rows.iter().all(|(_, reason)| reason.len() > 5), "a crate has no reason in xtask/crates.md: {rows:?}");
    let listed: BTreeSet<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let missing: Vec<_> = locked.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&locked).collect();
    assert!(missing.is_empty() && gone.is_empty(), "xtask/crates.md lacks {missing:?}, and lists {gone:?} in vain");
}
