//! `merge`: gate, index, moving tags. Nothing is published of a job whose images are not all there and right.

use super::login;
use crate::cli::MergeArgs;
use crate::model::{Exit, Failure, Problem};
use crate::plan::{Recipe, recipes, select_jobs};
use crate::publish::{Merge, PARALLEL, labels, merge_all};
use crate::settings::Run;
use crate::tools::process;

pub fn run(run: &Run, args: &MergeArgs) -> anyhow::Result<()> {
    run.target.published_registry("merge")?;
    run.target.published_revision()?;
    login::renewed(&run.ctx, &run.target, || merge(run, args))
}

fn merge(run: &Run, args: &MergeArgs) -> anyhow::Result<()> {
    let jobs = select_jobs(&run.ctx, &run.config, &args.jobs)?;
    if jobs.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to merge").usage());
    }
    let recipes = recipes(run, jobs, &args.basis()?)?;
    if args.dry_run {
        return print(run, &recipes);
    }
    let parallel = args.parallel.map_or(PARALLEL, usize::from);
    let merged = merge_all(run, &recipes.iter().collect::<Vec<_>>(), parallel)?;
    for merged in &merged.done {
        run.ctx.ui.data(format!("{}@{}", merged.reference, merged.index.digest));
    }
    merged.result().map(drop)
}

/// What `--dry-run` prints: the commands for the jobs that the gate would let pass.
fn print(run: &Run, recipes: &[Recipe]) -> anyhow::Result<()> {
    let sh = run.ctx.shell()?;
    let labels = labels(run)?;
    let mut problems = Vec::new();
    for recipe in recipes {
        let merge = Merge::new(run, recipe, &labels);
        match merge.pass() {
            Ok(passed) => {
                if let Some(command) = merge.command(&sh, &passed) {
                    run.ctx.ui.data(process::shown(&run.ctx, command));
                }
            }
            Err(error) => problems.append(&mut error.downcast::<Failure>()?.problems),
        }
    }
    Failure::unless_empty(Exit::Refused, problems)
}
