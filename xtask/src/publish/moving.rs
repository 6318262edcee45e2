//! Moving tags such as `latest`: they come last, and go forward only.
//!
//! A registry has no locks, and the last write counts. So a tag is looked at right before it is written, by one small
//! request, and right after it. At its end a run looks once more, and also for newer commits: a run of one of them may
//! have ended while this one's write was under way, and then nobody else knows of it.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::{self, Move};
use super::merge::{Merged, Signatures};
use crate::model::{Commit, Digest, Exit, Expected, Index, Problem, Reference, Revision};
use crate::run::Context;
use crate::run::fleet::Tally;
use crate::settings::{Run, tag_of};
use crate::tools::git;

/// How many jobs' tags are looked at together, so that their writes soon follow.
const TOGETHER: usize = 32;
/// How often a tag is written that somebody else writes at the same time.
const MOST_WRITES: usize = 4;
/// How many newer commits are looked for at a registry.
const MOST_NEWER: usize = 16;

/// Where a run moves moving tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// Nowhere yet: GitHub has to attest what is published.
    Later,
    Forward,
    /// Forward or back, as somebody wants it.
    Anywhere,
}

impl Moves {
    /// What a flag says.
    pub fn with(move_back: bool) -> Moves {
        if move_back { Moves::Anywhere } else { Moves::Forward }
    }
}

/// Moves the target's moving tags to the published indexes. A dirty tree is nobody's release.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn move_tags(run: &Run, moves: Moves, merged: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    if moves == Moves::Later || run.target.moving_tags.is_empty() {
        return Ok(Tally { done: merged, failures: Ok(()) });
    }
    let mut mover = Mover::new(run, moves);
    mover.settle_all(merged)?.then(|merged| {
        let is_written = |merged: &Merged| mover.written.contains(&merged.reference);
        let (written, others): (Vec<Merged>, Vec<Merged>) = merged.into_iter().partition(is_written);
        let newer = mover.newer(&written)?.then(|newer| mover.settle_all(newer))?;
        let last = mover.settle_all(written)?;
        let failures = Tally::of([newer.failures, last.failures]).failures;
        Ok(Tally { done: [others, last.done].concat(), failures })
    })
}

/// Checks that moving tags are at what is published, or at something newer.
///
/// # Errors
/// What concerns all jobs; a single job's tag that is elsewhere is part of the tally.
pub fn check_moving_tags(run: &Run, published: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    let mut mover = Mover::new(run, Moves::Forward);
    let (of, tags) = mover.all_tags(&published);
    let mut results: Vec<anyhow::Result<()>> = published.iter().map(|_| Ok(())).collect();
    for ((i, tag), found) in of.into_iter().zip(&tags).zip(mover.look(&tags)?) {
        let is_right = found.and_then(|found| match mover.is_behind(tag, found.as_ref())? {
            true => Err(behind(tag, found.and_then(|found| found.revision()))),
            false => Ok(()),
        });
        if is_right.is_err() {
            results[i] = is_right;
        }
    }
    Ok(Tally::of(results.into_iter().zip(published).map(|(result, merged)| result.map(|()| merged))))
}

/// A moving tag of a job, and what it is to point to.
#[derive(Clone)]
struct Moving {
    reference: Reference,
    digest: Digest,
    to: Revision,
    job: String,
}

struct Mover<'r> {
    run: &'r Run,
    moves: Moves,
    history: History<'r>,
    /// What was published under these, moving tags were pointed to.
    written: BTreeSet<Reference>,
    /// The moving tags of which it is said that a newer commit has them.
    overtaken: BTreeSet<Reference>,
}

