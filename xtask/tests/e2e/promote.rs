//! `promote`: from one registry to another, each with a login of its own.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::cloud::{OWN_PASSWORD, PLAIN_PASSWORD, Programs};
use crate::harness::{BOTH, DOCKERFILE, OWN, Registry, Run, Tree, without_digests};
use crate::registry::published::{DockerConfig, base64};

/// Two targets, and a tree whose jobs are published at the first.
struct Targets {
    staging: Registry,
    production: Registry,
    docker: DockerConfig,
    tree: Tree,
}

impl Targets {
    fn new(jobs: &[&str]) -> Targets {
        let staging = Registry::with_user("ann", PLAIN_PASSWORD.1);
        let production = Registry::with_user("bob", OWN_PASSWORD.1);
        let auth = |login: String| json!({ "auth": base64(login.as_bytes()) });
        let docker = DockerConfig::of(&json!({ "auths": {
            staging.address.as_str(): auth(format!("ann:{}", PLAIN_PASSWORD.0)),
            production.address.as_str(): auth(format!("bob:{}", OWN_PASSWORD.0)),
        } }));
        let tree = Tree::with_jobs(jobs);
        let targets = format!(
            "[workspace]\n[workspace.metadata.jobs.targets.staging]\nregistry = \"{}\"\n\
             refs = [\"refs/heads/*\"]\n[workspace.metadata.jobs.targets.production]\nregistry = \"{}\"\n\
             prefix = \"live\"\nmoving-tags = [\"latest\"]\n[workspace.metadata.jobs.targets.nowhere]\n",
            staging.address, production.address
        );
        tree.write("Cargo.toml", &targets);
        tree.commit("targets");
        let targets = Targets { staging, production, docker, tree };
        targets.publish();
        targets
    }

    fn run(&self, args: &[&str]) -> Run {
        self.tree.run_with(args, &[("DOCKER_CONFIG", self.docker.path().to_str().unwrap())])
    }

    fn publish(&self) {
        self.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        self.run(&["merge"]).ended(0);
    }

    fn promote(&self, more: &[&str]) -> Run {
        self.run(&[&["promote", "--from", "staging", "--to", "production"], more].concat())
    }

    /// What both registries hold of a job: the digests of a tag at the first and at the second.
    fn digests(&self, job: &str, tag: &str) -> [Option<String>; 2] {
        let [ann, bob] = [("ann", PLAIN_PASSWORD.0), ("bob", OWN_PASSWORD.0)]
            .map(|(user, password)| base64(format!("{user}:{password}").as_bytes()));
        [
            self.staging.digest_for(&format!("jobs/{job}"), tag, &ann),
            self.production.digest_for(&format!("live/{job}"), tag, &bob),
        ]
    }

    fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.staging.address, "<staging>").replace(&self.production.address, "<production>");
        without_digests(&text)
    }

    #[track_caller]
    fn refused(&self, run: Run, code: i32, message: &Expect) {
        message.assert_eq(&self.plain(run.ended(code).errors()));
    }
}

#[track_caller]
fn assert_same(digests: [Option<String>; 2]) {
    assert!(digests[0].is_some() && digests[0] == digests[1], "{digests:?}");
}

