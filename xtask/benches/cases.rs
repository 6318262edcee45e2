//! The benchmarks, in the order in which they are told of. Each gives the rows of its table.

mod build;
mod compile;
mod discover;
mod emulated;
mod merge;
mod published; // repositories whose images are there, for the benchmarks of what comes after a build
mod scale;
mod unchanged;
mod verify;

use std::time::Instant;

use crate::report::{Report, Section};
use crate::suite::{Suite, say};

/// A benchmark by its name.
type Case = (&'static str, fn(&Suite) -> anyhow::Result<Section>);

const CASES: [Case; 8] = [
    ("discover", discover::run),
    ("build", build::run),
    ("merge", merge::run),
    ("verify", verify::run),
    ("unchanged", unchanged::run),
    ("scale", scale::run),
    ("compile", compile::run),
    ("emulated", emulated::run),
];

/// The names that the command line takes.
pub fn names() -> Vec<&'static str> {
    CASES.iter().map(|(name, _)| *name).collect()
}

/// Runs the benchmarks of these names, or all.
///
/// # Errors
/// Something that is measured fails: half a comparison says nothing.
pub fn run(suite: &Suite, names: &[String]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for (name, case) in CASES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|given| given == name)) {
        say(&format!("{name}:"));
        let start = Instant::now();
        let mut section = case(suite)?;
        if suite.quick {
            // What is wanted holds for the whole sizes.
            section.comparisons.iter_mut().for_each(|comparison| comparison.wanted.clear());
        }
        let took = start.elapsed().as_secs_f64();
        say(&format!("{name} took {took:.0} s"));
        report.sections.push(Section { name, took, ..section });
    }
    Ok(report)
}
