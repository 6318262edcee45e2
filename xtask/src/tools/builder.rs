//! The builder: which buildx there is, and what the builder that it uses can do. Probed once per run.

use std::fmt;

use xshell::cmd;

use super::process::{self, Options};
use crate::model::{Arch, Exit, Failure, Problem};
use crate::run::Context;

/// The oldest buildx whose merges push children by digest, as immutable repositories need it.
const OLDEST_BUILDX: Version = Version(0, 22, 0);
/// A release whose merges lose manifests.
const BROKEN_BUILDX: Version = Version(0, 31, 1);

/// A program's version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first word that looks like a version, such as `v0.29.1+ds1`.
    fn find(text: &str) -> Option<Version> {
        text.split_whitespace().find_map(|word| {
            let number = |part: &str| -> Option<u32> {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().ok()
            };
            let mut parts = word.trim_start_matches('v').splitn(3, '.');
            Some(Version(number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?))
        })
    }
}

/// The versions of buildx that can be used, in words.
pub fn buildx_bounds() -> String {
    format!("{OLDEST_BUILDX} or newer, not {BROKEN_BUILDX}")
}

/// The version of buildx in a text.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn usable_buildx(text: &str) -> Result<String, String> {
    match Version::find(text) {
        None => Err(format!("has no version that can be read: {}", text.trim())),
        Some(version) if version < OLDEST_BUILDX => Err(format!("{version} is too old")),
        Some(BROKEN_BUILDX) => Err(format!("{BROKEN_BUILDX} breaks merges")),
        Some(version) => Ok(version.to_string()),
    }
}

/// The version of the buildx that is installed.
///
/// # Errors
/// Docker or buildx is missing, too old, or known to be broken.
pub fn buildx_version(ctx: &Context) -> anyhow::Result<String> {
    let outcome = process::run(ctx, |sh| cmd!(sh, "docker buildx version"), &Options::default())?;
    let usable = if outcome.success() { usable_buildx(&outcome.stdout()) } else { Err("not installed".to_owned()) };
    usable.map_err(|what| {
        Problem::new("buildx", what)
            .rule(format!("buildx {OLDEST_BUILDX} or newer, and not {BROKEN_BUILDX}, is needed"))
            .help("install it: cargo xtask setup")
            .missing()
    })
}

/// What the builder that will be used can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// `docker`, `docker-container`, `kubernetes` or `remote`.
    pub driver: String,
    /// The platforms of each node; a node's first is its native one.
    pub nodes: Vec<Vec<String>>,
    /// Whether images can carry attestations: the `docker` driver needs the containerd image store for them.
    pub attestations: bool,
}

impl Builder {
    /// Whether a node runs this architecture without emulation.
    fn is_native(&self, arch: Arch) -> bool {
        self.nodes.iter().any(|platforms| platforms.first().is_some_and(|first| first == arch.platform()))
    }

    /// Whether a node runs this architecture at all.
    fn can_run(&self, arch: Arch) -> bool {
        self.nodes.iter().flatten().any(|platform| platform == arch.platform())
    }

    /// How a node runs this architecture, in a word; `None` if none does.
    pub fn support(&self, arch: Arch) -> Option<&'static str> {
        let emulated = self.can_run(arch).then_some("emulated");
        if self.is_native(arch) { Some("native") } else { emulated }
    }

    /// Checks that each architecture is built on hardware of its own.
    ///
    /// # Errors
    /// With exit code 4, every architecture that the builder could only emulate.
    pub fn check_native(&self, arches: &[Arch]) -> anyhow::Result<()> {
        let foreign = arches.iter().filter(|&&arch| !self.is_native(arch));
        let problems = foreign.map(|arch| {
            Problem::new(format!("architecture `{arch}`"), "not native to the builder, which could only emulate it")
                .rule("each architecture is built on hardware of its own")
                .help(format!(
                    "run this on a native runner, add a native node (docker buildx create --append --platform \
                     linux/{arch} …), or give --emulate"
                ))
        });
        Failure::unless_empty(Exit::Missing, problems.collect())
    }

    /// Checks that the builder runs each architecture, if only by emulation.
    ///
    /// # Errors
    /// With exit code 4, every architecture that it cannot run.
    pub fn check_emulated(&self, arches: &[Arch]) -> anyhow::Result<()> {
        let missing = arches.iter().filter(|&&arch| !self.can_run(arch));
        let problems = missing.map(|arch| {
            let what = "not native to the builder, and no emulation for it is installed";
            Problem::new(format!("architecture `{arch}`"), what).help("install it: cargo xtask setup")
        });
        Failure::unless_empty(Exit::Missing, problems.collect())
    }
}

/// Whether the builder may be started to inspect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    Yes,
    No,
}

