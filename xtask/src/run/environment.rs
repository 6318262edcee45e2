//! The environment variables, read once and in this place alone. clap reads those that stand for a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

/// The environment variables of this process.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    /// Those that hold secrets of jobs: no program inherits them.
    pub withheld: BTreeSet<String>,
    /// Those that this program would read, if their values were UTF-8.
    pub not_utf8: Vec<String>,
}

/// How the variables begin that this program reads.
const READ: [&str; 5] = ["ACTIONS_", "AWS_", "GITHUB_", "JOBS_", "RUNNER_"];

impl Environment {
    /// Variables whose names are not UTF-8 are left out: this program uses none of them.
    pub fn of_this_process() -> Environment {
        let mut env = Environment::default();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(env.vars.insert(name, value)),
                (Ok(name), Err(_)) if READ.iter().any(|start| name.starts_with(start)) => env.not_utf8.push(name),
                _ => {}
            }
        }
        env.not_utf8.sort();
        env
    }

    /// A variable's value; an empty one counts as not set, because a workflow of GitHub has no other way to unset one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable is set to the empty string.
    pub fn is_empty(&self, name: &str) -> bool {
        self.vars.get(name).is_some_and(String::is_empty)
    }

    /// Whether this is a step of a GitHub Actions workflow.
    pub fn is_github_actions(&self) -> bool {
        self.get("GITHUB_ACTIONS") == Some("true")
    }

    /// Whether this is a machine of GitHub's own, made for one job and thrown away after it.
    pub fn is_hosted_runner(&self) -> bool {
        self.is_github_actions() && self.get("RUNNER_ENVIRONMENT") == Some("github-hosted")
    }

    /// The variables that a program does not inherit from this one: what `cargo run` sets for its child alone, and
    /// secrets, of which a program is given those that it needs. By the last two, cosign alone asks GitHub for
    /// an identity token: it knows no other way.
    pub fn kept_from(&self, program: &OsStr) -> impl Iterator<Item = &str> {
        let of_cargo_run = |name: &&str| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_BIN_")
                || matches!(*name, "CARGO" | "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_PRIMARY_PACKAGE")
                || matches!(*name, "RUSTUP_TOOLCHAIN" | "RUST_RECURSION_COUNT" | "LD_LIBRARY_PATH")
        };
        let by_cargo = self.get("CARGO_MANIFEST_DIR").is_some();
        let signs = program == "cosign";
        let secret = move |name: &&str| match *name {
            "JOBS_PASSWORD" => true,
            name if name.starts_with("JOBS_PASSWORD_") => true,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN" | "ACTIONS_ID_TOKEN_REQUEST_URL" => !signs,
            name => self.withheld.contains(name),
        };
        self.vars.keys().map(String::as_str).filter(move |name| by_cargo && of_cargo_run(name) || secret(name))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(vars: [(&str, &str); N]) -> Environment {
        let vars = vars.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Environment { vars, ..Environment::default() }
    }
}
