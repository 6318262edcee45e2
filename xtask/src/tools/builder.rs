//! The builder: which buildx there is, and what the builder that it uses can do. Probed once per run.

use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use serde_json::Value;
use xshell::cmd;

use super::process::{self, End, Limit, Options};
use crate::model::{Arch, Exit, Failure, Problem};
use crate::run::Context;

/// The oldest buildx whose merges push children by digest, as immutable repositories need it.
const OLDEST_BUILDX: [u32; 3] = [0, 22, 0];
/// A release whose merges lose manifests.
const BROKEN_BUILDX: [u32; 3] = [0, 31, 1];
/// How long the engine may take to tell of itself; buildx gives up after as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a gigabyte, as people and docker count them.
const GB: u64 = 1_000_000_000;
/// How a node runs an architecture that is its own.
const NATIVE: &str = "native";

/// The first word that looks like a version, such as `v0.29.1+ds1`: its major, minor and patch number.
pub(super) fn find_version(text: &str) -> Option<[u32; 3]> {
    let number = |part: &str| -> Option<u32> { part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok() };
    // The AWS client says `aws-cli/2.15.30`.
    text.split(|c: char| c.is_whitespace() || c == '/').find_map(|word| {
        let mut parts = word.trim_start_matches('v').splitn(3, '.').map(number);
        Some([parts.next()??, parts.next()??, parts.next()??])
    })
}

pub(super) fn dotted(version: [u32; 3]) -> String {
    version.map(|number| number.to_string()).join(".")
}

/// The versions of buildx that can be used, in words.
pub fn buildx_bounds() -> String {
    format!("{} or newer, not {}", dotted(OLDEST_BUILDX), dotted(BROKEN_BUILDX))
}

/// The version of buildx in a text.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn usable_buildx(text: &str) -> Result<String, String> {
    match find_version(text) {
        None => Err(format!("has no version that can be read: {}", text.trim())),
        Some(version) if version < OLDEST_BUILDX => Err(format!("{} is too old", dotted(version))),
        Some(BROKEN_BUILDX) => Err(format!("{} breaks merges", dotted(BROKEN_BUILDX))),
        Some(version) => Ok(dotted(version)),
    }
}

/// The version of the buildx that is installed.
///
/// # Errors
/// Docker or buildx is missing, too old, or known to be broken.
pub fn buildx_version(ctx: &Context) -> anyhow::Result<String> {
    let outcome = process::run(ctx, |sh| cmd!(sh, "docker buildx version"), &Options::default())?;
    const ANOTHER: &str = "put another one where docker looks first: into ~/.docker/cli-plugins/docker-buildx, from \
                           github.com/docker/buildx/releases";
    let (what, help) = match outcome.end {
        End::Success => match usable_buildx(&outcome.stdout()) {
            Ok(version) => return Ok(version),
            Err(what) => (what, ANOTHER),
        },
        End::Failure(_) => ("not installed".to_owned(), "install it: cargo xtask setup"),
        end => (format!("`docker buildx version` {end}"), "restart the engine, and try again"),
    };
    Err(Problem::new("buildx", what)
        .rule(format!("buildx {} or newer, and not {}, is needed", dotted(OLDEST_BUILDX), dotted(BROKEN_BUILDX)))
        .help(help)
        .exit(Exit::Missing))
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
    /// Where its engine keeps what it builds, if that is a folder of this machine.
    folder: Option<Utf8PathBuf>,
}

impl Builder {
    /// Inspects the builder that buildx would use, or the one that is named.
    ///
    /// # Errors
    /// There is no such builder, or its engine cannot be reached.
    pub fn probe(ctx: &Context, name: Option<&str>, bootstrap: Bootstrap) -> anyhow::Result<Builder> {
        let bootstrap = (bootstrap == Bootstrap::Yes).then_some("--bootstrap");
        // `inspect` prints no JSON. `ls` does, but it asks every builder, and waits 20 s for each that is out of reach.
        // To start it may take the download of an image.
        let limit = if bootstrap.is_some() { Limit::Write } else { Limit::Read };
        let given = Options { limit, ..Options::default() };
        let inspect = || process::run(ctx, |sh| cmd!(sh, "docker buildx inspect {bootstrap...} {name...}"), &given);
        // The engine takes a quarter of a second to tell of itself; most often it is needed, so it is asked meanwhile.
        let (outcome, engine) = std::thread::scope(|scope| {
            let engine = scope.spawn(|| engine_info(ctx));
            (inspect(), engine.join().unwrap_or_else(|_| Err(anyhow::anyhow!("asking the engine was aborted"))))
        });
        let outcome = outcome?;
        let (builder, error) = parse(&outcome.stdout());
        let Some(error) = error.or((!outcome.success()).then(|| outcome.reason())) else {
            // A builder in a container keeps its layers in a volume of the same engine.
            let engine = match builder.driver.as_str() {
                "docker" => engine?,
                "docker-container" => engine.unwrap_or_default(),
                _ => Value::Null,
            };
            let has_store = engine["status"].to_string().contains("io.containerd.snapshotter");
            let folder = folder_here(&engine);
            return Ok(Builder { attestations: builder.driver != "docker" || has_store, folder, ..builder });
        };
        let at = name.map_or("the builder".to_owned(), |name| format!("builder `{name}`"));
        let help = match crate::run::help_for(&error) {
            Some(help) => help,
            None if error.contains("no builder") => {
                "docker buildx ls lists the builders, and docker buildx create makes one"
            }
            None if ["deadline exceeded", "timed out after"].iter().any(|text| error.contains(text)) => {
                "restart the engine: it does not answer"
            }
            None => "start the engine: cargo xtask setup",
        };
        Err(Problem::new(at, format!("cannot be used: {error}")).help(help).exit(Exit::Missing))
    }

