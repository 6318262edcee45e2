//! This machine: its distribution, what is installed, and how `setup` adds to it and starts it, as root where it must.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8Path;
use serde_json::{Map, Value, json};
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Limit, Options};
use super::{apt, builder, docker};
use crate::model::{Arch, Exit, Problem};
use crate::run::Context;

/// How long the engine may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting engine is asked whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The Debian suite whose buildx and cosign are new enough: Debian 12 has none, and Debian 13 has 0.13 and 2.5.
const NEWER_SUITE: &str = "forky";
/// What is taken from that suite: cosign, and buildx with the engine of the same age and what belongs to it.
const NEWER: [&str; 7] =
    ["cosign", "docker.io", "docker-cli", "containerd", "tini-static", "docker-buildx", "docker-registry"];
/// The engine's configuration.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Where a running engine notes its process.
const PID_FILE: &str = "/run/docker.pid";
/// Where the kernel is told which program runs the binaries of another architecture.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// The distribution as `/etc/os-release` names it, and how `setup` changes the machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `debian`, `ubuntu` …
    id: String,
    version: String,
    codename: String,
    /// Whether root's commands are printed instead of run.
    pub dry_run: bool,
    needs_sudo: bool,
}

/// The distribution, such as `debian 12`, or the kernel where there is none.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { id, version, .. } = self;
        if id.is_empty() { f.write_str(std::env::consts::OS) } else { write!(f, "{id} {version}") }
    }
}

impl Machine {
    pub fn inspect(ctx: &Context) -> anyhow::Result<Machine> {
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let needs_sudo = process::read(ctx, |sh| cmd!(sh, "id -u"), &Options::default())? != "0";
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
    fn run(&self, ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<()> {
        if !self.dry_run {
            return process::show(ctx, |sh| self.as_root(sh, cmd(sh)), Limit::Build(None), std::io::stderr().into());
        }
        ctx.ui.data(process::shown(ctx, |sh| self.as_root(sh, cmd(sh)))?);
        Ok(())
    }

    /// Writes a file as root.
    fn write(&self, ctx: &Context, path: &str, text: &str) -> anyhow::Result<()> {
        if !self.dry_run {
            let given = Options { stdin: Some(text), ..Options::default() };
            return process::read(ctx, |sh| self.as_root(sh, cmd!(sh, "tee {path}")), &given).map(drop);
        }
        let tee = process::shown(ctx, |sh| self.as_root(sh, cmd!(sh, "tee {path}")))?;
        ctx.ui.data(format!("printf '%s\\n' {} | {tee}", process::quote(text)));
        Ok(())
    }

    /// Installs packages, and upgrades and removes none.
    ///
    /// # Errors
    /// It is not known how to install on this distribution, or what the distribution has is too old.
    pub fn install(&self, ctx: &Context, packages: &[&str]) -> anyhow::Result<()> {
        self.check_distribution(packages)?;
        if packages.contains(&"cosign") && self.id != "debian" {
            return Err(self.no_cosign());
        }
        if packages.contains(&"docker.io") {
            // Its package may start the engine, and an engine keeps the image store that it first starts with.
            self.configure_new_engine(ctx)?;
        }
        ctx.ui.status("Installing", packages.join(" "));
        let is_debian = self.id == "debian";
        let is_newer = |package: &str| is_debian && NEWER.contains(&package);
        let any_newer = packages.iter().any(|package| is_newer(package));
        let options = &match any_newer {
            true => apt::options(ctx, "apt-newer", &self.codename, Some(NEWER_SUITE))?,
            false => Vec::new(),
        };
        self.run(ctx, |sh| cmd!(sh, "apt-get {options...} -q=2 update"))?;
        if !is_debian && packages.contains(&"docker-buildx") && !self.dry_run {
            check_candidate(ctx)?;
        }
        // Ubuntu's docker.io holds the client and the first process of containers too.
        let packages = packages.iter().filter(|&package| is_debian || !["docker-cli", "tini-static"].contains(package));
        let packages = packages.map(|package| match *package {
            package if is_newer(package) => format!("{package}/{NEWER_SUITE}"),
            // Ubuntu has Chromium as a snap alone, which this package brings.
            "chromium-headless-shell" if !is_debian => "chromium-browser".to_owned(),
            package => package.to_owned(),
        });
        self.run(ctx, |sh| {
            cmd!(
                sh,
                "env DEBIAN_FRONTEND=noninteractive apt-get {options...} -q=2 install --yes --no-install-recommends
                    --no-upgrade --no-remove {packages...}"
            )
        })
    }

    fn check_distribution(&self, packages: &[&str]) -> anyhow::Result<()> {
        let Machine { id, version, .. } = self;
        if matches!((id.as_str(), version.as_str()), ("debian", "12" | "13") | ("ubuntu", "22.04" | "24.04")) {
            return Ok(());
        }
        let programs = format!("Docker with buildx {}, git and docker-registry", builder::buildx_bounds());
        Err(Problem::new(self.to_string(), format!("setup does not know how to install here: {}", packages.join(", ")))
            .rule("it knows Debian 12 and 13, and Ubuntu 22.04 and 24.04")
            .help(format!("install {programs}, start the engine, and repeat this"))
            .exit(Exit::Missing))
    }

    fn no_cosign(&self) -> anyhow::Error {
        const HELP: &str = "install cosign 3 as docs.sigstore.dev/cosign/system_config/installation says, in a \
                            workflow by the action sigstore/cosign-installer; or let the target say `attest = true` \
                            instead";
        let what = format!("{} {} has no package of it", self.id, self.version);
        Problem::new("cosign", what).rule("signatures take cosign 3 or newer").help(HELP).exit(Exit::Missing)
    }

    /// Turns on the containerd image store for an engine that has never run; one that has keeps what it has.
    fn configure_new_engine(&self, ctx: &Context) -> anyhow::Result<()> {
        if Path::new(DAEMON_JSON).exists() || Path::new("/var/lib/docker/engine-id").exists() {
            return Ok(());
        }
        self.configure_containerd_store(ctx, "the new engine", "")
    }

    /// Adds the containerd image store to an engine's configuration, whose text this is.
    fn configure_containerd_store(&self, ctx: &Context, engine: &str, text: &str) -> anyhow::Result<()> {
        let config = with_containerd_store(text).map_err(|problem| problem.exit(Exit::Missing))?;
        ctx.ui.status("Configuring", format!("{engine}, with the containerd image store ({DAEMON_JSON})"));
        self.run(ctx, |sh| cmd!(sh, "mkdir -p /etc/docker"))?;
        self.write(ctx, DAEMON_JSON, &config)
    }

    /// Turns on the containerd image store of an engine that runs, and restarts it. What else is configured stays, and
    /// what the other store holds stays where it is.
    ///
    /// # Errors
    /// The engine's configuration is not JSON, cannot be written, or the engine does not start again.
    pub fn turn_on_containerd_store(&self, ctx: &Context) -> anyhow::Result<()> {
        let text = match std::fs::read_to_string(DAEMON_JSON) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("could not read {DAEMON_JSON}"))?,
        };
        self.configure_containerd_store(ctx, "the engine", &text)?;
        ctx.ui.status("Restarting", "the engine");
        if has_systemd() {
            self.run(ctx, |sh| cmd!(sh, "systemctl restart docker"))?;
            return if self.dry_run { Ok(()) } else { wait_for_engine(ctx) };
        }
        self.stop_engine(ctx)?;
        self.start_engine(ctx)
    }

