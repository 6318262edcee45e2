//! The survey: what the jobs are made of, what the registry holds of them, and the plan that follows.

use std::collections::BTreeMap;

use crate::cli::PlanOptions;
use crate::model::job::SETTINGS_FILE;
use crate::model::key;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::Tag;
use crate::plan::bases::Digests;
use crate::plan::decide::{Action, Decision, Force, Held, Reason, decide, short};
use crate::plan::jobs::Selected;
use crate::plan::recipe::{Recipe, Sources, check_slice};
use crate::plan::slice::Slice;
use crate::plan::tree::Tree;
use crate::publish::gate::{self, Expected, Published};
use crate::run::context::Context;
use crate::run::fleet;
use crate::settings::config::{Config, job_settings};
use crate::settings::target::Target;
use crate::tools::{builder, buildx, git};

/// How many look-ups run side by side.
const PARALLEL: usize = 8;
/// How many commits are looked back for the images that a job had before.
const LOOK_BACK: usize = 10;

/// A job with its plan.
pub struct Planned {
    pub recipe: Recipe,
    pub expected: Expected,
    pub decision: Decision,
}

/// Everything that is known before something is done.
pub struct Survey {
    /// Of every base.
    pub digests: Digests,
    pub jobs: Vec<Planned>,
}

/// Works out recipes and keys, from the slice if there is one, and the plan.
///
/// # Errors
/// What makes a Dockerfile unusable (2), a slice of another commit (2), a base or registry that cannot be reached (4).
pub fn survey(
    ctx: &Context,
    config: &Config,
    target: &Target,
    selected: &Selected,
    options: &PlanOptions,
) -> anyhow::Result<Survey> {
    let (digests, recipes) = recipes(ctx, config, target, selected, options)?;
    let force = if options.force { Force::Yes } else { Force::No };
    let expected = recipes.iter().map(|recipe| expected(target, recipe)).collect::<anyhow::Result<Vec<_>>>()?;
    let tasks: Vec<(Recipe, Expected)> = recipes.into_iter().zip(expected).collect();
    let decisions = match &target.registry {
        Some(_) => fleet::all(ctx, PARALLEL, &tasks, |(recipe, expected)| {
            let held = if force == Force::Yes { Held::default() } else { look(ctx, recipe, expected)? };
            Ok(decide(expected, &held, recipe.uncommitted.as_deref(), force))
        })?,
        None => tasks.iter().map(|(recipe, expected)| unknown(recipe, expected)).collect(),
    };
    let mut jobs: Vec<Planned> = tasks
        .into_iter()
        .zip(decisions)
        .map(|((recipe, expected), decision)| Planned { recipe, expected, decision })
        .collect();
    explain(ctx, target, &mut jobs)?;
    Ok(Survey { digests, jobs })
}

/// The recipes alone, without a look at the registry of the images.
pub fn recipes(
    ctx: &Context,
    config: &Config,
    target: &Target,
    selected: &Selected,
    options: &PlanOptions,
) -> anyhow::Result<(Digests, Vec<Recipe>)> {
    builder::buildx_version(ctx)?;
    let too_long = selected.chosen.iter().filter_map(|job| target.repository(job.name.as_str()).err());
    Failure::unless_empty(Exit::Usage, too_long.collect())?;
    let Some(slice) = options.slice()? else {
        // git looks through the tree while Dockerfiles are read and bases are looked up.
        let (tree, sources) = std::thread::scope(|scope| {
            let tree = scope.spawn(|| Tree::read(ctx));
            let sources = Sources::read(ctx, config, &target.mirrors, &selected.all, &selected.chosen)
                .and_then(|sources| Ok((sources.resolve(ctx)?, sources)));
            (tree.join(), sources)
        });
        let (digests, sources) = sources?;
        let tree = tree.unwrap_or_else(|_| Tree::read(ctx))?;
        let recipes = sources.recipes(ctx, config, &tree, &digests)?;
        return Ok((digests, recipes));
    };
    let commit = target.published_revision()?.commit.clone();
    let jobs = of_slice(&slice, &commit, selected)?;
    let sources = Sources::read(ctx, config, &target.mirrors, &selected.all, &jobs)?;
    let digests = sources.of_slice(&slice)?;
    let recipes = sources.recipes(ctx, config, &Tree::read(ctx)?, &digests)?;
    check_slice(&slice, &commit, &recipes)?;
    Ok((digests, recipes))
}

/// The chosen jobs that the slice is about.
fn of_slice(slice: &Slice, commit: &str, selected: &Selected) -> anyhow::Result<Vec<crate::model::job::Job>> {
    if slice.commit != commit {
        check_slice(slice, commit, &[])?;
    }
    let mut jobs = Vec::new();
    for told in &slice.jobs {
        let Some(job) = selected.all.get(told.position) else {
            let what = format!("names the job at position {}, and there are {}", told.position, selected.all.len());
            return Err(Problem::new("--plan", what).rule("a leg builds the commit that was planned").usage());
        };
        if selected.chosen.iter().any(|chosen| chosen.name == job.name) {
            jobs.push(job.clone());
        }
    }
    Ok(jobs)
}

/// What a job's images have to be in this run.
pub fn expected(target: &Target, recipe: &Recipe) -> anyhow::Result<Expected> {
    Ok(Expected {
        repository: target.repository(recipe.job.name.as_str()).map_err(Problem::usage)?,
        tag: target.tag.value.clone(),
        arches: recipe.arches.clone(),
        revision: target.revision.as_ref().map(crate::settings::target::Revision::label).unwrap_or_default(),
        key: recipe.key.clone(),
        bases: recipe.bases.clone(),
        attested: target.attested,
    })
}

