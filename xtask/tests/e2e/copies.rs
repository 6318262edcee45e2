//! A target with copies: the same index at several registries, each with a login of its own.

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::cloud::{OWN_PASSWORD, PLAIN_PASSWORD};
use crate::harness::{BOTH, DOCKERFILE, Registry, Run, TempDir, Tree, docker, without_digests};
use crate::registry::published::base64;

/// A target at one registry with copies at another, where somebody else logs in.
struct Copies {
    first: Registry,
    second: Registry,
    docker: TempDir,
    tree: Tree,
}

impl Copies {
    fn new() -> Copies {
        let first = Registry::with_user("ann", PLAIN_PASSWORD.1);
        let second = Registry::with_user("bob", OWN_PASSWORD.1);
        let tree = Tree::with_jobs(&["a", "b"]);
        let targets = format!(
            "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/*\"]\nregistry = \"{}\"\n\
             username = \"ann\"\nmoving-tags = [\"latest\"]\ncopies = [\"hub\"]\n\
             [workspace.metadata.jobs.targets.hub]\nregistry = \"{}\"\nprefix = \"acme\"\nusername = \"bob\"\n\
             moving-tags = [\"newest\"]\n",
            first.address, second.address
        );
        tree.write("Cargo.toml", &targets);
        tree.commit("targets");
        Copies { first, second, docker: TempDir::new(), tree }
    }

    fn run(&self, args: &[&str]) -> Run {
        let config = ("DOCKER_CONFIG", self.docker.0.to_str().unwrap());
        let passwords = [("JOBS_PASSWORD", PLAIN_PASSWORD.0), ("JOBS_PASSWORD_HUB", OWN_PASSWORD.0)];
        self.tree.run_with(args, &[config, passwords[0], passwords[1]])
    }

    fn published() -> Copies {
        let copies = Copies::new();
        copies.run(&["login"]).ended(0);
        copies.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        copies.run(&["merge"]).ended(0);
        copies
    }

    /// What a tag points to at the target and at its copy.
    fn digests(&self, job: &str, tag: &str) -> [Option<String>; 2] {
        let [ann, bob] = [("ann", PLAIN_PASSWORD.0), ("bob", OWN_PASSWORD.0)]
            .map(|(user, password)| base64(format!("{user}:{password}").as_bytes()));
        [
            self.first.digest_for(&format!("jobs/{job}"), tag, &ann),
            self.second.digest_for(&format!("acme/{job}"), tag, &bob),
        ]
    }

    #[track_caller]
    fn refused(&self, command: &str, message: &Expect) {
        let run = self.run(&[command]).ended(3);
        let errors = run.errors().replace(&self.first.address, "<first>").replace(&self.second.address, "<second>");
        message.assert_eq(&without_digests(&errors));
    }

    fn plan(&self) -> String {
        self.run(&["plan", "--all"]).ended(0).stdout
    }
}

#[test]
fn an_index_is_the_same_at_every_registry() {
    let copies = Copies::published();
    let tag = copies.tree.tag();
    for job in ["a", "b"] {
        let digests = copies.digests(job, &tag);
        assert!(digests[0].is_some() && digests[0] == digests[1], "{digests:?}");
        assert_eq!(copies.digests(job, "latest"), [digests[0].clone(), None]);
        assert_eq!(copies.digests(job, "newest"), [None, digests[1].clone()]);
    }
    let file = std::fs::read_to_string(copies.tree.path().join("target/xtask/images.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["images"][0]["copies"][0]["repository"], format!("{}/acme/a", copies.second.address));
    assert_eq!(file["images"][0]["copies"][0]["key-digest"], file["images"][0]["digest"]);
    copies.run(&["verify"]).ended(0);
    assert_eq!(copies.plan().matches("done").count(), 2);

    // What is lost there is copied again.
    copies.second.delete("acme/a", &tag);
    copies.refused(
        "verify",
        &expect![[r#"
        error: <second>/acme/a:<sha>: is not published
          help: cargo xtask merge a"#]],
    );
    expect![[r#"
        JOB  PLAN   BUILDS  REASON
        a    reuse  -       not at the target `hub` yet
        b    done   -       published
    "#]]
    .assert_eq(&copies.plan());
    copies.run(&["merge"]).ended(0);
    copies.run(&["verify"]).ended(0);
}

#[test]
fn no_tag_moves_before_every_copy_is_there() {
    let copies = Copies::published();
    let latest = copies.digests("a", "latest")[0].clone();
    copies.tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}LABEL changed=yes\n"));
    copies.tree.commit("change a");
    copies.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    // Something else stands where the copy goes.
    let (repository, tag) = (format!("{}/acme/a", copies.second.address), copies.tree.tag());
    let config = copies.docker.0.to_str().unwrap();
    let (new, newest) = (format!("{repository}:{tag}"), format!("{repository}:newest"));
    docker(&["--config", config, "buildx", "imagetools", "create", "-t", &new, &newest]);
    copies.refused(
        "merge",
        &expect![[r#"
        error: <second>/acme/a:<sha>: exists with other content: sha256:…, and not sha256:…
          rule: a published tag never changes
          help: publish another tag, or delete this one in the registry"#]],
    );
    assert!(copies.digests("a", &tag)[0].is_some(), "the tag itself is published");
    assert_eq!(copies.digests("a", "latest")[0], latest);
    let digests = copies.digests("b", &tag);
    assert!(digests[0].is_some() && digests[0] == digests[1], "{digests:?}");
    assert_eq!([copies.digests("b", "latest")[0].clone(), copies.digests("b", "newest")[1].clone()], digests);
    copies.refused(
        "verify",
        &expect![[r#"
        error: <second>/acme/a:<sha>: exists with other content: sha256:…, and not sha256:…
          rule: a published tag never changes
          help: publish another tag, or delete this one in the registry"#]],
    );
}

#[test]
fn every_registry_is_logged_in_to_with_its_own_password() {
    let copies = Copies::new();
    // Nobody has logged in: each command does so by itself.
    copies.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    copies.run(&["merge"]).ended(0);
    let config = std::fs::read_to_string(copies.docker.0.join("config.json")).unwrap();
    for registry in [&copies.first, &copies.second] {
        assert!(config.contains(&registry.address), "{config}");
    }
    std::fs::remove_file(copies.docker.0.join("config.json")).unwrap();
    let env = [("DOCKER_CONFIG", copies.docker.0.to_str().unwrap()), ("JOBS_PASSWORD", PLAIN_PASSWORD.0)];
    let run = copies.tree.run_with(&["login"], &env).ended(2);
    expect![[r#"
        error: registry `<second>`: no password to log in with
          rule: a password is never an argument, where every user of the machine can read it
          help: set JOBS_PASSWORD_HUB"#]]
    .assert_eq(&run.errors().replace(&copies.second.address, "<second>"));
    // A registry that is given instead has no copies.
    let registry = Registry::start();
    let run = copies.tree.run_with(&["plan"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    assert!(run.stdout.contains("never built"), "{}", run.stdout);
}
