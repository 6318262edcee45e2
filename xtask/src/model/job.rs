//! The names of jobs, and of the files in their folders.

use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::problem::Problem;

/// The folder that holds the jobs unless `jobs-dirs` names others, from the repository's root.
pub const JOBS_DIR: &str = "jobs";
/// The file that makes a folder a job.
pub const DOCKERFILE: &str = "Dockerfile";
/// The optional file with what one job needs.
pub const SETTINGS_FILE: &str = "job.json";

/// The rule for a job's name, in words.
pub const NAME_RULE: &str = "lower-case letters and digits, with single '.', '_' or '-' between them";

/// A job's name: `^[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*$`, which OCI and ECR both take as part of a repository's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct JobName(String);

impl JobName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the job in this folder.
    ///
    /// # Errors
    /// The folder's name is none, with a better one.
    pub fn of_folder(folder: &Utf8Path) -> Result<JobName, Problem> {
        JobName::within(folder.parent().unwrap_or(Utf8Path::new("")), folder.file_name().unwrap_or_default())
    }

    fn within(parent: &Utf8Path, name: &str) -> Result<JobName, Problem> {
        let at = |name: &str| if parent.as_str().is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        JobName::checked(&at(name), name, |better| match better {
            Some(better) => format!("rename the folder, e.g. {}", at(better.as_str())),
            None => "rename the folder".to_owned(),
        })
    }

    /// The name that something else than a folder gives to a job, as `at` says.
    ///
    /// # Errors
    /// It is none, with a better one.
    pub fn at(at: &str, name: &str) -> Result<JobName, Problem> {
        JobName::checked(at, name, |better| match better {
            Some(better) => format!("e.g. `{better}`"),
            None => "give it another name".to_owned(),
        })
    }

    /// The name, if it is one; otherwise help that may name a better one.
    fn checked(at: &str, name: &str, help: impl Fn(Option<JobName>) -> String) -> Result<JobName, Problem> {
        if is_valid(name) {
            return Ok(JobName(name.to_owned()));
        }
        Err(Problem::new(at, "not a valid job name").rule(NAME_RULE).help(help(JobName::suggestion(name))))
    }

    /// The nearest valid name, for a person who has to rename a folder.
    fn suggestion(name: &str) -> Option<JobName> {
        let mut parts: Vec<String> = vec![String::new()];
        for c in name.chars().flat_map(char::to_lowercase) {
            match (c, parts.last_mut()) {
                ('a'..='z' | '0'..='9', Some(part)) => part.push(c),
                _ => parts.push(String::new()),
            }
        }
        parts.retain(|part| !part.is_empty());
        let name = parts.join("-");
        is_valid(&name).then_some(JobName(name))
    }
}

fn is_valid(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && name.split(['.', '_', '-']).all(is_part)
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a folder in the usual place.
impl FromStr for JobName {
    type Err = Problem;

    fn from_str(name: &str) -> Result<JobName, Problem> {
        JobName::within(Utf8Path::new(JOBS_DIR), name)
    }
}

/// Where the files of a job are, from the repository's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFiles {
    /// The job's folder.
    pub dir: Utf8PathBuf,
    pub dockerfile: Utf8PathBuf,
    /// The build context; empty where that is the root.
    pub context: Utf8PathBuf,
}

impl JobFiles {
    /// The job's `job.json`.
    pub fn settings_file(&self) -> Utf8PathBuf {
        self.dir.join(SETTINGS_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_grammar_of_oci_and_ecr() {
        for name in ["a", "job-a", "report.daily", "a_b-c.d", "a1-2"] {
            assert_eq!(name.parse::<JobName>().unwrap().to_string(), name);
        }
        for name in [
            "",
            "Foo",
            "my job",
            "-x",
            "--push",
            ".hidden",
            "a-",
            "a.",
            "a--b",
            "a__b",
            "a..b",
            "a\n",
            "$(id)",
            "`id`",
            ";",
            "${{ github.token }}",
            "::add-mask::x",
            "##[group]",
            "é",
            "1a",
            "a/b",
            "../x",
            "a.-b",
        ] {
            assert!(name.parse::<JobName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_bad_name_comes_with_a_good_one() {
        assert_eq!(
            "Report_Daily".parse::<JobName>().unwrap_err().to_string(),
            "jobs/Report_Daily: not a valid job name\n  \
             rule: lower-case letters and digits, with single '.', '_' or '-' between them\n  \
             help: rename the folder, e.g. jobs/report-daily"
        );
        for (bad, good) in [("my job", "my-job"), ("a--b", "a-b"), ("--push", "push"), ("a.", "a"), ("AÉb", "a-b")] {
            assert_eq!(JobName::suggestion(bad).map(|name| name.to_string()).as_deref(), Some(good));
        }
        let help = |name: &str| name.parse::<JobName>().unwrap_err().help.unwrap();
        assert_eq!(help("v/v"), "rename the folder, e.g. jobs/v-v");
        assert_eq!(JobName::suggestion("é"), None);
        assert_eq!(JobName::suggestion("1st"), None);
    }
}