    /// Checks that the engine has so much room for what it builds, in GB, as far as that can be known here; gives what
    /// it has, in words.
    ///
    /// # Errors
    /// With exit code 4, it has less.
    pub fn check_space(&self, ctx: &Context, least: u64) -> anyhow::Result<Option<String>> {
        let Some(folder) = self.folder.as_ref().filter(|_| least > 0) else { return Ok(None) };
        let given = Options::default();
        let Ok(table) = process::read(ctx, |sh| cmd!(sh, "df -Pk {folder}"), &given) else { return Ok(None) };
        let Some(free) = free_space(&table) else { return Ok(None) };
        let shown = format!("{}.{} GB are free in {folder}", free / GB, free % GB / (GB / 10));
        if free >= least.saturating_mul(GB) {
            return Ok(Some(shown));
        }
        Err(Problem::new("the engine", shown)
            .rule(format!("before a build, {least} GB have to be (`min-free-gb` in Cargo.toml)"))
            .help("make room: docker builder prune, docker image prune; or change `min-free-gb`: 0 is no check")
            .exit(Exit::Missing))
    }

    /// How a node runs this architecture, in a word; `None` if none does.
    pub fn support(&self, arch: Arch) -> Option<&'static str> {
        let is_native = |node: &Vec<String>| node.first().is_some_and(|first| first == arch.platform());
        let can_run = self.nodes.iter().flatten().any(|platform| platform == arch.platform());
        if self.nodes.iter().any(is_native) { Some(NATIVE) } else { can_run.then_some("emulated") }
    }

    /// Checks that each architecture is built on hardware of its own.
    ///
    /// # Errors
    /// With exit code 4, every architecture that the builder could only emulate.
    pub fn check_native(&self, arches: &[Arch]) -> anyhow::Result<()> {
        let foreign = arches.iter().filter(|&&arch| self.support(arch) != Some(NATIVE));
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
        let missing = arches.iter().filter(|&&arch| self.support(arch).is_none());
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

/// Reads what `docker buildx inspect` prints; the second part is a node's error.
fn parse(text: &str) -> (Builder, Option<String>) {
    let mut builder = Builder { driver: String::new(), nodes: Vec::new(), attestations: false, folder: None };
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

/// What the engine tells of itself: its image store, its folder and its machine.
fn engine_info(ctx: &Context) -> anyhow::Result<Value> {
    let format = r#"{"status": {{json .DriverStatus}}, "folder": {{json .DockerRootDir}}, "machine": {{json .Name}}}"#;
    let given = Options { limit: Limit::Within(ANSWER_TIMEOUT), ..Options::default() };
    let info = process::read(ctx, |sh| cmd!(sh, "docker info --format {format}"), &given)?;
    serde_json::from_str(&info).context("could not read what `docker info` says")
}

/// The folder of an engine that runs on this machine itself, and neither on another nor in a virtual one.
fn folder_here(engine: &Value) -> Option<Utf8PathBuf> {
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let is_here = engine["machine"] == here.trim();
    engine["folder"].as_str().filter(|_| is_here).map(Utf8PathBuf::from).filter(|folder| folder.is_dir())
}

/// How many bytes are free, from the table of `df -Pk`: names of devices and folders may hold spaces.
fn free_space(table: &str) -> Option<u64> {
    let cells: Vec<&str> = table.lines().nth(1)?.split_whitespace().collect();
    let used = cells.iter().position(|cell| cell.ends_with('%'))?;
    Some(cells.get(used.checked_sub(1)?)?.parse::<u64>().ok()?.saturating_mul(1024))
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
        assert_eq!(Arch::ALL.map(|arch| builder.support(arch)), [Some("native"); 2]);
        let (one, _) = parse("Driver: docker\nPlatforms: linux/amd64, linux/arm64\n");
        assert_eq!((one.support(Arch::Amd64), one.support(Arch::Arm64)), (Some("native"), Some("emulated")));
    }

    #[test]
    fn free_space_is_read_from_the_table_of_df() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        assert_eq!(
            free_space(&format!("{head}/dev/vda 263112772 36160260 59004280 39% /var/lib/docker\n")),
            Some(60_420_382_720)
        );
        assert_eq!(free_space(&format!("{head}my disk 10 6 4 60% /my files 100%\n")), Some(4096));
        assert_eq!(free_space(head), None);
    }

    #[test]
    fn an_engine_elsewhere_has_no_folder_here() {
        let engine = |machine: &str, folder: &str| serde_json::json!({ "machine": machine, "folder": folder });
        let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(folder_here(&engine(here.trim(), "/tmp")).unwrap(), "/tmp");
        assert_eq!(folder_here(&engine(here.trim(), "/nowhere")), None);
        assert_eq!(folder_here(&engine("docker-desktop", "/tmp")), None);
        assert_eq!(folder_here(&Value::Null), None);
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
        assert_eq!(find_version("github.com/docker/buildx 0.29.1+ds1 0.29.1+ds1-4"), Some([0, 29, 1]));
        assert_eq!(find_version("github.com/docker/buildx v0.31.1 257815a"), Some(BROKEN_BUILDX));
        assert_eq!(find_version("Docker version 28.2.2, build e6534b4"), Some([28, 2, 2]));
        assert_eq!(find_version("aws-cli/1.45.11 Python/3.11.7"), Some([1, 45, 11]));
        assert_eq!(find_version("none"), None);
        assert!([0, 9, 9] < OLDEST_BUILDX);
        assert_eq!(buildx_bounds(), "0.22.0 or newer, not 0.31.1");
    }
}
