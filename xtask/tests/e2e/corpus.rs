//! BuildKit as the judge of keys: every file of every tree in `tests/corpus` is changed in turn, and the key has to
//! change where the image does. The same for the allow-list that a build is given: with it the image is the same, and
//! without one line of it the build fails.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::Tree;
use case::{Case, File, Version};
use judge::{Image, States};
use servers::Servers;

mod case;
mod enforcement;
mod judge;
mod servers;

/// The corpus may grow, and not shrink unnoticed.
const FEWEST_DOCKERFILES: usize = 80;
const FEWEST_FILES: usize = 430;

/// How many cases are tried side by side: most of the time they wait for the engine.
const THREADS: usize = 3;

#[test]
fn the_key_changes_where_the_image_does() {
    let servers = Servers::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let addresses = [("@registry@", servers.registry.address.as_str()), ("@files@", servers.files.as_str())];
    let mut cases = Case::read_all(&folder, &addresses);
    // To try one: CORPUS=wildcards cargo test --test e2e corpus -- --nocapture
    let only = std::env::var("CORPUS").unwrap_or_default();
    cases.retain(|case| case.name.contains(&only));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    servers.push_images(case);
                    let trial = Trial::of(case, &servers);
                    results.lock().unwrap().push(trial);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let sum = |count: fn(&Trial) -> usize| results.iter().map(count).sum::<usize>();
    let (files, builds, refused) = (sum(|t| t.files), sum(|t| t.states.builds), sum(|t| t.first.image.is_err().into()));
    let built = results.len() - refused;
    let more = format!("{builds} builds; {refused} more Dockerfiles that BuildKit refuses");
    // Not `println!`, which shows nothing when a test passes.
    let mut out = std::io::stderr();
    writeln!(out, "corpus: {files} files of {built} Dockerfiles, {more}").unwrap();
    for trial in &results {
        if let (Err(error), false) = (&trial.first.image, trial.case.name.starts_with("refused-")) {
            writeln!(out, "corpus: {}: {}", trial.case.name, error.lines().last().unwrap_or_default()).unwrap();
        }
    }
    let complaints: Vec<String> = results.iter().flat_map(|trial| &trial.complaints).cloned().collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    if only.is_empty() {
        assert!(built >= FEWEST_DOCKERFILES, "{built} Dockerfiles");
        assert!(files >= FEWEST_FILES, "{files} files");
    }
}

