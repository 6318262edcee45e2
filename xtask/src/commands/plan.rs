//! `plan`: per job what is to be done, and why. It is the very plan that `build` and `merge` follow.

use serde_json::{Value, json};

use crate::cli::{Format, Plan, PlanOptions};
use crate::plan::bases::Digests;
use crate::plan::decide::{Action, Decision};
use crate::plan::jobs::{self, Selected};
use crate::plan::recipe::{Recipe, Sources};
use crate::plan::since;
use crate::plan::survey::{self, survey};
use crate::plan::tree::Tree;
use crate::run::context::Context;
use crate::run::report::{count, table};
use crate::settings::config::Config;
use crate::settings::target::Target;

/// The exit code of `--exit-code` where there is something to do.
const SOMETHING_TO_DO: u8 = 10;

pub fn run(ctx: &Context, config: &Config, args: &Plan) -> anyhow::Result<u8> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    let selected = jobs::select(ctx, &args.selection)?;
    let options = PlanOptions { force: args.force, plan: None };
    let planned = make(ctx, config, &target, &selected, &options, args.since.as_deref())?;
    match args.format {
        Format::Json => ctx.ui.data(serde_json::to_string(&planned.iter().map(as_json).collect::<Vec<_>>())?),
        Format::Table => {
            let rows: Vec<Vec<String>> = planned.iter().map(row).collect();
            ctx.ui.data(table(&HEADINGS, &rows));
        }
    }
    for (recipe, _) in &planned {
        if let Some(because) = &recipe.whole {
            ctx.ui.warning(format!("{}: all of the build context is its input: {because}", recipe.job.name));
        }
    }
    ctx.ui.status("Planned", summary(&planned));
    let idle = planned.iter().all(|(_, decision)| decision.action == Action::Done);
    Ok(if args.exit_code && !idle { SOMETHING_TO_DO } else { 0 })
}

/// The plan of the jobs: by the registry, or by git alone since a revision.
pub fn make(
    ctx: &Context,
    config: &Config,
    target: &Target,
    selected: &Selected,
    options: &PlanOptions,
    since: Option<&str>,
) -> anyhow::Result<Vec<(Recipe, Decision)>> {
    let Some(revision) = since else {
        let jobs = survey(ctx, config, target, selected, options)?.jobs;
        return Ok(jobs.into_iter().map(|planned| (planned.recipe, planned.decision)).collect());
    };
    // What changed is told without the bases, so none need be reached.
    let sources = Sources::read(ctx, config, &target.mirrors, &selected.all, &selected.chosen)?;
    let recipes = sources.recipes(ctx, config, &Tree::read(ctx)?, &Digests::default())?;
    let decisions = since::plan(ctx, revision, &recipes)?;
    Ok(recipes.into_iter().zip(decisions).collect())
}

/// The recipes of some jobs with their bases resolved, for the slices of legs.
pub fn resolved(
    ctx: &Context,
    config: &Config,
    target: &Target,
    selected: &Selected,
    of: &[(Recipe, Decision)],
) -> anyhow::Result<Vec<Recipe>> {
    let chosen = of.iter().map(|(recipe, _)| recipe.job.clone()).collect();
    let selected = Selected { all: selected.all.clone(), chosen };
    Ok(survey::recipes(ctx, config, target, &selected, &PlanOptions::default())?.1)
}

/// The headings of [`row`].
pub const HEADINGS: [&str; 4] = ["JOB", "PLAN", "BUILDS", "REASON"];

pub fn row((recipe, decision): &(Recipe, Decision)) -> Vec<String> {
    let arches: Vec<&str> = decision.arches.iter().map(|arch| arch.as_str()).collect();
    let arches = if arches.is_empty() { "-".to_owned() } else { arches.join(" ") };
    vec![recipe.job.name.to_string(), decision.action.to_string(), arches, decision.reason.to_string()]
}

fn as_json((recipe, decision): &(Recipe, Decision)) -> Value {
    json!({
        "job": recipe.job.name.to_string(),
        "action": decision.action,
        "arches": decision.arches,
        "reason": decision.reason.to_string(),
        "key": recipe.key.as_ref().map(ToString::to_string),
        "whole-context": recipe.whole,
    })
}

/// `24 jobs: 18 done, 1 to reuse, 5 to build`.
pub fn summary(planned: &[(Recipe, Decision)]) -> String {
    let number = |action| planned.iter().filter(|(_, decision)| decision.action == action).count();
    format!(
        "{}: {} done, {} to reuse, {} to build",
        count(planned.len(), "job"),
        number(Action::Done),
        number(Action::Reuse),
        number(Action::Build)
    )
}
