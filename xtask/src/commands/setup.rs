//! `setup`: finds out what is missing, and installs and starts it. What is there is never touched; repeating it does nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;

use crate::commands::doctor::{SAMPLE_BASE, sample_base};
use crate::model::arch::Arch;
use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::settings::config::Config;
use crate::settings::target::{Given, Target};
use crate::tools::apt::{self, Apt};
use crate::tools::builder::{self, Bootstrap, Version};
use crate::tools::system::{self, Distribution, Root};
use crate::tools::{buildx, registry};

/// What the distribution has in a version that will do; the programs have the packages' names.
const OWN: [&str; 2] = ["git", "curl"];
/// Python with what makes virtual environments.
const PYTHON: &str = "python3-venv";
/// The engine and what belongs to it.
const ENGINE: [&str; 5] = ["docker.io", "docker-cli", "containerd", "tini-static", "docker-buildx"];
/// The emulator of other architectures.
const QEMU: &str = "qemu-user-static";
/// A BusyBox that needs nothing else: all that the sample base is made of.
const BUSYBOX: &str = "busybox-static";

/// What the machine is made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Pipeline,
    /// What a pipeline needs, and nothing is changed.
    DryRun,
    /// Also what the tests ask for a second opinion, which comes by Python's packages.
    Tests,
}

pub fn run(ctx: &Context, config: &Config, given: &Given, purpose: Purpose) -> anyhow::Result<()> {
    let mirrors = Target::mirrors_only(ctx, config, given)?;
    let dry_run = purpose == Purpose::DryRun;
    let setup = Installer { ctx, distribution: Distribution::of_this_machine(), root: Root::find(ctx, dry_run)? };
    setup.programs(purpose)?;
    setup.engine()?;
    setup.emulation(config)?;
    setup.base_images(&mirrors)?;
    ctx.ui.status("Finished", "everything that is needed is there");
    Ok(())
}

struct Installer<'a> {
    ctx: &'a Context,
    distribution: Distribution,
    root: Root,
}

