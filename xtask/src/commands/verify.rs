//! `verify`: the gate alone, on what is published; changes nothing.

use crate::cli::Verify;
use crate::commands::merge::{self, expected, look_at_parts, refused};
use crate::config::Config;
use crate::context::Context;
use crate::fleet::{self, OnFailure, Tally};
use crate::jobs;
use crate::model::gate::{self, Published};
use crate::model::job::Job;
use crate::model::reference::Reference;
use crate::problem::Problem;
use crate::report::count;
use crate::target::Target;
use crate::tools::buildx;

pub fn run(ctx: &Context, config: &Config, args: &Verify) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    target.published_registry("verify")?;
    let jobs = jobs::select(ctx, &args.selection)?;
    if jobs.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to verify").usage());
    }
    let parallel = args.parallel.map_or(merge::PARALLEL, usize::from);
    let verified = verify_all(ctx, config, &target, &jobs, parallel);
    for (reference, index) in &verified.done {
        ctx.ui.data(format!("{reference}@{}", index.digest));
    }
    verified.result().map(drop)
}

/// Checks the published tags of the jobs.
pub fn verify_all(
    ctx: &Context,
    config: &Config,
    target: &Target,
    jobs: &[Job],
    parallel: usize,
) -> Tally<(Reference, Published)> {
    let results = fleet::run(&ctx.interrupt, parallel, OnFailure::GoOn, jobs, |job| {
        let verified = verify(ctx, config, target, job)?;
        ctx.ui.status("Verified", &verified.0);
        Ok(verified)
    });
    let tally = fleet::tally(jobs.iter().map(|job| &job.name), results);
    ctx.ui.status("Finished", format!("{} of {} right", tally.done.len(), count(jobs.len(), "published tag")));
    tally
}

fn verify(ctx: &Context, config: &Config, target: &Target, job: &Job) -> anyhow::Result<(Reference, Published)> {
    let expected = expected(config, target, job)?;
    let name = job.name.as_str();
    let reference = expected.reference();
    let Some(index) = buildx::inspect(ctx, &reference)? else {
        let problem = Problem::new(reference.to_string(), "is not published");
        return Err(problem.help(format!("cargo xtask merge {name}")).refused());
    };
    let parts = look_at_parts(ctx, &expected)?;
    let checks = [gate::check_index(&expected, &index, name), gate::check_agreement(&expected, &index, &parts, name)];
    let problems: Vec<Problem> = checks.into_iter().filter_map(Result::err).flatten().collect();
    if problems.is_empty() { Ok((reference, index)) } else { Err(refused(problems)) }
}
