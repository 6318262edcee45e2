//! Where this run's images go: each value by flag, then environment, then the matching target, then the default.

use std::collections::BTreeMap;

use clap::Args;

use crate::model::{
    Commit, Exit, Failure, JobName, Problem, Provenance, Registry, Repository, Revision, Tag, TrustedWorkflow,
    matches_ref,
};
use crate::run::Context;
use crate::tools::git;

use super::config::{Cache, Config, TargetSettings, password_variable};

/// What flags and their environment variables say about where images go. A flag goes before its variable, and both
/// before the configuration.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Where images go")]
pub struct Given {
    /// The registry's host; without one, `pipeline` starts one, and other commands keep images in the local engine
    #[arg(long, env = "JOBS_REGISTRY", value_name = "HOST")]
    pub registry: Option<String>,
    /// What stands between the registry and the job's name
    #[arg(long, env = "JOBS_PREFIX", value_name = "PATH")]
    pub prefix: Option<String>,
    /// The tag, instead of the commit's or the git tag's
    #[arg(long, env = "JOBS_TAG")]
    pub tag: Option<String>,
    /// The target of the configuration, instead of the one whose `refs` match
    #[arg(long, env = "JOBS_TARGET", value_name = "NAME")]
    pub target: Option<String>,
    /// Where a registry's images are pulled from instead; of several, with commas between them
    #[arg(long, env = "JOBS_MIRRORS", value_name = "REGISTRY=PREFIX", value_delimiter = ',')]
    pub mirrors: Vec<String>,
}

/// A value, and where it came from as people are told: `--tag`, `JOBS_TAG`, `Cargo.toml`, `git`, `default`.
#[derive(Clone, Debug, Default)]
pub struct Sourced<T> {
    pub value: T,
    pub source: String,
}

impl<T> Sourced<T> {
    fn new(value: T, source: impl Into<String>) -> Sourced<T> {
        Sourced { value, source: source.into() }
    }
}

/// Where images go in this run.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: Option<Sourced<String>>,
    pub registry: Option<Sourced<Registry>>,
    pub prefix: Sourced<String>,
    pub tag: Sourced<Tag>,
    pub role: Option<Sourced<String>>,
    /// The role that reads, for pull requests.
    pub read_role: Option<Sourced<String>>,
    /// The environment of GitHub in which jobs of the workflow write to the registry.
    pub environment: Option<String>,
    /// Who logs in to the registry that the configuration names.
    pub username: Option<String>,
    pub region: Option<Sourced<String>>,
    pub moving_tags: Vec<Tag>,
    /// The names of the targets that get the same indexes.
    pub copies: Vec<String>,
    pub mirrors: BTreeMap<String, String>,
    pub provenance: Provenance,
    /// Whether images without attestations are refused.
    pub attested: bool,
    pub sbom: bool,
    pub sign: bool,
    /// Whether GitHub attests every index before moving tags move to it.
    pub attest: bool,
    /// The workflow whose signatures count here, or why nobody can tell.
    pub workflow: Result<TrustedWorkflow, Problem>,
    pub cache: Cache,
    pub revision: Option<Revision>,
    /// Where the source is, for the label.
    pub source: Option<String>,
}

