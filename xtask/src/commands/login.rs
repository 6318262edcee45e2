//! `login`: logs in to the target's registry, once per runner. For ECR, GitHub vouches for the workflow, AWS lets it
//! assume the target's role, and ECR gives a password; another registry takes a user's name and password.

use std::io::Read;

use anyhow::Context as _;

use crate::model::{Exit, Problem};
use crate::run::{Context, Secret, is_unauthorized};
use crate::settings::{Run, Target, aws_client};
use crate::tools::docker_login;

/// What a registry is logged in to with.
struct Credentials {
    username: String,
    password: Secret,
}

pub fn run(run: &Run, username: Option<&str>, password_stdin: bool) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    let password = if password_stdin { Some(password_of_stdin()?) } else { None };
    if target.registry.is_none() && ctx.env.is_github_actions() {
        ctx.ui.status("Skipped", format!("logging in: {}", target.why_nowhere(ctx)));
        return Ok(());
    }
    let registry = target.published_registry("login")?;
    match credentials(ctx, target, username, password)? {
        Some(Credentials { username, password }) => docker_login(ctx, registry, &username, &password)?,
        None => ctx.ui.status("Skipped", format!("{registry} is this machine's own, and no user name is set")),
    }
    Ok(())
}

/// Does something, and once more after a new login if the registry says that there was none or that it has expired.
/// Without anything to log in with, there is only the first attempt: a password that came over stdin is not kept.
///
/// # Errors
/// Those of the last attempt.
pub fn renewed<T>(run: &Run, attempt: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let Run { ctx, target, client, .. } = run;
    attempt().or_else(|error| {
        if !is_unauthorized(&format!("{error:#}")) || ctx.interrupted().is_some() {
            return Err(error);
        }
        let username = ctx.env.get("JOBS_USERNAME");
        let (Some(registry), Ok(Some(credentials))) = (&target.registry, credentials(ctx, target, username, None))
        else {
            return Err(error);
        };
        ctx.ui.status("Retrying", "after a new login: the registry does not know this one");
        let login = docker_login(ctx, &registry.value, &credentials.username, &credentials.password);
        client.forget_logins();
        login.map_err(|_| error).and_then(|()| attempt())
    })
}

/// What the target's registry is logged in to with; `None` if it is on this machine, and nobody has a name for it.
fn credentials(
    ctx: &Context,
    target: &Target,
    username: Option<&str>,
    password: Option<Secret>,
) -> anyhow::Result<Option<Credentials>> {
    let registry = target.published_registry("login")?;
    if let Some(client) = aws_client(ctx, target, "login")? {
        return Ok(Some(Credentials { username: "AWS".to_owned(), password: client.login_password()? }));
    }
    match username {
        Some(username) => {
            let password = password.map_or_else(|| password_of_environment(ctx), Ok)?;
            Ok(Some(Credentials { username: username.to_owned(), password }))
        }
        None if registry.is_loopback() => Ok(None),
        None => Err(Problem::new(format!("registry `{registry}`"), "no user name to log in with")
            .help("set JOBS_USERNAME and JOBS_PASSWORD, or give --username and --password-stdin")
            .exit(Exit::Usage)),
    }
}

fn password_of_environment(ctx: &Context) -> anyhow::Result<Secret> {
    ctx.env.get("JOBS_PASSWORD").map(Secret::new).ok_or_else(|| {
        Problem::new("login", "no password")
            .rule("a password is never an argument, where every user of the machine can read it")
            .help("give it over stdin with --password-stdin, or set JOBS_PASSWORD")
            .exit(Exit::Usage)
    })
}

fn password_of_stdin() -> anyhow::Result<Secret> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("could not read the password from stdin")?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Problem::new("--password-stdin", "stdin is empty")
            .help("printf %s \"$PASSWORD\" | cargo xtask login --password-stdin")
            .exit(Exit::Usage));
    }
    Ok(Secret::new(password))
}
