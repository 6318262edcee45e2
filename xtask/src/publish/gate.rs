//! The gate: whether what the registry holds may be published under a job's tag. Pure: it sees only what was inspected.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Arch, Commit, Digest, Exit, Expected, Index, Problem, Reference, Revision};
use crate::plan::RegistryState;

/// How a job's tag comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is published, and right.
    Unchanged(Index),
    /// An index is made of these digests, in the order of the architectures; it holds these images.
    Create { digests: Vec<Digest>, images: BTreeSet<Digest> },
    /// It points to the index of an earlier run: the same digest, and no layer moves.
    Reuse(Index),
}

/// Decides how the job's tag comes to be.
///
/// # Errors
/// Every reason why nothing may be published.
pub fn pass(expected: &Expected, state: &RegistryState) -> Result<Passed, Vec<Problem>> {
    let RegistryState { index, parts, keyed } = state;
    if let Some(index) = index {
        let problems = check_published(expected, index, parts);
        if problems.is_empty() {
            return Ok(Passed::Unchanged(index.clone()));
        }
        // The tag of a dirty tree names no commit, so it may be made anew.
        if !expected.revision.as_ref().is_some_and(|revision| revision.dirty) {
            return Err(problems);
        }
    }
    match (check_parts(expected, parts), keyed) {
        (Ok(digests), _) => {
            let images = parts.values().flatten().flat_map(Index::digests).cloned().collect();
            Ok(Passed::Create { digests, images })
        }
        (Err(_), Some(keyed)) if state.has_no_parts() => {
            let problems = expected.problems(None, keyed);
            if problems.is_empty() { Ok(Passed::Reuse(keyed.clone())) } else { Err(problems) }
        }
        (Err(problems), _) => Err(problems),
    }
}

/// Checks a published index, and that it agrees with the architectures' own tags: gives every reason why not.
pub fn check_published(expected: &Expected, index: &Index, parts: &BTreeMap<Arch, Option<Index>>) -> Vec<Problem> {
    let mut problems = expected.problems_of_published(None, index);
    let any = parts.values().any(Option::is_some);
    for (&arch, part) in parts {
        match part {
            Some(part) => {
                problems.extend(expected.problems_of_published(Some(arch), part));
                if !part.digests().is_subset(&index.digests()) {
                    problems.push(other_content(expected, index, part));
                }
            }
            // All absent is in order: a reused image has none, and a lifecycle policy may have expired them.
            None if any => problems.push(
                Problem::new(
                    expected.reference(Some(arch)).to_string(),
                    format!("{arch} is missing, while another architecture's tag is there"),
                )
                .help(rebuild(expected, arch)),
            ),
            None => {}
        }
    }
    problems
}

/// Checks the images of all architectures, each under its own tag.
/// Gives the digests to make the index from, in the order of the architectures.
fn check_parts(expected: &Expected, parts: &BTreeMap<Arch, Option<Index>>) -> Result<Vec<Digest>, Vec<Problem>> {
    let (mut digests, mut problems) = (Vec::new(), Vec::new());
    for &arch in &expected.arches {
        match parts.get(&arch).and_then(Option::as_ref) {
            None => problems.push(
                Problem::new(expected.reference(Some(arch)).to_string(), format!("{arch} is missing"))
                    .rule("a tag is published when every architecture is there")
                    .help(rebuild(expected, arch)),
            ),
            Some(part) => {
                problems.extend(expected.problems(Some(arch), part));
                digests.push(part.digest.clone());
            }
        }
    }
    if problems.is_empty() { Ok(digests) } else { Err(problems) }
}

fn rebuild(expected: &Expected, arch: Arch) -> String {
    format!("cargo xtask build --arch {arch} {}", expected.job)
}

/// The refusal of a tag that exists with other content.
fn other_content(expected: &Expected, existing: &Index, wanted: &Index) -> Problem {
    let list = |index: &Index| {
        let shown: Vec<String> =
            index.images.iter().map(|image| format!("{} {}", image.platform, image.digest)).collect();
        shown.join(", ")
    };
    Problem::new(
        expected.reference(None).to_string(),
        format!("exists with other content: {}, and not {}", list(existing), list(wanted)),
    )
    .rule("a published tag never changes")
    .help("commit a change to get a new tag, or delete the tag in the registry")
}

/// Checks what was just made: `imagetools create` checks nothing, and somebody else may write the same tag.
///
/// # Errors
/// It is not there, or not what was meant.
pub fn check_read_back(
    expected: &Expected,
    index: Option<Index>,
    wanted: &BTreeSet<Digest>,
) -> Result<Index, Vec<Problem>> {
    let (at, job) = (expected.reference(None).to_string(), &expected.job);
    let Some(index) = index else {
        let what = "was made, and is not there: the registry lost it, or somebody deleted it";
        return Err(vec![Problem::new(at, what).help(format!("cargo xtask merge {job}"))]);
    };
    let problems = expected.problems(None, &index);
    if !problems.is_empty() {
        return Err(problems);
    }
    if index.digests() != wanted.iter().collect() {
        let what = "was made, and now holds other images: somebody else writes the same tag";
        return Err(vec![Problem::new(at, what).help(format!("cargo xtask verify {job}"))]);
    }
    Ok(index)
}

/// Checks that a moving tag goes forward: what it points to comes before the revision that is published.
///
/// # Errors
/// It would go backwards, or nobody knows, because its images carry no revision; or git cannot tell.
pub fn check_forward(
    reference: &Reference,
    existing: &Index,
    to: &Revision,
    is_ancestor: impl FnOnce(&Commit, &Commit) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let problem = |what: String| {
        Problem::new(reference.to_string(), what)
            .rule("a moving tag moves only to a descendant of the commit it points to")
    };
    let Some(from) = existing.revision() else {
        let what = "carries no revision, so nobody knows whether this one is newer";
        return Err(problem(what.to_owned()).help("delete the tag once").exit(Exit::Refused));
    };
    if is_ancestor(&from.commit, &to.commit)? {
        return Ok(());
    }
    Err(problem(format!("would go backwards: it is at {from}, and this is {}", to.commit))
        .help("nothing, if this is the run of an older commit")
        .exit(Exit::Refused))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
