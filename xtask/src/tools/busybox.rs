//! A base image of BusyBox alone, made from the distribution's packages where Docker Hub is out of reach.

use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;

use super::system::Machine;
use super::{apt, process};
use crate::model::Arch;
use crate::run::Context;

/// A BusyBox that needs nothing else.
const PACKAGE: &str = "busybox-static";

/// Makes a build context with the root file system of each architecture, and gives its folder.
pub fn build_context(ctx: &Context, machine: &Machine) -> anyhow::Result<Utf8PathBuf> {
    let dir = ctx.own_path("busybox");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("could not remove {dir}"))?;
    }
    let unpacked = dir.join("unpacked");
    apt::unpack(ctx, machine, PACKAGE, &unpacked)?;
    let binary = |arch: Arch| -> anyhow::Result<Utf8PathBuf> {
        let mut places =
            ["bin/busybox", "usr/bin/busybox"].into_iter().map(|path| unpacked.join(arch.as_str()).join(path));
        places.find(|path| path.is_file()).with_context(|| format!("{PACKAGE} holds no busybox for {arch}"))
    };
    let own = binary(Arch::of_this_machine().context("this machine's architecture is not one of ours")?)?;
    let sh = ctx.shell()?;
    let applets = process::read(ctx, cmd!(sh, "{own} --list"))?;
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
