//! `jobs/<name>/job.json`: what one job needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::build_args;
use super::read::from_json;
use crate::model::{Arch, PathPattern, Problem};

/// The longest time that a job of a workflow may take on a runner of one's own, in minutes.
const LONGEST_BUILD: u32 = 5 * 24 * 60;

/// What `jobs/<name>/job.json` may say. Everything has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct JobSettings {
    /// For the editor: the schema of the file. Not read.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// The architectures that the job is built for; all of the repository's if absent.
    pub arches: Option<Vec<Arch>>,
    /// The stage of the Dockerfile to build, as `docker build --target`; the last one if absent.
    pub target: Option<String>,
    /// Build arguments. Not for secrets: they can be read from the image.
    #[serde(deserialize_with = "unique_keys")]
    pub args: BTreeMap<String, String>,
    /// Names of `args` that look like a secret's, and are none.
    pub not_secrets: Vec<String>,
    /// Further files or folders that the image depends on, from the repository's root.
    pub inputs: Vec<String>,
    /// Secrets that the build may mount (`RUN --mount=type=secret,id=…`), if `Cargo.toml` allows them to the job.
    pub secrets: Vec<String>,
    /// Patterns of files in the image that may be programs for another architecture.
    pub foreign_files: Vec<String>,
    /// After how many minutes a build is ended.
    pub timeout_minutes: Option<u32>,
}

