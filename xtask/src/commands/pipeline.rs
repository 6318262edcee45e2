//! `pipeline`: everything that CI does, on this machine, against a loopback registry.

use std::time::{Duration, Instant};

use crate::cli::{BuildOptions, Destination, DryRun, Pipeline, PlanOptions, Setup};
use crate::commands::build::{self, Built};
use crate::commands::setup::{self, Purpose};
use crate::commands::{merge, verify};
use crate::model::problem::{Problem, one_line};
use crate::plan::jobs;
use crate::plan::survey::{Survey, survey};
use crate::publish::gate::Published;
use crate::publish::images::{self, Order};
use crate::run::context::Context;
use crate::run::report::{count, human_size, human_time, markdown, table};
use crate::settings::config::Config;
use crate::settings::target::Target;
use crate::tools::buildx::{self, Output};
use crate::tools::registry;

pub fn run(ctx: &Context, config: &Config, args: &Pipeline) -> anyhow::Result<()> {
    let start = Instant::now();
    if args.setup {
        let args = Setup { dry_run: DryRun::default(), destination: args.destination.clone() };
        setup::run(ctx, config, &args, Purpose::Pipeline)?;
    }
    let registry = match &args.destination.registry {
        Some(registry) => registry.clone(),
        None => registry::ensure(ctx)?,
    };
    // Setup may just have noted a mirror, and the registry may listen elsewhere than before.
    let config = &config.clone().with_noted_mirror(ctx);
    let target = rehearsal(ctx, config, &Destination { registry: Some(registry), ..args.destination.clone() })?;
    let registry = target.published_registry("pipeline")?;
    ctx.ui.heading("discover: cargo xtask discover");
    let selected = jobs::select(ctx, &args.selection)?;
    ctx.ui.status("Discovered", count(selected.chosen.len(), "job"));
    if selected.chosen.is_empty() {
        ctx.ui.status("Finished", "nothing to build: no jobs");
        return Ok(());
    }
    ctx.ui.heading(format!("plan: JOBS_REGISTRY={registry} cargo xtask plan"));
    let survey = survey(ctx, config, &target, &selected, &PlanOptions { force: args.force, plan: None })?;
    for planned in &survey.jobs {
        ctx.ui.status(
            "Planned",
            format!("{}: {}, {}", planned.recipe.job.name, planned.decision.action, planned.decision.reason),
        );
    }
    let built = build(ctx, config, &target, &survey, &args.options)?;
    let (jobs, recipes): (Vec<_>, Vec<_>) = survey
        .jobs
        .into_iter()
        .map(|planned| ((planned.recipe.job.name.clone(), planned.expected), planned.recipe))
        .unzip();
    ctx.ui.heading(format!("merge: JOBS_REGISTRY={registry} cargo xtask merge"));
    merge::merge_all(ctx, &target, &recipes, merge::PARALLEL)?.result()?;
    ctx.ui.heading(format!("verify: JOBS_REGISTRY={registry} cargo xtask verify"));
    let verified = verify::verify_all(ctx, &jobs, None, merge::PARALLEL).result()?;
    let mut rows = Vec::new();
    for ((job, _), (reference, index)) in jobs.iter().zip(&verified) {
        ctx.ui.data(format!("{reference}@{}", index.digest));
        let times: Vec<Duration> = built.iter().filter(|built| built.job == *job).map(|built| built.time).collect();
        let time = if times.is_empty() { "-".to_owned() } else { human_time(times.iter().sum()) };
        let (digest, size) = (index.digest.short().to_owned(), size(ctx, reference, index)?);
        rows.push(vec![job.to_string(), platforms(index), digest, size, time]);
    }
    let headings = ["JOB", "PLATFORMS", "DIGEST", "SIZE", "BUILD TIME"];
    ctx.ui.text(&format!("\n{}", table(&headings, &rows)));
    crate::run::github::summary(ctx, &markdown(&headings, &rows))?;
    if let Some((reference, _)) = verified.first() {
        ctx.ui.text(&format!("\nRun one: docker run --rm {} --help\n", one_line(&reference.to_string())));
    }
    ctx.ui.status(
        "Finished",
        format!("{} in {}", count(verified.len(), "multi-platform image"), human_time(start.elapsed())),
    );
    Ok(())
}

/// Builds what the plan says, every architecture on this machine.
fn build(
    ctx: &Context,
    config: &Config,
    target: &Target,
    survey: &Survey,
    options: &BuildOptions,
) -> anyhow::Result<Vec<Built>> {
    let arches = config.arches();
    let flags: Vec<String> = arches.iter().map(|arch| format!("--arch {arch}")).collect();
    let registry = target.published_registry("pipeline")?;
    ctx.ui.heading(format!("build: JOBS_REGISTRY={registry} cargo xtask build {} --push --emulate", flags.join(" ")));
    // A rehearsal on one machine cannot be native for all.
    let options = BuildOptions { emulate: true, ..options.clone() };
    let order = Order { survey, arches: &arches, output: Output::Push, options: &options };
    build::build_all(ctx, &images::plan(ctx, target, &order)?, &options)?.result()
}

/// The target of a rehearsal: a loopback registry, and neither a role nor tags that move.
fn rehearsal(ctx: &Context, config: &Config, given: &Destination) -> anyhow::Result<Target> {
    let target = Target::resolve(ctx, config, given)?;
    if let Some(registry) = target.registry.as_ref().filter(|registry| !registry.value.is_loopback()) {
        return Err(Problem::new(format!("registry `{}`", registry.value), "is not on this machine")
            .rule("`pipeline` is a rehearsal, and publishes to a loopback registry only")
            .help("leave JOBS_REGISTRY unset, or run build and merge by themselves")
            .usage());
    }
    Ok(target.rehearsed())
}

fn platforms(index: &Published) -> String {
    index.image_manifests().map(|(_, platform, _)| platform).collect::<Vec<_>>().join(" ")
}

/// What a node pulls, for each platform.
fn size(ctx: &Context, reference: &crate::model::reference::Reference, index: &Published) -> anyhow::Result<String> {
    let mut sizes = Vec::new();
    for (manifest, ..) in index.image_manifests() {
        let image = reference.repository.with_digest(&manifest.digest);
        sizes.push(human_size(buildx::pull_size(ctx, &image)?));
    }
    Ok(sizes.join(" "))
}
