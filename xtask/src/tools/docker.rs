//! docker: logs in to a registry. Building and publishing is buildx's part.

use std::time::Duration;

use xshell::cmd;

use super::process::{self, Options};
use crate::model::{Failure, Problem, Registry};
use crate::run::{Context, Secret, fleet, help_for, is_unauthorized};

/// After how long one attempt to log in is ended.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Logs in: docker asks the registry, and keeps the password in its own configuration.
///
/// # Errors
/// The registry refuses, or cannot be reached.
pub fn login(ctx: &Context, registry: &Registry, username: &str, password: &Secret) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let host = registry.to_string();
    let secrets = [password];
    let given =
        Options { stdin: Some(password.reveal()), deadline: Some(TIMEOUT), secrets: &secrets, ..Options::default() };
    let attempt =
        || process::run(ctx, cmd!(sh, "docker login --username {username} --password-stdin {host}"), &given)?.read();
    fleet::retry(ctx, "the login", attempt).map_err(|error| {
        // A docker that could not be started comes with its own remedy.
        if error.is::<Failure>() {
            return error;
        }
        let said = error.to_string();
        // Whoever is just logging in needs no advice to log in.
        let help = help_for(&said).filter(|_| !is_unauthorized(&said));
        Problem::new(format!("registry `{registry}`"), format!("the login failed: {said}"))
            .help(help.unwrap_or("check the user name and the password, and that they are for this registry"))
            .missing()
    })?;
    ctx.ui.status("Logged in", registry);
    Ok(())
}
