//! `[workspace.metadata.jobs.secrets]`, `….env-args` and `….ssh`: what the builds of which jobs may be given of the
//! environment. It stands outside of the jobs' folders, because whoever owns one must not get at another job's secret.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{JobFiles, JobName, Problem, is_pattern};

/// What a build may be given of the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The value of a variable, for as long as a step runs.
    #[default]
    Secret,
    /// The value of a variable, as a build argument.
    EnvArg,
    /// An SSH agent, or a key.
    Ssh,
}

impl Kind {
    /// The name of the table, and of the list in `job.json`.
    fn key(self) -> &'static str {
        match self {
            Kind::Secret => "secrets",
            Kind::EnvArg => "env-args",
            Kind::Ssh => "ssh",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Secret => "secret",
            Kind::EnvArg => "build argument",
            Kind::Ssh => "key for SSH",
        }
    }

    /// The environment variable that holds it.
    fn variable_of(self, name: &str) -> String {
        if self == Kind::Secret { name.to_uppercase().replace('-', "_") } else { name.to_owned() }
    }

    fn table(self) -> String {
        format!("[workspace.metadata.jobs.{}]", self.key())
    }
}

/// How the variables begin that mean something to GitHub, to the programs that are started, and to this one.
const RESERVED: [&str; 9] = ["ACTIONS_", "AWS_", "BUILDX_", "COSIGN_", "DOCKER_", "GITHUB_", "JOBS_", "LD_", "RUNNER_"];

/// The jobs that may be given what: names of one kind -> jobs, as names or patterns of names.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    kind: Kind,
    entries: BTreeMap<String, Vec<String>>,
}

impl Allowed {
    /// Reads the table. What an entry holds instead of jobs is not repeated: it may be the secret itself.
    pub fn from_table(kind: Kind, table: BTreeMap<String, Value>) -> Result<Allowed, Vec<Problem>> {
        let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, jobs) in table {
            let jobs: Option<Vec<String>> = serde_json::from_value(jobs).ok();
            match check_entry(kind, &name, jobs.as_deref(), entries.keys()) {
                Ok(()) => drop(entries.insert(name, jobs.unwrap_or_default())),
                Err(problem) => {
                    problems.push(Problem { at: format!("Cargo.toml: {} {}", kind.table(), problem.at), ..problem });
                }
            }
        }
        if problems.is_empty() { Ok(Allowed { kind, entries }) } else { Err(problems) }
    }

    /// Name of a secret -> the environment variable that holds it.
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.entries.keys().map(|name| (name.clone(), self.kind.variable_of(name))).collect()
    }

    /// What a job names that it is not allowed.
    pub fn refused(&self, job: &JobName, files: &JobFiles, named: &[String]) -> Vec<Problem> {
        let refused = named.iter().filter(|name| !self.allows(name, job.as_str()));
        refused.map(|name| self.refusal(job, files, name)).collect()
    }

    /// The entries for jobs that are not there. Such an entry would be for whoever makes a folder of that name.
    pub fn for_nobody(&self, jobs: &[&str]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let names = || jobs.iter().copied();
        for (name, allowed) in &self.entries {
            let unknown = allowed.iter().filter(|job| !is_pattern(job) && !names().any(|known| known == *job));
            problems.extend(unknown.map(|job| {
                let at = format!("Cargo.toml: {} {name}: `{job}`", self.kind.table());
                Problem::new(at, "there is no such job")
                    .help("remove it, or write a pattern for jobs to come, such as `report-*`")
                    .did_you_mean(job, names())
            }));
        }
        problems
    }

    fn allows(&self, name: &str, job: &str) -> bool {
        let allowed = self.entries.get(name).into_iter().flatten();
        allowed.into_iter().any(|allowed| glob::Pattern::new(allowed).is_ok_and(|pattern| pattern.matches(job)))
    }

    fn refusal(&self, job: &JobName, files: &JobFiles, name: &str) -> Problem {
        let entry = self.entries.get(name);
        let allowed = entry.into_iter().flatten().map(String::as_str).chain([job.as_str()]);
        let allowed: Vec<String> = allowed.map(|job| format!("\"{job}\"")).collect();
        let at = format!("{}: {}: `{name}`", files.settings_file(), self.kind.key());
        let problem = Problem::new(at, "not allowed to this job")
            .rule(format!("{} in Cargo.toml says which jobs may use a {}", self.kind.table(), self.kind.word()))
            .help(format!("to allow it, write there: {name} = [{}]", allowed.join(", ")));
        let near = self.entries.keys().filter(|known| entry.is_none() && self.allows(known, job.as_str()));
        problem.did_you_mean(name, near.map(String::as_str))
    }
}