/// Inspects the builder that buildx would use, or the one that is named.
///
/// # Errors
/// There is no such builder, or its engine cannot be reached.
pub fn probe(ctx: &Context, name: Option<&str>, bootstrap: Bootstrap) -> anyhow::Result<Builder> {
    buildx_version(ctx)?;
    let bootstrap = (bootstrap == Bootstrap::Yes).then_some("--bootstrap");
    // `inspect` prints no JSON. `ls` does, but it asks every builder, and waits 20 s for each that is out of reach.
    let outcome =
        process::run(ctx, |sh| cmd!(sh, "docker buildx inspect {bootstrap...} {name...}"), &Options::default())?;
    let (builder, error) = parse(&outcome.stdout());
    let Some(error) = error.or((!outcome.success()).then(|| outcome.reason())) else {
        let attestations = builder.driver != "docker" || has_containerd_store(ctx)?;
        return Ok(Builder { attestations, ..builder });
    };
    let at = name.map_or("the builder".to_owned(), |name| format!("builder `{name}`"));
    let help = match crate::run::help_for(&error) {
        Some(help) => help,
        None if error.contains("no builder") => {
            "docker buildx ls lists the builders, and docker buildx create makes one"
        }
        None if error.contains("deadline exceeded") => "restart the engine: it does not answer",
        None => "start the engine: cargo xtask setup",
    };
    Err(Problem::new(at, format!("cannot be used: {error}")).help(help).missing())
}

/// Reads what `docker buildx inspect` prints; the second part is a node's error.
fn parse(text: &str) -> (Builder, Option<String>) {
    let mut builder = Builder { driver: String::new(), nodes: Vec::new(), attestations: false };
    let mut error = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key {
            "Driver" => value.trim().clone_into(&mut builder.driver),
            // A star marks what the user has set.
            "Platforms" => {
                let platforms = value.split(',').map(|platform| platform.trim().trim_end_matches('*').to_owned());
                builder.nodes.push(platforms.filter(|platform| !platform.is_empty()).collect());
            }
            "Error" => error = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    (builder, error)
}

fn has_containerd_store(ctx: &Context) -> anyhow::Result<bool> {
    let format = "{{json .DriverStatus}}";
    let status = process::read(ctx, |sh| cmd!(sh, "docker info --format {format}"), &Options::default())?;
    Ok(status.contains("io.containerd.snapshotter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_NODES: &str = "\
Name:          both
Driver:        docker-container
Nodes:
Name:             both0
Platforms:        linux/amd64*, linux/amd64/v2, linux/arm64
Name:             both1
Platforms:        linux/arm64, linux/arm/v7
";

    #[test]
    fn a_nodes_first_platform_is_native() {
        let (builder, error) = parse(TWO_NODES);
        assert_eq!((builder.driver.as_str(), error), ("docker-container", None));
        assert!(builder.is_native(Arch::Amd64) && builder.is_native(Arch::Arm64));
        let (one, _) = parse("Driver: docker\nPlatforms: linux/amd64, linux/arm64\n");
        assert!(one.is_native(Arch::Amd64) && !one.is_native(Arch::Arm64) && one.can_run(Arch::Arm64));
        assert_eq!((one.support(Arch::Amd64), one.support(Arch::Arm64)), (Some("native"), Some("emulated")));
    }

    #[test]
    fn a_nodes_error_is_seen() {
        let text = "Driver: docker\nNodes:\nError: Cannot connect to the Docker daemon at unix:///x. Is it running?\n";
        assert_eq!(parse(text).1.unwrap(), "Cannot connect to the Docker daemon at unix:///x. Is it running?");
    }

    #[test]
    fn emulation_is_asked_for_by_name() {
        let (builder, _) = parse("Driver: docker\nPlatforms: linux/amd64, linux/arm64\n");
        builder.check_native(&[Arch::Amd64]).unwrap();
        builder.check_emulated(&Arch::ALL).unwrap();
        assert_eq!(
            builder.check_native(&Arch::ALL).unwrap_err().to_string(),
            "architecture `arm64`: not native to the builder, which could only emulate it\n  \
             rule: each architecture is built on hardware of its own\n  \
             help: run this on a native runner, add a native node (docker buildx create --append --platform \
             linux/arm64 …), or give --emulate"
        );
        let (none, _) = parse("Driver: docker\nPlatforms: linux/amd64\n");
        assert!(none.check_emulated(&[Arch::Arm64]).unwrap_err().to_string().contains("cargo xtask setup"));
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(Version::find("github.com/docker/buildx 0.29.1+ds1 0.29.1+ds1-4"), Some(Version(0, 29, 1)));
        assert_eq!(Version::find("github.com/docker/buildx v0.31.1 257815a"), Some(BROKEN_BUILDX));
        assert_eq!(Version::find("Docker version 28.2.2, build e6534b4"), Some(Version(28, 2, 2)));
        assert_eq!(Version::find("none"), None);
        assert!(Version(0, 9, 9) < OLDEST_BUILDX);
        assert_eq!(buildx_bounds(), "0.22.0 or newer, not 0.31.1");
    }
}
