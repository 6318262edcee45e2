//! cargo: where the workspace is, what its metadata say, and the checks that cargo runs.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::Deserialize;
use serde_json::Value;
use xshell::cmd;

use super::process::{self, Given};
use crate::context::Context;
use crate::problem::Problem;

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
            Check::Tests => "unit, tidy and end-to-end tests",
        }
    }
}

/// Runs a check, its output to the terminal. Gives how many tests passed (one for a check that has no tests),
/// or the command that failed.
pub fn check(ctx: &Context, check: Check, mirrors: &BTreeMap<String, String>) -> anyhow::Result<Result<usize, String>> {
    let sh = ctx.shell()?;
    let cmd = match check {
        Check::Format => cmd!(sh, "cargo fmt --all --check"),
        Check::Lints => cmd!(sh, "cargo clippy --workspace --all-targets --locked -- --deny warnings"),
        Check::Tests => cmd!(sh, "cargo test --workspace --locked --no-fail-fast"),
    };
    let mirrors: Vec<String> = mirrors.iter().map(|(registry, prefix)| format!("{registry}={prefix}")).collect();
    // The tests' own repositories pull from where this one does.
    let cmd = cmd.env("JOBS_MIRRORS", mirrors.join(","));
    let passed = std::sync::atomic::AtomicUsize::new(0);
    let on_line = |line: &str| {
        passed.fetch_add(passed_in(line), std::sync::atomic::Ordering::Relaxed);
        ctx.ui.text(line);
    };
    let given = Given { on_line: Some(&on_line), both_streams: true, ..Given::default() };
    let outcome = process::run(ctx, cmd, &given)?;
    if !outcome.success() {
        return Ok(Err(outcome.command));
    }
    let passed = passed.into_inner();
    Ok(Ok(if check == Check::Tests { passed } else { 1 }))
}

/// The number in cargo's `test result: ok. 12 passed; …`.
fn passed_in(line: &str) -> usize {
    let count = line.strip_prefix("test result: ok. ").and_then(|rest| rest.split_once(" passed"));
    count.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}
