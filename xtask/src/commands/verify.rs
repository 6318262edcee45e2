//! `verify`: the gate alone, on what is published, and the programs in it where that is asked for; changes nothing.

use super::login;
use crate::cli::VerifyArgs;
use crate::model::{Exit, Expected, Problem};
use crate::plan::{self, Basis, BrokenJobs, recipes, select_jobs};
use crate::publish::{check_programs, verify_all};
use crate::settings::Run;

pub fn run(run: &Run, args: &VerifyArgs) -> anyhow::Result<()> {
    run.target.published_registry("verify")?;
    let strict = BrokenJobs::default;
    let jobs = select_jobs(&run.ctx, &run.config, &args.jobs, &mut strict())?;
    if jobs.is_empty() {
        return Err(super::no_jobs("verify"));
    }
    run.target.published_revision()?;
    // The commit tells it of images that were built for it. Only where a tag points to others, the keys are worked out.
    let by_commit: Result<Vec<Expected>, Problem> =
        jobs.iter().map(|job| plan::expected_of_published(run, job)).collect();
    let by_commit = by_commit.map_err(|problem| problem.exit(Exit::Usage))?;
    let verify = || {
        let with_keys = |_: &[_]| {
            let recipes = recipes(run, jobs.clone(), &Basis::Registry { force: false }, &mut strict())?;
            Ok(recipes.into_iter().map(|recipe| recipe.expected).collect())
        };
        let verified = verify_all(run, by_commit.clone(), args.parallel, with_keys)?;
        if args.deep { verified.then(|published| check_programs(run, published)) } else { Ok(verified) }
    };
    super::print(&run.ctx, login::renewed(run, verify)?.shown())
}