impl<'r> Mover<'r> {
    fn new(run: &'r Run, moves: Moves) -> Mover<'r> {
        let history = History::new(&run.ctx);
        Mover { run, moves, history, written: BTreeSet::new(), overtaken: BTreeSet::new() }
    }

    fn tags_of(&self, Merged { expected, reference, index, .. }: &Merged) -> Vec<Moving> {
        let Some(to) = expected.revision.as_ref().filter(|to| !to.dirty) else { return Vec::new() };
        let tag = |tag| Moving {
            reference: reference.repository.with_tag(tag),
            digest: index.digest.clone(),
            to: to.clone(),
            job: expected.job.to_string(),
        };
        self.run.target.moving_tags.iter().map(tag).collect()
    }

    /// Those of all jobs, each with the position of its job.
    fn all_tags(&self, jobs: &[Merged]) -> (Vec<usize>, Vec<Moving>) {
        let of_job = |(i, merged)| self.tags_of(merged).into_iter().map(move |tag| (i, tag));
        jobs.iter().enumerate().flat_map(of_job).unzip()
    }

    fn settle_all(&mut self, jobs: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
        let mut results = Vec::new();
        for jobs in jobs.chunks(TOGETHER) {
            results.extend(self.settle(jobs)?.into_iter().zip(jobs).map(|(moved, job)| moved.map(|()| job.clone())));
        }
        Ok(Tally::of(results))
    }

    /// Looks at the jobs' moving tags and writes those that are behind, until none of them is.
    fn settle(&mut self, jobs: &[Merged]) -> anyhow::Result<Vec<anyhow::Result<()>>> {
        let (of, tags) = self.all_tags(jobs);
        let mut open: Vec<(usize, Moving)> = of.into_iter().zip(tags).collect();
        let mut results: Vec<anyhow::Result<()>> = jobs.iter().map(|_| Ok(())).collect();
        for written in 0.. {
            let tags: Vec<Moving> = open.iter().map(|(_, tag)| tag.clone()).collect();
            let mut behind = Vec::new();
            for ((i, tag), found) in open.into_iter().zip(self.look(&tags)?) {
                match found.and_then(|found| self.is_behind(&tag, found.as_ref())) {
                    Ok(true) if written == MOST_WRITES => results[i] = Err(contested(&tag)),
                    Ok(true) => behind.push((i, tag)),
                    Ok(false) => {}
                    Err(error) => results[i] = Err(error),
                }
            }
            if behind.is_empty() || self.run.ctx.interrupted().is_some() {
                break;
            }
            let moves: Vec<_> = behind.iter().map(|(_, tag)| (tag.digest.clone(), tag.reference.clone())).collect();
            open = Vec::new();
            for ((i, tag), moved) in behind.into_iter().zip(self.run.client.point(&self.run.ctx, &moves)?) {
                match moved {
                    Ok(()) => {
                        self.run.ctx.ui.status("Moved", &tag.reference);
                        self.written.insert(jobs[i].reference.clone());
                        open.push((i, tag));
                    }
                    Err(error) => results[i] = Err(error),
                }
            }
        }
        Ok(results)
    }

    /// What the moving tags point to, in one round. Indexes that do not say their revision are read further.
    fn look(&self, tags: &[Moving]) -> anyhow::Result<Vec<anyhow::Result<Option<Index>>>> {
        let Run { ctx, client, .. } = self.run;
        let references: Vec<Reference> = tags.iter().map(|tag| tag.reference.clone()).collect();
        let mut found = client.indexes(ctx, &references)?;
        client.read_found(ctx, &references, &mut found, |index| index.revision().is_none())?;
        Ok(found)
    }

    /// Whether a moving tag is to be written. Being overtaken by a newer commit is no failure.
    fn is_behind(&mut self, tag: &Moving, found: Option<&Index>) -> anyhow::Result<bool> {
        let Some(found) = found else { return Ok(true) };
        if found.digest == tag.digest {
            return Ok(false);
        }
        if self.moves == Moves::Anywhere {
            return Ok(true);
        }
        let is_ancestor = |older: &_, newer: &_| self.history.is_ancestor(older, newer);
        let (at, why) = match gate::check_forward(&tag.reference, found, &tag.to, is_ancestor)? {
            Move::Forward => return Ok(true),
            Move::Overtaken(newer) => (newer, "which is newer"),
            Move::Unknown(other) => (other, "which this clone does not know, so it is not older"),
        };
        if self.overtaken.insert(tag.reference.clone()) {
            self.run.ctx.ui.status("Overtaken", format!("{} is at {}, {why}", tag.reference, at.short()));
        }
        Ok(false)
    }

    /// The jobs that are published of newer commits, by runs that moved the same tags.
    fn newer(&mut self, written: &[Merged]) -> anyhow::Result<Tally<Merged>> {
        let mut newer: Vec<(&Merged, Expected)> = Vec::new();
        for merged in written.iter().filter(|_| self.moves == Moves::Forward) {
            let Some(revision) = &merged.expected.revision else { continue };
            for (commit, names) in self.history.after(&revision.commit)? {
                let tags = std::iter::once(None).chain(names.iter().map(Some));
                for tag in tags.filter_map(|name| tag_of(&self.run.config, commit, name.map(String::as_str))) {
                    let revision = Some(Revision { commit: commit.clone(), dirty: false });
                    newer.push((merged, Expected { tag, revision, key: None, ..merged.expected.clone() }));
                }
            }
        }
        if newer.is_empty() {
            return Ok(Tally { done: Vec::new(), failures: Ok(()) });
        }
        let references: Vec<Reference> = newer.iter().map(|(_, expected)| expected.reference(None)).collect();
        let found = self.run.client.indexes(&self.run.ctx, &references)?;
        let signatures = Signatures::of(self.run, None)?;
        let mut known = BTreeSet::new();
        let mut results = Vec::new();
        for (((merged, expected), reference), index) in newer.into_iter().zip(references).zip(found) {
            let moves = |index: &Index| self.run.target.moving_tags.iter().all(|tag| index.moves(tag));
            let index = index.map(|index| index.filter(|index| moves(index) && index.revision() == expected.revision));
            match index {
                Ok(Some(mut index)) if !known.contains(&merged.reference) => {
                    let read =
                        self.run.client.read_images(&self.run.ctx, &mut [(&reference.repository, &mut index)])?;
                    read.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
                    let is_right = expected.problems_of_published(None, &index).is_empty();
                    if is_right && signatures.check(self.run, &expected, &index).is_ok() {
                        known.insert(merged.reference.clone());
                        results.push(Ok(Merged { expected, reference, index, keyed: None }));
                    }
                }
                Ok(_) => {}
                Err(error) => results.push(Err(error)),
            }
        }
        Ok(Tally::of(results))
    }
}

fn behind(tag: &Moving, at: Option<Revision>) -> anyhow::Error {
    let what = at.map_or("is not there".to_owned(), |at| format!("is at {at}, and this is {}", tag.to.commit));
    Problem::new(tag.reference.to_string(), what)
        .rule("a moving tag is at the newest commit that is published")
        .help(format!("cargo xtask merge {}", tag.job))
        .exit(Exit::Refused)
}

fn contested(tag: &Moving) -> anyhow::Error {
    Problem::new(tag.reference.to_string(), "somebody else writes it too, again and again")
        .rule("runs move a moving tag forward, and none of them moves it back")
        .help(format!("find who else moves it, and then: cargo xtask merge {}", tag.job))
        .exit(Exit::Refused)
}

/// A newer commit, and the names of its git tags.
type Newer = (Commit, Vec<String>);

/// What git has said of commits so far: all jobs of a run ask the same.
struct History<'c> {
    ctx: &'c Context,
    is_fetched: bool,
    /// Whether the first of two commits is the other or comes before it; `None` where git does not know one of them.
    answers: BTreeMap<(Commit, Commit), Option<bool>>,
    newer: BTreeMap<Commit, Vec<Newer>>,
}

