//! cosign: signing the index of a job, and checking the signature.

use xshell::{Cmd, Shell, cmd};

use super::process::{self, Given};
use crate::model::problem::Problem;
use crate::model::reference::Reference;
use crate::run::context::Context;

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key pair in files (or in a key service that cosign knows), without a transparency log.
    /// A password is cosign's own to read, from `COSIGN_PASSWORD`.
    Key { private: Option<String>, public: String },
    /// The workflow itself: a certificate for its OIDC identity, and an entry in the transparency log.
    Workflow { repository: String },
}

impl Signer {
    /// The key that `JOBS_COSIGN_KEY` names (its public half beside it, or in `JOBS_COSIGN_PUB`), else the workflow.
    ///
    /// # Errors
    /// There is neither: with exit code 4, before anything is published.
    pub fn find(ctx: &Context) -> anyhow::Result<Signer> {
        let private = ctx.env.get("JOBS_COSIGN_KEY").map(str::to_owned);
        let beside = |private: &String| match private.strip_suffix(".key") {
            Some(stem) => format!("{stem}.pub"),
            None => private.clone(),
        };
        let public = ctx.env.get("JOBS_COSIGN_PUB").map(str::to_owned).or_else(|| private.as_ref().map(beside));
        if let Some(public) = public {
            return Ok(Signer::Key { private, public });
        }
        match ctx.env.get("GITHUB_REPOSITORY") {
            Some(repository) => Ok(Signer::Workflow { repository: repository.to_owned() }),
            None => Err(Problem::new("sign", "the target wants signatures, and there is neither a key nor a workflow")
                .help("set JOBS_COSIGN_KEY (and COSIGN_PASSWORD) to sign, or JOBS_COSIGN_PUB to verify")
                .missing()),
        }
    }

    /// The command that signs a digest.
    fn sign<'a>(&self, sh: &'a Shell, index: &Reference) -> anyhow::Result<Cmd<'a>> {
        let index = index.to_string();
        match self {
            Signer::Key { private: Some(private), .. } => {
                let no_log = ["--tlog-upload=false", "--use-signing-config=false"];
                Ok(cmd!(sh, "cosign sign --yes --key {private} {no_log...} {index}"))
            }
            Signer::Key { private: None, .. } => {
                Err(Problem::new("sign", "only the public key is known").help("set JOBS_COSIGN_KEY").missing())
            }
            Signer::Workflow { .. } => Ok(cmd!(sh, "cosign sign --yes {index}")),
        }
    }

    /// The command that checks a digest's signature.
    fn verify<'a>(&self, sh: &'a Shell, index: &Reference) -> Cmd<'a> {
        let index = index.to_string();
        match self {
            Signer::Key { public, .. } => cmd!(sh, "cosign verify --key {public} --insecure-ignore-tlog=true {index}"),
            Signer::Workflow { repository } => {
                let issuer = "https://token.actions.githubusercontent.com";
                let identity = format!("^https://github\\.com/{}/", repository.replace('.', "\\."));
                cmd!(
                    sh,
                    "cosign verify --certificate-oidc-issuer {issuer} --certificate-identity-regexp {identity} {index}"
                )
            }
        }
    }
}

/// Whether a digest carries a signature of this signer; what cosign says if not.
pub fn is_signed(ctx: &Context, signer: &Signer, index: &Reference) -> anyhow::Result<Result<(), String>> {
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, signer.verify(&sh, index), &Given::default())?;
    Ok(if outcome.success() { Ok(()) } else { Err(outcome.last_words()) })
}

/// Signs a digest, unless it is signed.
///
/// # Errors
/// cosign is missing, or cannot sign.
pub fn sign(ctx: &Context, signer: &Signer, index: &Reference) -> anyhow::Result<()> {
    if is_signed(ctx, signer, index)?.is_ok() {
        return Ok(());
    }
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, signer.sign(&sh, index)?, &Given::default())?;
    if outcome.success() {
        return Ok(());
    }
    let problem = Problem::new(index.to_string(), format!("could not be signed: {}", outcome.last_words()));
    Err(problem.help("cosign 3 is needed, with a key that it can read, or `id-token: write` in the workflow").missing())
}

/// Checks that cosign is there, before anything is published.
///
/// # Errors
/// It is missing.
pub fn check(ctx: &Context) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    process::run(ctx, cmd!(sh, "cosign version"), &Given::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(signer: &Signer) -> (Option<String>, String) {
        let sh = Shell::new().unwrap();
        let index: Reference = "127.0.0.1:5000/jobs/a:x".parse().unwrap();
        (signer.sign(&sh, &index).ok().map(|cmd| cmd.to_string()), signer.verify(&sh, &index).to_string())
    }

    #[test]
    fn a_key_signs_without_a_log_and_a_workflow_by_its_identity() {
        let key = Signer::Key { private: Some("c.key".to_owned()), public: "c.pub".to_owned() };
        assert_eq!(
            commands(&key),
            (
                Some(
                    "cosign sign --yes --key c.key --tlog-upload=false --use-signing-config=false 127.0.0.1:5000/jobs/a:x"
                        .to_owned()
                ),
                "cosign verify --key c.pub --insecure-ignore-tlog=true 127.0.0.1:5000/jobs/a:x".to_owned()
            )
        );
        let workflow = Signer::Workflow { repository: "acme/jobs.x".to_owned() };
        assert_eq!(
            commands(&workflow),
            (
                Some("cosign sign --yes 127.0.0.1:5000/jobs/a:x".to_owned()),
                "cosign verify --certificate-oidc-issuer https://token.actions.githubusercontent.com \
                 --certificate-identity-regexp ^https://github\\.com/acme/jobs\\.x/ 127.0.0.1:5000/jobs/a:x"
                    .to_owned()
            )
        );
        assert_eq!(commands(&Signer::Key { private: None, public: "c.pub".to_owned() }).0, None);
    }
}
