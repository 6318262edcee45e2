//! `discover`: the jobs, as data.

use std::collections::BTreeSet;

use serde_json::json;

use super::plan::{planned, report};
use crate::cli::{DiscoverArgs, ListFormat};
use crate::model::{Arch, Exit, JobName, Problem};
use crate::plan::{self, Action, Basis, BrokenJobs, Job, Leg, LegJob, Planned, Work, recipes, select_jobs};
use crate::publish::check_signatures;
use crate::run::{Context, count, set_output, table, too_long_for_output};
use crate::settings::{Config, Run};
use crate::tools::{Bootstrap, Builder};

pub fn run(ctx: &Context, config: &Config, args: &DiscoverArgs) -> anyhow::Result<()> {
    let mut broken = BrokenJobs::new(args.keep_going);
    let jobs = select_jobs(ctx, config, &args.jobs, &mut broken)?;
    super::tell_of_dockerfiles(ctx, config, &jobs, &broken);
    let work = find(ctx, config, args, jobs, &mut broken)?;
    let folders = json!(folders(&work.build)).to_string();
    let here = Arch::of_this_machine();
    // What keeps the jobs from being parted into legs is said here too; but legs are many times as long as a list.
    let mut build = work.build_legs(&config.runners, config.max_legs, here)?;
    if ctx.env.get("GITHUB_OUTPUT").is_some() {
        hand_on(ctx, &work, &folders, &mut build, work.merge_legs(&config.runners, here))?;
    }
    match args.format {
        ListFormat::Json => ctx.ui.data(&folders),
        ListFormat::Matrix => ctx.ui.data(plan::matrix(&build)),
        ListFormat::Table => ctx.ui.data(as_table(ctx, &work.build)),
    }
    ctx.ui.detail("Discovered", count(work.build.len(), "job"));
    // The others go on with what was handed on to them.
    broken.result()
}

/// The outputs for a workflow, and the files for what is too long for them.
fn hand_on(ctx: &Context, work: &Work, folders: &str, build: &mut [Leg], mut merge: Vec<Leg>) -> anyhow::Result<()> {
    check_size(folders)?;
    let folder = ctx.own_path("plan");
    let shown = ctx.shown(&folder);
    let files = plan::into_files(shown.as_str(), build, &mut merge);
    let yes = |yes: bool| if yes { "true" } else { "false" };
    set_output(ctx, "jobs", folders)?;
    set_output(ctx, "matrix", &plan::matrix(build).to_string())?;
    set_output(ctx, "merge", &plan::matrix(&merge).to_string())?;
    set_output(ctx, "any", yes(!build.is_empty()))?;
    set_output(ctx, "any-merge", yes(!merge.is_empty()))?;
    set_output(ctx, "files", yes(!files.is_empty()))?;
    // This machine itself may merge what is unchanged, so a file is always at hand.
    let (text, unchanged) = work.unchanged_in_file(&format!("{shown}/unchanged.json"));
    set_output(ctx, "unchanged", &unchanged.plan)?;
    set_output(ctx, "any-unchanged", yes(!work.unchanged.is_empty()))?;
    let mut files = files.into_iter().chain([(unchanged.plan.trim_start_matches('@').to_owned(), text)]);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)
        .and_then(|()| files.try_for_each(|(path, text)| std::fs::write(ctx.root.join(path), text)))
        .map_err(|error| {
            Problem::new(shown.as_str(), format!("cannot be written: {error}"))
                .rule("what a workflow hands on is written there")
                .help("make it a folder that can be written, or remove it")
                .exit(Exit::Usage)
        })
}

/// The folders of jobs, each once: several jobs may share one.
fn folders(jobs: &[LegJob]) -> Vec<&str> {
    let folders: BTreeSet<&str> = jobs.iter().map(|job| job.files.dir.as_str()).collect();
    folders.into_iter().collect()
}

fn find(
    ctx: &Context,
    config: &Config,
    args: &DiscoverArgs,
    jobs: Vec<Job>,
    broken: &mut BrokenJobs,
) -> anyhow::Result<Work> {
    let run = || Run::new(ctx, config, &args.destination);
    if args.changed || args.since.is_some() {
        return changed(&run()?, args, &jobs, broken);
    }
    let plain: Vec<LegJob> = jobs.iter().map(LegJob::unplanned).collect();
    if !is_for_workflow(ctx, args) {
        return Ok(Work { build: plain, ..Work::default() });
    }
    // The matrix is of use without slices too: the gate notices where legs built from different bases.
    let basis = Basis::Registry { force: args.force };
    let recipes = run().and_then(|run| Ok((recipes(&run, jobs, &basis, broken)?, run)));
    let (build, commit, environment) = match recipes {
        Ok((recipes, Run { target, .. })) => (
            recipes.iter().map(|recipe| LegJob::new(recipe, &recipe.job.arches)).collect(),
            target.revision.map(|revision| revision.commit),
            target.environment,
        ),
        Err(error) => {
            ctx.ui.warning(format!("the legs get no slice of a plan: {error:#}"));
            (plain, None, None)
        }
    };
    Ok(Work { commit, forced: args.force, environment, merge: build.clone(), build, ..Work::default() })
}

