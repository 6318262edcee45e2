//! `plan`: per job what is to be done, and why. It is the very plan that `build` and `merge` follow.

use serde_json::{Value, json};

use super::login;
use crate::cli::{Format, PlanArgs};
use crate::plan::{self, Action, Basis, Broken, BrokenJobs, Job, Planned, select_jobs};
use crate::publish::check_signatures;
use crate::run::fleet::Tally;
use crate::run::{Context, count, markdown, summary, table};
use crate::settings::Run;

/// The exit code of `--exit-code` where there is something to do.
const SOMETHING_TO_DO: u8 = 10;

pub fn run(run: &Run, args: &PlanArgs) -> anyhow::Result<u8> {
    check_signatures(run)?;
    let mut broken = BrokenJobs::new(args.keep_going);
    let jobs = select_jobs(&run.ctx, &run.config, &args.jobs, &mut broken)?;
    let basis = match &args.since {
        Some(revision) => Basis::Since(revision.clone()),
        None => Basis::Registry { force: args.force },
    };
    let planned = planned(run, &jobs, &basis, &mut broken)?;
    let aside = broken.aside();
    match args.format {
        Format::Json => {
            let jobs = planned.iter().map(as_json).chain(aside.iter().map(broken_as_json));
            run.ctx.ui.data(Value::Array(jobs.collect()));
        }
        Format::Table => {
            let rows: Vec<_> = planned.iter().map(row).chain(aside.iter().map(broken_row)).collect();
            run.ctx.ui.data(table(&HEADINGS, &rows));
        }
    }
    let recipes = || planned.iter().map(|planned| &planned.recipe);
    let files = if args.jobs.is_empty() { plan::notes_of_files(&run.ctx, recipes()) } else { Vec::new() };
    plan::note_of_inputs(recipes()).iter().chain(&files).for_each(|note| run.ctx.ui.warning(note));
    report(&run.ctx, &planned, aside);
    broken.result()?;
    let idle = planned.iter().all(|planned| planned.decision.action == Action::Done);
    Ok(if args.exit_code && !idle { SOMETHING_TO_DO } else { 0 })
}

/// The plan, with what has changed.
pub fn planned(run: &Run, jobs: &[Job], basis: &Basis, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Planned>> {
    let attempt = || {
        let mut broken = broken.clone();
        let mut planned = plan::make(run, jobs.to_vec(), basis, &mut broken)?;
        plan::explain(run, &mut planned)?;
        Ok(Tally { done: vec![(planned, broken)], failures: Ok(()) })
    };
    let (planned, all) = login::renewed(run, attempt)?.result()?.swap_remove(0);
    *broken = all;
    Ok(planned)
}

/// Says how many jobs have something to be done, and shows these in the summary of a workflow, with the reasons.
pub fn report(ctx: &Context, planned: &[Planned], broken: &[Broken]) {
    let totals = totals(planned, broken.len());
    ctx.ui.status("Planned", &totals);
    let open = planned.iter().filter(|planned| planned.decision.action != Action::Done);
    let rows: Vec<Vec<String>> = broken.iter().map(broken_row).chain(open.map(row)).collect();
    let table = if rows.is_empty() { String::new() } else { markdown(&HEADINGS, &rows) };
    summary(ctx, &format!("### Plan\n\n{totals}\n\n{table}"));
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

/// What the plan calls a job that nothing can be done for.
const BROKEN: &str = "broken";

fn broken_row(broken: &Broken) -> Vec<String> {
    let why = broken.problems.first().map(|problem| format!("{}: {}", problem.at, problem.what));
    vec![broken.name.clone(), BROKEN.to_owned(), "-".to_owned(), why.unwrap_or_default()]
}

fn broken_as_json(broken: &Broken) -> Value {
    let errors: Vec<String> = broken.problems.iter().map(ToString::to_string).collect();
    json!({ "job": broken.name, "action": BROKEN, "arches": [], "reason": errors.join("\n") })
}

/// `25 jobs: 18 done, 1 to reuse, 5 to build, 1 broken`.
fn totals(planned: &[Planned], broken: usize) -> String {
    let and_broken = if broken == 0 { String::new() } else { format!(", {broken} broken") };
    let number = |action| planned.iter().filter(|planned| planned.decision.action == action).count();
    format!(
        "{}: {} done, {} to reuse, {} to build{and_broken}",
        count(planned.len() + broken, "job"),
        number(Action::Done),
        number(Action::Reuse),
        number(Action::Build)
    )
}