/// Looks at what the registry holds of a job, as far as the decision needs it.
fn look(ctx: &Context, recipe: &Recipe, expected: &Expected) -> anyhow::Result<Held> {
    let Some(key) = &recipe.key else { return Ok(Held::default()) };
    let mut held = Held { index: buildx::inspect(ctx, &expected.reference())?, ..Held::default() };
    if held.index.as_ref().is_some_and(|index| gate::is_right(expected, index)) {
        let there = |arch| buildx::exists(ctx, &expected.arch_reference(arch));
        let there = expected.arches.iter().map(|&arch| there(arch)).collect::<anyhow::Result<Vec<bool>>>()?;
        if there.iter().all(|there| *there) || there.iter().all(|there| !there) {
            return Ok(held);
        }
    }
    let key_tag = expected.repository.with_tag(&key.tag()?);
    held.keyed = buildx::inspect(ctx, &key_tag)?;
    held.parts = parts(ctx, expected)?;
    Ok(held)
}

/// What the registry holds under each architecture's tag.
pub fn parts(
    ctx: &Context,
    expected: &Expected,
) -> anyhow::Result<BTreeMap<crate::model::arch::Arch, Option<Published>>> {
    expected.arches.iter().map(|&arch| Ok((arch, buildx::inspect(ctx, &expected.arch_reference(arch))?))).collect()
}

/// Without a registry nothing is known to exist.
fn unknown(recipe: &Recipe, expected: &Expected) -> Decision {
    let reason = match &recipe.uncommitted {
        Some(path) => Reason::NotCommitted(path.clone()),
        None => Reason::Changed("there is no registry to find images in".to_owned()),
    };
    Decision { action: Action::Build, arches: expected.arches.clone(), reason }
}

/// Finds out what changed for the jobs whose inputs are new.
fn explain(ctx: &Context, target: &Target, jobs: &mut [Planned]) -> anyhow::Result<()> {
    let new: Vec<usize> = (0..jobs.len()).filter(|&i| jobs[i].decision.reason == Reason::OtherInputs).collect();
    if new.is_empty() {
        return Ok(());
    }
    let ancestors = git::ancestors(ctx, LOOK_BACK)?;
    let mut tags = target.moving_tags.clone();
    tags.extend(ancestors.iter().filter_map(|commit| target.tag_of_commit(commit)));
    let found = fleet::all(ctx, PARALLEL, &new, |&i| previous(ctx, &jobs[i].expected, &tags))?;
    let tree = Tree::read(ctx)?;
    let mut changed = BTreeMap::new();
    for (i, previous) in new.into_iter().zip(found) {
        let planned = &mut jobs[i];
        planned.decision.reason = match previous {
            Some(previous) => difference(ctx, &tree, &planned.recipe, &previous, &mut changed)?,
            None => Reason::NeverBuilt,
        };
    }
    Ok(())
}

/// The job's images of an earlier run.
fn previous(ctx: &Context, expected: &Expected, tags: &[Tag]) -> anyhow::Result<Option<Published>> {
    for tag in tags {
        if let Some(found) = buildx::inspect(ctx, &expected.repository.with_tag(tag))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The paths that changed since a commit; `None` if git does not know it.
type Changed = BTreeMap<String, Option<Vec<Vec<u8>>>>;

/// What makes a job another than the one that these images were built from.
fn difference(
    ctx: &Context,
    tree: &Tree,
    recipe: &Recipe,
    previous: &Published,
    changed: &mut Changed,
) -> anyhow::Result<Reason> {
    let revision = previous.revision().unwrap_or_default().trim_end_matches("-dirty").to_owned();
    if !changed.contains_key(&revision) {
        changed.insert(revision.clone(), git::changed_since(ctx, &revision)?);
    }
    let Some(Some(paths)) = changed.get(&revision) else {
        return Ok(Reason::Changed(format!("changed since {}, which git does not know here", short(&revision))));
    };
    if let Some(name) = changed_argument(ctx, recipe, &revision)? {
        return Ok(Reason::Changed(format!("argument {name} changed since {}", short(&revision))));
    }
    let files = tree.counting(ctx, &recipe.question(), paths);
    if let Some(reason) = files_changed(&files, short(&revision)) {
        return Ok(reason);
    }
    Ok(Reason::Changed(moved(recipe, previous).unwrap_or_else(|| format!("changed since {}", short(&revision)))))
}

/// `jobs/lib/util.sh changed since 3f2a9c1`, with the number of further files.
pub fn files_changed(files: &[String], since: &str) -> Option<Reason> {
    let (first, more) = files.split_first()?;
    let and_more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Some(Reason::Changed(format!("{first}{and_more} changed since {since}")))
}

/// The first build argument whose value in `job.json` is another than it was.
fn changed_argument(ctx: &Context, recipe: &Recipe, revision: &str) -> anyhow::Result<Option<String>> {
    let path = recipe.job.dir().join(SETTINGS_FILE).into_string();
    let text = git::file_at(ctx, revision, &path)?;
    let old = text.and_then(|text| job_settings(&path, &text).ok()).unwrap_or_default().args;
    let new = &recipe.job.settings.args;
    let names = old.keys().chain(new.keys());
    Ok(names.filter(|name| old.get(*name) != new.get(*name)).min().cloned())
}

/// The first base that points to something else than it did.
fn moved(recipe: &Recipe, previous: &Published) -> Option<String> {
    let (_, _, labels) = previous.image_manifests().next()?;
    let key::Moved { name, old, new } = key::moved_base(labels, &recipe.bases)?;
    Some(format!("base {name} moved ({} → {})", old.short(), new.short()))
}
