//! `[workspace.metadata.jobs]` and `jobs/<name>/job.json`, read into types, with every mistake named.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::{
    Arch, Exit, Failure, JOBS_DIR, PathPattern, Problem, Provenance, Registry, Repository, Tag, Timeouts,
};
use crate::run::Context;
use crate::tools::noted_mirror;

use super::allowed::{Allowed, Kind};
use super::build_args::is_credential;
use super::read::from_table;
use super::target::Sourced;
use super::timeouts::timeouts;

/// What every matrix of GitHub Actions may hold at most.
const MOST_LEGS: usize = 256;
/// How many legs there are unless it is configured: more runners of GitHub's own seldom start at once.
const USUAL_LEGS: usize = 40;
/// How many GB are free before a build unless it is configured: enough for a small image, and for the engine to go on.
const USUAL_FREE_GB: u64 = 1;
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
    /// How much room the engine has to have before a build, in GB: 0 for no check.
    pub min_free_gb: Sourced<u64>,
    /// What `runs-on` takes for the runner that builds an architecture natively: a label, a list of labels, or a table
    /// with `group` and `labels`. The keys are the default architectures.
    pub runners: BTreeMap<Arch, Value>,
    /// Registry -> where its images are pulled from instead.
    pub mirrors: BTreeMap<String, String>,
    /// Where `mirrors` has an entry that `setup` made for this machine.
    pub mirror_of_setup: Option<String>,
    pub provenance: Provenance,
    /// After what time other programs are ended.
    pub timeouts: Sourced<Timeouts>,
    /// The folders that hold the jobs, from the root, or patterns of them.
    pub jobs_dirs: Vec<String>,
    /// The build context of a job that names none, as `context` in `job.json`.
    pub context: String,
    /// Which jobs may mount which secret.
    pub secrets: Allowed,
    /// Which jobs may have which variable as a build argument.
    pub env_args: Allowed,
    /// Which jobs may use which SSH agent.
    pub ssh: Allowed,
    pub targets: BTreeMap<String, TargetSettings>,
}

/// `[workspace.metadata.jobs]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    prefix: Option<String>,
    sha_length: Option<usize>,
    max_legs: Option<usize>,
    min_free_gb: Option<u64>,
    runners: Option<BTreeMap<String, Value>>,
    mirrors: BTreeMap<String, String>,
    provenance: Option<Provenance>,
    timeouts: Option<Value>,
    jobs_dirs: Option<Vec<String>>,
    context: Option<String>,
    secrets: BTreeMap<String, Value>,
    env_args: BTreeMap<String, Value>,
    ssh: BTreeMap<String, Value>,
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
    /// The IAM role that a pull request's run assumes, to read private bases.
    pub read_role: Option<String>,
    /// The environment of GitHub in which jobs of the workflow write to the registry.
    pub environment: Option<String>,
    /// Who logs in to a registry that is not ECR's.
    pub username: Option<String>,
    pub region: Option<String>,
    pub moving_tags: Vec<String>,
    /// Other targets that get the same indexes.
    pub copies: Vec<String>,
    /// How much provenance the images carry; where it is named here, images without it are refused.
    pub provenance: Option<Provenance>,
    /// Whether the images carry a bill of their materials; images without it are refused then.
    pub sbom: bool,
    /// Whether the index of each job is signed; without a signature `verify` refuses it then.
    pub sign: bool,
    /// Whether GitHub attests the index of each job; without an attestation `verify` refuses it then.
    pub attest: bool,
    /// Where the layers of builds are kept for later ones.
    pub cache: Cache,
}

/// Where the layers of builds are kept for later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// In the job's repository, under `cache-<arch>`.
    Registry,
    #[default]
    None,
}

impl FromStr for Cache {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Cache, Problem> {
        match text {
            "registry" => Ok(Cache::Registry),
            "none" => Ok(Cache::None),
            // It once was a value, and did nothing.
            "gha" => Err(Problem::new("`gha`", "a step that runs a command gets no access to GitHub's own cache")
                .help("write cache = \"registry\"")),
            _ => Err(Problem::new(format!("`{text}`"), "not a place for a cache")
                .rule("one of `registry`, `none`")
                .help("write one of these")),
        }
    }
}

impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cache, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Config {
    /// Reads `[workspace.metadata.jobs]`, with what `setup` noted for this machine.
    ///
    /// # Errors
    /// All mistakes at once, with exit code 2.
    pub fn read(ctx: &Context, metadata: &Value) -> anyhow::Result<Config> {
        Ok(Config::from_metadata(metadata, ctx.env.get("JOBS_TIMEOUTS"))?.with_noted_mirror(ctx))
    }

    /// The same with the mirror that `setup` noted for this machine, as it stands now.
    pub fn with_noted_mirror(mut self, ctx: &Context) -> Config {
        if self.mirror_of_setup.take().is_some() {
            self.mirrors.remove("docker.io");
        }
        let Some(address) = noted_mirror(ctx) else { return self };
        if !self.mirrors.contains_key("docker.io") {
            self.mirrors.insert("docker.io".to_owned(), address.clone());
            self.mirror_of_setup = Some(address);
        }
        self
    }

    fn from_metadata(metadata: &Value, timeouts_given: Option<&str>) -> anyhow::Result<Config> {
        let table = metadata.get("jobs").cloned().unwrap_or(Value::Object(serde_json::Map::new()));
        let settings: Settings =
            from_table(&format!("{TABLE}]"), table).map_err(|problems| Failure::of(Exit::Usage, problems))?;
        let mut problems = Vec::new();
        let mut targets = BTreeMap::new();
        for (name, table) in settings.targets {
            let at = format!("{TABLE}.targets.{name}]");
            let target: TargetSettings =
                from_table(&at, table).map_err(|mut found| problems.append(&mut found)).unwrap_or_default();
            problems.extend(check_target(&target).map(under(&at)));
            targets.insert(name, target);
        }
        let mut allowed = |kind, table| {
            let allowed = Allowed::from_table(kind, table);
            allowed.map_err(|mut found| problems.append(&mut found)).unwrap_or_default()
        };
        let secrets = allowed(Kind::Secret, settings.secrets);
        let env_args = allowed(Kind::EnvArg, settings.env_args);
        let ssh = allowed(Kind::Ssh, settings.ssh);
        let timeouts = timeouts(settings.timeouts, timeouts_given);
        let config = Config {
            prefix: settings.prefix.unwrap_or_else(|| "jobs".to_owned()),
            sha_length: settings.sha_length.unwrap_or(7),
            max_legs: settings.max_legs.unwrap_or(USUAL_LEGS),
            min_free_gb: match settings.min_free_gb {
                Some(value) => Sourced { value, source: "Cargo.toml".to_owned() },
                None => Sourced { value: USUAL_FREE_GB, source: "default".to_owned() },
            },
            runners: runners(settings.runners, &mut problems),
            mirrors: settings.mirrors,
            mirror_of_setup: None,
            provenance: settings.provenance.unwrap_or(Provenance::Min),
            timeouts: timeouts.map_err(|mut found| problems.append(&mut found)).unwrap_or_default(),
            jobs_dirs: settings.jobs_dirs.unwrap_or_else(|| vec![JOBS_DIR.to_owned()]),
            context: settings.context.unwrap_or_else(|| ".".to_owned()),
            secrets,
            env_args,
            ssh,
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
            let problem = Problem::new(format!("{TABLE}] sha-length"), format!("{} hex digits", self.sha_length));
            problems.push(problem.rule("between 4 and 40").help("write one between, or leave it out: 7"));
        }
        if !(1..=MOST_LEGS).contains(&self.max_legs) {
            let problem = Problem::new(format!("{TABLE}] max-legs"), format!("{} legs", self.max_legs));
            let problem = problem.rule(format!("between 1 and {MOST_LEGS}, the limit of GitHub Actions"));
            problems.push(problem.help(format!("write one between, or leave it out: {USUAL_LEGS}")));
        }
        problems.extend(self.check_folders().map(under(&format!("{TABLE}]"))));
        problems.extend(self.targets.iter().flat_map(|(name, target)| self.check_copies(name, target)));
        problems.extend(self.check_passwords());
        let mirrors = self.mirrors.iter().filter_map(|(registry, prefix)| check_mirror(registry, prefix).err());
        problems.extend(mirrors.map(under(&format!("{TABLE}.mirrors]"))));
    }

    /// Folders are in the repository; a pattern is about names, as nobody wants all of the tree looked through.
    fn check_folders(&self) -> impl Iterator<Item = Problem> {
        let problem = |at: String, what: &str| {
            Problem::new(at, what)
                .rule("a folder of the repository, from its root")
                .help("e.g. \"jobs\", \"apps/*\", or \".\" for the root itself")
        };
        let leaves = |path: &str| path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..");
        let of_dir = move |dir: &String| {
            let at = format!("jobs-dirs: `{dir}`");
            match PathPattern::new(dir) {
                _ if leaves(dir) => Some(problem(at, "not in the repository")),
                _ if dir.contains("**") => Some(
                    Problem::new(at, "`**` is not taken here")
                        .rule("`*`, `?` and `[…]` stand for a part of one name")
                        .help("name each level: \"apps/*\", \"apps/*/*\""),
                ),
                Ok(_) => None,
                Err(error) => Some(problem(at, error.msg)),
            }
        };
        let none = self.jobs_dirs.is_empty().then(|| problem("jobs-dirs".to_owned(), "names no folder"));
        let context = leaves(&self.context).then(|| {
            Problem::new(format!("context: `{}`", self.context), "not in the repository")
                .rule("`.` for the root, `job` for each job's own folder, or a path from the root")
                .help("write one of these")
        });
        self.jobs_dirs.iter().filter_map(of_dir).chain(none).chain(context)
    }

    /// Each target has a password of its own, or one registry's would be sent to another.
    fn check_passwords(&self) -> Option<Problem> {
        let mut names: BTreeMap<String, &String> = BTreeMap::new();
        self.targets.keys().find_map(|name| {
            let variable = password_variable(name);
            let other = names.insert(variable.clone(), name)?;
            let problem = Problem::new(format!("{TABLE}.targets.{name}]"), format!("has {variable} as `{other}` has"));
            Some(problem.rule("the password of a target is in a variable of its own").help("rename one of them"))
        })
    }

    /// The copies of a target are other targets, with a registry of their own and without copies.
    fn check_copies(&self, name: &str, target: &TargetSettings) -> Vec<Problem> {
        let check = |copy: &String| {
            let problem = Problem::new(format!("{TABLE}.targets.{name}] copies: `{copy}`"), "not such a target")
                .help("name such a target, or remove it");
            match self.targets.get(copy) {
                None => Some(problem.did_you_mean(copy, self.targets.keys().map(String::as_str))),
                Some(found) if copy == name || found.registry.is_none() || !found.copies.is_empty() => Some(problem),
                // Moving tags move everywhere at once, so they wait for the same.
                Some(found) if (found.attest, found.sign) != (target.attest, target.sign) => {
                    let what = format!("its `attest` and `sign` are not those of `{name}`");
                    let problem = Problem { what, ..problem }.help("write both targets alike");
                    Some(problem.rule("moving tags move everywhere at once, and wait for the same"))
                }
                Some(_) => None,
            }
        };
        let problems = target.copies.iter().filter_map(check);
        let rule = "another target, with a registry and without copies of its own";
        problems.map(|problem| if problem.rule.is_some() { problem } else { problem.rule(rule) }).collect()
    }

    /// The mirrors, with those that flags or the environment give as `registry=prefix`.
    ///
    /// # Errors
    /// All that are not valid, with exit code 2.
    pub fn mirrors_with(&self, given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
        let mut mirrors = self.mirrors.clone();
        let mut problems = Vec::new();
        for entry in given {
            let checked = match entry.split_once('=') {
                Some((registry, prefix)) => {
                    mirrors.insert(registry.to_owned(), prefix.to_owned());
                    check_mirror(registry, prefix)
                }
                None => Err(Problem::new(format!("mirror `{entry}`"), "not a mirror").rule("registry=prefix")),
            };
            problems.extend(checked.err().map(|problem| problem.help("e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000")));
        }
        Failure::unless_empty(Exit::Usage, problems)?;
        Ok(mirrors)
    }
}

