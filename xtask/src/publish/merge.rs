//! Merging: what passes the gate becomes an index under the job's tag, and under `key-…`; then come a signature, and
//! moving tags last.

mod promote;
mod signatures;
mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use camino::Utf8Path;
use xshell::{Cmd, Shell};

use super::gate::{self, Passed};
use super::handover::hand_over;
use super::moving::{Moves, move_tags};
use crate::model::{Arch, Digest, Exit, Expected, Failure, Index, JobName, Problem, Reference, Tag};
use crate::plan::{Recipe, for_copy, for_merge};
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{Tries, count, human_time, markdown, summary};
use crate::settings::{Run, Target};
use crate::tools::{buildx, process};

pub use promote::{as_published, promote_all, promote_commands};
pub use signatures::Signatures;
pub use signatures::check_signatures;
use signatures::have_attested;
pub use verify::{verify_all, verify_published};

/// How many jobs are merged side by side: a merge waits for the registry most of the time.
const PARALLEL: usize = 32;

/// A job whose tag is published.
#[derive(Clone)]
pub struct Merged {
    /// What was expected of it.
    pub expected: Expected,
    pub reference: Reference,
    pub index: Index,
    /// What `key-…` points to, as far as that was looked up.
    pub keyed: Option<Digest>,
}

impl Merged {
    fn new(expected: &Expected, index: &Index, keyed: Option<&Index>) -> Merged {
        let keyed = keyed.filter(|keyed| keyed.key() == index.key()).map(|keyed| keyed.digest.clone());
        Merged { expected: expected.clone(), reference: expected.reference(None), index: index.clone(), keyed }
    }
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference, self.index.digest)
    }
}

/// Merges the jobs; those that the gate refuses do not stop the others. Moving tags may be let move back too.
/// Each step is taken for all jobs before the next, so that the registry is asked in rounds.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn merge_all(run: &Run, recipes: &[&Recipe], parallel: Option<u16>, moves: Moves) -> anyhow::Result<Tally<Merged>> {
    let start = Instant::now();
    let expected: Vec<&Expected> = recipes.iter().map(|recipe| &recipe.expected).collect();
    let moves = if run.target.attest { Moves::Later } else { moves };
    let tally = publish(run, expected.len(), parallel, moves, || passed(run, &expected))?;
    let (done, tag) = (tally.done.len(), &run.target.tag.value);
    let line =
        format!("{done} of {} published as {tag} in {}", count(recipes.len(), "job"), human_time(start.elapsed()));
    report(run, "Merge", &line, &tally.done);
    Ok(tally)
}

/// Makes the tags of what has passed, of so many jobs, and copies them to where the target has copies: everywhere
/// `<tag>` and `key-…` and then signatures, before a moving tag moves anywhere.
fn publish<'a>(
    run: &Run,
    jobs: usize,
    parallel: Option<u16>,
    moves: Moves,
    passed: impl FnOnce() -> anyhow::Result<Tally<Merge<'a>>>,
) -> anyhow::Result<Tally<Merged>> {
    let (copies, parallel) = (run.copies()?, parallel.map_or(PARALLEL, usize::from));
    let places = std::iter::once(run).chain(&copies).map(|place| Ok((place, Signatures::to_make(place, jobs)?)));
    let places = places.collect::<anyhow::Result<Vec<_>>>()?;
    let Tally { done, failures } = write(run, parallel, &places[0].1, passed()?)?;
    // Of each job, what is published at each of the places.
    let mut tally = Tally { done: done.into_iter().map(|merged| vec![merged]).collect(), failures };
    for (copy, signatures) in &places[1..] {
        tally = tally.then(|jobs: Vec<Vec<Merged>>| {
            let published: Vec<Merged> = jobs.iter().map(|places| places[0].clone()).collect();
            let expected = expected_there(copy, &published)?;
            let copied = write(copy, parallel, signatures, copies_of(copy, &expected, &published)?)?;
            Ok(left(jobs, copied, |places, copied| [places, vec![copied]].concat()))
        })?;
    }
    match moves {
        Moves::Later => have_attested(run, tally.done.iter().map(|places| &places[0]))?,
        _ => tally = move_everywhere(places.iter().map(|(place, _)| *place), moves, tally)?,
    }
    hand_over(run, &tally.done)?;
    Ok(at_the_target(tally))
}

/// Of what is published at several places, what is published at the run's own.
fn at_the_target(Tally { done, failures }: Tally<Vec<Merged>>) -> Tally<Merged> {
    Tally { done: done.into_iter().map(|mut places| places.swap_remove(0)).collect(), failures }
}

