//! `discover`: the jobs, as data.

use serde_json::json;

use crate::cli::{Discover, DiscoverFormat};
use crate::config::Config;
use crate::context::Context;
use crate::github::Outputs;
use crate::jobs;
use crate::model::job::Job;
use crate::model::leg::{self, Leg};
use crate::problem::{Exit, Failure, Problem};
use crate::report::table;

/// The longest output of a job on GitHub, in bytes.
const LONGEST_OUTPUT: usize = 1 << 20;

pub fn run(ctx: &Context, config: &Config, args: &Discover) -> anyhow::Result<()> {
    let jobs = jobs::select(ctx, &args.selection)?;
    let legs = leg::legs(&jobs, &config.runners, config.max_legs)?;
    let folders = json!(jobs.iter().map(Job::dir).collect::<Vec<_>>()).to_string();
    let matrix = leg::matrix(&legs).to_string();
    check_size("matrix", &matrix)?;
    check_size("jobs", &folders)?;
    match args.format {
        DiscoverFormat::Json => ctx.ui.data(&folders),
        DiscoverFormat::Matrix => ctx.ui.data(&matrix),
        DiscoverFormat::Table => ctx.ui.data(as_table(config, &jobs)),
    }
    let mut outputs = Outputs::new(ctx);
    outputs.set("jobs", &folders);
    outputs.set("matrix", &matrix);
    outputs.set("merge", &leg::merge_matrix(&jobs).to_string());
    outputs.set("any", if jobs.is_empty() { "false" } else { "true" });
    outputs.write()?;
    ctx.ui.detail("Discovered", summary(&jobs, &legs));
    Ok(())
}

fn summary(jobs: &[Job], legs: &[Leg]) -> String {
    format!("{}, {}", crate::report::count(jobs.len(), "job"), crate::report::count(legs.len(), "leg"))
}

fn as_table(config: &Config, jobs: &[Job]) -> String {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let arches: Vec<&str> = leg::arches(job, &config.runners).into_iter().map(|arch| arch.as_str()).collect();
            vec![job.name.to_string(), arches.join(" "), job.dockerfile().into_string()]
        })
        .collect();
    table(&["JOB", "ARCHITECTURES", "DOCKERFILE"], &rows)
}

fn check_size(output: &str, text: &str) -> anyhow::Result<()> {
    if text.len() <= LONGEST_OUTPUT {
        return Ok(());
    }
    let problem = Problem::new(format!("output `{output}`"), format!("has {} bytes", text.len()))
        .rule("GitHub drops outputs over 1 MB")
        .help("name fewer jobs, or split the repository");
    Err(Failure::of(Exit::Usage, vec![problem]))
}
