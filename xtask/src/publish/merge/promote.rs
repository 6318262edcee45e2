//! Promotion: what is published at one place is published at another, by digest, and nothing is built.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Merge, Merged, Signatures, commands, copies_of, expected_there, publish, report};
use crate::model::{Expected, Index};
use crate::plan::RegistryState;
use crate::publish::gate::Passed;
use crate::publish::moving::Moves;
use crate::run::fleet::Tally;
use crate::run::{count, human_time};
use crate::settings::Run;

/// Copies what is published, and was checked there, to where this run publishes. One that is refused does not stop the
/// others.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn promote_all(
    to: &Run,
    published: &[Merged],
    parallel: Option<u16>,
    moves: Moves,
) -> anyhow::Result<Tally<Merged>> {
    let (start, expected) = (Instant::now(), expected_there(to, published)?);
    // An attestation is of a digest, wherever that stands: the workflow that published it had it attested.
    let signatures = Signatures::of(to, None)?;
    let attested = |merge: &Merge| match &merge.passed {
        Passed::Copy { source, .. } => signatures.check_attested(to, source),
        _ => signatures.check_attested(to, &merge.expected.reference(None)),
    };
    let tally = publish(to, published.len(), parallel, moves, || {
        let copies = copies_of(to, &expected, published)?;
        copies.then(|copies| Ok(Tally::of(copies.into_iter().map(|copy| attested(&copy).map(|()| copy)))))
    })?;
    let (done, total, tag) = (tally.done.len(), count(published.len(), "job"), &to.target.tag.value);
    let line = format!("{done} of {total} promoted as {tag} in {}", human_time(start.elapsed()));
    report(to, "Promote", &line, &tally.done);
    Ok(tally)
}

/// The commands that [`promote_all`] would run first, quoted for a shell: one for each job whose tag is to be made.
///
/// # Errors
/// As [`promote_all`].
pub fn promote_commands(to: &Run, published: &[Merged]) -> anyhow::Result<Tally<String>> {
    let expected = expected_there(to, published)?;
    copies_of(to, &expected, published)?.then(|merges| commands(to, &merges))
}

/// What published tags have to be, where each says itself which commit it is of.
pub fn as_published(expected: &[Expected], states: &[anyhow::Result<RegistryState>]) -> Vec<Expected> {
    let as_published = |(expected, state): (&Expected, &anyhow::Result<RegistryState>)| {
        let index = state.as_ref().ok().and_then(|state| state.index.as_ref());
        let revision = index.and_then(Index::revision).or_else(|| expected.revision.clone());
        // The Dockerfile here is not the one that images of another commit were built by.
        let begins_with = if revision == expected.revision { expected.begins_with.clone() } else { BTreeMap::new() };
        Expected { revision, begins_with, ..expected.clone() }
    };
    expected.iter().zip(states).map(as_published).collect()
}
