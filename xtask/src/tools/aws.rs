//! aws: the registry's password, and its repositories.

use std::time::Duration;

use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Given, Outcome};
use super::{curl, system};
use crate::model::ecr::{Description, Mutability};
use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::run::secret::{Secret, SecretFile};
use crate::settings::access::Access;

/// What the AWS client would take instead of the role: credentials in the environment go before an identity token.
const CREDENTIALS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
/// A digest that no layer has, to ask for one without getting or making anything.
const NO_LAYER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// A tag that no image of this tool has.
const NO_TAG: &str = "imageTag=xtask-ecr-check";

/// The AWS client, with the role's identity token while this lives.
pub struct Client<'a> {
    ctx: &'a Context,
    region: String,
    identity: Option<Identity>,
}

/// What lets the AWS client assume a role.
struct Identity {
    role: String,
    session: String,
    token: Secret,
    file: SecretFile,
}

impl<'a> Client<'a> {
    /// # Errors
    /// There is no AWS client, or GitHub gives no token.
    pub fn new(ctx: &'a Context, access: Access<'_>) -> anyhow::Result<Client<'a>> {
        let (role, region) = match access {
            Access::Role { role, region } => (Some(role), region),
            Access::Client { region } => (None, region),
            Access::Password { .. } | Access::Open => {
                return Err(Problem::new("registry", "is not ECR's, so the AWS client has no business with it").usage());
            }
        };
        if !system::has_program(ctx, "aws") {
            return Err(Problem::new("`aws`", "not installed")
                .rule("the AWS client asks ECR for the registry's password")
                .help("install the AWS CLI, which GitHub's own runners have: `pip install awscli`, or AWS's installer")
                .missing());
        }
        let identity = role.map(|role| Identity::new(ctx, role)).transpose()?;
        Ok(Client { ctx, region: region.to_owned(), identity })
    }

    /// The password of the user `AWS`, good for 12 hours.
    pub fn login_password(&self) -> anyhow::Result<Secret> {
        let sh = self.ctx.shell()?;
        let region = &self.region;
        // `run` never prints stdout, and a failure's is dropped here: it may be the password.
        let outcome = self.run(cmd!(sh, "aws ecr get-login-password --region {region}"))?;
        if !outcome.success() {
            return Err(self.refused(&Outcome { stdout: String::new(), ..outcome }).missing());
        }
        let password = outcome.stdout.trim();
        if password.is_empty() || password.chars().any(char::is_whitespace) {
            return Err(Problem::new("`aws ecr get-login-password`", "gave no password").missing());
        }
        Ok(Secret::new(password))
    }

    /// The repositories of the registry: one call of the client, which asks page by page.
    pub fn repositories(&self, account: Option<&str>) -> anyhow::Result<Vec<Description>> {
        #[derive(Deserialize)]
        struct Answer {
            repositories: Vec<Description>,
        }
        let sh = self.ctx.shell()?;
        let outcome = self.run(describe_repositories(&sh, &self.region, account))?;
        if !outcome.success() {
            return Err(self.refused(&outcome).missing());
        }
        let answer: Answer = serde_json::from_str(&outcome.stdout)?;
        Ok(answer.repositories)
    }

    /// A repository's lifecycle policy, as JSON; `None` if it has none.
    pub fn lifecycle_policy(&self, account: Option<&str>, name: &str) -> anyhow::Result<Option<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            lifecycle_policy_text: String,
        }
        let sh = self.ctx.shell()?;
        let Client { region, .. } = self;
        let account = registry_id(account);
        let cmd = cmd!(
            sh,
            "aws ecr get-lifecycle-policy --region {region} --output json {account...} --repository-name {name}"
        );
        let outcome = self.run(cmd)?;
        if outcome.stderr.contains("LifecyclePolicyNotFoundException") {
            return Ok(None);
        }
        if !outcome.success() {
            return Err(self.refused(&outcome).missing());
        }
        let answer: Answer = serde_json::from_str(&outcome.stdout)?;
        Ok(Some(answer.lifecycle_policy_text))
    }

    /// What is refused of what a login, a push and a pull begin with. Nothing is changed, and nothing secret printed:
    /// of the login's answer, the client shows the date alone.
    pub fn refused_rights(&self, account: Option<&str>, name: &str) -> anyhow::Result<Vec<Problem>> {
        let sh = self.ctx.shell()?;
        let Client { region, .. } = self;
        let account = registry_id(account);
        let account = &account;
        let query = "authorizationData[0].expiresAt";
        let calls = [
            cmd!(sh, "aws ecr get-authorization-token --region {region} --query {query}"),
            cmd!(
                sh,
                "aws ecr batch-check-layer-availability --region {region} {account...} --repository-name {name}
                 --layer-digests {NO_LAYER}"
            ),
            cmd!(
                sh,
                "aws ecr batch-get-image --region {region} {account...} --repository-name {name} --image-ids {NO_TAG}"
            ),
        ];
        let mut problems = Vec::new();
        for call in calls {
            let outcome = self.run(call)?;
            if !outcome.success() {
                problems.push(self.refused(&outcome));
            }
        }
        Ok(problems)
    }

    /// Runs a command that makes or sets something.
    ///
    /// # Errors
    /// AWS refuses.
    pub fn change(&self, cmd: Cmd<'_>) -> anyhow::Result<Change> {
        let outcome = self.run(cmd)?;
        // Somebody else was faster, which is as good.
        if outcome.stderr.contains("RepositoryAlreadyExistsException") {
            return Ok(Change::WasThere);
        }
        if !outcome.success() {
            return Err(self.refused(&outcome).missing());
        }
        Ok(Change::Made)
    }

    /// Runs the client to its end.
    fn run(&self, cmd: Cmd<'_>) -> anyhow::Result<Outcome> {
        let secrets: Vec<&Secret> = self.identity.iter().map(|identity| &identity.token).collect();
        let given = Given { deadline: Some(Duration::from_secs(180)), secrets: &secrets, ..Given::default() };
        process::run(self.ctx, self.with_identity(cmd), &given)
    }

    fn with_identity<'c>(&self, cmd: Cmd<'c>) -> Cmd<'c> {
        // The first version of the client reads the one variable, the second the other.
        // A pager would wait for somebody to turn the page. The client itself tries again when AWS throttles it.
        let cmd = cmd
            .env("AWS_REGION", &self.region)
            .env("AWS_DEFAULT_REGION", &self.region)
            .env("AWS_PAGER", "")
            .env("AWS_RETRY_MODE", "standard")
            .env("AWS_MAX_ATTEMPTS", "6");
        let Some(identity) = &self.identity else { return cmd };
        let cmd = CREDENTIALS.iter().fold(cmd, |cmd, name| cmd.env_remove(name));
        cmd.env("AWS_ROLE_ARN", &identity.role)
            .env("AWS_ROLE_SESSION_NAME", &identity.session)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", identity.file.path())
    }

    /// What AWS refused, with the remedy if it is known.
    fn refused(&self, outcome: &Outcome) -> Problem {
        let said = outcome.last_words();
        let at = outcome.command.split(" --").next().unwrap_or_default();
        let problem = Problem::new(format!("`{at}`"), format!("{}: {said}", outcome.ending()));
        match self.help_for(&said) {
            Some(help) => problem.help(help),
            None => problem,
        }
    }

    fn help_for(&self, said: &str) -> Option<String> {
        let says = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
        if says(&["AssumeRoleWithWebIdentity"]) {
            let of_env = |name| self.ctx.env.get(name).unwrap_or("…");
            let (repository, git_ref) = (of_env("GITHUB_REPOSITORY"), of_env("GITHUB_REF"));
            return Some(format!(
                "let the role's trust policy allow the subject `repo:{repository}:ref:{git_ref}`, or \
                 `repo:{repository}:environment:<name>` if the job has an environment"
            ));
        }
        let help = if says(&["Unable to locate credentials", "ExpiredToken", "InvalidClientTokenId", "sso login"]) {
            "give the AWS client credentials: `aws sso login` or `aws configure`; in a workflow, set the target's `role`"
        } else if says(&["AccessDenied", "not authorized to perform"]) {
            "allow it in the role's policy: README.md, \"Set up on GitHub and AWS\", has the whole of it"
        } else if says(&["Could not connect to the endpoint", "timed out", "Connect timeout"]) {
            "is the region right, and may this machine reach AWS?"
        } else if says(&["Unknown options", "Invalid choice"]) {
            "the AWS client is too old: install a newer one"
        } else {
            return None;
        };
        Some(help.to_owned())
    }
}

