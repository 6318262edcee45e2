//! `plan`: per job what is to be done, and why. It is the very plan that `build` and `merge` follow.

use serde_json::{Value, json};

use super::login;
use crate::cli::{Format, PlanArgs};
use crate::plan::{self, Action, Basis, Job, Planned, select_jobs};
use crate::publish::check_signatures;
use crate::run::fleet::Tally;
use crate::run::{Context, count, markdown, summary, table};
use crate::settings::Run;

/// The exit code of `--exit-code` where there is something to do.
const SOMETHING_TO_DO: u8 = 10;

pub fn run(run: &Run, args: &PlanArgs) -> anyhow::Result<u8> {
    check_signatures(run)?;
    let jobs = select_jobs(&run.ctx, &run.config, &args.jobs)?;
    let basis = match &args.since {
        Some(revision) => Basis::Since(revision.clone()),
        None => Basis::Registry { force: args.force },
    };
    let planned = planned(run, &jobs, &basis)?;
    match args.format {
        Format::Json => run.ctx.ui.data(Value::Array(planned.iter().map(as_json).collect())),
        Format::Table => run.ctx.ui.data(table(&HEADINGS, &planned.iter().map(row).collect::<Vec<_>>())),
    }
    for Planned { recipe, .. } in &planned {
        if let Some(because) = &recipe.whole {
            run.ctx.ui.warning(format!("{}: all of the build context is its input: {because}", recipe.job.name));
        }
    }
    report(&run.ctx, &planned);
    let idle = planned.iter().all(|planned| planned.decision.action == Action::Done);
    Ok(if args.exit_code && !idle { SOMETHING_TO_DO } else { 0 })
}

/// The plan, with what has changed.
pub fn planned(run: &Run, jobs: &[Job], basis: &Basis) -> anyhow::Result<Vec<Planned>> {
    let attempt = || {
        let mut planned = plan::make(run, jobs.to_vec(), basis)?;
        plan::explain(run, &mut planned)?;
        Ok(Tally { done: planned, failures: Ok(()) })
    };
    login::renewed(run, attempt)?.result()
}

/// Says how many jobs have something to be done, and shows these in the summary of a workflow, with the reasons.
pub fn report(ctx: &Context, planned: &[Planned]) {
    ctx.ui.status("Planned", totals(planned));
    let open = planned.iter().filter(|planned| planned.decision.action != Action::Done);
    let rows: Vec<Vec<String>> = open.map(row).collect();
    let table = if rows.is_empty() { String::new() } else { markdown(&HEADINGS, &rows) };
    summary(ctx, &format!("### Plan\n\n{}\n\n{table}", totals(planned)));
}

/// The headings of [`row`].
const HEADINGS: [&str; 4] = ["JOB", "PLAN", "BUILDS", "REASON"];

fn row(Planned { recipe, decision }: &Planned) -> Vec<String> {
    let arches: Vec<&str> = decision.arches.iter().map(|arch| arch.as_str()).collect();
    let arches = if arches.is_empty() { "-".to_owned() } else { arches.join(" ") };
    vec![recipe.job.name.to_string(), decision.action.to_string(), arches, decision.reason.to_string()]
}

fn as_json(Planned { recipe, decision }: &Planned) -> Value {
    json!({
        "job": recipe.job.name,
        "action": decision.action,
        "arches": decision.arches,
        "reason": decision.reason.to_string(),
        "key": recipe.expected.key.as_ref().map(ToString::to_string),
        "whole-context": recipe.whole,
    })
}

/// `24 jobs: 18 done, 1 to reuse, 5 to build`.
fn totals(planned: &[Planned]) -> String {
    let number = |action| planned.iter().filter(|planned| planned.decision.action == action).count();
    format!(
        "{}: {} done, {} to reuse, {} to build",
        count(planned.len(), "job"),
        number(Action::Done),
        number(Action::Reuse),
        number(Action::Build)
    )
}
