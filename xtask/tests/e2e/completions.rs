//! The completions, in a real shell.

use std::path::Path;
use std::process::Command;

use crate::harness::{TempDir, Tree};

/// Completes command lines as readline does: it finds the function that is registered, and calls it.
const READLINE: &str = r#"
completions_of() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMPREPLY=()
    local spec=$(complete -p "$1")
    spec=${spec##*-F }
    "${spec%% *}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "$*: ${COMPREPLY[*]}"
}
"#;

/// What a script of bash prints after it has sourced the completions, between two pieces of its own.
fn bash(tree: &Tree, before: &str, after: &str) -> String {
    let dir = TempDir::new();
    let completions = tree.run(&["completions", "bash"]).ended(0).stdout;
    let script = format!("{before}\n{completions}\n{READLINE}\n{after}\n");
    let path = dir.0.join("script");
    std::fs::write(&path, script).unwrap();
    let output =
        Command::new("bash").args(["--norc", "--noprofile"]).arg(path).current_dir(tree.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_cargo_xtask_with_commands_options_and_jobs() {
    let tree = Tree::with_jobs(&["job-a", "job-b", "other"]);
    tree.write("jobs/job-docs/README.md", "no job");
    tree.write("jobs/job-$(touch ran)/Dockerfile", "a name that no job can have");
    let lines = "
        completions_of xtask bu
        completions_of cargo xtask bu
        completions_of cargo xtask build job-
        completions_of cargo xtask build job-a --push o
        completions_of cargo +stable --locked xtask ecr check job-
        completions_of cargo xtask ecr en
        completions_of cargo xtask config job-
        completions_of cargo xtask build --no-c
        completions_of cargo xtask build --arch job-
        completions_of cargo xtask build --tag = job-
        cd jobs/other
        completions_of cargo xtask plan other";
    assert_eq!(
        bash(&tree, "", lines),
        "xtask bu: build\n\
         cargo xtask bu: build\n\
         cargo xtask build job-: job-a job-b\n\
         cargo xtask build job-a --push o: other\n\
         cargo +stable --locked xtask ecr check job-: job-a job-b\n\
         cargo xtask ecr en: ensure\n\
         cargo xtask config job-: \n\
         cargo xtask build --no-c: --no-cache\n\
         cargo xtask build --arch job-: \n\
         cargo xtask build --tag = job-: \n\
         cargo xtask plan other: other\n"
    );
    assert!(!tree.path().join("ran").exists());
}

#[test]
fn bash_completes_the_rest_of_cargo_as_before() {
    let tree = Tree::with_jobs(&["job-a"]);
    let cargo = "_cargo() { COMPREPLY=(\"cargo's own for $2\"); }\ncomplete -o nosort -F _cargo cargo";
    let lines = "completions_of cargo bu; completions_of cargo xtask bu; completions_of cargo xt; complete -p cargo";
    let own = "cargo bu: cargo's own for bu\ncargo xtask bu: build\ncargo xt: cargo's own for xt\n";
    assert_eq!(bash(&tree, cargo, lines), format!("{own}complete -o nosort -F _xtask_or_cargo cargo\n"));
    let twice = "completions=$(declare -f _xtask_take_over_cargo); eval \"$completions\"; _xtask_take_over_cargo";
    assert_eq!(
        bash(&tree, cargo, &format!("{twice}; {lines}")),
        format!("{own}complete -o nosort -F _xtask_or_cargo cargo\n")
    );
    // bash-completion loads a command's completion when it is first asked for.
    let lazy = format!("__load_completion() {{\n[[ $1 == cargo ]] || return 1\n{cargo}\n}}");
    assert_eq!(bash(&tree, &lazy, lines), format!("{own}complete -o nosort -F _xtask_or_cargo cargo\n"));
    // Without either, bash goes on with the names of files.
    assert_eq!(
        bash(&tree, "", lines),
        "cargo bu: \ncargo xtask bu: build\ncargo xt: \ncomplete -o bashdefault -o default -F _xtask_or_cargo cargo\n"
    );
    // What is no function cannot be called, and stays.
    assert_eq!(
        bash(&tree, "complete -W 'build bench' cargo", "complete -p cargo"),
        "complete -W 'build bench' cargo\n"
    );
}

/// Lines that all shells complete alike, with what they offer.
const LINES: [(&str, &str); 12] = [
    ("xtask bu", "build"),
    ("cargo xtask bu", "build"),
    ("cargo xtask build job-", "job-a job-b"),
    ("cargo xtask build job-a --push o", "other"),
    ("cargo +stable --locked xtask ecr check job-", "job-a job-b"),
    ("cargo xtask ecr en", "ensure"),
    ("cargo xtask config job-", ""),
    ("cargo xtask build --no-c", "--no-cache"),
    ("cargo xtask build --arch job-", ""),
    ("cargo xtask help job-", ""),
    ("cargo bu", ""),
    ("cargo xt", ""),
];

/// What a shell offers for [`LINES`], by a script beside this file.
fn offered(shell: &str, before: &[&str]) -> String {
    let tree = Tree::with_jobs(&["job-a", "job-b", "other"]);
    tree.write("jobs/job-docs/README.md", "no job");
    tree.write("jobs/job-$(touch ran)/Dockerfile", "a name that no job can have");
    let offered = offered_in(&tree, shell, before, &LINES.map(|(line, _)| line));
    assert!(!tree.path().join("ran").exists());
    offered
}

fn offered_in(tree: &Tree, shell: &str, before: &[&str], lines: &[&str]) -> String {
    let dir = TempDir::new();
    let completions = dir.0.join("completions");
    std::fs::write(&completions, tree.run(&["completions", shell]).ended(0).stdout).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/completions/drive.{shell}"));
    let no_configuration = if shell == "fish" { "--no-config" } else { "-f" };
    let mut command = Command::new(shell);
    command.arg(no_configuration).arg(script).arg(completions).args(before).args(lines);
    let output =
        command.current_dir(tree.path()).output().expect("zsh and fish are needed: `cargo xtask test --setup`");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

fn wanted(changed: &[(&str, &str)]) -> String {
    let wanted = |(line, offered)| match changed.iter().find(|(changed, _)| *changed == line) {
        Some((_, instead)) => format!("{line}: {instead}\n"),
        None => format!("{line}: {offered}\n"),
    };
    LINES.map(wanted).concat()
}

#[test]
fn zsh_completes_cargo_xtask_and_the_rest_of_cargo_as_before() {
    assert_eq!(offered("zsh", &[""]), wanted(&[]));
    let cargo = "_cargo() { compadd bu-of-cargo xt-of-cargo }; compdef _cargo cargo";
    let own = [("cargo bu", "bu-of-cargo"), ("cargo xt", "xt-of-cargo")];
    assert_eq!(offered("zsh", &[cargo]), wanted(&own));
    assert_eq!(offered("zsh", &[&format!("{cargo}; source $COMPLETIONS")]), wanted(&own), "sourced twice");
}

#[test]
fn fish_completes_cargo_xtask() {
    assert_eq!(offered("fish", &[]), wanted(&[]));
}

#[test]
fn bash_completes_the_same_lines() {
    let tree = Tree::with_jobs(&["job-a", "job-b", "other"]);
    let lines = LINES.map(|(line, _)| format!("completions_of {line}")).join("\n");
    assert_eq!(bash(&tree, "", &lines), wanted(&[]));
}

#[test]
fn jobs_are_offered_from_where_they_live() {
    let dirs = "[workspace]\n[workspace.metadata.jobs]\njobs-dirs = [\"services\", \"apps/*\"] # of two teams\n";
    let jobs = ["services/w-web", "apps/w-one", "apps/group/w-two", "tools/w-none"];
    let files = jobs.map(|job| format!("{job}/Dockerfile"));
    let files = files.iter().map(|file| (file.as_str(), "FROM scratch\n"));
    let tree = Tree::new(&files.chain([("Cargo.toml", dirs), (".cargo/config.toml", "")]).collect::<Vec<_>>());
    let line = "cargo xtask build w-";
    assert_eq!(bash(&tree, "", &format!("completions_of {line}")), format!("{line}: w-web w-two w-one\n"));
    assert_eq!(offered_in(&tree, "zsh", &[""], &[line]), format!("{line}: w-one w-two w-web\n"));
    assert_eq!(offered_in(&tree, "fish", &[], &[line]), format!("{line}: w-one w-two w-web\n"));
}

#[test]
fn other_shells_have_what_clap_generates() {
    let tree = Tree::with_jobs(&["job-a"]);
    assert!(tree.run(&["completions", "elvish"]).ended(0).stdout.contains("'xtask;build'"));
}