impl Target {
    /// Puts the values together; says of all that are not valid.
    ///
    /// # Errors
    /// Those, with exit code 2; git cannot answer, with 4.
    pub fn resolve(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Target> {
        let git_ref = match ctx.env.get("GITHUB_REF") {
            Some(name) => Some(name.to_owned()),
            None => git::branch(ctx)?,
        };
        let revision = revision(ctx)?;
        let name = match flag_or_variable(ctx, "target", given.target.as_ref()) {
            None => matching(config, git_ref.as_deref().filter(|name| !is_proposal(ctx, name)))?,
            name => name,
        };
        let settings =
            name.as_ref().map_or_else(|| Ok(TargetSettings::default()), |name| named(config, &name.value))?;
        Layers { ctx, config, given, git_ref, name, settings }.resolve(revision)
    }

    /// The repository of a job's images.
    ///
    /// # Errors
    /// The whole name is too long.
    pub fn repository(&self, job: &JobName) -> Result<Repository, Problem> {
        let registry = self.registry.as_ref().map(|registry| registry.value.clone());
        Repository::new(registry, &format!("{}/{job}", self.prefix.value))
    }

    /// Why nothing is published in this run.
    pub fn why_nowhere(&self, ctx: &Context) -> String {
        match (ctx.env.get("GITHUB_REF"), &self.name) {
            (_, Some(name)) => format!("the target `{}` has no registry", name.value),
            (Some(git_ref), None) if is_proposal(ctx, git_ref) => {
                let what = if git_ref.starts_with(PULL_REQUESTS) { "a pull request" } else { "a merge queue" };
                format!("{what} is built and not published")
            }
            (Some(git_ref), None) => format!("{git_ref} matches the `refs` of no target in Cargo.toml"),
            (None, None) => "there is no registry".to_owned(),
        }
    }

    /// The environment variable with the password for this target's registry alone.
    pub fn password_variable(&self) -> Option<String> {
        self.name.as_ref().map(|name| password_variable(&name.value))
    }

    /// The registry, for everything that publishes.
    ///
    /// # Errors
    /// There is none.
    pub fn published_registry(&self, command: &str) -> anyhow::Result<&Registry> {
        self.registry.as_ref().map(|registry| &registry.value).ok_or_else(|| {
            Problem::new(command, "there is no registry")
                .help("set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml")
                .exit(Exit::Usage)
        })
    }

    /// The revision, for everything that publishes: the gate compares it.
    ///
    /// # Errors
    /// There is no commit.
    pub fn published_revision(&self) -> anyhow::Result<&Revision> {
        let what = "there is no commit here, and images are published under the commit they are built from";
        let problem = || Problem::new("git", what).help("commit first").exit(Exit::Usage);
        self.revision.as_ref().ok_or_else(problem)
    }
}

/// What is given by a flag, or by its environment variable.
fn flag_or_variable(ctx: &Context, flag: &str, value: Option<&String>) -> Option<Sourced<String>> {
    let (value, variable) = (value?, format!("JOBS_{}", flag.to_uppercase()));
    let source = if ctx.env.get(&variable) == Some(value) { variable } else { format!("--{flag}") };
    Some(Sourced::new(value.clone(), source))
}

/// The settings of a target.
fn named(config: &Config, name: &str) -> anyhow::Result<TargetSettings> {
    config.targets.get(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = config.targets.keys().map(String::as_str).collect();
        let rule = match names[..] {
            [] => "there is none yet".to_owned(),
            _ => format!("one of `{}`", names.join("`, `")),
        };
        Problem::new(format!("target `{name}`"), "not in [workspace.metadata.jobs.targets] of Cargo.toml")
            .rule(rule)
            .help(format!("add [workspace.metadata.jobs.targets.{name}] there, or name another"))
            .did_you_mean(name, names)
            .exit(Exit::Usage)
    })
}

/// Where GitHub keeps what is proposed in pull requests, and what waits in a merge queue.
const PULL_REQUESTS: &str = "refs/pull/";
const MERGE_QUEUES: &str = "refs/heads/gh-readonly-queue/";

/// Whether a git ref, or the event of a workflow, is of something that is not merged yet: it is never published,
/// whatever the targets' `refs` match.
fn is_proposal(ctx: &Context, git_ref: &str) -> bool {
    let is_queue = ctx.env.get("GITHUB_EVENT_NAME") == Some("merge_group");
    is_queue || [PULL_REQUESTS, MERGE_QUEUES].iter().any(|place| git_ref.starts_with(place))
}

