//! A job's recipe: what it reads of the repository, its bases by digest, and the key that follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bases::{self, PinnedBase};
use super::broken::BrokenJobs;
use super::jobs::{Job, read_text};
use super::slice::Slice;
use super::tree::Tree;
use crate::dockerfile::{Dockerfile, Ignore, Inputs};
use crate::model::{Commit, Exit, Expected, Failure, Problem};
use crate::run::fleet;
use crate::settings::Run;

/// Everything that determines a job's image.
#[derive(Clone)]
pub struct Recipe {
    pub job: Job,
    /// What is read of the build context: by its Dockerfile, and by what else counts once the tree is known.
    pub inputs: Inputs,
    /// What its Dockerfile names of the build context and needs.
    pub named: Inputs,
    /// The ignore file that stands beside its Dockerfile, if there is one, or that of its own context.
    pub own_ignore: Option<Arc<Ignore>>,
    /// Sorted by name.
    pub bases: Vec<PinnedBase>,
    /// The files of the commit.
    pub tree: Arc<Tree>,
    /// What its images have to be. There is no key where an input is not committed, or a base was not resolved.
    pub expected: Expected,
    /// An input that is not committed.
    pub uncommitted: Option<String>,
    /// Why all of the context counts, if it does.
    pub whole: Option<String>,
    /// The defaults in its Dockerfile that replace what BuildKit sets, with their places.
    pub platform_defaults: Vec<String>,
}

/// What a plan is made from.
#[derive(Clone, Debug)]
pub enum Basis {
    /// What the registry holds; with `force`, images are built although others with their keys exist.
    Registry { force: bool },
    /// What another runner has planned.
    Slice(Slice),
    /// The files that changed since the merge base with a revision, told by git alone.
    Since(String),
}

impl Basis {
    /// The slice that this runner was given, if it was given one, instead of looking into the registry.
    ///
    /// # Errors
    /// The text of the slice is none.
    pub fn or_slice(self, given: &str) -> anyhow::Result<Basis> {
        if given.is_empty() {
            return Ok(self);
        }
        let slice: Slice = given.parse().map_err(|problem: Problem| problem.exit(Exit::Usage))?;
        Ok(Basis::Slice(Slice { forced: slice.forced || self.is_forced(), ..slice }))
    }

    fn is_forced(&self) -> bool {
        matches!(self, Basis::Registry { force: true } | Basis::Slice(Slice { forced: true, .. }))
    }
}

