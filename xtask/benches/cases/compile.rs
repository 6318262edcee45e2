//! What this tool costs before it does anything: its first compilation, and each start through cargo.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::measure::{Measured, Way, in_turns};
use crate::report::{Comparison, Section, Wanted, seconds};
use crate::suite::{Folder, Suite, program, read, root};

/// What any tool of this kind depends on, as short as it gets: other programs, the command line, JSON, folders, errors
/// and paths.
const COMMON: [(&str, &str); 7] = [
    ("anyhow", r#""1""#),
    ("camino", r#""1""#),
    ("clap", r#"{ version = "4", features = ["derive"] }"#),
    ("serde", r#"{ version = "1", features = ["derive"] }"#),
    ("serde_json", r#""1""#),
    ("walkdir", r#""2""#),
    ("xshell", r#""0.2""#),
];

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let root = root()?;
    let folder = suite.folder("compile")?;
    let common = package(&folder, "common", None)?;
    let ours_target = folder.path().join("target-ours");
    let ways = vec![
        Way::new("ours", |_| Ok(vec![cold_build(&root, "xtask", &ours_target)?])),
        Way::new("six packages", |_| Ok(vec![cold_build(&common, "common", &common.join("target"))?])),
    ];
    let measured = in_turns(suite, "compile", ways)?;
    section.comparisons.push(
        Comparison::new("first `cargo build`", 1, None, &measured[0])
            .with("six packages, no code", &measured[1])
            .wants([Wanted::TimesThePeer(1.5)]),
    );
    let start = || {
        let mut command = program("cargo", &root);
        command.args(["xtask", "discover"]);
        command
    };
    // The benchmark's own build may have been another one.
    read(start())?;
    let measured = in_turns(suite, "start", vec![Way::new("ours", |_| Ok(vec![start()]))])?;
    let row = Comparison::new("`cargo xtask discover`, compiled", 3, None, &measured[0]);
    section.comparisons.push(row.wants([Wanted::Seconds(0.15)]));
    section.others.push(added(suite, &folder, &root)?);
    section.notes.push("The packages are anyhow, camino, clap, serde with serde_json, walkdir and xshell.".to_owned());
    section.notes.push("What a dependency adds was measured once, with the packages that it needs itself.".to_owned());
    Ok(section)
}

/// The table of what each further dependency adds to the common ones.
fn added(suite: &Suite, folder: &Folder, root: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let once = Suite { rounds: 1, ..suite.clone() };
    let compile = |name: &str, dir: &Path| -> anyhow::Result<Measured> {
        let way = Way::new("first build", |_| Ok(vec![cold_build(dir, name, &dir.join("target"))?]));
        in_turns(&once, name, vec![way])?.pop().context("nothing was measured")
    };
    let common = compile("common", &package(folder, "common", None)?)?;
    let mut rows = vec![["dependency", "adds in CPU time", "adds in time"].map(str::to_owned).to_vec()];
    rows.push(vec!["the common ones".to_owned(), seconds(common.cpu()), seconds(common.wall())]);
    for (name, version) in dependencies(root)?.iter().filter(|(name, _)| COMMON.iter().all(|(known, _)| known != name))
    {
        let with = compile(&format!("with-{name}"), &package(folder, &format!("with-{name}"), Some((name, version)))?)?;
        let more = |with: f64, without: f64| format!("{:+.1} s", with - without);
        rows.push(vec![name.clone(), more(with.cpu(), common.cpu()), more(with.wall(), common.wall())]);
    }
    Ok(rows)
}

/// What `xtask/Cargo.toml` depends on, each with its version and features.
fn dependencies(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let manifest = std::fs::read_to_string(root.join("xtask/Cargo.toml")).context("could not read xtask/Cargo.toml")?;
    let table = manifest.split("\n[dependencies]\n").nth(1).context("xtask/Cargo.toml has no dependencies")?;
    let lines = table.lines().take_while(|line| !line.starts_with('['));
    let lines = lines.filter_map(|line| line.split(" #").next()?.split_once(" = "));
    Ok(lines.map(|(name, version)| (name.trim().to_owned(), version.trim().to_owned())).collect())
}

/// A package with the common dependencies and one more, and no code. It is compiled with the same versions as this
/// tool, by the same profile.
fn package(folder: &Folder, name: &str, more: Option<(&str, &str)>) -> anyhow::Result<std::path::PathBuf> {
    let (root, dir) = (root()?, folder.path().join(name));
    std::fs::create_dir_all(dir.join("src")).with_context(|| format!("could not make {}", dir.display()))?;
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("could not read Cargo.toml")?;
    let profile = manifest.find("[profile.dev]").map(|start| &manifest[start..]).context("there is no profile")?;
    let dependencies: String =
        COMMON.iter().copied().chain(more).map(|(name, version)| format!("{name} = {version}\n")).collect();
    let text = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{dependencies}\n{profile}"
    );
    std::fs::write(dir.join("Cargo.toml"), text).context("could not write a manifest")?;
    std::fs::write(dir.join("src/main.rs"), "fn main() {}\n").context("could not write a program")?;
    std::fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).context("could not copy Cargo.lock")?;
    // Takes what this package does not need out of the copy.
    let mut prune = program("cargo", &dir);
    prune.args(["update", "--workspace", "--offline", "--quiet"]);
    read(prune)?;
    Ok(dir)
}

/// Compiles a package from nothing.
fn cold_build(dir: &Path, package: &str, target: &Path) -> anyhow::Result<Command> {
    if target.exists() {
        std::fs::remove_dir_all(target).with_context(|| format!("could not remove {}", target.display()))?;
    }
    let mut command = program("cargo", dir);
    command.args(["build", "--package", package, "--offline", "--locked", "--quiet"]).env("CARGO_TARGET_DIR", target);
    Ok(command)
}
