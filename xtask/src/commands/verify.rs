//! `verify`: the gate alone, on what is published; changes nothing.

use crate::model::{Exit, Expected, Problem};
use crate::plan::{self, Basis, Job, recipes, select_jobs};
use crate::publish::verify_all;
use crate::run::fleet;
use crate::settings::Run;
use crate::tools::{buildx, buildx_version};

/// How many tags are looked up side by side.
const LOOK_UPS: usize = 8;

pub fn run(run: &Run, names: &[String], parallel: Option<u16>) -> anyhow::Result<()> {
    run.target.published_registry("verify")?;
    let jobs = select_jobs(&run.ctx, &run.config, names)?;
    if jobs.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to verify").exit(Exit::Usage));
    }
    buildx_version(&run.ctx)?;
    let expected = expected(run, jobs)?;
    let verified = verify_all(run, &expected, parallel)?;
    verified.done.iter().for_each(|image| run.ctx.ui.data(image));
    verified.result().map(drop)
}

/// What the published tags have to be. The commit tells it for images that were built for it;
/// only where a tag points to images of an earlier commit are the keys worked out.
fn expected(run: &Run, jobs: Vec<Job>) -> anyhow::Result<Vec<Expected>> {
    run.target.published_revision()?;
    let by_commit: Result<Vec<Expected>, Problem> = jobs.iter().map(|job| plan::expected(run, job)).collect();
    let by_commit = by_commit.map_err(|problem| problem.exit(Exit::Usage))?;
    let right = fleet::all(&run.ctx, LOOK_UPS, &by_commit, |expected| {
        let index = buildx::inspect(&run.ctx, &expected.reference(None))?;
        Ok(index.is_none_or(|index| expected.problems_of_published(None, &index).is_empty()))
    })?;
    if right.iter().all(|right| *right) {
        return Ok(by_commit);
    }
    let recipes = recipes(run, jobs, &Basis::Registry { force: false })?;
    Ok(recipes.into_iter().map(|recipe| recipe.expected).collect())
}
