//! This machine: its distribution, how to act as root, and how to start what is installed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use xshell::{Cmd, Shell, cmd};

use super::apt;
use super::process::{self, End, Options, Outcome};
use crate::model::{Arch, Problem};
use crate::run::{Context, human_time};

/// How long the engine may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the engine may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting engine is asked whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The engine's configuration.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Multi-platform images and attestations need this image store.
const CONTAINERD_STORE: &str = "{\"features\":{\"containerd-snapshotter\":true}}";
/// Where the kernel is told which program runs the binaries of another architecture.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// The distribution as `/etc/os-release` names it, and how `setup` changes the machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `debian`, `ubuntu` …
    pub id: String,
    pub version: String,
    pub codename: String,
    /// Whether root's commands are printed instead of run.
    pub dry_run: bool,
    needs_sudo: bool,
}

impl Machine {
    pub fn inspect(ctx: &Context) -> anyhow::Result<Machine> {
        let sh = ctx.shell()?;
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let needs_sudo = process::read(ctx, cmd!(sh, "id -u"))? != "0";
        Ok(Machine { needs_sudo, ..Machine::parse(&os_release) })
    }

    fn parse(os_release: &str) -> Machine {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let (id, version, codename) = (value("ID"), value("VERSION_ID"), value("VERSION_CODENAME"));
        Machine { id, version, codename, ..Machine::default() }
    }

    fn as_root<'a>(&self, sh: &'a Shell, cmd: Cmd<'a>) -> Cmd<'a> {
        if !self.needs_sudo {
            return cmd;
        }
        let command = Command::from(cmd);
        sh.cmd("sudo").arg(command.get_program()).args(command.get_args())
    }

    /// Runs a command as root, its output to the terminal; a dry run prints it.
    pub fn run(&self, ctx: &Context, cmd: Cmd<'_>) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let cmd = self.as_root(&sh, cmd);
        if self.dry_run {
            ctx.ui.data(process::shown(ctx, cmd));
            return Ok(());
        }
        process::show(ctx, cmd)
    }

    /// Writes a file as root.
    fn write(&self, ctx: &Context, path: &str, text: &str) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let cmd = self.as_root(&sh, cmd!(sh, "tee {path}"));
        if self.dry_run {
            let text = text.replace('\'', r"'\''");
            ctx.ui.data(format!("printf '%s\\n' '{text}' | {}", process::shown(ctx, cmd)));
            return Ok(());
        }
        process::run(ctx, cmd, &Options { stdin: Some(text), ..Options::default() })?.read().map(drop)
    }
}

/// Whether a program is installed.
pub fn has_program(ctx: &Context, program: &str) -> bool {
    let path = ctx.env.get("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"];
    path.split(':').chain(system).any(|dir| Path::new(dir).join(program).is_file())
}

/// Whether Python is installed, with what makes virtual environments.
pub fn has_python_environments(ctx: &Context) -> anyhow::Result<bool> {
    let sh = ctx.shell()?;
    let code = "import ensurepip, venv";
    Ok(has_program(ctx, "python3") && process::run(ctx, cmd!(sh, "python3 -c {code}"), &Options::default())?.success())
}

/// The version of the engine of the current docker context.
///
/// # Errors
/// There is no engine, or it does not answer.
pub fn engine_version(ctx: &Context) -> Result<String, Problem> {
    let ask = || {
        let sh = ctx.shell()?;
        let format = "{{.Server.Version}}";
        let given = Options { deadline: Some(ANSWER_TIMEOUT), ..Options::default() };
        process::run(ctx, cmd!(sh, "docker version --format {format}"), &given)
    };
    let (what, help) = match ask() {
        Ok(outcome) if outcome.success() => return Ok(outcome.stdout().trim().to_owned()),
        // An engine that hangs says nothing, and starting it once more does not help.
        Ok(Outcome { end: End::TimedOut(after), .. }) => (
            format!("does not answer: `docker version` timed out after {}", human_time(after)),
            "restart the engine, or set DOCKER_HOST to one that answers",
        ),
        Ok(outcome) => (outcome.reason(), "cargo xtask setup"),
        Err(error) => (format!("{error:#}").lines().next().unwrap_or_default().to_owned(), "cargo xtask setup"),
    };
    Err(Problem::new("the engine", what).help(help))
}

/// Turns on the containerd image store for an engine that has never run; one that has keeps what it has.
pub fn configure_new_engine(ctx: &Context, machine: &Machine) -> anyhow::Result<()> {
    if Path::new(DAEMON_JSON).exists() || Path::new("/var/lib/docker/engine-id").exists() {
        return Ok(());
    }
    ctx.ui.status("Configuring", format!("the new engine, with the containerd image store ({DAEMON_JSON})"));
    let sh = ctx.shell()?;
    machine.run(ctx, cmd!(sh, "mkdir -p /etc/docker"))?;
    machine.write(ctx, DAEMON_JSON, CONTAINERD_STORE)
}

/// Starts the engine, by systemd where it runs, else in the background.
pub fn start_engine(ctx: &Context, machine: &Machine) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    if Path::new("/run/systemd/system").is_dir() {
        machine.run(ctx, cmd!(sh, "systemctl start docker"))?;
    } else {
        let log = ctx.own_path("engine.log");
        // Debian's service script wants a higher limit of open files than some containers have.
        let cmd = machine.as_root(&sh, cmd!(sh, "setsid dockerd"));
        ctx.ui.status("Starting", format!("the engine in the background, its log in {}", ctx.shown(&log)));
        if machine.dry_run {
            ctx.ui.data(format!("{} >{log} 2>&1 &", process::shown(ctx, cmd)));
            return Ok(());
        }
        process::spawn_daemon(ctx, cmd, &log)?;
    }
    if machine.dry_run { Ok(()) } else { wait_for_engine(ctx) }
}

fn wait_for_engine(ctx: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let Err(problem) = engine_version(ctx) else { return Ok(()) };
        if start.elapsed() > START_TIMEOUT || ctx.interrupted().is_some() {
            return Err(Problem::new("the engine", format!("does not start: {}", problem.what))
                .help(format!("look at {}, or at `journalctl -u docker`", ctx.own_path("engine.log")))
                .missing());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Makes the binaries of another architecture run here, by QEMU.
/// Where systemd runs, QEMU's package has told the kernel by itself.
pub fn install_emulation(ctx: &Context, machine: &Machine, arch: Arch) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let name = match arch {
        Arch::Amd64 => "qemu-x86_64",
        Arch::Arm64 => "qemu-aarch64",
    };
    if !has_program(ctx, &format!("{name}-static")) {
        apt::install(ctx, machine, &["qemu-user-static"])?;
    }
    let register = format!("{BINFMT}/register");
    if !Path::new(&register).exists() {
        machine.run(ctx, cmd!(sh, "mount -t binfmt_misc binfmt_misc {BINFMT}"))?;
    }
    if Path::new(BINFMT).join(name).exists() {
        return Ok(());
    }
    let rule = format!("/usr/lib/binfmt.d/{name}.conf");
    if machine.dry_run {
        return machine.run(ctx, cmd!(sh, "cp {rule} {register}"));
    }
    let text = std::fs::read_to_string(&rule).with_context(|| format!("could not read {rule}"))?;
    machine.write(ctx, &register, text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read() {
        let text =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        let debian = Machine::parse(text);
        assert_eq!(
            (debian.id.as_str(), debian.version.as_str(), debian.codename.as_str()),
            ("debian", "12", "bookworm")
        );
    }
}