/// Moves the moving tags of each place to what is published there.
fn move_everywhere<'a>(
    places: impl Iterator<Item = &'a Run>,
    moves: Moves,
    mut tally: Tally<Vec<Merged>>,
) -> anyhow::Result<Tally<Vec<Merged>>> {
    for (i, place) in places.enumerate() {
        tally = tally.then(|jobs| {
            let moved = move_tags(place, moves, jobs.iter().map(|places| places[i].clone()).collect())?;
            Ok(left(jobs, moved, |places, _| places))
        })?;
    }
    Ok(tally)
}

/// Moves moving tags, at the target and at its copies, to what is published, signed, and attested by this file;
/// publishes nothing else.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn move_attested(
    run: &Run,
    recipes: &[Recipe],
    parallel: Option<u16>,
    bundle: &Utf8Path,
    moves: Moves,
) -> anyhow::Result<Tally<Merged>> {
    let copies = run.copies()?;
    let expected = || recipes.iter().map(|recipe| recipe.expected.clone()).collect();
    let Tally { done, failures } = verify_published(run, expected(), parallel, Some(bundle), |_| Ok(expected()))?;
    let mut places: Vec<Vec<Merged>> = done.iter().map(|merged| vec![merged.clone()]).collect();
    for copy in &copies {
        for ((places, expected), merged) in places.iter_mut().zip(expected_there(copy, &done)?).zip(&done) {
            places.push(Merged::new(&expected, &merged.index, None));
        }
    }
    let tally = Tally { done: places, failures };
    move_everywhere(std::iter::once(run).chain(&copies), moves, tally).map(at_the_target)
}

/// Makes tags at one place, reads them back, and signs what they point to.
fn write(run: &Run, parallel: usize, signatures: &Signatures, passed: Tally<Merge>) -> anyhow::Result<Tally<Merged>> {
    passed
        .then(|merges| Ok(each(run, parallel, &merges, Merge::create)))?
        .then(|merges| read_back(run, merges))?
        .then(|merges| Ok(each(run, parallel, &merges, |merge, run| merge.mend(run).map(|()| merge.clone()))))?
        .then(|merges| Ok(each(run, parallel, &merges, |merge, run| merge.sign(run, signatures))))
}

/// The jobs that did not fail at one more place, with what came of them there.
fn left<T>(jobs: Vec<Vec<Merged>>, there: Tally<Merged>, with: impl Fn(Vec<Merged>, Merged) -> T) -> Tally<T> {
    let mut done: BTreeMap<JobName, Merged> =
        there.done.into_iter().map(|merged| (merged.expected.job.clone(), merged)).collect();
    let left = jobs.into_iter().filter_map(|places| {
        let there = done.remove(&places[0].expected.job)?;
        Some(with(places, there))
    });
    Tally { done: left.collect(), failures: there.failures }
}

/// What the copies of published tags have to be.
fn expected_there(to: &Run, published: &[Merged]) -> anyhow::Result<Vec<Expected>> {
    let there = |Merged { expected, index, .. }: &Merged| {
        Ok(Expected {
            repository: to.target.repository(&expected.job).map_err(|problem| problem.exit(Exit::Usage))?,
            key: index.key().and_then(|key| key.parse().ok()),
            attested: to.target.attested,
            ..expected.clone()
        })
    };
    published.iter().map(there).collect()
}

/// Looks up what there is where copies go, and asks the gate.
fn copies_of<'e>(to: &Run, expected: &'e [Expected], published: &[Merged]) -> anyhow::Result<Tally<Merge<'e>>> {
    let states = for_copy(to, &expected.iter().collect::<Vec<_>>())?;
    let copies = expected.iter().zip(published).zip(states);
    Ok(Tally::of(copies.map(|((expected, Merged { reference, index, .. }), state)| {
        let state = state?;
        let source = reference.repository.with_digest(&index.digest);
        let passed = gate::pass_copy(expected, state.index.as_ref(), source, index).map_err(refused)?;
        Ok(Merge { expected, keyed: state.keyed, parts: BTreeMap::new(), passed })
    })))
}

/// Says what is published, also in the summary of a step.
fn report(run: &Run, heading: &str, line: &str, merged: &[Merged]) {
    run.ctx.ui.status("Finished", line);
    let rows: Vec<Vec<String>> =
        merged.iter().map(|merged| vec![merged.reference.to_string(), merged.index.digest.to_string()]).collect();
    summary(&run.ctx, &format!("### {heading}\n\n{line}\n\n{}", markdown(&["tag", "digest"], &rows)));
}

