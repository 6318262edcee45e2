//! The chain behind a decision: all that a job's key is made from, and what each of it was before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{earlier_tags, previous, settings_at};
use crate::model::{Commit, Digest, Index, Tag};
use crate::plan::bases::PinnedBase;
use crate::plan::recipe::{Basis, Recipe};
use crate::settings::{JobSettings, Run};
use crate::tools::git;

/// What a job's key is made from, compared with an earlier commit.
#[derive(Debug, Serialize)]
pub struct Chain {
    /// That commit, if there is one to compare with.
    pub since: Option<String>,
    pub factors: Vec<Factor>,
}

/// One thing that determines an image.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Factor {
    /// `key`, `input`, `argument`, `context`, `stage` or `base`.
    pub kind: &'static str,
    pub name: String,
    /// A key, a stage, a value, a digest, or git's name of a file's content.
    pub now: Option<String>,
    pub before: Option<String>,
    /// `changed`, `new`, `gone` or `same`; `unknown` where nobody knows what it was.
    pub change: &'static str,
}

/// What was before, as far as it is known.
#[derive(Default)]
struct Before {
    commit: Option<Commit>,
    index: Option<Index>,
    settings: Option<JobSettings>,
    inputs: Option<BTreeMap<String, String>>,
}

/// The chain of a recipe.
///
/// # Errors
/// git or the registry cannot answer.
pub fn why(run: &Run, recipe: &Recipe, basis: &Basis) -> anyhow::Result<Chain> {
    let before = before(run, recipe, basis)?;
    let (index, settings) = (before.index.as_ref(), before.settings.as_ref());
    let stage = |settings: &JobSettings| named("", settings.target.as_deref().unwrap_or("the last one"));
    let key = recipe.expected.key.as_ref().map(ToString::to_string);
    let mut factors = compared("key", &key.map(|key| named("", &key)).unwrap_or_default(), index.map(key_of));
    let mut further = compared("input", &inputs(recipe), before.inputs);
    // Of all files of a repository, those that changed are enough.
    further.retain(|factor| recipe.whole.is_none() || factor.change != "same");
    // Nobody has noted what a variable of the environment was.
    let JobSettings { args, env_args, .. } = &recipe.job.settings;
    let (of_env, own) = args.clone().into_iter().partition(|(name, _)| env_args.contains(name));
    further.extend(compared("argument", &own, settings.map(|settings| settings.args.clone())));
    further.extend(compared("argument", &of_env, None));
    let context = Some(recipe.job.files.context.as_str()).filter(|context| !context.is_empty());
    further.extend(compared("context", &context.map(|context| named("", context)).unwrap_or_default(), None));
    further.extend(compared("stage", &stage(&recipe.job.settings), settings.map(stage)));
    further.extend(compared("base", &bases(recipe), index.map(bases_of)));
    further.sort_by_key(|factor| matches!(factor.change, "same" | "unknown"));
    factors.extend(further);
    Ok(Chain { since: before.commit.map(|commit| commit.short().to_owned()), factors })
}

fn before(run: &Run, recipe: &Recipe, basis: &Basis) -> anyhow::Result<Before> {
    let ctx = &run.ctx;
    let (commit, index) = match basis {
        Basis::Since(revision) => (Some(git::merge_base(ctx, revision)?), None),
        _ if run.target.registry.is_none() => return Ok(Before::default()),
        _ => {
            let keyed = recipe.expected.key.as_ref().map(Tag::for_key);
            let tags: Vec<Tag> = keyed.into_iter().chain(earlier_tags(run)?).collect();
            let index = previous(run, &[recipe], &tags)?.pop().flatten();
            (index.as_ref().and_then(Index::revision).map(|revision| revision.commit), index)
        }
    };
    let Some(known) = commit.as_ref().filter(|commit| matches!(git::changed_since(ctx, commit), Ok(Some(_)))) else {
        return Ok(Before { commit, index, ..Before::default() });
    };
    let inputs = recipe.tree.blobs(recipe, Some(&git::tree(ctx, known, None)?));
    let settings = settings_at(ctx, recipe, known);
    Ok(Before { commit, index, settings, inputs: Some(inputs) })
}

/// The blobs of a job's files, as they are here.
fn inputs(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut inputs = recipe.tree.blobs(recipe, None);
    let uncommitted = recipe.tree.counting(recipe, &[]).into_iter();
    inputs.extend(uncommitted.map(|path| (path, "not committed".to_owned())));
    inputs
}

fn bases(recipe: &Recipe) -> BTreeMap<String, String> {
    let digest = |base: &PinnedBase| base.digest.as_ref().map_or_else(|| "not resolved".to_owned(), Digest::to_string);
    recipe.bases.iter().map(|base| (base.written.clone(), digest(base))).collect()
}

fn bases_of(index: &Index) -> BTreeMap<String, String> {
    index.bases().into_iter().map(|(name, digest)| (name, digest.to_string())).collect()
}

fn key_of(index: &Index) -> BTreeMap<String, String> {
    index.key().map(|key| named("", key)).unwrap_or_default()
}

fn named(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// What is of one kind, by name, with what it was before, if that is known.
fn compared(
    kind: &'static str,
    now: &BTreeMap<String, String>,
    before: Option<BTreeMap<String, String>>,
) -> Vec<Factor> {
    let names: BTreeSet<&String> = now.keys().chain(before.iter().flat_map(BTreeMap::keys)).collect();
    let factor = |name: &String| {
        let (now, old) = (now.get(name).cloned(), before.as_ref().and_then(|before| before.get(name)).cloned());
        let change = match (&now, &old) {
            _ if before.is_none() => "unknown",
            (Some(now), Some(old)) if now == old => "same",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "new",
            (None, _) => "gone",
        };
        Factor { kind, name: name.clone(), now, before: old, change }
    };
    names.into_iter().map(factor).collect()
}