/// What the plan would build, and what it would merge, at once or afterwards.
fn changed(run: &Run, args: &DiscoverArgs, jobs: &[Job], broken: &mut BrokenJobs) -> anyhow::Result<Work> {
    check_signatures(run)?;
    let basis = match &args.since {
        Some(revision) => Basis::Since(revision.clone()),
        None => Basis::Registry { force: args.force },
    };
    if args.since.is_none() && is_unasked(run) {
        let why = run.target.why_nowhere(&run.ctx);
        run.ctx.ui.status("Skipped", format!("{why}; start the workflow by hand to build it all the same"));
        return Ok(Work::default());
    }
    let mut planned = planned(run, jobs, &basis, broken)?;
    report(&run.ctx, &planned, broken.aside());
    // The run that published an index may have ended before it had it signed.
    let with_done = args.since.is_none() && (run.target.sign || run.target.attest);
    planned.retain(|planned| with_done || planned.decision.action != Action::Done);
    if args.since.is_some() && is_for_workflow(&run.ctx, args) {
        resolve(run, &mut planned, broken)?;
    }
    let leg_job = |planned: &Planned| LegJob::new(&planned.recipe, &planned.decision.arches);
    let (built, unchanged): (Vec<&Planned>, Vec<&Planned>) =
        planned.iter().partition(|planned| planned.decision.action == Action::Build);
    let [build, unchanged]: [Vec<LegJob>; 2] = [built, unchanged].map(|of| of.into_iter().map(leg_job).collect());
    check_runner(run, &build)?;
    let (merge, unchanged) = match &run.target {
        // Without a registry there is nothing to merge.
        target if target.registry.is_none() => (Vec::new(), Vec::new()),
        // GitHub attests what a leg of `merge` has made, of no more jobs than such a leg has; and where an environment
        // guards the registry, the job that plans is not in it.
        target if target.attest || target.environment.is_some() => {
            (build.iter().cloned().chain(unchanged).collect(), Vec::new())
        }
        _ => (build.clone(), unchanged),
    };
    let commit = run.target.revision.as_ref().map(|revision| revision.commit.clone());
    let environment = run.target.environment.clone().filter(|_| args.since.is_none());
    Ok(Work { commit, forced: args.force, environment, build, merge, unchanged })
}

/// Whether a workflow runs by itself for a ref that is published nowhere.
fn is_unasked(Run { ctx, target, .. }: &Run) -> bool {
    let by_hand = ctx.env.get("GITHUB_EVENT_NAME") == Some("workflow_dispatch");
    target.registry.is_none() && ctx.env.is_github_actions() && !by_hand
}

/// Checks that the legs will be able to make what is wanted of the images; the runner of the plan stands for theirs.
/// Where GitHub keeps the runner, its engine is made fit in each leg.
fn check_runner(run: &Run, build: &[LegJob]) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    if build.is_empty() || target.registry.is_none() || !ctx.env.is_github_actions() || ctx.env.is_hosted_runner() {
        return Ok(());
    }
    run.check_builder(&Builder::probe(ctx, None, Bootstrap::No)?, target.provenance)
}

/// Works out the keys of what was planned by git alone, for the slices of legs.
fn resolve(run: &Run, planned: &mut Vec<Planned>, broken: &mut BrokenJobs) -> anyhow::Result<()> {
    let jobs = planned.iter().map(|planned| planned.recipe.job.clone()).collect();
    let recipes = recipes(run, jobs, &Basis::Registry { force: false }, broken)?;
    planned.retain(|planned| recipes.iter().any(|recipe| recipe.job.name == planned.recipe.job.name));
    for (planned, recipe) in planned.iter_mut().zip(recipes) {
        planned.recipe = recipe;
    }
    Ok(())
}

/// Whether legs are asked for, and not only a list.
fn is_for_workflow(ctx: &Context, args: &DiscoverArgs) -> bool {
    args.format == ListFormat::Matrix || ctx.env.get("GITHUB_OUTPUT").is_some()
}

fn as_table(ctx: &Context, jobs: &[LegJob]) -> String {
    let row = |LegJob { name, files, arches, .. }: &LegJob| {
        let arches: Vec<&str> = arches.iter().map(|arch| arch.as_str()).collect();
        vec![JobName::to_string(name), arches.join(" "), files.dockerfile.to_string()]
    };
    table(ctx, &["JOB", "ARCHITECTURES", "DOCKERFILE"], &jobs.iter().map(row).collect::<Vec<_>>())
}

fn check_size(folders: &str) -> anyhow::Result<()> {
    let Some(length) = too_long_for_output(folders) else { return Ok(()) };
    Err(Problem::new("output `jobs`", format!("has {length} bytes in UTF-16"))
        .rule("GitHub drops outputs over 1 MB")
        .help("name fewer jobs, or split the repository")
        .exit(Exit::Usage))
}
