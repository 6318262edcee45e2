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
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "job.json"))]
pub struct JobSettings {
    /// For the editor: the schema of the file. Not read.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// The architectures that the job is built for; all of the repository's if absent.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub arches: Option<Vec<Arch>>,
    /// The stage of the Dockerfile to build, as `docker build --target`; the last one if absent.
    pub target: Option<String>,
    /// The Dockerfile, from the job's folder; `Dockerfile` if absent.
    pub dockerfile: Option<String>,
    /// The build context: `.` for the repository's root, `job` for the job's own folder, or a path from the root; the
    /// repository's if absent.
    pub context: Option<String>,
    /// Several images of this folder, by the names of their jobs. Each has what stands here beside `images`; what it
    /// says itself goes before.
    pub images: BTreeMap<String, JobSettings>,
    /// Build arguments. Not for secrets: they can be read from the image.
    #[serde(deserialize_with = "unique_keys")]
    pub args: BTreeMap<String, String>,
    /// Build arguments whose values are those of the environment's variables, if `Cargo.toml` allows them to the job.
    pub env_args: Vec<String>,
    /// Labels of the image, beside those that every image has.
    #[serde(deserialize_with = "unique_keys")]
    pub labels: BTreeMap<String, String>,
    /// Names of `args` that look like a secret's, and are none.
    pub not_secrets: Vec<String>,
    /// Further files or folders that the image depends on, from the repository's root.
    pub inputs: Vec<String>,
    /// Secrets that the build may mount (`RUN --mount=type=secret,id=…`), if `Cargo.toml` allows them to the job.
    pub secrets: Vec<String>,
    /// SSH agents or keys that the build may use (`RUN --mount=type=ssh,id=…`), if `Cargo.toml` allows them to the job.
    pub ssh: Vec<String>,
    /// Patterns of files in the image that may be programs for another architecture.
    pub foreign_files: Vec<String>,
    /// After how many minutes a build is ended.
    #[cfg_attr(test, schemars(range(min = 1, max = LONGEST_BUILD)))]
    pub timeout_minutes: Option<u32>,
}

/// How the labels begin that every image has.
const OWN_LABELS: [&str; 5] = [
    "vnd.jobs.",
    "org.opencontainers.image.revision",
    "org.opencontainers.image.source",
    "org.opencontainers.image.version",
    "org.opencontainers.image.title",
];

/// Reads `job.json`: the settings of each image that the folder is built into, by the name that it says itself, or of
/// the one that has the folder's.
///
/// # Errors
/// The one mistake that ends the reading, with line and column; or all those in values.
pub fn job_settings(path: &str, text: &str) -> Result<BTreeMap<Option<String>, JobSettings>, Vec<Problem>> {
    let settings: JobSettings = from_json(path, text).map_err(|problem| vec![problem])?;
    let within = settings.images.iter().filter(|(_, image)| !image.images.is_empty());
    let within = within.map(|(name, _)| {
        Problem::new(format!("{path}: images: `{name}`"), "has images of its own")
            .rule("`images` stands once, for all images of the folder")
            .help("list them beside it")
    });
    let within: Vec<Problem> = within.collect();
    let images = settings.into_images();
    // What all of the images have is wrong once.
    let problems = Problem::each_once(within.into_iter().chain(images.values().flat_map(|image| image.check(path))));
    if problems.is_empty() { Ok(images) } else { Err(problems) }
}

impl JobSettings {
    fn into_images(mut self) -> BTreeMap<Option<String>, JobSettings> {
        let images = std::mem::take(&mut self.images);
        if images.is_empty() {
            return BTreeMap::from([(None, self)]);
        }
        images.into_iter().map(|(name, image)| (Some(name), image.over(&self))).collect()
    }

    /// The same with what the folder says: what stands here goes before, and lists are joined.
    fn over(self, folder: &JobSettings) -> JobSettings {
        let joined = |all: &[String], own: Vec<String>| all.iter().cloned().chain(own).collect();
        let merged = |all: &BTreeMap<String, String>, own| all.clone().into_iter().chain(own).collect();
        JobSettings {
            schema: None,
            images: BTreeMap::new(),
            arches: self.arches.or_else(|| folder.arches.clone()),
            target: self.target.or_else(|| folder.target.clone()),
            dockerfile: self.dockerfile.or_else(|| folder.dockerfile.clone()),
            context: self.context.or_else(|| folder.context.clone()),
            args: merged(&folder.args, self.args),
            env_args: joined(&folder.env_args, self.env_args),
            labels: merged(&folder.labels, self.labels),
            not_secrets: joined(&folder.not_secrets, self.not_secrets),
            inputs: joined(&folder.inputs, self.inputs),
            secrets: joined(&folder.secrets, self.secrets),
            ssh: joined(&folder.ssh, self.ssh),
            foreign_files: joined(&folder.foreign_files, self.foreign_files),
            timeout_minutes: self.timeout_minutes.or(folder.timeout_minutes),
        }
    }

