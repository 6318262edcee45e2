//! The decision: for every job what is to be done, and why. Pure: it sees the keys and what the registry holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::model::{Arch, Digest, Expected, Index, Problem};

/// What is to be done for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The tag is published.
    Done,
    /// The tag points to images that exist: `merge` does that, and nothing is built.
    Reuse,
    /// Images are built.
    Build,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Done => "done",
            Action::Reuse => "reuse",
            Action::Build => "build",
        })
    }
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The tag is there, complete, and of this key or this commit.
    Published,
    /// `key-…` is there: the same images were built from this commit.
    Unchanged {
        since: String,
    },
    /// Every architecture is there under its own tag, with this key.
    Built,
    /// Some architectures are there with this key, these are not.
    Missing(Vec<Arch>),
    /// Nothing of this key is there: what changed is to be found out.
    OtherInputs,
    /// An input is not committed, so there is no key.
    NotCommitted(String),
    Forced,
    /// The tag is there, and not where the target of this name keeps its copy.
    NotCopied(String),
    /// What changed, in words.
    Changed(String),
    NeverBuilt,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Published => f.write_str("published"),
            Reason::Unchanged { since } => write!(f, "unchanged since {since}"),
            Reason::Built => f.write_str("every architecture is built"),
            Reason::Missing(arches) => {
                let names: Vec<&str> = arches.iter().map(|arch| arch.as_str()).collect();
                write!(f, "{} missing", names.join(" and "))
            }
            Reason::OtherInputs => f.write_str("nothing with these inputs is built"),
            Reason::NotCommitted(path) => write!(f, "{path} is not committed"),
            Reason::Forced => f.write_str("forced"),
            Reason::NotCopied(target) => write!(f, "not at the target `{target}` yet"),
            Reason::Changed(what) => f.write_str(what),
            Reason::NeverBuilt => f.write_str("never built"),
        }
    }
}

/// What is to be done for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    /// The architectures to build.
    pub arches: Vec<Arch>,
    pub reason: Reason,
}

impl Decision {
    pub fn new(action: Action, arches: &[Arch], reason: Reason) -> Decision {
        Decision { action, arches: arches.to_vec(), reason }
    }
}

/// What the registry holds of a job, as far as it was asked: no more than plan or gate need.
#[derive(Clone, Debug, Default)]
pub struct RegistryState {
    /// Under the tag.
    pub index: Option<Index>,
    /// Under `key-…`.
    pub keyed: Option<Index>,
    /// Under each architecture's tag.
    pub parts: BTreeMap<Arch, Option<Index>>,
    /// The images that those of the job have to begin with, as far as they could be looked at.
    pub bases: BTreeMap<Digest, Arc<Index>>,
}

/// Decides what is to be done for a job. `uncommitted` names an input that is not committed.
///
/// # Errors
/// The job is to be rebuilt by force, under a tag that is published.
pub fn decide(expected: &Expected, state: &RegistryState, uncommitted: Option<&str>) -> Result<Decision, Problem> {
    if let Some(path) = uncommitted {
        return Ok(Decision::new(Action::Build, &expected.arches, Reason::NotCommitted(path.to_owned())));
    }
    if let Some(index) = &state.index {
        if expected.forced && !index.is_forced() {
            return Err(published(expected));
        }
        if expected.accepts_published(index) {
            return Ok(Decision::new(Action::Done, &[], Reason::Published));
        }
    }
    // Its images win over those that this commit built a second time.
    if let Some(keyed) = state.keyed.as_ref().filter(|keyed| !expected.forced && expected.accepts(keyed)) {
        let since = keyed.revision().map_or("an unknown commit".to_owned(), |rev| rev.commit.short().to_owned());
        return Ok(Decision::new(Action::Reuse, &[], Reason::Unchanged { since }));
    }
    let missing = missing(expected, state);
    if missing.is_empty() {
        return Ok(Decision::new(Action::Reuse, &[], Reason::Built));
    }
    if expected.forced {
        return Ok(Decision::new(Action::Build, &missing, Reason::Forced));
    }
    let is_new = missing == expected.arches;
    let reason = if is_new { Reason::OtherInputs } else { Reason::Missing(missing.clone()) };
    Ok(Decision::new(Action::Build, &missing, reason))
}

fn published(expected: &Expected) -> Problem {
    Problem::new(expected.reference(None).to_string(), "is published, so it cannot be rebuilt by force under this tag")
        .rule("a published tag never changes, and a forced image has a tag of its own")
        .help(format!("name another tag, for build and merge alike: --tag {}-2, or JOBS_TAG", expected.tag))
}

/// The architectures whose own tag is missing, or holds something else.
fn missing(expected: &Expected, state: &RegistryState) -> Vec<Arch> {
    let is_there = |arch: &Arch| {
        let part = state.parts.get(arch).and_then(Option::as_ref);
        part.is_some_and(|part| expected.problems(Some(*arch), part).is_empty())
    };
    expected.arches.iter().copied().filter(|arch| !is_there(arch)).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