/// The environment variable with the password for a target's registry alone.
pub fn password_variable(target: &str) -> String {
    format!("JOBS_PASSWORD_{}", target.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

/// The runners; without the table, GitHub's own of both architectures.
fn runners(table: Option<BTreeMap<String, Value>>, problems: &mut Vec<Problem>) -> BTreeMap<Arch, Value> {
    let at = format!("{TABLE}.runners]");
    let Some(table) = table else {
        let of_github = [(Arch::Amd64, "ubuntu-24.04"), (Arch::Arm64, "ubuntu-24.04-arm")];
        return of_github.map(|(arch, label)| (arch, label.into())).into();
    };
    if table.is_empty() {
        problems.push(Problem::new(&at, "no architecture").help("name at least one, e.g. amd64 = \"ubuntu-24.04\""));
    }
    let mut runners = BTreeMap::new();
    for (arch, runner) in table {
        if !is_runner(&runner) {
            let problem = Problem::new(format!("{at} {arch}"), "no runner label");
            let rule = "a label, a list of labels, or a table with `group`, `labels` or both";
            problems.push(problem.rule(rule).help("e.g. \"ubuntu-24.04\""));
        }
        match arch.parse::<Arch>() {
            Ok(arch) => drop(runners.insert(arch, runner)),
            Err(problem) => problems.push(under(&at)(problem)),
        }
    }
    runners
}

/// Whether `runs-on` takes it.
fn is_runner(value: &Value) -> bool {
    let is_label = |value: &Value| value.as_str().is_some_and(|label| !label.trim().is_empty());
    let are_labels = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_label));
    let is_entry = |(key, value): (&String, &Value)| match key.as_str() {
        "group" => is_label(value),
        "labels" => is_label(value) || are_labels(value),
        _ => false,
    };
    let is_group = |value: &Value| value.as_object().is_some_and(|map| !map.is_empty() && map.iter().all(is_entry));
    is_label(value) || are_labels(value) || is_group(value)
}