impl History<'_> {
    fn new(ctx: &Context) -> History<'_> {
        History { ctx, is_fetched: false, answers: BTreeMap::new(), newer: BTreeMap::new() }
    }

    /// As [`git::is_ancestor`]. A commit that is not known may have been pushed since this was cloned.
    fn is_ancestor(&mut self, older: &Commit, newer: &Commit) -> anyhow::Result<Option<bool>> {
        let pair = (older.clone(), newer.clone());
        if let Some(answer) = self.answers.get(&pair) {
            return Ok(*answer);
        }
        let mut answer = git::is_ancestor(self.ctx, older, newer)?;
        if answer.is_none() && self.fetch() {
            answer = git::is_ancestor(self.ctx, older, newer)?;
        }
        self.answers.insert(pair, answer);
        Ok(answer)
    }

    /// The commits that come after one, the newest first; also those that were pushed since this was cloned.
    fn after(&mut self, commit: &Commit) -> anyhow::Result<&[Newer]> {
        if !self.newer.contains_key(commit) {
            self.fetch();
            self.newer.insert(commit.clone(), git::descendants(self.ctx, commit, MOST_NEWER)?);
        }
        Ok(self.newer.get(commit).map_or(&[], Vec::as_slice))
    }

    /// Whether this is the first time.
    fn fetch(&mut self) -> bool {
        if self.is_fetched {
            return false;
        }
        git::fetch(self.ctx);
        self.is_fetched = true;
        true
    }
}