/// The name of the target whose `refs` match the current git ref.
fn matching(config: &Config, git_ref: Option<&str>) -> anyhow::Result<Option<Sourced<String>>> {
    let Some(git_ref) = git_ref else { return Ok(None) };
    let matches = |pattern: &String| matches_ref(pattern, git_ref);
    let found = config.targets.iter().filter(|(_, target)| target.refs.iter().any(matches));
    let names: Vec<&str> = found.map(|(name, _)| name.as_str()).collect();
    match names[..] {
        [] => Ok(None),
        [name] => Ok(Some(Sourced::new(name.to_owned(), "git"))),
        _ => Err(Problem::new(format!("git ref `{git_ref}`"), format!("matches the targets `{}`", names.join("`, `")))
            .rule("a ref is published to one target")
            .help("make their `refs` in Cargo.toml differ, or name one with --target")
            .exit(Exit::Usage)),
    }
}

/// The name of the target that what is proposed would be published to, or this ref's own.
///
/// # Errors
/// The ref matches the `refs` of several targets.
pub fn target_of_base(ctx: &Context, config: &Config) -> anyhow::Result<Option<String>> {
    let of_queue = |git_ref: &str| Some(git_ref.strip_prefix(MERGE_QUEUES)?.rsplit_once("/pr-")?.0.to_owned());
    let git_ref = ctx.env.get("GITHUB_REF").unwrap_or_default();
    let branch = ctx.env.get("GITHUB_BASE_REF").map(str::to_owned);
    let base = branch.or_else(|| of_queue(git_ref)).map(|branch| format!("refs/heads/{branch}"));
    Ok(matching(config, Some(base.as_deref().unwrap_or(git_ref)))?.map(|name| name.value))
}

/// The commit: what GitHub says that it is, else what git says. Whether the files here are those of the commit is git's
/// to say in both cases.
fn revision(ctx: &Context) -> anyhow::Result<Option<Sourced<Revision>>> {
    let head = git::head(ctx)?;
    let sourced = |commit, source| Ok(Some(Sourced::new(Revision { commit, dirty: git::is_dirty(ctx)? }, source)));
    let Some(sha) = ctx.env.get("GITHUB_SHA") else {
        return head.map_or(Ok(None), |commit| sourced(commit, "git"));
    };
    let Ok(commit) = sha.parse::<Commit>() else {
        return Err(Problem::new("GITHUB_SHA", format!("`{sha}` is not a commit"))
            .rule("40 lower-case hex digits")
            .help("leave it as GitHub sets it, or unset it: git knows the commit too")
            .exit(Exit::Usage));
    };
    if head.is_none() {
        return Err(Problem::new("GITHUB_SHA", format!("is {commit}, and there is no git repository in {}", ctx.root))
            .rule("git says whether the files here are those of the commit")
            .help("check the repository out with actions/checkout, or unset GITHUB_SHA")
            .exit(Exit::Missing));
    }
    sourced(commit, "GITHUB_SHA")
}

/// The complaint about a registry of ECR that is not in the region that is configured.
fn other_region(registry: &Registry, region: &Sourced<String>) -> Option<Problem> {
    let (_, of_host) = registry.ecr().filter(|(_, of_host)| *of_host != region.value)?;
    let what = format!("is in {of_host}, not in {}", region.value);
    let rule = format!("the region of the registry and the one of {} are the same", region.source);
    let help = match region.source.as_str() {
        "AWS_REGION" => format!("set AWS_REGION={of_host}, or push to the registry in {}", region.value),
        _ => format!("write region = \"{of_host}\" there, or leave it out"),
    };
    Some(Problem::new(format!("registry `{registry}`"), what).rule(rule).help(help))
}

/// The places that a value can come from, in the order in which they are asked.
struct Layers<'a> {
    ctx: &'a Context,
    config: &'a Config,
    given: &'a Given,
    git_ref: Option<String>,
    name: Option<Sourced<String>>,
    /// Those of the target; without one, the defaults.
    settings: TargetSettings,
}

