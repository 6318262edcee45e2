//! Where jobs live, and what they are built from: folders of other names, contexts, Dockerfiles, several images.

use std::os::unix::fs::symlink;

use crate::harness::{OWN, Registry, Tree, docker};

const MANIFEST: &str = "[workspace]\n[workspace.metadata.jobs]\n";

fn dockerfile(copy: &str) -> String {
    format!("FROM busybox:1.37\n{copy}\nCMD [\"cat\", \"/what\"]\n")
}

/// A repository with this configuration and these files.
fn tree(config: &str, files: &[(&str, &str)]) -> Tree {
    let manifest = format!("{MANIFEST}{config}\n");
    Tree::new(&[&[("Cargo.toml", manifest.as_str())], files].concat())
}

/// The last line of what the plan says of a job: whether it is built, and why.
fn planned(tree: &Tree, registry: &Registry, env: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let env = [&[("JOBS_REGISTRY", registry.address.as_str())], env].concat();
    let run = tree.run_with(&["plan", "--format", "json"], &env).ended(0);
    let jobs: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let text = |job: &serde_json::Value, key: &str| job[key].as_str().unwrap_or_default().to_owned();
    jobs.as_array().unwrap().iter().map(|job| (text(job, "job"), text(job, "action"), text(job, "reason"))).collect()
}

