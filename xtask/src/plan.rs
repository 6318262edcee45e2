//! From the folders under `jobs/` to what is to be done: jobs, their recipes, what the registry holds of them, the
//! decisions, and the legs of a workflow with their slices. What is asked of git and of registries is asked through
//! `tools/`; what is decided is decided by pure functions. Nothing is built or published here.

mod bases;
mod broken;
mod decide;
mod explain;
mod jobs;
mod leg;
mod look;
mod notes;
mod recipe;
mod repositories;
mod slice;
mod tree;

pub use bases::mirrored;
pub use broken::{Broken, BrokenJobs};
pub use decide::{Action, Decision, Reason, RegistryState};
pub use explain::{Chain, Factor, explain, why};
pub use jobs::{Job, note_of_dockerfiles, select_jobs};
pub use leg::{Leg, LegJob, Told, Work, into_files, matrix};
pub use look::{for_copy, for_merge, for_verify};
pub use notes::{notes_of_files, notes_of_recipes};
pub use recipe::{Basis, Recipe, expected_of_published, recipes};

use crate::model::{Digest, Exit, Expected, Failure, Reference};
use crate::settings::Run;

/// A job with what is to be done for it.
pub struct Planned {
    pub recipe: Recipe,
    pub decision: Decision,
}

/// Works out what is to be done for each of the jobs. What changed is looked for by [`explain`] alone.
///
/// # Errors
/// What makes a Dockerfile unusable, a slice of another commit (2); a forced rebuild under a tag that is published (3);
/// a base, a registry or git that cannot be asked, a repository that no push would make (4).
pub fn make(run: &Run, jobs: Vec<Job>, basis: &Basis, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Planned>> {
    let recipes = recipes(run, jobs, basis, broken)?;
    let decisions = match (basis, &run.target.registry) {
        (Basis::Since(revision), _) => explain::since(run, revision, &recipes)?,
        (_, None) => recipes.iter().map(without_registry).collect(),
        (_, Some(_)) => by_registry(run, &recipes)?,
    };
    let planned = recipes.into_iter().zip(decisions);
    let planned: Vec<Planned> = planned.map(|(recipe, decision)| Planned { recipe, decision }).collect();
    // The legs of a plan need not ask AWS what the plan has asked already.
    if let Basis::Registry { .. } = basis {
        repositories::check(run, &planned)?;
    }
    Ok(planned)
}

fn by_registry(run: &Run, recipes: &[Recipe]) -> anyhow::Result<Vec<Decision>> {
    // What has no key is built, whatever there is.
    let keyed: Vec<&Expected> = recipes.iter().map(|recipe| &recipe.expected).filter(|e| e.key.is_some()).collect();
    let mut states = look::for_plan(run, &keyed)?.into_iter();
    let (mut decisions, mut refused, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for recipe in recipes {
        let state = recipe.expected.key.as_ref().and_then(|_| states.next()).unwrap_or_default();
        match decide::decide(&recipe.expected, &state, recipe.uncommitted.as_deref()) {
            Ok(decision) => decisions.push(decision),
            Err(problem) => refused.push(problem),
        }
        found.push(state.index.map(|index| index.digest));
    }
    Failure::unless_empty(Exit::Refused, refused)?;
    for copy in run.copies()? {
        with_copy(&copy, recipes, &found, &mut decisions)?;
    }
    Ok(decisions)
}

/// What is done here is not done before the copy has it too.
fn with_copy(
    copy: &Run,
    recipes: &[Recipe],
    found: &[Option<Digest>],
    decisions: &mut [Decision],
) -> anyhow::Result<()> {
    let done: Vec<usize> = (0..recipes.len()).filter(|&i| decisions[i].action == Action::Done).collect();
    let reference = |&i: &usize| {
        let (job, tag) = (&recipes[i].expected.job, &recipes[i].expected.tag);
        Ok(copy.target.repository(job).map_err(|problem| problem.exit(Exit::Usage))?.with_tag(tag))
    };
    let references: Vec<Reference> = done.iter().map(reference).collect::<anyhow::Result<_>>()?;
    for (i, index) in done.into_iter().zip(copy.client.indexes(&copy.ctx, &references)?) {
        if index?.map(|index| index.digest) != found[i] {
            let name = copy.target.name.as_ref().map_or_else(String::new, |name| name.value.clone());
            decisions[i] = Decision::new(Action::Reuse, &[], Reason::NotCopied(name));
        }
    }
    Ok(())
}

/// Without a registry nothing is known to exist.
fn without_registry(recipe: &Recipe) -> Decision {
    let reason = match &recipe.uncommitted {
        Some(path) => Reason::NotCommitted(path.clone()),
        None => Reason::Changed("there is no registry to find images in".to_owned()),
    };
    Decision::new(Action::Build, &recipe.job.arches, reason)
}