/// What is changed in a tree.
enum Change<'a> {
    Nothing,
    Content(&'a File),
    Added(&'a File),
    Removed(Vec<&'a File>),
    Executable(Vec<&'a File>),
}

/// What the program and BuildKit say about one state of the tree.
struct State {
    plan: Result<Plan, String>,
    image: Result<Image, String>,
}

struct Plan {
    key: Option<String>,
    whole_context: Option<String>,
}

/// A case, its tree, and what was seen.
struct Trial<'a> {
    case: &'a Case,
    servers: &'a Servers,
    tree: Tree,
    states: States,
    first: State,
    /// The files whose change changes the image.
    reaching: BTreeSet<String>,
    /// The files whose change changes the key.
    hashed: BTreeSet<String>,
    files: usize,
    complaints: Vec<String>,
}

impl<'a> Trial<'a> {
    fn of(case: &'a Case, servers: &'a Servers) -> Trial<'a> {
        let tree = Tree::new(&[]);
        case.files.iter().for_each(|file| file.write(tree.path(), Version::First));
        let settings = std::fs::read(tree.path().join("jobs/job/job.json"));
        let settings = settings.map_or(serde_json::Value::Null, |json| serde_json::from_slice(&json).unwrap());
        let first = State { plan: Err(String::new()), image: Err(String::new()) };
        let (reaching, hashed) = (BTreeSet::new(), BTreeSet::new());
        let states = States::new(settings);
        let mut trial =
            Trial { case, servers, tree, states, first, reaching, hashed, files: 0, complaints: Vec::new() };
        trial.run();
        trial
    }

    fn run(&mut self) {
        let mut changes = vec![Change::Nothing];
        changes.extend(self.case.files.iter().map(Change::Content));
        changes.extend(self.case.added.iter().map(Change::Added));
        let mut plans = self.plans(&changes);
        let files = self.case.files.iter().zip(&plans[1..]).filter(|(file, _)| !is_own(&file.path));
        let key = |plan: &Result<Plan, String>| plan.as_ref().ok().and_then(|plan| plan.key.clone());
        let others: Vec<_> = files.filter(|(_, plan)| key(plan) == key(&plans[0])).collect();
        // A file that counts and is gone mostly fails the build, and its name is part of the key.
        let others: Vec<&File> = others.iter().map(|(file, _)| *file).collect();
        let mut more: Vec<Change> = (!others.is_empty()).then_some(Change::Removed(others)).into_iter().collect();
        let regular = self.case.files.iter().filter(|file| !file.is_link() && !is_own(&file.path));
        more.push(Change::Executable(regular.collect()));
        plans.extend(self.plans(&more));
        changes.extend(more);
        self.tree.commit("as at first");
        let images = self.states.build();
        let mut states = plans.into_iter().zip(images).map(|(plan, image)| State { plan, image });
        self.first = states.next().unwrap();
        if self.first.image.is_err() {
            if self.first.plan.is_ok() && self.tree.run(&["build"]).code == 0 {
                self.complain("", "BuildKit refuses it, and the program builds it");
            }
            return;
        }
        self.files = self.case.files.len();
        self.judge_first();
        if self.first.plan.is_ok() {
            changes.iter().skip(1).zip(states).for_each(|(change, state)| self.judge(change, &state));
            enforcement::check(self);
        }
    }

    fn complain(&mut self, what: &str, complaint: &str) {
        self.complaints.push(format!("  {} {what}: {complaint}", self.case.name));
    }

    fn first_plan(&self) -> &Plan {
        self.first.plan.as_ref().unwrap_or_else(|_| unreachable!("cases that are refused end earlier"))
    }

    fn judge_first(&mut self) {
        match (&self.first.plan, &self.case.refused) {
            (Err(error), None) => self.complain("", &format!("BuildKit builds it, and `plan` says:\n{error}")),
            (Ok(_), Some(_)) => self.complain("", "`refused by the program` is not true"),
            (Err(_), Some(_)) => {}
            (Ok(plan), None) => match (&plan.whole_context, &self.case.whole_context) {
                (Some(because), None) => {
                    self.complain("", &format!("all of the context counts, and need not: {because}"));
                }
                (None, Some(_)) => self.complain("", "`whole context` is not true"),
                _ if plan.key.is_none() => self.complain("", "all is committed, and there is no key"),
                _ => {}
            },
        }
    }

    /// Compares what a change changed: the image, and the key.
    fn judge(&mut self, change: &Change, state: &State) {
        let (Ok(image), Ok(first)) = (&state.image, &self.first.image) else { return };
        let (image_changed, difference) = (image != first, first.difference(image));
        let plan = match &state.plan {
            Ok(plan) => plan,
            Err(error) => {
                return self.complain(&change.to_string(), &format!("BuildKit builds it, and `plan` says:\n{error}"));
            }
        };
        let key_changed = plan.key != self.first_plan().key;
        if let Change::Content(file) = change {
            self.reaching.extend(image_changed.then(|| file.path.clone()));
            self.hashed.extend(key_changed.then(|| file.path.clone()));
        }
        let complaint = match (image_changed, key_changed) {
            (true, false) => format!("the image changes, and not the key:{difference}"),
            (false, true) if !self.may_count(change, plan) => "the key changes, and not the image".to_owned(),
            (true, _) | (_, false) if change.is_listed(self.case) => "`counts anyway` is not true".to_owned(),
            _ => return,
        };
        self.complain(&change.to_string(), &complaint);
    }

    /// Whether a change may change the key alone.
    fn may_count(&self, change: &Change, plan: &Plan) -> bool {
        let whole = plan.whole_context.is_some();
        whole
            || change.is_listed(self.case)
            || match change {
                Change::Content(file) => is_own(&file.path),
                // A mode is hashed with its file, also where the Dockerfile sets another.
                Change::Executable(files) => files.iter().any(|file| self.hashed.contains(&file.path)),
                Change::Nothing | Change::Added(_) | Change::Removed(_) => false,
            }
    }

    /// Makes the changes one by one, each to the first state, keeps what comes of them, and asks for a plan of each.
    fn plans(&mut self, changes: &[Change]) -> Vec<Result<Plan, String>> {
        let plan = |change: &Change| {
            change.make(self.tree.path());
            self.tree.commit("a change");
            let plan = self.plan();
            // The folder of git can be seen where all of the context counts, and is large.
            let all = plan.as_ref().is_ok_and(|plan| plan.whole_context.is_some());
            self.states.keep(self.tree.path(), if all { &["target"] } else { &["target", ".git"] });
            change.undo(self.tree.path());
            plan
        };
        changes.iter().map(plan).collect()
    }

    fn plan(&self) -> Result<Plan, String> {
        let path = self.servers.path();
        let output = self.tree.command(&["plan", "--format", "json"], &[("PATH", &path)]).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |name: &str| plan[0][name].as_str().map(str::to_owned);
        Ok(Plan { key: text("key"), whole_context: text("whole-context") })
    }
}

/// The files that always count, whatever they say.
fn is_own(path: &str) -> bool {
    ["jobs/job/Dockerfile", "jobs/job/Dockerfile.dockerignore", "jobs/job/job.json", ".dockerignore"].contains(&path)
}

impl std::fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Nothing => f.write_str("unchanged"),
            Change::Content(file) => write!(f, "{:?} changed", file.path),
            Change::Added(file) => write!(f, "{:?} added", file.path),
            Change::Removed(files) => {
                write!(f, "removed {:?}", files.iter().map(|file| &file.path).collect::<Vec<_>>())
            }
            Change::Executable(_) => f.write_str("all files made executable"),
        }
    }
}

impl Change<'_> {
    fn make(&self, tree: &Path) {
        match self {
            Change::Nothing => {}
            Change::Content(file) => file.write(tree, Version::Changed),
            Change::Added(file) => file.write(tree, Version::First),
            Change::Removed(files) => files.iter().for_each(|file| file.remove(tree)),
            Change::Executable(files) => files.iter().for_each(|file| file.turn_executable(tree)),
        }
    }

    fn undo(&self, tree: &Path) {
        match self {
            Change::Nothing => {}
            Change::Content(file) => file.write(tree, Version::First),
            Change::Removed(files) => files.iter().for_each(|file| file.write(tree, Version::First)),
            Change::Added(file) => file.remove(tree),
            Change::Executable(files) => files.iter().for_each(|file| file.turn_executable(tree)),
        }
    }

    /// Whether the case says of this file that it counts without reaching the image.
    fn is_listed(&self, case: &Case) -> bool {
        match self {
            Change::Content(file) | Change::Added(file) => case.counts_anyway.contains_key(&file.path),
            Change::Removed(_) | Change::Executable(_) | Change::Nothing => false,
        }
    }
}
