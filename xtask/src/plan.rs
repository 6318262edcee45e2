//! From the folders under `jobs/` to what is to be done: jobs, their recipes, what the registry holds of them, the
//! decisions, and the legs of a workflow with their slices. What is asked of git and of registries is asked through
//! `tools/`; what is decided is decided by pure functions. Nothing is built or published here.

mod bases;
mod decide;
mod explain;
mod jobs;
mod leg;
mod recipe;
mod slice;
mod tree;

pub use bases::mirrored;
pub use decide::{Action, Decision, RegistryState};
pub use jobs::{Job, select_jobs};
pub use leg::{LegJob, Work};
pub use recipe::{Basis, Recipe, expected, recipes};

use crate::model::{Arch, Exit, Expected, Failure, Tag};
use crate::run::{Context, fleet};
use crate::settings::Run;
use crate::tools::buildx;
use decide::Reason;

/// How many jobs are looked up in the registry side by side.
const PARALLEL: usize = 8;

/// A job with what is to be done for it.
pub struct Planned {
    pub recipe: Recipe,
    pub decision: Decision,
}

/// Works out what is to be done for each of the jobs, and why.
///
/// # Errors
/// What makes a Dockerfile unusable, a slice of another commit (2); a forced rebuild under a tag that is published (3);
/// a base, a registry or git that cannot be asked (4).
pub fn make(run: &Run, jobs: Vec<Job>, basis: &Basis) -> anyhow::Result<Vec<Planned>> {
    let recipes = recipes(run, jobs, basis)?;
    let decisions = match (basis, &run.target.registry) {
        (Basis::Since(revision), _) => explain::since(run, revision, &recipes)?,
        (_, None) => recipes.iter().map(without_registry).collect(),
        (_, Some(_)) => by_registry(run, &recipes)?,
    };
    let planned = recipes.into_iter().zip(decisions);
    let mut planned: Vec<Planned> = planned.map(|(recipe, decision)| Planned { recipe, decision }).collect();
    explain::explain(run, &mut planned)?;
    Ok(planned)
}

fn by_registry(run: &Run, recipes: &[Recipe]) -> anyhow::Result<Vec<Decision>> {
    let states = fleet::all(&run.ctx, PARALLEL, recipes, |recipe| match recipe.expected.key {
        Some(_) => look(&run.ctx, &recipe.expected),
        None => Ok(RegistryState::default()),
    })?;
    let (mut decisions, mut refused) = (Vec::new(), Vec::new());
    for (recipe, state) in recipes.iter().zip(&states) {
        match decide::decide(&recipe.expected, state, recipe.uncommitted.as_deref()) {
            Ok(decision) => decisions.push(decision),
            Err(problem) => refused.push(problem),
        }
    }
    Failure::unless_empty(Exit::Refused, refused)?;
    Ok(decisions)
}

/// Without a registry nothing is known to exist.
fn without_registry(recipe: &Recipe) -> Decision {
    let reason = match &recipe.uncommitted {
        Some(path) => Reason::NotCommitted(path.clone()),
        None => Reason::Changed("there is no registry to find images in".to_owned()),
    };
    Decision::new(Action::Build, &recipe.job.arches, reason)
}

/// Looks at what the registry holds of a job, as far as plan and gate need it.
///
/// # Errors
/// The registry cannot be reached.
pub fn look(ctx: &Context, expected: &Expected) -> anyhow::Result<RegistryState> {
    let index = buildx::inspect(ctx, &expected.reference(None))?;
    let is_published = index.as_ref().is_some_and(|index| expected.problems_of_published(None, index).is_empty());
    let part = |&arch: &Arch| Ok((arch, buildx::inspect(ctx, &expected.reference(Some(arch)))?));
    let parts = expected.arches.iter().map(part).collect::<anyhow::Result<_>>()?;
    let mut state = RegistryState { index, keyed: None, parts };
    let may_reuse = state.has_no_parts() && !is_published && !expected.forced;
    if let Some(key) = expected.key.as_ref().filter(|_| may_reuse) {
        state.keyed = buildx::inspect(ctx, &expected.repository.with_tag(&Tag::for_key(key)))?;
    }
    Ok(state)
}
