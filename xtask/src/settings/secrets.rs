//! `[workspace.metadata.jobs.secrets]`: which jobs may mount which secret in their builds. It stands outside of
//! `jobs/`, because whoever owns a job's folder must not get at the secret of another job.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{JobName, Problem};

/// Where the table stands, for messages.
const TABLE: &str = "Cargo.toml: [workspace.metadata.jobs.secrets]";
/// How the variables begin that mean something to GitHub, to the programs that are started, and to this one.
const RESERVED: [&str; 9] = ["ACTIONS_", "AWS_", "BUILDX_", "COSIGN_", "DOCKER_", "GITHUB_", "JOBS_", "LD_", "RUNNER_"];

/// Name of a secret -> the jobs that may mount it, as names or patterns of names.
#[derive(Clone, Debug, Default)]
pub struct JobSecrets(BTreeMap<String, Vec<String>>);

impl JobSecrets {
    /// Reads the table. What an entry holds instead of jobs is not repeated: it may be the secret itself.
    pub fn from_table(table: BTreeMap<String, Value>) -> Result<JobSecrets, Vec<Problem>> {
        let (mut secrets, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, jobs) in table {
            let jobs: Option<Vec<String>> = serde_json::from_value(jobs).ok();
            match check_entry(&name, jobs.as_deref(), secrets.keys()) {
                Ok(()) => drop(secrets.insert(name, jobs.unwrap_or_default())),
                Err(problem) => problems.push(Problem { at: format!("{TABLE} {}", problem.at), ..problem }),
            }
        }
        if problems.is_empty() { Ok(JobSecrets(secrets)) } else { Err(problems) }
    }

    /// Name of a secret -> the environment variable that holds it.
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.0.keys().map(|name| (name.clone(), variable_of(name))).collect()
    }

    /// Checks the secrets that jobs name: those that a job may not mount, and the entries for jobs that are not there.
    /// Such an entry would be for whoever makes a folder of that name.
    pub fn check(&self, jobs: &[(&JobName, &[String])]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (job, named) in jobs {
            let refused = named.iter().filter(|name| !self.allows(name, job.as_str()));
            problems.extend(refused.map(|name| self.refusal(job, name)));
        }
        let names = || jobs.iter().map(|(job, _)| job.as_str());
        for (name, allowed) in &self.0 {
            let unknown = allowed.iter().filter(|job| !is_pattern(job) && !names().any(|known| known == *job));
            problems.extend(unknown.map(|job| {
                Problem::new(format!("{TABLE} {name}: `{job}`"), "there is no such job")
                    .help("remove it, or write a pattern for jobs to come, such as `report-*`")
                    .did_you_mean(job, names())
            }));
        }
        problems
    }

    fn allows(&self, name: &str, job: &str) -> bool {
        let allowed = self.0.get(name).into_iter().flatten();
        allowed.into_iter().any(|allowed| glob::Pattern::new(allowed).is_ok_and(|pattern| pattern.matches(job)))
    }

    fn refusal(&self, job: &JobName, name: &str) -> Problem {
        let entry = self.0.get(name);
        let allowed = entry.into_iter().flatten().map(String::as_str).chain([job.as_str()]);
        let allowed: Vec<String> = allowed.map(|job| format!("\"{job}\"")).collect();
        let problem = Problem::new(format!("{}: secrets: `{name}`", job.settings_file()), "not allowed to this job")
            .rule("[workspace.metadata.jobs.secrets] in Cargo.toml says which jobs may use a secret")
            .help(format!("to allow it, write there: {name} = [{}]", allowed.join(", ")));
        let near = self.0.keys().filter(|known| entry.is_none() && self.allows(known, job.as_str()));
        problem.did_you_mean(name, near.map(String::as_str))
    }
}

/// The environment variable that holds a secret.
fn variable_of(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn check_entry<'a>(
    name: &str,
    jobs: Option<&[String]>,
    mut others: impl Iterator<Item = &'a String>,
) -> Result<(), Problem> {
    let variable = variable_of(name);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let problem = |what: String| Problem::new(format!("`{name}`"), what);
    if !is_name {
        return Err(problem("not the name of a secret".to_owned())
            .rule("a letter first, then letters, digits, `_` and `-`: in upper case it names a variable")
            .help("rename it, also where a job's `secrets` names it"));
    }
    let is_reserved = RESERVED.iter().any(|start| variable.starts_with(start)) || variable.ends_with("_PROXY");
    if is_reserved || variable == "PATH" || variable == "HOME" {
        return Err(problem(format!("its variable {variable} has a meaning of its own"))
            .rule(format!(
                "no secret is named `PATH` or `HOME`, ends with `_PROXY`, or begins with `{}`",
                RESERVED.join("`, `")
            ))
            .help("give it a name that begins with what it is for"));
    }
    if let Some(other) = others.find(|other| variable_of(other) == variable) {
        return Err(problem(format!("its variable {variable} is that of `{other}` too"))
            .rule("what allows a secret stands in one entry")
            .help("put their jobs into one of them"));
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

fn is_pattern(job: &str) -> bool {
    job.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: Value) -> Result<JobSecrets, Vec<Problem>> {
        JobSecrets::from_table(serde_json::from_value(table).unwrap())
    }

    fn complaints(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(|problem| problem.to_string().replace(TABLE, "T")).collect()
    }

    #[test]
    fn a_job_uses_what_it_is_allowed_and_nothing_else() {
        let secrets = read(json!({"npm_token": ["job-a", "web-*"], "pip-token": ["job-b"], "none": []})).unwrap();
        let refused = |job: &str, named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let jobs = ["job-a", "job-b", job].map(|job| job.parse::<JobName>().unwrap());
            complaints(&secrets.check(&[(&jobs[0], &[]), (&jobs[1], &[]), (&jobs[2], &named)]))
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
        let jobs = ["job-a", "job-b"].map(|job| job.parse::<JobName>().unwrap());
        assert_eq!(
            complaints(&secrets.check(&[(&jobs[0], &[]), (&jobs[1], &[])])),
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
