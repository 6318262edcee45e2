//! `ecr`: repositories that are missing, unfit and fit.

use std::process::Command;

use expect_test::expect;
use serde_json::json;

use crate::cloud::{Aws, BEARER, Issuer, Programs, manifest, path_with_client};
use crate::ecr_front::{Ecr, credentials};
use crate::harness::{DOCKERFILE, Run, TempDir, Tree, python_programs};

const POLICY: &str = include_str!("../../../.github/ecr-lifecycle.json");

/// A tree with these jobs, whose target is ECR.
pub fn tree(jobs: &[&str]) -> Tree {
    let paths: Vec<String> = jobs.iter().map(|job| format!("jobs/{job}/Dockerfile")).collect();
    let manifest = manifest("127.0.0.1:1");
    let files = [("Cargo.toml", manifest.as_str()), (".github/ecr-lifecycle.json", POLICY)];
    Tree::new(&[paths.iter().map(|path| (path.as_str(), DOCKERFILE)).collect::<Vec<_>>(), files.to_vec()].concat())
}

fn run(tree: &Tree, ecr: &Ecr, args: &[&str]) -> Run {
    run_with(tree, &ecr.url(), args, &[])
}

fn run_with(tree: &Tree, url: &str, args: &[&str], more: &[(&str, &str)]) -> Run {
    let path = path_with_client();
    tree.run_with(&[&["ecr"], args].concat(), &[&credentials(url)[..], &[("PATH", &path)], more].concat())
}

