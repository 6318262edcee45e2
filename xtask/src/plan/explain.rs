//! Why a job is to be built: what changed since its images of an earlier run, or since a commit that is named.

mod why;

use std::collections::{BTreeMap, BTreeSet};

use super::Planned;
use super::decide::{Action, Decision, Reason};
use super::recipe::Recipe;
use crate::model::{Commit, DOCKERFILE, Index, PathPattern, Reference, Tag, clean, is_pattern};
use crate::run::Context;
use crate::settings::{JobSettings, Run, job_settings};
use crate::tools::git;

pub use why::{Chain, Factor, why};

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
    let recipes: Vec<&Recipe> = new.iter().map(|job| &job.recipe).collect();
    let found = previous(run, &recipes, &earlier_tags(run)?)?;
    let mut changed = BTreeMap::new();
    for (job, previous) in new.into_iter().zip(found) {
        job.decision.reason = match previous {
            Some(previous) => difference(&run.ctx, &job.recipe, &previous, &mut changed)?,
            None => Reason::NeverBuilt,
        };
    }
    Ok(())
}

/// The tags under which a job may have had images before, the likeliest first.
fn earlier_tags(run: &Run) -> anyhow::Result<Vec<Tag>> {
    let ancestors = git::ancestors(&run.ctx, LOOK_BACK)?;
    let digits = run.config.sha_length;
    let of_commits = ancestors.iter().filter_map(|commit| format!("{commit:.digits$}").parse().ok());
    Ok(run.target.moving_tags.iter().cloned().chain(of_commits).collect())
}

/// The jobs' images of earlier runs: what the first of the tags that exists points to. Most often that is one of the
/// first tags, so the others are asked for only where it is not.
///
/// # Errors
/// The registry cannot be reached.
fn previous(run: &Run, jobs: &[&Recipe], tags: &[Tag]) -> anyhow::Result<Vec<Option<Index>>> {
    let mut found: Vec<Option<Index>> = jobs.iter().map(|_| None).collect();
    let (near, far) = tags.split_at(tags.len().min(NEAR));
    for tags in [near, far] {
        let open: Vec<usize> = (0..jobs.len()).filter(|&i| found[i].is_none()).collect();
        let repository = |i: usize| &jobs[i].expected.repository;
        let asked = open.iter().flat_map(|&i| tags.iter().map(move |tag| (i, tag)));
        let references: Vec<Reference> = asked.map(|(i, tag)| repository(i).with_tag(tag)).collect();
        let answers = run.client.indexes(&run.ctx, &references)?;
        for (at, index) in answers.into_iter().enumerate() {
            let place = &mut found[open[at / tags.len()]];
            *place = place.take().or(index?);
        }
    }
    let silent = |index: &&mut Index| index.revision().is_none();
    let places = found.iter_mut().zip(jobs).filter_map(|(index, job)| Some((&job.expected, index.as_mut()?)));
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
    let settings = recipe.job.files.settings_file();
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
    let old = settings_at(ctx, recipe, commit)?.args;
    let new = &recipe.job.settings.args;
    let names = old.keys().chain(new.keys()).filter(|name| !recipe.job.settings.env_args.contains(name));
    names.filter(|name| old.get(*name) != new.get(*name)).min().cloned()
}

/// What `job.json` said of the job in a commit; `None` where nobody can tell.
fn settings_at(ctx: &Context, recipe: &Recipe, commit: &Commit) -> Option<JobSettings> {
    let path = recipe.job.files.settings_file();
    let text = git::file_at(ctx, commit, path.as_str()).ok()?;
    let mut old = text.and_then(|text| job_settings(path.as_str(), &text).ok()).unwrap_or_default();
    let of_folder = old.remove(&None);
    Some(old.remove(&Some(recipe.job.name.to_string())).or(of_folder).unwrap_or_default())
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
    let before = git::tree(ctx, &base, None)?;
    let before: BTreeSet<&[u8]> = before.iter().map(|entry| entry.path.as_slice()).collect();
    for gone in before.iter().filter_map(|path| folder_of_job(&run.config.jobs_dirs, path)) {
        if !ctx.root.join(&gone).join(DOCKERFILE).exists() {
            ctx.ui.status("Deleted", format!("{gone}, since {}: nothing is built for it", base.short()));
        }
    }
    let other_context = has_other_context(ctx, &base, &paths);
    let decision = |recipe: &Recipe| {
        let since = base.short();
        let reason = match before.contains(recipe.job.files.dockerfile.as_str().as_bytes()) {
            true if other_context && recipe.job.settings.context.is_none() => {
                Some(Reason::Changed(format!("`context` in Cargo.toml changed since {since}")))
            }
            true => files_changed(&recipe.tree.counting(recipe, &paths), since),
            false => Some(Reason::Changed(format!("new since {since}"))),
        };
        match reason {
            Some(reason) => Decision::new(Action::Build, &recipe.job.arches, reason),
            None => Decision::new(Action::Done, &[], Reason::Unchanged { since: base.short().to_owned() }),
        }
    };
    Ok(recipes.iter().map(decision).collect())
}

/// The folder whose Dockerfile this is, if it is one of those that hold jobs.
fn folder_of_job(jobs_dirs: &[String], path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let folder = path.strip_suffix(DOCKERFILE)?.strip_suffix('/')?;
    let names: Vec<&str> = folder.split('/').collect();
    let (_, parent) = names.split_last()?;
    let is_meant = |dir: &String| {
        let dir = clean(dir);
        let Ok(pattern) = PathPattern::new(&dir) else { return false };
        dir.is_empty() && parent.is_empty() || pattern.matches(parent) || is_pattern(&dir) && pattern.matches(&names)
    };
    jobs_dirs.iter().any(is_meant).then(|| folder.to_owned())
}

/// Whether the build context of jobs that name none is another one than in a commit; as far as the lines of the root's
/// manifest tell, which cannot be read as a whole there.
fn has_other_context(ctx: &Context, commit: &Commit, changed: &[Vec<u8>]) -> bool {
    const MANIFEST: &str = "Cargo.toml";
    if !changed.iter().any(|path| path == MANIFEST.as_bytes()) {
        return false;
    }
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(str::trim).filter(|line| line.starts_with("context")).map(str::to_owned).collect()
    };
    let old = git::file_at(ctx, commit, MANIFEST).ok().flatten().unwrap_or_default();
    lines(&old) != lines(&std::fs::read_to_string(ctx.root.join(MANIFEST)).unwrap_or_default())
}
