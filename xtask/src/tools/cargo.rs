//! cargo: where the workspace is, what its metadata say, and the checks that cargo runs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::Stdio;

use camino::Utf8PathBuf;
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use super::git;
use super::process::{self, Limit, Options};
use crate::model::{Exit, Problem};
use crate::run::Context;

const TESTS: &str = "unit, tidy, end-to-end and workflow tests";
const FAULTS: &str = "the fault bench";
const RULES: &str = ".github/workflows/images.yml";
/// The checks whose lines count tests.
const COUNTED: [&str; 3] = [TESTS, FAULTS, RULES];

/// Where this program was started.
///
/// # Errors
/// The folder is gone, or its path is not UTF-8.
pub fn working_directory() -> anyhow::Result<Utf8PathBuf> {
    let problem = |what: String| {
        Problem::new("the working directory", what)
            .rule("commands run in the repository, whose path is UTF-8 text")
            .help("change into the repository: cd <repository>")
            .exit(Exit::Usage)
    };
    let here = std::env::current_dir().map_err(|error| problem(format!("cannot be used: {error}")))?;
    Utf8PathBuf::try_from(here).map_err(|error| problem(format!("its path is not UTF-8: {:?}", error.as_path())))
}

/// Moves the context to the workspace around the working directory, and gives its `[workspace.metadata]`. Where there
/// is no `Cargo.toml`, there are none, and the root is that of the git repository, if there is one.
///
/// # Errors
/// A `Cargo.toml` that cargo cannot read: its message names file, line and column.
pub fn find_workspace(ctx: &mut Context) -> anyhow::Result<Value> {
    let options = Options::default();
    let outcome = process::run(ctx, |sh| cmd!(sh, "cargo metadata --no-deps --offline --format-version 1"), &options)?;
    if outcome.success() {
        let mut metadata: Value = serde_json::from_str(&outcome.stdout())?;
        let path = |key: &str| Utf8PathBuf::from(metadata[key].as_str().unwrap_or_default());
        (ctx.root, ctx.target_dir) = (path("workspace_root"), path("target_directory"));
        return Ok(metadata["metadata"].take());
    }
    if outcome.stderr.contains("could not find `Cargo.toml`") {
        if let Some(root) = git::top_level(ctx)? {
            ctx.root = root.into();
            ctx.target_dir = ctx.root.join("target");
        }
        return Ok(Value::Null);
    }
    let what = format!("cargo cannot read it: {}", outcome.reason().trim_start_matches("error: "));
    Err(Problem::new("Cargo.toml", what).help("mend it; `cargo metadata --no-deps` says the same").exit(Exit::Usage))
}

/// Results of the checks that cargo runs.
#[derive(Default)]
pub struct Checked {
    /// How many tests passed; a check that has none counts as one.
    pub passed: usize,
    pub failed: usize,
    /// The checks that failed, each with the command that runs it by itself.
    pub problems: Vec<Problem>,
}

/// Runs every check of the xtask itself, in the order in which they fail fastest, their output to the terminal; of the
/// cases of the fault bench `all`, or a `few`.
pub fn run_checks(ctx: &Context, mirrors: &BTreeMap<String, String>, faults: &str) -> anyhow::Result<Checked> {
    // The tests' own repositories pull from where this one does.
    let mirrors = as_variable(mirrors);
    let mut checked = Checked::default();
    checked.add(ctx, "formatting", |sh| cmd!(sh, "cargo fmt --all --check"))?;
    checked.add(ctx, "lints", |sh| cmd!(sh, "cargo clippy --workspace --all-targets --locked -- --deny warnings"))?;
    checked.add(ctx, "lints of the benches", |sh| {
        let of_these = ["--bench", "bench", "--test", "faults", "--test", "host"];
        cmd!(sh, "cargo clippy --package xtask {of_these...} --locked -- --deny warnings")
    })?;
    checked.add(ctx, TESTS, |sh| {
        let tests = cmd!(sh, "cargo test --workspace --locked --no-fail-fast");
        tests.env("JOBS_MIRRORS", &mirrors)
    })?;
    checked.add(ctx, FAULTS, |sh| {
        let faults_and_rules = cmd!(sh, "cargo test --package xtask --test faults --test host --locked --no-fail-fast");
        faults_and_rules.env("JOBS_MIRRORS", &mirrors).env("JOBS_FAULTS", faults)
    })?;
    Ok(checked)
}

/// Checks the workflow of a repository that the xtask was moved into.
pub fn check_workflow(ctx: &Context) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    checked.add(ctx, RULES, |sh| cmd!(sh, "cargo test --package xtask --test host --locked"))?;
    Ok(checked)
}

/// Runs the benchmarks, which are given these arguments; their tables go to stdout as they are.
///
/// # Errors
/// One of them fails.
pub fn run_benchmarks(ctx: &Context, mirrors: &BTreeMap<String, String>, args: &[String]) -> anyhow::Result<()> {
    // What is measured is what people run: the program as `cargo xtask` compiles it.
    let mirrors = as_variable(mirrors);
    process::show(
        ctx,
        |sh| {
            cmd!(sh, "cargo bench --package xtask --profile dev --locked --bench bench -- {args...}")
                .env("JOBS_MIRRORS", mirrors)
        },
        Limit::None,
        Stdio::inherit(),
    )
}

/// Mirrors as `JOBS_MIRRORS` holds them.
fn as_variable(mirrors: &BTreeMap<String, String>) -> String {
    let mirrors: Vec<String> = mirrors.iter().map(|(registry, prefix)| format!("{registry}={prefix}")).collect();
    mirrors.join(",")
}

impl Checked {
    /// Takes the results of further checks.
    pub fn append(&mut self, mut further: Checked) {
        self.passed += further.passed;
        self.failed += further.failed;
        self.problems.append(&mut further.problems);
    }

    fn add(&mut self, ctx: &Context, what: &str, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<()> {
        ctx.ui.status("Checking", what);
        let (passed, failed) = (Cell::new(0), Cell::new(0));
        let on_line = |line: &str| {
            passed.set(passed.get() + counted(line, "passed"));
            failed.set(failed.get() + counted(line, "failed"));
            ctx.ui.text(line);
        };
        let given = Options { on_line: Some(&on_line), limit: Limit::None, ..Options::default() };
        let outcome = process::run(ctx, cmd, &given)?;
        // A test run that ran nothing has checked nothing.
        let is_good = outcome.success() && !(COUNTED.contains(&what) && passed.get() == 0);
        self.passed += passed.get().max(usize::from(is_good));
        self.failed += failed.get().max(usize::from(!is_good));
        if !is_good {
            let help = format!("see above; by itself: {}", outcome.command);
            self.problems.push(Problem::new(what, "failed").help(help));
        }
        Ok(())
    }
}

/// A number in cargo's `test result: ok. 12 passed; 0 failed; …`.
fn counted(line: &str, what: &str) -> usize {
    let Some(result) = line.strip_prefix("test result: ") else { return 0 };
    let mut words = result.split([' ', ';']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        if words.peek() == Some(&what) {
            return word.parse().unwrap_or(0);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_as_cargo_counts_them() {
        let line =
            "test result: FAILED. 27 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 41.88s";
        assert_eq!((counted(line, "passed"), counted(line, "failed")), (27, 2));
        assert_eq!(counted("27 passed", "passed"), 0);
    }
}
