//! docker: the engine that it talks to, and logging in to a registry. Building and publishing is buildx's part.

use std::collections::BTreeMap;
use std::time::Duration;

use xshell::cmd;

use super::builder::{dotted, find_version};
use super::process::{self, End, Limit, Options, Outcome};
use crate::model::{Exit, Failure, Problem, Registry};
use crate::run::{Context, Secret, help_for, is_unauthorized, retry};

/// How long the engine may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the engine of this machine listens.
const OWN_ENGINE: &str = "unix:///var/run/docker.sock";
/// The remedy where something is not installed or does not run.
const SETUP: &str = "cargo xtask setup";

/// The version of docker's client.
///
/// # Errors
/// It is not installed, or podman goes by its name.
pub fn docker_version(ctx: &Context) -> Result<String, Problem> {
    const NO_PODMAN: &str = "remove the package podman-docker, or what else gives podman this name, and run cargo \
                             xtask setup: buildx belongs to docker's own client";
    let problem = |what: String| Problem::new("docker", what);
    let said = match process::run(ctx, |sh| cmd!(sh, "docker --version"), &Options::default()) {
        Ok(outcome) if outcome.success() => outcome.stdout().trim().to_owned(),
        Ok(outcome) => return Err(problem(outcome.reason()).help(SETUP)),
        Err(_) => return Err(problem("not installed".to_owned()).help(SETUP)),
    };
    let version = find_version(&said).map_or_else(|| said.clone(), dotted);
    // Docker's own client begins with `Docker`; podman says the name by which it is called.
    let is_podman = ["podman version ", "docker version "].iter().any(|start| said.starts_with(start));
    if is_podman { Err(problem(format!("podman {version} goes by its name")).help(NO_PODMAN)) } else { Ok(version) }
}

/// Whether `setup` is the remedy: there is no engine yet, or the one of this machine does not run.
pub fn is_mended_by_setup(problem: &Problem) -> bool {
    problem.help.as_deref() == Some(SETUP)
}

/// The version of the engine of the current docker context.
///
/// # Errors
/// There is no engine, or it does not answer.
pub fn engine_version(ctx: &Context) -> Result<String, Problem> {
    let format = "{{.Server.Version}} {{range .Server.Components}}{{.Name}} {{end}}";
    let given = Options { limit: Limit::Within(ANSWER_TIMEOUT), ..Options::default() };
    let asked = process::run(ctx, |sh| cmd!(sh, "docker version --format {format}"), &given);
    let (what, help) = match asked {
        Ok(outcome) if outcome.success() => match outcome.stdout().trim().split_once(' ') {
            Some((version, parts)) if parts.contains("Podman") => (
                format!("podman {version} answers in its place"),
                "unset DOCKER_HOST, or name docker's own engine in it".to_owned(),
            ),
            Some((version, _)) => return Ok(version.to_owned()),
            None => return Ok(outcome.stdout().trim().to_owned()),
        },
        // An engine that hangs says nothing, and starting it once more does not help.
        Ok(Outcome { end: end @ End::TimedOut(_), .. }) => (
            format!("does not answer: `docker version` {end}"),
            "restart the engine, or set DOCKER_HOST to one that answers".to_owned(),
        ),
        Ok(outcome) => (outcome.reason(), remedy(&outcome.stderr, ctx.env.get("DOCKER_HOST").is_some())),
        Err(error) => (format!("{error:#}").lines().next().unwrap_or_default().to_owned(), SETUP.to_owned()),
    };
    Err(Problem::new("the engine", what).help(help))
}

/// What to do where docker says that it cannot reach an engine. A second engine is no help to somebody who has no right
/// to the first, or who asks for another machine's.
fn remedy(said: &str, is_named: bool) -> String {
    let address = said.split_whitespace().find(|word| word.contains("://")).unwrap_or(OWN_ENGINE);
    match help_for(said) {
        Some(help) if said.contains("permission denied") => help.to_owned(),
        _ if address.starts_with(OWN_ENGINE) => SETUP.to_owned(),
        _ if is_named => "start the engine there, or unset DOCKER_HOST to use this machine's".to_owned(),
        _ => "start the engine there, or use this machine's: docker context use default".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_is_started_only_where_there_is_none() {
        let denied = "permission denied while trying to connect to the Docker daemon socket at \
                      unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version\": dial unix \
                      /var/run/docker.sock: connect: permission denied";
        let group = "join the group `docker`, and log in again: sudo usermod --append --groups docker \"$USER\"";
        assert_eq!(remedy(denied, false), group);
        let nobody = |address: &str, is_named| {
            let said = format!("Cannot connect to the Docker daemon at {address}. Is the docker daemon running?");
            remedy(&said, is_named)
        };
        assert_eq!(nobody("unix:///var/run/docker.sock", false), "cargo xtask setup");
        let elsewhere = [true, false].map(|is_named| nobody("tcp://10.0.0.5:2376", is_named));
        assert_eq!(
            elsewhere,
            [
                "start the engine there, or unset DOCKER_HOST to use this machine's",
                "start the engine there, or use this machine's: docker context use default"
            ]
        );
    }
}
