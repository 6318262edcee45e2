//! aws: the registry's password, and its repositories, with the rights of a role that GitHub's identity token gives.

mod repositories;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64ct::{Base64UrlUnpadded, Encoding};
use camino::Utf8PathBuf;
use serde_json::{Value, json};
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Limit, Options, Outcome};
use super::system;
use crate::model::{Exit, Problem, Registry};
use crate::run::{Context, Environment, Secret};

/// What the AWS client would use before the role: credentials in the environment win over an identity token.
const CREDENTIALS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
/// After how long the client is ended; it makes several attempts by itself.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Where GitHub hands out identity tokens; it is set for a job that may ask for them.
const TOKEN_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The token to ask with.
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// Who receives the identity token: AWS's token service, as its identity provider for GitHub is set up by default.
const AUDIENCE: &str = "sts.amazonaws.com";
/// Who signs the identity tokens of github.com.
const ISSUER: &str = "token.actions.githubusercontent.com";
/// By what a trust policy may go: the subject, which holds names, and what stays when those change.
const CLAIMS: [&str; 3] = ["sub", "repository_id", "job_workflow_ref"];
/// After how long curl is ended: its four attempts of 60 seconds.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(240);
/// Remedies for what AWS and its client are known to say.
const HINTS: [(&[&str], &str); 4] = [
    (
        &["Unable to locate credentials", "ExpiredToken", "InvalidClientTokenId", "sso login"],
        "give the AWS client credentials: `aws sso login` or `aws configure`; in a workflow, set the target's `role`",
    ),
    (
        &["AccessDenied", "not authorized to perform"],
        "allow it in the role's policy: README.md, \"Set up on GitHub and AWS\", has the whole of it",
    ),
    (
        &["Could not connect to the endpoint", "timed out", "Connect timeout"],
        "is the region right, and may this machine reach AWS?",
    ),
    (&["Unknown options", "Invalid choice"], "the AWS client is too old: install a newer one"),
];

/// The AWS client. The role's identity token is in a file for as long as this lives.
pub struct AwsClient<'a> {
    ctx: &'a Context,
    region: &'a str,
    /// The registry's account; without it, AWS takes the account of the credentials.
    account: Option<&'a str>,
    identity: Option<Identity<'a>>,
}

/// What lets the AWS client assume a role. The token's file is gone when this is dropped.
struct Identity<'a> {
    role: &'a str,
    session: String,
    token: Secret,
    file: Utf8PathBuf,
}

impl<'a> AwsClient<'a> {
    /// The client with the rights of a role, which it assumes by GitHub's identity token, or else with its own
    /// credentials.
    ///
    /// # Errors
    /// There is no AWS client, or GitHub gives no token: with exit code 4.
    pub fn new(
        ctx: &'a Context,
        role: Option<&'a str>,
        region: &'a str,
        account: Option<&'a str>,
    ) -> anyhow::Result<Self> {
        let role = role_to_assume(role, &ctx.env).map_err(|problem| problem.exit(Exit::Missing))?;
        if !system::has_program(ctx, "aws") {
            return Err(Problem::new("`aws`", "not installed")
                .rule("the AWS client asks ECR for the registry's password")
                .help("install the AWS CLI, which GitHub's own runners have: `pip install awscli`, or AWS's installer")
                .exit(Exit::Missing));
        }
        let identity = role.map(|role| Identity::new(ctx, role, identity_token(ctx)?)).transpose()?;
        Ok(AwsClient { ctx, region, account, identity })
    }

    /// The password of the user `AWS`, which is valid for 12 hours.
    pub fn login_password(&self) -> anyhow::Result<Secret> {
        let region = self.region;
        let stdout = self.read(|sh| cmd!(sh, "aws ecr get-login-password --region {region}"))?;
        let password = stdout.trim();
        if password.is_empty() || password.chars().any(char::is_whitespace) {
            return Err(Problem::new("`aws ecr get-login-password`", "gave no password").exit(Exit::Missing));
        }
        Ok(Secret::new(password))
    }

