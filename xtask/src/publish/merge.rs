//! Merging: what passes the gate becomes an index under the job's tag; then `key-…`, a signature, and moving tags last.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use xshell::{Cmd, Shell};

use super::gate::{self, Passed};
use crate::model::{Exit, Expected, Failure, Index, Problem, Reference, Tag};
use crate::plan::{Recipe, RegistryState, look};
use crate::run::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{count, human_time, markdown, summary};
use crate::settings::Run;
use crate::tools::{Signer, buildx, git, process};

/// How many jobs are merged side by side: a merge waits for the registry most of the time.
const PARALLEL: usize = 8;

/// A job whose tag is published.
pub struct Merged {
    pub reference: Reference,
    pub index: Index,
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference, self.index.digest)
    }
}

/// Merges the jobs; those that the gate refuses do not stop the others.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn merge_all(run: &Run, recipes: &[&Recipe], parallel: Option<u16>) -> anyhow::Result<Tally<Merged>> {
    let start = Instant::now();
    let signer = signer(run)?;
    let parallel = parallel.map_or(PARALLEL, usize::from);
    let merge = |recipe: &&Recipe| Merge::new(run, recipe).run(signer.as_ref());
    let tally = fleet::run(&run.ctx, parallel, OnFailure::GoOn, recipes, |recipe| &recipe.job.name, merge);
    let (done, tag) = (tally.done.len(), &run.target.tag.value);
    let line =
        format!("{done} of {} published as {tag} in {}", count(recipes.len(), "job"), human_time(start.elapsed()));
    run.ctx.ui.status("Finished", &line);
    let rows: Vec<Vec<String>> =
        tally.done.iter().map(|merged| vec![merged.reference.to_string(), merged.index.digest.to_string()]).collect();
    summary(&run.ctx, &format!("### Merge\n\n{line}\n\n{}", markdown(&["tag", "digest"], &rows)))?;
    Ok(tally)
}

/// Who signs, where the target wants signatures.
///
/// # Errors
/// There is nobody, or cosign is missing: with exit code 4, before anything is published.
fn signer(run: &Run) -> anyhow::Result<Option<Signer>> {
    run.target.sign.then(|| Signer::find(&run.ctx)).transpose()
}

/// The commands that [`merge_all`] would run first, quoted for a shell: one for each job whose tag is to be made.
///
/// # Errors
/// What the gate refuses, with exit code 3; or the registry cannot be reached.
pub fn merge_commands(run: &Run, recipes: &[Recipe]) -> Tally<Option<String>> {
    fleet::run(
        &run.ctx,
        PARALLEL,
        OnFailure::GoOn,
        recipes,
        |recipe| &recipe.job.name,
        |recipe| {
            let merge = Merge::new(run, recipe);
            match merge.pass()? {
                Passed::Unchanged(_) => Ok(None),
                passed => process::shown(&run.ctx, |sh| merge.command(sh, &passed)).map(Some),
            }
        },
    )
}

/// The merge of one job.
struct Merge<'a> {
    run: &'a Run,
    expected: &'a Expected,
    /// The labels of its images, which the index carries as annotations.
    annotations: BTreeMap<String, String>,
}

