//! `merge`: gate, index, moving tags. Nothing is published of a job whose images are not all there and right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use xshell::{Cmd, Shell};

use crate::cli::{Merge, PlanOptions};
use crate::commands::login;
use crate::model::arch::Arch;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::{Digest, Reference, Tag};
use crate::plan::decide;
use crate::plan::jobs;
use crate::plan::recipe::Recipe;
use crate::plan::survey;
use crate::publish::gate::{self, Expected, Published, REVISION};
use crate::publish::images;
use crate::run::context::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::report::{count, human_time, markdown};
use crate::settings::config::Config;
use crate::settings::target::Target;
use crate::tools::cosign::{self, Signer};
use crate::tools::{buildx, git, process};

/// How many jobs are merged side by side: a merge waits for the registry most of the time.
pub const PARALLEL: usize = 8;

pub fn run(ctx: &Context, config: &Config, args: &Merge) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    target.published_registry("merge")?;
    target.published_revision()?;
    login::renewed(ctx, &target, || merge(ctx, config, args, &target))
}

fn merge(ctx: &Context, config: &Config, args: &Merge, target: &Target) -> anyhow::Result<()> {
    let selected = jobs::select(ctx, &args.selection)?;
    if selected.chosen.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to merge").usage());
    }
    let options = PlanOptions { force: false, plan: args.plan.clone() };
    let (_, recipes) = survey::recipes(ctx, config, target, &selected, &options)?;
    if args.dry_run.dry_run {
        return print(ctx, target, &recipes);
    }
    let merged = merge_all(ctx, target, &recipes, args.parallel.map_or(PARALLEL, usize::from))?;
    for merged in &merged.done {
        ctx.ui.data(format!("{}@{}", merged.reference, merged.index.digest));
    }
    merged.result().map(drop)
}

/// A job whose tag is published.
pub struct Merged {
    pub reference: Reference,
    pub index: Published,
}

/// Merges the jobs; those that the gate refuses do not stop the others.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn merge_all(ctx: &Context, target: &Target, recipes: &[Recipe], parallel: usize) -> anyhow::Result<Tally<Merged>> {
    let start = Instant::now();
    let labels = images::labels(ctx, target)?;
    let signer = target.signer(ctx)?;
    let results = fleet::run(&ctx.interrupt, parallel, OnFailure::GoOn, recipes, |recipe| {
        JobMerge::new(ctx, target, recipe, &labels)?.run(target, signer.as_ref())
    });
    let tally = fleet::tally(recipes.iter().map(|recipe| &recipe.job.name), results);
    let (done, tag) = (tally.done.len(), &target.tag.value);
    let line =
        format!("{done} of {} published as {tag} in {}", count(recipes.len(), "job"), human_time(start.elapsed()));
    ctx.ui.status("Finished", &line);
    let rows: Vec<Vec<String>> =
        tally.done.iter().map(|merged| vec![merged.reference.to_string(), merged.index.digest.to_string()]).collect();
    crate::run::github::summary(ctx, &format!("### Merge\n\n{line}\n\n{}", markdown(&["tag", "digest"], &rows)))?;
    Ok(tally)
}

/// Whether an error of the gate counts as refusal: with exit code 3.
pub fn refused(problems: Vec<Problem>) -> anyhow::Error {
    Failure::of(Exit::Refused, problems)
}

/// How a job's tag comes to be.
enum Step {
    /// It is published, and right.
    Unchanged(Published),
    /// An index is made of the digests that were checked; it holds these images.
    Create { digests: Vec<Digest>, images: BTreeSet<Digest> },
    /// It points to the index of an earlier run: the same digest, and no layer moves.
    Reuse(Published),
}

struct JobMerge<'a> {
    ctx: &'a Context,
    name: &'a str,
    expected: Expected,
    /// The labels of its images, which the index carries as annotations.
    annotations: BTreeMap<String, String>,
}