#[test]
fn what_is_published_is_promoted_with_its_digest() {
    let targets = Targets::new(&["a", "b"]);
    let tag = targets.tree.tag();
    let dry = targets.promote(&["--dry-run", "a"]).ended(0);
    expect![[r#"
        docker buildx imagetools create --progress plain -t <production>/live/a:<sha> -t <production>/live/a:key-<key> <staging>/jobs/a@sha256:…
    "#]].assert_eq(&targets.plain(&dry.stdout));
    assert_eq!(targets.digests("a", &tag)[1], None);

    let run = targets.promote(&["a"]).ended(0);
    expect![[r#"
        <production>/live/a:<sha>@sha256:…
    "#]]
    .assert_eq(&targets.plain(&run.stdout));
    let key = targets.production.tags("live/a").into_iter().find(|tag| tag.starts_with("key-")).unwrap();
    for tag in [tag.as_str(), &key] {
        assert_same(targets.digests("a", tag));
    }
    assert_eq!(targets.digests("a", "latest"), [None, targets.digests("a", &tag)[0].clone()]);
    assert_eq!(targets.digests("b", &tag)[1], None);
    let file = std::fs::read_to_string(targets.tree.path().join("target/xtask/images.json")).unwrap();
    assert!(file.contains(&format!("\"repository\": \"{}/live/a\"", targets.production.address)), "{file}");
    targets.run(&["verify", "--target", "production", "a"]).ended(0);

    let again = targets.promote(&["a"]).ended(0);
    assert!(again.stderr.contains("Unchanged") && !again.stderr.contains("Copied"), "{}", again.stderr);
    assert_eq!(again.stdout, run.stdout);

    // An index with neither a second image nor an attestation, and one of images that are there.
    targets.tree.write("jobs/b/job.json", &format!(r#"{{"arches": ["{OWN}"]}}"#));
    targets.tree.commit("one architecture");
    targets.run(&["build", "--provenance", "off"]).ended(0);
    targets.run(&["merge"]).ended(0);
    let first = targets.digests("a", &key);
    targets.promote(&[]).ended(0);
    for job in ["a", "b"] {
        assert_same(targets.digests(job, &targets.tree.tag()));
    }
    assert_eq!(targets.digests("a", &key), first);
}

#[test]
fn moving_tags_go_forward_only() {
    let targets = Targets::new(&["a"]);
    let old = targets.tree.tag();
    targets.tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}LABEL changed=yes\n"));
    targets.tree.commit("newer");
    targets.publish();
    let new = targets.tree.tag();
    targets.promote(&[]).ended(0);
    assert_eq!(targets.digests("a", "latest")[1], targets.digests("a", &new)[1]);
    // The tag of another commit than the one that is checked out.
    let run = targets.promote(&["--tag", &old]).ended(0);
    assert!(run.stderr.contains("Overtaken"), "{}", run.stderr);
    assert_same(targets.digests("a", &old));
    assert_eq!(targets.digests("a", "latest")[1], targets.digests("a", &new)[1]);
}

#[test]
fn what_the_gate_refuses_at_the_source_is_not_promoted() {
    let targets = Targets::new(&["bad", "good"]);
    targets.staging.delete("jobs/bad", &format!("{}-arm64", targets.tree.tag()));
    let run = targets.promote(&[]);
    assert!(run.stdout.contains("/live/good:<sha>@sha256:"), "{}", run.stdout);
    targets.refused(
        run,
        3,
        &expect![[r#"
        error: <staging>/jobs/bad:<sha>-arm64: arm64 is missing, while another architecture's tag is there
          help: cargo xtask merge bad"#]],
    );
    assert_eq!(targets.digests("bad", &targets.tree.tag())[1], None);
    assert_same(targets.digests("good", &targets.tree.tag()));
    targets.tree.commit("not published");
    targets.refused(
        targets.promote(&["good"]),
        3,
        &expect![[r#"
        error: <staging>/jobs/good:<sha>: is not published
          help: cargo xtask merge good"#]],
    );
}

#[test]
fn other_content_under_the_tag_is_left_alone() {
    let targets = Targets::new(&["a"]);
    let tag = targets.tree.tag();
    targets.promote(&[]).ended(0);
    let first = targets.digests("a", &tag);
    // Somebody made the tag anew.
    targets.staging.delete("jobs/a", &tag);
    let forced = [&["build", "--force", "--no-cache"], &BOTH[..]].concat();
    targets.tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}LABEL changed=yes\n"));
    targets.tree.commit("another");
    targets.run(&[&forced[..], &["--tag", &tag]].concat()).ended(0);
    targets.run(&["merge", "--tag", &tag]).ended(0);
    assert_ne!(targets.digests("a", &tag)[0], first[0]);
    let mut run = targets.promote(&["--tag", &tag]);
    run.stderr = run.stderr.replace(&tag, "<old>");
    targets.refused(
        run,
        3,
        &expect![[r#"
        error: <production>/live/a:<old>: exists with other content: sha256:…, and not sha256:…
          rule: a published tag never changes
          help: publish another tag, or delete this one in the registry"#]],
    );
    assert_eq!(targets.digests("a", &tag)[1], first[1]);
}

#[test]
fn two_targets_are_two_places() {
    let targets = Targets::new(&["a"]);
    let between = |from, to| targets.run(&["promote", "--from", from, "--to", to]);
    targets.refused(
        between("staging", "staging"),
        2,
        &expect![[r#"
            error: --to: `staging` is the same place as `staging`
              rule: the targets differ in their registry or their prefix
              help: name another target"#]],
    );
    targets.refused(
        between("staging", "nowhere"),
        2,
        &expect![[r#"
        error: target `nowhere`: has no registry
          help: write `registry` there in Cargo.toml"#]],
    );
    targets.refused(
        between("stagin", "production"),
        2,
        &expect![[r#"
            error: target `stagin`: not in [workspace.metadata.jobs.targets] of Cargo.toml
              rule: one of `nowhere`, `production`, `staging`
              help: did you mean `staging`?"#]],
    );
    let nobody = DockerConfig::empty();
    let env = [("DOCKER_CONFIG", nobody.path().to_str().unwrap())];
    let run = targets.tree.run_with(&["promote", "--from", "staging", "--to", "production"], &env);
    assert!(run.ended(4).errors().contains("help: log in to the registry: cargo xtask login"));
}

#[test]
fn an_attested_target_takes_only_what_is_attested_and_moves_its_tags_to_it() {
    let targets = Targets::new(&["a"]);
    let manifest = std::fs::read_to_string(targets.tree.path().join("Cargo.toml")).unwrap();
    let attested = manifest.replace("prefix = \"live\"", "prefix = \"live\"\nrefs = [\"refs/tags/v*\"]\nattest = true");
    targets.tree.write("Cargo.toml", &attested);
    targets.tree.git(&["remote", "add", "origin", "https://github.com/acme/jobs"]);
    targets.tree.commit("an attested target");
    targets.publish();
    let promote = |attests: bool| {
        // GitHub's client, which knows of the digest or does not.
        let answer = if attests { "exit 0" } else { "echo no attestation >&2; exit 1" };
        let gh = format!("if [ \"$1\" = --version ]; then echo 'gh version 2.67.0'; exit; fi\n{answer}");
        let gh = Programs::new().script("gh", &gh);
        let path = gh.first();
        let env = [("DOCKER_CONFIG", targets.docker.path().to_str().unwrap()), ("PATH", path.as_str())];
        targets.tree.run_with(&["promote", "--from", "staging", "--to", "production"], &env)
    };
    let run = promote(false).ended(3);
    assert!(run.errors().contains("is not attested: no attestation"), "{}", run.errors());
    assert_eq!(targets.digests("a", &targets.tree.tag())[1], None);
    promote(true).ended(0);
    let [published, promoted] = targets.digests("a", &targets.tree.tag());
    assert_eq!((targets.digests("a", "latest")[1].clone(), promoted), (published.clone(), published));
}
