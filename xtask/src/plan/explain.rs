//! Why a job is to be built: what changed since its images of an earlier run, or since a commit that is named.

use std::collections::{BTreeMap, BTreeSet};

use super::Planned;
use super::decide::{Action, Decision, Reason};
use super::recipe::Recipe;
use crate::model::{Commit, DOCKERFILE, Index, JOBS_DIR, Reference, Tag};
use crate::run::Context;
use crate::settings::{Run, job_settings};
use crate::tools::git;

/// How many commits are looked back for the images that a job had before.
const LOOK_BACK: usize = 10;
/// How many tags are looked up first: a moving one and that of the commit before.
const NEAR: usize = 2;

/// Finds out what changed for the jobs whose inputs are new.
///
/// # Errors
/// git or the registry cannot answer.
pub fn explain(run: &Run, jobs: &mut [Planned]) -> anyhow::Result<()> {
    let new: Vec<&mut Planned> = jobs.iter_mut().filter(|job| job.decision.reason == Reason::OtherInputs).collect();
    if new.is_empty() {
        return Ok(());
    }
    let ancestors = git::ancestors(&run.ctx, LOOK_BACK)?;
    let mut tags = run.target.moving_tags.clone();
    let digits = run.config.sha_length;
    tags.extend(ancestors.iter().filter_map(|commit| format!("{commit:.digits$}").parse().ok()));
    let found = previous(run, &new, &tags)?;
    let mut changed = BTreeMap::new();
    for (job, previous) in new.into_iter().zip(found) {
        job.decision.reason = match previous {
            Some(previous) => difference(&run.ctx, &job.recipe, &previous, &mut changed)?,
            None => Reason::NeverBuilt,
        };
    }
    Ok(())
}

/// The jobs' images of earlier runs: what the first of the tags that exists points to. Most often that is one of the
/// first tags, so the others are asked for only where it is not.
///
/// # Errors
/// The registry cannot be reached.
fn previous(run: &Run, jobs: &[&mut Planned], tags: &[Tag]) -> anyhow::Result<Vec<Option<Index>>> {
    let mut found: Vec<Option<Index>> = jobs.iter().map(|_| None).collect();
    let (near, far) = tags.split_at(tags.len().min(NEAR));
    for tags in [near, far] {
        let open: Vec<usize> = (0..jobs.len()).filter(|&i| found[i].is_none()).collect();
        let repository = |i: usize| &jobs[i].recipe.expected.repository;
        let asked = open.iter().flat_map(|&i| tags.iter().map(move |tag| (i, tag)));
        let references: Vec<Reference> = asked.map(|(i, tag)| repository(i).with_tag(tag)).collect();
        let answers = run.client.indexes(&run.ctx, &references)?;
        for (at, index) in answers.into_iter().enumerate() {
            let place = &mut found[open[at / tags.len()]];
            *place = place.take().or(index?);
        }
    }
    let silent = |index: &&mut Index| index.revision().is_none();
    let places = found.iter_mut().zip(jobs).filter_map(|(index, job)| Some((&job.recipe.expected, index.as_mut()?)));
    let mut unread: Vec<_> =
        places.filter(|(_, index)| silent(index)).map(|(e, index)| (&e.repository, index)).collect();
    run.client.read_images(&run.ctx, &mut unread)?.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(found)
}

