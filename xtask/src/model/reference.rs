//! Names of images: registry, repository, tag, digest, and the reference that is made of them.
//!
//! The grammar is that of the [OCI distribution specification], with the shorthands of Docker (`busybox` for
//! `docker.io/library/busybox:latest`) where a Dockerfile uses them.
//!
//! [OCI distribution specification]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::arch::Arch;
use super::key::Key;
use super::problem::Problem;

/// The longest registry host, prefix and job name together, in characters (the specification's advice).
const LONGEST_REPOSITORY: usize = 255;
/// The longest tag, in characters.
const LONGEST_TAG: usize = 128;

/// A registry's host and port, such as `127.0.0.1:5000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registry(String);

impl Registry {
    /// Docker Hub, under the name that stands in normalized references.
    fn docker_hub() -> Registry {
        Registry("docker.io".to_owned())
    }

    /// Where its API is: without TLS on this machine alone.
    pub fn url(&self) -> String {
        match self.0.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host if self.is_loopback() => format!("http://{host}"),
            host => format!("https://{host}"),
        }
    }

    /// Whether the registry runs on this machine, where plain HTTP is allowed and nobody else reads along.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        // An address, not a name that begins like one: `127.0.0.1.example.com` is somebody else's.
        host == "localhost" || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
    }

    /// The account and the region, for the host of a private ECR registry.
    pub fn ecr(&self) -> Option<(&str, &str)> {
        let (account, rest) = self.0.split_once(".dkr.ecr")?;
        let rest = rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?;
        let region = rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?;
        Some((account, region))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Registry {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Registry, Problem> {
        let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
        // What stands before the `@` may be a password, which no log shall show.
        let shown = user.map_or_else(|| text.to_owned(), |_| format!("…@{host}"));
        let bad = |what: &str, help: String| Problem::new(format!("registry `{shown}`"), what).help(help);
        let without_scheme = host.split_once("://").map_or(host, |(_, rest)| rest);
        if without_scheme.is_empty() || without_scheme.starts_with('/') {
            let what = if text.is_empty() { "empty" } else { "names no host" };
            return Err(bad(what, "give a host such as `127.0.0.1:5000`, or leave it unset".to_owned()));
        }
        if user.is_some() {
            let host = host.trim_end_matches('/');
            return Err(bad("carries a user name", format!("write `{host}`, and use `docker login {host}`")));
        }
        if let Some((_, rest)) = text.split_once("://") {
            return Err(bad("has a scheme", format!("write `{}`", rest.trim_end_matches('/'))));
        }
        if let Some((host, path)) = text.split_once('/') {
            return Err(match path {
                "" => bad("ends in `/`", format!("write `{host}`")),
                _ => bad("has a path", format!("write `{host}`, and put `{path}` into `prefix`")),
            });
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(bad("has upper-case letters", format!("write `{}`", text.to_ascii_lowercase())));
        }
        check_host(text).map_err(|what| bad(what, "give a host such as `registry.example.com:5000`".to_owned()))?;
        let registry = Registry(text.to_owned());
        if let Some((account, _)) = registry.ecr()
            && (account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(Problem::new(format!("registry `{text}`"), format!("`{account}` is not an AWS account"))
                .rule("an account is 12 digits")
                .help("mend it, as in 111122223333.dkr.ecr.eu-west-1.amazonaws.com"));
        }
        Ok(registry)
    }
}

fn check_host(text: &str) -> Result<(), &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| port.starts_with('+') || port.parse::<u16>().is_err()) {
        return Err("has a port that is not a number");
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !host.split('.').all(label) {
        return Err("not a host name");
    }
    // Docker takes a first part without a dot or a port for a name on Docker Hub.
    if !host.contains('.') && port.is_none() && host != "localhost" {
        return Err("has neither a domain nor a port, so Docker Hub would be meant");
    }
    Ok(())
}

/// Where a job's images are kept: the registry, and the repository's name in it.
/// Without a registry it is a name in the local engine's image store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    pub registry: Option<Registry>,
    name: String,
}

impl Repository {
    /// A repository by its name below the registry.
    ///
    /// # Errors
    /// The name is outside the grammar that OCI and ECR share, or the whole is too long.
    pub fn new(registry: Option<Registry>, name: &str) -> Result<Repository, Problem> {
        let repository = Repository { registry, name: name.to_owned() };
        // ECR's rule, which is OCI's without `__` and `--`.
        if !name.split('/').all(|part| is_name_part(part, |separator| matches!(separator, "." | "_" | "-"))) {
            return Err(Problem::new(format!("repository `{name}`"), "not a valid name")
                .rule("parts of lower-case letters and digits with single '.', '_' or '-' between them, joined by '/'")
                .help("write it so, e.g. `team/jobs`"));
        }
        let length = repository.to_string().chars().count();
        if length > LONGEST_REPOSITORY {
            return Err(Problem::new(format!("repository `{repository}`"), format!("has {length} characters"))
                .rule(format!("registry, prefix and name have at most {LONGEST_REPOSITORY} together"))
                .help("shorten the folder's name or the prefix"));
        }
        Ok(repository)
    }

