//! `build`: what is built, pushed, loaded and printed.

use expect_test::expect;

use crate::engine::{Engine, Store};
use crate::harness::{
    BOTH, DOCKERFILE, LocalImages, OTHER, OWN, Registry, Tree, docker, docker_command, run_image, without_digests,
};

#[test]
fn images_of_both_architectures_are_pushed_merged_verified_and_run() {
    // For the attestations, and the annotations of the index.
    let (engine, registry) = (Engine::with(Store::Containerd), Registry::start());
    let tree = Tree::with_jobs(&["hello", "world"]);
    tree.write("jobs/hello/job.json", r#"{"args": {"WHO": "hello"}}"#);
    tree.commit("an argument");
    let (tag, env) = (tree.tag(), [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())]);
    let built = tree.run_with(&["build", "--arch", OWN, "--push"], &env).ended(0);
    assert_eq!(
        without_digests(&built.stdout.replace(&registry.address, "<registry>").replace(OWN, "<own>")),
        "<registry>/jobs/hello:<sha>-<own>@sha256:…\n<registry>/jobs/world:<sha>-<own>@sha256:…\n"
    );
    tree.run_with(&["build", "--arch", OTHER, "--emulate"], &env).ended(0);
    assert_eq!(registry.digest("jobs/hello", &tag), None);
    let merged = tree.run_with(&["merge"], &env).ended(0);
    let index = registry.digest("jobs/hello", &tag).unwrap();
    assert!(merged.stdout.contains(&index), "{}", merged.stdout);
    assert_eq!(tree.run_with(&["verify"], &env).ended(0).stdout, merged.stdout);
    let image = format!("{}/jobs/hello:{tag}", registry.address);
    assert_eq!(run_image(&image, "amd64"), "I am hello on x86_64");
    assert_eq!(run_image(&image, "arm64"), "I am hello on aarch64");
    let inspected = docker(&["buildx", "imagetools", "inspect", "--raw", &image]);
    assert!(inspected.contains(&format!("\"org.opencontainers.image.revision\": \"{}\"", tree.head())), "{inspected}");
    assert_eq!(inspected.matches("attestation-manifest").count(), 2, "{inspected}");
}

