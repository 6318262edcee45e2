//! Merging: what passes the gate becomes an index under the job's tag, and under `key-…`; then come a signature, and
//! moving tags last.

use std::fmt;
use std::time::Instant;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Cmd, Shell};

use super::gate::{self, Passed};
use super::moving::move_tags;
use crate::model::{Exit, Expected, Failure, Index, Problem, Reference, Tag, TrustedWorkflow};
use crate::plan::{Recipe, RegistryState, for_merge, for_verify};
use crate::run::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{count, human_time, markdown, set_output, summary};
use crate::settings::Run;
use crate::tools::{Signer, buildx, check_gh, process, verify_attestation};

/// How many jobs are merged side by side: a merge waits for the registry most of the time.
const PARALLEL: usize = 32;
/// How many indexes GitHub attests at once: <https://github.com/actions/attest#subject-limits>.
const MOST_ATTESTED: usize = 1024;

/// A job whose tag is published.
#[derive(Clone)]
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
/// Each step is taken for all jobs before the next, so that the registry is asked in rounds.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn merge_all(run: &Run, recipes: &[&Recipe], parallel: Option<u16>) -> anyhow::Result<Tally<Merged>> {
    let start = Instant::now();
    let signatures = Signatures::to_make(run, recipes.len())?;
    let parallel = parallel.map_or(PARALLEL, usize::from);
    let expected: Vec<&Expected> = recipes.iter().map(|recipe| &recipe.expected).collect();
    let tally = passed(run, &expected)?
        .then(|merges| Ok(each(run, parallel, &merges, Merge::create)))?
        .then(|merges| read_back(run, merges))?
        .then(|merges| Ok(each(run, parallel, &merges, |merge, run| merge.sign(run, &signatures))))?
        .then(|merged| if run.target.attest { hand_over(run, merged) } else { move_tags(run, parallel, merged) })?;
    let (done, tag) = (tally.done.len(), &run.target.tag.value);
    let line =
        format!("{done} of {} published as {tag} in {}", count(recipes.len(), "job"), human_time(start.elapsed()));
    run.ctx.ui.status("Finished", &line);
    let rows: Vec<Vec<String>> =
        tally.done.iter().map(|merged| vec![merged.reference.to_string(), merged.index.digest.to_string()]).collect();
    summary(&run.ctx, &format!("### Merge\n\n{line}\n\n{}", markdown(&["tag", "digest"], &rows)))?;
    Ok(tally)
}

/// Hands the published indexes to the step of the workflow that has them attested: a list such as `sha256sum` writes,
/// and its path as the step's output. Where nothing was published, nothing is handed over.
fn hand_over(run: &Run, merged: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    let line = |Merged { reference, index }: &Merged| {
        format!("{}  {}\n", index.digest.to_string().trim_start_matches("sha256:"), reference.repository)
    };
    if !merged.is_empty() {
        let path = run.ctx.own_path("subjects.txt");
        let shown = run.ctx.shown(&path);
        let dir = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = dir.and_then(|()| std::fs::write(&path, merged.iter().map(line).collect::<String>()));
        written.with_context(|| format!("could not write {shown}"))?;
        set_output(&run.ctx, "subjects", shown.as_str())?;
        let what = format!("until GitHub attests what {shown} lists: moving tags stay");
        run.ctx.ui.status("Waiting", what);
    }
    Ok(Tally { done: merged, failures: Ok(()) })
}

/// Moves the target's moving tags to what is published, signed, and attested by this file; publishes nothing else.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn move_attested(
    run: &Run,
    recipes: &[Recipe],
    parallel: Option<u16>,
    bundle: &Utf8Path,
) -> anyhow::Result<Tally<Merged>> {
    let signatures = Signatures::of(run, Some(bundle))?;
    let expected = || recipes.iter().map(|recipe| recipe.expected.clone()).collect();
    verify_signed(run, expected(), parallel, &signatures, || Ok(expected()))?
        .then(|merged| move_tags(run, parallel.map_or(PARALLEL, usize::from), merged))
}

/// The commands that [`merge_all`] would run first, quoted for a shell: one for each job whose tag is to be made.
///
/// # Errors
/// The registry cannot be reached. What the gate refuses is part of the tally, with exit code 3.
pub fn merge_commands(run: &Run, recipes: &[Recipe]) -> anyhow::Result<Tally<String>> {
    let expected: Vec<&Expected> = recipes.iter().map(|recipe| &recipe.expected).collect();
    passed(run, &expected)?.then(|merges| {
        let to_make = merges.iter().filter(|merge| !merge.targets().is_empty());
        Ok(Tally::of(to_make.map(|merge| process::shown(&run.ctx, |sh| merge.command(run, sh)))))
    })
}

