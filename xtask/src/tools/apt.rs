//! apt: packages of the distribution, and of a newer suite without upgrading anything.

use anyhow::Context as _;
use camino::Utf8PathBuf;
use xshell::{Shell, cmd};

use super::process;
use super::system::{Distribution, Root};
use crate::model::arch::Arch;
use crate::run::context::Context;

/// The Debian suite whose buildx is new enough; Debian 12 has none, and Debian 13 has 0.13.
const NEWER_SUITE: &str = "forky";

/// apt with a configuration of its own under `target/`, so that the machine's own is neither changed nor in the way.
pub struct Apt {
    dir: Utf8PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// apt as the machine has it.
    pub fn of_machine() -> Apt {
        Apt { dir: Utf8PathBuf::new(), options: Vec::new() }
    }

    /// apt that also knows the newer suite, at a priority at which it installs what is asked for and upgrades nothing.
    pub fn with_newer_suite(ctx: &Context, distribution: &Distribution) -> anyhow::Result<Apt> {
        let mut apt = Apt::isolated(ctx, "apt-newer")?;
        let own = sources(&distribution.codename)?;
        apt.write("parts/own.sources", &own)?;
        apt.write("parts/newer.sources", &with_suite(&own, &distribution.codename, NEWER_SUITE))?;
        apt.write("preferences", &format!("Package: *\nPin: release n={NEWER_SUITE}\nPin-Priority: 90\n"))?;
        apt.option(format!("Dir::Etc::preferences={}/preferences", apt.dir));
        apt.option("Dir::Etc::preferencesparts=/dev/null".to_owned());
        Ok(apt)
    }

    /// apt that knows the packages of all our architectures, to download from.
    pub fn of_all_arches(ctx: &Context, distribution: &Distribution) -> anyhow::Result<Apt> {
        let mut apt = Apt::isolated(ctx, "apt-arches")?;
        apt.write("parts/own.sources", &sources(&distribution.codename)?)?;
        for arch in Arch::ALL {
            apt.option(format!("APT::Architectures::={arch}"));
        }
        Ok(apt)
    }

    fn isolated(ctx: &Context, name: &str) -> anyhow::Result<Apt> {
        let dir = ctx.own_path(name);
        for part in ["parts", "lists/partial"] {
            std::fs::create_dir_all(dir.join(part)).with_context(|| format!("could not make {dir}/{part}"))?;
        }
        let mut apt = Apt { dir, options: Vec::new() };
        apt.option("Dir::Etc::sourcelist=/dev/null".to_owned());
        apt.option(format!("Dir::Etc::sourceparts={}/parts", apt.dir));
        apt.option(format!("Dir::State::lists={}/lists", apt.dir));
        // Else apt would write what it learned here into the machine's own caches.
        apt.option("Dir::Cache::pkgcache=".to_owned());
        apt.option("Dir::Cache::srcpkgcache=".to_owned());
        Ok(apt)
    }

    fn option(&mut self, option: String) {
        self.options.extend(["-o".to_owned(), option]);
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("could not write {path}"))
    }

    /// Reads the lists of packages.
    pub fn update(&self, ctx: &Context, root: Root) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let options = &self.options;
        root.run(ctx, root.cmd(&sh, "apt-get").args(options).args(["-q=2", "update"]))
    }

    /// Installs packages, and upgrades and removes none.
    pub fn install(&self, ctx: &Context, root: Root, packages: &[&str]) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let options = &self.options;
        let install = ["-q=2", "install", "--yes", "--no-install-recommends", "--no-upgrade", "--no-remove"];
        let cmd = root.cmd(&sh, "env").args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        root.run(ctx, cmd.args(options).args(install).args(packages))
    }

    /// Installs packages of the newer suite.
    pub fn install_newer(&self, ctx: &Context, root: Root, packages: &[&str]) -> anyhow::Result<()> {
        let packages: Vec<String> = packages.iter().map(|package| format!("{package}/{NEWER_SUITE}")).collect();
        self.install(ctx, root, &packages.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Downloads a package of an architecture and unpacks it into a folder, without installing it.
    pub fn unpack(&self, ctx: &Context, package: &str, arch: Arch, into: &Utf8PathBuf) -> anyhow::Result<()> {
        let sh = ctx.shell()?;
        let download = self.dir.join(format!("download-{arch}"));
        sh.remove_path(&download)?;
        sh.create_dir(&download)?;
        sh.create_dir(into)?;
        let options = &self.options;
        sh.change_dir(&download);
        let package_of_arch = format!("{package}:{arch}");
        process::read(ctx, cmd!(sh, "apt-get {options...} -q=2 download {package_of_arch}"))?;
        let archive = sh.read_dir(&download)?.pop().with_context(|| format!("apt downloaded no {package}:{arch}"))?;
        process::read(ctx, cmd!(sh, "dpkg-deb --extract {archive} {into}")).map(drop)
    }
}

/// The candidate version of a package, in the machine's own lists.
pub fn candidate(ctx: &Context, package: &str) -> anyhow::Result<String> {
    let sh: Shell = ctx.shell()?;
    let policy = process::read(ctx, cmd!(sh, "apt-cache policy {package}"))?;
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(candidate.unwrap_or("(none)").to_owned())
}

/// The machine's own sources of its distribution, in deb822 format: third parties' are left out.
fn sources(codename: &str) -> anyhow::Result<String> {
    let mut texts = Vec::new();
    let mut paths = vec![Utf8PathBuf::from("/etc/apt/sources.list")];
    let parts = Utf8PathBuf::from("/etc/apt/sources.list.d");
    if let Ok(entries) = parts.read_dir_utf8() {
        paths.extend(entries.flatten().map(|entry| entry.path().to_owned()));
    }
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
        line.split_whitespace()
            .any(|word| word == codename)
            .then(|| paragraph.replace(line, &format!("Suites: {suite}")))
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
