//! What registries hold of jobs, asked in rounds: each asks for all jobs at once, and what it brought decides what the
//! next one asks. No question is asked whose answer would change nothing.
//!
//! The requests of a job with two architectures, whose index lists an image and an attestation of each:
//!
//! | state | plan | merge | verify |
//! |---|---|---|---|
//! | never built | tag, key, 2 parts: 4 | the same: 4 | tag, 2 parts: 3 |
//! | built | the same, 2 manifests, 2 configurations: 8 | the same: 8, and 1 to read back | |
//! | unchanged since another commit | tag, key: 2 | the same as built: 8, and 1 | |
//! | published for this commit | tag: 1 | the same: 8 | the same without the key: 7 |
//!
//! To compare layers, merge and verify also ask 5 times for each base: its index, and a manifest and a configuration
//! of each architecture, once for all jobs.
//!
//! A plan believes what an index of ours says of itself, because nothing is published from a plan alone. The gate
//! believes content only: a configuration tells an image's real platform and labels, its manifest tells where that is,
//! and neither can be had with less than a request. Reading each tag once is what makes the set one set.

mod bases;

use super::decide::RegistryState;
use crate::model::{Arch, Expected, Index, Reference, Tag};
use crate::settings::Run;

/// One of the references under which a job has images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The index of this commit.
    Tag,
    /// The index first made with its key.
    Key,
    /// What was built for one architecture.
    Part(Arch),
}

/// The jobs that are looked up, and what has come of it so far.
struct Look<'a> {
    run: &'a Run,
    jobs: Vec<(&'a Expected, anyhow::Result<RegistryState>)>,
}

/// What a plan needs of jobs that have a key.
///
/// # Errors
/// A registry cannot be reached, or refuses.
pub fn for_plan(run: &Run, expected: &[&Expected]) -> anyhow::Result<Vec<RegistryState>> {
    let is_published = |expected: &Expected, state: &RegistryState| {
        state.index.as_ref().is_some_and(|index| expected.accepts_published(index))
    };
    let is_keyed =
        |expected: &Expected, state: &RegistryState| state.keyed.as_ref().is_some_and(|keyed| expected.accepts(keyed));
    let mut look = Look::new(run, expected);
    look.ask(|_, _| vec![Place::Tag])?;
    look.read(|expected, state| if is_published(expected, state) { vec![] } else { vec![Place::Tag] })?;
    look.ask(|expected, state| match is_published(expected, state) || expected.forced {
        true => vec![],
        false => vec![Place::Key],
    })?;
    look.read(|expected, state| if is_keyed(expected, state) { vec![] } else { vec![Place::Key] })?;
    let is_open = |expected: &Expected, state: &RegistryState| {
        if is_published(expected, state) || is_keyed(expected, state) { vec![] } else { parts(expected) }
    };
    look.ask(is_open)?;
    look.read(is_open)?;
    look.jobs.into_iter().map(|(_, state)| state).collect()
}

/// What the gate needs to make tags, or to leave them as they are. For each job there is one result.
///
/// # Errors
/// No registry can be reached, or curl cannot be started.
pub fn for_merge(run: &Run, expected: &[&Expected]) -> anyhow::Result<Vec<anyhow::Result<RegistryState>>> {
    let mut look = Look::new(run, expected);
    look.ask(|expected, _| [vec![Place::Tag, Place::Key], parts(expected)].concat())?;
    look.read(|expected, state| match &state.index {
        Some(_) => [vec![Place::Tag], parts(expected)].concat(),
        None => [vec![Place::Key], parts(expected)].concat(),
    })?;
    look.find_bases(|_| true)?;
    Ok(look.jobs.into_iter().map(|(_, state)| state).collect())
}

/// What the gate needs to check published tags. For each job there is one result.
///
/// # Errors
/// As [`for_merge`].
pub fn for_verify(run: &Run, expected: &[&Expected]) -> anyhow::Result<Vec<anyhow::Result<RegistryState>>> {
    let mut look = Look::new(run, expected);
    look.ask(|expected, _| [vec![Place::Tag], parts(expected)].concat())?;
    look.read(|expected, _| [vec![Place::Tag], parts(expected)].concat())?;
    look.find_bases(|state| state.index.is_some())?;
    Ok(look.jobs.into_iter().map(|(_, state)| state).collect())
}

