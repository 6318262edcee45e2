//! The gate: whether what the registry holds may be published under a job's tag. Pure: it sees only what was inspected.

use std::collections::BTreeMap;

use crate::model::{Arch, Commit, Descriptor, Exit, Expected, Index, Manifest, Problem, Reference, Revision};
use crate::plan::RegistryState;

/// How a job's tag comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is published, and right.
    Unchanged(Index),
    /// An index is made of what stands under the architectures' own tags, in their order.
    Create { sources: Vec<Descriptor>, images: Vec<Manifest> },
    /// An index of this commit is made of the images of an earlier one, and no layer moves.
    Reuse(Index),
    /// The index that is published elsewhere is copied as it is.
    Copy { source: Reference, index: Index },
}

impl Passed {
    /// What the index is made of: the entries of indexes that were checked, never tags.
    pub fn sources(&self) -> &[Descriptor] {
        match self {
            Passed::Create { sources, .. } => sources,
            Passed::Unchanged(index) | Passed::Reuse(index) | Passed::Copy { index, .. } => &index.descriptors,
        }
    }

    /// The images that it holds.
    pub fn images(&self) -> &[Manifest] {
        match self {
            Passed::Create { images, .. } => images,
            Passed::Unchanged(index) | Passed::Reuse(index) | Passed::Copy { index, .. } => &index.images,
        }
    }
}

/// Decides how the job's tag comes to be.
///
/// # Errors
/// Every reason why nothing may be published.
pub fn pass(expected: &Expected, state: &RegistryState) -> Result<Passed, Vec<Problem>> {
    let RegistryState { index, parts, keyed, bases } = state;
    if let Some(index) = index {
        // The tag of a dirty tree names no commit, so it may be made anew.
        let is_old = expected.is_dirty() && parts.values().flatten().any(|part| is_other(part, index));
        let is_right = problems_of_index(expected, index, state).is_empty();
        if is_right && !is_old {
            return Ok(Passed::Unchanged(index.clone()));
        }
        if !expected.is_dirty() {
            return Err(check_published(expected, index, state));
        }
    }
    let of_parts = check_parts(expected, state);
    let is_forced = expected.forced || parts.values().flatten().any(Index::is_forced);
    // The images of the key win over ones that were built a second time, unless that was by force.
    let keyed = keyed.as_ref().filter(|_| !is_forced);
    let of_key =
        keyed.map(|keyed| [expected.problems(None, keyed), expected.foreign_layers(None, keyed, bases)].concat());
    match (keyed, of_key, of_parts) {
        (Some(keyed), Some(problems), _) if problems.is_empty() => Ok(Passed::Reuse(keyed.clone())),
        (_, _, Ok(())) => {
            let parts: Vec<&Index> = parts.values().flatten().collect();
            let sources = parts.iter().flat_map(|part| &part.descriptors).cloned().collect();
            Ok(Passed::Create { sources, images: parts.iter().flat_map(|part| &part.images).cloned().collect() })
        }
        // Where nothing was built, it is the key's images that are wrong.
        (_, Some(problems), Err(_)) if parts.values().all(Option::is_none) => {
            let help = "delete `key-…` of this job in the registry, and build it again: cargo xtask build";
            Err(problems.into_iter().map(|problem| problem.help(format!("{help} {}", expected.job))).collect())
        }
        (_, _, Err(problems)) => Err(problems),
    }
}

/// Decides how a job's tag comes to be here that is published elsewhere, and was checked there. It keeps its digest, so
/// other content is every other digest.
///
/// # Errors
/// The tag exists with another; or what was enough there is not enough here.
pub fn pass_copy(
    expected: &Expected,
    existing: Option<&Index>,
    source: Reference,
    index: &Index,
) -> Result<Passed, Vec<Problem>> {
    match existing {
        Some(existing) if existing.digest == index.digest => return Ok(Passed::Unchanged(index.clone())),
        Some(existing) if !expected.is_dirty() => {
            let what = format!("exists with other content: {}, and not {}", existing.digest, index.digest);
            let problem = Problem::new(expected.reference(None).to_string(), what);
            let help = "publish another tag, or delete this one in the registry";
            return Err(vec![problem.rule("a published tag never changes").help(help)]);
        }
        _ => {}
    }
    let problems = expected.problems(None, index);
    if problems.is_empty() { Ok(Passed::Copy { source, index: index.clone() }) } else { Err(problems) }
}

/// Checks a published index, and what stands under the architectures' own tags: gives every reason why not.
pub fn check_published(expected: &Expected, index: &Index, state: &RegistryState) -> Vec<Problem> {
    let mut problems = problems_of_index(expected, index, state);
    let is_right = problems.is_empty();
    let merge = format!("cargo xtask merge {}", expected.job);
    let any = state.parts.values().any(Option::is_some);
    for (&arch, part) in &state.parts {
        match part {
            Some(part) if is_right && is_part(part, index, arch) => {}
            Some(part) => {
                let of_part = expected.problems_of_published(Some(arch), part);
                problems.extend(of_part.into_iter().map(|p| if is_right { p.help(&merge) } else { p }));
                // Beside a right index, what another build of the same inputs pushed is in nobody's way.
                if !is_right && is_other(part, index) {
                    problems.push(other_content(expected, index, part));
                }
            }
            // All absent is in order: a reused image has none, and a lifecycle policy may have expired them.
            None if any => problems.push(
                Problem::new(
                    expected.reference(Some(arch)).to_string(),
                    format!("{arch} is missing, while another architecture's tag is there"),
                )
                .help(if is_right { merge.clone() } else { rebuild(expected, arch) }),
            ),
            None => {}
        }
    }
    problems
}

