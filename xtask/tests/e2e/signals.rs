//! What becomes of a run, and of the programs that it has started, when it is told to end or is killed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{BOTH, DOCKERFILE, OWN, Registry, Tree};
use crate::proxy::{Answer, Proxy};

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits for something that has to come within so many seconds.
#[track_caller]
fn wait(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The exit code and stderr of a run that has to end soon: GitHub kills it after ten seconds, on a machine less busy.
#[track_caller]
fn end_of(mut child: Child) -> (Option<i32>, String) {
    wait("its end", 30, || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The processes whose command lines hold a text: `<pid> <command line>`.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| {
        let bytes = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        line.contains(text).then(|| format!("{} {line}", entry.file_name().display()))
    };
    entries.filter_map(line).collect()
}

#[test]
fn a_signal_stops_the_builds_and_still_sums_up() {
    let slow = "FROM busybox:1.37\nRUN sleep 600\n";
    let bad = "FROM busybox:1.37\nRUN false\n";
    let (quick, slow) = (("jobs/quick/Dockerfile", DOCKERFILE), ("jobs/slow/Dockerfile", slow));
    let tree = Tree::new(&[("jobs/bad/Dockerfile", bad), quick, slow]);
    let registry = Registry::start();
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let child = tree.command(&["build", "--arch", OWN], &env).stderr(Stdio::piped()).spawn().unwrap();
    let log = tree.path().join(format!("target/xtask/logs/slow-{OWN}.log"));
    let is_slow = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("RUN sleep 600"));
    let is_pushed = || registry.digest("jobs/quick", &format!("{}-{OWN}", tree.tag())).is_some();
    // The registry knows of it before the build ends.
    let is_run = |job: &str| !processes_with(&format!("{}/jobs/{job}:", registry.address)).is_empty();
    let has_ended = || !is_run("quick") && !is_run("bad");
    wait("one image, and a build that takes long", 120, || is_slow() && is_pushed() && has_ended());
    std::thread::sleep(Duration::from_secs(1));
    signal("-INT", &child);
    let (code, stderr) = end_of(child);
    assert_eq!(code, Some(130), "{stderr}");
    // What has failed is said in the end; what was interrupted has not failed.
    let (_, end) = stderr.split_once("Finished 1 of 3 images built in ").unwrap();
    assert!(end.contains(" (1 failed, 1 interrupted)\nerror: jobs/bad/Dockerfile:2: the build for"), "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 2, "{stderr}");
    assert!(stderr.ends_with("error: interrupted (1 pushed): a re-run continues\n"), "{stderr}");
    let record = std::fs::read_to_string(tree.path().join("target/xtask/run.json")).unwrap();
    let results: Vec<&str> = record.lines().filter_map(|line| line.trim().strip_prefix("\"result\": ")).collect();
    assert_eq!(results, ["\"interrupted\",", "\"failed\",", "\"built\",", "\"interrupted\","], "{record}");
    let again = tree.run_with(&["build", "--arch", OWN, "quick"], &env).ended(0);
    assert!(again.stderr.contains("nothing to build"), "{}", again.stderr);
}

#[test]
fn a_terminal_that_is_gone_ends_a_run_unless_nohup_says_otherwise() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut taken = Vec::new();
    let mut is_asked = || silent.accept().map(|connection| taken.push(connection)).is_ok();
    let tree = Tree::with_jobs(&["a"]);
    let plan = tree.command(&["plan"], &[("JOBS_REGISTRY", &address)]);
    let mut start = |program: &[&str]| {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(plan.get_program()).args(plan.get_args()).current_dir(tree.path());
        for (name, value) in plan.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait("a question to the registry", 60, &mut is_asked);
        signal("-HUP", &child);
        child
    };
    // The tests themselves may have been started with nohup.
    let (code, stderr) = end_of(start(&["env", "--default-signal=HUP"]));
    assert_eq!((code, stderr.as_str()), (Some(143), "error: interrupted: a re-run continues\n"));
    let mut child = start(&["nohup"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    signal("-TERM", &child);
    assert_eq!(end_of(child).0, Some(143));
}

#[test]
fn a_run_that_is_killed_leaves_nobody_who_publishes() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    let (tag, path) = (tree.tag(), format!("/manifests/{}", tree.tag()));
    let [is_held, is_released] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (held, released) = (Arc::clone(&is_held), Arc::clone(&is_released));
    // The first who writes the tag is kept waiting, and then told to come again, which buildx does.
    let proxy = Proxy::start(&registry.address, move |request, upstream| {
        if request.method == "PUT" && request.path.ends_with(&path) && !held.swap(true, Ordering::SeqCst) {
            while !released.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            return Answer::new("503 Service Unavailable", &[], "");
        }
        upstream.ask(request)
    });
    let mut merge =
        tree.command(&["merge"], &[("JOBS_REGISTRY", &proxy.address)]).stderr(Stdio::null()).spawn().unwrap();
    wait("the write of the tag", 60, || is_held.load(Ordering::SeqCst));
    let writer = format!("imagetools create --progress plain -t {}", proxy.address);
    assert!(!processes_with(&writer).is_empty(), "{writer}");
    signal("-KILL", &merge);
    merge.wait().unwrap();
    // Nobody is left to be told so.
    is_released.store(true, Ordering::SeqCst);
    let left = processes_with(&proxy.address);
    assert!(left.is_empty(), "{left:#?}");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(registry.digest("jobs/a", &tag), None);
    tree.run_with(&["merge"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    assert!(registry.digest("jobs/a", &tag).is_some());
}
