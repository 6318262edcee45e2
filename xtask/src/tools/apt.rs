//! apt's options for a configuration of its own, with the distribution's archive and perhaps a newer suite of it.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::run::Context;

/// apt's options for a configuration of its own under `target/`, with the distribution's own archive alone:
/// the machine's configuration is neither changed nor in the way. A newer suite of that archive, if one is given, has a
/// priority at which apt installs what is asked for and upgrades nothing.
pub fn options(ctx: &Context, name: &str, codename: &str, newer: Option<&str>) -> anyhow::Result<Vec<String>> {
    let dir = ctx.own_path(name);
    for part in ["parts", "lists/partial"] {
        std::fs::create_dir_all(dir.join(part)).with_context(|| format!("could not make {dir}/{part}"))?;
    }
    let own = sources(codename)?;
    write(&dir.join("parts/own.sources"), &own)?;
    let mut options = vec![
        "-oDir::Etc::sourcelist=/dev/null".to_owned(),
        format!("-oDir::Etc::sourceparts={dir}/parts"),
        format!("-oDir::State::lists={dir}/lists"),
        // Else apt would write what it reads here into the machine's own caches.
        "-oDir::Cache::pkgcache=".to_owned(),
        "-oDir::Cache::srcpkgcache=".to_owned(),
    ];
    if let Some(suite) = newer {
        write(&dir.join("parts/newer.sources"), &with_suite(&own, codename, suite))?;
        write(&dir.join("preferences"), &format!("Package: *\nPin: release n={suite}\nPin-Priority: 90\n"))?;
        options.push(format!("-oDir::Etc::preferences={dir}/preferences"));
        options.push("-oDir::Etc::preferencesparts=/dev/null".to_owned());
    }
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