impl<'a> Merge<'a> {
    fn new(run: &'a Run, recipe: &'a Recipe) -> Merge<'a> {
        Merge { run, expected: &recipe.expected, annotations: recipe.expected.labels(run.target.source.as_deref()) }
    }

    fn run(&self, signer: Option<&Signer>) -> anyhow::Result<Merged> {
        let Merge { run, expected, .. } = *self;
        let revision = run.target.published_revision()?;
        let passed = self.pass()?;
        let is_new = matches!(passed, Passed::Create { .. });
        let index = self.publish(passed)?;
        if let Some(signer) = signer {
            signer.sign(&run.ctx, &expected.repository.with_digest(&index.digest))?;
        }
        self.write_key(&index, is_new)?;
        // A dirty tree is nobody's release.
        for tag in run.target.moving_tags.iter().filter(|_| !revision.dirty) {
            self.move_tag(tag, &index)?;
        }
        Ok(Merged { reference: expected.reference(None), index })
    }

    /// Looks up what the registry holds, and asks the gate.
    ///
    /// # Errors
    /// The gate refuses, with exit code 3; or the registry cannot be reached.
    fn pass(&self) -> anyhow::Result<Passed> {
        gate::pass(self.expected, &look(&self.run.ctx, self.expected)?).map_err(refused)
    }

    /// The command that makes the job's tag: what `--dry-run` prints and what runs.
    fn command<'s>(&self, sh: &'s Shell, passed: &Passed) -> Cmd<'s> {
        let (none, repository) = (BTreeMap::new(), &self.expected.repository);
        let (digests, annotations) = match passed {
            Passed::Create { digests, .. } => (digests.as_slice(), &self.annotations),
            Passed::Reuse(index) | Passed::Unchanged(index) => (std::slice::from_ref(&index.digest), &none),
        };
        let sources: Vec<Reference> = digests.iter().map(|digest| repository.with_digest(digest)).collect();
        buildx::create(sh, &self.expected.reference(None), &sources, annotations)
    }

    /// Makes the job's tag, unless it is there already, and reads it back.
    fn publish(&self, passed: Passed) -> anyhow::Result<Index> {
        let (ctx, reference) = (&self.run.ctx, self.expected.reference(None));
        if !matches!(passed, Passed::Unchanged(_)) {
            buildx::write(ctx, &reference.to_string(), |sh| self.command(sh, &passed))?;
        }
        let (verb, images, more) = match passed {
            Passed::Unchanged(existing) => {
                ctx.ui.status("Unchanged", &reference);
                return Ok(existing);
            }
            Passed::Create { images, .. } => {
                let arches: Vec<&str> = self.expected.arches.iter().map(|arch| arch.as_str()).collect();
                ("Merged", images, format!(" ({})", arches.join(", ")))
            }
            Passed::Reuse(keyed) => {
                let since = keyed.revision().map_or("an unknown commit".to_owned(), |r| r.commit.short().to_owned());
                ("Reused", keyed.digests().into_iter().cloned().collect(), format!(", unchanged since {since}"))
            }
        };
        let index = buildx::inspect(ctx, &reference)?;
        let index = gate::check_read_back(self.expected, index, &images).map_err(refused)?;
        if index.annotations.is_empty() {
            ctx.ui.warning(format!("{reference} carries no annotations: the images have Docker's media types"));
        }
        ctx.ui.status(verb, format!("{reference}{more}"));
        Ok(index)
    }

    /// Lets later runs find the images again. What stands there already has the same key, and is replaced only by
    /// images that were built by force: by new ones, or by those of a run that ended before it came to this.
    fn write_key(&self, index: &Index, is_new: bool) -> anyhow::Result<()> {
        let Some(key) = &self.expected.key else { return Ok(()) };
        // What this commit published before a base moved has another key.
        if !self.expected.problems(None, index).is_empty() {
            return Ok(());
        }
        let reference = self.expected.repository.with_tag(&Tag::for_key(key));
        match buildx::inspect(&self.run.ctx, &reference)? {
            Some(existing) if existing.digest == index.digest => Ok(()),
            Some(existing) if !index.is_forced() || (existing.is_forced() && !is_new) => Ok(()),
            _ => self.point(&reference, index),
        }
    }

    /// Moves a tag such as `latest` to this index, if that is forward.
    fn move_tag(&self, tag: &Tag, index: &Index) -> anyhow::Result<()> {
        let ctx = &self.run.ctx;
        let reference = self.expected.repository.with_tag(tag);
        if let Some(existing) = buildx::inspect(ctx, &reference)? {
            if existing.digest == index.digest {
                return Ok(());
            }
            let to = self.run.target.published_revision()?;
            gate::check_forward(&reference, &existing, to, |older, newer| git::is_ancestor(ctx, older, newer))?;
        }
        self.point(&reference, index)?;
        ctx.ui.status("Moved", &reference);
        Ok(())
    }

    /// Gives the index another tag: the same digest, and no layer moves.
    fn point(&self, reference: &Reference, index: &Index) -> anyhow::Result<()> {
        let source = [self.expected.repository.with_digest(&index.digest)];
        buildx::write(&self.run.ctx, &reference.to_string(), |sh| {
            buildx::create(sh, reference, &source, &BTreeMap::new())
        })
    }
}

/// Checks the published tags of the jobs; gives each with its index.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn verify_all(run: &Run, expected: &[Expected], parallel: Option<u16>) -> anyhow::Result<Tally<Merged>> {
    let (ctx, signer, parallel) = (&run.ctx, signer(run)?, parallel.map_or(PARALLEL, usize::from));
    let tally = fleet::run(
        ctx,
        parallel,
        OnFailure::GoOn,
        expected,
        |expected| &expected.job,
        |expected| {
            let verified = verify(ctx, expected)?;
            if let Some(signer) = &signer {
                check_signature(ctx, signer, expected, &verified.index)?;
            }
            ctx.ui.status("Verified", &verified.reference);
            Ok(verified)
        },
    );
    ctx.ui.status("Finished", format!("{} of {} right", tally.done.len(), count(expected.len(), "published tag")));
    Ok(tally)
}

fn verify(ctx: &Context, expected: &Expected) -> anyhow::Result<Merged> {
    let reference = expected.reference(None);
    let RegistryState { index: Some(index), parts, .. } = look(ctx, expected)? else {
        let problem = Problem::new(reference.to_string(), "is not published");
        return Err(problem.help(format!("cargo xtask merge {}", expected.job)).exit(Exit::Refused));
    };
    let problems = gate::check_published(expected, &index, &parts);
    if problems.is_empty() { Ok(Merged { reference, index }) } else { Err(refused(problems)) }
}

fn check_signature(ctx: &Context, signer: &Signer, expected: &Expected, index: &Index) -> anyhow::Result<()> {
    let signed = expected.repository.with_digest(&index.digest);
    signer.verify(ctx, &signed)?.map_err(|said| {
        Problem::new(signed.to_string(), format!("carries no valid signature: {said}"))
            .rule("the target wants every index signed")
            .help(format!("cargo xtask merge {}", expected.job))
            .exit(Exit::Refused)
    })
}

fn refused(problems: Vec<Problem>) -> anyhow::Error {
    Failure::of(Exit::Refused, problems)
}
