//! cosign: signs the index of a job, and checks the signature.

use xshell::cmd;

use super::builder::find_version;
use super::process::{self, End, Limit, Options};
use super::system;
use crate::model::{Exit, Problem, Reference, TrustedWorkflow};
use crate::run::{Context, is_out_of_reach};

/// Who vouches for a workflow's identity.
const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// The oldest major version that signs as this program wants it.
const OLDEST: u32 = 3;
/// What only that version and newer ones have as the default. Debian's cosign does not know its own version.
const SINCE_OLDEST: &str = "--use-signing-config=true";

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key pair in files, or in a key service that cosign knows, without a transparency log.
    /// cosign itself reads the password from `COSIGN_PASSWORD`.
    Key { private: Option<String>, public: String },
    /// The workflow itself: a certificate for its OIDC identity, and an entry in the transparency log.
    Workflow(TrustedWorkflow),
}

/// Checks that there is a cosign that can be used.
///
/// # Errors
/// It is missing or too old, with exit code 4.
pub fn check_cosign(ctx: &Context) -> anyhow::Result<()> {
    usable_cosign(ctx)?.map_err(|what| {
        const BY_A_STEP: &str = "let the target say `attest = true` instead of `sign = true`, or install cosign in \
                                 a step: README.md, \"Set up on GitHub and AWS\"";
        let help = if ctx.env.is_github_actions() { BY_A_STEP } else { "cargo xtask setup" };
        let rule = format!("signatures are made and checked by cosign {OLDEST} or newer");
        Problem::new("`cosign`", what).rule(rule).help(help).exit(Exit::Missing)
    })
}

fn usable_cosign(ctx: &Context) -> anyhow::Result<Result<(), String>> {
    if !system::has_program(ctx, "cosign") {
        return Ok(Err("not installed".to_owned()));
    }
    let version = process::run(ctx, |sh| cmd!(sh, "cosign version"), &Options::default())?;
    Ok(match find_version(&version.stdout()) {
        Some([major, ..]) if major >= OLDEST => Ok(()),
        Some([major, minor, patch]) => Err(format!("{major}.{minor}.{patch} is too old")),
        None => {
            let help = process::run(ctx, |sh| cmd!(sh, "cosign sign --help"), &Options::default())?;
            if help.stdout().contains(SINCE_OLDEST) { Ok(()) } else { Err("is too old".to_owned()) }
        }
    })
}

impl Signer {
    /// Finds who signs: the key that `JOBS_COSIGN_KEY` names, with its public half beside it or in `JOBS_COSIGN_PUB`,
    /// or else the workflow.
    ///
    /// # Errors
    /// cosign is missing, or there is neither: with exit code 4.
    pub fn find(ctx: &Context, workflow: Result<TrustedWorkflow, Problem>) -> anyhow::Result<Signer> {
        check_cosign(ctx)?;
        let variable = |name| ctx.env.get(name).map(str::to_owned);
        let private = variable("JOBS_COSIGN_KEY");
        // What is no file of a key pair is a key in a service, which gives out its public half by the same name.
        let beside = |private: &String| match private.strip_suffix(".key") {
            Some(stem) => format!("{stem}.pub"),
            None => private.clone(),
        };
        if let Some(public) = variable("JOBS_COSIGN_PUB").or_else(|| private.as_ref().map(beside)) {
            return Ok(Signer::Key { private, public });
        }
        workflow.map(Signer::Workflow).map_err(|Problem { what, .. }| {
            Problem::new(
                "sign",
                format!("the target wants signatures, and there is neither a key nor a workflow: {what}"),
            )
            .help("set JOBS_COSIGN_KEY (and COSIGN_PASSWORD) to sign, or JOBS_COSIGN_PUB to verify")
            .exit(Exit::Missing)
        })
    }

    /// The flags that tell cosign with what to sign.
    fn sign_flags(&self) -> Vec<&str> {
        match self {
            Signer::Key { private, .. } => {
                let private = private.as_deref().unwrap_or_default();
                vec!["--key", private, "--tlog-upload=false", "--use-signing-config=false"]
            }
            Signer::Workflow(_) => Vec::new(),
        }
    }

    /// The flags that tell cosign whose signature is valid.
    fn verify_flags(&self) -> Vec<String> {
        match self {
            Signer::Key { public, .. } => ["--key", public, "--insecure-ignore-tlog=true"].map(str::to_owned).to_vec(),
            Signer::Workflow(workflow) => {
                let regexp = workflow.regexp();
                let flags = ["--certificate-oidc-issuer", ISSUER, "--certificate-identity-regexp", &regexp];
                flags.map(str::to_owned).to_vec()
            }
        }
    }

    /// Whether a digest carries a signature of this signer, or what cosign says if it does not.
    pub fn verify(&self, ctx: &Context, index: &Reference) -> anyhow::Result<Result<(), String>> {
        let (flags, index) = (self.verify_flags(), index.to_string());
        let outcome = process::run(ctx, |sh| cmd!(sh, "cosign verify {flags...} {index}"), &Options::default())?;
        match outcome.end {
            End::Success => Ok(Ok(())),
            End::Failure(_) if !is_out_of_reach(&outcome.stderr) => Ok(Err(outcome.reason())),
            _ => {
                let what = format!("cannot find out whether {index} is signed: {}", outcome.reason());
                Err(Problem::new("cosign", what).help("check the network, and run this again").exit(Exit::Missing))
            }
        }
    }

    /// Signs a digest, unless it is signed.
    ///
    /// # Errors
    /// cosign cannot sign.
    pub fn sign(&self, ctx: &Context, index: &Reference) -> anyhow::Result<()> {
        if self.verify(ctx, index)?.is_ok() {
            return Ok(());
        }
        let (flags, index) = (self.sign_flags(), index.to_string());
        let given = Options { limit: Limit::Write, ..Options::default() };
        let outcome = process::run(ctx, |sh| cmd!(sh, "cosign sign --yes {flags...} {index}"), &given)?;
        if outcome.success() {
            return Ok(());
        }
        Err(Problem::new(index, format!("could not be signed: {}", outcome.reason()))
            .help("can cosign read the key, and is COSIGN_PASSWORD right? in a workflow, can it reach sigstore.dev?")
            .exit(Exit::Missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(signer: &Signer) -> (String, String) {
        (signer.sign_flags().join(" "), signer.verify_flags().join(" "))
    }

    #[test]
    fn a_key_signs_without_a_log_and_a_workflow_by_its_identity() {
        let key = Signer::Key { private: Some("c.key".to_owned()), public: "c.pub".to_owned() };
        assert_eq!(
            flags(&key),
            (
                "--key c.key --tlog-upload=false --use-signing-config=false".to_owned(),
                "--key c.pub --insecure-ignore-tlog=true".to_owned()
            )
        );
        let refs = ["refs/heads/main".to_owned()];
        let workflow = TrustedWorkflow::new(Some("https://github.com/acme/jobs"), &refs).unwrap();
        let by_identity = format!(
            "--certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity-regexp {}",
            workflow.regexp()
        );
        assert_eq!(flags(&Signer::Workflow(workflow)), (String::new(), by_identity));
    }
}
