//! `merge`: gate, index, moving tags. Nothing is published of a job whose images are not all there and right.

use super::login;
use crate::cli::MergeArgs;
use crate::model::{Exit, Problem};
use crate::plan::{Basis, recipes, select_jobs};
use crate::publish::{Moves, Record, merge_all, merge_commands, move_attested};
use crate::run::fleet::Tally;
use crate::settings::Run;
use crate::tools::buildx_version;

pub fn run(run: &Run, args: &MergeArgs) -> anyhow::Result<()> {
    run.target.published_registry("merge")?;
    run.target.published_revision()?;
    if args.attested.is_some() && !run.target.attest {
        return Err(Problem::new("--attested", "the target asks for no attestations, so `merge` has moved its tags")
            .help("say `attest = true` of the target in Cargo.toml, or leave the flag out")
            .exit(Exit::Usage));
    }
    let record = Record::begin(run, "merge", &args.telling);
    let ended = login::renewed(run, || merge(run, args, &record));
    if args.dry_run { super::print(&run.ctx, ended?) } else { record.finish(ended) }
}

fn merge(run: &Run, args: &MergeArgs, record: &Record) -> anyhow::Result<Tally<String>> {
    buildx_version(&run.ctx)?;
    let told = super::told(&run.ctx, &args.jobs, args.plan.as_deref())?;
    let mut broken = told.broken(args.keep_going);
    let jobs = select_jobs(&run.ctx, &run.config, &told.jobs, &mut broken)?;
    if jobs.is_empty() {
        broken.result()?;
        return Err(super::no_jobs("merge"));
    }
    let basis = Basis::Registry { force: false }.or_slice(&told.plan)?;
    let recipes = recipes(run, jobs, &basis, &mut broken)?;
    let moves = Moves::with(args.move_back);
    if args.dry_run {
        return Ok(merge_commands(run, &recipes)?.and(broken.result()));
    }
    let merged = match &args.attested {
        Some(bundle) => move_attested(run, &recipes, args.parallel, bundle, moves)?,
        None => merge_all(run, &recipes.iter().collect::<Vec<_>>(), args.parallel, moves)?,
    };
    record.published(&merged.done);
    Ok(merged.and(broken.result()).shown())
}