/// The commands that [`merge_all`] would run first, quoted for a shell: one for each job whose tag is to be made.
///
/// # Errors
/// The registry cannot be reached. What the gate refuses is part of the tally, with exit code 3.
pub fn merge_commands(run: &Run, recipes: &[Recipe]) -> anyhow::Result<Tally<String>> {
    let expected: Vec<&Expected> = recipes.iter().map(|recipe| &recipe.expected).collect();
    passed(run, &expected)?.then(|merges| commands(run, &merges))
}

/// The commands that make the tags that are to be made.
fn commands(run: &Run, merges: &[Merge]) -> anyhow::Result<Tally<String>> {
    let to_make = merges.iter().filter(|merge| !merge.targets().is_empty());
    Ok(Tally::of(to_make.map(|merge| process::shown(&run.ctx, |sh| merge.command(run, sh)))))
}

/// A job on its way to its tag.
#[derive(Clone)]
struct Merge<'a> {
    expected: &'a Expected,
    /// Under `key-…`: before this run, and once it is read back, after it.
    keyed: Option<Index>,
    /// Under the architectures' own tags, before this run.
    parts: BTreeMap<Arch, Option<Index>>,
    passed: Passed,
}

/// Looks up what the registry holds of the jobs, and asks the gate.
fn passed<'a>(run: &Run, expected: &[&'a Expected]) -> anyhow::Result<Tally<Merge<'a>>> {
    let states = for_merge(run, expected)?.into_iter().zip(expected);
    Ok(Tally::of(states.map(|(state, expected)| {
        let state = state?;
        let passed = gate::pass(expected, &state).map_err(refused)?;
        Ok(Merge { expected, keyed: state.keyed, parts: state.parts, passed })
    })))
}

/// Does something for each job, several side by side.
fn each<'a, R: Send>(
    run: &Run,
    parallel: usize,
    merges: &[Merge<'a>],
    work: impl Fn(&Merge<'a>, &Run) -> anyhow::Result<R> + Sync,
) -> Tally<R> {
    fleet::run(&run.ctx, parallel, OnFailure::GoOn, merges, |merge| &merge.expected.job, |merge| work(merge, run))
}

impl<'a> Merge<'a> {
    /// The tags that are to be written: none where all is as it should be.
    /// `key-…` lets later runs find the images again.
    fn targets(&self) -> Vec<Reference> {
        let Merge { expected, keyed, passed, .. } = self;
        let (tag, is_right) = match passed {
            // What this commit published before a base moved has another key.
            Passed::Unchanged(index) => (None, expected.problems(None, index).is_empty()),
            _ => (Some(expected.reference(None)), true),
        };
        let is_new = matches!(passed, Passed::Create { .. } | Passed::Copy { .. });
        let is_for_key = is_right && gate::is_for_key(expected, keyed.as_ref(), passed.images(), is_new);
        let key = expected.key.as_ref().filter(|_| is_for_key);
        tag.into_iter().chain(key.map(|key| expected.repository.with_tag(&Tag::for_key(key)))).collect()
    }

    /// The command that makes the job's tags: what `--dry-run` prints and what runs.
    fn command<'s>(&self, run: &Run, sh: &'s Shell) -> Cmd<'s> {
        let annotations = match &self.passed {
            Passed::Copy { source, .. } => return buildx::copy(sh, &self.targets(), source),
            Passed::Unchanged(index) => index.annotations.clone(),
            passed => {
                let Target { source, moving_tags, .. } = &run.target;
                self.expected.annotations(source.as_deref(), passed.images(), moving_tags)
            }
        };
        buildx::create(sh, &self.targets(), self.passed.sources(), &annotations)
    }

    /// Makes the job's tags. Where the registry refuses one because it exists by now, another run was faster: what that
    /// published is looked at, and counts.
    fn create(&self, run: &Run) -> anyhow::Result<Merge<'a>> {
        match self.write(run) {
            Ok(()) => Ok(self.clone()),
            Err(error) if matches!(self.passed, Passed::Copy { .. }) => Err(error),
            Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Refused) => {
                let again = passed(run, &[self.expected])?.result()?.remove(0);
                if matches!((&again.passed, &self.passed), (Passed::Create { .. }, Passed::Create { .. })) {
                    return Err(error);
                }
                again.write(run).map(|()| again)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, run: &Run) -> anyhow::Result<()> {
        let at = self.expected.reference(None).to_string();
        if self.targets().is_empty() { Ok(()) } else { buildx::write(&run.ctx, &at, |sh| self.command(run, sh)) }
    }

    /// Points the architectures' own tags to what is published, where they are astray. What cannot change stays.
    fn mend(&self, run: &Run) -> anyhow::Result<()> {
        let Passed::Unchanged(index) = &self.passed else { return Ok(()) };
        for arch in gate::astray(index, &self.parts) {
            let (at, sources) = (self.expected.reference(Some(arch)), index.descriptors_of(arch));
            let is_immutable = |failure: &Failure| failure.exit == Exit::Refused;
            let written = buildx::write(&run.ctx, &at.to_string(), |sh| {
                buildx::create(sh, std::slice::from_ref(&at), &sources, &BTreeMap::new())
            });
            match written {
                Ok(()) => run.ctx.ui.status("Mended", format!("{at}, which is now what {} holds", self.expected.tag)),
                Err(error) if error.downcast_ref().is_some_and(is_immutable) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Signs the index that is published.
    fn sign(&self, run: &Run, signatures: &Signatures) -> anyhow::Result<Merged> {
        let reference = self.expected.reference(None);
        let Passed::Unchanged(index) = &self.passed else {
            return Err(anyhow::anyhow!("{reference} was not read back"));
        };
        signatures.sign(run, self.expected, index)?;
        Ok(Merged::new(self.expected, index, self.keyed.as_ref()))
    }
}

/// Reads back what was made, in one round: afterwards it is published, and unchanged.
fn read_back<'a>(run: &Run, merges: Vec<Merge<'a>>) -> anyhow::Result<Tally<Merge<'a>>> {
    let is_made = |merge: &&Merge| !matches!(merge.passed, Passed::Unchanged(_));
    let made: Vec<Reference> = merges.iter().filter(is_made).map(|merge| merge.expected.reference(None)).collect();
    let mut found = found_after_writing(run, &made)?.into_iter();
    Ok(Tally::of(merges.into_iter().map(|merge| {
        let reference = merge.expected.reference(None);
        let index = match &merge.passed {
            Passed::Unchanged(index) => {
                run.ctx.ui.status("Unchanged", &reference);
                index.clone()
            }
            _ => check_made(run, &merge, found.next().transpose()?.flatten())?,
        };
        let is_keyed = merge.targets().iter().any(|target| *target != reference);
        let keyed = if is_keyed { Some(index.clone()) } else { merge.keyed };
        Ok(Merge { keyed, passed: Passed::Unchanged(index), ..merge })
    })))
}