impl Layers<'_> {
    fn resolve(self, revision: Option<Sourced<Revision>>) -> anyhow::Result<Target> {
        let mut problems = Vec::new();
        let registry = self.registry().map_err(|problem| problems.push(problem)).unwrap_or_default();
        let (region, prefix) = (self.region(registry.as_ref()), self.prefix());
        problems.extend(registry.as_ref().zip(region.as_ref()).and_then(|(r, region)| other_region(&r.value, region)));
        let mirrors = self.config.mirrors_with(&self.given.mirrors).or_else(|error| {
            problems.append(&mut error.downcast::<Failure>()?.problems);
            anyhow::Ok(BTreeMap::new())
        })?;
        if let Err(problem) = Repository::new(None, &prefix.value) {
            problems.push(Problem { at: format!("prefix `{}`", prefix.value), ..problem });
        }
        let moving_tags: Vec<Tag> = self.settings.moving_tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        let tag = self.tag(revision.as_ref(), &moving_tags).map_err(|problem| problems.push(problem));
        Failure::unless_empty(Exit::Usage, problems)?;
        let Ok(tag) = tag else { anyhow::bail!("a tag or a problem with it was expected") };
        let [role, read_role] = [&self.settings.role, &self.settings.read_role].map(|r| self.of_target(r.as_ref()));
        let is_own = registry.as_ref().is_some_and(|r| Some(&r.value.to_string()) == self.settings.registry.as_ref());
        let TargetSettings { environment, username, copies, provenance, sbom, sign, attest, cache, refs, .. } =
            self.settings;
        // A registry that is given instead knows nobody of the target's, and has no copies.
        let (username, copies) = if is_own { (username, copies) } else { (None, Vec::new()) };
        let source = source(self.ctx)?;
        Ok(Target {
            name: self.name,
            registry,
            prefix,
            tag,
            role,
            read_role,
            environment,
            username,
            region,
            moving_tags,
            copies,
            mirrors,
            provenance: provenance.unwrap_or(self.config.provenance),
            attested: sbom || matches!(provenance, Some(Provenance::Min | Provenance::Max)),
            sbom,
            sign,
            attest,
            workflow: TrustedWorkflow::new(source.as_deref(), &refs),
            cache,
            revision: revision.map(|revision| revision.value),
            source,
        })
    }

    fn of_target(&self, value: Option<&String>) -> Option<Sourced<String>> {
        let name = &self.name.as_ref()?.value;
        Some(Sourced::new(value?.clone(), format!("target `{name}` in Cargo.toml")))
    }

    /// A value by its flag, then its environment variable, then the target.
    fn text(&self, flag: &str, given: Option<&String>, of_target: Option<&String>) -> Option<Sourced<String>> {
        flag_or_variable(self.ctx, flag, given).or_else(|| self.of_target(of_target))
    }

    fn registry(&self) -> Result<Option<Sourced<Registry>>, Problem> {
        let host = self.text("registry", self.given.registry.as_ref(), self.settings.registry.as_ref());
        host.map(|host| Ok(Sourced::new(host.value.parse()?, host.source))).transpose()
    }

    fn prefix(&self) -> Sourced<String> {
        self.text("prefix", self.given.prefix.as_ref(), self.settings.prefix.as_ref()).unwrap_or_else(|| {
            let source = if self.config.prefix == "jobs" { "default" } else { "Cargo.toml" };
            Sourced::new(self.config.prefix.clone(), source)
        })
    }

    fn region(&self, registry: Option<&Sourced<Registry>>) -> Option<Sourced<String>> {
        let variable = self.ctx.env.get("AWS_REGION").map(|region| Sourced::new(region.to_owned(), "AWS_REGION"));
        variable.or_else(|| self.of_target(self.settings.region.as_ref())).or_else(|| {
            let (_, region) = registry?.value.ecr()?;
            Some(Sourced::new(region.to_owned(), &registry?.source))
        })
    }

    fn tag(&self, revision: Option<&Sourced<Revision>>, moving_tags: &[Tag]) -> Result<Sourced<Tag>, Problem> {
        let text = match (flag_or_variable(self.ctx, "tag", self.given.tag.as_ref()), revision) {
            (Some(tag), _) => tag,
            (None, Some(revision)) => {
                let source = self.ctx.env.get("GITHUB_REF").map_or(revision.source.as_str(), |_| "GITHUB_REF");
                Sourced::new(tag_text(self.git_ref.as_deref(), &revision.value, self.config.sha_length), source)
            }
            (None, None) => {
                let problem = Problem::new("tag", "there is no commit to name images by");
                return Err(problem.help("commit first, or give --tag"));
            }
        };
        let tag = Tag::for_images(&text.value)?;
        if moving_tags.contains(&tag) {
            return Err(Problem::new(format!("tag `{tag}`"), "is a moving tag of this target")
                .rule("a published tag never changes, and a moving tag does")
                .help("give another with --tag or JOBS_TAG; `merge` moves this one by itself"));
        }
        Ok(Sourced::new(tag, text.source))
    }
}

