//! `merge` and `verify`: what the gate lets pass, and what it refuses, with nothing pushed or moved afterwards.

use expect_test::{Expect, expect};

use crate::bad_inputs::Untouched;
use crate::harness::{BOTH, DOCKERFILE, OTHER, OWN, Registry, Run, Tree, docker};

/// A tree with one job, its images of both architectures pushed.
struct Built {
    registry: Registry,
    tree: Tree,
}

impl Built {
    fn new() -> Built {
        let built = Built { registry: Registry::start(), tree: Tree::with_jobs(&["job"]) };
        built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        built
    }

    fn run(&self, args: &[&str]) -> Run {
        self.tree.run_with(args, &[("JOBS_REGISTRY", &self.registry.address)])
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/jobs/job:{tag}", self.registry.address)
    }

    fn tag(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.tree.tag())
    }

    fn digest(&self, suffix: &str) -> Option<String> {
        self.registry.digest("jobs/job", &self.tag(suffix))
    }

    /// Points a tag at other images, as a careless script would.
    fn point(&self, tag: &str, sources: &[&str]) {
        let target = self.image(&self.tag(tag));
        let sources: Vec<String> = sources.iter().map(|source| self.image(&self.tag(source))).collect();
        let mut args = vec!["buildx", "imagetools", "create", "-t", &target];
        args.extend(sources.iter().map(String::as_str));
        docker(&args);
    }

    /// `merge` refuses, and pushes and moves nothing.
    #[track_caller]
    fn refused(&self) -> Run {
        let untouched = Untouched::now(&self.tree, Some(&self.registry));
        let run = self.run(&["merge"]).ended(3);
        untouched.check(&self.tree, Some(&self.registry), &run);
        run
    }

    #[track_caller]
    fn refused_with(&self, message: &Expect) {
        message.assert_eq(&self.refused().errors_at(&self.registry));
    }
}

