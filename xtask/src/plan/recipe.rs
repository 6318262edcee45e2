//! A job's recipe: its Dockerfile, its bases by digest, its files, and the key that follows from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::instruction::Dockerfile;
use crate::model::arch::Arch;
use crate::model::job::{Job, SETTINGS_FILE};
use crate::model::key::{Ingredients, Key};
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::{Digest, Reference};
use crate::plan::bases::{self, Digests, Use};
use crate::plan::leg;
use crate::plan::slice::{Slice, SliceJob};
use crate::plan::tree::{Question, Tree};
use crate::run::context::Context;
use crate::run::fleet;
use crate::settings::config::{Config, did_you_mean};

/// Everything that determines a job's image.
pub struct Recipe {
    pub job: Job,
    /// Position among all jobs of the commit, sorted by name.
    pub position: usize,
    pub arches: Vec<Arch>,
    pub dockerfile: Dockerfile,
    /// The digests of the images that it builds from on any architecture, by the names that the Dockerfile gives them.
    pub bases: BTreeMap<String, Digest>,
    /// Whether a base brings instructions of its own.
    pub triggers: bool,
    /// `None` where an input is not committed.
    pub key: Option<Key>,
    /// An input that is not committed.
    pub uncommitted: Option<String>,
    /// Why all of the context counts, if it does.
    pub whole: Option<String>,
}

impl Recipe {
    /// Which files its Dockerfile reads; what a base's own instructions may read is not asked.
    pub fn question(&self) -> Question<'_> {
        Question { job: &self.job, dockerfile: &self.dockerfile, arches: &self.arches, triggers: None }
    }

    /// What the recipe's leg is told; `None` without a key.
    pub fn slice_job(&self) -> Option<SliceJob> {
        let bases = self.bases.values().cloned().collect();
        Some(SliceJob::new(self.position, self.key.as_ref()?, bases, self.triggers))
    }
}

/// The Dockerfiles of several jobs, read and checked.
pub struct Sources {
    jobs: Vec<Source>,
}

/// A job with its position, its Dockerfile, and the images that this builds from.
type Source = (usize, Job, Dockerfile, Vec<Use>);

impl Sources {
    /// Reads the jobs' Dockerfiles. `all` are the jobs of the commit, for their positions.
    ///
    /// # Errors
    /// Every Dockerfile that cannot be read or whose bases cannot be known, with exit code 2.
    pub fn read(
        ctx: &Context,
        config: &Config,
        mirrors: &BTreeMap<String, String>,
        all: &[Job],
        jobs: &[Job],
    ) -> anyhow::Result<Sources> {
        let read = fleet::all(ctx, cores(), jobs, |job| {
            let arches = leg::arches(job, &config.runners);
            let read = bases::read(ctx, job).map_err(|problem| vec![problem]);
            Ok(read.and_then(|dockerfile| {
                check_stage(job, &dockerfile)?;
                let uses = uses(job, &dockerfile, &arches, mirrors)?;
                Ok((all.partition_point(|other| other.name < job.name), job.clone(), dockerfile, uses))
            }))
        })?;
        let (mut sources, mut problems) = (Vec::new(), Vec::new());
        for result in read {
            match result {
                Ok(source) => sources.push(source),
                Err(mut found) => problems.append(&mut found),
            }
        }
        Failure::unless_empty(Exit::Usage, problems)?;
        Ok(Sources { jobs: sources })
    }

    /// Looks up the digests of all bases.
    ///
    /// # Errors
    /// With exit code 4, every base that cannot be resolved.
    pub fn resolve(&self, ctx: &Context) -> anyhow::Result<Digests> {
        bases::resolve(ctx, &bases::union(self.jobs.iter().map(|(.., uses)| uses)))
    }

    /// The digests that a slice names, in the order of the bases' names.
    ///
    /// # Errors
    /// The slice is not of this commit.
    pub fn of_slice(&self, slice: &Slice) -> anyhow::Result<Digests> {
        let mut digests = Digests::default();
        for (position, job, _, uses) in &self.jobs {
            let by_name: BTreeMap<&str, &Reference> = uses.iter().map(|u| (u.written.as_str(), &u.pulled)).collect();
            let told = slice.jobs.iter().find(|told| told.position == *position);
            let told = told.filter(|told| told.bases.len() == by_name.len()).ok_or_else(|| foreign(job))?;
            for (pulled, digest) in by_name.values().zip(&told.bases) {
                digests.add(pulled, digest.clone(), told.triggers);
            }
        }
        Ok(digests)
    }

