//! Moving tags such as `latest`: they come last, and go forward only.

use std::collections::BTreeMap;

use super::gate::{self, Move};
use super::merge::Merged;
use crate::model::{Commit, Index, Reference, Tag};
use crate::run::fleet::{self, OnFailure, Tally};
use crate::settings::Run;
use crate::tools::{buildx, git};

/// Moves the target's moving tags to the published indexes, where that is forward. A dirty tree is nobody's release.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn move_tags(run: &Run, parallel: usize, merged: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    let tags = &run.target.moving_tags;
    if tags.is_empty() || merged.iter().all(|merged| merged.expected.is_dirty()) {
        return Ok(Tally { done: merged, failures: Ok(()) });
    }
    let mut known = BTreeMap::new();
    let mut found = stand(run, &merged, tags)?.into_iter();
    let moves = merged.into_iter().map(|merged| {
        let existing: Vec<_> = tags.iter().map(|tag| (moving(&merged, tag), found.next())).collect();
        let mut forward = Vec::new();
        for (reference, existing) in existing {
            let existing = existing.transpose()?.flatten();
            if is_forward(run, &mut known, &reference, existing.as_ref(), &merged)? {
                forward.push(reference);
            }
        }
        Ok((merged, forward))
    });
    let write = |(merged, forward): &(Merged, Vec<Reference>)| {
        for reference in forward {
            let (index, target) = (&merged.index, std::slice::from_ref(reference));
            buildx::write(&run.ctx, &reference.to_string(), |sh| {
                buildx::create(sh, target, &index.descriptors, &index.annotations)
            })?;
            run.ctx.ui.status("Moved", reference);
        }
        Ok(merged.clone())
    };
    Tally::of(moves).then(|moves| {
        let name = |(merged, _): &(Merged, Vec<Reference>)| merged.reference.repository.clone();
        Ok(fleet::run(&run.ctx, parallel, OnFailure::GoOn, &moves, name, write))
    })
}

fn moving(merged: &Merged, tag: &Tag) -> Reference {
    merged.reference.repository.with_tag(tag)
}

/// What the moving tags point to, job by job, in one round. Indexes that do not say their revision are read further.
fn stand(run: &Run, merged: &[Merged], tags: &[Tag]) -> anyhow::Result<Vec<anyhow::Result<Option<Index>>>> {
    let references: Vec<Reference> =
        merged.iter().flat_map(|merged| tags.iter().map(move |tag| moving(merged, tag))).collect();
    let mut found = run.client.indexes(&run.ctx, &references)?;
    let places = found.iter_mut().zip(&references).enumerate();
    let silent = places.filter_map(|(i, (index, reference))| match index {
        Ok(Some(index)) if index.revision().is_none() => Some((i, (&reference.repository, index))),
        _ => None,
    });
    let (at, mut unread): (Vec<usize>, Vec<_>) = silent.unzip();
    let read = run.client.read_images(&run.ctx, &mut unread)?;
    for (i, error) in at.into_iter().zip(read).filter_map(|(i, read)| Some((i, read.err()?))) {
        found[i] = Err(error);
    }
    Ok(found)
}

/// Whether a moving tag is to be written. Being overtaken by a newer commit is no failure.
fn is_forward(
    run: &Run,
    known: &mut BTreeMap<(Commit, Commit), bool>,
    reference: &Reference,
    existing: Option<&Index>,
    merged: &Merged,
) -> anyhow::Result<bool> {
    let Some(to) = merged.expected.revision.as_ref().filter(|to| !to.dirty) else { return Ok(false) };
    let Some(existing) = existing else { return Ok(true) };
    if existing.digest == merged.index.digest {
        return Ok(false);
    }
    // All jobs of a run ask the same of git.
    let is_ancestor = |older: &Commit, newer: &Commit| {
        let pair = (older.clone(), newer.clone());
        if let Some(answer) = known.get(&pair) {
            return Ok(*answer);
        }
        let answer = git::is_ancestor(&run.ctx, older, newer)?;
        known.insert(pair, answer);
        Ok(answer)
    };
    match gate::check_forward(reference, existing, to, is_ancestor)? {
        Move::Forward => Ok(true),
        Move::Overtaken(newer) => {
            run.ctx.ui.status("Overtaken", format!("{reference} is at {}, which is newer", newer.short()));
            Ok(false)
        }
    }
}
