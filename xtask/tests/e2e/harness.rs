//! Repositories, registries and runs of the program, all of the tests' own, and gone when the test ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::engine::{Engine, Store};

/// The architecture of this machine: what it builds without emulation.
pub const OWN: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The other one, which it can only emulate.
pub const OTHER: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
/// The flags with which every machine builds both.
pub const BOTH: [&str; 5] = ["--arch", "amd64", "--arch", "arm64", "--emulate"];

/// The header with which a registry gives every kind of manifest as it was pushed. What is left out, it may translate
/// into an older kind, and sign, so that its digest is another each time.
pub const ACCEPT: &str = "Accept: application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A folder that is removed when the test ends.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("xtask-e2e-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path.canonicalize().unwrap())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The root of this repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder with the programs of `tests/requirements.txt`, installed by the first test that asks for it.
pub fn python_programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.txt");
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("xtask").join("venv");
        // Written last, so that an installation that was cut short is made anew, as is one of other versions.
        let (done, wanted) = (venv.join("requirements.txt"), std::fs::read_to_string(&requirements).unwrap());
        if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return venv.join("bin");
        }
        let python = |program: &Path, args: &[&str]| {
            let output = Command::new(program).args(args).output().expect("python3 is needed: run `cargo xtask setup`");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{args:?}: {said}\n(python3-venv missing? run `cargo xtask setup`)");
        };
        python(Path::new("python3"), &["-m", "venv", "--clear", venv.to_str().unwrap()]);
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        python(&venv.join("bin/python3"), &[&install[..], &[requirements.to_str().unwrap()]].concat());
        std::fs::write(&done, wanted).unwrap();
        venv.join("bin")
    })
}

