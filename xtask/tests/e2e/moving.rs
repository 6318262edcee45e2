//! Indexes that belong to commits, and what follows: moving tags that go by them, and runs that meet each other.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use expect_test::expect;

use crate::harness::{BOTH, DOCKERFILE, Registry, Run, Tree};
use crate::proxy::{Answer, Proxy};

const TARGET: &str = "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/*\"]\n\
                      moving-tags = [\"latest\"]\n";

#[test]
fn a_moving_tag_moves_forward_only() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["job"]);
    tree.write("Cargo.toml", TARGET);
    tree.commit("a moving tag");
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let publish = || {
        tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
        tree.run_with(&["merge"], &env)
    };
    publish().ended(0);
    let old = tree.head();
    assert_eq!(registry.digest("jobs/job", "latest"), registry.digest("jobs/job", &tree.tag()));
    tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL commit=newer\n"));
    tree.commit("newer");
    let newer = tree.head();
    publish().ended(0);
    let latest = registry.digest("jobs/job", "latest");
    assert_eq!(latest, registry.digest("jobs/job", &tree.tag()));
    // An old run is started again, of another branch that never saw the newer commit.
    tree.git(&["checkout", "--quiet", "-B", "other", &old]);
    tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL commit=other\n"));
    tree.commit("other");
    let other = tree.head();
    let run = publish().ended(3);
    expect![[r#"
        error: <registry>/jobs/job:latest: would go backwards: it is at <newer>, and this is <commit>
          rule: a moving tag moves only to a descendant of the commit it points to
          help: nothing, if this is the run of an older commit; to move it all the same: cargo xtask merge --move-back"#]]
    .assert_eq(&run.errors_at(&registry).replace(&newer, "<newer>"));
    assert_eq!(registry.digest("jobs/job", "latest"), latest);
    assert!(registry.digest("jobs/job", &tree.tag()).is_some(), "the tag itself is published");
    // Unless somebody wants it.
    let run = tree.run_with(&["merge", "--move-back"], &env).ended(0);
    assert!(run.stderr.contains("Moved"), "{}", run.stderr);
    assert_eq!(registry.digest("jobs/job", "latest"), registry.digest("jobs/job", &tree.tag()));
    tree.run_with(&["verify"], &env).ended(0);
    tree.git(&["checkout", "--quiet", "-B", "main", &newer]);
    expect![[r#"
        error: <registry>/jobs/job:latest: would go backwards: it is at <other>, and this is <commit>
          rule: a moving tag moves only to a descendant of the commit it points to
          help: nothing, if this is the run of an older commit; to move it all the same: cargo xtask merge --move-back"#]]
    .assert_eq(
        &tree.run_with(&["verify"], &env).ended(3).errors_at(&registry).replace(&other, "<other>"),
    );
}

/// A change, and the commit that takes it back, whose run is the faster one.
#[test]
fn a_moving_tag_goes_by_the_commit_of_the_index_and_not_by_its_images() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["job"]);
    tree.write("Cargo.toml", TARGET);
    tree.commit("a");
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let build = || tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    let merge = || tree.run_with(&["merge"], &env).ended(0);
    let index = |tag: &str| registry.index("jobs/job", tag);
    build();
    merge();
    let images = index("latest")["manifests"].clone();
    tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL change=yes\n"));
    tree.commit("b");
    let b = tree.head();
    build();
    tree.write("jobs/job/Dockerfile", DOCKERFILE);
    tree.commit("c, which takes b back");
    let c = tree.head();
    assert!(build().stderr.contains("nothing to build"));
    let merged = merge();
    assert!(merged.stderr.contains("Reused") && merged.stderr.contains("Moved"), "{}", merged.stderr);

    tree.git(&["checkout", "--quiet", "-B", "main", &b]);
    let merged = merge();
    let overtaken = format!("Overtaken {}/jobs/job:latest is at {}, which is newer", registry.address, &c[..7]);
    assert!(merged.stderr.contains(&overtaken), "{}", merged.stderr);
    let latest = index("latest");
    assert_eq!(latest["annotations"]["org.opencontainers.image.revision"], c);
    assert_eq!(latest["manifests"], images);
    assert_ne!(index(&tree.tag())["manifests"], images);
    for commit in [b, c] {
        tree.git(&["checkout", "--quiet", "-B", "main", &commit]);
        tree.run_with(&["verify"], &env).ended(0);
    }
}

/// Two commits with the same inputs, each built by a run of its own, before either has published.
struct Twins {
    registry: Registry,
    trees: [Tree; 2],
}

impl Twins {
    fn new() -> Twins {
        // Built twice, this is another image each time.
        let text = "FROM busybox:1.37\nRUN cat /proc/uptime > /now\n";
        let (registry, first) = (Registry::start(), Tree::new(&[("jobs/job/Dockerfile", text)]));
        let second = Tree::copy_of(first.path());
        second.write("README.md", "other words\n");
        second.commit("words");
        let twins = Twins { registry, trees: [first, second] };
        for tree in &twins.trees {
            let args = [&["build", "--no-cache"], &BOTH[..]].concat();
            tree.run_with(&args, &[("JOBS_REGISTRY", &twins.registry.address)]).ended(0);
        }
        let [first, second] = twins.trees.each_ref().map(|tree| twins.digest(&format!("{}-amd64", tree.tag())));
        assert!(first.is_some() && second.is_some() && first != second);
        twins
    }

    fn digest(&self, tag: &str) -> Option<String> {
        self.registry.digest("jobs/job", tag)
    }

    fn run(&self, tree: usize, command: &str) -> Run {
        self.trees[tree].run_with(&[command], &[("JOBS_REGISTRY", &self.registry.address)])
    }

    fn images(&self, tree: usize) -> serde_json::Value {
        self.registry.index("jobs/job", &self.trees[tree].tag())["manifests"].clone()
    }
}

#[test]
fn two_commits_with_one_key_publish_the_same_images() {
    let twins = Twins::new();
    for (tree, verb) in [(0, "Merged"), (1, "Reused"), (0, "Unchanged"), (1, "Unchanged")] {
        let run = twins.run(tree, "merge").ended(0);
        assert!(run.stderr.contains(verb), "{verb}: {}", run.stderr);
        twins.run(tree, "verify").ended(0);
    }
    assert_eq!(twins.images(0), twins.images(1));
    let tags = twins.trees.each_ref().map(|tree| twins.digest(&tree.tag()));
    assert_ne!(tags[0], tags[1], "each commit has an index of its own");
}

#[test]
fn two_commits_with_one_key_that_are_merged_at_once_both_succeed() {
    let twins = Twins::new();
    std::thread::scope(|scope| {
        for tree in [0, 1] {
            let twins = &twins;
            scope.spawn(move || twins.run(tree, "merge").ended(0));
        }
    });
    for tree in [0, 1] {
        twins.run(tree, "verify").ended(0);
        assert!(twins.run(tree, "merge").ended(0).stderr.contains("Unchanged"));
    }
}

/// A, B, and C, which takes B back; each in a clone of its own, built and not yet merged.
struct Commits {
    registry: Registry,
    clones: Vec<Tree>,
    commits: Vec<String>,
}

impl Commits {
    fn new() -> Commits {
        let (registry, origin) = (Registry::start(), Tree::with_jobs(&["job"]));
        origin.write("Cargo.toml", TARGET);
        origin.commit("a");
        let (mut clones, mut commits) = (Vec::new(), Vec::new());
        for (message, text) in [("b", format!("{DOCKERFILE}LABEL change=yes\n")), ("c", DOCKERFILE.to_owned())] {
            let clone = Tree::copy_of(origin.path());
            clone.git(&["remote", "add", "origin", origin.path().to_str().unwrap()]);
            clones.push(clone);
            commits.push(origin.head());
            origin.write("jobs/job/Dockerfile", &text);
            origin.commit(message);
        }
        commits.push(origin.head());
        clones.push(origin);
        let all = Commits { registry, clones, commits };
        for clone in &all.clones {
            let args = [&["build", "--force"], &BOTH[..]].concat();
            clone.run_with(&args, &[("JOBS_REGISTRY", &all.registry.address)]).ended(0);
        }
        all
    }

    fn run(&self, commit: usize, command: &str, registry: &str) -> Run {
        self.clones[commit].run_with(&[command], &[("JOBS_REGISTRY", registry)])
    }

    /// Forgets what is published.
    fn forget(&self) {
        for tag in self.registry.tags("jobs/job") {
            if !tag.ends_with("-amd64") && !tag.ends_with("-arm64") {
                self.registry.delete("jobs/job", &tag);
            }
        }
    }

    /// The commit that `latest` is at.
    fn latest(&self) -> usize {
        let index = self.registry.index("jobs/job", "latest");
        let revision = index["annotations"]["org.opencontainers.image.revision"].as_str().unwrap();
        self.commits.iter().position(|commit| commit == revision).unwrap()
    }
}

/// A registry that holds back the first write of `latest`: it says that there is one, and waits for leave.
struct Held {
    proxy: Proxy,
    is_there: Receiver<()>,
    leave: Sender<()>,
}

impl Held {
    fn new(registry: &Registry) -> Held {
        let ((said, is_there), (leave, wait)) = (channel(), channel());
        let first = Arc::new(Mutex::new(Some((said, wait))));
        let proxy = Proxy::start(&registry.address, move |request, upstream| {
            let is_meant = request.method == "PUT" && request.path.ends_with("/manifests/latest");
            let held = if is_meant { first.lock().unwrap().take() } else { None };
            if let Some((said, wait)) = held {
                let _ = said.send(());
                // Without leave, it never arrives.
                if wait.recv().is_err() {
                    return Answer::nothing();
                }
            }
            upstream.ask(request)
        });
        Held { proxy, is_there, leave }
    }
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn whoever_merges_last_the_newest_commit_has_the_moving_tag() {
    let all = Commits::new();
    let registry = all.registry.address.as_str();
    for order in ORDERS {
        for runs in [&order[..2], &order[..]] {
            all.forget();
            for &commit in runs {
                all.run(commit, "merge", registry).ended(0);
            }
            let newest = *runs.iter().max().unwrap();
            assert_eq!(all.latest(), newest, "{runs:?}");
            // A run that is started again changes nothing.
            all.run(runs[0], "merge", registry).ended(0);
            assert_eq!(all.latest(), newest, "{runs:?}");
            runs.iter().for_each(|&commit| drop(all.run(commit, "verify", registry).ended(0)));
        }
    }
}

#[test]
fn whoever_writes_last_the_newest_commit_has_the_moving_tag() {
    let all = Commits::new();
    for order in ORDERS {
        for runs in [&order[..2], &order[..]] {
            all.forget();
            // All have looked before any of them writes.
            let held: Vec<Held> = runs.iter().map(|_| Held::new(&all.registry)).collect();
            std::thread::scope(|scope| {
                let started: Vec<_> = runs
                    .iter()
                    .zip(&held)
                    .map(|(&commit, held)| {
                        let address = held.proxy.address.as_str();
                        let run = {
                            let all = &all;
                            scope.spawn(move || all.run(commit, "merge", address))
                        };
                        held.is_there.recv().unwrap();
                        run
                    })
                    .collect();
                for (run, held) in started.into_iter().zip(&held) {
                    held.leave.send(()).unwrap();
                    run.join().unwrap().ended(0);
                }
            });
            assert_eq!(all.latest(), *runs.iter().max().unwrap(), "{runs:?}");
        }
    }
}

#[test]
fn a_run_that_was_killed_leaves_the_moving_tag_to_the_others() {
    let all = Commits::new();
    let registry = all.registry.address.as_str();
    for [killed, other, _] in ORDERS {
        all.forget();
        let held = Held::new(&all.registry);
        let mut run = all.clones[killed].command(&["merge"], &[("JOBS_REGISTRY", &held.proxy.address)]);
        let mut run = run.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        held.is_there.recv().unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        drop(held.leave);
        all.run(other, "merge", registry).ended(0);
        let newest = killed.max(other);
        // A newer commit that is published, and whose run ended too early, has it too where an older one's run came by.
        assert_eq!(all.latest(), newest, "{killed} was killed, {other} came after it");
        all.run(killed, "merge", registry).ended(0);
        assert_eq!(all.latest(), newest, "{killed} was killed, and started again after {other}");
    }
}