fn publish(tree: &Tree, registry: &Registry, env: &[(&str, &str)]) {
    let env = [&[("JOBS_REGISTRY", registry.address.as_str())], env].concat();
    let arches = ["--arch", "amd64", "--arch", "arm64", "--emulate"];
    tree.run_with(&[&["build"], &arches[..]].concat(), &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
}

#[test]
fn a_folder_of_which_all_is_ignored_is_copied_empty() {
    let (registry, build) = (Registry::start(), "FROM busybox:1.37\nCOPY lib only /lib/\nCMD [\"find\", \"/lib\"]\n");
    let tree = Tree::new(&[
        ("jobs/one/Dockerfile", build),
        ("lib/kept/file", ""),
        ("lib/empty/gone.md", ""),
        ("lib/empty/deep/gone.md", ""),
        ("only/gone.md", ""),
        (".dockerignore", "**/*.md\n"),
    ]);
    tree.run(&["build", "--load"]).ended(0);
    let printed = printed(&tree, "one");
    let mut found: Vec<&str> = printed.lines().collect();
    found.sort_unstable();
    assert_eq!(found, ["/lib", "/lib/empty", "/lib/empty/deep", "/lib/kept", "/lib/kept/file"]);
    let key = || {
        let run = tree.run_with(&["plan", "--format", "json"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
        serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()[0]["key"].as_str().unwrap().to_owned()
    };
    let before = key();
    tree.write("lib/empty/deep/more.md", "");
    tree.commit("another file in it");
    assert_eq!(key(), before);
    tree.write("lib/new/gone.md", "");
    tree.commit("another empty folder");
    assert_ne!(key(), before);
}

/// What the image that was loaded prints.
fn printed(tree: &Tree, job: &str) -> String {
    let reference = format!("jobs/{job}:{}", tree.tag());
    docker(&["run", "--rm", &reference])
}

#[test]
fn jobs_live_in_the_folders_that_are_configured() {
    let plain = dockerfile("RUN echo plain > /what");
    let tree = tree(
        "jobs-dirs = [\"jobs\", \"services/\", \"apps/*\", \"tools\", \"x*\"]",
        &[
            ("jobs/one/Dockerfile", &plain),
            ("services/two/Dockerfile", &plain),
            ("apps/three/Dockerfile", &plain),
            ("apps/group/four/Dockerfile", &plain),
            ("apps/group/docs/README.md", ""),
            ("x-jobs/seven/Dockerfile", &plain),
            ("xtask/four/Dockerfile", &plain), // nobody's job: the folder of the tool
            ("elsewhere/five/Dockerfile", &plain),
            ("elsewhere/six/Dockerfile", &plain),
        ],
    );
    symlink("../elsewhere/five", tree.path().join("jobs/linked")).unwrap();
    symlink("elsewhere", tree.path().join("tools")).unwrap();
    let folders =
        r#"["apps/group/four","apps/three","elsewhere/five","elsewhere/six","jobs/one","services/two","x-jobs/seven"]"#;
    assert_eq!(tree.run(&["discover"]).ended(0).stdout, format!("{folders}\n"));
    let table = tree.run(&["discover", "--format", "table", "three", "services/two", "elsewhere/five"]).ended(0).stdout;
    let jobs: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(jobs, ["five", "linked", "three", "two"]);
}

#[test]
fn a_folder_that_is_named_twice_is_there_once() {
    let plain = dockerfile("RUN echo plain > /what");
    let images = r#"{"images": {"group-web": {}, "group-worker": {}}}"#;
    let tree = tree(
        "jobs-dirs = [\"jobs\", \"*\", \"jobs/\", \"more\", \"linked/inner\"]",
        &[
            ("jobs/one/Dockerfile", &plain),
            ("jobs/group/Dockerfile", &plain),
            ("jobs/group/job.json", images),
            ("real/inner/two/Dockerfile", &plain),
            ("more/three/Dockerfile", &plain),
        ],
    );
    symlink("../jobs/one", tree.path().join("more/one")).unwrap();
    symlink("../jobs/group", tree.path().join("more/alias")).unwrap();
    symlink("real", tree.path().join("linked")).unwrap();
    let table = tree.run(&["discover", "--format", "table"]).ended(0).stdout;
    let jobs: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(jobs, ["group-web", "group-worker", "one", "three", "two"]);
    let folders = r#"["jobs/group","jobs/one","more/three","real/inner/two"]"#;
    assert_eq!(tree.run(&["discover"]).ended(0).stdout, format!("{folders}\n"));
}

#[test]
fn a_job_is_built_from_the_context_that_it_names() {
    let (registry, own) = (Registry::start(), dockerfile("COPY what /what"));
    let tree = tree(
        "context = \"job\"",
        &[
            ("jobs/own/Dockerfile", &own),
            ("jobs/own/what", "own"),
            ("jobs/own/.dockerignore", "*\n!what\n"),
            ("jobs/root/Dockerfile", &dockerfile("COPY lib/what /what")),
            ("jobs/root/job.json", r#"{"context": "."}"#),
            ("jobs/other/Dockerfile", &own),
            ("jobs/other/job.json", r#"{"context": "lib"}"#),
            ("jobs/all/Dockerfile", &dockerfile("COPY . /\n")),
            ("jobs/all/what", "all"),
            ("jobs/all/.dockerignore", "secret\n"),
            ("lib/what", "lib"),
            ("lib/more", "1"),
        ],
    );
    tree.run(&["build", "--load"]).ended(0);
    for (job, text) in [("own", "own"), ("root", "lib"), ("other", "lib"), ("all", "all")] {
        assert_eq!(printed(&tree, job), text, "{job}");
    }
    publish(&tree, &registry, &[]);
    let built = || -> Vec<String> {
        tree.commit("next");
        let jobs = planned(&tree, &registry, &[]).into_iter();
        jobs.filter(|(_, action, _)| action == "build").map(|(job, ..)| job).collect()
    };
    assert!(built().is_empty());
    for (path, jobs) in [
        ("README.md", &[][..]),
        (".dockerignore", &["root"]),
        ("lib/more", &[]),
        ("lib/what", &["other", "root"]),
        ("jobs/own/more", &[]),
        ("jobs/own/what", &["own"]),
        ("jobs/own/.dockerignore", &["own"]),
        ("jobs/all/more", &["all"]),
        ("jobs/all/secret", &[]),
        ("jobs/all/.dockerignore", &["all"]),
        ("jobs/other/Dockerfile", &["other"]),
    ] {
        let old = std::fs::read_to_string(tree.path().join(path)).unwrap_or_default();
        tree.write(path, &format!("{old}\n"));
        assert_eq!(built(), jobs, "{path}");
        tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
    // No file of the job says so.
    tree.write("Cargo.toml", &format!("{MANIFEST}context = \"jobs/all\"\n"));
    tree.commit("another context");
    let plan = planned(&tree, &registry, &[]);
    assert!(plan.iter().any(|(job, action, _)| job == "own" && action == "build"), "{plan:?}");
    let since = tree.run(&["plan", "--since", "HEAD~1", "own"]).ended(0).stdout;
    assert!(since.contains("`context` in Cargo.toml changed since"), "{since}");
}

#[test]
fn a_folder_is_built_into_several_images() {
    let registry = Registry::start();
    let stages = "FROM busybox:1.37 AS web\nARG WHO\nRUN echo web $WHO > /what\nCMD [\"cat\", \"/what\"]\n\
                  FROM busybox:1.37 AS worker\nARG WHO\nRUN echo worker $WHO > /what\nCMD [\"cat\", \"/what\"]\n";
    let settings = r#"{"args": {"WHO": "x"}, "labels": {"com.example.team": "shop"},
        "images": {"shop-web": {"target": "web"}, "shop-worker": {"target": "worker", "args": {"WHO": "y"}},
                   "shop-debug": {"dockerfile": "debug/Containerfile", "labels": {"com.example.team": "us"}}}}"#;
    let tree = tree(
        "",
        &[
            ("jobs/shop/Dockerfile", stages),
            ("jobs/shop/debug/Containerfile", &dockerfile("RUN echo debug > /what")),
            ("jobs/shop/job.json", settings),
        ],
    );
    assert_eq!(tree.run(&["discover"]).ended(0).stdout, "[\"jobs/shop\"]\n");
    tree.run(&["build", "--load", "shop"]).ended(0);
    for (job, text) in [("shop-web", "web x"), ("shop-worker", "worker y"), ("shop-debug", "debug")] {
        assert_eq!(printed(&tree, job), text);
    }
    let label = |job: &str| {
        let format = "{{index .Config.Labels \"com.example.team\"}}";
        let reference = format!("jobs/{job}:{}", tree.tag());
        docker(&["image", "inspect", "--format", format, &reference])
    };
    assert_eq!([label("shop-web"), label("shop-debug")], ["shop", "us"]);
    publish(&tree, &registry, &[]);
    for job in ["shop-web", "shop-worker", "shop-debug"] {
        assert!(registry.digest(&format!("jobs/{job}"), &tree.tag()).is_some(), "{job}");
    }
    tree.write("jobs/shop/debug/Containerfile", &dockerfile("RUN echo other > /what"));
    tree.commit("another");
    let plan = planned(&tree, &registry, &[]);
    let actions: Vec<&str> = plan.iter().map(|(_, action, _)| action.as_str()).collect();
    assert_eq!(actions, ["build", "reuse", "reuse"], "{plan:?}");
}

#[test]
fn the_environment_gives_what_is_allowed() {
    let registry = Registry::start();
    let tree = tree(
        "[workspace.metadata.jobs.env-args]\nCHANNEL = [\"a\"]",
        &[
            ("jobs/a/Dockerfile", &dockerfile("ARG CHANNEL\nRUN echo $CHANNEL > /what")),
            ("jobs/a/job.json", r#"{"env-args": ["CHANNEL"]}"#),
        ],
    );
    tree.run_with(&["build", "--load", "--arch", OWN], &[("CHANNEL", "beta")]).ended(0);
    assert_eq!(printed(&tree, "a"), "beta");
    publish(&tree, &registry, &[("CHANNEL", "beta")]);
    tree.commit("nothing");
    let action = |channel| planned(&tree, &registry, &[("CHANNEL", channel)]).remove(0).1;
    assert_eq!([action("beta"), action("stable")], ["reuse", "build"]);
    assert_eq!(
        tree.run(&["plan"]).ended(2).stderr,
        "error: jobs/a/job.json: env-args: `CHANNEL`: CHANNEL is not set\n  \
         rule: a build argument of the environment has the value of the variable of its name\n  \
         help: export CHANNEL; in the workflow, add it to `env` of every step that runs this\n"
    );
    tree.write("jobs/b/Dockerfile", &dockerfile(""));
    tree.write("jobs/b/job.json", r#"{"env-args": ["CHANNEL"], "ssh": ["default"]}"#);
    assert_eq!(
        tree.run_with(&["discover"], &[("CHANNEL", "x")]).ended(2).stderr,
        "error: jobs/b/job.json: env-args: `CHANNEL`: not allowed to this job\n  \
         rule: [workspace.metadata.jobs.env-args] in Cargo.toml says which jobs may use a build argument\n  \
         help: to allow it, write there: CHANNEL = [\"a\", \"b\"]\n\
         error: jobs/b/job.json: ssh: `default`: not allowed to this job\n  \
         rule: [workspace.metadata.jobs.ssh] in Cargo.toml says which jobs may use a key for SSH\n  \
         help: to allow it, write there: default = [\"b\"]\n"
    );
}

#[test]
fn names_of_images_are_their_folders_and_nobody_elses() {
    let plain = dockerfile("");
    let paths = ["a/api/Dockerfile", "b/api/Dockerfile", "c/api/Dockerfile"].map(|path| (path, plain.as_str()));
    let three = tree("jobs-dirs = [\"*\"]", &paths).run(&["discover"]).ended(2).stderr;
    assert!(three.contains("b/api/job.json: \"images\": {\"api-2\": {}}\n"), "{three}");
    assert!(three.contains("c/api/job.json: \"images\": {\"api-3\": {}}\n"), "{three}");
    let two = tree(
        "jobs-dirs = [\"jobs\", \"services\"]",
        &[("jobs/api/Dockerfile", &plain), ("services/api/Dockerfile", &plain)],
    );
    assert_eq!(
        two.run(&["discover"]).ended(2).stderr,
        "error: services/api: the name `api` is that of jobs/api too\n  \
         rule: a job's name is the name of its repository, and no other job's\n  \
         help: rename the folder, or only its image, in services/api/job.json: \"images\": {\"api-2\": {}}\n"
    );
    two.write("services/api/job.json", r#"{"images": {"api-2": {}}}"#);
    assert_eq!(two.run(&["discover"]).ended(0).stdout, "[\"jobs/api\",\"services/api\"]\n");
    two.write("services/api/job.json", r#"{"images": {"web": {}, "api-X": {"images": {"api-y": {}}}}}"#);
    assert_eq!(
        two.run(&["discover"]).ended(2).stderr,
        "error: services/api/job.json: images: `api-X`: has images of its own\n  \
         rule: `images` stands once, for all images of the folder\n  \
         help: list them beside it\n"
    );
    two.write("services/api/job.json", r#"{"images": {"web": {}, "api-X": {}}}"#);
    assert_eq!(
        two.run(&["discover"]).ended(2).stderr,
        "error: services/api/job.json: images: `api-X`: not a valid job name\n  \
         rule: lower-case letters and digits, with single '.', '_' or '-' between them\n  \
         help: e.g. `api-x`\n\
         error: services/api/job.json: images: `web`: does not begin with the name of its folder\n  \
         rule: an image is named as its folder, with `-`, `_` or `.` and more behind it\n  \
         help: e.g. `api-web`\n"
    );
}

#[test]
fn what_is_hardly_meant_is_said_once() {
    let all = dockerfile("COPY . /");
    let tree = tree(
        "",
        &[
            ("jobs/a/Dockerfile", &all),
            ("jobs/a/.dockerignore", "x\n"),
            ("jobs/a/Dockerfile.debug", &all),
            ("jobs/b/Dockerfile", &all),
            ("jobs/b/.dockerignore", "x\n"),
        ],
    );
    let said = tree.run(&["plan"]).ended(0).stderr;
    let (notes, _) = said.split_once("     Planned").unwrap();
    assert_eq!(
        notes,
        "warning: a: `COPY .` copies the whole context (jobs/a/Dockerfile:2) (and 1 more): all of the repository is an \
         input, so that every commit builds the job\n      \
         help: copy by name, list what no image needs in .dockerignore, or say \"context\": \"job\" in job.json\n\
         warning: jobs/a/.dockerignore (and 1 more): nobody reads it, as the build context is another folder\n      \
         help: say \"context\": \"job\" in job.json, or move its lines, with paths from the context, to \
         Dockerfile.dockerignore\n\
         warning: jobs/a/Dockerfile.debug: nobody builds it\n      \
         help: name it in job.json: \"dockerfile\", or one of several \"images\"; or remove it\n"
    );
    let doctor = tree.run(&["doctor", "--format", "json"]).stdout;
    for words in ["all of the repository is an input", "nobody reads it", "nobody builds it"] {
        assert!(doctor.contains(words), "{doctor}");
    }
    for job in ["a", "b"] {
        tree.write(&format!("jobs/{job}/job.json"), r#"{"context": "job"}"#);
    }
    tree.write(
        "jobs/a/job.json",
        r#"{"context": "job", "images": {"a": {}, "a-debug": {"dockerfile": "Dockerfile.debug"}}}"#,
    );
    let said = tree.run(&["plan"]).ended(0).stderr;
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn dockerfiles_of_no_job_are_named_with_what_makes_jobs_of_them() {
    let plain = dockerfile("");
    let file = |path: &'static str| (path, plain.as_str());
    let services = [file("src/ad/Dockerfile"), file("src/pay/Dockerfile"), file("src/web/Dockerfile")];
    let others = [file("src/cart/src/Dockerfile"), file("xtask/x/Dockerfile"), file(".devcontainer/Dockerfile")];
    let tree = tree("jobs-dirs = [\"src\"]", &[&services[..], &others].concat());
    let warning = "warning: src/cart/src/Dockerfile: part of no job\n      \
                   help: write {\"dockerfile\": \"src/Dockerfile\"} in src/cart/job.json\n";
    let said = |command: &str| tree.run(&[command]).ended(0).stderr;
    assert!(said("plan").starts_with(warning), "{}", said("plan"));
    assert!(tree.run(&["doctor", "--format", "json"]).stdout.contains("src/cart/src/Dockerfile: part of no job"));
    for quiet in [&["plan", "web"][..], &["discover"], &["build", "--dry-run", "--load"]] {
        assert!(!tree.run(quiet).ended(0).stderr.contains("part of no job"), "{quiet:?}");
    }
    // Nothing at all is found.
    tree.write("Cargo.toml", &format!("{MANIFEST}jobs-dirs = [\".\"]\n"));
    let places = "src/ad/Dockerfile, src/cart/src/Dockerfile, src/pay/Dockerfile and 1 more";
    let remedy = "write jobs-dirs = [\"src\"] in [workspace.metadata.jobs] of Cargo.toml; \
                  write {\"dockerfile\": \"src/Dockerfile\"} in src/cart/job.json";
    let warning = format!("warning: {places}: part of no job\n      help: {remedy}\n");
    assert_eq!(said("plan"), format!("{warning}     Nothing to build: no jobs\n"));
    for command in ["discover", "build"] {
        assert_eq!(said(command).matches(&warning).count(), 1, "{command}: {}", said(command));
    }
    // There is not even the folder.
    tree.write("Cargo.toml", MANIFEST);
    let missing = tree.run(&["plan"]).ended(2).stderr;
    let (error, help) = missing.rsplit_once("  help: ").unwrap();
    assert!(error.starts_with("error: jobs: there is no such folder in "), "{error}");
    assert_eq!(help, format!("there are {places}: {remedy}\n"));
    // What it says makes jobs of them all.
    tree.write("Cargo.toml", &format!("{MANIFEST}jobs-dirs = [\"src\"]\n"));
    tree.write("src/cart/job.json", r#"{"dockerfile": "src/Dockerfile"}"#);
    assert!(!said("plan").contains("part of no job"), "{}", said("plan"));
    assert_eq!(said("discover"), "");
    // A link gives a job's Dockerfile a second name, and what is removed needs no job.
    tree.write("docker/Dockerfile", &plain);
    tree.write("old/Dockerfile", &plain);
    std::fs::remove_file(tree.path().join("src/web/Dockerfile")).unwrap();
    symlink("../../docker/Dockerfile", tree.path().join("src/web/Dockerfile")).unwrap();
    tree.commit("links");
    std::fs::remove_dir_all(tree.path().join("old")).unwrap();
    assert!(!said("plan").contains("part of no job"), "{}", said("plan"));
}
