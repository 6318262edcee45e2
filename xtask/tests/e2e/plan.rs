//! `plan`, `discover --changed`, and what `build` and `merge` make of it.

pub mod why;

use std::process::Command;

use expect_test::{Expect, expect};

use crate::harness::{DOCKERFILE, OTHER, OWN, Registry, Run, TempDir, Tree, docker, without_digests};

const SHARED: &str = "FROM busybox:1.37\nCOPY jobs/lib/util.sh /\nCMD [\"cat\", \"/util.sh\"]\n";
const BUILD_BOTH: [&str; 6] = ["build", "--arch", "amd64", "--arch", "arm64", "--emulate"];

/// A published tree: `a` and `b` copy a shared file, `c` does not, and has a base of its own.
struct Published {
    registry: Registry,
    tree: Tree,
}

impl Published {
    fn new() -> Published {
        let registry = Registry::start();
        let base = format!("FROM {}/base:1\nRUN echo c > /c\n", registry.address);
        let tree = Tree::new(&[
            ("jobs/a/Dockerfile", SHARED),
            ("jobs/b/Dockerfile", SHARED),
            ("jobs/b/job.json", r#"{"args": {"PROFILE": "debug"}}"#),
            ("jobs/c/Dockerfile", &base),
            ("jobs/lib/util.sh", "echo 1\n"),
            ("README.md", "jobs\n"),
        ]);
        let published = Published { registry, tree };
        published.push_base("1");
        published.publish();
        published
    }

    /// Moves the base of `c`.
    fn push_base(&self, content: &str) {
        self.tree.write("target/base/Dockerfile", "FROM busybox:1.37\nCOPY content /content\n");
        self.tree.write("target/base/content", content);
        let dir = self.tree.path().join("target/base");
        let mirror = crate::harness::mirrors();
        let mirror = mirror.split(',').find_map(|entry| entry.strip_prefix("docker.io=")).map(str::to_owned);
        let context = mirror.map(|mirror| format!("busybox:1.37=docker-image://{mirror}/library/busybox:1.37"));
        let image = format!("{}/base:1", self.registry.address);
        let images = ["amd64", "arm64"].map(|arch| format!("{image}-{arch}"));
        // One after the other, as an engine with the classic image store wants it.
        for (arch, image) in ["linux/amd64", "linux/arm64"].into_iter().zip(&images) {
            let mut args = vec!["buildx", "build", "--quiet", "--platform", arch, "--provenance=false"];
            args.extend(context.iter().flat_map(|context| ["--build-context", context]));
            let output = "type=image,oci-mediatypes=true,store=false";
            args.extend(["-t", image, "--output", output, "--push", dir.to_str().unwrap()]);
            docker(&args);
        }
        docker(&["buildx", "imagetools", "create", "-t", &image, &images[0], &images[1]]);
    }

    fn run(&self, args: &[&str]) -> Run {
        self.tree.run_with(args, &[("JOBS_REGISTRY", &self.registry.address)])
    }

    fn publish(&self) -> Run {
        self.run(&BUILD_BOTH).ended(0);
        self.run(&["merge"]).ended(0)
    }

    /// The plan as a table, without what differs from run to run.
    fn plan(&self, since: &str, expected: &Expect) {
        let run = self.run(&["plan", "--all"]).ended(0);
        let shown = run.stdout.replace(&self.registry.address, "<registry>").replace(&since[..7], "<since>");
        let mut words = Vec::new();
        for line in shown.lines() {
            words.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        expected.assert_eq(&words.join("\n"));
    }

    fn changed(&self) -> String {
        self.run(&["discover", "--changed"]).ended(0).stdout.trim().to_owned()
    }

    /// The index of a job under the tag.
    fn index(&self, job: &str) -> serde_json::Value {
        self.registry.index(&format!("jobs/{job}"), &self.tree.tag())
    }

    /// The manifests that the indexes list.
    fn images(&self) -> Vec<serde_json::Value> {
        ["a", "b", "c"].map(|job| self.index(job)["manifests"].clone()).to_vec()
    }

    fn digests(&self) -> Vec<Option<String>> {
        ["a", "b", "c"].map(|job| self.registry.digest(&format!("jobs/{job}"), &self.tree.tag())).to_vec()
    }
}

#[test]
fn an_unrelated_commit_builds_nothing_and_every_job_gets_the_new_tag() {
    let published = Published::new();
    let (first, before) = (published.tree.head(), published.digests());
    assert!(before.iter().all(Option::is_some));
    let images = published.images();
    published.tree.write("README.md", "other words\n");
    published.tree.commit("words");
    assert_eq!(published.changed(), "[]");
    published.plan(
        &first,
        &expect![[r#"
            JOB PLAN BUILDS REASON
            a reuse - unchanged since <since>
            b reuse - unchanged since <since>
            c reuse - unchanged since <since>"#]],
    );
    let built = published.run(&BUILD_BOTH).ended(0);
    assert!(built.stderr.contains("Finished nothing to build"), "{}", built.stderr);
    assert_eq!(built.stdout, "");
    published.run(&["merge"]).ended(0);
    // An index belongs to a commit, and lists the same images.
    assert!(published.digests().iter().zip(&before).all(|(new, old)| new.is_some() && new != old));
    assert_eq!(published.images(), images);
    let index = published.index("a");
    assert_eq!(index["annotations"]["org.opencontainers.image.revision"], published.tree.head());
    assert_eq!(index["annotations"]["org.opencontainers.image.version"], published.tree.tag());
    assert_eq!(index["annotations"]["vnd.jobs.built-from"], first);
    published.run(&["verify"]).ended(0);
    // A second merge writes nothing.
    let digests = published.digests();
    let again = published.run(&["merge"]).ended(0);
    assert_eq!((again.stderr.matches("Unchanged").count(), published.digests()), (3, digests));
    assert_eq!(published.run(&["plan", "--exit-code", "--all"]).ended(0).stdout.matches("published").count(), 3);
}

#[test]
fn a_change_in_a_shared_folder_builds_the_jobs_that_copy_it() {
    let published = Published::new();
    let first = published.tree.head();
    published.tree.write("jobs/lib/util.sh", "echo 2\n");
    published.tree.commit("faster");
    assert_eq!(published.changed(), "[\"jobs/a\",\"jobs/b\"]");
    published.run(&["plan", "--exit-code"]).ended(10);
    published.plan(
        &first,
        &expect![[r#"
            JOB PLAN BUILDS REASON
            a build amd64 arm64 jobs/lib/util.sh changed since <since>
            b build amd64 arm64 jobs/lib/util.sh changed since <since>
            c reuse - unchanged since <since>"#]],
    );
    let merged = published.publish();
    assert_eq!(merged.stdout.lines().count(), 3);
    published.run(&["verify"]).ended(0);
}

#[test]
fn the_reason_is_said_for_arguments_and_bases_too() {
    let published = Published::new();
    let first = published.tree.head();
    published.push_base("2");
    published.tree.write("jobs/b/job.json", r#"{"args": {"PROFILE": "release"}}"#);
    published.tree.commit("an argument");
    published.tree.write("jobs/new/Dockerfile", DOCKERFILE);
    published.tree.commit("a new job");
    let plan = published.run(&["plan", "--format", "json"]).ended(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let plain = |text: &str| text.replace(&published.registry.address, "<registry>").replace(&first[..7], "<since>");
    let reasons: Vec<String> =
        plan.as_array().unwrap().iter().map(|job| plain(job["reason"].as_str().unwrap())).collect();
    assert_eq!(reasons[0], "unchanged since <since>");
    assert_eq!(reasons[1], "argument PROFILE changed since <since>");
    let (moved, digests) = reasons[2].split_once(" (").unwrap();
    assert_eq!(moved, "base <registry>/base:1 moved");
    assert!(digests.starts_with("sha256:") && digests.contains(" → sha256:"), "{digests}");
    assert_eq!(reasons[3], "never built");
    assert_eq!(plan[2]["action"], "build");
    assert_eq!(plan[2]["arches"], serde_json::json!(["amd64", "arm64"]));
    assert_eq!(published.changed(), "[\"jobs/b\",\"jobs/c\",\"jobs/new\"]");
}

#[test]
fn a_deleted_architecture_is_the_only_leg() {
    let published = Published::new();
    // What is published is right without the tags of its architectures.
    published.registry.delete("jobs/b", &format!("{}-arm64", published.tree.tag()));
    assert_eq!(published.changed(), "[]");
    // Before it was published, and found by its key, it has to be built again.
    let key = published.index("b")["annotations"]["vnd.jobs.key"].as_str().unwrap().to_owned();
    published.registry.delete("jobs/b", &published.tree.tag());
    published.registry.delete("jobs/b", &format!("key-{key}"));
    let matrix = published.run(&["discover", "--changed", "--format", "matrix"]).ended(0).stdout;
    let matrix: serde_json::Value = serde_json::from_str(&matrix).unwrap();
    let legs: Vec<String> = matrix["include"].as_array().unwrap().iter().map(|leg| leg["name"].to_string()).collect();
    assert_eq!(legs, ["\"b (arm64)\""]);
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_stopped() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["one", "two"]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&["build", "--arch", OWN], &env).ended(0);
    let again = tree.run_with(&BUILD_BOTH, &env).ended(0);
    let mut built: Vec<&str> = again.stderr.lines().filter(|line| line.contains("Building")).map(str::trim).collect();
    // They are built side by side.
    built.sort_unstable();
    assert_eq!(built, [format!("Building one ({OTHER})"), format!("Building two ({OTHER})")]);
    let forced = tree.run_with(&["build", "--arch", OWN, "--force"], &env).ended(0);
    assert_eq!(forced.stderr.matches("Building").count(), 2);
}

#[test]
fn what_is_not_committed_is_built_each_time_and_never_found_again() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["dirty"]);
    tree.write("jobs/dirty/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    for _ in 0..2 {
        let run = tree.run_with(&BUILD_BOTH, &env).ended(0);
        assert_eq!(run.stderr.matches("Building").count(), 2, "{}", run.stderr);
    }
    tree.run_with(&["merge"], &env).ended(0);
    let tags = registry.request("GET", "/v2/jobs/dirty/tags/list", &[]).unwrap();
    assert!(tags.contains("-dirty") && !tags.contains("key-"), "{tags}");
    let plan = tree.run_with(&["plan"], &env).ended(0).stdout;
    assert!(plan.contains("jobs/dirty/Dockerfile is not committed"), "{plan}");
}

#[test]
fn a_base_that_moves_between_two_legs_is_refused() {
    let published = Published::new();
    let c = published.tree.path().join("jobs/c/Dockerfile");
    let text = std::fs::read_to_string(&c).unwrap();
    published.tree.write("jobs/c/Dockerfile", &format!("{text}LABEL x=y\n"));
    published.tree.commit("c");
    published.run(&["build", "--arch", OWN, "c"]).ended(0);
    published.push_base("3");
    published.run(&["build", "--arch", OTHER, "--emulate", "c"]).ended(0);
    let run = published.run(&["merge", "c"]).ended(3);
    expect![[r#"
        error: <registry>/jobs/c:<sha>-<own>: was built from another base: <registry>/base:1 moved (sha256:… → sha256:…)
          rule: all images of a tag are built from the same inputs and bases
          help: cargo xtask build --arch <own> --no-cache c"#]]
    .assert_eq(&run.errors_at(&published.registry).replace(OWN, "<own>"));
    assert_eq!(published.registry.digest("jobs/c", &published.tree.tag()), None);
    // The command that it names mends it.
    published.run(&["build", "--arch", OWN, "--no-cache", "c"]).ended(0);
    published.run(&["merge", "c"]).ended(0);
}

#[test]
fn with_slices_every_leg_builds_from_the_same_base() {
    let published = Published::new();
    published
        .tree
        .write("jobs/c/Dockerfile", &format!("FROM {}/base:1\nRUN echo d > /c\n", published.registry.address));
    published.tree.commit("c");
    let outputs = published.tree.path().join("target/outputs");
    let address = published.registry.address.clone();
    let env = [("JOBS_REGISTRY", address.as_str()), ("GITHUB_OUTPUT", outputs.to_str().unwrap())];
    let matrix =
        published.tree.command(&["discover", "--changed", "--format", "matrix"], &env).output().unwrap().stdout;
    let matrix: serde_json::Value = serde_json::from_slice(&matrix).unwrap();
    let legs = matrix["include"].as_array().unwrap();
    assert_eq!(legs.len(), 2);
    assert!(!matrix.to_string().contains(&address), "no registry host in the matrix");
    for leg in legs {
        // The base moves before each leg.
        published.push_base(leg["arch"].as_str().unwrap());
        let env = [("JOBS_REGISTRY", address.as_str()), ("JOBS_PLAN", leg["plan"].as_str().unwrap())];
        published.tree.run_with(&["build", "--arch", leg["arch"].as_str().unwrap(), "--emulate"], &env).ended(0);
    }
    let outputs = std::fs::read_to_string(outputs).unwrap();
    let merge = outputs.lines().find_map(|line| line.strip_prefix("merge=")).unwrap();
    let merge: serde_json::Value = serde_json::from_str(merge).unwrap();
    let env = [("JOBS_REGISTRY", address.as_str()), ("JOBS_PLAN", merge["include"][0]["plan"].as_str().unwrap())];
    let merged = published.tree.run_with(&["merge"], &env).ended(0);
    assert_eq!(merged.stdout.lines().count(), 1, "{}", merged.stdout);
    // What is unchanged needs no leg.
    let unchanged = outputs.lines().find_map(|line| line.strip_prefix("unchanged=")).unwrap();
    let of_unchanged = [("JOBS_REGISTRY", address.as_str()), ("JOBS_PLAN", unchanged)];
    let merged = published.tree.run_with(&["merge"], &of_unchanged).ended(0);
    assert_eq!(merged.stdout.lines().count(), 2, "{}", merged.stdout);
    published.run(&["verify"]).ended(0);
    // A slice of another commit is refused.
    published.tree.commit("later");
    let run = published.tree.run_with(&["build", "--arch", OWN], &env).ended(2);
    assert!(run.errors().starts_with("error: --plan: is a slice of the plan for "), "{}", run.errors());
    let run = published.tree.run_with(&["build", "--plan", "nonsense"], &[]).ended(2);
    assert!(run.errors().starts_with("error: --plan: not a slice of a plan"), "{}", run.errors());
    let run = published.tree.run_with(&["build", "--plan", "@Cargo.toml"], &[]).ended(2);
    expect![[r#"
        error: --plan: Cargo.toml holds no part of a plan: expected value at line 1 column 2
          rule: with `@`, a file that `cargo xtask discover --changed --format matrix` wrote in a workflow
          help: run that again, on this commit"#]]
    .assert_eq(run.errors());
}

#[test]
fn what_an_environment_guards_is_merged_in_it() {
    let published = Published::new();
    let target = "[workspace]\n[workspace.metadata.jobs.targets.production]\nenvironment = \"production\"\n";
    published.tree.write("Cargo.toml", target);
    published.tree.commit("an environment");
    let outputs = published.tree.path().join("target/outputs");
    let env = [
        ("JOBS_REGISTRY", published.registry.address.as_str()),
        ("JOBS_TARGET", "production"),
        ("GITHUB_OUTPUT", outputs.to_str().unwrap()),
    ];
    published.tree.run_with(&["config"], &env).ended(0);
    published.tree.run_with(&["discover", "--changed", "--format", "matrix"], &env).ended(0);
    let outputs = std::fs::read_to_string(outputs).unwrap();
    for line in ["any=false", "any-merge=true", "any-unchanged=false"] {
        assert!(outputs.lines().any(|output| output == line), "{line}: {outputs}");
    }
    let merge = outputs.lines().find(|line| line.starts_with("merge=")).unwrap();
    assert!(merge.contains("\"environment\":\"production\""), "{merge}");
}

#[test]
fn a_clone_without_the_content_of_older_files_is_enough() {
    let published = Published::new();
    let since = published.tree.head();
    published.tree.write("jobs/b/job.json", r#"{"args": {"PROFILE": "release"}}"#);
    published.tree.commit("another argument");
    published.tree.git(&["config", "uploadpack.allowFilter", "true"]);
    let (clone, origin) = (TempDir::new(), format!("file://{}", published.tree.path().display()));
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&clone.0).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["clone", "--quiet", "--filter=blob:none", &origin, "."]);
    let missing = git(&["rev-list", "--objects", "--all", "--missing=print"]);
    assert!(missing.lines().any(|line| line.starts_with('?')), "the clone holds everything:\n{missing}");
    // As on a runner whose checkout has left no credentials.
    git(&["remote", "set-url", "origin", "file:///nowhere"]);
    let env = [("JOBS_REGISTRY", published.registry.address.as_str())];
    let run = |args: &[&str]| {
        let output = published.tree.command(args, &env).current_dir(&clone.0).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run(&["discover", "--changed"]), "[\"jobs/b\"]\n");
    assert_eq!(run(&["discover", "--changed", "--since", &since]), "[\"jobs/b\"]\n");
    let plan = run(&["plan"]);
    assert!(plan.contains("jobs/b/job.json changed since "), "{plan}");
    run(&[&BUILD_BOTH[..], &["b"]].concat());
    assert_eq!(run(&["merge"]).lines().count(), 3);
}

#[test]
fn since_compares_files_with_the_merge_base_and_asks_no_registry() {
    let tree = Tree::new(&[
        ("jobs/a/Dockerfile", SHARED),
        ("jobs/b/Dockerfile", SHARED),
        ("jobs/c/Dockerfile", DOCKERFILE),
        ("jobs/gone/Dockerfile", DOCKERFILE),
        ("jobs/lib/util.sh", "1"),
    ]);
    tree.git(&["checkout", "--quiet", "-b", "feature"]);
    tree.git(&["rm", "-r", "--quiet", "jobs/gone"]);
    tree.write("jobs/b/Dockerfile", &format!("{SHARED}LABEL x=y\n"));
    tree.write("jobs/new/Dockerfile", DOCKERFILE);
    tree.commit("feature");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.write("jobs/c/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
    tree.commit("what happened on main meanwhile is no change of the feature's");
    tree.git(&["checkout", "--quiet", "feature"]);
    let nowhere = [("JOBS_MIRRORS", "docker.io=127.0.0.1:1")];
    let summary = tree.path().join("target/summary.md");
    std::fs::create_dir_all(summary.parent().unwrap()).unwrap();
    let env = [&nowhere[..], &[("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())]].concat();
    let run = tree.run_with(&["discover", "--since", "main"], &env).ended(0);
    assert_eq!(run.stdout, "[\"jobs/b\",\"jobs/new\"]\n");
    // What a pull request would build, and why.
    let since = &tree.git(&["merge-base", "main", "HEAD"])[..7];
    expect![[r#"
        ### Plan

        4 jobs: 2 done, 0 to reuse, 2 to build

        | JOB | PLAN | BUILDS | REASON |
        | --- | --- | --- | --- |
        | b | build | amd64 arm64 | jobs/b/Dockerfile changed since <base> |
        | new | build | amd64 arm64 | new since <base> |
    "#]]
    .assert_eq(&std::fs::read_to_string(&summary).unwrap().replace(since, "<base>"));
    assert!(run.stderr.contains("Deleted jobs/gone"), "{}", run.stderr);
    let base = tree.git(&["merge-base", "main", "HEAD"]);
    let plan =
        tree.run_with(&["plan", "--since", "main", "--all"], &nowhere).ended(0).stdout.replace(&base[..7], "<base>");
    let plan: Vec<String> = plan.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        plan,
        [
            "JOB PLAN BUILDS REASON",
            "b build amd64 arm64 jobs/b/Dockerfile changed since <base>",
            "new build amd64 arm64 new since <base>",
            "a done - unchanged since <base>",
            "c done - unchanged since <base>",
        ]
    );
    tree.write("jobs/lib/util.sh", "2");
    assert_eq!(
        tree.run_with(&["discover", "--since", "main"], &nowhere).ended(0).stdout,
        "[\"jobs/a\",\"jobs/b\",\"jobs/new\"]\n"
    );
    expect![[r#"
        error: --since v9: git does not know this revision here
          help: fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in actions/checkout"#]]
    .assert_eq(tree.run(&["discover", "--since", "v9"]).ended(2).errors());
}

#[test]
fn a_registry_that_does_not_answer_is_neither_empty_nor_up_to_date() {
    let tree = Tree::with_jobs(&["a"]);
    for command in [&["plan"][..], &["discover", "--changed"], &["build"]] {
        let run = tree.run_with(command, &[("JOBS_REGISTRY", "127.0.0.1:1")]).ended(4);
        assert!(run.errors().contains("Couldn't connect to server"), "{}", run.errors());
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_shallow_clone_elsewhere_has_the_same_keys() {
    let published = Published::new();
    published.tree.write("README.md", "x");
    published.tree.commit("later");
    let clone = Tree::new(&[]);
    let url = format!("file://{}", published.tree.path().display());
    let dir = clone.path().join("target/clone");
    let clone = Command::new("git").args(["clone", "--quiet", "--depth", "1", &url]).arg(&dir).output().unwrap();
    assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stderr));
    let keys = |dir: &std::path::Path| {
        let env = [("JOBS_REGISTRY", published.registry.address.as_str())];
        let mut command = published.tree.command(&["plan", "--format", "json"], &env);
        let plan = command.current_dir(dir).output().unwrap().stdout;
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        plan.as_array().unwrap().iter().map(|job| job["key"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&dir), keys(published.tree.path()));
    assert_eq!(without_digests(&keys(&dir).join(" ")), "\"<key>\" \"<key>\" \"<key>\"");
}
