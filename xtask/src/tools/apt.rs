//! apt: packages of the distribution, and of a newer suite without upgrading anything.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;

use super::system::{self, Machine};
use super::{builder, process};
use crate::model::{Arch, Problem};
use crate::run::Context;

/// The Debian suite whose buildx is new enough; Debian 12 has none, and Debian 13 has 0.13.
const NEWER_SUITE: &str = "forky";
/// What is taken from that suite: buildx, the engine of the same age, and what belongs to it.
const NEWER: [&str; 6] = ["docker.io", "docker-cli", "containerd", "tini-static", "docker-buildx", "docker-registry"];

/// Installs packages, and upgrades and removes none.
///
/// # Errors
/// It is not known how to install on this distribution, or what the distribution has is too old.
pub fn install(ctx: &Context, machine: &Machine, packages: &[&str]) -> anyhow::Result<()> {
    check_distribution(machine, packages)?;
    if packages.contains(&"docker.io") {
        // Its package may start the engine, and an engine keeps the image store that it first starts with.
        system::configure_new_engine(ctx, machine)?;
    }
    ctx.ui.status("Installing", packages.join(" "));
    let is_debian = machine.id == "debian";
    let is_newer = |package: &str| is_debian && NEWER.contains(&package);
    let any_newer = packages.iter().any(|package| is_newer(package));
    let options = &if any_newer { newer_suite(ctx, machine)? } else { Vec::new() };
    let sh = ctx.shell()?;
    machine.run(ctx, cmd!(sh, "apt-get {options...} -q=2 update"))?;
    if !is_debian && packages.contains(&"docker-buildx") && !machine.dry_run {
        check_candidate(ctx)?;
    }
    // Ubuntu's docker.io holds the client too.
    let packages = packages.iter().filter(|&&package| is_debian || package != "docker-cli");
    let packages = packages.map(|package| match is_newer(package) {
        true => format!("{package}/{NEWER_SUITE}"),
        false => (*package).to_owned(),
    });
    let cmd = cmd!(
        sh,
        "env DEBIAN_FRONTEND=noninteractive apt-get {options...} -q=2 install --yes --no-install-recommends
            --no-upgrade --no-remove {packages...}"
    );
    machine.run(ctx, cmd)
}

fn check_distribution(machine: &Machine, packages: &[&str]) -> anyhow::Result<()> {
    let Machine { id, version, .. } = machine;
    if matches!((id.as_str(), version.as_str()), ("debian", "12" | "13") | ("ubuntu", "22.04" | "24.04")) {
        return Ok(());
    }
    let here = if id.is_empty() { std::env::consts::OS.to_owned() } else { format!("{id} {version}") };
    let programs = format!("Docker with buildx {}, git and docker-registry", builder::buildx_bounds());
    Err(Problem::new(here, format!("setup does not know how to install here: {}", packages.join(", ")))
        .rule("it knows Debian 12 and 13, and Ubuntu 22.04 and 24.04")
        .help(format!("install {programs}, start the engine, and repeat this"))
        .missing())
}

/// Ubuntu's archive moves: the buildx that it has today may be too old.
fn check_candidate(ctx: &Context) -> anyhow::Result<()> {
    const HELP: &str = "install docker-buildx-plugin from Docker's own archive (docs.docker.com/engine/install), \
                        and repeat this";
    let sh = ctx.shell()?;
    let policy = process::read(ctx, cmd!(sh, "apt-cache policy docker-buildx"))?;
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).unwrap_or("(none)");
    let unusable = |what| Problem::new("docker-buildx", format!("the distribution has {candidate}: {what}"));
    builder::usable_buildx(candidate).map(drop).map_err(|what| unusable(what).help(HELP).missing())
}

/// Downloads a package of every architecture and unpacks each into the folder of its name, without installing it.
pub fn unpack(ctx: &Context, machine: &Machine, package: &str, into: &Utf8Path) -> anyhow::Result<()> {
    check_distribution(machine, &[package])?;
    let mut options = isolated(ctx, machine, "apt-arches")?;
    options.extend(Arch::ALL.map(|arch| format!("-oAPT::Architectures::={arch}")));
    let options = &options;
    let sh = ctx.shell()?;
    process::show(ctx, cmd!(sh, "apt-get {options...} -q=2 update"))?;
    for arch in Arch::ALL {
        let folder = into.join(arch.as_str());
        let download = ctx.own_path("apt-arches").join(format!("download-{arch}"));
        sh.remove_path(&download)?;
        sh.create_dir(&download)?;
        sh.create_dir(&folder)?;
        let _in_download = sh.push_dir(&download);
        let of_arch = format!("{package}:{arch}");
        process::read(ctx, cmd!(sh, "apt-get {options...} -q=2 download {of_arch}"))?;
        let archive = sh.read_dir(&download)?.pop().with_context(|| format!("apt downloaded no {of_arch}"))?;
        process::read(ctx, cmd!(sh, "dpkg-deb --extract {archive} {folder}"))?;
    }
    Ok(())
}

