//! Registries that are away for a time, full disks, and an engine that dies.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::check::Reader;
use crate::engine::{Engine, as_root};
use crate::front::{Place, TAG_WRITE, UPLOAD};
use crate::harness::{Registry, TempDir, free_port};
use crate::lab::{Bench, Lab, Runner};
use crate::proxy::Answer;
use crate::requests::{ANY, BUILD, COMMANDS, Command, FAILED, MERGE, REUSE, VERIFY, judged};

/// How long a registry is away.
const AWAY: Duration = Duration::from_secs(3);

pub fn cases(lab: &Lab) -> Vec<Case> {
    let mut cases = Vec::new();
    for command in [BUILD, MERGE, REUSE] {
        for part in 1..=3 {
            let nth = (lab.requests[command.name] * part / 4).max(1);
            let away = format!("{}: the registry is away for a while from request {nth}", command.name);
            cases.push(Case::new("outages", away, move |lab| outage(lab, command, nth, Some(AWAY))).quick(part == 3));
            let gone = format!("{}: the registry is away from request {nth}", command.name);
            cases.push(Case::new("outages", gone, move |lab| outage(lab, command, nth, None)).long(true));
        }
    }
    cases.push(Case::new("full disks", "build: the registry's disk", full_registry).long(true));
    for command in COMMANDS {
        let name = format!("{}: the registry is started a little later", command.name);
        cases.push(Case::new("outages", name, move |lab| late(lab, command)));
        for folder in ["target", "the folder for temporary files"] {
            let full = format!("{}: {folder}", command.name);
            cases.push(Case::new("full disks", full, move |lab| full_folder(lab, command, folder)));
        }
    }
    for place in [UPLOAD, TAG_WRITE] {
        let name = format!("build: it dies at the first {}", place.name);
        cases.push(Case::new("engines", name, move |lab| engine_dies(lab, place)));
    }
    for command in [MERGE, VERIFY] {
        let name = format!("{}: there is none", command.name);
        cases.push(Case::new("engines", name, move |lab| {
            let mut bench = command.bench(lab);
            bench.runner = bench.runner.with_env("DOCKER_HOST", "unix:///nowhere/docker.sock");
            judged(&bench, &command.args(), &[0])
        }));
    }
    cases
}

/// From the nth request on, every connection is cut, for a time or for ever.
fn outage(lab: &Lab, command: Command, nth: usize, time: Option<Duration>) -> Result<(), String> {
    let bench = command.bench(lab);
    let start = Mutex::new(None);
    bench.runner.front.set(move |_, asked, _| {
        if asked < nth {
            return None;
        }
        let start = *start.lock().unwrap().get_or_insert_with(Instant::now);
        time.is_none_or(|time| start.elapsed() < time).then(Answer::nothing)
    });
    judged(&bench, &command.args(), if time.is_some() { &[0] } else { FAILED })
}

/// Nobody listens yet where the registry is going to be.
fn late(lab: &Lab, command: Command) -> Result<(), String> {
    let address = format!("127.0.0.1:{}", free_port());
    let runner = Runner::new(lab.tree(command.commit), &address).with_env("JOBS_REGISTRY", &address);
    let running = runner.start(&command.args());
    std::thread::sleep(AWAY);
    let _registry = Registry::configured(lab.storage(command.start), &address, "");
    let ended = running.end().with(&[0, 4])?;
    let bench = Bench::of(lab, command.commit, runner, Reader::of(&address));
    bench.recover().map_err(|why| format!("{why}\nthe run that came too early: {}", ended.text))
}

/// A small disk, which is gone when the case ends.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    fn at(folder: &Path) -> Disk {
        std::fs::create_dir_all(folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk.sh");
        let mut mount = as_root("sh");
        mount.arg(script).arg(folder).arg("2m").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = mount.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "a small disk could not be mounted");
        Disk { holder, folder: folder.to_owned() }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn fill(&self) {
        let end = std::fs::write(self.ballast(), vec![0; 4 << 20]).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The program cannot write to one of its folders.
fn full_folder(lab: &Lab, command: Command, folder: &str) -> Result<(), String> {
    let (mut bench, temporary) = (command.bench(lab), TempDir::new());
    let disk =
        Disk::at(&if folder == "target" { bench.runner.tree.path().join("target") } else { temporary.0.clone() });
    if folder != "target" {
        bench.runner = bench.runner.with_env("TMPDIR", temporary.0.to_str().unwrap());
    }
    run_full(&disk, &bench, command, ANY)
}

/// Runs a command while a disk is full, and goes on when it is not.
fn run_full(disk: &Disk, bench: &Bench, command: Command, codes: &[i32]) -> Result<(), String> {
    disk.fill();
    let ended = bench.runner.run(&command.args());
    disk.empty();
    let ended = ended.with(codes)?;
    bench.recover().map_err(|why| format!("{why}\nthe run with a full disk: {}", ended.text))
}

/// The registry cannot write. Of builds alone: on a full disk, this registry truncates the files of manifests and tags
/// for good, and keeps what is uploaded apart until it is whole.
fn full_registry(lab: &Lab) -> Result<(), String> {
    let folder = TempDir::new();
    let disk = Disk::at(&folder.0);
    lab.copy_to(BUILD.start, &folder.0);
    let registry = Registry::configured(folder, &format!("127.0.0.1:{}", free_port()), "");
    let runner = Runner::new(lab.tree(BUILD.commit), &registry.address);
    let bench = Bench::of(lab, BUILD.commit, runner, Reader::of(&registry.address));
    run_full(&disk, &bench, BUILD, FAILED)
}

/// An engine that is gone at a request, and another one for the next run.
fn engine_dies(lab: &Lab, place: Place) -> Result<(), String> {
    let (bench, engine) = (BUILD.bench(lab), Engine::empty());
    let (name, host) = engine.env();
    let dying = Runner::new(lab.tree(BUILD.commit), bench.registry()).with_env(name, host);
    let running = dying.hold(&BUILD.args(), place, 1);
    drop(engine);
    dying.front.heal();
    let ended = running.end().with(FAILED)?;
    bench.recover().map_err(|why| format!("{why}\nthe run whose engine died: {}", ended.text))
}
