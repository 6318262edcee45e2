//! What can be missing: an engine, a buildx that works, an architecture, an image to build from, a repository.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use expect_test::{Expect, expect};

use super::{Untouched, case, check_with_registry, untouched};
use crate::engine::{Engine, Store};
use crate::harness::{OTHER, OWN, TempDir, Tree};

#[test]
fn engines_and_architectures() {
    check_with_registry([
        case("no engine", &["build"]).missing().env("DOCKER_HOST", "unix:///nowhere.sock").says(expect![[r#"
            error: the builder: cannot be used: Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?
              help: start the engine: cargo xtask setup"#]]),
        case("nothing at the engine's port", &["build"]).missing().env("DOCKER_HOST", "tcp://127.0.0.1:1").says(expect![[r#"
            error: the builder: cannot be used: Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?
              help: start the engine: cargo xtask setup"#]]),
        case("no such builder", &["build", "--builder", "nobody"]).missing().says(expect![[r#"
            error: builder `nobody`: cannot be used: no builder "nobody" found
              help: docker buildx ls lists the builders, and docker buildx create makes one"#]]),
        case("no engine, in pipeline", &["pipeline"]).missing().env("DOCKER_HOST", "unix:///nowhere.sock").says(expect![[r#"
            error: the builder: cannot be used: Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?
              help: start the engine: cargo xtask setup"#]]),
        case("no image of this name", &["build"]).missing().file("jobs/job/Dockerfile", "FROM busybox:1.37\nFROM busybox:nothing\n")
            .file("jobs/other/Dockerfile", "FROM busybox:nothing-either\n")
            .env("JOBS_MIRRORS", "docker.io=127.0.0.1:5000").says(expect![[r#"
                error: jobs/job/Dockerfile:2: base `busybox:nothing` cannot be resolved to a digest: there is no 127.0.0.1:5000/library/busybox:nothing
                  help: mend the name or the tag, copy the image to the mirror of docker.io, or name another: JOBS_MIRRORS=docker.io=<mirror>
                error: jobs/other/Dockerfile:1: base `busybox:nothing-either` cannot be resolved to a digest: there is no 127.0.0.1:5000/library/busybox:nothing-either
                  help: mend the name or the tag, copy the image to the mirror of docker.io, or name another: JOBS_MIRRORS=docker.io=<mirror>"#]]),
        case("no such image, for several jobs", &["plan"]).missing()
            .file("jobs/job/Dockerfile", "FROM busybox:nothing\n")
            .file("jobs/l/Dockerfile", "FROM busybox:1.37\nFROM busybox:nothing\n")
            .file("jobs/m/Dockerfile", "FROM busybox:nothing\n")
            .file("jobs/n/Dockerfile", "FROM busybox:nothing\n")
            .file("jobs/o/Dockerfile", "FROM busybox:nothing\n")
            .env("JOBS_MIRRORS", "docker.io=127.0.0.1:5000").says(expect![[r#"
                error: jobs/job/Dockerfile:1: base `busybox:nothing` cannot be resolved to a digest: there is no 127.0.0.1:5000/library/busybox:nothing (and 4 more: jobs/l/Dockerfile:2, jobs/m/Dockerfile:1, jobs/n/Dockerfile:1, …)
                  help: mend the name or the tag, copy the image to the mirror of docker.io, or name another: JOBS_MIRRORS=docker.io=<mirror>"#]]),
        case("no mirror of this name", &["build"]).missing().env("JOBS_MIRRORS", "docker.io=127.0.0.1:1").says(expect![[r#"
            error: jobs/job/Dockerfile:1: base `busybox:1.37` cannot be resolved to a digest at 127.0.0.1:1: Failed to connect to 127.0.0.1 port 1: Couldn't connect to server
              help: nothing listens there: cargo xtask setup starts the loopback registry; or set JOBS_MIRRORS=docker.io=<mirror> (or `mirrors` in Cargo.toml)"#]]),
    ]);
}

#[test]
fn an_architecture_that_is_not_native() {
    let registry = untouched::registry();
    let tree = Tree::with_jobs(&["job"]);
    let untouched = Untouched::now(&tree, Some(&registry));
    let run = tree.run_with(&["build", "--arch", OTHER], &[("JOBS_REGISTRY", &registry.address)]).ended(4);
    expect![[r#"
        error: architecture `<other>`: not native to the builder, which could only emulate it
          rule: each architecture is built on hardware of its own
          help: run this on a native runner, add a native node (docker buildx create --append --platform linux/<other> …), or give --emulate"#]].assert_eq(&run.errors().replace(OTHER, "<other>"));
    untouched.check(&tree, Some(&registry), &run);
}

#[test]
fn an_engine_that_does_not_answer() {
    let dir = TempDir::new();
    let socket = dir.0.join("docker.sock");
    // Connections wait in its queue, and nobody takes them.
    let _listener = UnixListener::bind(&socket).unwrap();
    let host = format!("unix://{}", socket.display());
    let run = Tree::with_jobs(&["job"]).run_with(&["doctor"], &[("DOCKER_HOST", &host)]).ended(4);
    expect![[r#"
        error: engine: does not answer: `docker version` timed out after 10 s
          help: restart the engine, or set DOCKER_HOST to one that answers"#]]
    .assert_eq(run.errors());
}

#[test]
fn no_docker() {
    let programs = TempDir::new();
    let path = std::env::var_os("PATH").unwrap();
    for program in ["cargo", "curl", "git", "sh"] {
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
        std::os::unix::fs::symlink(found.unwrap(), programs.0.join(program)).unwrap();
    }
    let tree = Tree::with_jobs(&["job"]);
    let env = [("PATH", programs.0.to_str().unwrap()), ("JOBS_REGISTRY", "127.0.0.1:1")];
    let untouched = Untouched::now(&tree, None);
    let said = tree.run_with(&["build"], &env).ended(4);
    untouched.check(&tree, None, &said);
    expect![[r#"
        error: `docker`: could not start: No such file or directory (os error 2)
          help: install it: cargo xtask setup"#]]
    .assert_eq(said.errors());
    for command in ["merge", "pipeline"] {
        assert_eq!(tree.run_with(&[command], &env).ended(4).errors(), said.errors(), "{command}");
    }
}

/// A plugin of docker that is found before the machine's own, and only says its version; or that is none at all.
fn with_buildx(version: Option<&str>) -> TempDir {
    let dir = TempDir::new();
    let plugins = dir.0.join("cli-plugins");
    std::fs::create_dir(&plugins).unwrap();
    let script = match version {
        Some(version) => format!(
            "#!/bin/sh\ncase $1 in\n\
             docker-cli-plugin-metadata) echo '{{\"SchemaVersion\": \"0.1.0\", \"Vendor\": \"test\"}}' ;;\n\
             *) echo 'github.com/docker/buildx {version} 0123456' ;;\nesac\n"
        ),
        None => "#!/bin/sh\nexit 1\n".to_owned(),
    };
    let plugin = plugins.join("docker-buildx");
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[test]
fn a_buildx_that_cannot_be_used() {
    let tree = Tree::with_jobs(&["job"]);
    let registry = untouched::registry();
    let untouched = Untouched::now(&tree, Some(&registry));
    let versions: [(Option<&str>, Expect); 5] = [
        (
            None,
            expect![[r#"
            error: buildx: not installed
              rule: buildx 0.22.0 or newer, and not 0.31.1, is needed
              help: install it: cargo xtask setup"#]],
        ),
        (
            Some("v0.21.3"),
            expect![[r#"
                error: buildx: 0.21.3 is too old
                  rule: buildx 0.22.0 or newer, and not 0.31.1, is needed
                  help: put another one where docker looks first: into ~/.docker/cli-plugins/docker-buildx, from github.com/docker/buildx/releases"#]],
        ),
        (
            Some("0.9.1+ds1"),
            expect![[r#"
                error: buildx: 0.9.1 is too old
                  rule: buildx 0.22.0 or newer, and not 0.31.1, is needed
                  help: put another one where docker looks first: into ~/.docker/cli-plugins/docker-buildx, from github.com/docker/buildx/releases"#]],
        ),
        (
            Some("v0.31.1"),
            expect![[r#"
                error: buildx: 0.31.1 breaks merges
                  rule: buildx 0.22.0 or newer, and not 0.31.1, is needed
                  help: put another one where docker looks first: into ~/.docker/cli-plugins/docker-buildx, from github.com/docker/buildx/releases"#]],
        ),
        (
            Some("unknown"),
            expect![[r#"
                error: buildx: has no version that can be read: github.com/docker/buildx unknown 0123456
                  rule: buildx 0.22.0 or newer, and not 0.31.1, is needed
                  help: put another one where docker looks first: into ~/.docker/cli-plugins/docker-buildx, from github.com/docker/buildx/releases"#]],
        ),
    ];
    for (version, message) in versions {
        let config = with_buildx(version);
        let env = [("DOCKER_CONFIG", config.0.to_str().unwrap()), ("JOBS_REGISTRY", registry.address.as_str())];
        let said = tree.run_with(&["build"], &env).ended(4);
        message.assert_eq(said.errors());
        for command in [&["pipeline"][..], &["merge"], &["merge", "--dry-run"], &["doctor", "-q"]] {
            let run = tree.run_with(command, &env).ended(4);
            assert!(run.errors().starts_with(said.errors().lines().next().unwrap()), "{command:?}: {}", run.errors());
            if command[0] != "doctor" {
                untouched.check(&tree, Some(&registry), &run);
            }
        }
    }
}

/// A registry that answers like ECR where the repository was not created: images can be looked for, and not pushed.
pub fn without_repositories() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It ends with the process of the tests.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
    address
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    const UNKNOWN: &str = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'jobs/job' does not exist in the registry with id '111122223333'"}]}"#;
    let mut request = [0; 4096];
    let read = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..read]);
    let mut words = request.split(' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET"), Some("/v2/")) => ("200 OK", "{}"),
        (Some("HEAD"), _) => ("404 Not Found", ""),
        (Some("GET" | "POST" | "PUT"), _) => ("404 Not Found", UNKNOWN),
        // Whoever tries TLS learns from it that there is none.
        _ => ("400 Bad Request", ""),
    };
    let head = "Content-Type: application/json\r\nConnection: close";
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_repository_that_was_not_created() {
    // The other image store has other words for it, see `classic.rs`.
    let (engine, address) = (Engine::with(Store::Containerd), without_repositories());
    let tree = Tree::with_jobs(&["job"]);
    let run = tree.run_with(&["build"], &[engine.env(), ("JOBS_REGISTRY", &address)]).ended(4);
    expect![[r#"
        error: <registry>/jobs/job:<sha>-<own>: could not be pushed: unknown: The repository with name 'jobs/job' does not exist in the registry with id '111122223333'
          help: create the repository before the first push: cargo xtask ecr ensure
            the log is target/xtask/logs/job-<own>.log
            rerun: cargo xtask build --arch <own> job"#]].assert_eq(&run.errors().replace(&address, "<registry>").replace(OWN, "<own>"));
    assert_eq!(run.stdout, "");
}
