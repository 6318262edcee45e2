//! Pushes to ECR: what it refuses is known before anything is built, or told with its cause.

use expect_test::expect;

use crate::cloud::{manifest, path_with_client};
use crate::ecr_front::{Ecr, Limits, OWN_ACCOUNT, authorization, credentials};
use crate::harness::{BOTH, DOCKERFILE, Run, TempDir, Tree};

/// A repository whose target is this registry, with a login.
struct Client<'a> {
    ecr: &'a Ecr,
    tree: Tree,
    docker: TempDir,
}

impl Client<'_> {
    fn new<'a>(ecr: &'a Ecr, jobs: &[&str]) -> Client<'a> {
        let tree = Tree::with_jobs(jobs);
        tree.write("Cargo.toml", &manifest(ecr.address()));
        tree.commit("name a target");
        let docker = TempDir::new();
        let auth = authorization(OWN_ACCOUNT).replace("Basic ", "");
        let config = serde_json::json!({ "auths": { ecr.address(): { "auth": auth } } });
        std::fs::write(docker.0.join("config.json"), config.to_string()).unwrap();
        Client { ecr, tree, docker }
    }

    fn run(&self, args: &[&str]) -> Run {
        let (url, path) = (self.ecr.url(), path_with_client());
        let own = [("DOCKER_CONFIG", self.docker.0.to_str().unwrap()), ("PATH", &path)];
        self.tree.run_with(args, &[&credentials(&url)[..], &own].concat())
    }

    /// Builds for both architectures and merges.
    #[track_caller]
    fn publish(&self) {
        self.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        self.run(&["merge"]).ended(0);
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_built() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a", "b", "c"]);
    ecr.make("jobs/b", "MUTABLE", &[]);
    let missing = expect![[r#"
        error: repositories `jobs/a`, `jobs/c`: not there
          rule: ECR takes a push to a repository that is there, or that a creation template makes on push
          help: cargo xtask ecr ensure --target staging a c"#]];
    let build = [&["build"], &BOTH[..]].concat();
    for command in [&["plan"][..], &["discover", "--changed", "--format", "matrix"], &build] {
        let asked = ecr.actions().len();
        let run = client.run(command).ended(4);
        missing.assert_eq(run.errors());
        assert_eq!((run.stdout.as_str(), run.stderr.contains("Building")), ("", false), "{command:?}");
        assert_eq!(ecr.actions()[asked..], ["DescribeRepositoryCreationTemplates"], "{command:?}");
    }
    client.run(&["ecr", "ensure", "--target", "staging", "a", "c"]).ended(0);
    let asked = ecr.actions().len();
    client.publish();
    client.run(&["verify"]).ended(0);
    assert_eq!(ecr.actions()[asked..], [""; 0], "nothing is missing");
    assert!(ecr.sent_blobs());
    assert_eq!(ecr.digest("jobs/a", "latest"), ecr.digest("jobs/a", &client.tree.tag()));
}

#[test]
fn a_repository_that_a_template_makes_on_push_need_not_be_there() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a"]);
    ecr.make_on_push("jobs");
    let plan = client.run(&["plan"]).ended(0);
    assert!(plan.stdout.contains("a    build  amd64 arm64  never built"), "{}", plan.stdout);
    assert_eq!(ecr.repositories(), [""; 0]);
    client.publish();
    assert_eq!(ecr.repositories(), ["jobs/a"]);
}

#[test]
fn a_role_that_may_not_ask_for_templates_is_told() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a"]);
    ecr.make_on_push("jobs");
    ecr.forbid("DescribeRepositoryCreationTemplates");
    expect![[r#"
        error: repository `jobs/a`: not there
          rule: ECR takes a push to a repository that is there, or that a creation template makes on push
          help: cargo xtask ecr ensure --target staging a
            whether a creation template makes them could not be seen: `aws ecr describe-repository-creation-templates`: exited with 255: An error occurred (AccessDeniedException) when calling the DescribeRepositoryCreationTemplates operation: User: arn:aws:sts::123456789012:assumed-role/jobs-push/xtask is not authorized to perform: ecr:DescribeRepositoryCreationTemplates on resource: *
              help: allow it in the role's policy: README.md, "Set up on GitHub and AWS", has the whole of it"#]].assert_eq(client.run(&["plan"]).ended(4).errors());
}

#[test]
fn what_has_no_key_is_looked_for_too() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a"]);
    client.tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}# not committed\n"));
    assert!(client.run(&["plan"]).ended(4).errors().starts_with("error: repository `jobs/a`: not there\n"));
}