/// A job on its way to its tag.
#[derive(Clone)]
struct Merge<'a> {
    expected: &'a Expected,
    /// Under `key-…`, before this run.
    keyed: Option<Index>,
    passed: Passed,
}

/// Looks up what the registry holds of the jobs, and asks the gate.
fn passed<'a>(run: &Run, expected: &[&'a Expected]) -> anyhow::Result<Tally<Merge<'a>>> {
    let states = for_merge(run, expected)?.into_iter().zip(expected);
    Ok(Tally::of(states.map(|(state, expected)| {
        let state = state?;
        let passed = gate::pass(expected, &state).map_err(refused)?;
        Ok(Merge { expected, keyed: state.keyed, passed })
    })))
}

/// Does something for each job, several side by side.
fn each<'a, R: Send>(
    run: &Run,
    parallel: usize,
    merges: &[Merge<'a>],
    work: impl Fn(&Merge<'a>, &Run) -> anyhow::Result<R> + Sync,
) -> Tally<R> {
    fleet::run(&run.ctx, parallel, OnFailure::GoOn, merges, |merge| &merge.expected.job, |merge| work(merge, run))
}

impl<'a> Merge<'a> {
    /// The tags that are to be written: none where all is as it should be.
    /// `key-…` lets later runs find the images again.
    fn targets(&self) -> Vec<Reference> {
        let Merge { expected, keyed, passed } = self;
        let (tag, is_right) = match passed {
            // What this commit published before a base moved has another key.
            Passed::Unchanged(index) => (None, expected.problems(None, index).is_empty()),
            Passed::Create { .. } | Passed::Reuse(_) => (Some(expected.reference(None)), true),
        };
        let is_new = matches!(passed, Passed::Create { .. });
        let is_for_key = is_right && gate::is_for_key(expected, keyed.as_ref(), passed.images(), is_new);
        let key = expected.key.as_ref().filter(|_| is_for_key);
        tag.into_iter().chain(key.map(|key| expected.repository.with_tag(&Tag::for_key(key)))).collect()
    }

    /// The command that makes the job's tags: what `--dry-run` prints and what runs.
    fn command<'s>(&self, run: &Run, sh: &'s Shell) -> Cmd<'s> {
        let annotations = match &self.passed {
            Passed::Unchanged(index) => index.annotations.clone(),
            passed => self.expected.annotations(run.target.source.as_deref(), passed.images()),
        };
        buildx::create(sh, &self.targets(), self.passed.sources(), &annotations)
    }

    /// Makes the job's tags. Where the registry refuses one because it exists by now, another run was faster: what that
    /// published is looked at, and counts.
    fn create(&self, run: &Run) -> anyhow::Result<Merge<'a>> {
        match self.write(run) {
            Ok(()) => Ok(self.clone()),
            Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Refused) => {
                let again = passed(run, &[self.expected])?.result()?.remove(0);
                if matches!((&again.passed, &self.passed), (Passed::Create { .. }, Passed::Create { .. })) {
                    return Err(error);
                }
                again.write(run).map(|()| again)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, run: &Run) -> anyhow::Result<()> {
        let at = self.expected.reference(None).to_string();
        if self.targets().is_empty() { Ok(()) } else { buildx::write(&run.ctx, &at, |sh| self.command(run, sh)) }
    }

    /// Signs the index that is published.
    fn sign(&self, run: &Run, signatures: &Signatures) -> anyhow::Result<Merged> {
        let reference = self.expected.reference(None);
        let Passed::Unchanged(index) = self.passed.clone() else {
            return Err(anyhow::anyhow!("{reference} was not read back"));
        };
        signatures.sign(run, self.expected, &index)?;
        Ok(Merged { reference, index })
    }
}