    fn read(&self, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<String> {
        self.accepted(self.run(cmd)?)
    }

    /// What the client printed, if AWS did what it was asked.
    fn accepted(&self, outcome: Outcome) -> anyhow::Result<String> {
        let refused = || self.refused(&outcome).exit(Exit::Missing);
        outcome.success().then(|| outcome.stdout().into_owned()).ok_or_else(refused)
    }

    /// Runs the client to its end.
    fn run(&self, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<Outcome> {
        let secrets: Vec<&Secret> = self.identity.iter().map(|identity| &identity.token).collect();
        let given = Options { limit: Limit::Within(TIMEOUT), secrets: &secrets, ..Options::default() };
        let outcome = process::run(self.ctx, |sh| self.with_identity(cmd(sh)), &given)?;
        // What a client that failed has printed may be half a password, and no message may show that.
        let stdout_bytes = if outcome.success() { outcome.stdout_bytes } else { Vec::new() };
        Ok(Outcome { stdout_bytes, ..outcome })
    }

    fn with_identity<'c>(&self, cmd: Cmd<'c>) -> Cmd<'c> {
        // The first version of the client reads one variable for the region, the second version the other.
        // A pager would wait for a key. When AWS throttles the client, it tries again by itself.
        let cmd = cmd.envs([("AWS_REGION", self.region), ("AWS_DEFAULT_REGION", self.region), ("AWS_PAGER", "")]);
        let cmd = cmd.envs([("AWS_RETRY_MODE", "standard"), ("AWS_MAX_ATTEMPTS", "6")]);
        let Some(identity) = &self.identity else { return cmd };
        let cmd = CREDENTIALS.iter().fold(cmd, |cmd, name| cmd.env_remove(name));
        cmd.env("AWS_ROLE_ARN", identity.role)
            .env("AWS_ROLE_SESSION_NAME", &identity.session)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &identity.file)
    }

    /// What AWS refused, with the remedy if it is known.
    fn refused(&self, outcome: &Outcome) -> Problem {
        let (said, ended) = (outcome.reason(), outcome.end.to_string());
        let at = outcome.command.split(" --").next().unwrap_or_default();
        let what = if said.starts_with(&ended) { said.clone() } else { format!("{ended}: {said}") };
        let problem = Problem::new(format!("`{at}`"), what);
        let says = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
        if let Some(identity) = self.identity.as_ref().filter(|_| says(&["AssumeRoleWithWebIdentity"])) {
            return identity.not_trusted(problem);
        }
        let hint = HINTS.iter().find(|(texts, _)| says(texts));
        Problem { help: hint.map(|&(_, help)| help.to_owned()), ..problem }
    }
}

impl<'a> Identity<'a> {
    /// Writes the token to a new file that only this user can read, outside of the repository, where no build context
    /// and no cache of `target/` includes it: in the runner's own folder, which the runner empties, or the machine's
    /// for temporary files.
    ///
    /// # Errors
    /// The file cannot be made. One that is there already, or a link, is never written to.
    fn new(ctx: &Context, role: &'a str, token: Secret) -> anyhow::Result<Identity<'a>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let dir = ["RUNNER_TEMP", "TMPDIR"].into_iter().find_map(|name| ctx.env.get(name)).unwrap_or("/tmp");
        let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let (process, count) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Utf8PathBuf::from(dir).join(format!("xtask-identity-{process}-{nanoseconds}-{count}"));
        let not_written = || format!("could not write a file for a token in {dir}");
        // `create_new` is O_EXCL, and the mode is part of the same call: the file is never readable by others.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(not_written)?;
        // CloudTrail shows this name of who did something. AWS allows these characters, and 64 of them.
        let session = format!("xtask-{}-{process}", ctx.env.get("GITHUB_RUN_ID").unwrap_or("0"));
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "_=,.@-".contains(*c);
        let session = session.chars().filter(allowed).take(64).collect();
        // From here on, whatever fails removes the file.
        let identity = Identity { role, session, token, file: path };
        file.write_all(identity.token.reveal().as_bytes()).with_context(not_written)?;
        Ok(identity)
    }

    /// Completes the problem that AWS does not let this workflow assume the role: by what GitHub says of the workflow,
    /// and by a trust policy that would do. None of it is secret.
    fn not_trusted(&self, problem: Problem) -> Problem {
        let claims = claims(&self.token);
        let known: Vec<(&str, &str)> =
            CLAIMS.into_iter().filter_map(|name| Some((name, claims[name].as_str()?))).collect();
        let told: Vec<String> = known.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let issuer = claims["iss"].as_str().and_then(|issuer| issuer.strip_prefix("https://")).unwrap_or(ISSUER);
        let account = self.role.split(':').nth(4).unwrap_or_default();
        // The subject comes first. It counts where nothing else is known, or where it names an environment.
        let by_subject = |subject: &str, others: &[_]| others.is_empty() || subject.contains(":environment:");
        let trusted = known.split_first().map_or(
            &[][..],
            |((_, subject), others)| {
                if by_subject(subject, others) { &known } else { others }
            },
        );
        let trusted = trusted.iter().chain([&("aud", AUDIENCE)]);
        let trusted = trusted.map(|&(name, value)| (format!("{issuer}:{name}"), value.into()));
        let statement = json!({
            "Effect": "Allow",
            "Principal": { "Federated": format!("arn:aws:iam::{account}:oidc-provider/{issuer}") },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": trusted.collect::<serde_json::Map<String, Value>>() },
        });
        problem
            .rule(format!(
                "a role is assumed by those whom its trust policy names; GitHub says of this workflow:\n{}",
                told.join("\n")
            ))
            .help(format!("if it is to be let in, let the trust policy of `{}` say:\n{statement:#}", self.role))
    }
}

