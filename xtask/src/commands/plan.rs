//! `plan`: per job what is to be done, and why. It is the very plan that `build` and `merge` follow.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::login;
use crate::cli::{Format, PlanArgs};
use crate::plan::{self, Action, Basis, Broken, BrokenJobs, Chain, Factor, Job, Planned, Reason, select_jobs};
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
    let (ctx, aside) = (&run.ctx, broken.aside());
    let why = |planned: &Planned| plan::why(run, &planned.recipe, &basis).map(Some);
    let chains: Vec<Option<Chain>> = match args.why {
        true => planned.iter().map(why).collect::<anyhow::Result<_>>()?,
        false => planned.iter().map(|_| None).collect(),
    };
    print(ctx, args, &planned, &chains, aside);
    let recipes = || planned.iter().map(|planned| &planned.recipe);
    let files = args.jobs.is_empty().then(|| plan::notes_of_files(ctx, &run.config.jobs_dirs, recipes(), aside));
    plan::notes_of_recipes(recipes()).iter().chain(files.iter().flatten()).for_each(|note| ctx.ui.warning(note));
    report(ctx, &planned, aside);
    let hidden = planned.iter().filter(|planned| !is_open(planned)).count();
    if hidden > 0 && hidden < planned.len() + aside.len() && !args.all && !args.why {
        ctx.ui.status("Unchanged", format!("{}: --all lists them", count(hidden, "job")));
    }
    broken.result()?;
    let idle = planned.iter().all(|planned| planned.decision.action == Action::Done);
    Ok(if args.exit_code && !idle { SOMETHING_TO_DO } else { 0 })
}

fn print(ctx: &Context, args: &PlanArgs, planned: &[Planned], chains: &[Option<Chain>], broken: &[Broken]) {
    let text = match args.format {
        Format::Json => {
            let jobs = planned.iter().zip(chains).map(as_json).chain(broken.iter().map(broken_as_json));
            Value::Array(jobs.collect()).to_string()
        }
        Format::Table if args.why => {
            let texts = planned.iter().zip(chains.iter().flatten()).map(|(planned, chain)| told(ctx, planned, chain));
            texts.collect::<Vec<_>>().join("\n\n")
        }
        Format::Table => {
            let rows = rows(planned, broken, |planned| args.all || is_open(planned));
            // Headings alone would say nothing.
            if rows.is_empty() { String::new() } else { table(ctx, &HEADINGS, &rows) }
        }
    };
    if !text.is_empty() {
        ctx.ui.data(text);
    }
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
    match broken.is_empty() && planned.iter().all(|planned| planned.decision.action != Action::Build) {
        true => ctx.ui.status("Nothing", format!("to build: {}", nothing(planned))),
        false => ctx.ui.status("Planned", &totals),
    }
    let rows = rows(planned, broken, is_open);
    let table = if rows.is_empty() { String::new() } else { markdown(&HEADINGS, &rows) };
    summary(ctx, &format!("### Plan\n\n{totals}\n\n{table}"));
}

/// Whether it is more than a new tag for images that were there before.
fn is_open(Planned { decision, .. }: &Planned) -> bool {
    decision.action != Action::Done && !matches!(decision.reason, Reason::Unchanged { .. })
}

/// The rows of those that are listed: what is broken, then what is to be done.
fn rows(planned: &[Planned], broken: &[Broken], is_listed: impl Fn(&Planned) -> bool) -> Vec<Vec<String>> {
    let mut listed: Vec<&Planned> = planned.iter().filter(|planned| is_listed(planned)).collect();
    listed.sort_by_key(|planned| Reverse(planned.decision.action));
    broken.iter().map(broken_row).chain(listed.into_iter().map(row)).collect()
}

