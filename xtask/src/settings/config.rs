//! `[workspace.metadata.jobs]` and `jobs/<name>/job.json`, read into types, with every mistake named.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::cli::Provenance;
use crate::model::arch::Arch;
use crate::model::job::JobSettings;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::{Registry, Repository, Tag};
use crate::run::context::Context;
use crate::tools::registry;

/// What every matrix of GitHub Actions may hold at most.
const MOST_LEGS: usize = 256;
/// Where the table stands, for messages.
const TABLE: &str = "Cargo.toml: [workspace.metadata.jobs";

/// The configuration of the repository, defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// What stands between the registry and the job's name.
    pub prefix: String,
    /// How many hex digits of the commit make the tag.
    pub sha_length: usize,
    /// How many entries the build matrix has at most.
    pub max_legs: usize,
    /// The label of the runner that builds an architecture natively; the keys are the default architectures.
    pub runners: BTreeMap<Arch, String>,
    /// Registry -> where its images are pulled from instead.
    pub mirrors: BTreeMap<String, String>,
    /// Where `mirrors` has an entry that `setup` made for this machine.
    pub mirror_of_setup: Option<String>,
    pub provenance: Provenance,
    pub targets: BTreeMap<String, TargetSettings>,
}

/// `[workspace.metadata.jobs]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    prefix: Option<String>,
    sha_length: Option<usize>,
    max_legs: Option<usize>,
    runners: Option<BTreeMap<String, String>>,
    mirrors: BTreeMap<String, String>,
    provenance: Option<Provenance>,
    targets: BTreeMap<String, Value>,
}

/// `[workspace.metadata.jobs.targets.<name>]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TargetSettings {
    /// Patterns of git refs, in full (`refs/heads/main`, `refs/tags/v*`), that are published here.
    pub refs: Vec<String>,
    pub registry: Option<String>,
    pub prefix: Option<String>,
    /// The IAM role that the workflow assumes.
    pub role: Option<String>,
    pub region: Option<String>,
    pub moving_tags: Vec<String>,
    /// How much provenance the images carry; where it is named here, images without it are refused.
    pub provenance: Option<Provenance>,
    /// Whether the images carry a bill of their materials; images without it are refused then.
    pub sbom: bool,
    /// Whether the index of each job is signed; without a signature `verify` refuses it then.
    pub sign: bool,
    /// Where the layers of builds are kept for later ones.
    pub cache: Cache,
}

/// Where the layers of builds are kept for later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// In the job's repository, under `cache-<arch>`.
    Registry,
    /// In the cache of GitHub Actions.
    Gha,
    #[default]
    None,
}

impl Config {
    /// Reads `[workspace.metadata.jobs]`, with what `setup` noted for this machine.
    ///
    /// # Errors
    /// All mistakes at once, with exit code 2.
    pub fn read(ctx: &Context, metadata: &Value) -> anyhow::Result<Config> {
        Ok(Config::from_metadata(metadata)?.with_noted_mirror(ctx))
    }

    /// The same with the mirror that `setup` noted for this machine, as it stands now.
    pub fn with_noted_mirror(mut self, ctx: &Context) -> Config {
        let previous = self.mirror_of_setup.take();
        if previous.is_some() {
            self.mirrors.remove("docker.io");
        }
        let Some(address) = registry::noted_mirror(ctx) else { return self };
        if !self.mirrors.contains_key("docker.io") {
            self.mirrors.insert("docker.io".to_owned(), address.clone());
            self.mirror_of_setup = Some(address);
        }
        self
    }

    fn from_metadata(metadata: &Value) -> anyhow::Result<Config> {
        let table = metadata.get("jobs").cloned().unwrap_or(Value::Object(serde_json::Map::new()));
        let settings: Settings =
            from_table(&format!("{TABLE}]"), table).map_err(|problems| Failure::of(Exit::Usage, problems))?;
        let mut problems = Vec::new();
        let mut targets = BTreeMap::new();
        for (name, table) in settings.targets {
            let at = format!("{TABLE}.targets.{name}]");
            match from_table(&at, table) {
                Ok(target) => {
                    check_target(&at, &target, &mut problems);
                    targets.insert(name, target);
                }
                Err(mut found) => problems.append(&mut found),
            }
        }
        let config = Config {
            prefix: settings.prefix.unwrap_or_else(|| "jobs".to_owned()),
            sha_length: settings.sha_length.unwrap_or(7),
            max_legs: settings.max_legs.unwrap_or(MOST_LEGS),
            runners: runners(settings.runners, &mut problems),
            mirrors: settings.mirrors,
            mirror_of_setup: None,
            provenance: settings.provenance.unwrap_or(Provenance::Min),
            targets,
        };
        config.check(&mut problems);
        Failure::unless_empty(Exit::Usage, problems)?;
        Ok(config)
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        if let Err(problem) = Repository::new(None, &self.prefix) {
            problems.push(Problem { at: format!("{TABLE}] prefix: `{}`", self.prefix), ..problem });
        }
        if !(4..=40).contains(&self.sha_length) {
            problems.push(
                Problem::new(format!("{TABLE}] sha-length"), format!("{} hex digits", self.sha_length))
                    .rule("between 4 and 40"),
            );
        }
        if !(1..=MOST_LEGS).contains(&self.max_legs) {
            problems.push(
                Problem::new(format!("{TABLE}] max-legs"), format!("{} legs", self.max_legs))
                    .rule(format!("between 1 and {MOST_LEGS}, the limit of GitHub Actions")),
            );
        }
        for (registry, prefix) in &self.mirrors {
            if let Err(problem) = check_mirror(registry, prefix) {
                problems.push(Problem { at: format!("{TABLE}.mirrors] {}", problem.at), ..problem });
            }
        }
    }

