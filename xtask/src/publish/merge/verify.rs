//! The gate alone, on what is published: changes nothing.

use camino::Utf8Path;

use super::{Merged, PARALLEL, Signatures, expected_there, left, refused};
use crate::model::{Exit, Expected, Problem, Reference};
use crate::plan::{RegistryState, for_verify};
use crate::publish::gate;
use crate::publish::moving::check_moving_tags;
use crate::run::count;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::settings::Run;

/// Checks the published tags of the jobs, and that moving tags are there or further; gives each with its index. What a
/// published tag has to be is told by the commit where it says so itself; `otherwise` says it by what was found where
/// that is not enough.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn verify_all(
    run: &Run,
    expected: Vec<Expected>,
    parallel: Option<u16>,
    otherwise: impl FnOnce(&[anyhow::Result<RegistryState>]) -> anyhow::Result<Vec<Expected>>,
) -> anyhow::Result<Tally<Merged>> {
    let total = expected.len();
    let mut tally = verify_signed(run, expected, parallel, &Signatures::of(run, None)?, otherwise)?;
    tally = tally.then(|verified| check_moving_tags(run, verified))?;
    for copy in run.copies()? {
        tally = tally.then(|verified| {
            let expected = expected_there(&copy, &verified)?;
            let there = verified.iter().zip(&expected).map(|(merged, there)| Merged::new(there, &merged.index, None));
            let checked = check_moving_tags(&copy, there.collect())?;
            Ok(left(verified.into_iter().map(|merged| vec![merged]).collect(), checked, |mut at, _| at.swap_remove(0)))
        })?;
    }
    Ok(finished(run, total, tally))
}

/// As [`verify_all`], whatever moving tags point to; attestations may be those of a file.
///
/// # Errors
/// As there.
pub fn verify_published(
    run: &Run,
    expected: Vec<Expected>,
    parallel: Option<u16>,
    bundle: Option<&Utf8Path>,
    otherwise: impl FnOnce(&[anyhow::Result<RegistryState>]) -> anyhow::Result<Vec<Expected>>,
) -> anyhow::Result<Tally<Merged>> {
    let total = expected.len();
    verify_signed(run, expected, parallel, &Signatures::of(run, bundle)?, otherwise)
        .map(|tally| finished(run, total, tally))
}

fn finished(run: &Run, total: usize, tally: Tally<Merged>) -> Tally<Merged> {
    let line = format!("{} of {} right", tally.done.len(), count(total, "published tag"));
    run.ctx.ui.status("Finished", line);
    tally
}

fn verify_signed(
    run: &Run,
    expected: Vec<Expected>,
    parallel: Option<u16>,
    signatures: &Signatures,
    otherwise: impl FnOnce(&[anyhow::Result<RegistryState>]) -> anyhow::Result<Vec<Expected>>,
) -> anyhow::Result<Tally<Merged>> {
    let (ctx, parallel) = (&run.ctx, parallel.map_or(PARALLEL, usize::from));
    let states = for_verify(run, &expected.iter().collect::<Vec<_>>())?;
    let is_right = |(expected, state): (&Expected, &anyhow::Result<RegistryState>)| match state {
        Ok(RegistryState { index: Some(index), .. }) => expected.problems_of_published(None, index).is_empty(),
        _ => true,
    };
    let expected = if expected.iter().zip(&states).all(is_right) { expected } else { otherwise(&states)? };
    let verified = states.into_iter().zip(&expected).map(|(state, expected)| verified(expected, &state?));
    let mut tally = Tally::of(verified).then(|verified| {
        let job = |(expected, _): &(&Expected, Merged)| expected.job.clone();
        Ok(fleet::run(ctx, parallel, OnFailure::GoOn, &verified, job, |(expected, merged)| {
            signatures.check(run, expected, &merged.index)?;
            ctx.ui.status("Verified", &merged.reference);
            Ok(merged.clone())
        }))
    })?;
    for copy in run.copies()? {
        let signatures = Signatures::of(&copy, signatures.bundle.as_deref())?;
        tally = tally.then(|verified| check_copies(&copy, &signatures, verified))?;
    }
    Ok(tally)
}

fn verified<'e>(expected: &'e Expected, state: &RegistryState) -> anyhow::Result<(&'e Expected, Merged)> {
    let Some(index) = &state.index else { return Err(not_published(expected)) };
    let problems = gate::check_published(expected, index, state);
    if problems.is_empty() { Ok((expected, Merged::new(expected, index, None))) } else { Err(refused(problems)) }
}

fn not_published(expected: &Expected) -> anyhow::Error {
    let problem = Problem::new(expected.reference(None).to_string(), "is not published");
    problem.help(format!("cargo xtask merge {}", expected.job)).exit(Exit::Refused)
}

/// Checks that copies are the same as what is published, and are vouched for as well.
fn check_copies(copy: &Run, signatures: &Signatures, published: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    let expected = expected_there(copy, &published)?;
    let references: Vec<Reference> = expected.iter().map(|expected| expected.reference(None)).collect();
    let found = copy.client.indexes(&copy.ctx, &references)?;
    Ok(Tally::of(published.into_iter().zip(&expected).zip(found).map(|((merged, expected), found)| {
        let Some(found) = found? else { return Err(not_published(expected)) };
        let source = merged.reference.clone();
        gate::pass_copy(expected, Some(&found), source, &merged.index).map_err(refused)?;
        signatures.check(copy, expected, &merged.index).map(|()| merged)
    })))
}
