//! The plan: for every job what is to be done, and why. Pure: it sees the keys and what the registry holds.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::model::arch::Arch;
use crate::publish::gate::{self, Expected, Published};

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
    /// `key-…` is there: the same images were built from this revision.
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
    /// Found out.
    Changed(String),
    NeverBuilt,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Published => f.write_str("published"),
            Reason::Unchanged { since } => write!(f, "unchanged since {}", short(since)),
            Reason::Built => f.write_str("every architecture is built"),
            Reason::Missing(arches) => {
                let names: Vec<&str> = arches.iter().map(|arch| arch.as_str()).collect();
                write!(f, "{} missing", names.join(" and "))
            }
            Reason::OtherInputs => f.write_str("nothing with these inputs is built"),
            Reason::NotCommitted(path) => write!(f, "{path} is not committed"),
            Reason::Forced => f.write_str("forced"),
            Reason::Changed(what) => f.write_str(what),
            Reason::NeverBuilt => f.write_str("never built"),
        }
    }
}

/// A commit as people write it.
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// What is to be done for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    /// The architectures to build.
    pub arches: Vec<Arch>,
    pub reason: Reason,
}

/// What the registry holds of a job, as far as the decision needs it.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Under the tag.
    pub index: Option<Published>,
    /// Under `key-…`.
    pub keyed: Option<Published>,
    /// Under each architecture's tag.
    pub parts: BTreeMap<Arch, Option<Published>>,
}

/// Whether images are built although they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

/// Decides what is to be done for a job. `uncommitted` names an input that is not committed.
pub fn decide(expected: &Expected, held: &Held, uncommitted: Option<&str>, force: Force) -> Decision {
    let build = |arches: Vec<Arch>, reason| Decision { action: Action::Build, arches, reason };
    if force == Force::Yes {
        return build(expected.arches.clone(), Reason::Forced);
    }
    if let Some(path) = uncommitted {
        return build(expected.arches.clone(), Reason::NotCommitted(path.to_owned()));
    }
    let missing = missing(expected, held);
    let none_is_there = held.parts.values().all(Option::is_none);
    if let Some(index) = &held.index
        && gate::is_right(expected, index)
    {
        // Reused images have no architectures' tags; a single one that is gone is to be noticed.
        return match none_is_there || missing.is_empty() {
            true => Decision { action: Action::Done, arches: Vec::new(), reason: Reason::Published },
            false => build(missing.clone(), Reason::Missing(missing)),
        };
    }
    if missing.is_empty() {
        return Decision { action: Action::Reuse, arches: Vec::new(), reason: Reason::Built };
    }
    if let Some(keyed) = &held.keyed
        && none_is_there
        && gate::check_index(expected, keyed, "").is_ok()
    {
        let since = keyed.revision().unwrap_or("an unknown commit").to_owned();
        return Decision { action: Action::Reuse, arches: Vec::new(), reason: Reason::Unchanged { since } };
    }
    let reason = if missing == expected.arches { Reason::OtherInputs } else { Reason::Missing(missing.clone()) };
    build(missing, reason)
}

/// The architectures whose own tag is missing, or holds something else.
fn missing(expected: &Expected, held: &Held) -> Vec<Arch> {
    let is_there = |arch: &Arch| {
        let part = held.parts.get(arch).and_then(Option::as_ref);
        part.is_some_and(|part| gate::check_part(expected, *arch, part))
    };
    expected.arches.iter().copied().filter(|arch| !is_there(arch)).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
