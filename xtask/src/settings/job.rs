//! `jobs/<name>/job.json`: what one job needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::build_args;
use super::read::from_json;
use crate::model::{Arch, Problem};

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
        if input.is_empty() || input.starts_with('/') || input.split('/').any(|part| part == "..") {
            let problem = Problem::new(format!("{path}: inputs: `{input}`"), "leaves the repository");
            problems.push(problem.rule("a path from the repository's root, without `..`"));
        }
    }
    problems.append(&mut build_args::check(path, &settings.args, &settings.not_secrets));
    if let Some(minutes) = settings.timeout_minutes.filter(|minutes| !(1..=LONGEST_BUILD).contains(minutes)) {
        let problem = Problem::new(format!("{path}: timeout-minutes"), format!("{minutes} minutes"));
        problems.push(problem.rule(format!("between 1 and {LONGEST_BUILD}, five days, the limit of GitHub Actions")));
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
    use super::*;

    #[test]
    fn mistakes_in_job_json_have_line_and_column() {
        for (text, complaint) in [
            ("", "j: empty\n  help: write `{}`, or remove the file"),
            ("\u{feff}{}", "j:1:1: starts with a byte-order mark\n  help: save it as UTF-8 without one"),
            ("{\n  \"arches\": [\"amd64\",]\n}", "j:2:22: trailing comma"),
            ("{\"archs\": []}", "j:1:8: unknown key `archs`\n  help: did you mean `arches`?"),
            ("{\"arches\": [], \"arches\": []}", "j:1:23: duplicate key `arches`"),
            ("{\"args\": {\"A\": \"1\", \"A\": \"2\"}}", "j:1:29: duplicate key `A`"),
            ("{\"args\": {\"A\": 1}}", "j:1:16: invalid type: integer `1`, expected a string"),
            ("{\"arches\": []}", "j: arches: no architecture\n  help: name at least one, or remove the key"),
            (
                "{\"arches\": [\"s390x\"]}",
                "j:1:20: architecture `s390x`: not an architecture that is built here\n  rule: one of `amd64`, `arm64`",
            ),
            (
                "{\"inputs\": [\"../x\", \"/etc\", \"a/../b\"]}",
                "j: inputs: `../x`: leaves the repository\n  rule: a path from the repository's root, without `..`",
            ),
            (
                "{\"timeout-minutes\": 0}",
                "j: timeout-minutes: 0 minutes\n  rule: between 1 and 7200, five days, the limit of GitHub Actions",
            ),
            (
                "{\"args\": {\"NPM_TOKEN\": \"x\"}}",
                "j: args: `NPM_TOKEN`: looks like a secret\n  rule: anyone who has the image or the repository can read \
                 build arguments\n  help: name it under `secrets` in job.json, and mount it: \
                 RUN --mount=type=secret,id=…; if it is no secret, say so in job.json: \"not-secrets\": [\"NPM_TOKEN\"]",
            ),
            ("{\"not-secret\": []}", "j:1:13: unknown key `not-secret`\n  help: did you mean `not-secrets`?"),
            ("{\"timeout-minutes\": 0.5}", "j:1:23: invalid type: floating point `0.5`, expected a whole number"),
        ] {
            let problems = job_settings("j", text).unwrap_err();
            assert_eq!(problems[0].to_string().replace("\n    ", "\n"), complaint.replace("\n    ", "\n"), "{text}");
        }
        assert_eq!(job_settings("j", "{\"inputs\": [\"../x\", \"/etc\", \"a/../b\"]}").unwrap_err().len(), 3);
    }

    #[test]
    fn a_full_job_json_is_read() {
        let text = r#"{ "$schema": "../job.schema.json", "arches": ["amd64"], "target": "release",
            "args": {"PROFILE": "release"}, "inputs": ["protos/"], "secrets": ["npm_token"], "timeout-minutes": 30,
            "not-secrets": ["PROFILE"] }"#;
        let settings = job_settings("j", text).unwrap();
        assert_eq!(settings.arches, Some(vec![Arch::Amd64]));
        assert_eq!(settings.timeout_minutes, Some(30));
    }
}
