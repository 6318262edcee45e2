//! `merge`: gate, index, moving tags. Nothing is published of a job whose images are not all there and right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::cli::Merge;
use crate::config::Config;
use crate::context::Context;
use crate::fleet::{self, OnFailure, Tally};
use crate::images;
use crate::jobs;
use crate::model::arch::Arch;
use crate::model::gate::{self, Expected, Published, REVISION};
use crate::model::job::Job;
use crate::model::leg;
use crate::model::reference::{Digest, Reference, Tag};
use crate::problem::{Exit, Failure, Problem};
use crate::report::{count, human_time, markdown};
use crate::target::Target;
use crate::tools::{buildx, git, process};

/// How many jobs are merged side by side: a merge waits for the registry most of the time.
pub const PARALLEL: usize = 8;

pub fn run(ctx: &Context, config: &Config, args: &Merge) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    target.published_registry("merge")?;
    let jobs = jobs::select(ctx, &args.selection)?;
    if jobs.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to merge").usage());
    }
    let parallel = args.parallel.map_or(PARALLEL, usize::from);
    if args.dry_run.dry_run {
        return print(ctx, config, &target, &jobs);
    }
    let merged = merge_all(ctx, config, &target, &jobs, parallel)?;
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
pub fn merge_all(
    ctx: &Context,
    config: &Config,
    target: &Target,
    jobs: &[Job],
    parallel: usize,
) -> anyhow::Result<Tally<Merged>> {
    let start = Instant::now();
    let labels = images::labels(ctx, target)?;
    let results = fleet::run(&ctx.interrupt, parallel, OnFailure::GoOn, jobs, |job| {
        let merge = JobMerge { ctx, job, expected: expected(config, target, job)?, labels: &labels };
        merge.run(target)
    });
    let tally = fleet::tally(jobs.iter().map(|job| &job.name), results);
    ctx.ui.status(
        "Finished",
        format!(
            "{} of {} published as {} in {}",
            tally.done.len(),
            count(jobs.len(), "job"),
            target.tag.value,
            human_time(start.elapsed())
        ),
    );
    let rows: Vec<Vec<String>> =
        tally.done.iter().map(|merged| vec![merged.reference.to_string(), merged.index.digest.to_string()]).collect();
    crate::github::summary(ctx, &format!("### Merge\n\n{}", markdown(&["tag", "digest"], &rows)))?;
    Ok(tally)
}

/// What a job's images have to be in this run.
pub fn expected(config: &Config, target: &Target, job: &Job) -> anyhow::Result<Expected> {
    Ok(Expected {
        repository: target.repository(job.name.as_str()).map_err(Problem::usage)?,
        tag: target.tag.value.clone(),
        arches: leg::arches(job, &config.runners),
        revision: target.published_revision()?.label(),
    })
}

/// What the registry holds under each architecture's tag.
pub fn look_at_parts(ctx: &Context, expected: &Expected) -> anyhow::Result<BTreeMap<Arch, Option<Published>>> {
    expected.arches.iter().map(|&arch| Ok((arch, buildx::inspect(ctx, &expected.arch_reference(arch))?))).collect()
}

/// Whether an error of the gate counts as refusal: with exit code 3.
pub fn refused(problems: Vec<Problem>) -> anyhow::Error {
    Failure::of(Exit::Refused, problems)
}

struct JobMerge<'a> {
    ctx: &'a Context,
    job: &'a Job,
    expected: Expected,
    labels: &'a BTreeMap<String, String>,
}

impl JobMerge<'_> {
    fn run(&self, target: &Target) -> anyhow::Result<Merged> {
        let index = self.publish(target)?;
        let revision = target.published_revision()?;
        // A dirty tree is nobody's release.
        for tag in target.moving_tags.iter().filter(|_| !revision.dirty) {
            self.move_tag(tag, &index, &revision.commit)?;
        }
        Ok(Merged { reference: self.expected.reference(), index })
    }

    /// Makes the job's tag, unless it is there already.
    fn publish(&self, target: &Target) -> anyhow::Result<Published> {
        let name = self.job.name.as_str();
        let reference = self.expected.reference();
        let parts = look_at_parts(self.ctx, &self.expected)?;
        if let Some(existing) = buildx::inspect(self.ctx, &reference)? {
            let problems = [
                gate::check_index(&self.expected, &existing, name),
                gate::check_agreement(&self.expected, &existing, &parts, name),
            ];
            let problems: Vec<Problem> = problems.into_iter().filter_map(Result::err).flatten().collect();
            if problems.is_empty() {
                self.ctx.ui.status("Unchanged", &reference);
                return Ok(existing);
            }
            // The tag of a dirty tree names no commit, so it may be made anew.
            if !target.published_revision()?.dirty {
                return Err(refused(problems));
            }
        }
        let digests = gate::check_parts(&self.expected, &parts, name).map_err(refused)?;
        let sources: Vec<Reference> =
            digests.iter().map(|digest| self.expected.repository.with_digest(digest)).collect();
        let annotations = self.annotations();
        buildx::write(self.ctx, &reference.to_string(), |sh| buildx::create(sh, &reference, &sources, &annotations))?;
        let index = self.read_back(&reference, &parts)?;
        self.ctx.ui.status("Merged", format!("{reference} ({})", shown_arches(&self.expected.arches)));
        Ok(index)
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self.labels.clone();
        annotations.insert("org.opencontainers.image.title".to_owned(), self.job.name.to_string());
        annotations
    }

    /// What was published is looked at once more: `imagetools create` checks nothing.
    fn read_back(&self, reference: &Reference, parts: &BTreeMap<Arch, Option<Published>>) -> anyhow::Result<Published> {
        let name = self.job.name.as_str();
        let Some(index) = buildx::inspect(self.ctx, reference)? else {
            let what = "was made, and is not there: the registry lost it, or somebody deleted it";
            return Err(Problem::new(reference.to_string(), what).help(format!("cargo xtask merge {name}")).refused());
        };
        gate::check_index(&self.expected, &index, name).map_err(refused)?;
        let wanted: BTreeSet<&Digest> = parts.values().flatten().flat_map(Published::images).collect();
        if index.images() != wanted {
            let what = "was made, and now holds other images: somebody else writes the same tag";
            return Err(Problem::new(reference.to_string(), what).help(format!("cargo xtask verify {name}")).refused());
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
            buildx::create(sh, &reference, &source, &BTreeMap::new())
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
fn print(ctx: &Context, config: &Config, target: &Target, jobs: &[Job]) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let labels = images::labels(ctx, target)?;
    let mut problems = Vec::new();
    for job in jobs {
        let merge = JobMerge { ctx, job, expected: expected(config, target, job)?, labels: &labels };
        let parts = look_at_parts(ctx, &merge.expected)?;
        match gate::check_parts(&merge.expected, &parts, job.name.as_str()) {
            Ok(digests) => {
                let repository = &merge.expected.repository;
                let sources: Vec<Reference> = digests.iter().map(|digest| repository.with_digest(digest)).collect();
                let create = buildx::create(&sh, &merge.expected.reference(), &sources, &merge.annotations());
                ctx.ui.data(process::shown(ctx, create));
            }
            Err(mut found) => problems.append(&mut found),
        }
    }
    Failure::unless_empty(Exit::Refused, problems)
}
