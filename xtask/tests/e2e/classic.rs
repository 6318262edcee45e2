//! What is different with the classic image store, which every Docker before 29 has unless it is configured otherwise,
//! and GitHub's runners with Ubuntu 24.04 among them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use expect_test::expect;

use crate::bad_inputs::without_repositories;
use crate::engine::{Engine, Store};
use crate::harness::{BOTH, DOCKERFILE, LocalImages, OWN, Registry, TempDir, Tree, run_image, without_digests};

const WARNING: &str = "warning: no provenance: the engine's image store holds none (turn on the containerd image store, \
                       or use another driver)\n";

#[test]
fn images_are_pushed_merged_verified_and_run() {
    let (engine, registry) = (Engine::with(Store::Classic), Registry::start());
    let tree = Tree::with_jobs(&["hello", "world"]);
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
    let built = tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    assert_eq!(built.stderr.matches(WARNING).count(), 1, "{}", built.stderr);
    let merged = tree.run_with(&["merge"], &env).ended(0);
    assert_eq!(
        without_digests(&merged.stdout.replace(&registry.address, "<registry>")),
        "<registry>/jobs/hello:<sha>@sha256:…\n<registry>/jobs/world:<sha>@sha256:…\n"
    );
    assert_eq!(tree.run_with(&["verify"], &env).ended(0).stdout, merged.stdout);
    let image = format!("{}/jobs/hello:{}", registry.address, tree.tag());
    assert_eq!(run_image(&image, "amd64"), "I am nobody on x86_64");
    assert_eq!(run_image(&image, "arm64"), "I am nobody on aarch64");
    // Nothing is built again, neither for this commit nor for the next.
    tree.commit("nothing changes");
    let again = tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    assert!(again.stderr.contains("Finished nothing to build"), "{}", again.stderr);
    tree.run_with(&["merge"], &env).ended(0);
    tree.run_with(&["verify"], &env).ended(0);
}

#[test]
fn without_a_registry_both_architectures_are_loaded() {
    let (engine, tree) = (Engine::with(Store::Classic), Tree::with_jobs(&["classic-only"]));
    let tag = tree.tag();
    let _images = LocalImages(["amd64", "arm64"].map(|arch| format!("jobs/classic-only:{tag}-{arch}")).to_vec());
    let both = tree.run_with(&[&["build"], &BOTH[..]].concat(), &[engine.env()]).ended(0);
    assert_eq!(both.stdout, "jobs/classic-only:<sha>-amd64\njobs/classic-only:<sha>-arm64\n");
    for (arch, machine) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        let image = format!("jobs/classic-only:{tag}-{arch}");
        let said = engine.docker(&["run", "--rm", "--platform", &format!("linux/{arch}"), &image]);
        assert_eq!(said, format!("I am nobody on {machine}"));
        engine.docker(&["rmi", "--force", &image]);
    }
}

