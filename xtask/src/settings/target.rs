//! Where this run's images go: each value by flag, then environment, then the matching target, then the default.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Commit, Exit, Failure, JobName, Problem, Provenance, Registry, Repository, Revision, Tag};
use crate::run::Context;
use crate::tools::git;

use super::config::{Cache, Config, TargetSettings, check_mirror};

/// What flags and their environment variables say about where images go.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub registry: Option<String>,
    pub prefix: Option<String>,
    pub tag: Option<String>,
    pub target: Option<String>,
    /// `registry=prefix` each.
    pub mirrors: Vec<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    /// A target of `Cargo.toml`, by name.
    Target(String),
    Manifest,
    Git,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Variable(name) => f.write_str(name),
            Origin::Target(name) => write!(f, "target `{name}` in Cargo.toml"),
            Origin::Manifest => f.write_str("Cargo.toml"),
            Origin::Git => f.write_str("git"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub fn new(value: T, origin: Origin) -> Sourced<T> {
        Sourced { value, origin }
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
    pub region: Option<Sourced<String>>,
    pub moving_tags: Vec<Tag>,
    pub mirrors: BTreeMap<String, String>,
    pub provenance: Provenance,
    /// Whether images without attestations are refused.
    pub attested: bool,
    pub sbom: bool,
    pub sign: bool,
    pub cache: Cache,
    pub revision: Option<Revision>,
    sha_length: usize,
}

impl Target {
    /// Puts the values together.
    ///
    /// # Errors
    /// All values that are not valid, with exit code 2.
    pub fn resolve(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Target> {
        let git_ref = match ctx.env.get("GITHUB_REF") {
            Some(name) => Some(name.to_owned()),
            None => git::branch(ctx)?,
        };
        let revision = revision(ctx)?;
        let layers = Layers { ctx, config, given, target: matching(ctx, config, given, git_ref.as_deref())? };
        layers.resolve(git_ref.as_deref(), revision)
    }

    /// The mirrors alone, for what needs neither a tag nor a registry.
    ///
    /// # Errors
    /// All mirrors that are not valid, with exit code 2.
    pub fn mirrors_only(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<BTreeMap<String, String>> {
        let layers = Layers { ctx, config, given, target: None };
        layers.mirrors().map_err(|problems| Failure::of(Exit::Usage, problems))
    }

    /// The repository of a job's images.
    ///
    /// # Errors
    /// The whole name is too long.
    pub fn repository(&self, job: &JobName) -> Result<Repository, Problem> {
        let registry = self.registry.as_ref().map(|registry| registry.value.clone());
        Repository::new(registry, &format!("{}/{job}", self.prefix.value))
    }

    /// The tag that an earlier commit's images have.
    pub fn tag_of_commit(&self, commit: &Commit) -> Option<Tag> {
        commit.digits(self.sha_length).parse().ok()
    }

    /// The name of a job's image in the local engine, whatever the registry is.
    pub fn local_repository(&self, job: &JobName) -> Result<Repository, Problem> {
        Repository::new(None, &format!("{}/{job}", self.prefix.value))
    }

    /// Why nothing is published in this run.
    pub fn why_nowhere(&self, ctx: &Context) -> String {
        match (ctx.env.get("GITHUB_REF"), &self.name) {
            (_, Some(name)) => format!("the target `{}` has no registry", name.value),
            (Some(pull), None) if pull.starts_with("refs/pull/") => {
                "a pull request is built and not published".to_owned()
            }
            (Some(git_ref), None) => format!("{git_ref} matches the `refs` of no target in Cargo.toml"),
            (None, None) => "there is no registry".to_owned(),
        }
    }

    /// The same, where images stay in the local engine.
    pub fn without_registry(&self) -> Target {
        Target { registry: None, ..self.clone() }
    }

    /// The same for a rehearsal: neither a role nor tags that move.
    pub fn rehearsed(self) -> Target {
        Target { role: None, moving_tags: Vec::new(), cache: Cache::None, sign: false, ..self }
    }

    /// The registry, for everything that publishes.
    ///
    /// # Errors
    /// There is none.
    pub fn published_registry(&self, command: &str) -> anyhow::Result<&Registry> {
        self.registry.as_ref().map(|registry| &registry.value).ok_or_else(|| {
            Problem::new(command, "there is no registry")
                .help("set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml")
                .usage()
        })
    }

    /// The revision, for everything that publishes: the gate compares it.
    ///
    /// # Errors
    /// There is no commit.
    pub fn published_revision(&self) -> anyhow::Result<&Revision> {
        self.revision.as_ref().ok_or_else(|| {
            Problem::new(
                "git",
                "there is no commit here, and images are published under the commit they are built from",
            )
            .help("commit first")
            .usage()
        })
    }
}

/// The target that is named, or whose `refs` match the current git ref.
fn matching<'a>(
    ctx: &Context,
    config: &'a Config,
    given: &Given,
    git_ref: Option<&str>,
) -> anyhow::Result<Option<(Sourced<String>, &'a TargetSettings)>> {
    if let Some(name) = &given.target {
        let Some(target) = config.targets.get(name) else {
            let problem =
                Problem::new(format!("target `{name}`"), "not in [workspace.metadata.jobs.targets] of Cargo.toml");
            return Err(problem.did_you_mean(name, config.targets.keys().map(String::as_str)).usage());
        };
        let source = flag_or_variable(ctx, "target", "JOBS_TARGET", name);
        return Ok(Some((Sourced::new(name.clone(), source), target)));
    }
    let Some(git_ref) = git_ref.filter(|name| !name.starts_with("refs/pull/")) else { return Ok(None) };
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let matches = |pattern: &String| glob::Pattern::new(pattern).is_ok_and(|p| p.matches_with(git_ref, options));
    let found: Vec<_> = config.targets.iter().filter(|(_, target)| target.refs.iter().any(matches)).collect();
    match found[..] {
        [] => Ok(None),
        [(name, target)] => Ok(Some((Sourced::new(name.clone(), Origin::Git), target))),
        _ => {
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            Err(Problem::new(format!("git ref `{git_ref}`"), format!("matches the targets `{}`", names.join("`, `")))
                .rule("a ref is published to one target")
                .help("make their `refs` in Cargo.toml differ, or name one with --target")
                .usage())
        }
    }
}

/// The commit: what GitHub says that it is, else what git says. Whether the files here are those of the commit is git's
/// to say in both cases.
fn revision(ctx: &Context) -> anyhow::Result<Option<Sourced<Revision>>> {
    let head = git::head(ctx)?;
    let Some(sha) = ctx.env.get("GITHUB_SHA") else {
        let Some(commit) = head else { return Ok(None) };
        return Ok(Some(Sourced::new(Revision { commit, dirty: git::is_dirty(ctx)? }, Origin::Git)));
    };
    let Ok(commit) = sha.parse::<Commit>() else {
        return Err(Problem::new("GITHUB_SHA", format!("`{sha}` is not a commit"))
            .rule("40 lower-case hex digits")
            .usage());
    };
    if head.is_none() {
        return Err(Problem::new("GITHUB_SHA", format!("is {commit}, and there is no git repository in {}", ctx.root))
            .rule("git says whether the files here are those of the commit")
            .help("check the repository out with actions/checkout, or unset GITHUB_SHA")
            .missing());
    }
    Ok(Some(Sourced::new(Revision { commit, dirty: git::is_dirty(ctx)? }, Origin::Variable("GITHUB_SHA"))))
}

/// The complaint about a registry of ECR that is not in the region that is configured.
fn other_region(registry: &Sourced<Registry>, region: &Sourced<String>) -> Option<Problem> {
    let (_, of_host) = registry.value.ecr().filter(|(_, of_host)| *of_host != region.value)?;
    let what = format!("is in {of_host}, not in {}", region.value);
    let rule = format!("the region of the registry and the one of {} are the same", region.origin);
    let help = match region.origin {
        Origin::Target(_) => format!("write region = \"{of_host}\" there, or leave it out"),
        _ => format!("set AWS_REGION={of_host}, or push to the registry in {}", region.value),
    };
    Some(Problem::new(format!("registry `{}`", registry.value), what).rule(rule).help(help))
}

fn flag_or_variable(ctx: &Context, flag: &'static str, variable: &'static str, value: &str) -> Origin {
    if ctx.env.get(variable) == Some(value) { Origin::Variable(variable) } else { Origin::Flag(flag) }
}

/// The places that a value can come from, in the order in which they are asked.
struct Layers<'a> {
    ctx: &'a Context,
    config: &'a Config,
    given: &'a Given,
    target: Option<(Sourced<String>, &'a TargetSettings)>,
}

impl Layers<'_> {
    fn resolve(&self, git_ref: Option<&str>, revision: Option<Sourced<Revision>>) -> anyhow::Result<Target> {
        let mut problems = Vec::new();
        let (region, prefix) = (self.region(), self.prefix());
        let registry = self.registry().map_err(|problem| problems.push(problem)).unwrap_or_default();
        problems.extend(registry.as_ref().zip(region.as_ref()).and_then(|(r, region)| other_region(r, region)));
        let mirrors = self.mirrors().map_err(|mut found| problems.append(&mut found)).unwrap_or_default();
        if let Err(problem) = Repository::new(None, &prefix.value) {
            problems.push(Problem { at: format!("prefix `{}`", prefix.value), ..problem });
        }
        let settings = self.target.as_ref().map(|(_, settings)| (*settings).clone()).unwrap_or_default();
        let moving_tags: Vec<Tag> = settings.moving_tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        let tag = self.tag(git_ref, revision.as_ref(), &moving_tags).map_err(|problem| problems.push(problem));
        Failure::unless_empty(Exit::Usage, problems)?;
        let Ok(tag) = tag else { anyhow::bail!("a tag or a problem with it was expected") };
        Ok(Target {
            name: self.target.as_ref().map(|(name, _)| name.clone()),
            registry,
            prefix,
            tag,
            role: self.of_target(|target| target.role.as_ref()),
            region,
            moving_tags,
            mirrors,
            provenance: settings.provenance.unwrap_or(self.config.provenance),
            attested: settings.sbom || matches!(settings.provenance, Some(Provenance::Min | Provenance::Max)),
            sbom: settings.sbom,
            sign: settings.sign,
            cache: settings.cache,
            revision: revision.map(|revision| revision.value),
            sha_length: self.config.sha_length,
        })
    }

    fn of_target(&self, value: impl Fn(&TargetSettings) -> Option<&String>) -> Option<Sourced<String>> {
        let (name, target) = self.target.as_ref()?;
        Some(Sourced::new(value(target)?.clone(), Origin::Target(name.value.clone())))
    }

    fn registry(&self) -> Result<Option<Sourced<Registry>>, Problem> {
        if let Some(host) = &self.given.registry {
            let source = flag_or_variable(self.ctx, "registry", "JOBS_REGISTRY", host);
            return Ok(Some(Sourced::new(host.parse()?, source)));
        }
        let Some(host) = self.of_target(|target| target.registry.as_ref()) else { return Ok(None) };
        Ok(Some(Sourced::new(host.value.parse()?, host.origin)))
    }

    fn prefix(&self) -> Sourced<String> {
        if let Some(prefix) = &self.given.prefix {
            return Sourced::new(prefix.clone(), flag_or_variable(self.ctx, "prefix", "JOBS_PREFIX", prefix));
        }
        let source = if self.config.prefix == "jobs" { Origin::Default } else { Origin::Manifest };
        self.of_target(|target| target.prefix.as_ref())
            .unwrap_or_else(|| Sourced::new(self.config.prefix.clone(), source))
    }

    fn region(&self) -> Option<Sourced<String>> {
        let variable = |name| Some(Sourced::new(self.ctx.env.get(name)?.to_owned(), Origin::Variable(name)));
        variable("AWS_REGION").or_else(|| self.of_target(|target| target.region.as_ref())).or_else(|| {
            let registry = self.registry().ok()??;
            let (_, region) = registry.value.ecr()?;
            Some(Sourced::new(region.to_owned(), registry.origin))
        })
    }

    fn mirrors(&self) -> Result<BTreeMap<String, String>, Vec<Problem>> {
        let mut mirrors = self.config.mirrors.clone();
        let mut problems = Vec::new();
        for entry in &self.given.mirrors {
            let checked = entry
                .split_once('=')
                .ok_or_else(|| Problem::new(format!("mirror `{entry}`"), "not a mirror").rule("registry=prefix"))
                .and_then(|(registry, prefix)| check_mirror(registry, prefix).map(|()| (registry, prefix)));
            match checked {
                Ok((registry, prefix)) => drop(mirrors.insert(registry.to_owned(), prefix.to_owned())),
                Err(problem) => problems.push(problem.help("e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000")),
            }
        }
        if problems.is_empty() { Ok(mirrors) } else { Err(problems) }
    }

    fn tag(
        &self,
        git_ref: Option<&str>,
        revision: Option<&Sourced<Revision>>,
        moving_tags: &[Tag],
    ) -> Result<Sourced<Tag>, Problem> {
        let tag = self.tag_of_ref(git_ref, revision)?;
        if moving_tags.contains(&tag.value) {
            return Err(Problem::new(format!("tag `{}`", tag.value), "is a moving tag of this target")
                .rule("a published tag never changes, and a moving tag does"));
        }
        Ok(tag)
    }

    fn tag_of_ref(&self, git_ref: Option<&str>, revision: Option<&Sourced<Revision>>) -> Result<Sourced<Tag>, Problem> {
        if let Some(tag) = &self.given.tag {
            return Ok(Sourced::new(Tag::for_images(tag)?, flag_or_variable(self.ctx, "tag", "JOBS_TAG", tag)));
        }
        let Some(revision) = revision else {
            return Err(Problem::new("tag", "there is no commit to name images by").help("commit first, or give --tag"));
        };
        let source = if self.ctx.env.get("GITHUB_REF").is_some() {
            Origin::Variable("GITHUB_REF")
        } else {
            revision.origin.clone()
        };
        let text = tag_text(git_ref, &revision.value, self.config.sha_length);
        Ok(Sourced::new(Tag::for_images(&text)?, source))
    }
}

/// The git tag's name; else the commit's first digits, after the number of a pull request; and whether it is dirty.
fn tag_text(git_ref: Option<&str>, revision: &Revision, sha_length: usize) -> String {
    let sha = revision.commit.digits(sha_length);
    let git_ref = git_ref.unwrap_or_default();
    let pull_request = git_ref.strip_prefix("refs/pull/").and_then(|rest| rest.split('/').next());
    let text = match (git_ref.strip_prefix("refs/tags/"), pull_request) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(number)) => format!("pr-{number}-{sha}"),
        (None, None) => sha.to_owned(),
    };
    if revision.dirty { format!("{text}-dirty") } else { text }
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
}