/// What GitHub says in an identity token, which AWS compares with a trust policy; nothing, if it cannot be read.
/// A JSON web token is three parts of base64url, of which the second is JSON (RFC 7519).
fn claims(token: &Secret) -> Value {
    let payload = token.reveal().split('.').nth(1).and_then(|part| Base64UrlUnpadded::decode_vec(part).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
}

impl Drop for Identity<'_> {
    fn drop(&mut self) {
        // If this fails, the file is gone already, or stays readable for this user alone until the token expires.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The role that a workflow assumes by GitHub's identity token. A person has credentials instead.
fn role_to_assume<'a>(role: Option<&'a str>, env: &Environment) -> Result<Option<&'a str>, Problem> {
    let Some(role) = role.filter(|_| env.is_github_actions()) else { return Ok(None) };
    if env.get(TOKEN_URL).is_some() {
        return Ok(Some(role));
    }
    Err(Problem::new(format!("role `{role}`"), "GitHub gives this workflow no identity token to assume it with")
        .rule("a job asks for the token by a permission, and a pull request from a fork never gets one")
        .help("add `id-token: write` to the job's `permissions` in the workflow"))
}

/// Asks GitHub for a token that says to AWS which workflow this is.
///
/// # Errors
/// GitHub refuses, cannot be reached, or gives something else.
fn identity_token(ctx: &Context) -> anyhow::Result<Secret> {
    let at = "GitHub's identity token";
    let url = token_url(ctx.env.get(TOKEN_URL).unwrap_or_default()).map_err(|problem| problem.exit(Exit::Usage))?;
    let bearer = Secret::new(ctx.env.get(BEARER).unwrap_or_default());
    let request = token_request(&url, &bearer).map_err(|problem| problem.exit(Exit::Usage))?;
    // `-q` goes first, so that no ~/.curlrc can ask for a trace of headers.
    let given = Options {
        stdin: Some(&request),
        limit: Limit::Within(TOKEN_TIMEOUT),
        secrets: &[&bearer],
        ..Options::default()
    };
    let outcome = process::run(
        ctx,
        |sh| cmd!(sh, "curl -q --silent --show-error --fail --max-time 60 --retry 3 --config -"),
        &given,
    )?;
    if !outcome.success() {
        // What curl has printed may be half a token, and no message may show that.
        let said = Outcome { stdout_bytes: Vec::new(), ..outcome }.to_string();
        let help = "is `id-token: write` among the job's `permissions`? if so, run the job again";
        return Err(Problem::new(at, said).help(help).exit(Exit::Missing));
    }
    let answer: Value = serde_json::from_str(&outcome.stdout()).unwrap_or_default();
    match answer["value"].as_str() {
        Some(token) if is_token(token) => Ok(Secret::new(token)),
        // The answer itself is not shown, because it may hold the token.
        _ => Err(Problem::new(at, "the answer holds no token").help("run the job again").exit(Exit::Missing)),
    }
}

/// The address at which GitHub is asked.
///
/// # Errors
/// The address would send the workflow's token over the network in the clear.
fn token_url(base: &str) -> Result<String, Problem> {
    let loopback = base.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.parse().is_ok_and(|host: Registry| host.is_loopback())
    });
    if !loopback && !base.starts_with("https://") {
        return Err(Problem::new(TOKEN_URL, "not an `https://` address")
            .rule("the workflow's token is sent encrypted")
            .help("leave the variable as GitHub sets it"));
    }
    let separator = if base.contains('?') { '&' } else { '?' };
    Ok(format!("{base}{separator}audience={AUDIENCE}"))
}

/// Whether a text is a JSON web token: three parts of base64url with dots between them. Nothing else may get into a
/// file or an environment.
fn is_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The request as curl reads it from stdin. On the command line, every user of the machine could read the token.
fn token_request(url: &str, bearer: &Secret) -> Result<String, Problem> {
    if bearer.reveal().is_empty() {
        return Err(
            Problem::new(BEARER, "not set, though the address to ask at is").help("leave both as GitHub sets them")
        );
    }
    if [url, bearer.reveal()].iter().any(|text| text.chars().any(char::is_control)) {
        return Err(Problem::new(format!("{TOKEN_URL} or {BEARER}"), "holds a control character"));
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let authorization = format!("Authorization: bearer {}", bearer.reveal());
    Ok(format!("url = {}\nheader = {}\n", quoted(url), quoted(&authorization)))
}

#[cfg(test)]
#[path = "aws_tests.rs"]
mod tests;
