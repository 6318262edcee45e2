//! `discover`: the jobs, as data.

use serde_json::{Value, json};

use super::plan::report;
use crate::cli::{DiscoverArgs, ListFormat};
use crate::model::{Exit, Failure, JobName, Problem};
use crate::plan::{self, Action, Basis, Job, LegJob, Planned, Work, recipes, select_jobs};
use crate::run::{Context, count, set_output, table};
use crate::settings::{Config, Run};

/// The longest output of a job on GitHub, in bytes.
const LONGEST_OUTPUT: usize = 1 << 20;

pub fn run(ctx: &Context, config: &Config, args: &DiscoverArgs) -> anyhow::Result<()> {
    let work = find(ctx, config, args, select_jobs(ctx, config, &args.jobs)?)?;
    let folders = json!(work.build.iter().map(|job| job.name.dir()).collect::<Vec<_>>()).to_string();
    // What keeps the jobs from being parted into legs is said here too; but legs are many times as long as a list.
    let build = work.build_matrix(&config.runners, config.max_legs)?;
    let build = if is_for_workflow(ctx, args) { legs(ctx, &work, &folders, &build)? } else { String::new() };
    match args.format {
        ListFormat::Json => ctx.ui.data(&folders),
        ListFormat::Matrix => ctx.ui.data(&build),
        ListFormat::Table => ctx.ui.data(as_table(&work.build)),
    }
    ctx.ui.detail("Discovered", count(work.build.len(), "job"));
    Ok(())
}

/// The outputs of a workflow; gives the matrix of the builds.
fn legs(ctx: &Context, work: &Work, folders: &String, build: &Value) -> anyhow::Result<String> {
    let build = build.to_string();
    let merge = work.merge_matrix().to_string();
    check_size(ctx, &[("jobs", folders), ("matrix", &build), ("merge", &merge)])?;
    set_output(ctx, "jobs", folders)?;
    set_output(ctx, "matrix", &build)?;
    set_output(ctx, "merge", &merge)?;
    set_output(ctx, "any", if work.build.is_empty() { "false" } else { "true" })?;
    set_output(ctx, "any-merge", if work.merge.is_empty() { "false" } else { "true" })?;
    Ok(build)
}

fn find(ctx: &Context, config: &Config, args: &DiscoverArgs, jobs: Vec<Job>) -> anyhow::Result<Work> {
    let run = || Run::new(ctx, config, &args.destination);
    if args.changed || args.since.is_some() {
        return changed(&run()?, args, jobs);
    }
    let plain: Vec<LegJob> =
        jobs.iter().map(|job| LegJob { name: job.name.clone(), arches: job.arches.clone(), slice: None }).collect();
    if !is_for_workflow(ctx, args) {
        return Ok(Work { build: plain, ..Work::default() });
    }
    // The matrix is of use without slices too: the gate notices where legs built from different bases.
    let basis = Basis::Registry { force: args.force };
    let recipes = run().and_then(|run| Ok((recipes(&run, jobs, &basis)?, run)));
    let (build, commit) = match recipes {
        Ok((recipes, run)) => (
            recipes.iter().map(|recipe| LegJob::new(recipe, &recipe.job.arches)).collect(),
            run.target.revision.map(|rev| rev.commit),
        ),
        Err(error) => {
            ctx.ui.warning(format!("the legs get no slice of a plan: {error:#}"));
            (plain, None)
        }
    };
    Ok(Work { commit, forced: args.force, merge: build.clone(), build })
}

/// What the plan would build; and what it would merge, which are all jobs that are not done.
fn changed(run: &Run, args: &DiscoverArgs, jobs: Vec<Job>) -> anyhow::Result<Work> {
    let basis = match &args.since {
        Some(revision) => Basis::Since(revision.clone()),
        None => Basis::Registry { force: args.force },
    };
    let mut planned = plan::make(run, jobs, &basis)?;
    plan::explain(run, &mut planned)?;
    report(&run.ctx, &planned)?;
    planned.retain(|planned| planned.decision.action != Action::Done);
    if args.since.is_some() && is_for_workflow(&run.ctx, args) {
        resolve(run, &mut planned)?;
    }
    let leg_job = |planned: &Planned| LegJob::new(&planned.recipe, &planned.decision.arches);
    let builds = planned.iter().filter(|planned| planned.decision.action == Action::Build);
    Ok(Work {
        commit: run.target.revision.as_ref().map(|revision| revision.commit.clone()),
        forced: args.force,
        build: builds.map(leg_job).collect(),
        // Without a registry there is nothing to merge.
        merge: run.target.registry.iter().flat_map(|_| planned.iter().map(leg_job)).collect(),
    })
}

/// Works out the keys of what was planned by git alone, for the slices of legs.
fn resolve(run: &Run, planned: &mut [Planned]) -> anyhow::Result<()> {
    let jobs = planned.iter().map(|planned| planned.recipe.job.clone()).collect();
    let recipes = recipes(run, jobs, &Basis::Registry { force: false })?;
    for (planned, recipe) in planned.iter_mut().zip(recipes) {
        planned.recipe = recipe;
    }
    Ok(())
}

/// Whether legs are asked for, and not only a list.
fn is_for_workflow(ctx: &Context, args: &DiscoverArgs) -> bool {
    args.format == ListFormat::Matrix || ctx.env.get("GITHUB_OUTPUT").is_some()
}

fn as_table(jobs: &[LegJob]) -> String {
    let row = |LegJob { name, arches, .. }: &LegJob| {
        let arches: Vec<&str> = arches.iter().map(|arch| arch.as_str()).collect();
        vec![JobName::to_string(name), arches.join(" "), name.dockerfile().into_string()]
    };
    table(&["JOB", "ARCHITECTURES", "DOCKERFILE"], &jobs.iter().map(row).collect::<Vec<_>>())
}

fn check_size(ctx: &Context, outputs: &[(&str, &String)]) -> anyhow::Result<()> {
    let problems = outputs.iter().filter(|(_, text)| text.len() > LONGEST_OUTPUT).map(|(name, text)| {
        Problem::new(format!("output `{name}`"), format!("has {} bytes", text.len()))
            .rule("GitHub drops outputs over 1 MB")
            .help("name fewer jobs, or split the repository")
    });
    Failure::unless_empty(Exit::Usage, problems.collect())?;
    let together: usize = outputs.iter().map(|(_, text)| 2 * text.encode_utf16().count()).sum();
    if together > LONGEST_OUTPUT && ctx.env.get("GITHUB_OUTPUT").is_some() {
        ctx.ui.warning("the outputs are over 1 MB together in UTF-16, which is how GitHub may count those of a job");
    }
    Ok(())
}