impl<'a> JobMerge<'a> {
    fn new(
        ctx: &'a Context,
        target: &Target,
        recipe: &'a Recipe,
        labels: &BTreeMap<String, String>,
    ) -> anyhow::Result<JobMerge<'a>> {
        let expected = survey::expected(target, recipe)?;
        Ok(JobMerge { ctx, name: recipe.job.name.as_str(), expected, annotations: images::of_job(labels, recipe) })
    }

    fn run(&self, target: &Target, signer: Option<&Signer>) -> anyhow::Result<Merged> {
        let revision = target.published_revision()?;
        let index = self.publish(self.step(revision.dirty)?)?;
        if let Some(signer) = signer {
            cosign::sign(self.ctx, signer, &self.expected.repository.with_digest(&index.digest))?;
        }
        self.write_key(&index)?;
        // A dirty tree is nobody's release.
        for tag in target.moving_tags.iter().filter(|_| !revision.dirty) {
            self.move_tag(tag, &index, &revision.commit)?;
        }
        Ok(Merged { reference: self.expected.reference(), index })
    }

    /// Decides how the job's tag comes to be.
    fn step(&self, dirty: bool) -> anyhow::Result<Step> {
        let parts = survey::parts(self.ctx, &self.expected)?;
        if let Some(existing) = buildx::inspect(self.ctx, &self.expected.reference())? {
            let problems = gate::check_whole(&self.expected, &existing, &parts, self.name);
            if problems.is_empty() {
                return Ok(Step::Unchanged(existing));
            }
            // The tag of a dirty tree names no commit, so it may be made anew.
            if !dirty {
                return Err(refused(problems));
            }
        }
        match gate::check_parts(&self.expected, &parts, self.name) {
            Ok(digests) => {
                let images = parts.values().flatten().flat_map(Published::images).cloned().collect();
                Ok(Step::Create { digests, images })
            }
            Err(problems) if parts.values().all(Option::is_none) => match self.keyed()? {
                Some(keyed) => Ok(Step::Reuse(keyed)),
                None => Err(refused(problems)),
            },
            Err(problems) => Err(refused(problems)),
        }
    }

    /// The index of an earlier run that has the same key.
    fn keyed(&self) -> anyhow::Result<Option<Published>> {
        let Some(key) = &self.expected.key else { return Ok(None) };
        let Some(keyed) = buildx::inspect(self.ctx, &self.expected.repository.with_tag(&key.tag()?))? else {
            return Ok(None);
        };
        gate::check_index(&self.expected, &keyed, self.name).map_err(refused)?;
        Ok(Some(keyed))
    }

    /// The command of a step: what `--dry-run` prints and what runs.
    fn command<'s>(&self, sh: &'s Shell, step: &Step) -> Option<Cmd<'s>> {
        let repository = &self.expected.repository;
        let reference = self.expected.reference();
        match step {
            Step::Unchanged(_) => None,
            Step::Create { digests, .. } => {
                let sources: Vec<Reference> = digests.iter().map(|digest| repository.with_digest(digest)).collect();
                Some(buildx::create(sh, &reference, &sources, &self.annotations))
            }
            Step::Reuse(keyed) => {
                Some(buildx::create(sh, &reference, &[repository.with_digest(&keyed.digest)], &BTreeMap::new()))
            }
        }
    }

    /// Makes the job's tag, unless it is there already.
    fn publish(&self, step: Step) -> anyhow::Result<Published> {
        let reference = self.expected.reference();
        buildx::write(self.ctx, &reference.to_string(), |sh| self.command(sh, &step))?;
        match step {
            Step::Unchanged(existing) => {
                self.ctx.ui.status("Unchanged", &reference);
                Ok(existing)
            }
            Step::Create { images, .. } => {
                let index = self.read_back(&reference, &images)?;
                self.ctx.ui.status("Merged", format!("{reference} ({})", shown_arches(&self.expected.arches)));
                Ok(index)
            }
            Step::Reuse(keyed) => {
                let index = self.read_back(&reference, &keyed.images().into_iter().cloned().collect())?;
                let since = decide::short(keyed.revision().unwrap_or("an unknown commit"));
                self.ctx.ui.status("Reused", format!("{reference}, unchanged since {since}"));
                Ok(index)
            }
        }
    }

    /// Lets later runs find the images again. What stands there already has the same key.
    fn write_key(&self, index: &Published) -> anyhow::Result<()> {
        let Some(key) = &self.expected.key else { return Ok(()) };
        // What this commit published before a base moved has another key.
        let is_of_key = gate::check_index(&self.expected, index, self.name).is_ok();
        let reference = self.expected.repository.with_tag(&key.tag()?);
        if !is_of_key || buildx::exists(self.ctx, &reference)? {
            return Ok(());
        }
        self.point(&reference, index)
    }

    /// Gives an index another tag: the same digest, and no layer moves.
    fn point(&self, reference: &Reference, index: &Published) -> anyhow::Result<()> {
        let source = [self.expected.repository.with_digest(&index.digest)];
        buildx::write(self.ctx, &reference.to_string(), |sh| {
            Some(buildx::create(sh, reference, &source, &BTreeMap::new()))
        })
    }

    /// What was published is looked at once more: `imagetools create` checks nothing.
    fn read_back(&self, reference: &Reference, wanted: &BTreeSet<Digest>) -> anyhow::Result<Published> {
        let Some(index) = buildx::inspect(self.ctx, reference)? else {
            let what = "was made, and is not there: the registry lost it, or somebody deleted it";
            return Err(Problem::new(reference.to_string(), what)
                .help(format!("cargo xtask merge {}", self.name))
                .refused());
        };
        gate::check_index(&self.expected, &index, self.name).map_err(refused)?;
        if index.images() != wanted.iter().collect() {
            let what = "was made, and now holds other images: somebody else writes the same tag";
            return Err(Problem::new(reference.to_string(), what)
                .help(format!("cargo xtask verify {}", self.name))
                .refused());
        }
        if !index.annotations.contains_key(REVISION) {
            self.ctx.ui.warning(format!("{reference} carries no annotations: the images have Docker's media types"));
        }
        Ok(index)
    }

    /// Moves a tag such as `latest` to this index, if that is forward.
    fn move_tag(&self, tag: &Tag, index: &Published, commit: &str) -> anyhow::Result<()> {
        let reference = self.expected.repository.with_tag(tag);
        if let Some(existing) = buildx::inspect(self.ctx, &reference)? {
            if existing.digest == index.digest {
                return Ok(());
            }
            check_forward(self.ctx, &reference, &existing, commit)?;
        }
        let source = [self.expected.repository.with_digest(&index.digest)];
        buildx::write(self.ctx, &reference.to_string(), |sh| {
            Some(buildx::create(sh, &reference, &source, &BTreeMap::new()))
        })?;
        self.ctx.ui.status("Moved", &reference);
        Ok(())
    }
}

