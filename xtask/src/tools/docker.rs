//! docker: logging in to a registry. Building and publishing is buildx's part.

use std::time::Duration;

use xshell::{Cmd, Shell, cmd};

use super::process::{self, Given};
use crate::model::problem::Problem;
use crate::model::reference::Registry;
use crate::run::context::Context;
use crate::run::fleet::{self, Failing};
use crate::run::secret::Secret;

/// Logs in: docker asks the registry, and keeps the password in its own configuration.
///
/// # Errors
/// The registry refuses, or cannot be reached.
pub fn login(ctx: &Context, registry: &Registry, username: &str, password: &Secret) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let attempt = || {
        let given = Given {
            stdin: Some(password.reveal()),
            deadline: Some(Duration::from_secs(120)),
            secrets: &[password],
            ..Given::default()
        };
        let outcome = process::run(ctx, login_command(&sh, registry, username), &given)?;
        if outcome.success() { Ok(()) } else { Err(anyhow::Error::msg(outcome.complaint())) }
    };
    let classify = |error: &anyhow::Error| match error.downcast_ref::<crate::model::problem::Failure>() {
        Some(_) => Failing::ForGood,
        None => fleet::failing(&error.to_string()),
    };
    fleet::retry(ctx, "the login", classify, attempt).map_err(|error| {
        if error.is::<crate::model::problem::Failure>() {
            return error;
        }
        let said = error.to_string();
        let help = crate::run::hints::help_for(&said).filter(|_| !crate::run::hints::is_unauthorized(&said));
        Problem::new(format!("registry `{registry}`"), format!("the login failed: {said}"))
            .help(help.unwrap_or("check the user name and the password, and that they are for this registry"))
            .missing()
    })
}

fn login_command<'a>(sh: &'a Shell, registry: &Registry, username: &str) -> Cmd<'a> {
    let host = registry.to_string();
    cmd!(sh, "docker login --username {username} --password-stdin {host}")
}
