//! cosign: signs the index of a job, and checks the signature.

use xshell::{Cmd, Shell, cmd};

use super::process::{self, Options};
use crate::model::{Problem, Reference};
use crate::run::Context;

/// Who vouches for a workflow's identity.
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key pair in files, or in a key service that cosign knows, without a transparency log.
    /// cosign itself reads the password from `COSIGN_PASSWORD`.
    Key { private: Option<String>, public: String },
    /// The workflow itself: a certificate for its OIDC identity, and an entry in the transparency log.
    Workflow { repository: String },
}

impl Signer {
    /// Finds who signs: the key that `JOBS_COSIGN_KEY` names, with its public half beside it or in `JOBS_COSIGN_PUB`,
    /// or else the workflow.
    ///
    /// # Errors
    /// cosign is missing, or there is neither: with exit code 4, before anything is published.
    pub fn find(ctx: &Context) -> anyhow::Result<Signer> {
        let sh = ctx.shell()?;
        process::run(ctx, cmd!(sh, "cosign version"), &Options::default())?;
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
        variable("GITHUB_REPOSITORY").map(|repository| Signer::Workflow { repository }).ok_or_else(|| {
            Problem::new("sign", "the target wants signatures, and there is neither a key nor a workflow")
                .help("set JOBS_COSIGN_KEY (and COSIGN_PASSWORD) to sign, or JOBS_COSIGN_PUB to verify")
                .missing()
        })
    }

    /// The command that signs a digest.
    fn sign<'a>(&self, sh: &'a Shell, index: &Reference) -> Result<Cmd<'a>, Problem> {
        let index = index.to_string();
        let key = match self {
            Signer::Key { private: Some(private), .. } => {
                vec!["--key", private, "--tlog-upload=false", "--use-signing-config=false"]
            }
            Signer::Key { private: None, .. } => {
                return Err(Problem::new("sign", "only the public key is known").help("set JOBS_COSIGN_KEY"));
            }
            Signer::Workflow { .. } => Vec::new(),
        };
        Ok(cmd!(sh, "cosign sign --yes {key...} {index}"))
    }

    /// The command that checks a digest's signature.
    fn verify<'a>(&self, sh: &'a Shell, index: &Reference) -> Cmd<'a> {
        let index = index.to_string();
        match self {
            Signer::Key { public, .. } => cmd!(sh, "cosign verify --key {public} --insecure-ignore-tlog=true {index}"),
            Signer::Workflow { repository } => {
                let identity = format!("^https://github\\.com/{}/", repository.replace('.', "\\."));
                let of_workflow =
                    ["--certificate-oidc-issuer", ISSUER, "--certificate-identity-regexp", identity.as_str()];
                cmd!(sh, "cosign verify {of_workflow...} {index}")
            }
        }
    }
}

/// Whether a digest carries a signature of this signer, or what cosign says if it does not.
pub fn is_signed(ctx: &Context, signer: &Signer, index: &Reference) -> anyhow::Result<Result<(), String>> {
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, signer.verify(&sh, index), &Options::default())?;
    Ok(if outcome.success() { Ok(()) } else { Err(outcome.reason()) })
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
    let outcome = process::run(ctx, signer.sign(&sh, index).map_err(Problem::missing)?, &Options::default())?;
    if outcome.success() {
        return Ok(());
    }
    let problem = Problem::new(index.to_string(), format!("could not be signed: {}", outcome.reason()));
    Err(problem.help("cosign 3 is needed, with a key that it can read, or `id-token: write` in the workflow").missing())
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
