//! What the registry holds of the jobs: asked before anything is decided.

use std::collections::BTreeMap;

use super::decide::RegistryState;
use crate::model::{Arch, Expected, Index, Tag};
use crate::run::Context;
use crate::tools::buildx;

/// Looks at what the registry holds of a job, as far as the decision needs it.
///
/// # Errors
/// The registry cannot be reached.
pub fn look(ctx: &Context, expected: &Expected) -> anyhow::Result<RegistryState> {
    let Some(key) = &expected.key else { return Ok(RegistryState::default()) };
    let index = buildx::inspect(ctx, &expected.reference())?;
    let mut state = RegistryState { index, ..RegistryState::default() };
    if state.index.as_ref().is_some_and(|index| expected.problems_of_published(index).is_empty()) {
        let exists = |&arch: &Arch| buildx::exists(ctx, &expected.arch_reference(arch));
        let exist = expected.arches.iter().map(exists).collect::<anyhow::Result<Vec<bool>>>()?;
        if exist.iter().all(|exists| *exists == exist[0]) {
            return Ok(state);
        }
    }
    state.keyed = buildx::inspect(ctx, &expected.repository.with_tag(&Tag::for_key(key)))?;
    state.parts = parts(ctx, expected)?;
    Ok(state)
}

/// What the registry holds under each architecture's tag.
///
/// # Errors
/// The registry cannot be reached.
pub fn parts(ctx: &Context, expected: &Expected) -> anyhow::Result<BTreeMap<Arch, Option<Index>>> {
    expected.arches.iter().map(|&arch| Ok((arch, buildx::inspect(ctx, &expected.arch_reference(arch))?))).collect()
}

/// The job's images of an earlier run: what the first of the tags that exists points to.
///
/// # Errors
/// The registry cannot be reached.
pub fn previous(ctx: &Context, expected: &Expected, tags: &[Tag]) -> anyhow::Result<Option<Index>> {
    for tag in tags {
        if let Some(found) = buildx::inspect(ctx, &expected.repository.with_tag(tag))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
