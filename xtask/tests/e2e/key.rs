//! What a key promises: the same key means the same image, whatever happens to the working tree, the index or git.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use expect_test::expect;

use crate::engine::as_root;
use crate::harness::{DOCKERFILE, OWN, Registry, TempDir, Tree, copy_image, docker, mirrors};

/// The key of the job `job`, and the reason of its plan.
fn planned(tree: &Tree, env: &[(&str, &str)]) -> (Option<String>, String) {
    let plan = tree.run_with(&["plan", "--format", "json", "job"], env).ended(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    (plan[0]["key"].as_str().map(str::to_owned), plan[0]["reason"].as_str().unwrap().to_owned())
}

fn key(tree: &Tree) -> Option<String> {
    planned(tree, &[]).0
}

fn write_executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_job_that_git_does_not_know_has_no_key_and_is_built_each_time() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["other"]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    for text in [DOCKERFILE.to_owned(), format!("{DOCKERFILE}LABEL x=y\n")] {
        tree.write("jobs/job/Dockerfile", &text);
        let (key, reason) = planned(&tree, &env);
        assert_eq!((key, reason.as_str()), (None, "jobs/job/Dockerfile is not committed"));
        let built = tree.run_with(&["build", "--push", "job"], &env).ended(0);
        assert!(built.stderr.contains("Building job"), "{}", built.stderr);
    }
    // The folder is known, and the Dockerfile alone is not.
    tree.write("jobs/job/README.md", "a job");
    tree.git(&["add", "jobs/job/README.md"]);
    tree.git(&["commit", "--quiet", "--message", "words"]);
    assert_eq!(planned(&tree, &env).1, "jobs/job/Dockerfile is not committed");
    // What job.json names can lie in a folder that git does not know either.
    tree.write("jobs/job/job.json", r#"{"inputs": ["protos/v1"]}"#);
    tree.commit("a job");
    tree.write("protos/v1/a.proto", "1");
    assert_eq!(planned(&tree, &env), (None, "protos is not committed".to_owned()));
}

#[test]
fn a_change_that_is_staged_and_taken_back_is_not_in_the_key() {
    let tree = Tree::with_jobs(&["job"]);
    let before = key(&tree);
    assert!(before.is_some());
    tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
    tree.git(&["add", "--all"]);
    tree.write("jobs/job/Dockerfile", DOCKERFILE);
    assert_eq!(key(&tree), before, "what would be built is what the commit holds");
    tree.git(&["commit", "--quiet", "--message", "the staged change"]);
    assert_eq!(key(&tree), None, "what would be built is not what the commit holds");
    tree.git(&["checkout", "--quiet", "--", "."]);
    let after = key(&tree);
    assert!(after.is_some() && after != before, "the commit of the change has a key of its own");
}

#[test]
fn a_change_that_git_was_told_not_to_see_is_seen() {
    for hide in ["--assume-unchanged", "--skip-worktree"] {
        let tree = Tree::with_jobs(&["job"]);
        tree.git(&["update-index", hide, "jobs/job/Dockerfile"]);
        tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
        assert_eq!(planned(&tree, &[]), (None, "jobs/job/Dockerfile is not committed".to_owned()), "{hide}");
    }
    let tree =
        Tree::new(&[("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY jobs/job/run.sh /\n"), ("jobs/job/run.sh", "")]);
    tree.git(&["config", "core.fileMode", "false"]);
    write_executable(&tree.path().join("jobs/job/run.sh"), "");
    assert_eq!(planned(&tree, &[]), (None, "jobs/job/run.sh is not committed".to_owned()));
}

#[test]
fn without_a_repository_no_commit_is_believed() {
    let dir = TempDir::new();
    let tree = Tree::with_jobs(&["job"]);
    std::fs::rename(tree.path().join(".git"), dir.0.join("git")).unwrap();
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let env = [("JOBS_REGISTRY", "127.0.0.1:1"), ("GITHUB_SHA", sha)];
    for command in ["build", "plan", "merge", "verify"] {
        let run = tree.run_with(&[command], &env).ended(4);
        expect![[r#"
            error: GITHUB_SHA: is 0123456789abcdef0123456789abcdef01234567, and there is no git repository in <tree>
              rule: git says whether the files here are those of the commit
              help: check the repository out with actions/checkout, or unset GITHUB_SHA"#]]
        .assert_eq(run.errors());
    }
    assert_eq!(planned(&tree, &[("JOBS_TAG", "x")]), (None, "jobs/job/Dockerfile is not committed".to_owned()));
}

#[test]
fn a_git_that_cannot_answer_is_an_error_with_its_own_words() {
    let tree = Tree::with_jobs(&["job"]);
    // As in a container that runs as another user than the one who checked out.
    let foreign =
        [("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1"), ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567")];
    let run = tree.run_with(&["build"], &foreign).ended(4);
    for part in ["error: git: ", "detected dubious ownership in repository", "git config --global --add safe.directory"]
    {
        assert!(run.errors().contains(part), "{}", run.errors());
    }
    // The same in earnest.
    let give_to = |owner: &str| {
        let mut chown = as_root("chown");
        assert!(chown.args(["--recursive", owner]).arg(tree.path().join(".git")).status().unwrap().success());
    };
    let own = std::fs::metadata(tree.path()).unwrap().uid().to_string();
    give_to("65534");
    for command in ["build", "discover --changed", "plan", "config"] {
        let output = tree.command(&command.split(' ').collect::<Vec<_>>(), &[]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap().replace(tree.path().to_str().unwrap(), "<tree>");
        assert_eq!(output.status.code(), Some(4), "{command}: {stderr}");
        expect![[r#"
            error: git: `git symbolic-ref --quiet HEAD --` exited with 128: fatal: detected dubious ownership in repository at '<tree>'
                To add an exception for this directory, call:

                	git config --global --add safe.directory <tree>
              rule: git says which files a commit holds, and without it nobody knows what an image is built from
              help: follow what git says above, and run this again
        "#]]
        .assert_eq(&stderr);
    }
    give_to(&own);
    // A failing comparison is not "nothing changed".
    std::fs::write(tree.path().join(".git/index"), "nonsense").unwrap();
    let run = tree.run(&["build"]).ended(4);
    for part in ["error: git: ", "index file", "help: "] {
        assert!(run.errors().contains(part), "{}", run.errors());
    }
    assert_eq!(run.stdout, "");
}

#[test]
fn what_job_json_says_of_builtin_arguments_is_what_is_built() {
    let registry = Registry::start();
    let frontend = format!("{}/frontend:1", registry.address);
    let mirror = mirrors().trim_start_matches("docker.io=").to_owned();
    copy_image(&format!("{mirror}/library/busybox:1.37"), &frontend);
    let digest = registry.digest("frontend", "1").unwrap();
    let settings = format!(r#"{{"args": {{"SOURCE_DATE_EPOCH": "1", "BUILDKIT_SYNTAX": "{frontend}"}}}}"#);
    let tree = Tree::new(&[("jobs/job/Dockerfile", DOCKERFILE), ("jobs/job/job.json", &settings)]);
    let dry = tree.run(&["build", "--dry-run"]).ended(0).stdout;
    assert!(dry.contains(" --build-arg SOURCE_DATE_EPOCH=1 "), "{dry}");
    assert!(dry.contains(&format!(" --build-arg BUILDKIT_SYNTAX={}/frontend@{digest} ", registry.address)), "{dry}");
    let before = key(&tree);
    let dir = TempDir::new();
    std::fs::write(dir.0.join("Dockerfile"), format!("FROM {mirror}/library/busybox:1.37\nLABEL moved=yes\n")).unwrap();
    docker(&["buildx", "build", "--quiet", "--provenance=false", "-t", &frontend, "--push", dir.0.to_str().unwrap()]);
    assert_ne!(registry.digest("frontend", "1").unwrap(), digest);
    assert!(before.is_some() && key(&tree) != before, "a frontend that moves is another input");
}

#[test]
fn a_forced_image_has_a_tag_of_its_own_and_replaces_the_one_behind_the_key() {
    let registry = Registry::start();
    let text = "FROM busybox:1.37\nRUN cat /proc/uptime > /now\n";
    let settings = format!(r#"{{"arches": ["{OWN}"]}}"#);
    let tree = Tree::new(&[("jobs/job/Dockerfile", text), ("jobs/job/job.json", &settings)]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&["build"], &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
    let first = registry.digest("jobs/job", &tree.tag()).unwrap();
    let key_tag = format!("key-{}", planned(&tree, &env).0.unwrap());
    assert_eq!(registry.digest("jobs/job", &key_tag).as_ref(), Some(&first));

    // A published tag never changes, and plan and build say so before anything is built.
    for command in [["plan", "--force"], ["build", "--force"]] {
        let run = tree.run_with(&command, &env).ended(3);
        expect![[r#"
            error: <registry>/jobs/job:<sha>: is published, so it cannot be rebuilt by force under this tag
              rule: a published tag never changes, and a forced image has a tag of its own
              help: name another tag, for build and merge alike: --tag <sha>-2, or JOBS_TAG"#]]
        .assert_eq(&run.errors_at(&registry));
    }

    let again = [("JOBS_REGISTRY", registry.address.as_str()), ("JOBS_TAG", "again")];
    let plan = tree.run_with(&["plan", "--force"], &again).ended(0).stdout;
    assert!(plan.contains("forced"), "{plan}");
    tree.run_with(&["build", "--force", "--no-cache"], &again).ended(0);
    tree.run_with(&["merge"], &again).ended(0);
    tree.run_with(&["verify"], &again).ended(0);
    let forced = registry.digest("jobs/job", "again").unwrap();
    assert_ne!(forced, first);
    assert_eq!(registry.digest("jobs/job", &key_tag).as_ref(), Some(&forced), "it replaces the key's");
    let file = std::fs::read_to_string(tree.path().join("target/xtask/images.json")).unwrap();
    assert!(file.contains(&format!("\"key-digest\": \"{forced}\"")), "{file}");
    assert_eq!(registry.digest("jobs/job", &tree.tag()).as_ref(), Some(&first), "what was published stays");
    // Repeated, it is done; and later commits use the forced image.
    let plan = tree.run_with(&["plan", "--force", "--exit-code", "--all"], &again).ended(0).stdout;
    assert!(plan.contains("published"), "{plan}");
    tree.commit("later");
    assert!(planned(&tree, &env).1.starts_with("unchanged since "));
    tree.run_with(&["merge"], &env).ended(0);
    assert_eq!(registry.index("jobs/job", &tree.tag())["manifests"], registry.index("jobs/job", "again")["manifests"]);
}

#[test]
fn a_forced_plan_tells_its_legs() {
    let registry = Registry::start();
    let tree = Tree::new(&[("jobs/job/Dockerfile", "FROM busybox:1.37\nRUN cat /proc/uptime > /now\n")]);
    tree.write("jobs/job/job.json", &format!(r#"{{"arches": ["{OWN}"]}}"#));
    tree.commit("for this machine");
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&["build"], &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
    let forced = [("JOBS_REGISTRY", registry.address.as_str()), ("JOBS_TAG", "forced-1"), ("JOBS_FORCE", "true")];
    let outputs = tree.path().join("target/outputs");
    let with_outputs = [&forced[..], &[("GITHUB_OUTPUT", outputs.to_str().unwrap())]].concat();
    tree.run_with(&["discover", "--changed", "--format", "matrix"], &with_outputs).ended(0);
    let outputs = std::fs::read_to_string(outputs).unwrap();
    let slice = |name: &str| {
        let matrix = outputs.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let matrix: serde_json::Value = serde_json::from_str(matrix).unwrap();
        matrix["include"][0]["plan"].as_str().unwrap().to_owned()
    };
    // The legs get the plan and the tag, and not the variable.
    let (build, merge) = (slice("matrix="), slice("merge="));
    let leg = |plan| [("JOBS_REGISTRY", registry.address.as_str()), ("JOBS_TAG", "forced-1"), ("JOBS_PLAN", plan)];
    // A leg that did not build by force is refused.
    tree.run_with(&["build"], &leg("")).ended(0);
    let refused = tree.run_with(&["merge"], &leg(&merge)).ended(3);
    assert!(refused.errors().contains(&format!("{OWN} is missing")), "{}", refused.errors());
    let built = tree.run_with(&["build"], &leg(&build)).ended(0);
    assert!(built.stderr.contains("Building job"), "{}", built.stderr);
    tree.run_with(&["merge"], &leg(&merge)).ended(0);
    assert!(registry.digest("jobs/job", "forced-1").is_some());
}

#[test]
fn a_label_of_the_registry_is_never_an_option_of_git() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["job"]);
    let victim = tree.path().join("victim");
    let mirror = mirrors().trim_start_matches("docker.io=").to_owned();
    let dir = TempDir::new();
    std::fs::write(dir.0.join("Dockerfile"), format!("FROM {mirror}/library/busybox:1.37\n")).unwrap();
    let image = format!("{}/jobs/job:{}", registry.address, tree.tag());
    let label = format!("org.opencontainers.image.revision=--output={}", victim.display());
    let context = dir.0.to_str().unwrap();
    docker(&["buildx", "build", "--quiet", "--provenance=false", "--label", &label, "-t", &image, "--push", context]);
    tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
    tree.commit("so that there is a difference to explain");
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    assert_eq!(planned(&tree, &env).1, "changed since images that name no commit");
    assert!(!victim.exists(), "git wrote {}", victim.display());
    // The same label behind a moving tag.
    let image = format!("{}/jobs/job:latest", registry.address);
    docker(&["buildx", "build", "--quiet", "--provenance=false", "--label", &label, "-t", &image, "--push", context]);
    tree.write(
        "Cargo.toml",
        &format!(
            "[workspace]\n[workspace.metadata.jobs.targets.t]\nrefs = [\"refs/heads/main\"]\nregistry = \"{}\"\n\
             moving-tags = [\"latest\"]\n",
            registry.address
        ),
    );
    tree.write("jobs/job/job.json", &format!(r#"{{"arches": ["{OWN}"]}}"#));
    tree.commit("a target");
    tree.run(&["build"]).ended(0);
    let run = tree.run(&["merge"]).ended(3);
    assert!(run.errors().contains("carries no revision"), "{}", run.errors());
    assert!(!victim.exists(), "git wrote {}", victim.display());
}

#[test]
fn a_folder_that_a_base_copies_has_to_be_named() {
    let registry = Registry::start();
    let base = format!("{}/base:1", registry.address);
    let mirror = mirrors().trim_start_matches("docker.io=").to_owned();
    let dir = TempDir::new();
    let text = format!("FROM {mirror}/library/busybox:1.37\nONBUILD COPY jobs/lib /lib/own\n");
    std::fs::write(dir.0.join("Dockerfile"), text).unwrap();
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let build = ["buildx", "build", "--quiet", "--provenance=false", both[0], both[1], "-t", &base, "--push"];
    docker(&[&build[..], &[dir.0.to_str().unwrap()]].concat());
    let tree = Tree::new(&[
        ("jobs/job/Dockerfile", &format!("FROM {base}\nCOPY jobs/lib/a /a\n")),
        ("jobs/lib/a", "1"),
        ("jobs/lib/b", "1"),
    ]);
    let run = tree.run(&["build"]).ended(2);
    expect![[r#"
        error: jobs/job/Dockerfile:1: base `<registry>/base:1` copies `jobs/lib` of the build context by ONBUILD
          rule: an image is built from the files that its job names, and from no others
          help: add "inputs": ["jobs/lib"] to jobs/job/job.json"#]]
    .assert_eq(&run.errors_at(&registry));
    tree.write("jobs/job/job.json", r#"{"inputs": ["jobs/lib"]}"#);
    tree.commit("named");
    tree.run(&["build"]).ended(0);
    let before = key(&tree);
    tree.write("jobs/lib/b", "2");
    tree.commit("another b");
    assert_ne!(key(&tree), before);
    // What the job copies itself is an input already.
    tree.write("jobs/job/job.json", "{}");
    tree.write("jobs/job/Dockerfile", &format!("FROM {base}\nCOPY jobs/lib /all\n"));
    tree.commit("copied");
    tree.run(&["build"]).ended(0);
}

#[test]
fn a_file_that_buildkit_does_not_take_is_refused_and_not_left_out() {
    let dockerfile = "FROM busybox:1.37\nCOPY jobs/job/data /data\n";
    let tree = Tree::new(&[("jobs/job/Dockerfile", dockerfile), ("jobs/job/data/a", "")]);
    std::fs::write(tree.path().join("jobs/job/data").join(OsStr::from_bytes(b"\xf0\x9f\x98")), "").unwrap();
    tree.commit("a name");
    expect![[r#"
        error: jobs/job/Dockerfile: `jobs/job/data/�` is an input, and its name is not UTF-8
          rule: BuildKit takes no file with another name into a build
          help: rename the file, or list it in .dockerignore"#]]
    .assert_eq(tree.run(&["build"]).ended(2).errors());
}
