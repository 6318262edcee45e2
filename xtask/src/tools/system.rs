//! This machine: its distribution, how to act as root, and how to start what is installed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Given};
use crate::model::arch::Arch;
use crate::model::problem::Problem;
use crate::run::context::Context;

/// How long an engine may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// The engine's configuration.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Multi-platform images and attestations need this image store.
const CONTAINERD_STORE: &str = "{\"features\":{\"containerd-snapshotter\":true}}";
/// Where the kernel is told which program runs foreign binaries.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Runs commands as root, or prints them.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    pub sudo: bool,
    pub dry_run: bool,
}

impl Root {
    pub fn find(ctx: &Context, dry_run: bool) -> anyhow::Result<Root> {
        let sh = ctx.shell()?;
        Ok(Root { sudo: process::read(ctx, cmd!(sh, "id -u"))? != "0", dry_run })
    }

    /// A command that starts as root.
    pub fn cmd<'a>(self, sh: &'a Shell, program: &str) -> Cmd<'a> {
        if self.sudo { cmd!(sh, "sudo {program}") } else { sh.cmd(program) }
    }

    /// Runs the command, its output to the terminal; a dry run prints it.
    pub fn run(self, ctx: &Context, cmd: Cmd<'_>) -> anyhow::Result<()> {
        if self.dry_run {
            ctx.ui.data(process::shown(ctx, cmd));
            return Ok(());
        }
        process::show(ctx, cmd)
    }

    /// Writes a file.
    pub fn write(self, ctx: &Context, path: &str, text: &str) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let cmd = self.cmd(&sh, "tee").arg(path);
        if self.dry_run {
            let text = text.replace('\'', r"'\''");
            ctx.ui.data(format!("printf '%s\\n' '{text}' | {}", process::shown(ctx, cmd)));
            return Ok(());
        }
        process::run(ctx, cmd, &Given { stdin: Some(text), ..Given::default() })?.read().map(drop)
    }
}

/// The distribution as `/etc/os-release` names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `debian`, `ubuntu` …
    pub id: String,
    pub version: String,
    pub codename: String,
}