/// The tag of another commit's images: its own, or that of a git tag; `None` where an image's tag cannot be that.
pub fn tag_of(config: &Config, commit: &Commit, git_tag: Option<&str>) -> Option<Tag> {
    let revision = Revision { commit: commit.clone(), dirty: false };
    let git_ref = git_tag.map(|name| format!("refs/tags/{name}"));
    Tag::for_images(&tag_text(git_ref.as_deref(), &revision, config.sha_length)).ok()
}

/// The git tag's name; else the commit's first digits, after the number of a pull request; and whether it is dirty.
fn tag_text(git_ref: Option<&str>, revision: &Revision, sha_length: usize) -> String {
    let sha = format!("{:.sha_length$}", revision.commit);
    let git_ref = git_ref.unwrap_or_default();
    let pull_request = git_ref.strip_prefix(PULL_REQUESTS).and_then(|rest| rest.split('/').next());
    let text = match (git_ref.strip_prefix("refs/tags/"), pull_request) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(number)) => format!("pr-{number}-{sha}"),
        (None, None) => sha,
    };
    if revision.dirty { format!("{text}-dirty") } else { text }
}

/// Where the source is: the repository on GitHub, or where it was cloned from, without a password in it.
fn source(ctx: &Context) -> anyhow::Result<Option<String>> {
    if let (Some(server), Some(repository)) = (ctx.env.get("GITHUB_SERVER_URL"), ctx.env.get("GITHUB_REPOSITORY")) {
        return Ok(Some(format!("{server}/{repository}")));
    }
    Ok(git::origin(ctx)?.and_then(|url| public_url(&url)))
}

/// `git@github.com:acme/jobs.git` as `https://github.com/acme/jobs`, and no credentials; `None` for a folder of this
/// machine, which is nobody else's business.
fn public_url(url: &str) -> Option<String> {
    let url = url.trim_end_matches(".git");
    if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "file") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let scheme = if scheme == "ssh" { "https" } else { scheme };
        return Some(format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned());
    }
    // As git tells them apart: a colon before the first slash is the end of a host.
    let (host, path) = url.split_once(':').filter(|(host, path)| !host.contains('/') && !path.starts_with("//"))?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    Some(format!("https://{host}/{}", path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_follows_the_ref() {
        let revision = |dirty| Revision { commit: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(), dirty };
        let text = |git_ref, dirty| tag_text(git_ref, &revision(dirty), 7);
        assert_eq!(text(Some("refs/heads/main"), false), "0123456");
        assert_eq!(text(None, true), "0123456-dirty");
        assert_eq!(text(Some("refs/tags/v1.2.3"), false), "v1.2.3");
        assert_eq!(text(Some("refs/pull/12/merge"), false), "pr-12-0123456");
        assert_eq!(tag_text(None, &revision(false), 12), "0123456789ab");
    }

    #[test]
    fn the_source_is_public() {
        for (url, public) in [
            ("git@github.com:acme/jobs.git", "https://github.com/acme/jobs"),
            ("https://me:token@github.com/acme/jobs.git", "https://github.com/acme/jobs"),
            ("ssh://git@github.com/acme/jobs", "https://github.com/acme/jobs"),
            ("github.com:acme/jobs", "https://github.com/acme/jobs"),
        ] {
            assert_eq!(public_url(url).as_deref(), Some(public));
        }
        for folder in ["/srv/jobs.git", "../jobs", "./a:b", "file:///srv/jobs"] {
            assert_eq!(public_url(folder), None, "{folder}");
        }
    }
}