fn check_entry<'a>(
    kind: Kind,
    name: &str,
    jobs: Option<&[String]>,
    others: impl Iterator<Item = &'a String>,
) -> Result<(), Problem> {
    let problem = |what: String| Problem::new(format!("`{name}`"), what);
    let (word, key) = (kind.word(), kind.key());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' && kind != Kind::EnvArg);
    if !is_name {
        return Err(problem(format!("not the name of a {word}"))
            .rule(match kind {
                Kind::Secret => "a letter first, then letters, digits, `_` and `-`: in upper case it names a variable",
                Kind::EnvArg => "a letter first, then letters, digits and `_`: it names a variable",
                Kind::Ssh => "a letter first, then letters, digits, `_` and `-`",
            })
            .help(format!("rename it, also where a job's `{key}` names it")));
    }
    if kind != Kind::Ssh {
        check_variable(kind, name, others)?;
    }
    let Some(jobs) = jobs else {
        return Err(problem("not a list of names of jobs".to_owned())
            .rule("the secret itself never stands in a file")
            .help(format!("write the jobs that may use it: {name} = [\"job-a\", \"job-b\"]")));
    };
    match jobs.iter().find_map(|job| Some((job, glob::Pattern::new(job).err()?))) {
        Some((job, error)) => Err(Problem::new(format!("{name}: `{job}`"), error.msg)
            .rule("the name of a job, or a pattern such as `report-*`")
            .help("mend the pattern: `*`, `?`, `[…]`")),
        None => Ok(()),
    }
}