impl Distribution {
    pub fn of_this_machine() -> Distribution {
        Distribution::parse(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(text: &str) -> Distribution {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        Distribution { id: value("ID"), version: value("VERSION_ID"), codename: value("VERSION_CODENAME") }
    }

    /// Whether `setup` knows how to install things here.
    pub fn is_known(&self) -> bool {
        matches!((self.id.as_str(), self.version.as_str()), ("debian", "12" | "13") | ("ubuntu", "22.04" | "24.04"))
    }
}

/// Whether a program is installed.
pub fn has_program(ctx: &Context, program: &str) -> bool {
    let path = ctx.env.get("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"];
    path.split(':').chain(system).any(|dir| std::path::Path::new(dir).join(program).is_file())
}

/// Whether Python is there, with what makes virtual environments.
pub fn has_python_environments(ctx: &Context) -> anyhow::Result<bool> {
    let sh = ctx.shell()?;
    let code = "import ensurepip, venv";
    Ok(has_program(ctx, "python3") && process::run(ctx, cmd!(sh, "python3 -c {code}"), &Given::default())?.success())
}

/// Whether the engine of the current docker context answers, and what it says if not.
pub fn engine(ctx: &Context) -> anyhow::Result<Result<String, String>> {
    let sh = ctx.shell()?;
    let format = "{{.Server.Version}}";
    let cmd = cmd!(sh, "docker version --format {format}");
    let outcome = process::run(ctx, cmd, &Given { deadline: Some(Duration::from_secs(20)), ..Given::default() });
    Ok(match outcome {
        Ok(outcome) if outcome.success() => Ok(outcome.stdout.trim().to_owned()),
        Ok(outcome) => Err(outcome.last_words()),
        Err(error) => Err(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    })
}

/// Turns on the containerd image store for an engine that has never run; one that has keeps what it has.
pub fn configure_new_engine(ctx: &Context, root: Root) -> anyhow::Result<()> {
    let exists = |path: &str| std::path::Path::new(path).exists();
    if exists(DAEMON_JSON) || exists("/var/lib/docker/engine-id") {
        return Ok(());
    }
    ctx.ui.status("Configuring", format!("the new engine, with the containerd image store ({DAEMON_JSON})"));
    let sh = ctx.shell()?;
    root.run(ctx, root.cmd(&sh, "mkdir").args(["-p", "/etc/docker"]))?;
    root.write(ctx, DAEMON_JSON, CONTAINERD_STORE)
}

/// Starts the engine, by systemd where it runs, else in the background.
pub fn start_engine(ctx: &Context, root: Root) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    if std::path::Path::new("/run/systemd/system").is_dir() {
        root.run(ctx, root.cmd(&sh, "systemctl").args(["start", "docker"]))?;
    } else {
        let log = ctx.own_path("engine.log");
        // Debian's service script wants more open files than every container is allowed.
        let cmd = root.cmd(&sh, "setsid").arg("dockerd");
        ctx.ui.status("Starting", format!("the engine in the background, its log in {}", ctx.shown(&log)));
        if root.dry_run {
            ctx.ui.data(format!("{} >{log} 2>&1 &", process::shown(ctx, cmd)));
            return Ok(());
        }
        std::fs::create_dir_all(ctx.own_path("")).context("could not make target/xtask")?;
        let file = std::fs::File::create(&log).with_context(|| format!("could not write {log}"))?;
        let mut command = std::process::Command::from(cmd);
        for name in ctx.env.kept_from_programs() {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        command.spawn().context("could not start `dockerd`")?;
    }
    if root.dry_run { Ok(()) } else { wait_for_engine(ctx) }
}

fn wait_for_engine(ctx: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let Err(said) = engine(ctx)? else { return Ok(()) };
        if start.elapsed() > PATIENCE || ctx.interrupt.is_set() {
            return Err(Problem::new("the engine", format!("does not start: {said}"))
                .help(format!("look at {}, or at `journalctl -u docker`", ctx.own_path("engine.log")))
                .missing());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The names under which a BusyBox is called.
pub fn busybox_applets(ctx: &Context, busybox: &Utf8PathBuf) -> anyhow::Result<Vec<String>> {
    let sh = ctx.shell()?;
    Ok(process::read(ctx, cmd!(sh, "{busybox} --list"))?.lines().map(str::to_owned).collect())
}

/// The name that QEMU has for an architecture.
fn qemu_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
    }
}

/// Tells the kernel to run another architecture's binaries with QEMU.
/// Where systemd runs, the package has done so by itself.
pub fn register_emulation(ctx: &Context, root: Root, arch: Arch) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let exists = |path: &str| std::path::Path::new(path).exists();
    if !exists(&format!("{BINFMT}/register")) {
        root.run(ctx, root.cmd(&sh, "mount").args(["-t", "binfmt_misc", "binfmt_misc", BINFMT]))?;
    }
    let name = format!("qemu-{}", qemu_name(arch));
    if exists(&format!("{BINFMT}/{name}")) {
        return Ok(());
    }
    let rule = format!("/usr/lib/binfmt.d/{name}.conf");
    if root.dry_run {
        return root.run(ctx, root.cmd(&sh, "cp").args([&rule, &format!("{BINFMT}/register")]));
    }
    let text = std::fs::read_to_string(&rule).with_context(|| format!("could not read {rule}"))?;
    root.write(ctx, &format!("{BINFMT}/register"), text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read() {
        let text =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        let debian = Distribution::parse(text);
        assert_eq!(
            (debian.id.as_str(), debian.version.as_str(), debian.codename.as_str()),
            ("debian", "12", "bookworm")
        );
        assert!(debian.is_known());
        assert!(!Distribution::parse("ID=fedora\nVERSION_ID=42\n").is_known());
    }
}