/// A moving tag goes forward only: what it points to comes before this commit.
fn check_forward(ctx: &Context, reference: &Reference, existing: &Published, commit: &str) -> anyhow::Result<()> {
    let rule = "a moving tag moves only to a descendant of the commit it points to";
    let Some(revision) = existing.revision() else {
        let what = "carries no revision, so nobody knows whether this one is newer";
        return Err(Problem::new(reference.to_string(), what).rule(rule).help("delete the tag once").refused());
    };
    if git::is_ancestor(ctx, revision, commit)? {
        return Ok(());
    }
    Err(Problem::new(reference.to_string(), format!("would go backwards: it is at {revision}, and this is {commit}"))
        .rule(rule)
        .help("nothing, if this is the run of an older commit")
        .refused())
}

fn shown_arches(arches: &[Arch]) -> String {
    arches.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ")
}

/// What `--dry-run` prints: the commands for the jobs that the gate would let pass.
fn print(ctx: &Context, target: &Target, recipes: &[Recipe]) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let labels = images::labels(ctx, target)?;
    let mut problems = Vec::new();
    for recipe in recipes {
        let merge = JobMerge::new(ctx, target, recipe, &labels)?;
        match merge.step(target.published_revision()?.dirty) {
            Ok(step) => {
                if let Some(command) = merge.command(&sh, &step) {
                    ctx.ui.data(process::shown(ctx, command));
                }
            }
            Err(error) => problems.append(&mut error.downcast::<Failure>()?.problems),
        }
    }
    Failure::unless_empty(Exit::Refused, problems)
}