#[test]
fn a_missing_architecture_is_refused() {
    let built = Built::new();
    built.registry.delete("jobs/job", &built.tag("-arm64"));
    built.refused_with(&expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: arm64 is missing
          rule: a tag is published when every architecture is there
          help: cargo xtask build --arch arm64 job"#]]);
}

#[test]
fn an_image_of_another_architecture_is_refused() {
    let built = Built::new();
    built.point("-arm64", &["-amd64"]);
    built.refused_with(&expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: holds an image of linux/amd64 (sha256:…)
          rule: here stands linux/arm64 alone
          help: cargo xtask build --arch arm64 --no-cache job
        error: <registry>/jobs/job:<sha>-arm64: arm64 is missing
          rule: every architecture is there exactly once
          help: cargo xtask build --arch arm64 --no-cache job"#]]);
}

#[test]
fn a_tag_of_one_architecture_with_several_is_refused() {
    let built = Built::new();
    built.point("-arm64", &["-amd64", "-arm64"]);
    built.refused_with(&expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: holds an image of linux/amd64 (sha256:…)
          rule: here stands linux/arm64 alone
          help: cargo xtask build --arch arm64 --no-cache job"#]]);
}

#[test]
fn two_images_of_one_architecture_are_refused() {
    let built = Built::new();
    // A second image of the same commit and architecture, pushed by hand.
    let labels = format!("org.opencontainers.image.revision={}", built.tree.head());
    let other = built.image(&built.tag("-other"));
    built.tree.write("target/Dockerfile", "FROM scratch\nCOPY Cargo.toml /\n");
    let context = built.tree.path().to_str().unwrap().to_owned();
    let dockerfile = format!("{context}/target/Dockerfile");
    docker(&[
        "buildx",
        "build",
        "--quiet",
        "--platform",
        "linux/arm64",
        "-t",
        &other,
        "-f",
        &dockerfile,
        "--label",
        &labels,
        "--provenance=false",
        "--output",
        "type=image,oci-mediatypes=true,store=false",
        "--push",
        &context,
    ]);
    built.point("-arm64", &["-arm64", "-other"]);
    // Which of the two the registry's answer describes is chance, so the rest of the message is too.
    let run = built.refused();
    assert!(run.errors().contains("-arm64: linux/arm64 is there 2 times\n"), "{}", run.errors());
}

#[test]
fn an_image_of_another_commit_is_refused() {
    let built = Built::new();
    let old = built.tag(&format!("-{OTHER}"));
    let old_commit = built.tree.head();
    built.tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL changed=yes\n"));
    built.tree.commit("second");
    built.run(&["build", "--arch", OWN]).ended(0);
    docker(&[
        "buildx",
        "imagetools",
        "create",
        "-t",
        &built.image(&built.tag(&format!("-{OTHER}"))),
        &built.image(&old),
    ]);
    let run = built.refused();
    expect![[r#"
        error: <registry>/jobs/job:<sha>-<other>: was built from other inputs: its key is <key>, not <key>
          rule: all images of a tag are built from the same inputs and bases
          help: cargo xtask build --arch <other> --no-cache job"#]]
    .assert_eq(&run.errors_at(&built.registry).replace(&old_commit, "<old>").replace(OTHER, "<other>"));
}

#[test]
fn merging_twice_changes_nothing() {
    let built = Built::new();
    let first = built.run(&["merge"]).ended(0);
    let digest = built.digest("").unwrap();
    let second = built.run(&["merge"]).ended(0);
    assert_eq!((first.stdout, Some(digest)), (second.stdout, built.digest("")));
    assert!(second.stderr.contains("Unchanged"), "{}", second.stderr);
}

#[test]
fn a_published_tag_that_was_broken_is_noticed() {
    let built = Built::new();
    built.run(&["merge"]).ended(0);
    // The index without one of its architectures.
    built.point("", &["-amd64"]);
    let broken = built.digest("");
    for command in ["merge", "verify"] {
        let run = built.run(&[command]).ended(3);
        expect![[r#"
            error: <registry>/jobs/job:<sha>: arm64 is missing
              rule: every architecture is there exactly once
              help: cargo xtask build --arch arm64 --no-cache job
            error: <registry>/jobs/job:<sha>: exists with other content: linux/amd64 sha256:…, and not linux/arm64 sha256:…
              rule: a published tag never changes
              help: commit a change to get a new tag, or delete the tag in the registry"#]]
        .assert_eq(&run.errors_at(&built.registry));
        assert_eq!(built.digest(""), broken, "{command} must leave it alone");
    }
}

#[test]
fn an_architectures_tag_that_was_broken_after_the_merge_is_noticed_and_mended() {
    let built = Built::new();
    built.run(&["merge"]).ended(0);
    let published = built.digest("");
    let check = |message: &str| {
        let run = built.run(&["verify"]).ended(3);
        assert!(run.errors().contains(message), "{}", run.errors());
        assert!(run.errors().contains("help: cargo xtask merge job"), "{}", run.errors());
        let build = built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        assert!(build.stderr.contains("nothing to build"), "{}", build.stderr);
        let merge = built.run(&["merge"]).ended(0);
        assert_eq!(merge.stderr.matches("Mended").count(), 1, "{}", merge.stderr);
        built.run(&["verify"]).ended(0);
        assert!(!built.run(&["merge"]).ended(0).stderr.contains("Mended"));
        assert_eq!(built.digest(""), published);
    };
    for (tag, source, message) in
        [("-arm64", "-amd64", "holds an image of linux/amd64"), ("-amd64", "-arm64", "holds an image of linux/arm64")]
    {
        built.point(tag, &[source]);
        check(message);
    }
    built.registry.delete("jobs/job", &built.tag("-arm64"));
    check("arm64 is missing, while another architecture's tag is there");
    // Provenance comes along.
    let part = built.registry.index("jobs/job", &built.tag("-arm64"));
    assert_eq!(part["manifests"].as_array().unwrap().len(), 2, "{part}");
}

#[test]
fn what_is_not_published_cannot_be_verified() {
    let built = Built::new();
    expect![[r#"
        error: <registry>/jobs/job:<sha>: is not published
          help: cargo xtask merge job"#]]
    .assert_eq(&built.run(&["verify"]).ended(3).errors_at(&built.registry));
}

#[test]
fn a_registry_that_does_not_answer_is_not_an_empty_one() {
    let tree = Tree::with_jobs(&["job"]);
    for command in ["merge", "verify"] {
        let run = tree.run_with(&[command], &[("JOBS_REGISTRY", "127.0.0.1:1")]).ended(4);
        assert!(run.errors().contains("127.0.0.1:1/jobs/job:"), "{}", run.errors());
        assert!(run.errors().ends_with("help: nothing listens there: cargo xtask setup starts the loopback registry"));
    }
}

#[test]
fn one_refused_job_does_not_stop_the_others() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["bad", "good"]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build", "good"], &BOTH[..]].concat(), &env).ended(0);
    let run = tree.run_with(&["merge"], &env).ended(3);
    assert!(run.stdout.contains("/jobs/good:<sha>@sha256:"), "{}", run.stdout);
    assert!(run.errors().contains("/jobs/bad:<sha>-amd64: amd64 is missing"), "{}", run.errors());
    assert!(registry.digest("jobs/good", &tree.tag()).is_some());
    assert_eq!(registry.digest("jobs/bad", &tree.tag()), None);
}

#[test]
fn a_dry_run_of_merge_prints_the_command_and_publishes_nothing() {
    let built = Built::new();
    let run = built.run(&["merge", "--dry-run"]).ended(0);
    let (command, sources) = run.stdout.split_once(" '").unwrap();
    expect![[r#"
        docker buildx imagetools create --progress plain -t <registry>/jobs/job:<sha> -t <registry>/jobs/job:key-<key> --annotation index:org.opencontainers.image.revision=<commit> --annotation index:org.opencontainers.image.title=job --annotation index:org.opencontainers.image.version=<sha> --annotation index:vnd.jobs.bases=busybox:1.37@sha256:… --annotation index:vnd.jobs.key=<key>"#]]
    .assert_eq(&crate::harness::without_digests(&command.replace(&built.registry.address, "<registry>")));
    // The entries of both indexes that were checked, in the order of the architectures.
    let sources: Vec<serde_json::Value> = sources
        .trim_end()
        .trim_end_matches('\'')
        .split("' '")
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let parts = ["amd64", "arm64"].map(|arch| built.registry.index("jobs/job", &built.tag(&format!("-{arch}"))));
    let entries: Vec<_> = parts.iter().flat_map(|part| part["manifests"].as_array().unwrap().clone()).collect();
    assert_eq!(sources, entries);
    assert_eq!(built.digest(""), None);
    // What is printed is what runs, pasted into a shell too.
    let pasted = run.stdout.replace("<sha>", &built.tree.tag()).replace("<commit>", &built.tree.head());
    let status = std::process::Command::new("sh").args(["-c", &pasted]).stderr(std::process::Stdio::null()).status();
    assert!(status.unwrap().success(), "{pasted}");
    let by_hand = built.digest("");
    assert!(built.run(&["merge"]).ended(0).stderr.contains("Unchanged"));
    assert_eq!((by_hand.is_some(), built.digest("")), (true, by_hand));
}