#[test]
fn what_is_missing_is_found_shown_and_made() {
    let ecr = Ecr::start();
    let tree = tree(&["a", "b"]);
    let missing = run(&tree, &ecr, &["check"]).ended(4);
    expect![[r#"
              JOB  REPOSITORY  TAGS  LIFECYCLE  FOUND
        fail  a    jobs/a      -     -          not there
        fail  b    jobs/b      -     -          not there
    "#]]
    .assert_eq(&missing.stdout);
    expect![[r#"
        error: repositories `jobs/a`, `jobs/b`: not there
          rule: a repository is there before the first push, or a creation template makes it then
          help: cargo xtask ecr ensure"#]]
    .assert_eq(missing.errors());

    let planned = run(&tree, &ecr, &["ensure", "--dry-run"]).ended(0);
    expect![[r#"
        aws ecr create-repository --region eu-west-1 --output json --repository-name jobs/a --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*' --image-scanning-configuration scanOnPush=true
        aws ecr put-lifecycle-policy --region eu-west-1 --output json --repository-name jobs/a --lifecycle-policy-text file://.github/ecr-lifecycle.json
        aws ecr create-repository --region eu-west-1 --output json --repository-name jobs/b --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*' --image-scanning-configuration scanOnPush=true
        aws ecr put-lifecycle-policy --region eu-west-1 --output json --repository-name jobs/b --lifecycle-policy-text file://.github/ecr-lifecycle.json
    "#]].assert_eq(&planned.stdout);
    assert_eq!(ecr.client(&["describe-repositories"])["repositories"], json!([]), "a dry run makes nothing");
    let host = [("JOBS_REGISTRY", "111122223333.dkr.ecr.eu-west-1.amazonaws.com")];
    let elsewhere = run_with(&tree, &ecr.url(), &["ensure", "--dry-run", "a"], &host).ended(0).stdout;
    let account = "--output json --registry-id 111122223333 --repository-name jobs/a";
    assert_eq!(elsewhere.matches(account).count(), 2, "the account is the one of the registry's host: {elsewhere}");
    // What a dry run prints is what runs: its first half is pasted, and the rest is made.
    let pasted: Vec<&str> = planned.stdout.lines().take(2).collect();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &pasted.join("\n")]).envs(credentials(&ecr.url())).env("PATH", path_with_client());
    shell.current_dir(tree.path());
    assert!(shell.output().unwrap().status.success());
    let ensured = run(&tree, &ecr, &["ensure"]).ended(0);
    assert!(ensured.stderr.contains("Made jobs/b") && !ensured.stderr.contains("jobs/a"), "{}", ensured.stderr);

    for name in ["jobs/a", "jobs/b"] {
        let made = &ecr.client(&["describe-repositories", "--repository-names", name])["repositories"][0];
        assert_eq!(made["imageTagMutability"], "IMMUTABLE_WITH_EXCLUSION");
        assert_eq!(
            made["imageTagMutabilityExclusionFilters"],
            json!(["latest", "key-*"].map(|filter| json!({ "filterType": "WILDCARD", "filter": filter })))
        );
        assert_eq!(made["imageScanningConfiguration"], json!({ "scanOnPush": true }));
        let policy = ecr.client(&["get-lifecycle-policy", "--repository-name", name])["lifecyclePolicyText"].clone();
        let [policy, wanted]: [serde_json::Value; 2] =
            [policy.as_str().unwrap(), POLICY].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(policy, wanted);
    }
    let fit = run(&tree, &ecr, &["check"]).ended(0);
    expect![[r#"
            JOB  REPOSITORY  TAGS                           LIFECYCLE  FOUND
        ok  a    jobs/a      immutable except latest key-*  3 rules    -
        ok  b    jobs/b      immutable except latest key-*  3 rules    -
    "#]]
    .assert_eq(&fit.stdout);
    let ensured = run(&tree, &ecr, &["ensure", "--dry-run"]).ended(0);
    assert_eq!((ensured.stdout.as_str(), ensured.stderr.as_str()), ("", ""), "nothing is missing and nothing differs");
}

#[test]
fn what_is_unfit_is_said_once_and_stays() {
    let ecr = Ecr::start();
    let tree = tree(&["a", "b", "c", "d"]);
    for (name, setting) in [("jobs/a", "IMMUTABLE"), ("jobs/b", "IMMUTABLE"), ("jobs/c", "MUTABLE")] {
        ecr.client(&["create-repository", "--repository-name", name, "--image-tag-mutability", setting]);
    }
    let policy = json!({ "rules": [{
        "rulePriority": 1,
        "selection": { "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3 },
        "action": { "type": "expire" },
    }] });
    ecr.client(&[
        "put-lifecycle-policy",
        "--repository-name",
        "jobs/c",
        "--lifecycle-policy-text",
        &policy.to_string(),
    ]);
    let found = run(&tree, &ecr, &["check"]).ended(4);
    expect![[r#"
              JOB  REPOSITORY  TAGS       LIFECYCLE  FOUND
        fail  a    jobs/a      immutable  -          3 findings, see below
        fail  b    jobs/b      immutable  -          3 findings, see below
        fail  c    jobs/c      mutable    1 rule     3 findings, see below
        fail  d    jobs/d      -          -          not there
    "#]]
    .assert_eq(&found.stdout);
    expect![[r#"
        warning: repositories `jobs/a`, `jobs/b`: a forced rebuild could not replace the image behind `key-…`: the tags are immutable
              rule: `key-*` is excluded from immutability
              help: aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*'
        warning: repository `jobs/c`: anybody who may push can change a published tag: the tags are mutable
              rule: a published tag never changes
              help: aws ecr put-image-tag-mutability --repository-name jobs/c --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*'
        warning: repositories `jobs/a`, `jobs/b`, `jobs/c`: not scanned on push
              rule: images are scanned for known weaknesses when they are pushed, by a setting of the registry or of each repository
              help: set it for the registry with `aws ecr put-registry-scanning-configuration`, or here: aws ecr put-image-scanning-configuration --repository-name <name> --image-scanning-configuration scanOnPush=true
        error: repositories `jobs/a`, `jobs/b`: `latest` cannot move: the tags are immutable
          rule: the target's moving tags are excluded from immutability
          help: aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*'
        error: repository `jobs/c`: lifecycle rule 1 expires images tagged like `<sha>-amd64`, `<sha>-arm64`, `<sha>`, `latest` when there are more than 3, and one run makes 7
          rule: what one run pushes stays until it is published
          help: narrow the rule's tags, as .github/ecr-lifecycle.json does, or raise its number
        error: repository `jobs/d`: not there
          rule: a repository is there before the first push, or a creation template makes it then
          help: cargo xtask ecr ensure
    "#]].assert_eq(&found.stderr);
    expect![[r#"
        warning: repositories `jobs/a`, `jobs/b`: `latest` cannot move: the tags are immutable: left as it is
        warning: repositories `jobs/a`, `jobs/b`: a forced rebuild could not replace the image behind `key-…`: the tags are immutable: left as it is
        warning: repository `jobs/c`: another lifecycle policy: left as it is
        warning: repository `jobs/c`: anybody who may push can change a published tag: the tags are mutable: left as it is
        warning: repository `jobs/c`: lifecycle rule 1 expires images tagged like `<sha>-amd64`, `<sha>-arm64`, `<sha>`, `latest` when there are more than 3, and one run makes 7: left as it is
        warning: repositories `jobs/a`, `jobs/b`: no lifecycle policy: left as it is
        warning: repositories `jobs/a`, `jobs/b`, `jobs/c`: not scanned on push: left as it is
                Made jobs/d
            Finished 1 made, 3 there
    "#]].assert_eq(&run(&tree, &ecr, &["ensure"]).ended(0).stderr);
    let kept = &ecr.client(&["describe-repositories", "--repository-names", "jobs/a"])["repositories"][0];
    assert_eq!(kept["imageTagMutability"], "IMMUTABLE");
}

#[test]
fn warnings_do_not_stop_a_run() {
    let ecr = Ecr::start();
    let tree = tree(&["a"]);
    ecr.client(&["create-repository", "--repository-name", "jobs/a"]);
    let found = run(&tree, &ecr, &["check", "--format", "json"]).ended(0);
    let json: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    expect![[r#"
        [
          {
            "exists": true,
            "findings": [
              {
                "help": "aws ecr put-image-tag-mutability --repository-name jobs/a --image-tag-mutability IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*'",
                "rule": "a published tag never changes",
                "severity": "warn",
                "what": "anybody who may push can change a published tag: the tags are mutable"
              },
              {
                "help": "set it for the registry with `aws ecr put-registry-scanning-configuration`, or here: aws ecr put-image-scanning-configuration --repository-name jobs/a --image-scanning-configuration scanOnPush=true",
                "rule": "images are scanned for known weaknesses when they are pushed, by a setting of the registry or of each repository",
                "severity": "warn",
                "what": "not scanned on push"
              }
            ],
            "health": "warn",
            "job": "a",
            "lifecycle-rules": null,
            "repository": "jobs/a",
            "tags": "mutable",
            "template": null
          }
        ]"#]].assert_eq(&serde_json::to_string_pretty(&json).unwrap());
    assert!(found.stderr.starts_with("warning: repository `jobs/a`: anybody who may push"), "{}", found.stderr);
}

#[test]
fn what_aws_refuses_is_named_with_the_remedy() {
    // From the first call on, moto wants credentials that it has given out itself.
    let (aws, tree) = (Aws::with_env(&[("INITIAL_NO_AUTH_ACTION_COUNT", "0")]), tree(&["a"]));
    let url = aws.url();
    expect![[r#"
        error: `aws ecr describe-repositories`: exited with 255: An error occurred (403) when calling the DescribeRepositories operation: <?xml version="1.0" encoding="utf-8"?>
            <ErrorResponse><Errors><Error><Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message><Type>Sender</Type></Error></Errors></ErrorResponse>
          help: give the AWS client credentials: `aws sso login` or `aws configure`; in a workflow, set the target's `role`"#]].assert_eq(run_with(&tree, &url, &["check"], &[]).ended(4).errors());
    let nowhere = Tree::with_jobs(&["a"]);
    expect![[r#"
        error: ecr check: there is no registry
          help: set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml"#]]
    .assert_eq(run_with(&nowhere, &url, &["check"], &[]).ended(2).errors());
    let other = [("JOBS_REGISTRY", "registry.example.com")];
    expect![[r#"
        error: registry `registry.example.com`: not an ECR registry
          help: log in with `login --username`"#]]
    .assert_eq(run_with(&nowhere, &url, &["check"], &other).ended(2).errors());
    nowhere.write("Cargo.toml", &manifest("127.0.0.1:1").replace("region = \"eu-west-1\"\n", ""));
    expect![[r#"
        error: registry `127.0.0.1:1`: its AWS region is not known
          help: set AWS_REGION, or `region` of the target in Cargo.toml"#]]
    .assert_eq(run_with(&nowhere, &url, &["check"], &[("AWS_REGION", "")]).ended(2).errors());
    tree.write(".github/ecr-lifecycle.json", "{\"rules\": 1}");
    expect!["error: .github/ecr-lifecycle.json: not a lifecycle policy: invalid type: integer `1`, expected a sequence at line 1 column 11"].assert_eq(run_with(&tree, &url, &["ensure"], &[]).ended(2).errors());
}

#[test]
fn a_workflow_looks_with_the_rights_of_its_role() {
    let (ecr, issuer) = (Ecr::start(), Issuer::start());
    let tree = tree(&["a"]);
    let temp = TempDir::new();
    let vouched = [
        ("GITHUB_ACTIONS", "true"),
        ("RUNNER_TEMP", temp.0.to_str().unwrap()),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &issuer.url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER),
    ];
    run_with(&tree, &ecr.url(), &["ensure"], &vouched).ended(0);
    run_with(&tree, &ecr.url(), &["check"], &vouched).ended(0);
    // It is made in the account of the role, not in that of the credentials that lie about.
    assert_eq!(ecr.client(&["describe-repositories"])["repositories"], json!([]));
    assert_eq!(issuer.asked.lock().unwrap().len(), 2, "one token for each command");
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 0);
}

#[test]
fn a_right_that_is_missing_is_found_before_the_push() {
    let ecr = Ecr::start();
    let tree = tree(&["a", "b"]);
    run(&tree, &ecr, &["ensure"]).ended(0);
    let refusing = Programs::new().script(
        "aws",
        &format!(
            "case \"$*\" in *batch-check-layer-availability*) echo 'An error occurred (AccessDeniedException): User: x \
             is not authorized to perform: ecr:BatchCheckLayerAvailability' >&2; exit 254;; esac\nexec {}/aws \"$@\"",
            python_programs().display()
        ),
    );
    let path = refusing.first();
    let found = run_with(&tree, &ecr.url(), &["check"], &[("PATH", &path)]).ended(4);
    assert_eq!(found.stdout.matches("ok  ").count(), 2, "{}", found.stdout);
    expect![[r#"
        error: `aws ecr batch-check-layer-availability`: exited with 254: An error occurred (AccessDeniedException): User: x is not authorized to perform: ecr:BatchCheckLayerAvailability
          help: allow it in the role's policy: README.md, "Set up on GitHub and AWS", has the whole of it"#]].assert_eq(found.errors());
}

#[test]
fn a_template_that_makes_a_repository_counts_as_one() {
    let ecr = Ecr::start();
    let tree = tree(&["a"]);
    ecr.make_on_push("jobs");
    expect![[r#"
            JOB  REPOSITORY  TAGS                     LIFECYCLE  FOUND
        ok  a    jobs/a      immutable except latest  -          not there, the first
                             key-*                               push makes it by
                                                                 template `jobs`
    "#]]
    .assert_eq(&run(&tree, &ecr, &["check"]).ended(0).stdout);
    let json = run(&tree, &ecr, &["check", "--format", "json"]).ended(0).stdout;
    assert!(json.contains("\"exists\":false") && json.contains("\"template\":\"jobs\""), "{json}");
    // It may be made by hand all the same.
    let planned = run(&tree, &ecr, &["ensure", "--dry-run"]).ended(0).stdout;
    assert!(planned.starts_with("aws ecr create-repository "), "{planned}");
    ecr.client(&["create-repository-creation-template", "--prefix", "jobs/a", "--applied-for", "REPLICATION"]);
    run(&tree, &ecr, &["check"]).ended(0);
    tree.write("jobs/b/Dockerfile", DOCKERFILE);
    ecr.client(&["create-repository-creation-template", "--prefix", "ROOT", "--applied-for", "CREATE_ON_PUSH"]);
    // What AWS tells of another account is not believed.
    let host = [("JOBS_REGISTRY", "111122223333.dkr.ecr.eu-west-1.amazonaws.com")];
    let elsewhere = run_with(&tree, &ecr.url(), &["check"], &host).ended(4);
    expect![[r#"
        warning: `aws ecr describe-repository-creation-templates`: tells of account 123456789012
              rule: the registry is that of account 111122223333
              help: use credentials of that account
        error: repositories `jobs/a`, `jobs/b`: not there
          rule: a repository is there before the first push, or a creation template makes it then
          help: cargo xtask ecr ensure
    "#]]
    .assert_eq(&elsewhere.stderr);
    ecr.forbid("DescribeRepositoryCreationTemplates");
    let refused = run(&tree, &ecr, &["check"]).ended(4).stderr;
    assert!(refused.starts_with("warning: `aws ecr describe-repository-creation-templates`: exited with"), "{refused}");
    assert!(refused.contains("\nerror: repositories `jobs/a`, `jobs/b`: not there\n"), "{refused}");
}

#[test]
fn a_target_that_caches_in_the_registry_has_tags_that_change() {
    let ecr = Ecr::start();
    let tree = tree(&["a"]);
    ecr.make("jobs/a", "IMMUTABLE_WITH_EXCLUSION", &["latest", "key-*"]);
    let cached = format!("{}cache = \"registry\"\n", manifest("127.0.0.1:1"));
    tree.write("Cargo.toml", &cached);
    let found = run(&tree, &ecr, &["check"]).ended(0);
    assert!(found.stderr.contains("warning: repository `jobs/a`: no later build could replace"), "{}", found.stderr);
    assert!(
        found.stderr.contains("filter=latest 'filterType=WILDCARD,filter=key-*' 'filterType=WILDCARD,filter=cache-*'")
    );
    tree.write("jobs/b/Dockerfile", DOCKERFILE);
    run(&tree, &ecr, &["ensure"]).ended(0);
    let made = &ecr.client(&["describe-repositories", "--repository-names", "jobs/b"])["repositories"][0];
    assert_eq!(made["imageTagMutabilityExclusionFilters"][2]["filter"], "cache-*", "{made}");
    tree.write("Cargo.toml", &cached.replace("[\"latest\"]", "[\"a\", \"b\", \"c\", \"d\"]"));
    expect![[r#"
        error: moving-tags: there are 4
          rule: ECR lets at most 5 patterns of tags change in an immutable repository, and `key-*`, `cache-*` are two of them
          help: give this target fewer moving tags"#]].assert_eq(run(&tree, &ecr, &["ensure"]).ended(2).errors());
}

#[test]
fn images_that_the_registry_scans_are_scanned() {
    let ecr = Ecr::start();
    let tree = tree(&["a"]);
    ecr.make("jobs/a", "IMMUTABLE_WITH_EXCLUSION", &["latest", "key-*"]);
    let is_unscanned = |run: Run| run.ended(0).stderr.contains("not scanned on push");
    assert!(is_unscanned(run(&tree, &ecr, &["check"])));
    assert!(is_unscanned(run(&tree, &ecr, &["ensure"])));
    let rules = json!([{ "scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{ "filter": "*", "filterType": "WILDCARD" }] }]);
    ecr.client(&["put-registry-scanning-configuration", "--scan-type", "BASIC", "--rules", &rules.to_string()]);
    assert!(!is_unscanned(run(&tree, &ecr, &["check"])));
    assert!(!is_unscanned(run(&tree, &ecr, &["ensure"])));
    ecr.forbid("GetRegistryScanningConfiguration");
    let found = run(&tree, &ecr, &["check"]).ended(0).stderr;
    assert!(found.contains("not authorized to perform: ecr:GetRegistryScanningConfiguration"), "{found}");
}

#[test]
fn an_image_with_nearly_as_many_tags_as_it_may_have_is_a_warning() {
    let ecr = Ecr::start();
    let tree = tree(&["a"]);
    run(&tree, &ecr, &["ensure"]).ended(0);
    ecr.add_tags("jobs/a", "sha256:0", 899);
    ecr.add_tags("jobs/a", "sha256:1", 300);
    assert_eq!(run(&tree, &ecr, &["check"]).ended(0).stderr, "");
    ecr.add_tags("jobs/a", "sha256:0", 1);
    expect![[r#"
        warning: repository `jobs/a`: an image has 900 tags
              rule: ECR lets an image have 1,000 tags, and refuses the next
              help: delete those that nobody uses: aws ecr batch-delete-image --repository-name jobs/a --image-ids imageTag=<tag>
    "#]].assert_eq(&run(&tree, &ecr, &["check"]).ended(0).stderr);
    ecr.forbid("ListImages");
    let found = run(&tree, &ecr, &["check"]).ended(0).stderr;
    assert!(found.contains("not authorized to perform: ecr:ListImages"), "{found}");
}
