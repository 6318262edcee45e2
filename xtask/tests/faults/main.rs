//! The fault bench: whatever fails, each published tag is what it was, or complete and right, and a run without the
//! fault finishes. Registry, engine and buildx are real; a front before the registry does what goes wrong.
//!
//! `cargo xtask test` runs a few cases, `cargo xtask test --faults` all of them. By their names, or a part of them:
//! `cargo test --package xtask --test faults -- 'faults of merge: Cut'`; `--list` prints the names.

#![allow(clippy::unwrap_used)] // a panic is how a test says no
#![allow(clippy::print_stdout)] // there is no harness that prints results

mod case; // one case, and many side by side
mod check; // what a registry holds, and whether that is right
mod front; // what goes wrong with a request
mod kills; // the program is killed at every request
mod lab; // what cases start from
mod machine; // a registry that is away, a full disk, an engine that dies
mod orders; // runs that meet each other
mod permissions; // logins that expire, repositories that are not there, tags that never change
mod requests; // faults × requests × commands
mod stuck; // one commit that is built or merged more than once

#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/cloud.rs"]
mod cloud;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/ecr_front.rs"]
mod ecr_front;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/engine.rs"]
mod engine;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/harness.rs"]
mod harness;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/proxy.rs"]
mod proxy;

use std::process::ExitCode;
use std::time::Instant;

use case::Case;
use lab::Lab;

/// The variable by which `cargo xtask test --faults` asks for `all` cases.
const WHICH: &str = "JOBS_FAULTS";

fn cases(lab: &Lab) -> Vec<Case> {
    [requests::cases(), permissions::cases(), kills::cases(lab), orders::cases(), stuck::cases(), machine::cases(lab)]
        .into_iter()
        .flatten()
        .collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (flags, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-'));
    let start = Instant::now();
    let lab = Lab::new();
    let is_all = !names.is_empty() || std::env::var(WHICH).is_ok_and(|which| which == "all");
    let mut cases = cases(&lab);
    let total = cases.len();
    cases.retain(|case| is_all || case.is_quick());
    cases.retain(|case| names.is_empty() || names.iter().any(|name| case.name().contains(name.as_str())));
    if flags.iter().any(|flag| *flag == "--list") {
        cases.iter().for_each(|case| println!("{}: test", case.name()));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} of {total} cases", cases.len());
    let report = case::run_all(&lab, cases, |name, why| println!("\n---- {name} ----\n{why}\n"));
    for (kind, count) in &report.passed {
        println!("{count:>5} {kind}");
    }
    for (name, _) in &report.failed {
        println!("    failed: {name}");
    }
    // As the harness of other tests says it: `cargo xtask test` counts by this line.
    let (passed, failed) = (report.passed.values().sum::<usize>(), report.failed.len());
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let took = start.elapsed().as_secs_f32();
    println!("\ntest result: {result}. {passed} passed; {failed} failed; finished in {took:.2}s\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