/// What a copy of published tags may meet where it goes. For each job there is one result.
///
/// # Errors
/// As [`for_merge`].
pub fn for_copy(run: &Run, expected: &[&Expected]) -> anyhow::Result<Vec<anyhow::Result<RegistryState>>> {
    let mut look = Look::new(run, expected);
    look.ask(|_, _| vec![Place::Tag, Place::Key])?;
    look.read(|_, _| vec![Place::Key])?;
    Ok(look.jobs.into_iter().map(|(_, state)| state).collect())
}

fn parts(expected: &Expected) -> Vec<Place> {
    expected.arches.iter().map(|&arch| Place::Part(arch)).collect()
}

impl<'a> Look<'a> {
    fn new(run: &'a Run, expected: &[&'a Expected]) -> Look<'a> {
        Look { run, jobs: expected.iter().map(|expected| (*expected, Ok(RegistryState::default()))).collect() }
    }

    /// One round: what stands at these places of each job.
    fn ask(&mut self, wanted: impl Fn(&Expected, &RegistryState) -> Vec<Place>) -> anyhow::Result<()> {
        let (mut asked, mut references) = (Vec::new(), Vec::new());
        for (i, (expected, state)) in self.jobs.iter().enumerate() {
            let places = state.as_ref().map_or_else(|_| Vec::new(), |state| wanted(expected, state));
            for (place, reference) in places.into_iter().filter_map(|place| Some((place, at(expected, place)?))) {
                asked.push((i, place));
                references.push(reference);
            }
        }
        let found = self.run.client.indexes(&self.run.ctx, &references)?;
        let knows_nothing = |state: &RegistryState| state.index.is_none() && state.parts.is_empty();
        let is_first = self.jobs.iter().all(|(_, state)| state.as_ref().is_ok_and(knows_nothing));
        let all_failed = is_first && !found.is_empty() && found.iter().all(Result::is_err);
        for ((i, place), index) in asked.into_iter().zip(found) {
            match index {
                Ok(index) => {
                    if let Ok(state) = &mut self.jobs[i].1 {
                        put(state, place, index);
                    }
                }
                // Where nothing can be reached, saying so once is enough.
                Err(error) if all_failed => return Err(error),
                Err(error) => self.jobs[i].1 = Err(error),
            }
        }
        Ok(())
    }

    /// Two rounds: the manifests and configurations of the images that stand at these places.
    fn read(&mut self, wanted: impl Fn(&Expected, &RegistryState) -> Vec<Place>) -> anyhow::Result<()> {
        let (mut owners, mut indexes) = (Vec::new(), Vec::new());
        for (i, (expected, state)) in self.jobs.iter_mut().enumerate() {
            let Ok(state) = state else { continue };
            let places = wanted(expected, state);
            for index in held(state, &places) {
                owners.push(i);
                indexes.push((&expected.repository, index));
            }
        }
        let results = self.run.client.read_images(&self.run.ctx, &mut indexes)?;
        for (i, error) in owners.into_iter().zip(results).filter_map(|(i, result)| Some((i, result.err()?))) {
            self.jobs[i].1 = Err(error);
        }
        Ok(())
    }
}

/// The reference of a place, if the job has one there.
fn at(expected: &Expected, place: Place) -> Option<Reference> {
    match place {
        Place::Tag => Some(expected.reference(None)),
        Place::Part(arch) => Some(expected.reference(Some(arch))),
        Place::Key => expected.key.as_ref().map(|key| expected.repository.with_tag(&Tag::for_key(key))),
    }
}

fn put(state: &mut RegistryState, place: Place, index: Option<Index>) {
    match place {
        Place::Tag => state.index = index,
        Place::Key => state.keyed = index,
        Place::Part(arch) => drop(state.parts.insert(arch, index)),
    }
}

/// The indexes that were found at these places.
fn held<'s>(state: &'s mut RegistryState, places: &[Place]) -> Vec<&'s mut Index> {
    let RegistryState { index, keyed, parts, .. } = state;
    let mut held: Vec<&mut Index> = Vec::new();
    held.extend(index.as_mut().filter(|_| places.contains(&Place::Tag)));
    held.extend(keyed.as_mut().filter(|_| places.contains(&Place::Key)));
    let parts = parts.iter_mut().filter(|(arch, _)| places.contains(&Place::Part(**arch)));
    held.extend(parts.filter_map(|(_, part)| part.as_mut()));
    held
}