    /// The same with the build arguments that the environment gives.
    ///
    /// # Errors
    /// All variables that are not set, and what cannot be a build argument.
    pub fn with_env_args<'e>(
        mut self,
        path: &str,
        env: impl Fn(&str) -> Option<&'e str>,
    ) -> Result<JobSettings, Vec<Problem>> {
        let mut problems = Vec::new();
        for name in &self.env_args {
            match env(name) {
                Some(value) => drop(self.args.insert(name.clone(), value.to_owned())),
                None => problems.push(
                    Problem::new(format!("{path}: env-args: `{name}`"), format!("{name} is not set"))
                        .rule("a build argument of the environment has the value of the variable of its name")
                        .help(format!("export {name}; in the workflow, add it to `env` of every step that runs this")),
                ),
            }
        }
        if !self.env_args.is_empty() {
            problems.append(&mut build_args::check(path, &self.args, &self.not_secrets));
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    fn check(&self, path: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.arches.as_ref().is_some_and(Vec::is_empty) {
            let problem = Problem::new(format!("{path}: arches"), "no architecture");
            problems.push(problem.help("name at least one, or remove the key"));
        }
        problems.extend(self.inputs.iter().filter_map(|input| check_path(path, "inputs", input)));
        problems.extend(self.context.iter().filter_map(|context| check_path(path, "context", context)));
        if let Some(file) = &self.dockerfile
            && let Some(problem) = check_path(path, "dockerfile", file)
        {
            problems.push(problem.rule("a path from the job's folder, without `..`").help("e.g. Dockerfile.debug"));
        }
        for pattern in &self.foreign_files {
            if !pattern.starts_with('/') || PathPattern::new(pattern).is_err() {
                let problem = Problem::new(format!("{path}: foreign-files: `{pattern}`"), "no pattern of paths");
                let problem =
                    problem.rule("a path from `/`, in which `*` stands for a part of a name and `**` for folders");
                problems.push(problem.help("name files as they stand in the image, e.g. /opt/agents/arm64/*"));
            }
        }
        problems.extend(self.labels.iter().filter_map(|(name, value)| check_label(path, name, value)));
        problems.append(&mut build_args::check(path, &self.args, &self.not_secrets));
        if let Some(minutes) = self.timeout_minutes.filter(|minutes| !(1..=LONGEST_BUILD).contains(minutes)) {
            let problem = Problem::new(format!("{path}: timeout-minutes"), format!("{minutes} minutes"));
            let problem =
                problem.rule(format!("between 1 and {LONGEST_BUILD}, five days, the limit of GitHub Actions"));
            problems.push(problem.help("name the minutes that its build takes at most, or remove the key"));
        }
        problems
    }
}

fn check_path(path: &str, key: &str, input: &str) -> Option<Problem> {
    let what = match input {
        "" => "empty",
        input if input.starts_with('/') || input.split('/').any(|part| part == "..") => "leaves the repository",
        input if input.contains('\0') => "has a NUL character",
        _ => return None,
    };
    let problem = Problem::new(format!("{path}: {key}: `{input}`"), what);
    let problem = problem.rule("a path from the repository's root, without `..`");
    Some(problem.help("name what is in the repository, e.g. protos/"))
}

fn check_label(path: &str, name: &str, value: &str) -> Option<Problem> {
    let problem = |what: &str| Problem::new(format!("{path}: labels: `{name}`"), what);
    if OWN_LABELS.iter().any(|own| name.starts_with(own)) {
        return Some(
            problem("every image has it, with a value of its own")
                .rule("the labels by which images are found and checked are not a job's")
                .help("give it another name"),
        );
    }
    let is_name = !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control());
    if is_name && !value.contains('\0') {
        return None;
    }
    let problem = problem("not a label").rule("a name without `=` and blanks, and a value without NUL characters");
    Some(problem.help("e.g. \"labels\": {\"com.example.team\": \"data\"}"))
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
        let settings = &job_settings("j", text).unwrap()[&None];
        assert_eq!(settings.arches, Some(vec![Arch::Amd64]));
        assert_eq!(settings.timeout_minutes, Some(30));
    }

    #[test]
    fn editors_are_told_what_is_read_here() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(JobSettings)).unwrap();
        // An editor breaks lines where it likes.
        let schema = schema.replace("\\n", " ");
        expect_test::expect_file!["../../schemas/job.schema.json"].assert_eq(&format!("{schema}\n"));
    }
}