/// A port that nobody listens on, another each time. It is none of those that the system gives to whoever asks for
/// any, or another test's server could have it a moment later.
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = || std::process::id() as usize + NEXT.fetch_add(1, Ordering::Relaxed);
    let mut ports = std::iter::repeat_with(|| u16::try_from(20_000 + next() % 12_000).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A registry on a free port.
pub struct Registry {
    child: Child,
    pub address: String,
    data: TempDir,
}

impl Registry {
    pub fn start() -> Registry {
        Registry::with_auth(TempDir::new(), "")
    }

    /// A registry that lets one user in; the hash is one of bcrypt's.
    pub fn with_user(user: &str, hash: &str) -> Registry {
        let data = TempDir::new();
        let file = data.0.join("htpasswd");
        std::fs::write(&file, format!("{user}:{hash}\n")).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: test, path: \"{}\"}}}}\n", file.display());
        Registry::with_auth(data, &auth)
    }

    fn with_auth(data: TempDir, auth: &str) -> Registry {
        Registry::configured(data, &format!("127.0.0.1:{}", free_port()), auth)
    }

    /// A registry at this address whose images are below `data` of the folder. Its configuration ends with `more`,
    /// which may begin with keys of `http`.
    pub fn configured(data: TempDir, address: &str, more: &str) -> Registry {
        let address = address.to_owned();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: \"{address}\"\n{more}",
            data.0.join("data").display()
        );
        std::fs::write(data.0.join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", data.0.join("config.yml").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: run `cargo xtask setup`");
        let registry = Registry { child, address, data };
        let start = Instant::now();
        while registry.request("GET", "/v2/", &[]).is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// A request; the answer with its head, if there is one.
    pub fn request(&self, method: &str, path: &str, headers: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let host = &self.address;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
    }

    /// The digest that a tag points to; `None` if there is no such tag.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        self.digest_for(repository, tag, "")
    }

    /// The same for somebody with a login, `user:password` in base64.
    pub fn digest_for(&self, repository: &str, tag: &str, login: &str) -> Option<String> {
        let headers = [ACCEPT, &format!("Authorization: Basic {login}")];
        let answer = self.request("HEAD", &format!("/v2/{repository}/manifests/{tag}"), &headers)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return None;
        }
        answer.lines().find_map(|line| Some(line.strip_prefix("Docker-Content-Digest: ")?.trim().to_owned()))
    }

    /// What a tag points to.
    pub fn index(&self, repository: &str, tag: &str) -> serde_json::Value {
        let answer = self.request("GET", &format!("/v2/{repository}/manifests/{tag}"), &[ACCEPT]).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The tags of a repository, also of a registry that wants a login.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let tags = self.data.0.join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        let entries = std::fs::read_dir(tags).into_iter().flatten().flatten();
        let mut tags: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        tags.sort();
        tags
    }

    /// The folder with its images.
    pub fn images(&self) -> PathBuf {
        self.data.0.join("data")
    }

    /// Deletes a tag, and not what it points to, which other tags may need. (The registry itself only does both.)
    pub fn delete(&self, repository: &str, tag: &str) {
        let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags");
        std::fs::remove_dir_all(self.data.0.join(tags).join(tag)).expect("there is something to delete");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A repository with jobs.
pub struct Tree {
    dir: TempDir,
}

/// The root manifest of a tree without configuration.
pub const MANIFEST: &str = "[workspace]\n";
/// A job that every builder builds in a moment, and that says who it is when it runs.
pub const DOCKERFILE: &str = "FROM busybox:1.37\nARG WHO=nobody\nRUN echo \"I am $WHO on $(uname -m)\" > /who\n\
                              USER 65534\nCMD [\"cat\", \"/who\"]\n";

impl Tree {
    /// A repository with a commit that holds these files.
    pub fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree { dir: TempDir::new() };
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.write("Cargo.toml", MANIFEST);
        tree.write(".gitignore", "/target\n");
        for (path, text) in files {
            tree.write(path, text);
        }
        tree.commit("first");
        tree
    }

    /// A repository with these jobs, all of them [`DOCKERFILE`].
    pub fn with_jobs(jobs: &[&str]) -> Tree {
        let paths: Vec<String> = jobs.iter().map(|job| format!("jobs/{job}/Dockerfile")).collect();
        Tree::new(&paths.iter().map(|path| (path.as_str(), DOCKERFILE)).collect::<Vec<_>>())
    }

    /// This repository as it stands, in one commit.
    pub fn of_this_repository() -> Tree {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output = Command::new("git").args(list).current_dir(root()).output().unwrap();
        let tree = Tree { dir: TempDir::new() };
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        for path in String::from_utf8(output.stdout).unwrap().split('\0').filter(|path| root().join(path).is_file()) {
            let copy = tree.path().join(path);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(root().join(path), copy).unwrap();
        }
        tree.commit("as it stands");
        tree
    }

    /// A copy of a repository, with all of its commits.
    pub fn copy_of(folder: &Path) -> Tree {
        let tree = Tree { dir: TempDir::new() };
        tree.git(&["clone", "--quiet", folder.to_str().unwrap(), "."]);
        tree.git(&["remote", "remove", "origin"]);
        tree
    }

    pub fn path(&self) -> &Path {
        &self.dir.0
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// The tag of the current commit.
    pub fn tag(&self) -> String {
        self.head()[..7].to_owned()
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    /// Runs the program in this tree, without any variable that would tell it of another place.
    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let output = self.command(args, env).output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: self.plain(&String::from_utf8_lossy(&output.stdout)),
            stderr: self.plain(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    pub fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_xtask"), env);
        command.args(args);
        command
    }

    /// Another program, to be run as ours is.
    pub fn program(&self, program: &str, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let ours = ["JOBS_", "GITHUB_", "RUNNER_", "CARGO_", "ACTIONS_", "AWS_", "COLUMNS"];
            if ours.iter().any(|start| name.starts_with(start)) {
                command.env_remove(name);
            }
        }
        command.env("JOBS_MIRRORS", mirrors()).envs([engine().env()]);
        command.current_dir(self.path()).envs(env.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Text without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(self.path().to_str().unwrap(), "<tree>");
        match std::fs::read_dir(self.path().join(".git/refs/heads")) {
            Ok(_) => text.replace(&self.head(), "<commit>").replace(&self.tag(), "<sha>"),
            Err(_) => text,
        }
    }
}

/// Where base images are pulled from: as `cargo xtask test` says, or as `cargo xtask setup` noted for this clone.
pub fn mirrors() -> String {
    std::env::var("JOBS_MIRRORS").unwrap_or_else(|_| {
        let noted = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/registry/mirrors-docker.io");
        std::fs::read_to_string(noted).map(|mirror| format!("docker.io={mirror}")).unwrap_or_default()
    })
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The run, if it ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The errors it ended with.
    pub fn errors(&self) -> &str {
        // The log of a failed build is indented.
        let starts = self.stderr.lines().position(|line| line.starts_with("error: "));
        starts.map_or("", |line| self.stderr.splitn(line + 1, '\n').last().unwrap_or_default().trim_end())
    }

    /// The errors, with the registry's address and digests taken out.
    pub fn errors_at(&self, registry: &Registry) -> String {
        without_digests(&self.errors().replace(&registry.address, "<registry>"))
    }
}

/// Text without digests and keys: they differ from machine to machine with the base image.
pub fn without_digests(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(std::iter::once('\n')) {
        if c.is_ascii_digit() || ('a'..='f').contains(&c) {
            run.push(c);
            continue;
        }
        match run.len() {
            64 => out.push('…'),
            12 if out.ends_with("sha256:") => out.push('…'),
            20 => out.push_str("<key>"),
            // The check of a slice stands between colons.
            8 if out.ends_with(':') && c == ':' => out.push_str("<check>"),
            _ => out.push_str(&run),
        }
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

/// docker with the engine that everything here is built with: one with the containerd image store, whatever this
/// machine's own keeps images in.
pub fn docker_command() -> Command {
    let mut command = Command::new("docker");
    command.envs([engine().env()]);
    command
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::with(Store::Containerd))
}

/// Runs docker, which has to succeed.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    let output = docker_command().args(args).output().expect("docker is needed: run `cargo xtask setup`");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "docker {args:?}: {said}\n(no engine? run `cargo xtask setup`)");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Copies an image of several architectures to another registry. buildx copies all of them at once, and now and then
/// the registry refuses a manifest whose parts are still on the way: `blob unknown`, or a digest that does not match.
pub fn copy_image(source: &str, target: &str) {
    let create = ["buildx", "imagetools", "create", "-t", target, source];
    let copied = (0..3).any(|_| docker_command().args(create).output().unwrap().status.success());
    assert!(copied, "docker {create:?}: failed three times");
}

/// Removes images from the local engine when the test ends.
pub struct LocalImages(pub Vec<String>);

impl Drop for LocalImages {
    fn drop(&mut self) {
        let _ = docker_command().args(["rmi", "--force"]).args(&self.0).output();
    }
}

/// Runs an image of a registry on an architecture, and leaves neither container nor image behind.
#[track_caller]
pub fn run_image(image: &str, arch: &str) -> String {
    let _image = LocalImages(vec![image.to_owned()]);
    docker(&["run", "--rm", "--pull", "always", "--quiet", "--platform", &format!("linux/{arch}"), image])
}
