//! Who asks a registry: docker's own login, from its `config.json` and the credential helpers that it names.

use anyhow::Context as _;
use serde_json::Value;
use xshell::cmd;

use super::curl::quoted;
use crate::model::{Exit, Failure, Problem, Registry};
use crate::run::{Context, Secret};
use crate::tools::process::{self, Options};

/// The name under which docker keeps the login of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user name by which a helper says that it gives an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers say where they have nothing for a registry, with exit code 1.
const NOT_FOUND: &str = "credentials not found";

/// Docker's login at one registry.
#[derive(Clone, Debug)]
pub enum Login {
    Anonymous,
    /// A user with a password, as a line of curl's configuration.
    User(Secret),
    /// A token that an OAuth 2 token server exchanges for one that it takes for a few minutes.
    Identity(Secret),
}

impl Login {
    /// The login that docker has at a registry.
    ///
    /// # Errors
    /// The configuration cannot be read (2), or a helper that it names fails (4).
    pub fn of(ctx: &Context, registry: &Registry) -> anyhow::Result<Login> {
        let host = registry.to_string();
        let config = configuration(ctx)?;
        let name = if host == "docker.io" { DOCKER_HUB } else { &host };
        let helper = config["credHelpers"][name].as_str().or(config["credHelpers"][&host].as_str());
        match helper.or(config["credsStore"].as_str()).filter(|helper| !helper.is_empty()) {
            Some(helper) => of_helper(ctx, helper, name),
            None => Ok(of_file(&config, name)),
        }
    }
}

/// Docker's configuration; `null` where there is none.
fn configuration(ctx: &Context) -> anyhow::Result<Value> {
    let home = ctx.env.get("HOME").map(|home| format!("{home}/.docker"));
    let Some(dir) = ctx.env.get("DOCKER_CONFIG").map(str::to_owned).or(home) else { return Ok(Value::Null) };
    let path = format!("{dir}/config.json");
    let problem = |what: String| {
        let problem = Problem::new(&path, what).rule("registries are asked with docker's own login");
        problem.help("mend it, or name another folder in DOCKER_CONFIG").exit(Exit::Usage)
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| problem(format!("not valid JSON: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(problem(format!("could not be read: {error}"))),
    }
}

/// The login that is kept in the configuration itself. Old entries are URLs: their host counts.
fn of_file(config: &Value, name: &str) -> Login {
    let host = |key: &'_ str| {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let auths = config["auths"].as_object();
    let entry = auths.and_then(|auths| {
        auths.get(name).or_else(|| auths.iter().find(|(key, _)| host(key) == host(name)).map(|(_, entry)| entry))
    });
    let text = |key: &str| entry.and_then(|entry| entry[key].as_str()).filter(|text| !text.is_empty());
    match (text("identitytoken"), text("auth")) {
        (Some(token), _) => Login::Identity(Secret::new(token)),
        (None, Some(auth)) => {
            Login::User(Secret::new(format!("header = {}", quoted(&format!("Authorization: Basic {auth}")))))
        }
        (None, None) => Login::Anonymous,
    }
}

/// Asks a credential helper, by [docker's protocol](https://github.com/docker/docker-credential-helpers).
fn of_helper(ctx: &Context, helper: &str, name: &str) -> anyhow::Result<Login> {
    let program = format!("docker-credential-{helper}");
    let given = Options { stdin: Some(name), ..Options::default() };
    let failed = |said: String| {
        Problem::new(format!("registry `{name}`"), format!("`{program} get` failed: {said}"))
            .rule("docker's config.json names this helper for the registry")
            .help("install it, log in to the registry again, or mend `credHelpers` or `credsStore` there")
            .exit(Exit::Missing)
    };
    let outcome = process::run(ctx, |sh| cmd!(sh, "{program} get"), &given);
    let outcome = outcome.map_err(|error| failed(Failure::reason(&error)))?;
    if !outcome.success() {
        let said = outcome.reason();
        return if said.contains(NOT_FOUND) { Ok(Login::Anonymous) } else { Err(failed(said)) };
    }
    let answer: Value = serde_json::from_str(&outcome.stdout())
        .with_context(|| format!("`{program} get` printed something that is not JSON"))?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    Ok(match (text("Username"), text("Secret")) {
        (_, "") => Login::Anonymous,
        (TOKEN_USER, token) => Login::Identity(Secret::new(token)),
        (user, password) => Login::User(Secret::new(format!("user = {}", quoted(&format!("{user}:{password}"))))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_its_host() {
        let config = serde_json::json!({ "auths": {
            "https://index.docker.io/v1/": { "auth": "aHVi" },
            "https://r.example.com/v2/": { "auth": "b2xk" },
            "azure.example": { "auth": "MDAw", "identitytoken": "refresh" },
            "empty.example": {},
        } });
        let line = |name: &str| match of_file(&config, name) {
            Login::User(line) | Login::Identity(line) => line.reveal().to_owned(),
            Login::Anonymous => String::new(),
        };
        assert_eq!(line(DOCKER_HUB), "header = \"Authorization: Basic aHVi\"");
        assert_eq!(line("r.example.com"), "header = \"Authorization: Basic b2xk\"");
        assert_eq!(line("azure.example"), "refresh");
        assert_eq!((line("empty.example"), line("other.example")), (String::new(), String::new()));
    }
}