/// `24 jobs unchanged since 3f2a9c1`; without the commit where they were built from several.
fn nothing(planned: &[Planned]) -> String {
    let (open, unchanged): (Vec<&Planned>, Vec<&Planned>) = planned.iter().partition(|planned| is_open(planned));
    let reasons: BTreeSet<String> = unchanged.iter().map(|planned| planned.decision.reason.to_string()).collect();
    let reason = reasons.first().filter(|_| reasons.len() == 1).map_or("unchanged", String::as_str);
    let unchanged = format!("{} {reason}", count(unchanged.len(), "job"));
    match (open.len(), planned.len()) {
        (_, 0) => "no jobs".to_owned(),
        (0, _) => unchanged,
        (open, all) if open == all => format!("{} to merge", count(open, "job")),
        (open, _) => format!("{} to merge, {unchanged}", count(open, "job")),
    }
}

/// The headings of [`row`].
const HEADINGS: [&str; 4] = ["JOB", "PLAN", "BUILDS", "REASON"];

fn row(Planned { recipe, decision }: &Planned) -> Vec<String> {
    let arches: Vec<&str> = decision.arches.iter().map(|arch| arch.as_str()).collect();
    let arches = if arches.is_empty() { "-".to_owned() } else { arches.join(" ") };
    vec![recipe.job.name.to_string(), decision.action.to_string(), arches, decision.reason.to_string()]
}

fn as_json((Planned { recipe, decision }, chain): (&Planned, &Option<Chain>)) -> Value {
    let mut json = json!({
        "job": recipe.job.name,
        "action": decision.action,
        "arches": decision.arches,
        "reason": decision.reason.to_string(),
        "key": recipe.expected.key.as_ref().map(ToString::to_string),
        "whole-context": recipe.whole,
    });
    if let Some(chain) = chain {
        json["why"] = json!(chain);
    }
    json
}

/// A decision with all that its key is made from.
fn told(ctx: &Context, Planned { recipe, decision }: &Planned, chain: &Chain) -> String {
    let arches: String = decision.arches.iter().map(|arch| format!(" {arch}")).collect();
    let decided = format!("{}: {}{arches}, {}", recipe.job.name, decision.action, decision.reason);
    let (keys, others): (Vec<&Factor>, Vec<&Factor>) = chain.factors.iter().partition(|factor| factor.kind == "key");
    let key = |Factor { now, before, .. }: &&Factor| {
        let before = before.as_ref().filter(|before| Some(*before) != now.as_ref());
        let now = now.as_deref().unwrap_or("none");
        before.map_or_else(|| format!("\nkey {now}"), |before| format!("\nkey {now}, before {before}"))
    };
    let keys: String = keys.iter().map(key).collect();
    let before = chain.since.as_ref().map_or_else(|| "BEFORE".to_owned(), |since| format!("AT {since}"));
    let rows = others.into_iter().map(cells);
    let table = match chain.factors.iter().any(|factor| factor.change != "unknown") {
        true => table(ctx, &["", "WHAT", "NOW", &before], &rows.collect::<Vec<_>>()),
        false => table(ctx, &["WHAT", "NOW"], &rows.map(|cells| cells[1..3].to_vec()).collect::<Vec<_>>()),
    };
    format!("{decided}{keys}\n\n{table}")
}

/// A file stands for itself, and of long names the beginning is enough to tell them apart.
fn cells(Factor { kind, name, now, before, change }: &Factor) -> Vec<String> {
    let what = if *kind == "input" { name.clone() } else { format!("{kind} {name}") };
    let shown = |value: &Option<String>| match (value.as_deref().unwrap_or("-"), *kind) {
        (blob, "input") if !blob.contains(' ') => blob.chars().take(7).collect(),
        (digest, "base") => digest.trim_start_matches("sha256:").chars().take(12).collect(),
        (value, _) => value.to_owned(),
    };
    let change = if *change == "unknown" { "" } else { change };
    let before = if change.is_empty() || change == "same" { String::new() } else { shown(before) };
    vec![change.to_owned(), what.trim_end().to_owned(), shown(now), before]
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