    /// The architectures that a job is built for where it does not say itself.
    pub fn arches(&self) -> Vec<Arch> {
        self.runners.keys().copied().collect()
    }
}

/// The runners' labels; without the table, GitHub's own runners of both architectures.
fn runners(table: Option<BTreeMap<String, String>>, problems: &mut Vec<Problem>) -> BTreeMap<Arch, String> {
    let at = format!("{TABLE}.runners]");
    let Some(table) = table else {
        return BTreeMap::from([
            (Arch::Amd64, "ubuntu-24.04".to_owned()),
            (Arch::Arm64, "ubuntu-24.04-arm".to_owned()),
        ]);
    };
    if table.is_empty() {
        problems.push(Problem::new(&at, "no architecture").help("name at least one, e.g. amd64 = \"ubuntu-24.04\""));
    }
    let mut runners = BTreeMap::new();
    for (arch, label) in table {
        if label.trim().is_empty() {
            problems.push(Problem::new(format!("{at} {arch}"), "no runner label").help("e.g. \"ubuntu-24.04\""));
        }
        match arch.parse::<Arch>() {
            Ok(arch) => drop(runners.insert(arch, label)),
            Err(problem) => problems.push(Problem { at: format!("{at} {}", problem.at), ..problem }),
        }
    }
    runners
}

fn check_target(at: &str, target: &TargetSettings, problems: &mut Vec<Problem>) {
    let mut note = |result: Result<(), Problem>| {
        if let Err(problem) = result {
            problems.push(Problem { at: format!("{at} {}", problem.at), ..problem });
        }
    };
    if let Some(registry) = &target.registry {
        note(registry.parse().map(|_: Registry| ()));
    }
    if let Some(prefix) = &target.prefix {
        note(Repository::new(None, prefix).map(drop));
    }
    for tag in &target.moving_tags {
        note(Tag::for_images(tag).map(drop));
    }
    for pattern in &target.refs {
        let valid = match glob::Pattern::new(pattern) {
            _ if !pattern.starts_with("refs/") => Err("not a full git ref"),
            Ok(_) => Ok(()),
            Err(error) => Err(error.msg),
        };
        note(valid.map_err(|what| {
            Problem::new(format!("refs: `{pattern}`"), what)
                .rule("a pattern such as `refs/heads/main` or `refs/tags/v*`")
        }));
    }
    for (key, value) in [("registry", &target.registry), ("role", &target.role), ("region", &target.region)] {
        if value.as_deref().is_some_and(|value| looks_like_secret(key, value)) {
            note(Err(Problem::new(key, "looks like a secret")
                .rule("Cargo.toml can be read by anyone who has the repository")
                .help("remove it, revoke it, and name the role to assume: arn:aws:iam::<account>:role/<name>")));
        }
    }
}

/// A mirror: the registry whose images are meant, and where they are pulled from instead.
pub fn check_mirror(registry: &str, prefix: &str) -> Result<(), Problem> {
    let at = format!("mirror `{registry}={prefix}`");
    let (host, path) = prefix.split_once('/').unwrap_or((prefix, "x"));
    registry
        .parse()
        .and_then(|_: Registry| host.parse())
        .and_then(|_: Registry| Repository::new(None, path).map(drop))
        .map_err(|problem| Problem { at, what: format!("{}: {}", problem.at, problem.what), ..problem })
}

