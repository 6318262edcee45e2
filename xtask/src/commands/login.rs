//! `login`: logs in to the target's registry, once per runner. For ECR, GitHub vouches for the workflow, AWS lets it
//! assume the target's role, and ECR gives a password; another registry takes a user's name and password.

use std::io::Read;

use anyhow::Context as _;

use crate::model::{Exit, Problem};
use crate::run::fleet::Tally;
use crate::run::{Context, Secret, is_unauthorized};
use crate::settings::{Config, Given, Run, Target, aws_client, target_of_base};
use crate::tools::docker_login;

/// What a registry is logged in to with.
struct Credentials {
    username: String,
    password: Secret,
}

pub fn run(run: &Run, username: Option<&str>, password_stdin: bool) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    let password = if password_stdin { Some(password_of_stdin()?) } else { password_of_environment(ctx, target) };
    if target.registry.is_none() && ctx.env.is_github_actions() {
        ctx.ui.status("Skipped", format!("logging in: {}", target.why_nowhere(ctx)));
        return Ok(());
    }
    log_in(run, credentials(ctx, target, username, password)?)?;
    // A password that is for whatever registry may not be for these.
    run.copies()?.iter().try_for_each(|copy| log_in(copy, own_credentials(copy)?))
}

/// Logs in for what is not merged yet, where somebody has said how: a pull request from a fork gets neither tokens nor
/// secrets, and is built all the same if its bases are public.
pub fn to_read(ctx: &Context, config: &Config, given: &Given, username: Option<&str>) -> anyhow::Result<()> {
    let reader = reader(ctx, config, given)?.and_then(|run| match why_nobody(ctx, &run.target) {
        None => Ok(run),
        Some(why) => Err(why),
    });
    match reader {
        Ok(run) => log_in(&run, credentials(ctx, &run.target, username, password_of_environment(ctx, &run.target))?),
        Err(why) => {
            ctx.ui.status("Skipped", format!("logging in to read: {why}"));
            Ok(())
        }
    }
}