    /// The repository's name in its registry, without the host.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn with_tag(&self, tag: &Tag) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag.clone()), digest: None }
    }

    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest.clone()) }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registry {
            Some(registry) => write!(f, "{registry}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// `[a-z0-9]+(<separator>[a-z0-9]+)*`
fn is_name_part(part: &str, is_separator: fn(&str) -> bool) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(alphanumeric)
        && part.ends_with(alphanumeric)
        && part.split(alphanumeric).all(|between| between.is_empty() || is_separator(between))
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// A tag that images of a run may be published under: room is left for the architecture, and no
    /// architecture's name stands at its end, where it would look like one architecture's image.
    ///
    /// # Errors
    /// The text is not such a tag.
    pub fn for_images(text: &str) -> Result<Tag, Problem> {
        let at = format!("tag `{text}`");
        let longest = LONGEST_TAG - "-amd64".len();
        if text.len() > longest {
            return Err(Problem::new(at, format!("has {} characters", text.chars().count()))
                .rule(format!("at most {longest}: an architecture's suffix is added, and {LONGEST_TAG} is the limit"))
                .help("give a shorter one: --tag or JOBS_TAG"));
        }
        let tag: Tag = text.parse().map_err(|problem: Problem| match Tag::suggestion(text) {
            Some(better) => problem.help(format!("give another with --tag or JOBS_TAG, e.g. `{better}`")),
            None => problem.help("give another with --tag or JOBS_TAG"),
        })?;
        if let Some(arch) = Arch::ALL.into_iter().find(|arch| text.ends_with(&format!("-{arch}"))) {
            return Err(Problem::new(at, format!("ends in `-{arch}`"))
                .rule("a tag does not end in `-amd64` or `-arm64`: the images of one architecture do")
                .help("give another with --tag or JOBS_TAG"));
        }
        if text == "cache" {
            return Err(Problem::new(at, "its images would stand where layers are kept")
                .rule("`cache-amd64` and `cache-arm64` are the tags of caches")
                .help("give another with --tag or JOBS_TAG"));
        }
        Ok(tag)
    }

    /// The nearest tag that images may be published under.
    fn suggestion(text: &str) -> Option<Tag> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let parts: Vec<&str> = text.split(|c| !valid(c)).filter(|part| !part.is_empty()).collect();
        let tag: Tag = parts.join("-").trim_start_matches(['.', '-']).parse().ok()?;
        Tag::for_images(&tag.0).ok()
    }

    /// `<tag>-<arch>`: where `build` pushes the image of one architecture.
    pub fn for_arch(&self, arch: Arch) -> Tag {
        Tag(format!("{}-{arch}", self.0))
    }

    /// `key-<20 hex>`: where later runs find the images with this key again.
    pub fn for_key(key: &Key) -> Tag {
        Tag(format!("key-{key}"))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Tag, Problem> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fits = text.len() <= LONGEST_TAG
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
        if fits {
            return Ok(Tag(text.to_owned()));
        }
        let what = if text.is_empty() { "empty" } else { "not a valid tag" };
        Err(Problem::new(format!("tag `{text}`"), what)
            .rule("a letter, digit or '_', then at most 127 more of them or '.' or '-'"))
    }
}

/// The SHA-256 digest of a manifest or an index, with its algorithm: `sha256:` and 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of content that was read.
    pub fn of_content(content: &[u8]) -> Digest {
        let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        Digest(format!("sha256:{hex}"))
    }

    /// The first hex digits, enough for a person to tell two apart.
    pub fn short(&self) -> &str {
        &self.0[.."sha256:".len() + 12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Digest, Problem> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
            return Ok(Digest(text.to_owned()));
        }
        Err(Problem::new(format!("digest `{text}`"), "not a digest")
            .rule("`sha256:` and 64 lower-case hex digits")
            .help("copy it whole, as `docker buildx imagetools inspect` shows it"))
    }
}

/// A repository with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// An image as a Dockerfile or `docker pull` names it, with what is left out filled in:
    /// `busybox` is `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// The text is not a reference.
    pub fn normalized(text: &str) -> Result<Reference, Problem> {
        let mut reference: Reference = text.parse()?;
        let host = reference.repository.registry.as_ref().map(Registry::to_string);
        let hub = matches!(host.as_deref(), None | Some("docker.io" | "index.docker.io"));
        if hub {
            reference.repository.registry = Some(Registry::docker_hub());
        }
        if hub && !reference.repository.name.contains('/') {
            reference.repository.name.insert_str(0, "library/");
        }
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(Tag("latest".to_owned()));
        }
        Ok(reference)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Reference, Problem> {
        let bad = || {
            Problem::new(format!("image `{text}`"), "not a valid reference")
                .rule("[registry/]name[:tag][@sha256:…], the name in lower case")
                .help("mend it, as in busybox:1.37 or ghcr.io/acme/tools:1")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            // A colon before a slash is the port of the registry.
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag.parse()?)),
            _ => (rest, None),
        };
        // The first part is a registry if it looks like a host: this is Docker's rule.
        let (registry, name) = match rest.split_once('/') {
            Some((host, name)) if host.contains(['.', ':']) || host == "localhost" => (Some(host.parse()?), name),
            _ => (None, rest),
        };
        // Names outside of our own grammar exist on Docker Hub (`a__b`), and are somebody else's to choose: this is the
        // specification's.
        let known = |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !name.split('/').all(|part| is_name_part(part, known)) {
            return Err(bad());
        }
        Ok(Reference { repository: Repository { registry, name: name.to_owned() }, tag, digest })
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