/// Reads `job.json`.
///
/// # Errors
/// The one mistake that ends the reading, with line and column; or all those in values.
pub fn job_settings(path: &str, text: &str) -> Result<JobSettings, Vec<Problem>> {
    let settings: JobSettings = from_json(path, text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    if settings.arches.as_ref().is_some_and(Vec::is_empty) {
        problems.push(
            Problem::new(format!("{path}: arches"), "no architecture").help("name at least one, or remove the key"),
        );
    }
    for input in &settings.inputs {
        if input.is_empty() || input.starts_with('/') || input.split('/').any(|part| part == "..") {
            problems.push(
                Problem::new(format!("{path}: inputs: `{input}`"), "leaves the repository")
                    .rule("a path from the repository's root, without `..`"),
            );
        }
    }
    for (name, value) in &settings.args {
        if looks_like_secret(name, value) {
            problems.push(Problem { at: format!("{path}: args: `{name}`"), ..secret_in_file(name) });
        }
    }
    if settings.timeout_minutes == Some(0) {
        problems.push(Problem::new(format!("{path}: timeout-minutes"), "0 minutes").rule("at least 1"));
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn secret_in_file(key: &str) -> Problem {
    Problem::new(key, "looks like a secret")
        .rule("build arguments and configuration can be read by anyone who has the image or the repository")
        .help("name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…")
}

/// Whether a name or a value is that of a credential. The values are the prefixes that their issuers document.
pub fn looks_like_secret(name: &str, value: &str) -> bool {
    const NAMES: [&str; 9] =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "API_KEY", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"];
    const VALUES: [&str; 9] = ["AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "xoxb-", "npm_", "-----BEGIN"];
    let name = name.to_uppercase().replace('-', "_");
    NAMES.iter().any(|part| name.contains(part))
        || VALUES.iter().any(|start| value.starts_with(start) && value.len() > start.len() + 8)
}

fn from_table<T: DeserializeOwned>(at: &str, table: Value) -> Result<T, Vec<Problem>> {
    let Value::Object(entries) = &table else {
        return Err(vec![Problem::new(at, "not a table").help("write its keys below it, one to a line: key = value")]);
    };
    // Key by key, so that every mistake is told, and which key it is about.
    let mistake = |(key, value): (&String, &Value)| {
        let entry = Value::Object(serde_json::Map::from_iter([(key.clone(), value.clone())]));
        let error = serde_json::from_value::<T>(entry).err()?;
        let about = if is_unknown_key(&error.to_string()) { at.to_owned() } else { format!("{at} {key}") };
        Some(explained(about, &error))
    };
    let problems: Vec<Problem> = entries.iter().filter_map(mistake).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    serde_json::from_value(table).map_err(|error| vec![explained(at.to_owned(), &error)])
}

fn is_unknown_key(message: &str) -> bool {
    message.starts_with("unknown field")
}

fn from_json<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, Problem> {
    if text.starts_with('\u{feff}') {
        return Err(
            Problem::new(format!("{path}:1:1"), "starts with a byte-order mark").help("save it as UTF-8 without one")
        );
    }
    if text.trim().is_empty() {
        return Err(Problem::new(path, "empty").help("write `{}`, or remove the file"));
    }
    if text.trim_start().starts_with('[') {
        return Err(Problem::new(format!("{path}:1:1"), "a list").rule("an object: { … }"));
    }
    serde_json::from_str(text).map_err(|error| explained(format!("{path}:{}:{}", error.line(), error.column()), &error))
}

/// serde's message as a complaint of ours: an unknown key comes with the nearest known one.
/// Its wording (``unknown field `x`, expected one of `a`, `b` ``) is fixed by `serde::de::Error::unknown_field`.
fn explained(at: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, known)) if is_unknown_key(message) => {
            let problem = Problem::new(at, format!("unknown key `{unknown}`"));
            match did_you_mean(unknown, known.iter().copied()) {
                Some(known) => problem.help(format!("did you mean `{known}`?")),
                None => problem.rule(format!("one of `{}`", known.join("`, `"))),
            }
        }
        // A value's own complaint brings its rule and its remedy along.
        _ => {
            let (message, help) = message.split_once("\n  help: ").map_or((message, None), |(m, help)| (m, Some(help)));
            let (message, rule) = message.split_once("\n  rule: ").map_or((message, None), |(m, rule)| (m, Some(rule)));
            let what = message.replace("duplicate field", "duplicate key");
            let what = ["usize", "u32"]
                .into_iter()
                .fold(what, |what, number| what.replace(&format!("expected {number}"), "expected a whole number"));
            let (rule, help) = (rule.map(str::to_owned), help.map(str::to_owned));
            Problem { rule, help, ..Problem::new(at, what) }
        }
    }
}

/// The known word that is nearest to what was typed, if any is near.
pub fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::jaro_winkler(typed, word), word))
        .filter(|(nearness, _)| *nearness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// A map of which no key may stand twice; serde's own would take the last.
pub fn unique_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
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
#[path = "config_tests.rs"]
mod tests;
