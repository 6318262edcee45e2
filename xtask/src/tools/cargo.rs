//! cargo: where the workspace is, what its metadata say, and the checks that cargo runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8PathBuf;
use serde::Deserialize;
use serde_json::Value;
use xshell::cmd;

use super::process::{self, Given};
use crate::model::problem::Problem;
use crate::run::context::Context;

/// What `cargo metadata` tells of a workspace.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub workspace_root: Utf8PathBuf,
    pub target_directory: Utf8PathBuf,
    /// `[workspace.metadata]`.
    #[serde(default)]
    pub metadata: Value,
}

/// The workspace around the working directory; `None` where there is no `Cargo.toml`.
///
/// # Errors
/// A `Cargo.toml` that cargo cannot read: its message names file, line and column.
pub fn metadata(ctx: &Context) -> anyhow::Result<Option<Metadata>> {
    let sh = ctx.shell()?;
    let cmd = cmd!(sh, "cargo metadata --no-deps --offline --format-version 1");
    let outcome = process::run(ctx, cmd, &Given::default())?;
    if !outcome.success() {
        if outcome.stderr.contains("could not find `Cargo.toml`") {
            return Ok(None);
        }
        let said = outcome.last_words();
        return Err(Problem::new(
            "Cargo.toml",
            format!("cargo cannot read it: {}", said.trim_start_matches("error: ")),
        )
        .help("mend it; `cargo metadata --no-deps` says the same")
        .usage());
    }
    Ok(Some(serde_json::from_str(&outcome.stdout)?))
}

/// A check that cargo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Format,
    Lints,
    Tests,
}

impl Check {
    pub const ALL: [Check; 3] = [Check::Format, Check::Lints, Check::Tests];

    pub fn what(self) -> &'static str {
        match self {
            Check::Format => "formatting",
            Check::Lints => "lints",
            Check::Tests => "unit, tidy, end-to-end and workflow tests",
        }
    }
}

/// How a check ended.
pub struct Checked {
    /// How many tests passed; one for a check that has none and is in order.
    pub passed: usize,
    pub failed: usize,
    /// The command, to be run by itself.
    pub command: String,
}

/// Runs a check, its output to the terminal.
pub fn check(ctx: &Context, check: Check, mirrors: &BTreeMap<String, String>) -> anyhow::Result<Checked> {
    let sh = ctx.shell()?;
    let cmd = match check {
        Check::Format => cmd!(sh, "cargo fmt --all --check"),
        Check::Lints => cmd!(sh, "cargo clippy --workspace --all-targets --locked -- --deny warnings"),
        Check::Tests => cmd!(sh, "cargo test --workspace --locked --no-fail-fast"),
    };
    let mirrors: Vec<String> = mirrors.iter().map(|(registry, prefix)| format!("{registry}={prefix}")).collect();
    // The tests' own repositories pull from where this one does.
    let cmd = cmd.env("JOBS_MIRRORS", mirrors.join(","));
    let (passed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let on_line = |line: &str| {
        passed.fetch_add(counted(line, "passed"), Ordering::Relaxed);
        failed.fetch_add(counted(line, "failed"), Ordering::Relaxed);
        ctx.ui.text(line);
    };
    let given = Given { on_line: Some(&on_line), both_streams: true, ..Given::default() };
    let outcome = process::run(ctx, cmd, &given)?;
    let (mut passed, mut failed) = (passed.into_inner(), failed.into_inner());
    match outcome.success() {
        // A test run that ran nothing has checked nothing.
        true if check == Check::Tests && passed == 0 => failed = 1,
        true => passed = passed.max(1),
        false => failed = failed.max(1),
    }
    Ok(Checked { passed, failed, command: outcome.command })
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
