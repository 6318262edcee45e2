//! Build only what was hashed: the allow-list that a build is given, and what happens where it lacks a file.

use std::path::Path;
use std::process::Command;

use super::Trial;
use super::judge::Image;
use crate::harness::{OWN, Registry, TempDir, Tree, docker};

/// The Dockerfile that BuildKit is given; the allow-list stands beside it.
const DOCKERFILE: &str = "target/xtask/build/job/Dockerfile";

/// Builds with the printed command: the image is the same as without an allow-list, and never the same with one line less.
pub fn check(trial: &mut Trial) {
    let mut dry_run = trial.tree.command(&["build", "--dry-run", "job"], &[("PATH", &trial.servers.path())]);
    let output = dry_run.output().unwrap();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return trial.complain("", &format!("`build --dry-run` says:\n{error}"));
    }
    let command = String::from_utf8(output.stdout).unwrap();
    let list = trial.tree.path().join(format!("{DOCKERFILE}.dockerignore"));
    let first = trial.first.image.clone().unwrap();
    if trial.first_plan().whole_context.is_some() {
        if list.exists() {
            trial.complain("", "all of the context counts, and something is filtered");
        }
        return;
    }
    if !list.exists() {
        return trial.complain("", "not all of the context counts, and nothing is filtered");
    }
    let enforced = |trial: &Trial| build(trial.tree.path(), &command);
    match enforced(trial) {
        Err(error) => return trial.complain("", &format!("with the allow-list it does not build:\n{error}")),
        Ok(image) if image != first => {
            trial.complain("", &format!("the allow-list changes the image:{}", first.difference(&image)));
        }
        Ok(_) => {}
    }
    let lines = std::fs::read_to_string(&list).unwrap();
    let mut reaching = trial.reaching.iter().filter(|path| !super::is_own(path) && !path.contains(char::is_control));
    // One is enough: the list is made in the same way for all.
    let Some(path) = reaching.next_back().cloned() else { return };
    let without: Vec<&str> = lines.lines().filter(|line| path_of(line).as_deref() != Some(&path)).collect();
    if without.len() + 1 != lines.lines().count() {
        return trial.complain(&path, &format!("reaches the image, and has not one line in the allow-list:\n{lines}"));
    }
    std::fs::write(&list, without.join("\n") + "\n").unwrap();
    if enforced(trial).is_ok_and(|image| image == first) {
        trial.complain(&path, "is not in the allow-list, and the image is the same");
    }
}

/// A base may copy files that the Dockerfile does not name: such a build fails, and says how to name them.
#[test]
fn a_file_that_nothing_names_fails_the_build_until_inputs_names_it() {
    let registry = Registry::start();
    let base = format!("{}/onbuild:1", registry.address);
    let folder = TempDir::new();
    std::fs::write(folder.0.join("Dockerfile"), "FROM scratch\nONBUILD COPY jobs/lib/x /x\n").unwrap();
    docker(&["buildx", "build", "--quiet", "--push", "-t", &base, folder.0.to_str().unwrap()]);
    // The base is there for this machine's architecture alone.
    let settings = |more: &str| format!("{{\"arches\": [\"{OWN}\"]{more}}}");
    let tree = Tree::new(&[
        ("jobs/job/Dockerfile", &format!("FROM {base}\n")),
        ("jobs/job/job.json", &settings("")),
        ("jobs/lib/x", "1\n"),
    ]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let refused = tree.run_with(&["build"], &env).ended(1);
    for part in ["jobs/job/Dockerfile:1: ", "`jobs/lib/x`", r#"add "inputs": ["jobs/lib/x"] to jobs/job/job.json"#] {
        assert!(refused.errors().contains(part), "{part}: {}", refused.errors());
    }
    tree.write("jobs/job/job.json", &settings(r#", "inputs": ["jobs/lib/x"]"#));
    tree.commit("the remedy");
    let key = || {
        let plan = tree.run(&["plan", "--format", "json"]).ended(0).stdout;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        plan[0]["key"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned()
    };
    let before = key();
    tree.run_with(&["build"], &env).ended(0);
    tree.write("jobs/lib/x", "2\n");
    tree.commit("another");
    assert_ne!(key(), before);
}

/// Runs the printed command; its image is exported and not loaded.
fn build(tree: &Path, command: &str) -> Result<Image, String> {
    let out = TempDir::new();
    let output = format!(" --output type=local,dest={} ", out.0.join("image").display());
    let script = format!("mkdir -p target/xtask/logs; {}", command.replacen(" --load ", &output, 1));
    assert!(script.contains(&output), "{command}");
    let output = Command::new("sh").args(["-ec", &script]).current_dir(tree).output().unwrap();
    match output.status.success() {
        true => Ok(Image::read(&out.0.join("image"))),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The path that a line of the allow-list lets in.
fn path_of(line: &str) -> Option<String> {
    let mut path = String::new();
    let mut chars = line.strip_prefix('!')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => path.extend(chars.next()),
            // A class of one character.
            '[' => path.extend(chars.next().filter(|_| chars.next() == Some(']'))),
            c => path.push(c),
        }
    }
    Some(path)
}