/// What may only read: at the target that a proposal would be published to, as its `read-role`; or why nobody may.
fn reader(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Result<Run, String>> {
    let name = match &given.target {
        Some(name) => Some(name.clone()),
        None => target_of_base(ctx, config)?,
    };
    let Some(name) = name else { return Ok(Err("there is no target to read from".to_owned())) };
    let mut run = Run::at(ctx, config, &name, None)?;
    if run.target.role.is_some() && run.target.read_role.is_none() {
        return Ok(Err(format!("the target `{name}` has no `read-role`")));
    }
    run.target.role = run.target.read_role.take();
    Ok(Ok(run))
}

/// Why there is nothing to log in with, if that is how it is meant to be.
fn why_nobody(ctx: &Context, target: &Target) -> Option<String> {
    let has_token = !ctx.env.is_github_actions() || ctx.env.get("ACTIONS_ID_TOKEN_REQUEST_URL").is_some();
    let why = match target.role.is_some() {
        true if !has_token => "GitHub gives no identity token, which the job has to ask for, and a fork does not get",
        false if password_of_environment(ctx, target).is_none() => "there is no password",
        _ => return None,
    };
    Some(why.to_owned())
}

fn log_in(Run { ctx, target, .. }: &Run, credentials: Option<Credentials>) -> anyhow::Result<()> {
    let registry = target.published_registry("login")?;
    match credentials {
        Some(Credentials { username, password }) => docker_login(ctx, registry, &username, &password)?,
        None => ctx.ui.status("Skipped", format!("{registry} is this machine's own, and no user name is set")),
    }
    Ok(())
}

/// Does something, and once more after a new login if a registry says that there was none or that it has expired.
/// Without anything to log in with, there is only the first attempt: a password that came over stdin is not kept.
///
/// # Errors
/// Those of the last attempt.
pub fn renewed<T>(run: &Run, attempt: impl Fn() -> anyhow::Result<Tally<T>>) -> anyhow::Result<Tally<T>> {
    let Run { ctx, target, .. } = run;
    let username = ctx.env.get("JOBS_USERNAME");
    let copies = run.copies()?;
    let runs: Vec<&Run> = std::iter::once(run).chain(&copies).collect();
    once_more(&runs, attempt, |other| match std::ptr::eq(other, run) {
        true => credentials(ctx, target, username, password_of_environment(ctx, target)),
        false => own_credentials(other),
    })
}

/// The same for several targets, each with what is its own to log in with: a password that is for whatever registry
/// may be for the other one.
///
/// # Errors
/// Those of the last attempt.
pub fn all_renewed<T>(runs: &[&Run], attempt: impl Fn() -> anyhow::Result<Tally<T>>) -> anyhow::Result<Tally<T>> {
    once_more(runs, attempt, own_credentials)
}

fn once_more<T>(
    runs: &[&Run],
    attempt: impl Fn() -> anyhow::Result<Tally<T>>,
    credentials: impl Fn(&Run) -> anyhow::Result<Option<Credentials>>,
) -> anyhow::Result<Tally<T>> {
    let first = attempt();
    let is_stopped = runs.iter().any(|run| run.ctx.interrupted().is_some());
    let failure = match &first {
        Ok(tally) => tally.failures.as_ref().err(),
        Err(error) => Some(error),
    };
    if is_stopped || !failure.is_some_and(|error| is_unauthorized(&format!("{error:#}"))) {
        return first;
    }
    let known = runs.iter().filter_map(|run| Some((run, run.target.registry.as_ref()?, credentials(run).ok()??)));
    let known: Vec<_> = known.collect();
    for (Run { ctx, client, .. }, registry, Credentials { username, password }) in &known {
        ctx.ui.status("Retrying", "after a new login: the registry does not know this one");
        let login = docker_login(ctx, &registry.value, username, password);
        client.forget_logins();
        if login.is_err() {
            return first;
        }
    }
    if known.is_empty() { first } else { attempt() }
}

/// What is the target's own to log in with.
fn own_credentials(Run { ctx, target, .. }: &Run) -> anyhow::Result<Option<Credentials>> {
    let password = own_password(ctx, target);
    match target.username.as_ref().and(target.password_variable()) {
        Some(variable) if password.is_none() => Err(no_password(target, &format!("set {variable}"))),
        _ => credentials(ctx, target, None, password),
    }
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
    match username.or(target.username.as_deref()) {
        Some(username) => {
            let password = password.ok_or_else(|| {
                let or_own = target.password_variable().map(|own| format!(" or {own}")).unwrap_or_default();
                let help = format!("give it over stdin with --password-stdin, or set JOBS_PASSWORD{or_own}");
                no_password(target, &help)
            })?;
            Ok(Some(Credentials { username: username.to_owned(), password }))
        }
        None if registry.is_loopback() => Ok(None),
        None => Err(Problem::new(format!("registry `{registry}`"), "no user name to log in with")
            .help(
                "set JOBS_USERNAME and JOBS_PASSWORD, or give --username and --password-stdin; for a copy, write \
                 `username` in its target",
            )
            .exit(Exit::Usage)),
    }
}

/// The password for this target's registry alone.
fn own_password(ctx: &Context, target: &Target) -> Option<Secret> {
    ctx.env.get(&target.password_variable()?).map(Secret::new)
}

/// The same, or else the one for whatever registry it is.
fn password_of_environment(ctx: &Context, target: &Target) -> Option<Secret> {
    own_password(ctx, target).or_else(|| ctx.env.get("JOBS_PASSWORD").map(Secret::new))
}

fn no_password(target: &Target, help: &str) -> anyhow::Error {
    let at = target.registry.as_ref().map_or_else(String::new, |registry| format!("registry `{}`", registry.value));
    Problem::new(at, "no password to log in with")
        .rule("a password is never an argument, where every user of the machine can read it")
        .help(help)
        .exit(Exit::Usage)
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