/// Works the recipes out; those of a slice for the jobs that it is about.
///
/// # Errors
/// Unless they are put aside: every Dockerfile that cannot be read, every source that is not there (2); a base that
/// cannot be resolved (4). And a slice of something else (2), a git that cannot answer (4).
pub fn recipes(run: &Run, jobs: Vec<Job>, basis: &Basis, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Recipe>> {
    // git looks through the tree while Dockerfiles are read and bases are looked up.
    let (tree, read) = std::thread::scope(|scope| {
        let tree = scope.spawn(|| Tree::read(&run.ctx));
        let read = with_bases(run, jobs, basis, broken);
        (tree.join().unwrap_or_else(|_| Err(anyhow::anyhow!("reading the tree of the commit was aborted"))), read)
    });
    let (tree, read) = (Arc::new(tree?), read?);
    let finished = fleet::each_on_all_cores(&run.ctx, &read, |recipe| {
        let mut recipe = Recipe { tree: Arc::clone(&tree), ..recipe.clone() };
        let missing = tree.finish(&run.ctx, &mut recipe);
        Failure::unless_empty(Exit::Usage, missing).map(|()| recipe)
    });
    let recipes = broken.part(of_jobs(read.iter().map(|recipe| &recipe.job), finished))?;
    if let Basis::Slice(slice) = basis {
        check_keys(slice, &recipes)?;
    }
    Ok(recipes)
}

/// Reads the Dockerfiles, and finds the digests of their bases where the plan is made from.
fn with_bases(run: &Run, jobs: Vec<Job>, basis: &Basis, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Recipe>> {
    match basis {
        Basis::Registry { .. } => {
            let mut recipes = read_all(run, jobs, basis, broken)?;
            let resolved = bases::resolve(run, &mut recipes)?;
            let jobs: Vec<Job> = recipes.iter().map(|recipe| recipe.job.clone()).collect();
            let resolved = resolved.into_iter().zip(recipes).map(|(resolved, recipe)| resolved.map(|()| recipe));
            broken.part(of_jobs(jobs.iter(), resolved.collect()))
        }
        Basis::Slice(slice) => {
            check_commit(slice, &run.target.published_revision()?.commit)?;
            let mut recipes = read_all(run, of_slice(slice, jobs)?, basis, broken)?;
            recipes.iter_mut().try_for_each(|recipe| take_bases(slice, recipe))?;
            Ok(recipes)
        }
        // What changed is told without the bases, so none need be reached.
        Basis::Since(_) => read_all(run, jobs, basis, broken),
    }
}

fn read_all(run: &Run, jobs: Vec<Job>, basis: &Basis, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Recipe>> {
    let read = fleet::each_on_all_cores(&run.ctx, &jobs, |job| {
        read(run, job, basis).map_err(|problems| Failure::of(Exit::Usage, problems))
    });
    broken.part(of_jobs(jobs.iter(), read))
}

/// Results with the names and the folders of the jobs that they are of.
fn of_jobs<'a, T>(
    jobs: impl Iterator<Item = &'a Job>,
    results: Vec<anyhow::Result<T>>,
) -> Vec<(String, String, anyhow::Result<T>)> {
    jobs.zip(results).map(|(job, result)| (job.name.to_string(), job.files.dir.to_string(), result)).collect()
}

/// Reads a job's Dockerfile into a recipe that has neither digests nor a key yet.
fn read(run: &Run, job: &Job, basis: &Basis) -> Result<Recipe, Vec<Problem>> {
    let args = &job.settings.args;
    let mut expected = expected(run, job).map_err(|problem| vec![problem])?;
    expected.forced = basis.is_forced();
    let dockerfile = dockerfile(run, job).map_err(|problem| vec![problem])?;
    check_stage(job, &dockerfile)?;
    let bases = bases::of_job(run, job, &dockerfile)?;
    expected.begins_with = dockerfile.first_images(args, &job.arches, job.settings.target.as_deref());
    let context = job.files.context.as_str();
    let inputs = dockerfile.inputs(args, &job.arches).of_context(context);
    let named = dockerfile.named_sources(args, &job.arches, job.settings.target.as_deref()).of_context(context);
    let path = &job.files.dockerfile;
    let defaults = dockerfile.platform_defaults(args, &job.arches).into_iter();
    let platform_defaults = defaults.map(|(line, text)| format!("{path}:{line}: `{text}`")).collect();
    let (job, tree) = (job.clone(), Arc::default());
    Ok(Recipe {
        job,
        inputs,
        named,
        own_ignore: None,
        bases,
        tree,
        expected,
        uncommitted: None,
        whole: None,
        platform_defaults,
    })
}

/// What a job's images have to be in this run, as far as that is known without its files.
///
/// # Errors
/// The name of the repository is too long.
fn expected(run: &Run, job: &Job) -> Result<Expected, Problem> {
    let target = &run.target;
    Ok(Expected {
        job: job.name.clone(),
        settings_file: job.files.settings_file(),
        repository: target.repository(&job.name)?,
        tag: target.tag.value.clone(),
        arches: job.arches.clone(),
        revision: target.revision.clone(),
        key: None,
        bases: BTreeMap::new(),
        begins_with: BTreeMap::new(),
        foreign_files: job.settings.foreign_files.clone(),
        attested: target.attested,
        forced: false,
    })
}

/// The same of what is published, whose first layers the Dockerfile of its commit tells.
///
/// # Errors
/// As [`expected`]; or the Dockerfile cannot be read.
pub fn expected_of_published(run: &Run, job: &Job) -> Result<Expected, Problem> {
    let dockerfile = dockerfile(run, job)?;
    let begins_with = dockerfile.first_images(&job.settings.args, &job.arches, job.settings.target.as_deref());
    Ok(Expected { begins_with, ..expected(run, job)? })
}

fn dockerfile(run: &Run, job: &Job) -> Result<Dockerfile, Problem> {
    let path = &job.files.dockerfile;
    let text = read_text(&run.ctx.root.join(path), path.as_str())?;
    Dockerfile::parse(&text).map_err(|fault| fault.at(path.as_str()))
}

/// The stage that `job.json` names has to be there.
fn check_stage(job: &Job, dockerfile: &Dockerfile) -> Result<(), Vec<Problem>> {
    let Some(wanted) = &job.settings.target else { return Ok(()) };
    let names = dockerfile.stage_names();
    if names.contains(&wanted.to_lowercase().as_str()) {
        return Ok(());
    }
    let at = format!("{}: target: `{wanted}`", job.files.settings_file());
    let problem = Problem::new(at, format!("{} has no such stage", job.files.dockerfile))
        .help("name a stage there: FROM … AS <name>")
        .did_you_mean(wanted, names);
    Err(vec![problem])
}

/// The jobs that the slice is about.
fn of_slice(slice: &Slice, mut jobs: Vec<Job>) -> anyhow::Result<Vec<Job>> {
    jobs.retain(|job| slice.job(job.position).is_some());
    if jobs.is_empty() && !slice.jobs.is_empty() {
        return Err(Problem::new("--plan", "is a slice for none of these jobs")
            .rule("a leg builds the commit that was planned")
            .help("name the jobs of the leg, or none")
            .exit(Exit::Usage));
    }
    Ok(jobs)
}

/// Takes over the digests that a slice names, in the order of the bases' names.
fn take_bases(slice: &Slice, recipe: &mut Recipe) -> anyhow::Result<()> {
    let planned = slice.job(recipe.job.position).filter(|planned| planned.bases.len() == recipe.bases.len());
    let planned = planned.ok_or_else(|| foreign(&recipe.job))?;
    for (base, digest) in recipe.bases.iter_mut().zip(&planned.bases) {
        base.digest = Some(digest.clone());
    }
    Ok(())
}

fn check_commit(slice: &Slice, commit: &Commit) -> anyhow::Result<()> {
    if slice.commit == *commit {
        return Ok(());
    }
    let what = format!("is a slice of the plan for {}, and {commit} is checked out", slice.commit);
    Err(Problem::new("--plan", what)
        .rule("a leg builds the commit that was planned")
        .help(format!("check out {}", slice.commit))
        .exit(Exit::Usage))
}

/// The keys that were worked out here have to be those that the slice was made for.
fn check_keys(slice: &Slice, recipes: &[Recipe]) -> anyhow::Result<()> {
    for recipe in recipes {
        if let Some(path) = &recipe.uncommitted {
            let what = format!("{path} is not committed, so this is not what was planned");
            return Err(Problem::new("--plan", what)
                .rule("a leg builds the commit that was planned")
                .help("check the files out as they were committed: git status shows what differs")
                .exit(Exit::Usage));
        }
        let planned = slice.job(recipe.job.position).zip(recipe.expected.key.as_ref());
        if !planned.is_some_and(|(planned, key)| planned.is_of(key)) {
            return Err(foreign(&recipe.job));
        }
    }
    Ok(())
}

fn foreign(job: &Job) -> anyhow::Error {
    Problem::new("--plan", format!("is not a slice for the job `{}` as it is here", job.name))
        .rule("a leg builds the commit that was planned, with the bases that were planned")
        .help("run `cargo xtask discover --changed --format matrix` again, on this commit")
        .exit(Exit::Usage)
}
