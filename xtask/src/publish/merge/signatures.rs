//! What vouches for the index of a job: cosign's signature, and what GitHub attests. Moving tags wait for both.

use camino::{Utf8Path, Utf8PathBuf};

use super::Merged;
use crate::model::{Exit, Expected, Index, Problem, Reference, TrustedWorkflow};
use crate::run::{Context, count, set_output, write_file};
use crate::settings::Run;
use crate::tools::{Signer, check_gh, verify_attestation};

/// How many indexes GitHub attests at once: <https://github.com/actions/attest#subject-limits>.
const MOST_ATTESTED: usize = 1024;

/// Whose signatures and attestations the indexes of a target need.
pub struct Signatures {
    signer: Option<Signer>,
    attested_by: Option<TrustedWorkflow>,
    /// The file with the attestation that `actions/attest` has just made; without one, GitHub is asked.
    pub bundle: Option<Utf8PathBuf>,
}

impl Signatures {
    /// Whose signatures count, and whose attestations: those in a file, or else those that GitHub has.
    ///
    /// # Errors
    /// A program that checks them is missing, or nobody can tell whose count: with exit code 4.
    pub fn of(run: &Run, bundle: Option<&Utf8Path>) -> anyhow::Result<Signatures> {
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
    pub fn to_make(run: &Run, jobs: usize) -> anyhow::Result<Signatures> {
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
    pub fn sign(&self, run: &Run, expected: &Expected, index: &Index) -> anyhow::Result<()> {
        let digest = expected.repository.with_digest(&index.digest);
        self.signer.as_ref().map_or(Ok(()), |signer| signer.sign(&run.ctx, &digest))
    }

    /// Checks what a published index carries.
    ///
    /// # Errors
    /// It is not signed, or not attested.
    pub fn check(&self, run: &Run, expected: &Expected, index: &Index) -> anyhow::Result<()> {
        let digest = expected.repository.with_digest(&index.digest);
        if let Some(signer) = &self.signer {
            signer.verify(&run.ctx, &digest)?.map_err(|said| {
                Problem::new(digest.to_string(), format!("carries no valid signature: {said}"))
                    .rule("the target wants every index signed")
                    .help(format!("cargo xtask merge {}", expected.job))
                    .exit(Exit::Refused)
            })?;
        }
        self.check_attested(run, &digest)
    }

    /// Checks that GitHub attests a digest, wherever it stands.
    ///
    /// # Errors
    /// It does not.
    pub fn check_attested(&self, run: &Run, digest: &Reference) -> anyhow::Result<()> {
        if let Some(workflow) = &self.attested_by {
            let rule = "the target wants every index attested, by this repository's workflow";
            let help = "run the workflow of this commit again: its step `Attest` makes the attestation";
            let verified = verify_attestation(&run.ctx, workflow, self.bundle.as_deref(), digest)?;
            verified.map_err(|said| {
                let problem = Problem::new(digest.to_string(), format!("is not attested: {said}"));
                problem.rule(rule).help(help).exit(Exit::Refused)
            })?;
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
    if !run.ctx.env.is_github_actions() {
        return Ok(());
    }
    let copies = run.copies()?;
    std::iter::once(run).chain(&copies).try_for_each(|place| Signatures::to_make(place, 0).map(drop))
}

/// Hands the published indexes to the step of the workflow that has them attested: a list such as `sha256sum` writes,
/// and its path as the step's output. Where nothing was published, nothing is handed over.
///
/// # Errors
/// The list cannot be written.
pub fn have_attested<'a>(run: &Run, merged: impl Iterator<Item = &'a Merged>) -> anyhow::Result<()> {
    let line = |Merged { reference, index, .. }: &Merged| {
        format!("{}  {}\n", index.digest.to_string().trim_start_matches("sha256:"), reference.repository)
    };
    let lines: String = merged.map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let path = run.ctx.own_path("subjects.txt");
    let shown = run.ctx.shown(&path);
    write_file(&run.ctx, &path, lines.as_bytes())?;
    run.ctx.ui.status("Waiting", format!("until GitHub attests what {shown} lists: moving tags stay"));
    set_output(&run.ctx, "subjects", shown.as_str())
}
