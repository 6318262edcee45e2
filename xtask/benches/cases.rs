//! The benchmarks, in the order in which they are told of. Each gives the rows of its table.

mod build;
mod discover;

use std::time::Instant;

use crate::report::{Report, Section};
use crate::suite::{Suite, say};

/// What the command line takes.
pub const NAMES: [&str; 2] = ["discover", "build"];

/// Runs the benchmarks of these names, or all.
///
/// # Errors
/// Something that is measured fails: half a comparison says nothing.
pub fn run(suite: &Suite, names: &[String]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for name in NAMES.into_iter().filter(|name| names.is_empty() || names.iter().any(|given| given == name)) {
        say(&format!("{name}:"));
        let start = Instant::now();
        let section = match name {
            "discover" => discover::run(suite)?,
            "build" => build::run(suite)?,
            _ => Section::default(),
        };
        let took = start.elapsed().as_secs_f64();
        say(&format!("{name} took {took:.0} s"));
        report.sections.push(Section { name, took, ..section });
    }
    Ok(report)
}