/// Puts the place in the file before what a complaint is about.
fn under(place: &str) -> impl Fn(Problem) -> Problem {
    move |problem| Problem { at: format!("{place} {}", problem.at), ..problem }
}

fn check_target(target: &TargetSettings) -> impl Iterator<Item = Problem> {
    let TargetSettings { registry, prefix, role, read_role, region, username, .. } = target;
    let hosts = registry.iter().filter_map(|host| host.parse::<Registry>().err());
    let prefixes = prefix.iter().filter_map(|prefix| Repository::new(None, prefix).err());
    let tags = target.moving_tags.iter().filter_map(|tag| Tag::for_images(tag).err());
    let refs = target.refs.iter().filter_map(|pattern| check_ref(pattern).err());
    let texts =
        [("registry", registry), ("role", role), ("read-role", read_role), ("region", region), ("username", username)];
    let texts = texts.into_iter().filter_map(|(key, text)| check_text(key, text.as_ref()?).err());
    let both = username.as_ref().zip(role.as_ref()).map(|_| {
        Problem::new("username", "stands beside a role")
            .rule("a role logs in to ECR, a user to any other registry")
            .help("remove one of them")
    });
    hosts.chain(prefixes).chain(tags).chain(refs).chain(texts).chain(both)
}

fn check_ref(pattern: &str) -> Result<(), Problem> {
    let what = match PathPattern::new(pattern) {
        _ if !pattern.starts_with("refs/") => "not a full git ref",
        Ok(_) => return Ok(()),
        Err(error) => error.msg,
    };
    let help = match pattern.strip_prefix("refs/") {
        Some(_) => "mend the pattern: `*`, `**` for whole parts, `?`, `[…]`".to_owned(),
        None => format!("write `refs/heads/{pattern}`, or `refs/tags/{pattern}`"),
    };
    let rule = "a pattern such as `refs/heads/main` or `refs/tags/v*`";
    Err(Problem::new(format!("refs: `{pattern}`"), what).rule(rule).help(help))
}

fn check_text(key: &str, text: &str) -> Result<(), Problem> {
    if is_credential(text) {
        return Err(Problem::new(key, "looks like a secret")
            .rule("anyone who has the repository can read Cargo.toml")
            .help("remove it, revoke it, and name the role to assume: arn:aws:iam::<account>:role/<name>"));
    }
    if key.ends_with("role") { check_role(key, text) } else { Ok(()) }
}

/// Checks that a role is named as AWS's token service wants it, in any of AWS's partitions.
fn check_role(key: &str, role: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let is_name = |text: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@/-".contains(&b);
        !text.ends_with('/') && !text.is_empty() && text.bytes().all(allowed)
    };
    match parts[..] {
        ["arn", partition, "iam", "", account, name]
            if partition.starts_with("aws")
                && is_account(account)
                && name.strip_prefix("role/").is_some_and(is_name) =>
        {
            Ok(())
        }
        _ => Err(Problem::new(format!("{key}: `{role}`"), "not the ARN of a role")
            .rule("arn:aws:iam::<account of 12 digits>:role/<name>")
            .help("copy it from IAM: aws iam get-role --role-name <name> --query Role.Arn")),
    }
}

/// A mirror: the registry whose images are meant, and where they are pulled from instead.
fn check_mirror(registry: &str, prefix: &str) -> Result<(), Problem> {
    let at = format!("mirror `{registry}={prefix}`");
    // What the `/` of a scheme parts is no host.
    let (host, path) = prefix.split_once('/').filter(|_| !prefix.contains("://")).unwrap_or((prefix, "x"));
    registry
        .parse()
        .and_then(|_: Registry| host.parse())
        .and_then(|_: Registry| Repository::new(None, path).map(drop))
        .map_err(|problem| Problem { at, what: format!("{}: {}", problem.at, problem.what), ..problem })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
