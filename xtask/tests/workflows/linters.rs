//! Others' programs over the workflows and Dockerfiles. They report nothing, and each is shown to be alive.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::examples::example;
use crate::harness::{TempDir, python_programs};
use crate::workflow::{self, root};

/// The workflows, with the repository as the working directory: it holds what the linters' rules need to know.
fn lint(program: &str, args: &[&str], files: &[PathBuf]) -> Result<(), String> {
    assert!(!files.is_empty(), "{program} has nothing to judge");
    let output =
        Command::new(python_programs().join(program)).args(args).args(files).current_dir(root()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&said).into_owned())
}

fn zizmor(files: &[PathBuf]) -> Result<(), String> {
    lint("zizmor", &["--offline", "--persona=pedantic", "--no-progress", "--strict-collection"], files)
}

fn actionlint(files: &[PathBuf]) -> Result<(), String> {
    lint("actionlint", &["-no-color"], files)
}

fn hadolint(files: &[PathBuf]) -> Result<(), String> {
    lint("hadolint", &["--no-color"], files)
}

fn dockerfiles() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    let paths = String::from_utf8(output.stdout).unwrap();
    paths.split('\0').filter(|path| path.ends_with("/Dockerfile")).map(|path| root().join(path)).collect()
}

/// A changed copy of a file, at the same place in a folder of its own.
fn broken(dir: &TempDir, path: &str, from: &str, to: &str) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let copy = dir.0.join(path);
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::write(&copy, workflow::replaced(&text, from, to)).unwrap();
    vec![copy]
}

#[test]
fn zizmor_reports_nothing() {
    zizmor(&workflow::paths()).unwrap();
}

#[test]
fn actionlint_reports_nothing() {
    actionlint(&workflow::paths()).unwrap();
}

#[test]
fn hadolint_reports_nothing() {
    hadolint(&dockerfiles()).unwrap();
}

/// A linter, a file, what is changed in it, and the name under which the linter reports it.
type Breakage = (fn(&[PathBuf]) -> Result<(), String>, &'static str, &'static str, &'static str, &'static str);

#[test]
fn the_linters_find_what_is_wrong() {
    let images = ".github/workflows/images.yml";
    let breakages: [Breakage; 6] = [
        (zizmor, images, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        (zizmor, images, "\npermissions: {}\n", "\n", "excessive-permissions"),
        (zizmor, images, "          persist-credentials: false\n", "          fetch-tags: false\n", "artipacked"),
        (zizmor, images, "--arch \"$ARCH\"", "--arch ${{ github.head_ref }}", "template-injection"),
        (actionlint, images, "steps.plan.outputs.any }}", "steps.pln.outputs.any }}", "[expression]"),
        (hadolint, "jobs/job-a/Dockerfile", "FROM busybox:1.37", "FROM busybox:latest", "DL3007"),
    ];
    for (lint, path, from, to, name) in breakages {
        let dir = TempDir::new();
        let reported = lint(&broken(&dir, path, from, to)).expect_err(name);
        assert!(reported.contains(name), "{name}: {reported}");
    }
}

/// What README adds to the workflow, put where it says.
#[test]
fn what_the_readme_adds_to_the_workflow_is_judged_too() {
    let indented = |text: &str| text.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let cosign = indented(&example("README.md", "Set up on GitHub and AWS", 3));
    let secret = example("README.md", "Secrets of jobs", 0);
    let password = example("README.md", "Other registries", 1);
    let deploy = format!(
        "\n  deploy:\n    name: Deploy\n    needs: [plan, merge]\n    if: \"!cancelled()\"\n    runs-on: *runner\n    \
         timeout-minutes: 5\n    permissions: {{}}\n    steps:\n      - name: A token for the other repository\n        \
         id: app\n        run: echo token=of-an-app >> \"$GITHUB_OUTPUT\"\n{}",
        example("README.md", "Hand the images over", 3)
    );
    let (dir, path) = (TempDir::new(), ".github/workflows/images.yml");
    let show = "      - name: Show where images go\n";
    let build = "          ARCH: ${{ matrix.arch }}\n";
    let login = "        name: Log in to the registry\n";
    let images = "\n  images:\n";
    let mut text = std::fs::read_to_string(root().join(path)).unwrap();
    for (at, more) in [
        (show, format!("{cosign}{show}")),
        (build, format!("{build}{secret}")),
        (login, format!("{login}{password}")),
        (images, format!("{deploy}{images}")),
    ] {
        text = workflow::replaced(&text, at, &more);
    }
    std::fs::create_dir_all(dir.0.join(".github/workflows")).unwrap();
    std::fs::write(dir.0.join(path), text).unwrap();
    actionlint(&[dir.0.join(path)]).unwrap();
    zizmor(&[dir.0.join(path)]).unwrap();
}

#[test]
fn every_dockerfile_of_the_jobs_is_judged() {
    let folders = std::fs::read_dir(root().join("jobs")).unwrap();
    let jobs = folders.filter(|entry| Path::new(&entry.as_ref().unwrap().path()).join("Dockerfile").is_file());
    assert_eq!(dockerfiles().iter().filter(|path| path.starts_with(root().join("jobs"))).count(), jobs.count());
}
