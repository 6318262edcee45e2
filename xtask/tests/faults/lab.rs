//! What cases start from: three commits, and registries in which some of them are built or published.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Invariant, Reader, Tags, ensure};
use crate::front::{Front, Place};
use crate::harness::{BOTH, Registry, TempDir, Tree, free_port};

const TARGET: &str = "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\n\
                      moving-tags = [\"latest\"]\n";
/// Longer than any run may take: five tries within two minutes, and what the last of them takes.
const LIMIT: Duration = Duration::from_secs(200);

/// The commits: the third takes the second back.
pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;

/// What a registry holds at first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// A is published.
    PublishedA,
    /// B is built besides.
    BuiltB,
    /// B is published besides.
    PublishedB,
    /// All three are built, and none is published.
    Built,
}

pub struct Lab {
    source: Tree,
    pub commits: [String; 3],
    /// The keys of the commits.
    pub keys: BTreeMap<String, String>,
    storages: BTreeMap<Start, TempDir>,
    /// How many requests each command makes, when all goes well.
    pub requests: BTreeMap<&'static str, usize>,
}

/// The arguments of a build for both architectures.
pub fn build() -> Vec<&'static str> {
    [&["build"], &BOTH[..]].concat()
}

impl Lab {
    pub fn new() -> Lab {
        let job = |text: &str| format!("FROM scratch\nCOPY jobs/job/file /\nLABEL text={text}\n");
        let source = Tree::new(&[("Cargo.toml", TARGET), ("jobs/job/file", "file\n")]);
        let commits = [("a", "one"), ("b", "two"), ("c, which takes b back", "one")].map(|(message, text)| {
            source.write("jobs/job/Dockerfile", &job(text));
            source.commit(message);
            source.head()
        });
        let (keys, storages, requests) = Default::default();
        let mut lab = Lab { source, commits, keys, storages, requests };
        lab.publish();
        lab.build_all();
        lab
    }

    /// A is published, then B is built, then published; what each of that costs is counted.
    fn publish(&mut self) {
        let registry = Registry::start();
        let at = |lab: &Lab, commit| Runner::new(lab.tree(commit), &registry.address);
        at(self, A).must(&build()).must(&["merge"]);
        self.keep(Start::PublishedA, &registry);
        let b = at(self, B).must(&build());
        self.requests.insert("build", b.front.asked());
        self.keep(Start::BuiltB, &registry);
        self.requests.insert("merge", at(self, B).must(&["merge"]).front.asked());
        self.keep(Start::PublishedB, &registry);
        let reader = Reader::of(&registry.address);
        for (commit, built) in [(A, A), (B, B), (C, A)] {
            let key = reader.set(&self.commits[built][..7], &["amd64", "arm64"]).unwrap().key;
            self.keys.insert(self.commits[commit].clone(), key);
        }
        self.requests.insert("merge of a reuse", at(self, C).must(&["merge"]).front.asked());
    }

    fn build_all(&mut self) {
        let registry = Registry::start();
        for commit in [A, B, C] {
            Runner::new(self.tree(commit), &registry.address).must(&build());
        }
        self.keep(Start::Built, &registry);
    }

    fn keep(&mut self, start: Start, registry: &Registry) {
        let folder = TempDir::new();
        copy(&registry.images(), &folder.0);
        self.storages.insert(start, folder);
    }

    /// The repository of the three commits.
    pub fn source(&self) -> &Path {
        self.source.path()
    }

    /// A clone whose branch `main` is at this commit.
    pub fn tree(&self, commit: usize) -> Tree {
        let tree = Tree::copy_of(self.source.path());
        tree.git(&["checkout", "--quiet", "-B", "main", &self.commits[commit]]);
        tree
    }

    /// The same, when its commit was the newest.
    pub fn lone_tree(&self, commit: usize) -> Tree {
        let tree = self.tree(commit);
        tree.git(&["reflog", "expire", "--expire=now", "--all"]);
        tree.git(&["prune", "--expire=now"]);
        tree
    }

    /// The same, which can fetch the newer ones.
    pub fn old_tree(&self, commit: usize) -> Tree {
        let tree = self.lone_tree(commit);
        tree.git(&["remote", "add", "origin", self.source.path().to_str().unwrap()]);
        tree
    }

    /// The images of a registry, in a folder for another one.
    pub fn storage(&self, start: Start) -> TempDir {
        let folder = TempDir::new();
        self.copy_to(start, &folder.0);
        folder
    }

    pub fn copy_to(&self, start: Start, folder: &Path) {
        copy(&self.storages[&start].0.join("data"), folder);
    }

    pub fn registry(&self, start: Start) -> Registry {
        Registry::configured(self.storage(start), &format!("127.0.0.1:{}", free_port()), "")
    }
}

fn copy(images: &Path, folder: &Path) {
    let status = Command::new("cp").arg("-r").args([images, folder]).status().unwrap();
    assert!(status.success(), "{}", images.display());
}

/// A clone, and a front of its own before the registry that it works with.
pub struct Runner {
    pub tree: Tree,
    pub front: Front,
    env: Vec<(String, String)>,
}