impl Installer<'_> {
    /// Installs the programs that are missing.
    fn programs(&self, purpose: Purpose) -> anyhow::Result<()> {
        let has = |program: &str| system::has_program(self.ctx, program);
        let mut packages: Vec<&str> = OWN.into_iter().filter(|program| !has(program)).collect();
        if purpose == Purpose::Tests && !system::has_python_environments(self.ctx)? {
            packages.push(PYTHON);
        }
        let has_engine = system::engine(self.ctx)?.is_ok() || has("dockerd");
        if !has_engine {
            packages.extend(ENGINE);
        } else if builder::buildx_version(self.ctx).is_err() {
            // The engine is somebody's: only what it lacks is added.
            packages.push("docker-buildx");
        }
        if !has("docker-registry") {
            packages.push("docker-registry");
        }
        if packages.is_empty() {
            return Ok(());
        }
        self.check_distribution(&packages)?;
        self.install(&packages)?;
        if !has_engine {
            system::configure_new_engine(self.ctx, self.root)?;
        }
        if self.root.dry_run { Ok(()) } else { builder::buildx_version(self.ctx).map(drop) }
    }

    fn check_distribution(&self, packages: &[&str]) -> anyhow::Result<()> {
        if self.distribution.is_known() {
            return Ok(());
        }
        let Distribution { id, version, .. } = &self.distribution;
        let here = if id.is_empty() { std::env::consts::OS.to_owned() } else { format!("{id} {version}") };
        Err(Problem::new(here, format!("setup does not know how to install here: {}", packages.join(", ")))
            .rule("it knows Debian 12 and 13, and Ubuntu 22.04 and 24.04")
            .help("install Docker with buildx 0.22 or newer (not 0.31.1), git and docker-registry, start the engine, and repeat this")
            .missing())
    }

    fn install(&self, packages: &[&str]) -> anyhow::Result<()> {
        self.ctx.ui.status("Installing", packages.join(" "));
        // Debian's own buildx is missing or too old in the releases that are known here.
        let newer = self.distribution.id == "debian";
        if newer {
            let apt = Apt::with_newer_suite(self.ctx, &self.distribution)?;
            apt.update(self.ctx, self.root)?;
            let is_own = |package: &&str| OWN.contains(package) || *package == PYTHON;
            let (own, newer): (Vec<&str>, Vec<&str>) = packages.iter().copied().partition(is_own);
            if !own.is_empty() {
                apt.install(self.ctx, self.root, &own)?;
            }
            return if newer.is_empty() { Ok(()) } else { apt.install_newer(self.ctx, self.root, &newer) };
        }
        let apt = Apt::of_machine();
        apt.update(self.ctx, self.root)?;
        self.check_candidate(packages)?;
        // Ubuntu's docker.io holds the client too.
        let packages: Vec<&str> = packages.iter().copied().filter(|&package| package != "docker-cli").collect();
        apt.install(self.ctx, self.root, &packages)
    }

    /// Ubuntu's archive moves: what it has today may be too old.
    fn check_candidate(&self, packages: &[&str]) -> anyhow::Result<()> {
        if !packages.contains(&"docker-buildx") || self.root.dry_run {
            return Ok(());
        }
        let candidate = apt::candidate(self.ctx, "docker-buildx")?;
        if Version::find(&candidate).is_some_and(|version| version >= Version(0, 22, 0)) {
            return Ok(());
        }
        Err(Problem::new("docker-buildx", format!("the distribution has {candidate}, and 0.22.0 or newer is needed"))
            .help("install docker-buildx-plugin from Docker's own archive (docs.docker.com/engine/install), and repeat this")
            .missing())
    }

    /// Starts the engine, unless one answers.
    fn engine(&self) -> anyhow::Result<()> {
        let Err(said) = system::engine(self.ctx)? else { return Ok(()) };
        if !system::has_program(self.ctx, "dockerd") {
            if self.root.dry_run {
                return system::start_engine(self.ctx, self.root);
            }
            return Err(Problem::new("the engine", said)
                .help("start it: this machine has no `dockerd` to start")
                .missing());
        }
        system::start_engine(self.ctx, self.root)
    }

    /// Makes every configured architecture runnable here, for `pipeline` and `--emulate`.
    fn emulation(&self, config: &Config) -> anyhow::Result<()> {
        let builder = match builder::probe(self.ctx, None, Bootstrap::No) {
            Err(_) if self.root.dry_run => return Ok(()),
            builder => builder?,
        };
        let missing: Vec<Arch> = config.arches().into_iter().filter(|&arch| !builder.can_run(arch)).collect();
        if missing.is_empty() || builder.driver != "docker" {
            return Ok(());
        }
        for &arch in &missing {
            self.ctx.ui.status("Installing", format!("emulation of {arch}"));
            if !std::path::Path::new(&format!("/usr/bin/{}", emulator(arch))).exists() {
                self.check_distribution(&[QEMU])?;
                let apt = Apt::of_machine();
                apt.update(self.ctx, self.root)?;
                apt.install(self.ctx, self.root, &[QEMU])?;
            }
            system::register_emulation(self.ctx, self.root, arch)?;
        }
        if self.root.dry_run { Ok(()) } else { self.wait_for_emulation(&missing) }
    }

    /// An engine that was running before looks for emulators from time to time only.
    fn wait_for_emulation(&self, arches: &[Arch]) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !self.ctx.interrupt.is_set() {
            let builder = builder::probe(self.ctx, None, Bootstrap::No)?;
            if arches.iter().all(|&arch| builder.can_run(arch)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(Problem::new("emulation", "is installed, and the engine does not see it")
            .help("restart the engine, and repeat this")
            .missing())
    }

    /// Where Docker Hub is out of reach, puts the sample base into the loopback registry, and notes it as the mirror.
    fn base_images(&self, mirrors: &BTreeMap<String, String>) -> anyhow::Result<()> {
        if self.root.dry_run {
            return Ok(());
        }
        let mut mirrors = mirrors.clone();
        let noted = registry::noted_mirror(self.ctx);
        let is_ours = mirrors.get("docker.io").is_none_or(|mirror| Some(mirror) == noted.as_ref());
        if noted.is_some() && is_ours {
            // It was filled before, and only has to run: filled again, every base would have moved.
            mirrors.insert("docker.io".to_owned(), registry::ensure(self.ctx)?);
        }
        let image = sample_base(&mirrors)?;
        let why = match buildx::inspect(self.ctx, &image) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => format!("{image} does not exist"),
            Err(error) => format!("{error:#}"),
        };
        if !is_ours {
            self.ctx.ui.warning(format!("the mirror of docker.io does not give {SAMPLE_BASE}: {why}"));
            return Ok(());
        }
        let address = registry::ensure(self.ctx)?;
        self.check_distribution(&[BUSYBOX])?;
        self.ctx
            .ui
            .status("Filling", format!("{address} with library/{SAMPLE_BASE}: Docker Hub cannot be reached from here"));
        let context = self.busybox()?;
        let reference = sample_base(&BTreeMap::from([("docker.io".to_owned(), address.clone())]))?;
        buildx::build_base(self.ctx, &context, &reference, &Arch::ALL)?;
        registry::note_mirror(self.ctx, &address)?;
        self.ctx.ui.status("Using", format!("{address} as the mirror of docker.io in this repository's `target/`"));
        Ok(())
    }

    /// A build context with the root file system of each architecture, made from the distribution's packages.
    fn busybox(&self) -> anyhow::Result<Utf8PathBuf> {
        let dir = self.ctx.own_path("busybox");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("could not remove {dir}"))?;
        }
        let apt = Apt::of_all_arches(self.ctx, &self.distribution)?;
        apt.update(self.ctx, Root { sudo: false, ..self.root })?;
        let unpacked = |arch: Arch| dir.join(format!("package-{arch}"));
        for arch in Arch::ALL {
            apt.unpack(self.ctx, BUSYBOX, arch, &unpacked(arch))?;
        }
        let binary = |arch: Arch| -> anyhow::Result<Utf8PathBuf> {
            let places = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked(arch).join(path));
            places
                .into_iter()
                .find(|path| path.is_file())
                .with_context(|| format!("{BUSYBOX} holds no busybox for {arch}"))
        };
        let own = Arch::of_this_machine().context("this machine's architecture is not one of ours")?;
        let applets = system::busybox_applets(self.ctx, &binary(own)?)?;
        for arch in Arch::ALL {
            root_file_system(&dir.join(arch.as_str()), &binary(arch)?, &applets)
                .with_context(|| format!("could not make the root file system for {arch}"))?;
        }
        std::fs::write(dir.join("Dockerfile"), "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH}/ /\nCMD [\"sh\"]\n")?;
        Ok(dir)
    }
}

fn emulator(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-x86_64-static",
        Arch::Arm64 => "qemu-aarch64-static",
    }
}

/// What Docker Hub's busybox has, as far as jobs rely on it: the applets, `/tmp`, and the users root and nobody.
fn root_file_system(dir: &Utf8PathBuf, busybox: &Utf8PathBuf, applets: &[String]) -> std::io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for part in ["bin", "etc", "tmp", "root", "var"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    std::fs::set_permissions(dir.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    std::fs::copy(busybox, dir.join("bin/busybox"))?;
    for applet in applets.iter().filter(|applet| *applet != "busybox") {
        symlink("busybox", dir.join("bin").join(applet))?;
    }
    std::fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    std::fs::write(dir.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")
}