#[test]
fn a_dry_run_prints_the_commands_and_builds_nothing() {
    // For the provenance.
    let (engine, registry) = (Engine::with(Store::Containerd), Registry::start());
    let tree = Tree::new(&[
        (
            "jobs/a/Dockerfile",
            "ARG V=1.37\nFROM busybox:$V AS first\nFROM scratch\nCOPY --from=busybox:1.37 /bin/sh /\n",
        ),
        ("jobs/a/job.json", r#"{"args": {"GREETING": "hello world"}, "target": "first"}"#),
    ]);
    tree.git(&["remote", "add", "origin", "git@example.com:acme/jobs.git"]);
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
    let epoch = tree.git(&["show", "-s", "--format=%ct"]);
    let plain = |text: &str| {
        let mirror = crate::harness::mirrors().replace("docker.io=", "");
        without_digests(
            &text.replace(&registry.address, "<registry>").replace(&epoch, "<time>").replace(&mirror, "<mirror>"),
        )
        .replace("docker.io/library", "<mirror>/library")
        .replace(OWN, "<own>")
    };
    let dry = tree.run_with(&["build", "--arch", OWN, "--dry-run"], &env).ended(0);
    expect![[r#"
        docker buildx build --platform linux/<own> -t <registry>/jobs/a:<sha>-<own> -f target/xtask/build/a/Dockerfile --target first --build-arg 'GREETING=hello world' --build-arg SOURCE_DATE_EPOCH=<time> --build-context busybox:1.37=docker-image://<mirror>/library/busybox@sha256:… --label org.opencontainers.image.revision=<commit> --label org.opencontainers.image.source=https://example.com/acme/jobs --label org.opencontainers.image.title=a --label org.opencontainers.image.version=<sha> --label vnd.jobs.bases=busybox:1.37@sha256:… --label vnd.jobs.key=<key> --provenance=mode=min --output type=image,oci-mediatypes=true,store=false --push --metadata-file target/xtask/logs/a-<own>.json .
    "#]]
    .assert_eq(&plain(&dry.stdout));
    assert_eq!(registry.digest("jobs/a", &format!("{}-{OWN}", tree.tag())), None);
    // What was printed is what runs: pasted into a shell, it builds the very image.
    let printed = tree.command(&["build", "--arch", OWN, "--dry-run"], &env).output().unwrap().stdout;
    let script = format!("mkdir -p target/xtask/logs; {}", String::from_utf8(printed).unwrap());
    let pasted = std::process::Command::new("sh")
        .args(["-ec", &script])
        .current_dir(tree.path())
        .envs([engine.env()])
        .output()
        .unwrap();
    assert!(pasted.status.success(), "{}", String::from_utf8_lossy(&pasted.stderr));
    assert!(registry.digest("jobs/a", &format!("{}-{OWN}", tree.tag())).is_some());
}

#[test]
fn without_a_registry_images_are_loaded_into_the_engine() {
    let tree = Tree::with_jobs(&["local-only"]);
    let tag = tree.tag();
    let images = LocalImages(vec![
        format!("jobs/local-only:{tag}"),
        format!("jobs/local-only:{tag}-amd64"),
        format!("jobs/local-only:{tag}-arm64"),
    ]);
    assert_eq!(tree.run(&["build"]).ended(0).stdout, "jobs/local-only:<sha>\n");
    let here = if OWN == "arm64" { "aarch64" } else { "x86_64" };
    assert_eq!(docker(&["run", "--rm", &images.0[0]]), format!("I am nobody on {here}"));
    let both = tree.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    assert_eq!(both.stdout, "jobs/local-only:<sha>-amd64\njobs/local-only:<sha>-arm64\n");
}

#[test]
fn the_command_that_is_told_builds_the_image_again() {
    let registry = Registry::start();
    let tree = Tree::new(&[("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN exit 3\n")]);
    let given = ["--registry", &registry.address, "--tag", "again"];
    let run = tree.run(&[&["build", "--emulate", "--arch", OTHER], &given[..]].concat()).ended(1);
    let again = run.errors().lines().find_map(|line| line.trim().strip_prefix("rerun: cargo xtask ")).unwrap();
    let told = format!("build --arch {OTHER} bad --emulate {}", given.join(" "));
    assert_eq!(again, told);
    tree.write("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN exit 0\n");
    tree.run(&again.split(' ').collect::<Vec<_>>()).ended(0);
    assert_eq!(registry.tags("jobs/bad"), [format!("again-{OTHER}")]);
}

#[test]
fn a_job_that_fails_does_not_stop_the_others() {
    let registry = Registry::start();
    let tree = Tree::new(&[
        ("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN echo '::add-mask::x' && echo '##[group]y' && exit 3\n"),
        ("jobs/good/Dockerfile", DOCKERFILE),
        (
            "jobs/worse/Dockerfile",
            "FROM busybox:1.37 AS builder\nENV A=b\nRUN seq 25 \\\n    && false\nRUN true\n\nFROM scratch\n\
             COPY --from=builder / /\n",
        ),
    ]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["build", "--arch", OWN], &env).ended(1);
    assert!(registry.digest("jobs/good", &format!("{}-{OWN}", tree.tag())).is_some());
    expect![[r#"
        error: jobs/bad/Dockerfile:2: the build for <own> failed: process "/bin/sh -c echo '::add-mask::x' && echo '# #[group]y' && exit 3" did not complete successfully: exit code: 3
             1 |     FROM busybox:1.37
             2 | >>> RUN echo '::add-mask::x' && echo '# #[group]y' && exit 3
             3 |
          the last lines of step [1/2]:
            | ::add-mask::x
            | # #[group]y
          help: the log is target/xtask/logs/bad-<own>.log
            rerun: cargo xtask build --arch <own> bad
        error: jobs/worse/Dockerfile:3: the build for <own> failed: process "/bin/sh -c seq 25     && false" did not complete successfully: exit code: 1
             2 |     ENV A=b
             3 | >>> RUN seq 25 \
             4 | >>>     && false
             5 |     RUN true
          the last lines of step [builder 1/3]:
            | 6
            | 7
            | 8
            | 9
            | 10
            | 11
            | 12
            | 13
            | 14
            | 15
            | 16
            | 17
            | 18
            | 19
            | 20
            | 21
            | 22
            | 23
            | 24
            | 25
          help: the log is target/xtask/logs/worse-<own>.log
            rerun: cargo xtask build --arch <own> worse"#]].assert_eq(&run.errors().replace(OWN, "<own>"));
    assert!(run.stderr.contains("Finished 1 of 3 images built in "), "{}", run.stderr);
    assert!(run.stderr.contains(" (2 failed)\n"), "{}", run.stderr);
    // At once, while others are built.
    assert!(run.stderr.contains(" failed, the end of its log:\n"), "{}", run.stderr);
    let commands = run.stderr.lines().filter(|line| line.trim_start().starts_with("::") || line.contains("##["));
    assert_eq!(commands.count(), 0, "{}", run.stderr);
    assert!(tree.path().join(format!("target/xtask/logs/bad-{OWN}.log")).is_file());
}

#[test]
fn a_new_folder_with_a_dockerfile_is_a_job() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["first"]);
    tree.write("jobs/second/Dockerfile", DOCKERFILE);
    assert_eq!(tree.run(&["discover"]).ended(0).stdout, "[\"jobs/first\",\"jobs/second\"]\n");
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    let merged = tree.run_with(&["merge", "second"], &env).ended(0);
    // The tree is not what was committed, and says so.
    assert!(merged.stdout.contains("/jobs/second:<sha>-dirty@sha256:"), "{}", merged.stdout);
}

#[test]
fn every_image_carries_its_labels() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["labelled"]);
    tree.git(&["remote", "add", "origin", "https://me:secret@example.com/acme/jobs.git"]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&["build", "--arch", OWN, "--tag", "v1.2.3"], &env).ended(0);
    let image = format!("{}/jobs/labelled:v1.2.3-{OWN}", registry.address);
    let config = docker(&["buildx", "imagetools", "inspect", &image, "--format", "{{json .Image.Config.Labels}}"]);
    let labels: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(labels["org.opencontainers.image.revision"], tree.head().as_str());
    assert_eq!(labels["org.opencontainers.image.source"], "https://example.com/acme/jobs");
    assert_eq!(labels["org.opencontainers.image.version"], "v1.2.3");
    assert_eq!(labels["org.opencontainers.image.title"], "labelled");
}

/// A repository with so many jobs that several are built by one bake; the names of some are alike without their dots.
fn many_jobs() -> Tree {
    let names = ["a.b", "a_b", "a-b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let text = "FROM busybox:1.37\nARG TEXT\nRUN test \"$TEXT\" = '${HOME} %{ if } $$ \"\\'\n";
    let paths = names.map(|name| (format!("jobs/{name}/Dockerfile"), format!("jobs/{name}/job.json")));
    let mut files = Vec::new();
    for (dockerfile, settings) in &paths {
        files.push((dockerfile.as_str(), text));
        files.push((settings.as_str(), r#"{"args": {"TEXT": "${HOME} %{ if } $$ \"\\"}}"#));
    }
    Tree::new(&files)
}

#[test]
fn one_job_that_fails_among_many_disturbs_no_other() {
    let (registry, tree) = (Registry::start(), many_jobs());
    tree.write("jobs/d/Dockerfile", "FROM busybox:1.37\nRUN echo no && false\n");
    tree.commit("one fails");
    let run = tree.run_with(&["build", "--arch", OWN], &[("JOBS_REGISTRY", &registry.address)]).ended(1);
    assert_eq!(run.stdout.lines().count(), 10, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.lines().all(|line| line.contains("@sha256:")), "{}", run.stdout);
    expect![[r#"
        error: jobs/d/Dockerfile:2: the build for <own> failed: process "/bin/sh -c echo no && false" did not complete successfully: exit code: 1
             1 |     FROM busybox:1.37
             2 | >>> RUN echo no && false
             3 |
          the last lines of step [1/2]:
            | no
          help: the log is target/xtask/logs/d-<own>.log
            rerun: cargo xtask build --arch <own> d"#]]
    .assert_eq(&run.errors().replace(OWN, "<own>"));
    assert_eq!(run.stderr.matches("Pushed").count(), 10, "{}", run.stderr);
    for (job, is_there) in [("a.b", true), ("a_b", true), ("d", false)] {
        assert_eq!(
            registry.digest(&format!("jobs/{job}"), &format!("{}-{OWN}", tree.tag())).is_some(),
            is_there,
            "{job}"
        );
    }
    // Each has a log of its own. BuildKit may leave a step out that it has just done for the others.
    let log = std::fs::read_to_string(tree.path().join(format!("target/xtask/logs/a.b-{OWN}.log"))).unwrap();
    assert!(log.contains("/jobs/a.b:") && !log.contains("a_b"), "{log}");
}

#[test]
fn what_a_dry_run_prints_for_many_jobs_builds_them() {
    let (registry, tree) = (Registry::start(), many_jobs());
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["build", "--arch", OWN, "--dry-run"], &env).ended(0);
    let file = |line: &str| line.split("bake-").nth(1).unwrap().split('.').next().unwrap().to_owned();
    let lines: Vec<String> = run.stdout.lines().map(|line| line.replace(&file(line), "<hash>")).collect();
    let bake = "docker buildx bake -f target/xtask/build/bake-<hash>.json \
                --metadata-file target/xtask/build/bake-<hash>.metadata.json";
    assert_eq!(lines, [bake, bake]);
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("set -e\n{}", run.stdout)])
        .current_dir(tree.path())
        .envs(docker_command().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let again = tree.run_with(&["build", "--arch", OWN], &env).ended(0);
    assert!(again.stderr.contains("nothing to build"), "{}", again.stderr);
}