impl Runner {
    pub fn new(tree: Tree, registry: &str) -> Runner {
        let front = Front::of(registry);
        let env = vec![("JOBS_REGISTRY".to_owned(), front.address().to_owned())];
        Runner { tree, front, env }
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Runner {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn start(&self, args: &[&str]) -> Running {
        let folder = TempDir::new();
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut command = self.tree.command(args, &env);
        let output = File::create(folder.0.join("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let what = format!("{} at {}", args.join(" "), self.tree.tag());
        Running { child: command.spawn().unwrap(), folder, started: Instant::now(), what }
    }

    /// Starts a run, which is held at its nth request of a kind until the front is healed, or which ends before.
    pub fn hold(&self, args: &[&str], place: Place, nth: usize) -> Running {
        let (is_there, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let is_held = Arc::clone(&is_there);
        self.front.set(move |request, _, passing| {
            if place.holds(request) && count.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                is_held.store(true, Ordering::SeqCst);
                passing.wait(|| false);
            }
            None
        });
        let mut running = self.start(args);
        while !is_there.load(Ordering::SeqCst) && running.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    fn must(self, args: &[&str]) -> Runner {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        self
    }

    /// Builds, merges and verifies, all of which has to succeed.
    pub fn finish(&self) -> Result<(), String> {
        for args in [&build()[..], &["merge"], &["verify"]] {
            self.run(args).with(&[0]).map_err(|why| format!("a run without the fault: {why}"))?;
        }
        Ok(())
    }
}

/// A run that has begun.
pub struct Running {
    pub child: Child,
    folder: TempDir,
    started: Instant,
    what: String,
}

impl Running {
    /// Waits for its end, which comes within [`LIMIT`]: then it is killed.
    pub fn end(mut self) -> Ended {
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if self.started.elapsed() > LIMIT => {
                    self.child.kill().unwrap();
                    self.child.wait().unwrap();
                    break Some(124);
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let output = String::from_utf8_lossy(&std::fs::read(self.folder.0.join("output")).unwrap()).into_owned();
        let text = format!("{} took {:.1} s:\n{output}", self.what, self.started.elapsed().as_secs_f32());
        Ended { code, text, at: Instant::now() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run left: no code if a signal ended it, 124 if it took too long.
pub struct Ended {
    pub code: Option<i32>,
    pub text: String,
    /// When that was known.
    pub at: Instant,
}

impl Ended {
    /// That it ended by itself, in time, with one of these codes, and without a panic.
    pub fn with(self, codes: &[i32]) -> Result<Ended, String> {
        let is_right = self.code.is_some_and(|code| codes.contains(&code)) && !self.text.contains("panicked");
        ensure(is_right, || format!("ended with {:?}, and not with one of {codes:?}; {}", self.code, self.text))?;
        Ok(self)
    }
}

/// A registry that holds something, and one who works with it at a commit.
pub struct Bench<'a> {
    lab: &'a Lab,
    pub runner: Runner,
    commit: usize,
    reader: Reader,
    /// What there was before, and the commit that `latest` was at.
    before: Tags,
    latest: String,
    /// The registry, where nobody else has it.
    registry: Option<Registry>,
}

impl<'a> Bench<'a> {
    pub fn new(lab: &'a Lab, start: Start, commit: usize) -> Bench<'a> {
        let registry = lab.registry(start);
        let (runner, reader) = (Runner::new(lab.tree(commit), &registry.address), Reader::of(&registry.address));
        Bench { registry: Some(registry), ..Bench::of(lab, commit, runner, reader) }
    }

    /// One of what is there.
    pub fn of(lab: &'a Lab, commit: usize, runner: Runner, reader: Reader) -> Bench<'a> {
        let before = reader.tags().unwrap();
        let latest = reader.set("latest", &["amd64", "arm64"]).unwrap().revision.unwrap();
        Bench { lab, runner, commit, reader, before, latest, registry: None }
    }

    /// The address of the registry, without the front.
    pub fn registry(&self) -> &str {
        &self.registry.as_ref().unwrap().address
    }

    /// That every tag is what it was, or what it is to be; `latest` may be at one of these commits.
    fn check(&self, latest: Vec<&str>) -> Result<Tags, String> {
        Invariant { keys: &self.lab.keys, before: &self.before, latest }.check(&self.reader)
    }

    /// The same after a fault, and after a merge of whatever it left; then, where that is refused, after a whole run.
    /// Now `latest` is at the newest commit.
    pub fn recover(&self) -> Result<(), String> {
        self.runner.front.heal();
        let newest = &self.lab.commits[self.commit];
        self.check(vec![&self.latest, newest])?;
        let merged = self.runner.run(&["merge"]).with(&[0, 3])?;
        self.check(vec![&self.latest, newest])?;
        match merged.code {
            Some(0) => drop(self.runner.run(&["verify"]).with(&[0])?),
            _ => self.runner.finish()?,
        }
        let tags = self.check(vec![newest])?;
        ensure(tags.contains_key(&newest[..7]), || format!("is not published: {tags:#?}"))
    }
}