/// What makes a job another than the one that these images were built from. `changed` keeps, for each commit, the paths
/// that changed since; `None` if git does not know it.
fn difference(
    ctx: &Context,
    recipe: &Recipe,
    previous: &Index,
    changed: &mut BTreeMap<Commit, Option<Vec<Vec<u8>>>>,
) -> anyhow::Result<Reason> {
    let Some(commit) = previous.revision().map(|revision| revision.commit) else {
        return Ok(Reason::Changed("changed since images that name no commit".to_owned()));
    };
    let since = commit.short().to_owned();
    if !changed.contains_key(&commit) {
        changed.insert(commit.clone(), git::changed_since(ctx, &commit)?);
    }
    let Some(Some(paths)) = changed.get(&commit) else {
        return Ok(Reason::Changed(format!("changed since {since}, which git does not know here")));
    };
    let settings = recipe.job.name.settings_file();
    let is_changed = paths.iter().any(|path| path == settings.as_str().as_bytes());
    if is_changed && let Some(name) = changed_argument(ctx, recipe, &commit) {
        return Ok(Reason::Changed(format!("argument {name} changed since {since}")));
    }
    if let Some(reason) = files_changed(&recipe.tree.counting(recipe, paths), &since) {
        return Ok(reason);
    }
    let moved = previous.labels().and_then(|labels| recipe.expected.moved_base(labels));
    Ok(Reason::Changed(moved.map_or_else(|| format!("changed since {since}"), |moved| format!("base {moved}"))))
}

/// `jobs/lib/util.sh changed since 3f2a9c1`, with the number of further files.
fn files_changed(files: &BTreeSet<String>, since: &str) -> Option<Reason> {
    let (first, more) = (files.first()?, files.len() - 1);
    let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(Reason::Changed(format!("{first}{and_more} changed since {since}")))
}

/// The first build argument whose value in `job.json` is another than it was; `None` too where nobody can tell, as in
/// a clone without the content of older files.
fn changed_argument(ctx: &Context, recipe: &Recipe, commit: &Commit) -> Option<String> {
    let path = recipe.job.name.settings_file();
    let text = git::file_at(ctx, commit, path.as_str()).ok()?;
    let old = text.and_then(|text| job_settings(path.as_str(), &text).ok()).unwrap_or_default().args;
    let new = &recipe.job.settings.args;
    let names = old.keys().chain(new.keys());
    names.filter(|name| old.get(*name) != new.get(*name)).min().cloned()
}

/// The decisions by the files that changed since the merge base with a revision: for pull requests, which have no
/// registry to look in.
///
/// # Errors
/// git does not know the revision, as in a shallow clone: never an empty result.
pub fn since(run: &Run, revision: &str, recipes: &[Recipe]) -> anyhow::Result<Vec<Decision>> {
    let ctx = &run.ctx;
    let base = git::merge_base(ctx, revision)?;
    let paths = git::changed_since(ctx, &base)?.unwrap_or_default();
    let before = jobs_at(ctx, &base)?;
    let now: BTreeSet<String> = recipes.iter().map(|recipe| recipe.job.name.to_string()).collect();
    for gone in before.difference(&now).filter(|name| !ctx.root.join(JOBS_DIR).join(name).join(DOCKERFILE).exists()) {
        ctx.ui.status("Deleted", format!("{JOBS_DIR}/{gone}, since {}: nothing is built for it", base.short()));
    }
    let decision = |recipe: &Recipe| {
        let reason = match before.contains(recipe.job.name.as_str()) {
            true => files_changed(&recipe.tree.counting(recipe, &paths), base.short()),
            false => Some(Reason::Changed(format!("new since {}", base.short()))),
        };
        match reason {
            Some(reason) => Decision::new(Action::Build, &recipe.job.arches, reason),
            None => Decision::new(Action::Done, &[], Reason::Unchanged { since: base.short().to_owned() }),
        }
    };
    Ok(recipes.iter().map(decision).collect())
}

/// The names of the folders that held a Dockerfile in a commit.
fn jobs_at(ctx: &Context, commit: &Commit) -> anyhow::Result<BTreeSet<String>> {
    let entries = git::tree(ctx, commit, Some(JOBS_DIR))?;
    let name = |path: &[u8]| {
        let path = String::from_utf8_lossy(path);
        let rest = path.strip_prefix(JOBS_DIR)?.strip_prefix('/')?;
        Some(rest.strip_suffix(DOCKERFILE)?.strip_suffix('/')?.to_owned()).filter(|name| !name.contains('/'))
    };
    Ok(entries.iter().filter_map(|entry| name(&entry.path)).collect())
}