/// A variable with a meaning of its own is nothing for a build, and each is allowed in one place.
fn check_variable<'a>(kind: Kind, name: &str, mut others: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    let (variable, word) = (kind.variable_of(name), kind.word());
    let problem = |what: String| Problem::new(format!("`{name}`"), what);
    let is_reserved = RESERVED.iter().any(|start| variable.starts_with(start)) || variable.ends_with("_PROXY");
    if is_reserved || variable == "PATH" || variable == "HOME" {
        return Err(problem(format!("its variable {variable} has a meaning of its own"))
            .rule(format!(
                "no {word} is named `PATH` or `HOME`, ends with `_PROXY`, or begins with `{}`",
                RESERVED.join("`, `")
            ))
            .help("give it a name that begins with what it is for"));
    }
    match others.find(|other| kind.variable_of(other) == variable) {
        None => Ok(()),
        Some(other) => Err(problem(format!("its variable {variable} is that of `{other}` too"))
            .rule(format!("what allows a {word} stands in one entry"))
            .help("put their jobs into one of them")),
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use serde_json::json;

    use super::*;

    fn read(table: Value) -> Result<Allowed, Vec<Problem>> {
        Allowed::from_table(Kind::Secret, serde_json::from_value(table).unwrap())
    }

    fn name(job: &str) -> JobName {
        job.parse().unwrap()
    }

    fn complaints(problems: &[Problem]) -> Vec<String> {
        problems
            .iter()
            .map(|problem| problem.to_string().replace("Cargo.toml: [workspace.metadata.jobs.secrets]", "T"))
            .collect()
    }

    #[test]
    fn a_job_uses_what_it_is_allowed_and_nothing_else() {
        let secrets = read(json!({"npm_token": ["job-a", "web-*"], "pip-token": ["job-b"], "none": []})).unwrap();
        let refused = |job: &str, named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let dir = Utf8PathBuf::from(format!("jobs/{job}"));
            let files = JobFiles { dockerfile: dir.join("Dockerfile"), dir, context: Utf8PathBuf::new() };
            complaints(&secrets.refused(&name(job), &files, &named))
        };
        assert_eq!(refused("job-a", &["npm_token"]), [""; 0]);
        assert_eq!(refused("web-shop", &["npm_token"]), [""; 0]);
        let rule = "rule: [workspace.metadata.jobs.secrets] in Cargo.toml says which jobs may use a secret";
        assert_eq!(
            refused("job-b", &["npm_token", "pip-token", "other", "pip_token"]),
            [
                format!(
                    "jobs/job-b/job.json: secrets: `npm_token`: not allowed to this job\n  {rule}\n  help: to \
                     allow it, write there: npm_token = [\"job-a\", \"web-*\", \"job-b\"]"
                ),
                format!(
                    "jobs/job-b/job.json: secrets: `other`: not allowed to this job\n  {rule}\n  help: to allow \
                     it, write there: other = [\"job-b\"]"
                ),
                format!(
                    "jobs/job-b/job.json: secrets: `pip_token`: not allowed to this job\n  {rule}\n  help: did you \
                     mean `pip-token`?"
                ),
            ]
        );
        // A name that is near but not allowed is no proposal, and upper case is another name.
        assert!(refused("job-a", &["pip_token", "NPM_TOKEN"]).iter().all(|text| !text.contains("pip-token`?")));
        assert_eq!(secrets.variables().into_values().collect::<Vec<_>>(), ["NONE", "NPM_TOKEN", "PIP_TOKEN"]);
    }

    #[test]
    fn a_job_that_is_not_there_is_allowed_nothing() {
        let secrets = read(json!({"npm_token": ["job-q", "zzz", "job-a", "later-*"]})).unwrap();
        assert_eq!(
            complaints(&secrets.for_nobody(&["job-a", "job-b"])),
            [
                "T npm_token: `job-q`: there is no such job\n  help: did you mean `job-b`?",
                "T npm_token: `zzz`: there is no such job\n  \
                 help: remove it, or write a pattern for jobs to come, such as `report-*`",
            ]
        );
    }

    #[test]
    fn mistakes_in_the_table_are_named_without_the_secret() {
        let table = json!({
            "npm-token": ["a"], "npm_token": ["b"], "1st": [], "a,env=X": [], "github_token": ["a"], "path": ["a"],
            "literal": "npm_0123456789abcdef", "pattern": ["a[", "b"],
        });
        assert_eq!(
            complaints(&read(table).unwrap_err()),
            [
                "T `1st`: not the name of a secret\n  rule: a letter first, then letters, digits, `_` and `-`: in \
                 upper case it names a variable\n  help: rename it, also where a job's `secrets` names it",
                "T `a,env=X`: not the name of a secret\n  rule: a letter first, then letters, digits, `_` and `-`: in \
                 upper case it names a variable\n  help: rename it, also where a job's `secrets` names it",
                "T `github_token`: its variable GITHUB_TOKEN has a meaning of its own\n  rule: no secret is named \
                 `PATH` or `HOME`, ends with `_PROXY`, or begins with `ACTIONS_`, `AWS_`, `BUILDX_`, `COSIGN_`, \
                 `DOCKER_`, `GITHUB_`, `JOBS_`, `LD_`, `RUNNER_`\n  help: give it a name that begins with what it is for",
                "T `literal`: not a list of names of jobs\n  rule: the secret itself never stands in a file\n  \
                 help: write the jobs that may use it: literal = [\"job-a\", \"job-b\"]",
                "T `npm_token`: its variable NPM_TOKEN is that of `npm-token` too\n  rule: what allows a secret \
                 stands in one entry\n  help: put their jobs into one of them",
                "T `path`: its variable PATH has a meaning of its own\n  rule: no secret is named `PATH` or `HOME`, \
                 ends with `_PROXY`, or begins with `ACTIONS_`, `AWS_`, `BUILDX_`, `COSIGN_`, `DOCKER_`, `GITHUB_`, \
                 `JOBS_`, `LD_`, `RUNNER_`\n  help: give it a name that begins with what it is for",
                "T pattern: `a[`: invalid range pattern\n  rule: the name of a job, or a pattern such as `report-*`\n  \
                 help: mend the pattern: `*`, `?`, `[…]`",
            ]
        );
    }
}