/// Reads back what was made, in one round: afterwards it is published, and unchanged.
fn read_back<'a>(run: &Run, merges: Vec<Merge<'a>>) -> anyhow::Result<Tally<Merge<'a>>> {
    let is_made = |merge: &&Merge| !matches!(merge.passed, Passed::Unchanged(_));
    let made: Vec<Reference> = merges.iter().filter(is_made).map(|merge| merge.expected.reference(None)).collect();
    let mut found = run.client.indexes(&run.ctx, &made)?.into_iter();
    Ok(Tally::of(merges.into_iter().map(|merge| {
        let reference = merge.expected.reference(None);
        let (verb, more) = match &merge.passed {
            Passed::Unchanged(_) => {
                run.ctx.ui.status("Unchanged", &reference);
                return Ok(merge);
            }
            Passed::Create { .. } => {
                let arches: Vec<&str> = merge.expected.arches.iter().map(|arch| arch.as_str()).collect();
                ("Merged", format!(" ({})", arches.join(", ")))
            }
            Passed::Reuse(keyed) => {
                let since = keyed.revision().map_or("an unknown commit".to_owned(), |r| r.commit.short().to_owned());
                ("Reused", format!(", unchanged since {since}"))
            }
        };
        let index = found.next().transpose()?.flatten();
        let index = gate::check_read_back(merge.expected, index, merge.passed.images()).map_err(refused)?;
        if index.annotations.is_empty() {
            run.ctx.ui.warning(format!("{reference} carries no annotations: the images have Docker's media types"));
        }
        run.ctx.ui.status(verb, format!("{reference}{more}"));
        Ok(Merge { passed: Passed::Unchanged(index), ..merge })
    })))
}

/// Checks the published tags of the jobs; gives each with its index. What a published tag has to be is told by the
/// commit where it says so itself; `with_keys` works the keys out where that is not enough.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn verify_all(
    run: &Run,
    expected: Vec<Expected>,
    parallel: Option<u16>,
    with_keys: impl FnOnce() -> anyhow::Result<Vec<Expected>>,
) -> anyhow::Result<Tally<Merged>> {
    verify_signed(run, expected, parallel, &Signatures::of(run, None)?, with_keys)
}

fn verify_signed(
    run: &Run,
    expected: Vec<Expected>,
    parallel: Option<u16>,
    signatures: &Signatures,
    with_keys: impl FnOnce() -> anyhow::Result<Vec<Expected>>,
) -> anyhow::Result<Tally<Merged>> {
    let (ctx, parallel) = (&run.ctx, parallel.map_or(PARALLEL, usize::from));
    let total = expected.len();
    let states = for_verify(run, &expected.iter().collect::<Vec<_>>())?;
    let is_right = |(expected, state): (&Expected, &anyhow::Result<RegistryState>)| match state {
        Ok(RegistryState { index: Some(index), .. }) => expected.problems_of_published(None, index).is_empty(),
        _ => true,
    };
    let expected = if expected.iter().zip(&states).all(is_right) { expected } else { with_keys()? };
    let verified = states.into_iter().zip(&expected).map(|(state, expected)| verified(expected, &state?));
    let tally = Tally::of(verified).then(|verified| {
        let job = |(expected, _): &(&Expected, Merged)| expected.job.clone();
        Ok(fleet::run(ctx, parallel, OnFailure::GoOn, &verified, job, |(expected, merged)| {
            signatures.check(run, expected, &merged.index)?;
            ctx.ui.status("Verified", &merged.reference);
            Ok(merged.clone())
        }))
    })?;
    ctx.ui.status("Finished", format!("{} of {} right", tally.done.len(), count(total, "published tag")));
    Ok(tally)
}

fn verified<'e>(expected: &'e Expected, state: &RegistryState) -> anyhow::Result<(&'e Expected, Merged)> {
    let reference = expected.reference(None);
    let Some(index) = &state.index else {
        let problem = Problem::new(reference.to_string(), "is not published");
        return Err(problem.help(format!("cargo xtask merge {}", expected.job)).exit(Exit::Refused));
    };
    let problems = gate::check_published(expected, index, state);
    if problems.is_empty() {
        Ok((expected, Merged { reference, index: index.clone() }))
    } else {
        Err(refused(problems))
    }
}

/// Whose signatures and attestations the indexes of a target need.
struct Signatures {
    signer: Option<Signer>,
    attested_by: Option<TrustedWorkflow>,
    /// The file with the attestation that `actions/attest` has just made; without one, GitHub is asked.
    bundle: Option<Utf8PathBuf>,
}