    /// Stops an engine that no service manager looks after.
    fn stop_engine(&self, ctx: &Context) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(PID_FILE).with_context(|| format!("could not read {PID_FILE}"))?;
        let pid = pid.trim();
        self.run(ctx, |sh| cmd!(sh, "kill {pid}"))?;
        let start = Instant::now();
        while !self.dry_run && Path::new("/proc").join(pid).exists() {
            if start.elapsed() > START_TIMEOUT || ctx.interrupted().is_some() {
                let problem = Problem::new("the engine", format!("process {pid} does not stop"));
                return Err(problem.help("stop it by hand, and repeat this").exit(Exit::Missing));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Downloads a package of every architecture and unpacks each into the folder of its name, without installing it.
    pub fn unpack(&self, ctx: &Context, package: &str, into: &Utf8Path) -> anyhow::Result<()> {
        self.check_distribution(&[package])?;
        if self.id != "debian" {
            // Ubuntu keeps its other architectures in another archive.
            return Err(Problem::new(
                "base images",
                format!("Docker Hub cannot be reached, nor {package} be had for all architectures"),
            )
            .rule("on Debian, a base image made from its packages stands in for Docker Hub's")
            .help("name a mirror: JOBS_MIRRORS=docker.io=<mirror>, or `mirrors` in Cargo.toml")
            .exit(Exit::Missing));
        }
        let mut options = apt::options(ctx, "apt-arches", &self.codename, None)?;
        options.extend(Arch::ALL.map(|arch| format!("-oAPT::Architectures::={arch}")));
        let options = &options;
        self.step(ctx, Limit::Write, |sh| cmd!(sh, "apt-get {options...} -q=2 update"))?;
        for arch in Arch::ALL {
            let folder = into.join(arch.as_str());
            let download = ctx.own_path("apt-arches").join(format!("download-{arch}"));
            let of_arch = format!("{package}:{arch}");
            self.step(ctx, Limit::Read, |sh| cmd!(sh, "rm -rf {download}"))?;
            self.step(ctx, Limit::Read, |sh| cmd!(sh, "mkdir -p {download} {folder}"))?;
            self.step(ctx, Limit::Write, |sh| {
                cmd!(sh, "env --chdir={download} apt-get {options...} -q=2 download {of_arch}")
            })?;
            if self.dry_run {
                // What it will be called is known when it is there.
                let [download, folder] = [&download, &folder].map(process::quote);
                ctx.ui.data(format!("dpkg-deb --extract {download}/*.deb {folder}"));
                continue;
            }
            let archive =
                download.read_dir_utf8()?.next().with_context(|| format!("apt downloaded no {of_arch}"))??;
            let archive = archive.path();
            self.step(ctx, Limit::Read, |sh| cmd!(sh, "dpkg-deb --extract {archive} {folder}"))?;
        }
        Ok(())
    }

    /// Runs a command that needs no rights of root; a dry run prints it.
    pub fn step(&self, ctx: &Context, limit: Limit, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<()> {
        if self.dry_run {
            ctx.ui.data(process::shown(ctx, cmd)?);
            return Ok(());
        }
        process::read(ctx, cmd, &Options { limit, ..Options::default() }).map(drop)
    }

    /// Starts the engine, by systemd where it runs, else in the background.
    pub fn start_engine(&self, ctx: &Context) -> anyhow::Result<()> {
        if has_systemd() {
            self.run(ctx, |sh| cmd!(sh, "systemctl start docker"))?;
        } else {
            let log = ctx.own_path("engine.log");
            ctx.ui.status("Starting", format!("the engine in the background, its log in {}", ctx.shown(&log)));
            // Debian's service script wants a higher limit of open files than some containers have.
            if self.dry_run {
                let dockerd = process::shown(ctx, |sh| self.as_root(sh, cmd!(sh, "setsid dockerd")))?;
                ctx.ui.data(format!("{dockerd} >{} 2>&1 &", process::quote(&log)));
                return Ok(());
            }
            process::spawn_daemon(ctx, |sh| self.as_root(sh, cmd!(sh, "setsid dockerd")), &log)?;
        }
        if self.dry_run { Ok(()) } else { wait_for_engine(ctx) }
    }

    /// Makes the binaries of another architecture run here, by QEMU.
    /// Where systemd runs, QEMU's package has told the kernel by itself.
    pub fn install_emulation(&self, ctx: &Context, arch: Arch) -> anyhow::Result<()> {
        let name = match arch {
            Arch::Amd64 => "qemu-x86_64",
            Arch::Arm64 => "qemu-aarch64",
        };
        if !has_program(ctx, &format!("{name}-static")) {
            self.install(ctx, &["qemu-user-static"])?;
        }
        let register = format!("{BINFMT}/register");
        if !Path::new(&register).exists() {
            self.run(ctx, |sh| cmd!(sh, "mount -t binfmt_misc binfmt_misc {BINFMT}"))?;
        }
        if Path::new(BINFMT).join(name).exists() {
            return Ok(());
        }
        let rule = format!("/usr/lib/binfmt.d/{name}.conf");
        if self.dry_run {
            return self.run(ctx, |sh| cmd!(sh, "cp {rule} {register}"));
        }
        let text = std::fs::read_to_string(&rule).with_context(|| format!("could not read {rule}"))?;
        self.write(ctx, &register, text.trim_end())
    }
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The engine's configuration with the containerd image store, which multi-platform images and attestations need.
fn with_containerd_store(text: &str) -> Result<String, Problem> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let config: serde_json::Result<Map<String, Value>> = serde_json::from_str(text);
    let mut config = config.map_err(|error| Problem::new(DAEMON_JSON, format!("not a JSON object: {error}")))?;
    let features = config.entry("features").or_insert_with(|| json!({}));
    let Value::Object(features) = features else {
        return Err(Problem::new(format!("{DAEMON_JSON}: features"), "not an object"));
    };
    features.insert("containerd-snapshotter".to_owned(), json!(true));
    Ok(Value::Object(config).to_string())
}

/// The version of a program, which it prints when it is asked for it.
///
/// # Errors
/// It is not installed, tells no version, or is older than the oldest that will do.
pub fn program_version(ctx: &Context, program: &str, oldest: &str) -> Result<String, Problem> {
    let problem = |what: String| Problem::new(program, what);
    if !has_program(ctx, program) {
        return Err(problem("not installed".to_owned()).help("cargo xtask setup"));
    }
    let another = format!("install {program} {oldest} or newer");
    let said = process::read(ctx, |sh| cmd!(sh, "{program} --version"), &Options::default());
    let said = said.map_err(|error| problem(format!("{error:#}")).help(&another))?;
    match builder::find_version(&said) {
        Some(version) if Some(version) < builder::find_version(oldest) => {
            Err(problem(format!("{} is too old", builder::dotted(version))).help(another))
        }
        Some(version) => Ok(builder::dotted(version)),
        None => Err(problem("tells no version".to_owned()).help(another)),
    }
}

/// Whether a program is installed.
pub fn has_program(ctx: &Context, program: &str) -> bool {
    let is_system = || ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).is_file());
    process::find_program(ctx, OsStr::new(program)).is_some() || is_system()
}

/// Whether Python is installed, with what makes virtual environments.
pub fn has_python_environments(ctx: &Context) -> anyhow::Result<bool> {
    let code = "import ensurepip, venv";
    Ok(has_program(ctx, "python3")
        && process::run(ctx, |sh| cmd!(sh, "python3 -c {code}"), &Options::default())?.success())
}

fn wait_for_engine(ctx: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let Err(problem) = docker::engine_version(ctx) else { return Ok(()) };
        if start.elapsed() > START_TIMEOUT || ctx.interrupted().is_some() {
            return Err(Problem::new("the engine", format!("does not start: {}", problem.what))
                .help(format!("look at {}, or at `journalctl -u docker`", ctx.own_path("engine.log")))
                .exit(Exit::Missing));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Ubuntu's archive moves: the buildx that it has today may be too old.
fn check_candidate(ctx: &Context) -> anyhow::Result<()> {
    const HELP: &str = "install docker-buildx-plugin from Docker's own archive (docs.docker.com/engine/install), \
                        and repeat this";
    let policy = process::read(ctx, |sh| cmd!(sh, "apt-cache policy docker-buildx"), &Options::default())?;
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).unwrap_or("(none)");
    let unusable = |what| Problem::new("docker-buildx", format!("the distribution has {candidate}: {what}"));
    builder::usable_buildx(candidate).map(drop).map_err(|what| unusable(what).help(HELP).exit(Exit::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_store_is_turned_on_and_the_rest_stays() {
        let with = |text: &str| with_containerd_store(text).map_err(|problem| problem.to_string());
        assert_eq!(with("").unwrap(), r#"{"features":{"containerd-snapshotter":true}}"#);
        assert_eq!(
            with(r#"{"exec-opts": ["x"], "features": {"cdi": true, "containerd-snapshotter": false}}"#).unwrap(),
            r#"{"exec-opts":["x"],"features":{"cdi":true,"containerd-snapshotter":true}}"#
        );
        assert_eq!(
            with("[]").unwrap_err(),
            "/etc/docker/daemon.json: not a JSON object: invalid type: sequence, expected a map at line 1 column 0"
        );
        assert_eq!(with(r#"{"features": 1}"#).unwrap_err(), "/etc/docker/daemon.json: features: not an object");
    }

    fn ubuntu() -> Machine {
        Machine::parse("ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n")
    }

    #[test]
    fn where_no_base_can_be_made_it_names_what_can_be_done() {
        assert_eq!(
            ubuntu().unpack(&Context::for_tests(), "busybox-static", "/nowhere".into()).unwrap_err().to_string(),
            "base images: Docker Hub cannot be reached, nor busybox-static be had for all architectures\n  rule: on \
             Debian, a base image made from its packages stands in for Docker Hub's\n  help: name a mirror: \
             JOBS_MIRRORS=docker.io=<mirror>, or `mirrors` in Cargo.toml"
        );
    }

    #[test]
    fn where_there_is_no_package_of_cosign_it_says_where_else() {
        assert_eq!(
            ubuntu().install(&Context::for_tests(), &["git", "cosign"]).unwrap_err().to_string(),
            "cosign: ubuntu 24.04 has no package of it\n  rule: signatures take cosign 3 or newer\n  help: install \
             cosign 3 as docs.sigstore.dev/cosign/system_config/installation says, in a workflow by the action \
             sigstore/cosign-installer; or let the target say `attest = true` instead"
        );
    }

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
