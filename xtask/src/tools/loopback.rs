//! The loopback registry: where `pipeline` rehearses, and where `setup` puts a base image when Docker Hub is out of
//! reach.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;

use super::process::{self, Limit, Options};
use super::registry::greetings;
use super::system::Machine;
use crate::model::{Arch, Exit, Problem, Reference};
use crate::run::Context;

/// The ports that are tried, in order. The first is the one that everybody expects.
const PORTS: std::ops::Range<u16> = 5000..5020;
/// The header by which this repository knows its own registry from another's.
const HEADER: &str = "x-jobs-registry";
/// How long the registry may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The package with a BusyBox that needs nothing else.
const PACKAGE: &str = "busybox-static";

/// Where the registry keeps its configuration, its log and its data.
fn dir(ctx: &Context) -> Utf8PathBuf {
    ctx.own_path("registry")
}

/// The address of this repository's loopback registry, if it runs.
pub fn running_registry(ctx: &Context) -> Option<String> {
    let addresses: Vec<String> = PORTS.map(|port| format!("127.0.0.1:{port}")).collect();
    let owners = greetings(ctx, &addresses, HEADER);
    let own = owners.iter().position(|owner| owner.as_deref() == Some(dir(ctx).as_str()))?;
    addresses.into_iter().nth(own)
}

/// The address of this repository's loopback registry, which is started if it does not run.
/// An address that somebody else uses is left alone, and the next is taken.
///
/// # Errors
/// There is no registry program, no free port, or it does not start.
pub fn ensure_registry(ctx: &Context) -> anyhow::Result<String> {
    if let Some(address) = running_registry(ctx) {
        return Ok(address);
    }
    let address = free_address(ctx)?;
    start(ctx, &address)?;
    ctx.ui.status("Started", format!("a registry on {address}, its data under {}", ctx.shown(&dir(ctx))));
    Ok(address)
}

/// The same for a dry run, which prints the commands that start it.
///
/// # Errors
/// As [`ensure_registry`].
pub fn print_registry(ctx: &Context) -> anyhow::Result<String> {
    if let Some(address) = running_registry(ctx) {
        return Ok(address);
    }
    let (address, dir) = (free_address(ctx)?, dir(ctx));
    let (config, log) = (dir.join("config.yml"), dir.join("log"));
    ctx.ui.data(process::shown(ctx, |sh| cmd!(sh, "mkdir -p {dir}"))?);
    print_write(ctx, &configuration(&dir, &address), &config)?;
    let serve = process::shown(ctx, |sh| cmd!(sh, "docker-registry serve {config}"))?;
    ctx.ui.data(format!("{serve} >{} 2>&1 &", process::quote(log)));
    Ok(address)
}

/// Prints the command that writes a file.
fn print_write(ctx: &Context, text: &str, path: &Utf8Path) -> anyhow::Result<()> {
    let print = process::shown(ctx, |sh| cmd!(sh, "printf %s {text}"))?;
    ctx.ui.data(format!("{print} >{}", process::quote(path)));
    Ok(())
}

/// An address that nobody uses.
fn free_address(ctx: &Context) -> anyhow::Result<String> {
    let Some(port) = PORTS.into_iter().find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) else {
        let what = format!("the ports {} to {} are all in use", PORTS.start, PORTS.end - 1);
        return Err(Problem::new("loopback registry", what)
            .help("end what listens there: ss -ltnp")
            .exit(Exit::Missing));
    };
    let (address, usual) = (format!("127.0.0.1:{port}"), PORTS.start);
    if port != usual {
        let what = format!("127.0.0.1:{usual} is in use by another program");
        ctx.ui.warning(format!("{what}, so the registry listens on {address}"));
    }
    Ok(address)
}

