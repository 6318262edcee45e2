//! `doctor`, and the dry runs of `setup` and `pipeline`: what is missing, one remedy for each thing, and what would be
//! done.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::engine::{Engine, Store, as_root};
use crate::harness::{OTHER, Registry, TempDir, Tree, without_digests};

/// What `doctor` says, row by row.
fn rows(tree: &Tree, env: &[(&str, &str)], code: i32) -> BTreeMap<String, Value> {
    let run = tree.run_with(&["doctor", "--format", "json"], env).ended(code);
    let rows: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    rows.into_iter().map(|row| (row["what"].as_str().unwrap().to_owned(), row)).collect()
}

/// A row as people would say it.
#[track_caller]
fn check(rows: &BTreeMap<String, Value>, what: &str, expected: &Expect) {
    let row = rows.get(what).unwrap_or_else(|| panic!("no row `{what}`: {rows:?}"));
    let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let [health, found, needed, fix] = ["health", "found", "needed", "fix"].map(text);
    expected.assert_eq(&format!("{health}: {found}\n  needed: {needed}\n  fix: {fix}"));
}

#[test]
fn doctor_finds_everything_that_setup_installed() {
    let (engine, tree) = (Engine::with(Store::Containerd), Tree::with_jobs(&["a"]));
    let run = tree.run_with(&["doctor", "--format", "json"], &[engine.env(), ("JOBS_PASSWORD", "pass-word")]).ended(0);
    let findings: Value = serde_json::from_str(&run.stdout).unwrap();
    let health: Vec<String> =
        findings.as_array().unwrap().iter().map(|f| format!("{} {}", f["what"], f["health"])).collect();
    expect![[r#"
        machine ok
        xtask ok
        cargo ok
        git ok
        curl ok
        setpriv ok
        docker ok
        engine ok
        buildx ok
        builder ok
        room ok
        amd64 ok
        arm64 ok
        registry ok
        base images ok
        repository ok"#]]
    .assert_eq(&health.join("\n").replace('"', ""));
    // Versions, and no secrets.
    let has_digit = |text: &Value| text.as_str().unwrap().contains(|c: char| c.is_ascii_digit());
    for what in ["machine", "xtask", "cargo", "git", "curl", "docker", "engine", "buildx", "registry", "base images"] {
        let row = findings.as_array().unwrap().iter().find(|row| row["what"] == what).unwrap();
        assert!(has_digit(&row["found"]), "{row}");
    }
    assert!(!run.stdout.contains("pass-word"));
}

#[test]
fn without_an_engine_the_remedy_is_setup() {
    let tree = Tree::with_jobs(&["a"]);
    let nowhere = ("DOCKER_HOST", "unix:///nowhere.sock");
    let run = tree.run_with(&["build"], &[nowhere]).ended(4);
    assert!(run.errors().ends_with("help: start the engine: cargo xtask setup"), "{}", run.errors());
    let found = rows(&tree, &[nowhere], 4);
    check(
        &found,
        "engine",
        &expect![[r#"
        fail: Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?
          needed: one that answers
          fix: start the engine there, or unset DOCKER_HOST to use this machine's"#]],
    );
    assert!(!found.contains_key("builder") && found.contains_key("buildx"), "one complaint: {found:?}");
    // Another engine would not be the one that is asked for.
    expect![[r#"
        error: the engine: Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?
          help: start the engine there, or unset DOCKER_HOST to use this machine's"#]]
    .assert_eq(tree.run_with(&["setup"], &[nowhere]).ended(4).errors());
    let cargo = Command::new("sh").args(["-c", "dirname $(command -v cargo)"]).output().unwrap().stdout;
    let without_docker = only(&["git", "curl", "df"]);
    let path = format!("{}:{}", without_docker.0.display(), String::from_utf8(cargo).unwrap().trim());
    let found = rows(&tree, &[("PATH", &path)], 4);
    check(
        &found,
        "docker",
        &expect![[r#"
        fail: not installed
          needed: docker's own client
          fix: cargo xtask setup"#]],
    );
    check(
        &found,
        "setpriv",
        &expect![[r#"
        warn: not installed: builds outlive a `kill -9`
          needed: any version
          fix: install util-linux"#]],
    );
}

#[test]
fn the_table_fits_the_terminal() {
    let tree = Tree::with_jobs(&["a"]);
    for (env, code) in [(&[][..], 0), (&[("DOCKER_HOST", "unix:///nowhere.sock")], 4)] {
        let table = tree.run_with(&["doctor"], env).ended(code).stdout;
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.lines().count() > 10, "{table}");
    }
}

/// A folder with links to some programs.
fn only(programs: &[&str]) -> TempDir {
    let (dir, path) = (TempDir::new(), std::env::var_os("PATH").unwrap());
    for program in programs {
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
        symlink(found.unwrap(), dir.0.join(program)).unwrap();
    }
    dir
}

#[test]
fn whoever_may_not_use_the_engine_is_told_of_the_group() {
    let (tree, dir) = (Tree::with_jobs(&["a"]), TempDir::new());
    let socket = dir.0.join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let host = format!("unix://{}", socket.display());
    for command in ["doctor", "setup", "build"] {
        let plain = tree.command(&[command], &[("DOCKER_HOST", &host)]);
        // What root may do, nothing but the loss of this right keeps it from doing.
        let mut command = Command::new("setpriv");
        if String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0" {
            command.arg("--bounding-set=-dac_override,-dac_read_search");
        }
        command.arg(plain.get_program()).args(plain.get_args()).current_dir(tree.path()).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let help = "help: join the group `docker`, and log in again: sudo usermod --append --groups docker \"$USER\"\n";
        assert!(stderr.ends_with(help) && stderr.matches("error: ").count() == 1, "{stderr}");
        assert_eq!(output.status.code(), Some(4), "{stderr}");
    }
}

#[test]
fn podman_under_dockers_name_is_named() {
    let (tree, dir) = (Tree::with_jobs(&["a"]), only(&["podman"]));
    symlink("podman", dir.0.join("docker")).unwrap();
    let path = format!("{}:{}", dir.0.display(), std::env::var("PATH").unwrap());
    let version = Command::new("podman").arg("--version").output().expect("podman is needed: run `cargo xtask setup`");
    let version = String::from_utf8(version.stdout).unwrap().trim().replace("podman version ", "");
    let found = rows(&tree, &[("PATH", &path)], 4);
    assert_eq!(found["docker"]["found"], format!("podman {version} goes by its name"));
    assert!(!found.contains_key("engine") && !found.contains_key("buildx"), "one complaint: {found:?}");
    let said = tree.run_with(&["setup", "--dry-run"], &[("PATH", &path)]).ended(4);
    expect![[r#"
        error: docker: podman <version> goes by its name
          help: remove the package podman-docker, or what else gives podman this name, and run cargo xtask setup: buildx belongs to docker's own client"#]].assert_eq(&said.errors().replace(&version, "<version>"));
    assert_eq!(said.stdout, "");
    // The package podman-docker has a script of that name.
    std::fs::remove_file(dir.0.join("docker")).unwrap();
    std::fs::write(dir.0.join("docker"), "#!/bin/sh\nexec podman \"$@\"\n").unwrap();
    std::fs::set_permissions(dir.0.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(rows(&tree, &[("PATH", &path)], 4)["docker"], found["docker"]);
}

#[test]
fn podmans_engine_is_no_engine() {
    let (tree, dir) = (Tree::with_jobs(&["a"]), TempDir::new());
    let socket = dir.0.join("podman.sock");
    let mut podman = as_root("podman");
    podman.args(["--storage-driver", "vfs", "--root"]).arg(dir.0.join("root")).arg("--runroot").arg(dir.0.join("run"));
    podman.args(["system", "service", "--time", "60"]).arg(format!("unix://{}", socket.display()));
    let mut podman = podman.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&socket);
    assert!(as_root("chmod").arg("666").arg(&socket).status().unwrap().success());
    let host = format!("unix://{}", socket.display());
    let found = rows(&tree, &[("DOCKER_HOST", &host)], 4);
    let _ = as_root("kill").arg(podman.id().to_string()).status();
    let _ = podman.wait();
    let _ = as_root("rm").args(["--recursive", "--force"]).arg(dir.0.join("root")).arg(dir.0.join("run")).status();
    let version = found["engine"]["found"].as_str().unwrap();
    assert!(version.starts_with("podman ") && version.ends_with(" answers in its place"), "{version}");
    assert_eq!(found["engine"]["fix"], "unset DOCKER_HOST, or name docker's own engine in it");
}

fn wait_for(path: &Path) {
    for _ in 0..400 {
        if path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} does not come", path.display());
}

#[test]
fn what_the_targets_want_is_looked_for() {
    let registry = Registry::with_user("user", "$2y$05$B8Jm7k5tMeM4pWR6xGXN9u3rkpHUnA3pLlQ8Gr8Xp8dHGJpIDiRjC");
    let target = format!(
        "[workspace]\n[workspace.metadata.jobs.mirrors]\n\"ghcr.io\" = \"127.0.0.1:1/x\"\n\
         [workspace.metadata.jobs.targets.here]\nrefs = [\"refs/heads/main\"]\nregistry = \"{}\"\n\
         [workspace.metadata.jobs.targets.ecr]\nrefs = [\"refs/tags/v1\"]\nattest = true\n\
         registry = \"111122223333.dkr.ecr.eu-west-1.amazonaws.com\"\n",
        registry.address
    );
    let tree = Tree::new(&[("jobs/a/Dockerfile", "FROM scratch\nCOPY Cargo.toml /\n"), ("Cargo.toml", &target)]);
    let tools = only(&["cargo", "git", "curl", "df"]);
    let path = ("PATH", tools.0.to_str().unwrap());
    let found = rows(&tree, &[], 0);
    check(
        &found,
        "login",
        &expect![[r#"
        warn: 401 Unauthorized
          needed: a login that may read
          fix: log in to the registry: cargo xtask login"#]],
    );
    check(
        &found,
        "mirror",
        &expect![[r#"
        warn: Failed to connect to 127.0.0.1 port 1: Couldn't connect to server
          needed: one that answers
          fix: nothing listens there: cargo xtask setup starts the loopback registry"#]],
    );
    assert_eq!(found["repository"]["found"], "<sha>");
    let found = rows(&tree, &[path, ("GITHUB_REF", "refs/tags/v1")], 4);
    check(
        &found,
        "aws",
        &expect![[r#"
        warn: not installed
          needed: the AWS client, for ECR
          fix: install the AWS CLI 2: docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"#]],
    );
    check(
        &found,
        "gh",
        &expect![[r#"
        warn: not installed
          needed: 2.67 or newer, for `attest`
          fix: install the GitHub CLI, which GitHub's own runners have: cli.github.com"#]],
    );
}

#[test]
fn a_repository_that_git_refuses_is_a_finding() {
    let tree = Tree::with_jobs(&["a"]);
    let found = rows(&tree, &[("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")], 4);
    check(
        &found,
        "repository",
        &expect![[r#"
        fail: `git symbolic-ref --quiet HEAD --` exited with 128: fatal: detected dubious ownership in repository at '<tree>'
          needed: a commit
          fix: follow what git says above, and run this again"#]],
    );
}

#[test]
fn a_dry_run_of_setup_prints_all_that_it_would_do() {
    let tree = Tree::with_jobs(&["a"]);
    // Docker Hub is out of reach.
    let closed = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("JOBS_MIRRORS", "")];
    let run = tree.run_with(&["setup", "--dry-run"], &closed).ended(0);
    let (port, _) = run.stdout.split_once("127.0.0.1:").unwrap().1.split_once(['\\', '"']).unwrap();
    expect![[r#"
        mkdir -p <tree>/target/xtask/registry
        printf %s $'version: 0.1\012log: {level: warn, accesslog: {disabled: true}}\012storage:\012  filesystem: {rootdirectory: "<tree>/target/xtask/registry/data"}\012  delete: {enabled: true}\012http:\012  addr: "<registry>"\012  headers: {x-jobs-registry: ["<tree>/target/xtask/registry"]}\012' ><tree>/target/xtask/registry/config.yml
        docker-registry serve <tree>/target/xtask/registry/config.yml ><tree>/target/xtask/registry/log 2>&1 &
        apt-get -oDir::Etc::sourcelist=/dev/null -oDir::Etc::sourceparts=<tree>/target/xtask/apt-arches/parts -oDir::State::lists=<tree>/target/xtask/apt-arches/lists -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= -oAPT::Architectures::=amd64 -oAPT::Architectures::=arm64 -q=2 update
        rm -rf <tree>/target/xtask/apt-arches/download-amd64
        mkdir -p <tree>/target/xtask/apt-arches/download-amd64 <tree>/target/xtask/busybox/unpacked/amd64
        env --chdir=<tree>/target/xtask/apt-arches/download-amd64 apt-get -oDir::Etc::sourcelist=/dev/null -oDir::Etc::sourceparts=<tree>/target/xtask/apt-arches/parts -oDir::State::lists=<tree>/target/xtask/apt-arches/lists -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= -oAPT::Architectures::=amd64 -oAPT::Architectures::=arm64 -q=2 download busybox-static:amd64
        dpkg-deb --extract <tree>/target/xtask/apt-arches/download-amd64/*.deb <tree>/target/xtask/busybox/unpacked/amd64
        rm -rf <tree>/target/xtask/apt-arches/download-arm64
        mkdir -p <tree>/target/xtask/apt-arches/download-arm64 <tree>/target/xtask/busybox/unpacked/arm64
        env --chdir=<tree>/target/xtask/apt-arches/download-arm64 apt-get -oDir::Etc::sourcelist=/dev/null -oDir::Etc::sourceparts=<tree>/target/xtask/apt-arches/parts -oDir::State::lists=<tree>/target/xtask/apt-arches/lists -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= -oAPT::Architectures::=amd64 -oAPT::Architectures::=arm64 -q=2 download busybox-static:arm64
        dpkg-deb --extract <tree>/target/xtask/apt-arches/download-arm64/*.deb <tree>/target/xtask/busybox/unpacked/arm64
        # a root file system of each architecture, and a Dockerfile, are made of this in <tree>/target/xtask/busybox
        docker buildx build --platform linux/amd64 -t <registry>/library/busybox:1.37-amd64 --output type=image,oci-mediatypes=true,store=false --push --provenance=false --progress plain <tree>/target/xtask/busybox
        docker buildx build --platform linux/arm64 -t <registry>/library/busybox:1.37-arm64 --output type=image,oci-mediatypes=true,store=false --push --provenance=false --progress plain <tree>/target/xtask/busybox
        docker buildx imagetools create -t <registry>/library/busybox:1.37 <registry>/library/busybox:1.37-amd64 <registry>/library/busybox:1.37-arm64
        printf %s <registry> ><tree>/target/xtask/registry/mirrors-docker.io
    "#]].assert_eq(&run.stdout.replace(&format!("127.0.0.1:{port}"), "<registry>"));
    assert!(!tree.path().join("target/xtask/registry").exists(), "nothing was made");
}

#[test]
fn a_dry_run_of_pipeline_prints_what_it_would_do() {
    let (engine, registry, tree) = (Engine::with(Store::Containerd), Registry::start(), Tree::with_jobs(&["a", "b"]));
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
    let plain = |text: &str| without_digests(&text.replace(&registry.address, "<registry>"));
    let printed = tree.command(&["pipeline", "--dry-run", "a"], &env).output().unwrap().stdout;
    let printed = String::from_utf8(printed).unwrap();
    let shown = plain(&printed.replace(&tree.tag(), "<sha>"));
    assert_eq!(shown.matches("docker buildx build --platform linux/").count(), 2, "{shown}");
    assert!(shown.contains(&format!(" -t <registry>/jobs/a:<sha>-{OTHER} ")), "{shown}");
    let place = "--registry <registry> --prefix jobs --tag <sha> --mirrors ";
    let equal = shown.lines().skip(2).map(|line| line.split(place).next().unwrap()).collect::<Vec<_>>();
    assert_eq!(equal, ["cargo xtask merge ", "cargo xtask verify "], "{shown}");
    assert!(registry.tags("jobs/a").is_empty(), "nothing was published");
    // Pasted into a shell, it does the same.
    let script = printed.replace("cargo xtask", &format!("'{}'", env!("CARGO_BIN_EXE_xtask")));
    let mut pasted = Command::new("bash");
    let script = format!("mkdir -p target/xtask/logs\n{script}");
    pasted.args(["-euc", &script]).current_dir(tree.path()).envs([engine.env()]).env_remove("JOBS_REGISTRY");
    let pasted = pasted.output().unwrap();
    assert!(pasted.status.success(), "{script}\n{}", String::from_utf8_lossy(&pasted.stderr));
    assert!(registry.digest("jobs/a", &tree.tag()).is_some() && registry.tags("jobs/b").is_empty());
    // Then there is nothing left to build.
    let again = tree.run_with(&["pipeline", "--dry-run", "a"], &env).ended(0).stdout;
    assert_eq!(again.lines().count(), 2, "{again}");
}

#[test]
fn a_dry_run_of_pipeline_starts_no_registry() {
    let tree = Tree::with_jobs(&["a"]);
    let words = ["pipeline", "--dry-run", "--force", "--no-cache", "--parallel", "2", "--provenance", "max", "a"];
    let run = tree.run_with(&words, &[("JOBS_MIRRORS", "docker.io=127.0.0.1:5000")]).ended(0);
    let (port, _) = run.stdout.split_once("http:\\012  addr: \"127.0.0.1:").unwrap().1.split_once('"').unwrap();
    expect![[r#"
        mkdir -p <tree>/target/xtask/registry
        printf %s $'version: 0.1\012log: {level: warn, accesslog: {disabled: true}}\012storage:\012  filesystem: {rootdirectory: "<tree>/target/xtask/registry/data"}\012  delete: {enabled: true}\012http:\012  addr: "<registry>"\012  headers: {x-jobs-registry: ["<tree>/target/xtask/registry"]}\012' ><tree>/target/xtask/registry/config.yml
        docker-registry serve <tree>/target/xtask/registry/config.yml ><tree>/target/xtask/registry/log 2>&1 &
        cargo xtask build --push --emulate --arch amd64 --arch arm64 --force --parallel 2 --provenance max --no-cache --registry <registry> --prefix jobs --tag <sha> --mirrors docker.io=127.0.0.1:5000 a
        cargo xtask merge --registry <registry> --prefix jobs --tag <sha> --mirrors docker.io=127.0.0.1:5000 a
        cargo xtask verify --registry <registry> --prefix jobs --tag <sha> --mirrors docker.io=127.0.0.1:5000 a
    "#]].assert_eq(&run.stdout.replace(&format!("127.0.0.1:{port}"), "<registry>"));
    assert!(!tree.path().join("target/xtask/registry").exists(), "nothing was made");
}
