//! What every benchmark is given: how often it measures, where it may write, and the programs that it compares.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// This machine's architecture, as image names have it.
pub const OWN_ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The one that this machine can only emulate.
pub const OTHER_ARCH: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };

/// Variables that the measured programs get only from the benchmark, by the start of their names. cargo sets some for
/// what it starts, and they would make a program that is started from here behave unlike one that a person starts.
const REMOVED: [&str; 9] = [
    "JOBS_",
    "GITHUB_",
    "CARGO_PKG_",
    "CARGO_BIN_",
    "CARGO_MANIFEST_",
    "CARGO_PRIMARY_PACKAGE",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "LD_LIBRARY_PATH",
];

/// What all benchmarks share.
#[derive(Clone, Debug)]
pub struct Suite {
    /// How often each way is measured, unless it takes too long.
    pub rounds: usize,
    /// Whether sizes are a tenth of what they are.
    pub quick: bool,
    /// Where everything is written.
    pub dir: PathBuf,
    /// Where the base image is copied from.
    pub base: String,
}

impl Suite {
    pub fn new(rounds: usize, quick: bool) -> anyhow::Result<Suite> {
        let root = root()?;
        let dir = root.join("target/xtask/bench");
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make the folder {}", dir.display()))?;
        let mirrors = std::env::var("JOBS_MIRRORS").unwrap_or_default();
        let hub = mirrors.split(',').find_map(|mirror| mirror.strip_prefix("docker.io=")).unwrap_or("docker.io");
        Ok(Suite { rounds, quick, dir, base: format!("{hub}/library/busybox:1.37") })
    }

    /// A number of jobs, or a tenth of it.
    pub fn size(&self, jobs: usize) -> usize {
        if self.quick { (jobs / 10).max(2) } else { jobs }
    }

    /// An empty folder of a benchmark's own, gone when the guard is dropped.
    pub fn folder(&self, name: &str) -> anyhow::Result<Folder> {
        let path = self.dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("could not remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("could not make the folder {}", path.display()))?;
        Ok(Folder(path))
    }
}

/// Tells how far the benchmark is.
pub fn say(line: &str) {
    // Without a terminal to tell it to, the benchmark goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A folder that is removed when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is overwritten by the next run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The root of this repository.
pub fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is a folder of the repository")?;
    Ok(root.to_owned())
}

/// A program as a person at a terminal would start it there.
pub fn program(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(dir);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name == "CARGO" || REMOVED.iter().any(|start| name.starts_with(start))) {
        command.env_remove(name);
    }
    command
}

/// This tool, as `cargo xtask` would run it.
pub fn ours(dir: &Path, args: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_xtask"), dir);
    command.args(args);
    command
}

/// One of the scripts under `peers/`.
pub fn peer(dir: &Path, script: &str, args: &[&str]) -> Command {
    let mut command = program("sh", dir);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script)).args(args);
    command
}

/// Runs a program that is not measured, and gives its stdout.
///
/// # Errors
/// It cannot be started, or fails: the error has the end of what it said.
pub fn read(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("could not start `{}`", shown(&command)))?;
    if !output.status.success() {
        anyhow::bail!("`{}` ended with {}: {}", shown(&command), output.status, last_lines(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// A command for an error, without the environment and shortened: some have ten thousand arguments.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.take(8).map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// The end of what a program said.
pub fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.trim().lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
