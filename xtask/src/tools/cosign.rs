//! cosign: signs the index of a job, and checks the signature.

use xshell::cmd;

use super::process::{self, Options};
use crate::model::{Exit, Problem, Reference};
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
        process::run(ctx, |sh| cmd!(sh, "cosign version"), &Options::default())?;
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
                .exit(Exit::Missing)
        })
    }

    /// The flags that tell cosign with what to sign.
    fn sign_flags(&self) -> Result<Vec<&str>, Problem> {
        match self {
            Signer::Key { private: Some(private), .. } => {
                Ok(vec!["--key", private, "--tlog-upload=false", "--use-signing-config=false"])
            }
            Signer::Key { private: None, .. } => {
                Err(Problem::new("sign", "only the public key is known").help("set JOBS_COSIGN_KEY"))
            }
            Signer::Workflow { .. } => Ok(Vec::new()),
        }
    }

    /// The flags that tell cosign whose signature is valid.
    fn verify_flags(&self) -> Vec<String> {
        match self {
            Signer::Key { public, .. } => ["--key", public, "--insecure-ignore-tlog=true"].map(str::to_owned).to_vec(),
            Signer::Workflow { repository } => {
                let identity = format!("^https://github\\.com/{}/", repository.replace('.', "\\."));
                let flags = ["--certificate-oidc-issuer", ISSUER, "--certificate-identity-regexp", &identity];
                flags.map(str::to_owned).to_vec()
            }
        }
    }

    /// Whether a digest carries a signature of this signer, or what cosign says if it does not.
    pub fn verify(&self, ctx: &Context, index: &Reference) -> anyhow::Result<Result<(), String>> {
        let (flags, index) = (self.verify_flags(), index.to_string());
        let outcome = process::run(ctx, |sh| cmd!(sh, "cosign verify {flags...} {index}"), &Options::default())?;
        Ok(if outcome.success() { Ok(()) } else { Err(outcome.reason()) })
    }

    /// Signs a digest, unless it is signed.
    ///
    /// # Errors
    /// cosign is missing, or cannot sign.
    pub fn sign(&self, ctx: &Context, index: &Reference) -> anyhow::Result<()> {
        if self.verify(ctx, index)?.is_ok() {
            return Ok(());
        }
        let (flags, index) = (self.sign_flags().map_err(|problem| problem.exit(Exit::Missing))?, index.to_string());
        let outcome = process::run(ctx, |sh| cmd!(sh, "cosign sign --yes {flags...} {index}"), &Options::default())?;
        if outcome.success() {
            return Ok(());
        }
        Err(Problem::new(index, format!("could not be signed: {}", outcome.reason()))
            .help("cosign 3 is needed, with a key that it can read, or `id-token: write` in the workflow")
            .exit(Exit::Missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(signer: &Signer) -> (Option<String>, String) {
        (signer.sign_flags().ok().map(|flags| flags.join(" ")), signer.verify_flags().join(" "))
    }

    #[test]
    fn a_key_signs_without_a_log_and_a_workflow_by_its_identity() {
        let key = Signer::Key { private: Some("c.key".to_owned()), public: "c.pub".to_owned() };
        assert_eq!(
            flags(&key),
            (
                Some("--key c.key --tlog-upload=false --use-signing-config=false".to_owned()),
                "--key c.pub --insecure-ignore-tlog=true".to_owned()
            )
        );
        let workflow = Signer::Workflow { repository: "acme/jobs.x".to_owned() };
        assert_eq!(
            flags(&workflow),
            (
                Some(String::new()),
                "--certificate-oidc-issuer https://token.actions.githubusercontent.com \
                 --certificate-identity-regexp ^https://github\\.com/acme/jobs\\.x/"
                    .to_owned()
            )
        );
        assert_eq!(flags(&Signer::Key { private: None, public: "c.pub".to_owned() }).0, None);
    }
}