impl Identity {
    fn new(ctx: &Context, role: &str) -> anyhow::Result<Identity> {
        let token = curl::identity_token(ctx)?;
        let file = SecretFile::new(ctx, "xtask-identity", &token)?;
        // What CloudTrail shows of who it was: the characters that AWS allows, and no more than 64 of them.
        let session = format!("xtask-{}-{}", ctx.env.get("GITHUB_RUN_ID").unwrap_or("0"), std::process::id());
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "_=,.@-".contains(*c);
        let session = session.chars().filter(allowed).take(64).collect();
        Ok(Identity { role: role.to_owned(), session, token, file })
    }
}

/// What came of a command that makes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made,
    WasThere,
}

/// `--registry-id`, where the account is known from the registry's host; else it is the credentials' own.
fn registry_id(account: Option<&str>) -> Vec<&str> {
    account.map(|account| vec!["--registry-id", account]).unwrap_or_default()
}

fn describe_repositories<'a>(sh: &'a Shell, region: &str, account: Option<&str>) -> Cmd<'a> {
    let account = registry_id(account);
    cmd!(sh, "aws ecr describe-repositories --region {region} --output json --page-size 1000 {account...}")
}

/// Makes a repository.
pub fn create_repository<'a>(
    sh: &'a Shell,
    region: &str,
    account: Option<&str>,
    name: &str,
    tags: &Mutability,
) -> Cmd<'a> {
    let account = registry_id(account);
    let (setting, filters) = (tags.setting.as_str(), tags.shorthand());
    let flag = (!filters.is_empty()).then_some("--image-tag-mutability-exclusion-filters");
    cmd!(
        sh,
        "aws ecr create-repository --region {region} --output json {account...} --repository-name {name}
         --image-tag-mutability {setting} {flag...} {filters...} --image-scanning-configuration scanOnPush=true"
    )
}

/// Gives a repository the lifecycle policy of a file.
pub fn put_lifecycle_policy<'a>(sh: &'a Shell, region: &str, account: Option<&str>, name: &str, path: &str) -> Cmd<'a> {
    let account = registry_id(account);
    let file = format!("file://{path}");
    cmd!(
        sh,
        "aws ecr put-lifecycle-policy --region {region} --output json {account...} --repository-name {name}
         --lifecycle-policy-text {file}"
    )
}
