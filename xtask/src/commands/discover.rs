//! `discover`: the jobs, as data.

use serde_json::json;

use crate::cli::{Discover, DiscoverFormat, PlanOptions};
use crate::commands::plan;
use crate::model::job::Job;
use crate::model::problem::{Exit, Failure, Problem};
use crate::plan::decide::{Action, Decision};
use crate::plan::jobs::{self, Selected};
use crate::plan::leg::{self, Leg, Order};
use crate::plan::recipe::Recipe;
use crate::plan::survey;
use crate::run::context::Context;
use crate::run::github::Outputs;
use crate::run::report::{markdown, table};
use crate::settings::config::Config;
use crate::settings::target::Target;

/// The longest output of a job on GitHub, in bytes.
const LONGEST_OUTPUT: usize = 1 << 20;

pub fn run(ctx: &Context, config: &Config, args: &Discover) -> anyhow::Result<()> {
    let selected = jobs::select(ctx, &args.selection)?;
    let found = find(ctx, config, args, &selected)?;
    let jobs: Vec<Job> = found.build.iter().map(|(job, _)| job.clone()).collect();
    let folders = json!(jobs.iter().map(Job::dir).collect::<Vec<_>>()).to_string();
    let orders: Vec<Order> = found.build.into_iter().map(|(_, order)| order).collect();
    let legs = leg::legs(&found.commit, &orders, &config.runners, config.max_legs)?;
    let matrix = leg::matrix(&legs).to_string();
    let merge = leg::merge_matrix(&found.commit, &found.merge).to_string();
    if is_for_workflow(ctx, args) {
        check_size(ctx, &[("jobs", &folders), ("matrix", &matrix), ("merge", &merge)])?;
    }
    let mut outputs = Outputs::new(ctx);
    outputs.set("jobs", &folders);
    outputs.set("matrix", &matrix);
    outputs.set("merge", &merge);
    outputs.set("any", if jobs.is_empty() { "false" } else { "true" });
    outputs.set("any-merge", if found.merge.is_empty() { "false" } else { "true" });
    outputs.write()?;
    match args.format {
        DiscoverFormat::Json => ctx.ui.data(&folders),
        DiscoverFormat::Matrix => ctx.ui.data(&matrix),
        DiscoverFormat::Table => ctx.ui.data(as_table(config, &jobs)),
    }
    ctx.ui.detail("Discovered", summary(&jobs, &legs));
    Ok(())
}

/// What there is to build, and what to merge afterwards.
struct Found {
    commit: String,
    build: Vec<(Job, Order)>,
    merge: Vec<Order>,
}

fn find(ctx: &Context, config: &Config, args: &Discover, selected: &Selected) -> anyhow::Result<Found> {
    if args.changed || args.since.is_some() {
        return changed(ctx, config, args, selected);
    }
    let order = |job: &Job, slice| Order { job: job.name.clone(), arches: leg::arches(job, &config.runners), slice };
    let plain = || selected.chosen.iter().map(|job| (job.clone(), order(job, None))).collect();
    if !is_for_workflow(ctx, args) {
        return Ok(Found { commit: String::new(), build: plain(), merge: Vec::new() });
    }
    // The matrix is of use without slices too: the gate notices where legs built from different bases.
    let recipes = Target::resolve(ctx, config, &args.destination).and_then(|target| {
        let recipes = survey::recipes(ctx, config, &target, selected, &PlanOptions::default())?.1;
        Ok((commit(&target), recipes))
    });
    let (commit, build): (String, Vec<(Job, Order)>) = match recipes {
        Ok((commit, recipes)) => {
            (commit, recipes.iter().map(|r| (r.job.clone(), order(&r.job, r.slice_job()))).collect())
        }
        Err(error) => {
            ctx.ui.warning(format!("the legs get no slice of a plan: {error:#}"));
            (String::new(), plain())
        }
    };
    let merge = build.iter().map(|(_, order)| order.clone()).collect();
    Ok(Found { commit, build, merge })
}

/// What the plan would build; and what it would merge, which are all jobs that are not done.
fn changed(ctx: &Context, config: &Config, args: &Discover, selected: &Selected) -> anyhow::Result<Found> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    let options = PlanOptions { force: args.force, plan: None };
    let mut planned = plan::make(ctx, config, &target, selected, &options, args.since.as_deref())?;
    ctx.ui.status("Planned", plan::summary(&planned));
    let rows: Vec<Vec<String>> = planned.iter().map(plan::row).collect();
    crate::run::github::summary(ctx, &format!("### Plan\n\n{}", markdown(&plan::HEADINGS, &rows)))?;
    planned.retain(|(_, decision)| decision.action != Action::Done);
    if args.since.is_some() && is_for_workflow(ctx, args) {
        let recipes = plan::resolved(ctx, config, &target, selected, &planned)?;
        planned = recipes.into_iter().zip(planned).map(|(recipe, (_, decision))| (recipe, decision)).collect();
    }
    let order = |(recipe, decision): &(Recipe, Decision)| Order {
        job: recipe.job.name.clone(),
        arches: decision.arches.clone(),
        slice: recipe.slice_job(),
    };
    let builds = planned.iter().filter(|(_, decision)| decision.action == Action::Build);
    let build = builds.map(|planned| (planned.0.job.clone(), order(planned))).collect();
    // Without a registry there is nothing to merge.
    let merge = if target.registry.is_some() { planned.iter().map(order).collect() } else { Vec::new() };
    Ok(Found { commit: commit(&target), build, merge })
}

/// Whether legs are asked for, and not only a list.
fn is_for_workflow(ctx: &Context, args: &Discover) -> bool {
    args.format == DiscoverFormat::Matrix || ctx.env.get("GITHUB_OUTPUT").is_some()
}

fn commit(target: &Target) -> String {
    target.revision.as_ref().map(|revision| revision.commit.clone()).unwrap_or_default()
}

fn summary(jobs: &[Job], legs: &[Leg]) -> String {
    format!("{}, {}", crate::run::report::count(jobs.len(), "job"), crate::run::report::count(legs.len(), "leg"))
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
