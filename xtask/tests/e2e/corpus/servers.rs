//! What the corpus builds from and downloads: a registry and a file server of the tests' own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::case::Case;
use crate::harness::{Registry, TempDir, docker};

/// A registry, and files that `ADD` downloads: `hello.txt`, `hello.tar`, and the git repository `repo.git`.
pub struct Servers {
    pub registry: Registry,
    pub files: String,
    folder: TempDir,
}

impl Servers {
    pub fn start() -> Servers {
        let folder = TempDir::new();
        std::fs::write(folder.0.join("hello.txt"), "hello\n").unwrap();
        run("tar", &["-cf", "hello.tar", "hello.txt"], &folder.0);
        repository(&folder.0);
        quick_docker(&folder.0.join("programs"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = listener.local_addr().unwrap().to_string();
        let root = folder.0.clone();
        // It ends with the tests' process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = root.clone();
                std::thread::spawn(move || answer(&stream, &root));
            }
        });
        Servers { registry: Registry::start(), files, folder }
    }

    /// The search path for programs, with those of the tests before all others.
    pub fn path(&self) -> String {
        format!("{}:{}", self.folder.0.join("programs").display(), std::env::var("PATH").unwrap())
    }

    /// Builds and pushes the images that a case builds from.
    pub fn push_images(&self, case: &Case) {
        for (name, dockerfile) in &case.images {
            let folder = TempDir::new();
            std::fs::write(folder.0.join("Dockerfile"), dockerfile).unwrap();
            let image = format!("{}/{name}", self.registry.address);
            // Where it is a base, it has to be there for all architectures.
            let both = ["--platform", "linux/amd64,linux/arm64"];
            let build = ["buildx", "build", "--quiet", "--push", both[0], both[1], "-t", &image];
            docker(&[&build[..], &[folder.0.to_str().unwrap()]].concat());
        }
    }
}

/// A `docker` that asks the engine about itself only once: hundreds of plans want to know the version of buildx, which
/// takes longer than the rest of a plan.
const QUICK_DOCKER: &str = r#"#!/bin/sh
PATH=${PATH#*:}
case "$*" in
    "buildx version" | "buildx inspect"* | "buildx ls"* | "version"* | "info"*)
        answer=$0-$(echo "$*" | tr -c 'a-z0-9\n' -)
        [ -f "$answer" ] || { docker "$@" > "$answer.$$" && mv "$answer.$$" "$answer"; }
        exec cat "$answer" ;;
esac
exec docker "$@"
"#;

fn quick_docker(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("docker"), QUICK_DOCKER).unwrap();
    std::fs::set_permissions(folder.join("docker"), PermissionsExt::from_mode(0o755)).unwrap();
}

/// A repository that git can clone from a server of plain files.
fn repository(folder: &Path) {
    let work = folder.join("work");
    std::fs::create_dir_all(work.join("sub")).unwrap();
    std::fs::write(work.join("top.txt"), "top\n").unwrap();
    std::fs::write(work.join("sub/below.txt"), "below\n").unwrap();
    run("git", &["init", "--quiet", "--initial-branch=main"], &work);
    run("git", &["add", "--all"], &work);
    let who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    run("git", &[&who[..], &["commit", "--quiet", "--message=first"]].concat(), &work);
    run("git", &["clone", "--quiet", "--bare", "work", "repo.git"], folder);
    run("git", &["update-server-info"], &folder.join("repo.git"));
}

fn run(program: &str, args: &[&str], folder: &Path) {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Answers one request for a file.
fn answer(mut stream: &TcpStream, root: &Path) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let file: Option<PathBuf> = (!path.contains("..")).then(|| root.join(path)).filter(|path| path.is_file());
    let (status, body) = match file.and_then(|file| std::fs::read(file).ok()) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}