impl Signatures {
    /// Whose signatures count, and whose attestations: those in a file, or else those that GitHub has.
    ///
    /// # Errors
    /// A program that checks them is missing, or nobody can tell whose count: with exit code 4.
    fn of(run: &Run, bundle: Option<&Utf8Path>) -> anyhow::Result<Signatures> {
        let (ctx, target) = (&run.ctx, &run.target);
        let signer = target.sign.then(|| Signer::find(ctx, target.workflow.clone())).transpose()?;
        let attested_by = target.attest.then(|| {
            check_gh(ctx)?;
            target.workflow.clone().map_err(|problem| problem.exit(Exit::Missing))
        });
        Ok(Signatures { signer, attested_by: attested_by.transpose()?, bundle: bundle.map(Utf8Path::to_owned) })
    }

    /// The same, where they are to be made, of so many jobs.
    ///
    /// # Errors
    /// They cannot be made here, or would not be accepted, with exit code 4; or they are too many, with 2.
    fn to_make(run: &Run, jobs: usize) -> anyhow::Result<Signatures> {
        let signatures = Signatures::of(run, None)?;
        signatures.check_here(&run.ctx).map_err(|problem| problem.exit(Exit::Missing))?;
        if signatures.attested_by.is_some() && jobs > MOST_ATTESTED {
            return Err(Problem::new("merge", format!("{} at once", count(jobs, "job")))
                .rule(format!("GitHub attests at most {MOST_ATTESTED} indexes at once"))
                .help("name fewer of them: cargo xtask merge JOB…")
                .exit(Exit::Usage));
        }
        Ok(signatures)
    }

    /// Checks that whoever is to sign can, and is trusted.
    fn check_here(&self, ctx: &Context) -> Result<(), Problem> {
        let by_identity = match &self.signer {
            Some(Signer::Key { private: None, .. }) => {
                return Err(Problem::new("sign", "only the public key is known").help("set JOBS_COSIGN_KEY"));
            }
            Some(Signer::Workflow(_)) if ctx.env.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN").is_none() => {
                const HELP: &str = "add `id-token: write` to the job's `permissions` in the workflow; elsewhere, set \
                                    JOBS_COSIGN_KEY";
                return Err(Problem::new("sign", "a workflow signs by its identity, and there is none here").help(HELP));
            }
            Some(Signer::Workflow(workflow)) => Some(workflow),
            Some(Signer::Key { .. }) | None => None,
        };
        let mut workflows = by_identity.into_iter().chain(&self.attested_by);
        workflows.try_for_each(|workflow| workflow.check(ctx.env.get("GITHUB_WORKFLOW_REF")))
    }

    /// Signs an index that is published.
    ///
    /// # Errors
    /// It cannot be signed.
    fn sign(&self, run: &Run, expected: &Expected, index: &Index) -> anyhow::Result<()> {
        let digest = expected.repository.with_digest(&index.digest);
        self.signer.as_ref().map_or(Ok(()), |signer| signer.sign(&run.ctx, &digest))
    }

    /// Checks what a published index carries.
    ///
    /// # Errors
    /// It is not signed, or not attested.
    fn check(&self, run: &Run, expected: &Expected, index: &Index) -> anyhow::Result<()> {
        let digest = expected.repository.with_digest(&index.digest);
        let refused = |what: &str, rule: &str| {
            Problem::new(digest.to_string(), what).rule(rule).help(format!("cargo xtask merge {}", expected.job))
        };
        if let Some(signer) = &self.signer {
            let rule = "the target wants every index signed";
            let not_signed = |said| refused(&format!("carries no valid signature: {said}"), rule);
            signer.verify(&run.ctx, &digest)?.map_err(|said| not_signed(said).exit(Exit::Refused))?;
        }
        if let Some(workflow) = &self.attested_by {
            let rule = "the target wants every index attested, by this repository's workflow";
            let help = "run the workflow of this commit again: its step `Attest` makes the attestation";
            let not_attested = |said| refused(&format!("is not attested: {said}"), rule).help(help);
            let verified = verify_attestation(&run.ctx, workflow, self.bundle.as_deref(), &digest)?;
            verified.map_err(|said| not_attested(said).exit(Exit::Refused))?;
        }
        Ok(())
    }
}

/// Checks that the target's signatures and attestations can be made in this workflow, before anything is built. Only
/// there is the machine that plans like the one that merges.
///
/// # Errors
/// Why they cannot, with exit code 4.
pub fn check_signatures(run: &Run) -> anyhow::Result<()> {
    if run.ctx.env.is_github_actions() { Signatures::to_make(run, 0).map(drop) } else { Ok(()) }
}

fn refused(problems: Vec<Problem>) -> anyhow::Error {
    Failure::of(Exit::Refused, problems)
}