fn problems_of_index(expected: &Expected, index: &Index, state: &RegistryState) -> Vec<Problem> {
    [expected.problems_of_published(None, index), expected.foreign_layers(None, index, &state.bases)].concat()
}

fn is_other(part: &Index, index: &Index) -> bool {
    !part.digests().is_subset(&index.digests())
}

/// The architectures whose own tags are to be pointed to what the index holds: they have other images, or none while
/// another has one.
pub fn astray(index: &Index, parts: &BTreeMap<Arch, Option<Index>>) -> Vec<Arch> {
    let any = parts.values().any(Option::is_some);
    let is_astray = |arch: Arch, part: &Option<Index>| part.as_ref().map_or(any, |part| !is_part(part, index, arch));
    parts.iter().filter(|(arch, part)| is_astray(**arch, part)).map(|(arch, _)| *arch).collect()
}

/// Whether what stands under an architecture's own tag is what the index holds of it.
fn is_part(part: &Index, index: &Index, arch: Arch) -> bool {
    let is_of_arch = |image: &&Manifest| image.platform == arch.platform();
    part.digests() == index.images.iter().filter(is_of_arch).map(|image| &image.digest).collect()
}

/// Checks the images of all architectures, each under its own tag.
fn check_parts(expected: &Expected, RegistryState { parts, bases, .. }: &RegistryState) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for &arch in &expected.arches {
        match parts.get(&arch).and_then(Option::as_ref) {
            None => problems.push(
                Problem::new(expected.reference(Some(arch)).to_string(), format!("{arch} is missing"))
                    .rule("a tag is published when every architecture is there")
                    .help(rebuild(expected, arch)),
            ),
            Some(part) => {
                problems.extend(expected.problems(Some(arch), part));
                problems.extend(expected.foreign_layers(Some(arch), part, bases));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
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

/// Checks what was just made: `imagetools create` checks nothing, and somebody else may write the same tag. It has to
/// hold the images that passed, whose content need not be read again; and a copy is the same to the byte.
///
/// # Errors
/// It is not there, or not what was meant.
pub fn check_read_back(expected: &Expected, index: Option<Index>, passed: &Passed) -> Result<Index, Vec<Problem>> {
    let wanted = passed.images();
    let (at, job) = (expected.reference(None).to_string(), &expected.job);
    let Some(mut index) = index else {
        let what = "was made, and is not there: the registry lost it, or somebody deleted it";
        return Err(vec![Problem::new(at, what).help(format!("cargo xtask merge {job}"))]);
    };
    let is_other_copy = matches!(passed, Passed::Copy { index: copied, .. } if copied.digest != index.digest);
    if is_other_copy || index.digests() != wanted.iter().map(|image| &image.digest).collect() {
        let what = "was made, and now holds other images: somebody else writes the same tag";
        return Err(vec![Problem::new(at, what).help(format!("cargo xtask verify {job}"))]);
    }
    index.take_images(wanted);
    let problems = expected.problems(None, &index);
    if problems.is_empty() { Ok(index) } else { Err(problems) }
}

/// Whether `key-…` is to point to an index that is published. What stands there already has the same key, and is
/// replaced only where it is not what is expected any more, as of another set of architectures, or by images that were
/// built by force: by new ones, or by those of a run that ended before it came to this.
pub fn is_for_key(expected: &Expected, keyed: Option<&Index>, images: &[Manifest], is_new: bool) -> bool {
    let is_forced = |images: &[Manifest]| images.iter().any(Manifest::is_forced);
    match keyed {
        _ if expected.key.is_none() => false,
        None => true,
        Some(keyed) if keyed.images.iter().map(|image| &image.digest).eq(images.iter().map(|image| &image.digest)) => {
            false
        }
        Some(keyed) if is_new && !expected.problems(None, keyed).is_empty() => true,
        Some(keyed) => is_forced(images) && (is_new || !keyed.is_forced()),
    }
}

/// The remedy where a moving tag is meant to go elsewhere than forward.
const MOVE_BACK: &str = "to move it all the same: cargo xtask merge --move-back";

/// Where a moving tag goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    Forward,
    /// It points to this newer commit already.
    Overtaken(Commit),
    /// It points to a commit that is not in this clone, which holds all that came before its own.
    Unknown(Commit),
}

/// Checks that a moving tag goes forward: the index that it points to is of a commit before the one that is published.
///
/// # Errors
/// Neither comes before the other, or nobody knows, because the index carries no revision; or git cannot tell.
pub fn check_forward(
    reference: &Reference,
    existing: &Index,
    to: &Revision,
    mut is_ancestor: impl FnMut(&Commit, &Commit) -> anyhow::Result<Option<bool>>,
) -> anyhow::Result<Move> {
    let problem = |what: String| {
        Problem::new(reference.to_string(), what)
            .rule("a moving tag moves only to a descendant of the commit it points to")
    };
    let Some(from) = existing.revision() else {
        let what = "carries no revision, so nobody knows whether this one is newer";
        return Err(problem(what.to_owned()).help(MOVE_BACK).exit(Exit::Refused));
    };
    match is_ancestor(&from.commit, &to.commit)? {
        Some(true) => return Ok(Move::Forward),
        None => return Ok(Move::Unknown(from.commit)),
        Some(false) => {}
    }
    if is_ancestor(&to.commit, &from.commit)? == Some(true) {
        return Ok(Move::Overtaken(from.commit));
    }
    Err(problem(format!("would go backwards: it is at {from}, and this is {}", to.commit))
        .help(format!("nothing, if this is the run of an older commit; {MOVE_BACK}"))
        .exit(Exit::Refused))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