/// What the references point to. A registry may not show at once what it has just taken.
fn found_after_writing(run: &Run, made: &[Reference]) -> anyhow::Result<Vec<anyhow::Result<Option<Index>>>> {
    let (mut tries, mut found) = (Tries::new(), run.client.indexes(&run.ctx, made)?);
    loop {
        let missing: Vec<usize> = (0..made.len()).filter(|&i| matches!(found[i], Ok(None))).collect();
        let again: Vec<Reference> = missing.iter().map(|&i| made[i].clone()).collect();
        let why = "it was made, and is not there yet";
        if again.is_empty() || !tries.again(&run.ctx, &again[0].to_string(), why, None) {
            return Ok(found);
        }
        for (i, index) in missing.into_iter().zip(run.client.indexes(&run.ctx, &again)?) {
            found[i] = index;
        }
    }
}

/// Checks what was made of a job, and says so.
fn check_made(run: &Run, merge: &Merge, found: Option<Index>) -> anyhow::Result<Index> {
    let reference = merge.expected.reference(None);
    let index = gate::check_read_back(merge.expected, found, &merge.passed).map_err(refused)?;
    if index.annotations.is_empty() {
        run.ctx.ui.warning(format!("{reference} carries no annotations: the images have Docker's media types"));
    }
    let (verb, more) = match &merge.passed {
        Passed::Reuse(keyed) => {
            let since = keyed.revision().map_or("an unknown commit".to_owned(), |r| r.commit.short().to_owned());
            ("Reused", format!(", unchanged since {since}"))
        }
        Passed::Copy { source, .. } => ("Copied", format!(" from {source}")),
        _ => {
            let arches: Vec<&str> = merge.expected.arches.iter().map(|arch| arch.as_str()).collect();
            ("Merged", format!(" ({})", arches.join(", ")))
        }
    };
    run.ctx.ui.status(verb, format!("{reference}{more}"));
    Ok(index)
}

fn refused(problems: Vec<Problem>) -> anyhow::Error {
    Failure::of(Exit::Refused, problems)
}
