//! `login`: to the target's registry, once per runner. For ECR, GitHub vouches for the workflow, AWS lets it assume
//! the target's role, and ECR gives a password; another registry takes a user's name and a password.

use std::io::Read;

use anyhow::Context as _;

use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::run::hints;
use crate::run::secret::Secret;
use crate::settings::Run;
use crate::settings::access::{Access, Circumstances, Runner};
use crate::settings::target::Target;
use crate::tools::{aws, curl, docker};

/// The user that ECR's passwords are for.
const ECR_USER: &str = "AWS";

pub fn run(run: &Run, username: Option<&str>, password_stdin: bool) -> anyhow::Result<()> {
    let password = if password_stdin { Some(password_of_stdin()?) } else { None };
    log_in(&run.ctx, &run.target, username, password)
}

/// Does something, and once more after a new login if the registry says that there is none or that it has expired.
/// A password that came over stdin is not known any more, so then it stays at the first attempt.
///
/// # Errors
/// Those of the last attempt.
pub fn renewed<T>(ctx: &Context, target: &Target, attempt: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    attempt().or_else(|error| {
        let username = ctx.env.get("JOBS_USERNAME");
        let known = |access: &Access<'_>| match access {
            Access::Open => false,
            Access::Password { .. } => ctx.env.get("JOBS_PASSWORD").is_some(),
            Access::Role { .. } | Access::Client { .. } => true,
        };
        let can = hints::is_unauthorized(&format!("{error:#}")) && !ctx.interrupt.is_set();
        if !can || target.registry.is_none() || !access(ctx, target, "login", username).as_ref().is_ok_and(known) {
            return Err(error);
        }
        ctx.ui.status("Retrying", "after a new login: the registry does not know this one");
        match log_in(ctx, target, username, None) {
            Ok(()) => attempt(),
            Err(_) => Err(error),
        }
    })
}

/// How the target's registry is logged in to.
///
/// # Errors
/// There is no registry, or something is not configured.
pub fn access<'a>(
    ctx: &Context,
    target: &'a Target,
    command: &str,
    username: Option<&'a str>,
) -> anyhow::Result<Access<'a>> {
    let runner = match (ctx.env.is_github_actions(), ctx.env.get(curl::URL)) {
        (true, Some(_)) => Runner::Vouched,
        (true, None) => Runner::Plain,
        (false, _) => Runner::Elsewhere,
    };
    let circumstances = Circumstances {
        registry: target.published_registry(command)?,
        role: target.role.as_ref().map(|role| role.value.as_str()),
        region: target.region.as_ref().map(|region| region.value.as_str()),
        username,
        runner,
    };
    circumstances.access()
}

fn log_in(ctx: &Context, target: &Target, username: Option<&str>, password: Option<Secret>) -> anyhow::Result<()> {
    let registry = target.published_registry("login")?;
    let access = access(ctx, target, "login", username)?;
    let (user, password) = match access {
        Access::Open => {
            ctx.ui.status("Skipped", format!("{registry} is this machine's own, and no user name is set"));
            return Ok(());
        }
        Access::Password { username } => (username, password.map_or_else(|| password_of_environment(ctx), Ok)?),
        Access::Role { .. } | Access::Client { .. } => (ECR_USER, aws::Client::new(ctx, access)?.login_password()?),
    };
    docker::login(ctx, registry, user, &password)?;
    ctx.ui.status("Logged in", registry);
    Ok(())
}

fn password_of_environment(ctx: &Context) -> anyhow::Result<Secret> {
    ctx.env.get("JOBS_PASSWORD").map(Secret::new).ok_or_else(|| {
        Problem::new("login", "no password")
            .rule("a password is never an argument, where every user of the machine can read it")
            .help("give it over stdin with --password-stdin, or set JOBS_PASSWORD")
            .usage()
    })
}

fn password_of_stdin() -> anyhow::Result<Secret> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("could not read the password from stdin")?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Problem::new("--password-stdin", "stdin is empty")
            .help("printf %s \"$PASSWORD\" | cargo xtask login --password-stdin")
            .usage());
    }
    Ok(Secret::new(password))
}