#[test]
fn a_repository_that_was_not_created() {
    let (engine, address) = (Engine::with(Store::Classic), without_repositories());
    let tree = Tree::with_jobs(&["job"]);
    let run = tree.run_with(&["build"], &[engine.env(), ("JOBS_REGISTRY", &address)]).ended(4);
    expect![[r#"
        error: <registry>/jobs/job:<sha>-<own>: could not be pushed: name unknown: The repository with name 'jobs/job' does not exist in the registry with id '111122223333'
          help: create the repository before the first push: cargo xtask ecr ensure
            the log is target/xtask/logs/job-<own>.log
            rerun: cargo xtask build --arch <own> job"#]]
    .assert_eq(&run.errors().replace(&address, "<registry>").replace(OWN, "<own>"));
}

#[test]
fn what_a_target_wants_of_its_images_is_not_left_out() {
    let (engine, registry) = (Engine::with(Store::Classic), Registry::start());
    let target = "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\n\
                  provenance = \"max\"\ncache = \"registry\"\n";
    let tree = Tree::new(&[("jobs/job/Dockerfile", DOCKERFILE), ("Cargo.toml", target)]);
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["build", "--arch", OWN], &env).ended(4);
    expect![[r#"
        error: attestations: wanted by the target, and the engine's image store holds none
          rule: what a target wants of its images is not left out
          help: use a builder with the driver `docker-container` or `remote` (docker buildx create --use), or turn on the containerd image store of the engine; for a runner of GitHub's own, cargo xtask setup --ci does so"#]]
    .assert_eq(run.errors());
    // A cache is a convenience: what cannot be kept is left out.
    tree.write("Cargo.toml", &target.replace("provenance = \"max\"\n", ""));
    tree.commit("no provenance");
    let dry = tree.run_with(&["build", "--arch", OWN, "--dry-run"], &env).ended(0);
    assert!(
        dry.stdout.contains(" --provenance=false --output ") && !dry.stdout.contains("--cache-to"),
        "{}",
        dry.stdout
    );
}

#[test]
fn doctor_explains_what_the_classic_store_cannot_hold() {
    let (engine, tree) = (Engine::with(Store::Classic), Tree::with_jobs(&["a"]));
    let run = tree.run_with(&["doctor", "--format", "json"], &[engine.env()]).ended(0);
    let rows: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["what"] == "builder").unwrap();
    expect![[r#"
        {
          "fix": "set {\"features\":{\"containerd-snapshotter\":true}} in /etc/docker/daemon.json, and restart the engine (a reload is not enough)",
          "found": "docker driver with the classic image store: no attestations, no cache in the registry, no annotations on indexes",
          "health": "warn",
          "needed": "attestations",
          "what": "builder"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(row).unwrap());
}

/// Programs that stand in for apt's, with a package that holds a program called `busybox` for each architecture.
fn packages() -> TempDir {
    let programs = TempDir::new();
    for (name, script) in [
        ("apt-get", "for last; do :; done\n[ \"$last\" = update ] || touch package.deb"),
        (
            "dpkg-deb",
            "mkdir \"$3/bin\"\nprintf '#!/bin/sh\\necho sh\\n' >\"$3/bin/busybox\"\nchmod +x \"$3/bin/busybox\"",
        ),
    ] {
        let path = programs.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    programs
}

#[test]
fn the_engine_of_somebody_elses_runner_is_kept_and_the_plan_says_what_it_cannot_do() {
    let (engine, registry) = (Engine::with(Store::Classic), Registry::start());
    let target = "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\nsbom = true\n";
    let tree = Tree::new(&[("jobs/job/Dockerfile", DOCKERFILE), ("Cargo.toml", target)]);
    let of_their_own = [
        engine.env(),
        ("JOBS_REGISTRY", registry.address.as_str()),
        ("GITHUB_ACTIONS", "true"),
        ("RUNNER_ENVIRONMENT", "self-hosted"),
        ("NO_COLOR", "1"),
    ];
    let errors = |args: &[&str]| {
        let run = tree.run_with(args, &of_their_own).ended(4);
        run.errors().lines().filter(|line| !line.starts_with("::")).collect::<Vec<_>>().join("\n")
    };
    let refused = errors(&["setup", "--ci"]);
    expect![[r#"
        error: attestations: wanted by the target, and the engine's image store holds none
          rule: what a target wants of its images is not left out
          help: use a builder with the driver `docker-container` or `remote` (docker buildx create --use), or turn on the containerd image store of the engine; for a runner of GitHub's own, cargo xtask setup --ci does so"#]]
    .assert_eq(&refused);
    assert_eq!(errors(&["discover", "--changed"]), refused);
    // Where nothing is wanted that this engine cannot do, the work goes on.
    tree.write("Cargo.toml", &target.replace("sbom = true\n", ""));
    tree.commit("no bill of materials");
    let run = tree.run_with(&["setup", "--ci"], &of_their_own).ended(0);
    assert!(run.stderr.contains("no provenance: the engine's image store holds none"), "{}", run.stderr);
    assert!(run.stderr.contains("Kept the engine as it is: this is no runner of GitHub's own"), "{}", run.stderr);
    assert_eq!(tree.run_with(&["discover", "--changed"], &of_their_own).ended(0).stdout, "[\"jobs/job\"]\n");
    // An engine in the other store needs nothing.
    let with_store = Engine::with(Store::Containerd);
    let run = tree.run_with(&["setup", "--ci"], &[&of_their_own[1..], &[with_store.env()]].concat()).ended(0);
    assert!(run.stderr.contains("driver docker: images keep their attestations"), "{}", run.stderr);
}

/// Ends the loopback registry that a run started for its tree.
struct LoopbackRegistry(PathBuf);

impl Drop for LoopbackRegistry {
    fn drop(&mut self) {
        let config = self.0.join("target/xtask/registry/config.yml").display().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if std::fs::read_to_string(process.path().join("cmdline")).is_ok_and(|line| line.contains(&config)) {
                let _ = Command::new("kill").arg(process.file_name()).status();
            }
        }
    }
}

#[test]
fn behind_a_closed_network_the_base_is_filled_one_architecture_at_a_time() {
    let (engine, programs) = (Engine::with(Store::Classic), packages());
    let tree = Tree::new(&[("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY Cargo.toml /\n")]);
    let _registry = LoopbackRegistry(tree.path().to_owned());
    let path = format!("{}:{}", programs.0.display(), std::env::var("PATH").unwrap());
    // Docker Hub is out of reach, and loopback needs no proxy.
    let closed = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("JOBS_MIRRORS", "")];
    let env = [&[engine.env(), ("PATH", path.as_str())], &closed[..]].concat();
    let run = tree.run_with(&["pipeline", "--setup"], &env).ended(0);
    assert!(run.stderr.contains("Docker Hub cannot be reached from here"), "{}", run.stderr);
    let (address, _) = run.stdout.split_once("/jobs/job:<sha>@sha256:").unwrap();
    let base = engine.docker(&["buildx", "imagetools", "inspect", &format!("{address}/library/busybox:1.37")]);
    let platforms: Vec<&str> = base.lines().filter_map(|line| line.trim().strip_prefix("Platform:")).collect();
    assert_eq!(platforms.iter().map(|platform| platform.trim()).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
}
