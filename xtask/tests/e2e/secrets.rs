//! The secrets of jobs: only the build that is allowed one gets it, nobody sees it, and one that is missing fails its
//! job alone.

use std::path::Path;

use expect_test::expect;

use crate::cloud::{Programs, Watch, files_with};
use crate::harness::{DOCKERFILE, OWN, Registry, TempDir, Tree};

/// Secrets of this test alone: all processes are watched.
const NPM: &str = "the-npm-token-of-the-test";
const PIP: &str = "the-pip-token-of-the-test";
/// Their SHA-256 sums: what a build can tell of them without holding them.
const NPM_SUM: &str = "7d4a7baaac426967d1cd1648c019a3851d0d6411d81d517065037399ef9ff255";
const PIP_SUM: &str = "0daa279657521d0d5259919850f94375f75f64591bb546354194ca26ecae8bf7";

/// A Dockerfile whose build fails without a secret, and prints it.
fn mounting(id: &str, sum: &str) -> String {
    format!(
        "FROM busybox:1.37\nRUN --mount=type=secret,id={id} cd /run/secrets && cat {id} && sha256sum {id} | grep {sum}\n"
    )
}

/// Two jobs with a secret each, and one that tries to mount theirs.
fn tree() -> Tree {
    let table = "[workspace]\n[workspace.metadata.jobs.secrets]\nnpm_token = [\"npm\"]\npip-token = [\"p*\"]\n";
    let thief = "FROM busybox:1.37\nRUN --mount=type=secret,id=npm_token --mount=type=secret,id=pip-token \
                 test -z \"$(ls /run/secrets)\"\n";
    Tree::new(&[
        ("Cargo.toml", table),
        ("jobs/npm/Dockerfile", &mounting("npm_token", NPM_SUM)),
        ("jobs/npm/job.json", r#"{"secrets": ["npm_token"]}"#),
        ("jobs/pip/Dockerfile", &mounting("pip-token", PIP_SUM)),
        ("jobs/pip/job.json", r#"{"secrets": ["pip-token"]}"#),
        ("jobs/thief/Dockerfile", thief),
    ])
}

/// Programs that note how they were called, with their environment, before they do what they are for.
fn noting(folder: &Path) -> Programs {
    ["docker", "git", "curl", "cargo"].into_iter().fold(Programs::new(), |programs, name| {
        let note = format!("{{ echo \"{name} $*\"; env; }} >{}/{name}-$$", folder.display());
        programs.script(name, &format!("{note}\nPATH=\"${{PATH#*:}}\"\nexec {name} \"$@\""))
    })
}

#[test]
fn a_secret_reaches_the_build_of_its_job_and_nothing_else() {
    let (tree, registry, notes, temp) = (tree(), Registry::start(), TempDir::new(), TempDir::new());
    let programs = noting(&notes.0);
    let path = format!("{}:{}", programs.alone(), std::env::var("PATH").unwrap());
    let summary = tree.path().join("target/summary.md");
    std::fs::create_dir_all(summary.parent().unwrap()).unwrap();
    let env = [
        ("JOBS_REGISTRY", registry.address.as_str()),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ("PATH", &path),
        ("TMPDIR", temp.0.to_str().unwrap()),
        ("NPM_TOKEN", NPM),
        ("PIP_TOKEN", PIP),
    ];
    let watch = Watch::start(&temp.0, NPM);
    // What an earlier run of this test left with the engine would print nothing.
    let run = tree.run_with(&["-vv", "build", "--arch", OWN, "--no-cache"], &env);
    let seen = watch.end();
    let run = run.ended(0);

    let has_secret = |text: &str| text.contains(NPM) || text.contains(PIP);
    // What the builds print of it is covered, and the rest of the line is there.
    assert!(run.stderr.contains("npm amd64 | ") || run.stderr.contains("npm arm64 | "), "{}", run.stderr);
    assert!(run.stderr.contains("***"), "{}", run.stderr);
    assert!(!has_secret(&run.stdout) && !has_secret(&run.stderr), "{}\n{}", run.stdout, run.stderr);
    assert!(seen.commands.iter().any(|line| line.contains("--secret id=npm_token,env=NPM_TOKEN")));
    assert!(!seen.commands.iter().any(|line| has_secret(line)), "{:#?}", seen.commands);
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 0, "{:?}", seen.files);
    assert_eq!(files_with(tree.path(), &[NPM, PIP], "none"), [""; 0].map(std::path::PathBuf::from));
    assert!(std::fs::read_to_string(&summary).unwrap().contains("| npm ("), "the summary was written");

    let mut builds = 0;
    for entry in std::fs::read_dir(&notes.0).unwrap() {
        let note = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let call = note.lines().next().unwrap();
        // What reads Cargo.toml runs before anybody knows which variables are secrets.
        if call.starts_with("cargo ") {
            continue;
        }
        let of = |job: &str| call.contains(" buildx build ") && call.contains(&format!("/jobs/{job}:"));
        builds += usize::from(call.contains(" buildx build "));
        let shown = note.replace(NPM, "<npm>").replace(PIP, "<pip>");
        assert_eq!((note.contains(NPM), note.contains(PIP)), (of("npm"), of("pip")), "{shown}");
    }
    assert_eq!(builds, 3);
}

#[test]
fn a_secret_that_is_missing_fails_its_job_alone() {
    let (tree, registry) = (tree(), Registry::start());
    tree.write(
        "Cargo.toml",
        "[workspace]\n[workspace.metadata.jobs.secrets]\nnpm_token = [\"*\"]\npip-token = [\"*\"]\n",
    );
    tree.write("jobs/pip/job.json", r#"{"secrets": ["pip-token", "npm_token"]}"#);
    tree.commit("a job with two");
    // Empty is what a workflow gives that has no such secret.
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("NPM_TOKEN", ""), ("PIP_TOKEN", PIP)];
    for command in ["plan", "discover", "build --dry-run"] {
        tree.run_with(&command.split(' ').collect::<Vec<_>>(), &env).ended(0);
    }
    let run = tree.run_with(&["build", "--arch", OWN], &env).ended(1);
    expect![[r#"
        error: jobs/npm/job.json: secrets: `npm_token`: NPM_TOKEN is not set, so npm (<own>) is not built
          rule: a build reads a secret from the environment variable of its name in upper case
          help: on a laptop, export NPM_TOKEN; in .github/workflows/images.yml, add it to `env` of the step `Build`:
            NPM_TOKEN: ${{ secrets.NPM_TOKEN }}
            GitHub passes none to a pull request from a fork, where this job fails alone
        error: jobs/pip/job.json: secrets: `npm_token`: NPM_TOKEN is not set, so pip (<own>) is not built
          rule: a build reads a secret from the environment variable of its name in upper case
          help: on a laptop, export NPM_TOKEN; in .github/workflows/images.yml, add it to `env` of the step `Build`:
            NPM_TOKEN: ${{ secrets.NPM_TOKEN }}
            GitHub passes none to a pull request from a fork, where this job fails alone"#]]
    .assert_eq(&run.errors().replace(OWN, "<own>"));
    for (job, is_built) in [("npm", false), ("pip", false), ("thief", true)] {
        let digest = registry.digest(&format!("jobs/{job}"), &format!("{}-{OWN}", tree.tag()));
        assert_eq!(digest.is_some(), is_built, "{job}");
    }
    // Once they are there, what is left is built.
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("NPM_TOKEN", NPM), ("PIP_TOKEN", PIP)];
    let rest = tree.run_with(&["build", "--arch", OWN], &env).ended(0);
    assert_eq!(rest.stdout.lines().count(), 2, "{}", rest.stdout);
}

#[test]
fn a_failed_build_shows_its_log_without_the_secret() {
    let tree = Tree::new(&[
        ("Cargo.toml", "[workspace]\n[workspace.metadata.jobs.secrets]\nnpm_token = [\"*\"]\n"),
        ("jobs/npm/Dockerfile", &mounting("npm_token", "another")),
        ("jobs/npm/job.json", r#"{"secrets": ["npm_token"]}"#),
        ("jobs/plain/Dockerfile", DOCKERFILE),
    ]);
    let run = tree.run_with(&["build", "npm"], &[("NPM_TOKEN", NPM)]).ended(1);
    assert!(run.stderr.contains(" ***") && !run.stderr.contains(NPM), "{}", run.stderr);
    assert_eq!(files_with(tree.path(), &[NPM], "none"), [""; 0].map(std::path::PathBuf::from));
}