/// Reads `job.json`.
///
/// # Errors
/// The one mistake that ends the reading, with line and column; or all those in values.
pub fn job_settings(path: &str, text: &str) -> Result<JobSettings, Vec<Problem>> {
    let settings: JobSettings = from_json(path, text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    if settings.arches.as_ref().is_some_and(Vec::is_empty) {
        let problem = Problem::new(format!("{path}: arches"), "no architecture");
        problems.push(problem.help("name at least one, or remove the key"));
    }
    for input in &settings.inputs {
        let what = match input.as_str() {
            "" => "empty",
            input if input.starts_with('/') || input.split('/').any(|part| part == "..") => "leaves the repository",
            input if input.contains('\0') => "has a NUL character",
            _ => continue,
        };
        let problem = Problem::new(format!("{path}: inputs: `{input}`"), what);
        let problem = problem.rule("a path from the repository's root, without `..`");
        problems.push(problem.help("name what is in the repository, e.g. protos/"));
    }
    for pattern in &settings.foreign_files {
        if !pattern.starts_with('/') || PathPattern::new(pattern).is_err() {
            let problem = Problem::new(format!("{path}: foreign-files: `{pattern}`"), "no pattern of paths");
            let problem =
                problem.rule("a path from `/`, in which `*` stands for a part of a name and `**` for folders");
            problems.push(problem.help("name files as they stand in the image, e.g. /opt/agents/arm64/*"));
        }
    }
    problems.append(&mut build_args::check(path, &settings.args, &settings.not_secrets));
    if let Some(minutes) = settings.timeout_minutes.filter(|minutes| !(1..=LONGEST_BUILD).contains(minutes)) {
        let problem = Problem::new(format!("{path}: timeout-minutes"), format!("{minutes} minutes"));
        let problem = problem.rule(format!("between 1 and {LONGEST_BUILD}, five days, the limit of GitHub Actions"));
        problems.push(problem.help("name the minutes that its build takes at most, or remove the key"));
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// A map of which no key may stand twice; serde's own would take the last.
fn unique_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Unique;
    impl<'de> Visitor<'de> for Unique {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry::<String, String>()? {
                if map.insert(key.clone(), value).is_some() {
                    return Err(serde::de::Error::custom(format_args!("duplicate key `{key}`")));
                }
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn mistakes_in_job_json_have_line_and_column() {
        let mut all = String::new();
        for text in [
            "",
            "\u{feff}{}",
            "{\n  \"arches\": [\"amd64\",]\n}",
            "{\"archs\": []}",
            "{\"arches`\": []}",
            "{\"arches at line 7\": []}",
            "{\"arches\": [], \"arches\": []}",
            "{\"args\": {\"A\": \"1\", \"A\": \"2\"}}",
            "{\"args\": {\"A\": 1}}",
            "{\"arches\": []}",
            "{\"arches\": [\"s390x\"]}",
            "{\"inputs\": [\"../x\", \"/etc\", \"a/../b\"]}",
            "{\"foreign-files\": [\"opt/x\", \"/opt/a**\"]}",
            "{\"timeout-minutes\": 0}",
            "{\"args\": {\"NPM_TOKEN\": \"x\"}}",
            "{\"not-secret\": []}",
            "{\"timeout-minutes\": 0.5}",
        ] {
            let problems = job_settings("j", text).unwrap_err();
            all.extend(problems.iter().map(|problem| format!("{problem}\n")));
        }
        expect![[r#"
            j: empty
              help: write `{}`, or remove the file
            j:1:1: starts with a byte-order mark
              help: save it as UTF-8 without one
            j:2:22: trailing comma
              rule: JSON: strings and keys in double quotes, no comments, and no comma after the last entry
              help: mend the file there
            j:1:8: unknown key `archs`
              help: did you mean `arches`?
            j:1:10: unknown key `arches``
              help: did you mean `arches`?
            j:1:19: unknown key `arches at line 7`
              help: did you mean `arches`?
            j:1:23: duplicate key `arches`
              rule: each key stands once
              help: remove one of them
            j:1:29: duplicate key `A`
              rule: each key stands once
              help: remove one of them
            j:1:16: invalid type: integer `1`
              rule: a string
              help: put it in double quotes
            j: arches: no architecture
              help: name at least one, or remove the key
            j:1:20: architecture `s390x`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: name one of these
            j: inputs: `../x`: leaves the repository
              rule: a path from the repository's root, without `..`
              help: name what is in the repository, e.g. protos/
            j: inputs: `/etc`: leaves the repository
              rule: a path from the repository's root, without `..`
              help: name what is in the repository, e.g. protos/
            j: inputs: `a/../b`: leaves the repository
              rule: a path from the repository's root, without `..`
              help: name what is in the repository, e.g. protos/
            j: foreign-files: `opt/x`: no pattern of paths
              rule: a path from `/`, in which `*` stands for a part of a name and `**` for folders
              help: name files as they stand in the image, e.g. /opt/agents/arm64/*
            j: foreign-files: `/opt/a**`: no pattern of paths
              rule: a path from `/`, in which `*` stands for a part of a name and `**` for folders
              help: name files as they stand in the image, e.g. /opt/agents/arm64/*
            j: timeout-minutes: 0 minutes
              rule: between 1 and 7200, five days, the limit of GitHub Actions
              help: name the minutes that its build takes at most, or remove the key
            j: args: `NPM_TOKEN`: looks like a secret
              rule: anyone who has the image or the repository can read build arguments
              help: name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…; if it is no secret, say so in job.json: "not-secrets": ["NPM_TOKEN"]
            j:1:13: unknown key `not-secret`
              help: did you mean `not-secrets`?
            j:1:23: invalid type: floating point `0.5`
              rule: a whole number, 1 or more
              help: write a number, without quotes
        "#]].assert_eq(&all);
    }

    #[test]
    fn a_full_job_json_is_read() {
        let text = r#"{ "$schema": "../job.schema.json", "arches": ["amd64"], "target": "release",
            "args": {"PROFILE": "release"}, "inputs": ["protos/"], "secrets": ["npm_token"], "timeout-minutes": 30,
            "foreign-files": ["/opt/**/*.so"], "not-secrets": ["PROFILE"] }"#;
        let settings = job_settings("j", text).unwrap();
        assert_eq!(settings.arches, Some(vec![Arch::Amd64]));
        assert_eq!(settings.timeout_minutes, Some(30));
    }
}
