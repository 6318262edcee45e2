//! The examples of *Set up on GitHub and AWS*, *Other registries* and *Secrets of jobs*. Those that are parts of a
//! workflow are judged in `tests/workflows/linters.rs`.

use std::process::Command;

use serde_json::Value;

use super::Reader;
use super::handed_over::assert_asks_for_a_login;
use crate::cloud::Aws;
use crate::ecr;
use crate::ecr_front::{Ecr, credentials};
use crate::examples::example;
use crate::harness::{DOCKERFILE, Tree, python_programs};

#[test]
fn the_repositories_are_made_once() {
    let front = Ecr::start();
    let url = front.url();
    let env = [&credentials(&url)[..], &[("JOBS_REGISTRY", "")]].concat();
    let said =
        Reader::new(ecr::tree(&["job-a"])).types_with(&example("README.md", "Set up on GitHub and AWS", 0), &env);
    assert_eq!(front.repositories(), ["jobs/job-a"]);
    assert!(said.contains("\nok  job-a  jobs/job-a  immutable except latest key-*  3 rules    -\n"), "{said}");
}

#[test]
fn aws_takes_the_policies() {
    let aws = Aws::start();
    let iam = |args: &[&str]| {
        let mut client = Command::new(python_programs().join("aws"));
        let output = client.args(["--region", "eu-west-1", "iam"]).args(args).envs(credentials(&aws.url())).output();
        let output = output.unwrap();
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let role = |text: &str| iam(&["create-role", "--role-name", "jobs-push", "--assume-role-policy-document", text]);
    let rights = |text: &str| iam(&["create-policy", "--policy-name", "jobs-push", "--policy-document", text]);
    let (trust, may) =
        (example("README.md", "Set up on GitHub and AWS", 1), example("README.md", "Set up on GitHub and AWS", 2));
    role(&trust).unwrap();
    rights(&may).unwrap();
    // Policies are looked at; of who is let in, no more than that it is JSON.
    let refused = rights(&may.replace("\"Allow\"", "\"Permit\"")).unwrap_err();
    assert!(refused.contains("MalformedPolicyDocument"), "{refused}");
    let trust: Value = serde_json::from_str(&trust).unwrap();
    let statement = &trust["Statement"][0];
    assert_eq!(
        (&statement["Effect"], &statement["Action"]),
        (&"Allow".into(), &"sts:AssumeRoleWithWebIdentity".into())
    );
    let conditions = statement["Condition"]["StringEquals"].as_object().unwrap();
    let claims = conditions.keys().map(|key| key.strip_prefix("token.actions.githubusercontent.com:").unwrap());
    assert_eq!(claims.collect::<Vec<_>>(), ["aud", "job_workflow_ref", "repository_id"]);
}

#[test]
fn whoever_deploys_checks_the_same() {
    let reader = Reader::new(Tree::new(&[]));
    assert_asks_for_a_login(&reader, &example("README.md", "Set up on GitHub and AWS", 4));
}

#[test]
fn other_registries_are_targets() {
    let targets = example("README.md", "Other registries", 0);
    let tree = Tree::new(&[("Cargo.toml", &format!("[workspace]\n{targets}")), ("jobs/job-a/Dockerfile", DOCKERFILE)]);
    for (git_ref, target, place) in
        [("refs/heads/main", "ghcr", ["ghcr.io", "acme/jobs"]), ("refs/tags/v1.0.0", "hub", ["docker.io", "acme"])]
    {
        let config = tree.run_with(&["config", "--format", "json"], &[("GITHUB_REF", git_ref)]).ended(0).stdout;
        let config: Value = serde_json::from_str(&config).unwrap();
        let found = ["target", "registry", "prefix"].map(|key| config[key]["value"].as_str().unwrap());
        assert_eq!(found, [target, place[0], place[1]]);
    }
}