    /// Works the keys out.
    ///
    /// # Errors
    /// Every source of a `COPY` that is not there, with exit code 2.
    pub fn recipes(
        self,
        ctx: &Context,
        config: &Config,
        tree: &Tree,
        digests: &Digests,
    ) -> anyhow::Result<Vec<Recipe>> {
        let worked_out = fleet::all(ctx, cores(), &self.jobs, |source| Ok(recipe(ctx, config, tree, source, digests)))?;
        let (recipes, missing): (Vec<_>, Vec<_>) = worked_out.into_iter().unzip();
        Failure::unless_empty(Exit::Usage, missing.into_iter().flatten().collect())?;
        Ok(recipes)
    }
}

/// Works a job's key out; the second part are the sources that are not there.
fn recipe(ctx: &Context, config: &Config, tree: &Tree, source: &Source, digests: &Digests) -> (Recipe, Vec<Problem>) {
    let (position, job, dockerfile, uses) = source;
    let arches = leg::arches(job, &config.runners);
    let triggering = uses.iter().find(|used| digests.triggers(&used.pulled));
    let triggers = triggering.map(|used| used.written.as_str());
    let files = tree.files(ctx, &Question { job, dockerfile, arches: &arches, triggers });
    let digest = |used: &Use| Some((used.written.clone(), digests.get(&used.pulled)?.clone()));
    let bases: BTreeMap<String, Digest> = uses.iter().filter_map(digest).collect();
    let ingredients = Ingredients {
        stage: job.settings.target.as_deref(),
        args: &job.settings.args,
        bases: &bases,
        files: files.named,
        context: files.context,
    };
    let recipe = Recipe {
        key: files.uncommitted.is_none().then(|| ingredients.key()),
        job: job.clone(),
        position: *position,
        dockerfile: dockerfile.clone(),
        arches,
        bases,
        triggers: triggers.is_some(),
        uncommitted: files.uncommitted,
        whole: files.whole,
    };
    (recipe, files.missing)
}

/// How many threads read and hash side by side.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The stage that `job.json` names has to be there.
fn check_stage(job: &Job, dockerfile: &Dockerfile) -> Result<(), Vec<Problem>> {
    let Some(wanted) = &job.settings.target else { return Ok(()) };
    let names: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    if names.contains(&wanted.to_lowercase().as_str()) {
        return Ok(());
    }
    let at = format!("{}/{SETTINGS_FILE}: target: `{wanted}`", job.dir());
    let problem = Problem::new(at, format!("{} has no such stage", job.dockerfile()));
    Err(vec![match did_you_mean(wanted, names.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("name a stage there: FROM … AS <name>"),
    }])
}

/// The images that a job builds from, over all of its architectures.
fn uses(
    job: &Job,
    dockerfile: &Dockerfile,
    arches: &[Arch],
    mirrors: &BTreeMap<String, String>,
) -> Result<Vec<Use>, Vec<Problem>> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for &arch in arches {
        let found = bases::used(job, dockerfile, mirrors, (arch, arch))?;
        all.extend(found.into_iter().filter(|used| seen.insert(used.written.clone())));
    }
    Ok(all)
}

/// Checks that the keys worked out here are those that the slice was made for.
///
/// # Errors
/// The slice is of another commit, or of other files.
pub fn check_slice(slice: &Slice, commit: &str, recipes: &[Recipe]) -> anyhow::Result<()> {
    if slice.commit != commit {
        let what = format!("is a slice of the plan for {}, and {commit} is checked out", slice.commit);
        return Err(Problem::new("--plan", what).rule("a leg builds the commit that was planned").usage());
    }
    for recipe in recipes {
        let told = slice.jobs.iter().find(|told| told.position == recipe.position);
        let is_same = told.zip(recipe.key.as_ref()).is_some_and(|(told, key)| told.is_of(key));
        if let Some(path) = &recipe.uncommitted {
            return Err(
                Problem::new("--plan", format!("{path} is not committed, so this is not what was planned")).usage()
            );
        }
        if !is_same {
            return Err(foreign(&recipe.job));
        }
    }
    Ok(())
}

fn foreign(job: &Job) -> anyhow::Error {
    Problem::new("--plan", format!("is not a slice for the job `{}` as it is here", job.name))
        .rule("a leg builds the commit that was planned, with the bases that were planned")
        .help("run `cargo xtask discover --changed --format matrix` again, on this commit")
        .usage()
}
