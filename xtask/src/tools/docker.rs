//! docker: the engine that it talks to, and logging in to a registry. Building and publishing is buildx's part.

use std::collections::BTreeMap;
use std::time::Duration;

use xshell::cmd;

use super::process::{self, End, Limit, Options, Outcome};
use crate::model::{Exit, Failure, Problem, Registry};
use crate::run::{Context, Secret, help_for, is_unauthorized, retry};

/// How long the engine may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The version of the engine of the current docker context.
///
/// # Errors
/// There is no engine, or it does not answer.
pub fn engine_version(ctx: &Context) -> Result<String, Problem> {
    let format = "{{.Server.Version}}";
    let given = Options { limit: Limit::Within(ANSWER_TIMEOUT), ..Options::default() };
    let asked = process::run(ctx, |sh| cmd!(sh, "docker version --format {format}"), &given);
    let (what, help) = match asked {
        Ok(outcome) if outcome.success() => return Ok(outcome.stdout().trim().to_owned()),
        // An engine that hangs says nothing, and starting it once more does not help.
        Ok(Outcome { end: end @ End::TimedOut(_), .. }) => (
            format!("does not answer: `docker version` {end}"),
            "restart the engine, or set DOCKER_HOST to one that answers",
        ),
        Ok(outcome) => (outcome.reason(), "cargo xtask setup"),
        Err(error) => (format!("{error:#}").lines().next().unwrap_or_default().to_owned(), "cargo xtask setup"),
    };
    Err(Problem::new("the engine", what).help(help))
}

/// The architectures of those of these tags that the local engine holds.
pub fn loaded_architectures(ctx: &Context, tags: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    if tags.is_empty() {
        return Ok(BTreeMap::new());
    }
    let format = "{{.Architecture}} {{range .RepoTags}}{{.}} {{end}}";
    // Where it does not hold one of them, it fails, and prints the others all the same.
    let asked =
        process::run(ctx, |sh| cmd!(sh, "docker image inspect --format {format} -- {tags...}"), &Options::default())?;
    let mut loaded = BTreeMap::new();
    for line in asked.stdout().lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        let arch = words.next().unwrap_or_default();
        loaded.extend(words.map(|tag| (tag, arch.clone())));
    }
    Ok(loaded)
}

/// Logs in: docker asks the registry, and keeps the password in its own configuration.
///
/// # Errors
/// The registry refuses, or cannot be reached.
pub fn docker_login(ctx: &Context, registry: &Registry, username: &str, password: &Secret) -> anyhow::Result<()> {
    let host = registry.to_string();
    let secrets = [password];
    let given = Options { stdin: Some(password.reveal()), secrets: &secrets, ..Options::default() };
    let attempt =
        || process::read(ctx, |sh| cmd!(sh, "docker login --username {username} --password-stdin {host}"), &given);
    retry(ctx, "the login", attempt).map_err(|error| {
        // A docker that could not be started comes with its own remedy.
        if error.is::<Failure>() {
            return error;
        }
        let said = error.to_string();
        // Whoever is just logging in needs no advice to log in.
        let help = help_for(&said).filter(|_| !is_unauthorized(&said));
        Problem::new(format!("registry `{registry}`"), format!("the login failed: {said}"))
            .help(help.unwrap_or("check the user name and the password, and that they are for this registry"))
            .exit(Exit::Missing)
    })?;
    ctx.ui.status("Logged in", registry);
    Ok(())
}