fn start(ctx: &Context, address: &str) -> anyhow::Result<()> {
    let dir = dir(ctx);
    std::fs::create_dir_all(&dir).with_context(|| format!("could not make the folder {dir}"))?;
    let config = dir.join("config.yml");
    std::fs::write(&config, configuration(&dir, address)).with_context(|| format!("could not write {config}"))?;
    let mut child = process::spawn_daemon(ctx, |sh| cmd!(sh, "docker-registry serve {config}"), &dir.join("log"))?;
    let start = Instant::now();
    while greetings(ctx, &[address.to_owned()], HEADER) == [None] {
        anyhow::ensure!(ctx.interrupted().is_none(), "interrupted");
        if start.elapsed() > START_TIMEOUT || child.try_wait().is_ok_and(|ended| ended.is_some()) {
            let said = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(
                Problem::new(format!("registry {address}"), format!("did not start: {last}")).exit(Exit::Missing)
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn configuration(dir: &Utf8PathBuf, address: &str) -> String {
    format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage:\n  filesystem: {{rootdirectory: \"{dir}/data\"}}\n  delete: {{enabled: true}}\n\
         http:\n  addr: \"{address}\"\n  headers: {{{HEADER}: [\"{dir}\"]}}\n"
    )
}

/// The file by which `setup` notes that this machine pulls Docker Hub's images from the loopback registry.
fn note(ctx: &Context) -> Utf8PathBuf {
    dir(ctx).join("mirrors-docker.io")
}

/// The mirror of Docker Hub that `setup` noted: the loopback registry, wherever it listens by now.
pub fn noted_mirror(ctx: &Context) -> Option<String> {
    let noted = std::fs::read_to_string(note(ctx)).ok()?;
    Some(running_registry(ctx).unwrap_or(noted))
}

/// Puts a base image of BusyBox alone, made from the distribution's packages, into the loopback registry, and notes
/// that this stands in for Docker Hub on this machine.
/// An engine with the classic image store builds one architecture at a time, so they are joined in the registry.
/// No instruction of the base runs anything, so nothing is emulated.
pub fn fill_registry(ctx: &Context, machine: &Machine, address: &str, image: &Reference) -> anyhow::Result<()> {
    let context = build_context(ctx, machine)?;
    ctx.ui.status(
        "Filling",
        format!("{address} with a stand-in for {image}, made from {PACKAGE}: Docker Hub cannot be reached from here"),
    );
    let output = "type=image,oci-mediatypes=true,store=false";
    let mut sources = Vec::new();
    for arch in Arch::ALL {
        let (platform, reference) = (arch.platform(), format!("{image}-{arch}"));
        sources.push(reference.clone());
        machine.step(ctx, Limit::Build(None), |sh| {
            cmd!(
                sh,
                "docker buildx build --platform {platform} -t {reference} --output {output} --push
                    --provenance=false --progress plain {context}"
            )
        })?;
    }
    let image = image.to_string();
    machine.step(ctx, Limit::Write, |sh| cmd!(sh, "docker buildx imagetools create -t {image} {sources...}"))?;
    if machine.dry_run {
        return print_write(ctx, address, &note(ctx));
    }
    std::fs::write(note(ctx), address).with_context(|| format!("could not write {}", note(ctx)))
}

/// Makes a build context with the root file system of each architecture, and gives its folder.
fn build_context(ctx: &Context, machine: &Machine) -> anyhow::Result<Utf8PathBuf> {
    let dir = ctx.own_path("busybox");
    if dir.exists() && !machine.dry_run {
        std::fs::remove_dir_all(&dir).with_context(|| format!("could not remove {dir}"))?;
    }
    let unpacked = dir.join("unpacked");
    machine.unpack(ctx, PACKAGE, &unpacked)?;
    if machine.dry_run {
        ctx.ui.data(format!("# a root file system of each architecture, and a Dockerfile, are made of this in {dir}"));
        return Ok(dir);
    }
    let binary = |arch: Arch| -> anyhow::Result<Utf8PathBuf> {
        let mut places =
            ["bin/busybox", "usr/bin/busybox"].into_iter().map(|path| unpacked.join(arch.as_str()).join(path));
        places.find(|path| path.is_file()).with_context(|| format!("{PACKAGE} holds no busybox for {arch}"))
    };
    let own = binary(Arch::of_this_machine().context("this machine's architecture is not one of ours")?)?;
    let applets = process::read(ctx, |sh| cmd!(sh, "{own} --list"), &Options::default())?;
    for arch in Arch::ALL {
        root_file_system(&dir.join(arch.as_str()), &binary(arch)?, &applets)
            .with_context(|| format!("could not make the root file system for {arch}"))?;
    }
    std::fs::write(dir.join("Dockerfile"), "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH}/ /\nCMD [\"sh\"]\n")?;
    Ok(dir)
}

/// What Docker Hub's busybox has, as far as jobs rely on it: the applets, `/tmp`, and the users root and nobody.
fn root_file_system(dir: &Utf8Path, busybox: &Utf8Path, applets: &str) -> std::io::Result<()> {
    for part in ["bin", "etc", "tmp", "root", "var"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    std::fs::set_permissions(dir.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    std::fs::copy(busybox, dir.join("bin/busybox"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", dir.join("bin").join(applet))?;
    }
    std::fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    std::fs::write(dir.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")
}