/// apt's options for a configuration of its own under `target/`, with the distribution's own archive alone:
/// the machine's configuration is neither changed nor in the way.
fn isolated(ctx: &Context, machine: &Machine, name: &str) -> anyhow::Result<Vec<String>> {
    let dir = ctx.own_path(name);
    for part in ["parts", "lists/partial"] {
        std::fs::create_dir_all(dir.join(part)).with_context(|| format!("could not make {dir}/{part}"))?;
    }
    write(&dir.join("parts/own.sources"), &sources(&machine.codename)?)?;
    Ok(vec![
        "-oDir::Etc::sourcelist=/dev/null".to_owned(),
        format!("-oDir::Etc::sourceparts={dir}/parts"),
        format!("-oDir::State::lists={dir}/lists"),
        // Else apt would write what it reads here into the machine's own caches.
        "-oDir::Cache::pkgcache=".to_owned(),
        "-oDir::Cache::srcpkgcache=".to_owned(),
    ])
}

/// apt's options for the newer suite, at a priority at which it installs what is asked for and upgrades nothing.
fn newer_suite(ctx: &Context, machine: &Machine) -> anyhow::Result<Vec<String>> {
    let mut options = isolated(ctx, machine, "apt-newer")?;
    let dir = ctx.own_path("apt-newer");
    let newer = with_suite(&sources(&machine.codename)?, &machine.codename, NEWER_SUITE);
    write(&dir.join("parts/newer.sources"), &newer)?;
    write(&dir.join("preferences"), &format!("Package: *\nPin: release n={NEWER_SUITE}\nPin-Priority: 90\n"))?;
    options.push(format!("-oDir::Etc::preferences={dir}/preferences"));
    options.push("-oDir::Etc::preferencesparts=/dev/null".to_owned());
    Ok(options)
}

fn write(path: &Utf8Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("could not write {path}"))
}

/// The machine's own sources of its distribution, in deb822 format: third parties' are left out.
fn sources(codename: &str) -> anyhow::Result<String> {
    let mut texts = Vec::new();
    let parts = Utf8Path::new("/etc/apt/sources.list.d").read_dir_utf8().into_iter().flatten().flatten();
    let mut paths: Vec<Utf8PathBuf> = parts.map(|entry| entry.path().to_owned()).collect();
    paths.push("/etc/apt/sources.list".into());
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match path.extension() {
            Some("list") => texts.extend(text.lines().filter_map(|line| from_one_line(line, codename))),
            Some("sources") => texts.extend(paragraphs(&text).filter(|p| is_own(p, codename)).map(str::to_owned)),
            _ => {}
        }
    }
    anyhow::ensure!(!texts.is_empty(), "apt has no source for the suite `{codename}`");
    Ok(texts.join("\n\n") + "\n")
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty())
}

/// Whether a paragraph is of the distribution's own archive: its suite, and the component `main`.
fn is_own(paragraph: &str, codename: &str) -> bool {
    let words = |key: &str| -> Vec<String> {
        let value = paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let suites = words("Suites");
    let own = suites.iter().any(|suite| suite == codename || suite == &format!("{codename}-security"));
    own && words("Components").iter().any(|component| component == "main")
        && !words("Enabled").contains(&"no".to_owned())
}

/// `deb [options] uri suite main …` in deb822 format.
fn from_one_line(line: &str, codename: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (uri, rest) = words.split_first()?;
    let (suite, components) = rest.split_first()?;
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let signed_by = signed_by.map(|path| format!("\nSigned-By: {path}")).unwrap_or_default();
    let text = format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}{signed_by}", components.join(" "));
    is_own(&text, codename).then_some(text)
}

/// The same archives with another suite; those for security updates have none of that name.
fn with_suite(sources: &str, codename: &str, suite: &str) -> String {
    let replaced = paragraphs(sources).filter_map(|paragraph| {
        let line = paragraph.lines().find(|line| line.starts_with("Suites:"))?;
        let has_name = line.split_whitespace().any(|word| word == codename);
        has_name.then(|| paragraph.replace(line, &format!("Suites: {suite}")))
    });
    replaced.collect::<Vec<_>>().join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str =
        "Types: deb\nURIs: http://archive.example/debian\nSuites: bookworm bookworm-updates\nComponents: main";

    #[test]
    fn the_newer_suite_is_asked_of_the_same_archive() {
        let security = "Types: deb\nURIs: http://archive.example/s\nSuites: bookworm-security\nComponents: main";
        assert!(is_own(OWN, "bookworm") && is_own(security, "bookworm"));
        assert_eq!(
            with_suite(&format!("{OWN}\n\n{security}\n"), "bookworm", "forky"),
            "Types: deb\nURIs: http://archive.example/debian\nSuites: forky\nComponents: main\n"
        );
    }

    #[test]
    fn the_old_format_is_read_and_third_parties_are_left_out() {
        assert_eq!(
            from_one_line(
                "deb [arch=amd64 signed-by=/k.gpg] http://archive.example/debian bookworm main contrib",
                "bookworm"
            )
            .unwrap(),
            "Types: deb\nURIs: http://archive.example/debian\nSuites: bookworm\nComponents: main contrib\nSigned-By: /k.gpg"
        );
        assert_eq!(from_one_line("deb http://vendor.example/apt bookworm stable", "bookworm"), None);
        assert_eq!(from_one_line("# deb http://archive.example/debian bookworm main", "bookworm"), None);
    }
}
