//! What fails on this machine, beside the work: the streams, the target folder, the disk, the engine.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use expect_test::expect;

use crate::engine::{Engine, Store};
use crate::harness::{BOTH, DOCKERFILE, OWN, Registry, TempDir, Tree};

#[test]
fn a_summary_that_cannot_be_written_undoes_nothing() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("GITHUB_STEP_SUMMARY", "/nowhere/summary")];
    for (command, is_done) in [
        (&[&["build"], &BOTH[..]].concat()[..], "Finished 2 of 2 images built"),
        (&["merge"], "Finished 1 of 1 job published"),
        (&["discover", "--changed"], "Nothing to build: 1 job published"),
    ] {
        let run = tree.run_with(command, &env).ended(0);
        let said = "warning: GITHUB_STEP_SUMMARY: `/nowhere/summary` cannot be written: No such file or directory (os \
                    error 2)\n";
        assert!(run.stderr.contains(said) && run.stderr.contains(is_done), "{command:?}: {}", run.stderr);
    }
    assert!(registry.digest("jobs/a", &tree.tag()).is_some());
}

#[test]
fn data_that_nobody_gets_is_an_error() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let data = [&["discover"][..], &["config"], &["plan", "--format", "json"], &["build", "--arch", OWN]];
    let texts = [&["--help"][..], &["build", "-h"], &["--version"], &["completions", "zsh"]];
    for command in [data, texts].concat() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = tree.command(command, &env).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let errors = &stderr[stderr.find("error: ").unwrap_or_else(|| panic!("{command:?}: {stderr}"))..];
        expect![[r#"
            error: stdout: cannot be written: No space left on device (os error 28)
              help: what was done is done: give it a place that takes its data, and repeat the command
        "#]]
        .assert_eq(errors);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    }
    assert!(registry.digest("jobs/a", &format!("{}-{OWN}", tree.tag())).is_some());
    // Whoever reads only the beginning has what he wants.
    let (closed, pipe) = std::io::pipe().unwrap();
    drop(closed);
    let output = tree.command(&["discover"], &env).stdout(pipe).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A disk of this many kilobytes at a folder, for the time of a test.
struct Disk(PathBuf);

impl Disk {
    fn at(folder: &Path, kilobytes: usize) -> Disk {
        std::fs::create_dir_all(folder).unwrap();
        as_root(&["mount", "-t", "tmpfs", "-o", &format!("size={kilobytes}k,mode=777"), "tmpfs"], folder);
        Disk(folder.to_owned())
    }

    fn make_read_only(&self) {
        as_root(&["mount", "-o", "remount,ro"], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy"], &self.0);
    }
}

fn as_root(words: &[&str], folder: &Path) {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let sudo: &[&str] = if is_root { &[] } else { &["sudo", "--non-interactive"] };
    let words = [sudo, words].concat();
    assert!(Command::new(words[0]).args(&words[1..]).arg(folder).status().unwrap().success(), "{words:?}");
}

#[test]
fn a_target_folder_that_takes_nothing_is_named() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let disk = Disk::at(&tree.path().join("target"), 4);
    std::fs::write(tree.path().join("target/full"), [0; 4096]).unwrap();
    let build = ["build", "--arch", OWN];
    expect![[r#"
        error: target/xtask/build/a/Dockerfile.dockerignore: cannot be written: No space left on device (os error 28)
          rule: the target folder takes the logs of builds, and what they are told
          help: make room on its disk, or set CARGO_TARGET_DIR to a folder on another"#]]
    .assert_eq(tree.run_with(&build, &env).ended(4).errors());
    std::fs::remove_file(tree.path().join("target/full")).unwrap();
    disk.make_read_only();
    expect![[r#"
        error: target/xtask/build/a/Dockerfile.dockerignore: cannot be written: Read-only file system (os error 30)
          rule: the target folder takes the logs of builds, and what they are told
          help: make it writable, or set CARGO_TARGET_DIR to a folder that is"#]]
    .assert_eq(tree.run_with(&build, &env).ended(4).errors());
    // A job without a key needs no file but its log.
    tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}# not committed\n"));
    expect![[r#"
        error: target/xtask/logs/a-<own>.log: cannot be written: Read-only file system (os error 30)
          rule: the target folder takes the logs of builds, and what they are told
          help: make it writable, or set CARGO_TARGET_DIR to a folder that is"#]]
    .assert_eq(&tree.run_with(&build, &env).ended(4).errors().replace(OWN, "<own>"));
    assert!(registry.tags("jobs/a").is_empty());
}

#[test]
fn a_new_job_for_which_there_is_no_room_leaves_nothing() {
    let tree = Tree::with_jobs(&["a"]);
    let disk = Disk::at(&tree.path().join("jobs"), 8);
    let new = ["new", "report", "--template", "python"];
    expect![[r#"
        error: jobs/report: cannot be written: No space left on device (os error 28)
          rule: a job's folder is made as a whole, or not at all
          help: make room on its disk"#]]
    .assert_eq(tree.run(&new).ended(4).errors());
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 0);
    disk.make_read_only();
    expect![[r#"
        error: jobs/report: cannot be written: Read-only file system (os error 30)
          rule: a job's folder is made as a whole, or not at all
          help: make `jobs` a folder that can be written"#]]
    .assert_eq(tree.run(&new).ended(4).errors());
}

#[test]
fn an_image_that_was_pushed_is_not_called_unpushed() {
    for store in [Store::Containerd, Store::Classic] {
        let (engine, registry, tree) = (Engine::with(store), Registry::start(), Tree::with_jobs(&["a"]));
        let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
        // Where buildx notes what it has pushed.
        std::fs::create_dir_all(tree.path().join(format!("target/xtask/logs/a-{OWN}.json"))).unwrap();
        let run = tree.run_with(&["build", "--arch", OWN], &env).ended(0);
        let said = run.stderr.replace(&registry.address, "<registry>").replace(OWN, "<own>");
        let warning = "warning: <registry>/jobs/a:<sha>-<own> is pushed, and what came after it failed: cannot write to \
                       a directory\n";
        assert!(said.contains(warning) && said.contains("Finished 1 of 1 image built"), "{said}");
        let digest = registry.digest("jobs/a", &format!("{}-{OWN}", tree.tag())).unwrap();
        let reference = format!("{}/jobs/a:<sha>-{OWN}", registry.address);
        match store {
            Store::Containerd => assert_eq!(run.stdout, format!("{reference}@{digest}\n")),
            Store::Classic => assert_eq!(run.stdout, format!("{reference}\n")),
        }
    }
}

#[test]
fn a_build_needs_room() {
    let registry = Registry::start();
    let least = |gb: &str| format!("[workspace]\n[workspace.metadata.jobs]\nmin-free-gb = {gb}\n");
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", &least("1000000000"))]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    for command in [&["build", "--arch", OWN][..], &["build", "--load"], &["pipeline"]] {
        let run = tree.run_with(command, &env).ended(4);
        let free =
            run.errors().strip_prefix("error: the engine: ").and_then(|rest| rest.split_once(" GB are free in "));
        let (free, rest) = free.unwrap_or_else(|| panic!("{run:?}"));
        let (folder, _) = rest.split_once('\n').unwrap();
        assert!(free.parse::<f64>().unwrap() > 0.0 && Path::new(folder).is_dir(), "{run:?}");
        expect![[r#"
            error: the engine: <free> GB are free in <folder>
              rule: before a build, 1000000000 GB have to be (`min-free-gb` in Cargo.toml)
              help: make room: docker builder prune, docker image prune; or change `min-free-gb`: 0 is no check"#]]
        .assert_eq(&run.errors().replace(free, "<free>").replace(folder, "<folder>"));
    }
    assert!(registry.tags("jobs/a").is_empty());
    tree.write("Cargo.toml", &least("0"));
    tree.commit("no check");
    tree.run_with(&["build", "--arch", OWN], &env).ended(0);
    let config = tree.run_with(&["config"], &env).ended(0).stdout;
    assert!(config.lines().any(|line| line.split_whitespace().eq(["min-free-gb", "0", "Cargo.toml"])), "{config}");
}

/// A way to an engine that a test can cut.
struct Way {
    dir: TempDir,
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

impl Way {
    fn to(engine: &Engine) -> Way {
        let (dir, connections) = (TempDir::new(), Arc::new(Mutex::new(Vec::new())));
        let listener = UnixListener::bind(dir.0.join("docker.sock")).unwrap();
        let socket = engine.env().1.trim_start_matches("unix://").to_owned();
        let socket = if socket.is_empty() { "/var/run/docker.sock".to_owned() } else { socket };
        let all = Arc::clone(&connections);
        // It ends with the process: nobody connects once the socket is gone.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&socket).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || pass_on(from, to));
                }
                all.lock().unwrap().extend([client, server]);
            }
        });
        Way { dir, connections }
    }

    fn cut(&self) {
        std::fs::remove_file(self.dir.0.join("docker.sock")).unwrap();
        for connection in self.connections.lock().unwrap().iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn an_engine_that_goes_away_is_called_that() {
    let way = Way::to(&Engine::with(Store::Containerd));
    let slow = "FROM busybox:1.37\nRUN sleep 600\n";
    let tree = Tree::new(&[("jobs/first/Dockerfile", slow), ("jobs/second/Dockerfile", slow)]);
    let host = format!("unix://{}/docker.sock", way.dir.0.display());
    let mut command = tree.command(&["build", "--arch", OWN, "--parallel", "1"], &[("DOCKER_HOST", &host)]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (log, start) = (tree.path().join(format!("target/xtask/logs/first-{OWN}.log")), Instant::now());
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("RUN sleep 600")) {
        assert!(start.elapsed() < Duration::from_secs(120), "the build does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    way.cut();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap().replace(&host, "<engine>").replace(OWN, "<own>");
    // Which of its calls buildx says it of, is chance.
    let stderr = stderr.replace("failed to receive status: rpc error: code = Unavailable desc = ", "Unavailable: ");
    let errors = &stderr[stderr.find("\nerror: ").unwrap()..];
    expect![[r#"

        error: the engine: went away while first (<own>) was built: Unavailable: error reading from server: EOF
          help: start it: cargo xtask setup
            the log is target/xtask/logs/first-<own>.log
            rerun: cargo xtask build --arch <own> first
        error: the engine: went away while second (<own>) was built: Cannot connect to the Docker daemon at <engine>. Is the docker daemon running?
          help: start it: cargo xtask setup
            the log is target/xtask/logs/second-<own>.log
            rerun: cargo xtask build --arch <own> second
    "#]].assert_eq(errors);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
}