#[test]
fn a_push_that_ends_without_an_answer_is_explained() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a"]);
    ecr.make("jobs/a", "IMMUTABLE", &[]);
    let matrix = client.run(&["discover", "--changed", "--format", "matrix"]).ended(0).stdout;
    let matrix = matrix.replace("<commit>", &client.tree.head());
    let matrix: serde_json::Value = serde_json::from_str(&matrix).unwrap();
    // It goes after the plan, and a leg trusts the plan.
    ecr.client(&["delete-repository", "--force", "--repository-name", "jobs/a"]);
    let run = client.run(&["build", "--plan", matrix["include"][0]["plan"].as_str().unwrap()]).ended(4);
    // Of a host of ECR's own, the help would name the repository.
    let hint =
        "  help: the registry, or a proxy before it, ended the connection: try again later, or ask whoever runs it\n";
    assert!(run.errors().contains("\": EOF\n") && run.errors().contains(hint), "{}", run.errors());
}

#[test]
fn tags_that_cannot_change_do_not() {
    let ecr = Ecr::start();
    let client = Client::new(&ecr, &["a"]);
    ecr.make("jobs/a", "IMMUTABLE_WITH_EXCLUSION", &["lat*"]);
    client.publish();
    let first = client.tree.tag();
    client.tree.commit("another");
    // The tag that moves is excluded, the key is the same, and the new commit has a tag of its own.
    client.run(&["merge"]).ended(0);
    assert_eq!(ecr.digest("jobs/a", "latest"), ecr.digest("jobs/a", &client.tree.tag()));
    assert_ne!(ecr.digest("jobs/a", "latest"), ecr.digest("jobs/a", &first));
    // A forced image replaces the one behind the key.
    client.run(&[&["build"], &BOTH[..], &["--force", "--tag", "forced-1"]].concat()).ended(0);
    let run = client.run(&["merge", "--tag", "forced-1"]).ended(3);
    let said = "already exists in the 'jobs/a' repository and cannot be overwritten because the repository is \
                immutable.\n  rule: the repository's tags never change";
    assert!(run.errors().contains("The image tag 'key-") && run.errors().ends_with(said), "{}", run.errors());
}

#[test]
fn a_digest_has_no_more_tags_than_ecr_allows() {
    let ecr = Ecr::of(OWN_ACCOUNT, Limits { tags_of_a_digest: 2, ..Limits::default() });
    let client = Client::new(&ecr, &["a"]);
    ecr.make("jobs/a", "MUTABLE", &[]);
    client.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    // The commit's, that of the key, and the one that moves.
    let run = client.run(&["merge"]).ended(4);
    let said = "exceeds the maximum allowed number of tags\n  help: ECR lets an image have 1,000 tags: delete some that \
                nobody uses with `aws ecr batch-delete-image`";
    assert!(run.errors().ends_with(said), "{}", run.errors());
}

#[test]
fn a_registry_that_takes_few_manifests_at_a_time_gets_all_of_them() {
    let ecr = Ecr::of(OWN_ACCOUNT, Limits { puts_in_a_second: 4, ..Limits::default() });
    let client = Client::new(&ecr, &["a", "b", "c"]);
    ecr.make_on_push("jobs");
    client.publish();
    client.run(&["verify"]).ended(0);
}
