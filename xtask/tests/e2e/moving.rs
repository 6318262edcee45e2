//! Indexes that belong to commits, and what follows: moving tags that go by them, and runs that meet each other.

use expect_test::expect;

use crate::harness::{BOTH, DOCKERFILE, Registry, Tree};

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
    let run = publish().ended(3);
    expect![[r#"
        error: <registry>/jobs/job:latest: would go backwards: it is at <newer>, and this is <commit>
          rule: a moving tag moves only to a descendant of the commit it points to
          help: nothing, if this is the run of an older commit"#]]
    .assert_eq(&run.errors_at(&registry).replace(&newer, "<newer>"));
    assert_eq!(registry.digest("jobs/job", "latest"), latest);
    assert!(registry.digest("jobs/job", &tree.tag()).is_some(), "the tag itself is published");
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

    fn run(&self, tree: usize, command: &str) -> crate::harness::Run {
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
