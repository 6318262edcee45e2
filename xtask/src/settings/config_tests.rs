use expect_test::expect;
use serde_json::json;

use super::*;

fn complaints(jobs: Value) -> String {
    Config::from_metadata(&json!({ "jobs": jobs }), None).unwrap_err().to_string()
}

#[test]
fn without_configuration_there_are_defaults() {
    let config = Config::from_metadata(&Value::Null, None).unwrap();
    assert_eq!((config.prefix.as_str(), config.sha_length, config.max_legs), ("jobs", 7, 40));
    assert!(config.runners.keys().eq(&[Arch::Amd64, Arch::Arm64]));
}

#[test]
fn mistakes_in_the_manifest_are_named_all_at_once() {
    let mut all = String::new();
    for jobs in [
        json!({"prefx": "x"}),
        json!({"zzz": 1}),
        json!({"sha-length": "7"}),
        json!({"runners": {}}),
        json!({"runners": {"aarch64": "x", "amd64": ""}, "sha-length": 3, "max-legs": 300}),
        json!({"targets": {"prod": {"registri": "x"}, "dev": {"refs": ["main"], "registry": "http://x"}}}),
        json!({"prefix": "/Jobs"}),
        json!({"mirrors": {"docker.io": "https://x/"}}),
        json!({"targets": {"x": {"cache": "gha"}, "y": {"cache": "s3"}}, "secrets": {"npm_token": "npm_0123456789"}}),
        json!({"targets": {"x": {"role": "AKIAIOSFODNN7EXAMPLE"}}}),
        json!({"targets": {"x": {"role": "arn:aws:iam::111122223333:role/x", "username": "ghp_0123456789"}}}),
        json!({"targets": {"hub-a": {}, "hub_a": {}}}),
        json!({"targets": {
            "x": {"copies": ["hubb", "x", "y", "hub", "strict"]}, "y": {}, "hub": {"registry": "docker.io"},
            "strict": {"registry": "ghcr.io", "attest": true},
        }}),
    ] {
        all += &format!("{}\n", complaints(jobs));
    }
    expect![[r#"
        Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`
          help: did you mean `prefix`?
        Cargo.toml: [workspace.metadata.jobs]: unknown key `zzz`
          rule: one of `prefix`, `sha-length`, `max-legs`, `min-free-gb`, `runners`, `mirrors`, `provenance`, `timeouts`, `jobs-dirs`, `context`, `secrets`, `env-args`, `ssh`, `targets`
          help: remove it, or write one of these
        Cargo.toml: [workspace.metadata.jobs] sha-length: invalid type: string "7"
          rule: a whole number, 1 or more
          help: write a number, without quotes
        Cargo.toml: [workspace.metadata.jobs.runners]: no architecture
          help: name at least one, e.g. amd64 = "ubuntu-24.04"
        Cargo.toml: [workspace.metadata.jobs.runners] architecture `aarch64`: not an architecture that is built here
          rule: one of `amd64`, `arm64`
          help: did you mean `arm64`?
        error: Cargo.toml: [workspace.metadata.jobs.runners] amd64: no runner label
          rule: a label, a list of labels, or a table with `group`, `labels` or both
          help: e.g. "ubuntu-24.04"
        error: Cargo.toml: [workspace.metadata.jobs] sha-length: 3 hex digits
          rule: between 4 and 40
          help: write one between, or leave it out: 7
        error: Cargo.toml: [workspace.metadata.jobs] max-legs: 300 legs
          rule: between 1 and 256, the limit of GitHub Actions
          help: write one between, or leave it out: 40
        Cargo.toml: [workspace.metadata.jobs.targets.dev] registry `http://x`: has a scheme
          help: write `x`
        error: Cargo.toml: [workspace.metadata.jobs.targets.dev] refs: `main`: not a full git ref
          rule: a pattern such as `refs/heads/main` or `refs/tags/v*`
          help: write `refs/heads/main`, or `refs/tags/main`
        error: Cargo.toml: [workspace.metadata.jobs.targets.prod]: unknown key `registri`
          help: did you mean `registry`?
        Cargo.toml: [workspace.metadata.jobs] prefix: `/Jobs`: not a valid name
          rule: parts of lower-case letters and digits with single '.', '_' or '-' between them, joined by '/'
          help: write it so, e.g. `team/jobs`
        Cargo.toml: [workspace.metadata.jobs.mirrors] mirror `docker.io=https://x/`: registry `https://x/`: has a scheme
          help: write `x`
        Cargo.toml: [workspace.metadata.jobs.targets.x] cache: `gha`: a step that runs a command gets no access to GitHub's own cache
          help: write cache = "registry"
        error: Cargo.toml: [workspace.metadata.jobs.targets.y] cache: `s3`: not a place for a cache
          rule: one of `registry`, `none`
          help: write one of these
        error: Cargo.toml: [workspace.metadata.jobs.secrets] `npm_token`: not a list of names of jobs
          rule: the secret itself never stands in a file
          help: write the jobs that may use it: npm_token = ["job-a", "job-b"]
        Cargo.toml: [workspace.metadata.jobs.targets.x] role: looks like a secret
          rule: anyone who has the repository can read Cargo.toml
          help: remove it, revoke it, and name the role to assume: arn:aws:iam::<account>:role/<name>
        Cargo.toml: [workspace.metadata.jobs.targets.x] username: looks like a secret
          rule: anyone who has the repository can read Cargo.toml
          help: remove it, revoke it, and name the role to assume: arn:aws:iam::<account>:role/<name>
        error: Cargo.toml: [workspace.metadata.jobs.targets.x] username: stands beside a role
          rule: a role logs in to ECR, a user to any other registry
          help: remove one of them
        Cargo.toml: [workspace.metadata.jobs.targets.hub_a]: has JOBS_PASSWORD_HUB_A as `hub-a` has
          rule: the password of a target is in a variable of its own
          help: rename one of them
        Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `hubb`: not such a target
          rule: another target, with a registry and without copies of its own
          help: did you mean `hub`?
        error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `x`: not such a target
          rule: another target, with a registry and without copies of its own
          help: name such a target, or remove it
        error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `y`: not such a target
          rule: another target, with a registry and without copies of its own
          help: name such a target, or remove it
        error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `strict`: its `attest` and `sign` are not those of `x`
          rule: moving tags move everywhere at once, and wait for the same
          help: write both targets alike
    "#]].assert_eq(&all);
}

#[test]
fn a_role_is_named_by_its_arn() {
    let of = |role: &str| Config::from_metadata(&json!({"jobs": {"targets": {"x": {"role": role}}}}), None);
    for role in [
        "arn:aws:iam::111122223333:role/jobs-push",
        "arn:aws-cn:iam::111122223333:role/ci/jobs_push+x",
        "arn:aws-us-gov:iam::111122223333:role/a=b,c.d@e",
    ] {
        assert!(of(role).is_ok(), "{role}");
    }
    for role in [
        "",
        "jobs-push",
        "arn:aws:iam::1111:role/x",
        "arn:aws:iam::111122223333:user/x",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::111122223333:role/a/",
        "arn:aws:iam::111122223333:role/a b",
        "arn:aws:iam:eu-west-1:111122223333:role/x",
        "arn:aws:sts::111122223333:assumed-role/x/y",
    ] {
        assert_eq!(
            of(role).unwrap_err().to_string(),
            format!(
                "Cargo.toml: [workspace.metadata.jobs.targets.x] role: `{role}`: not the ARN of a role\n  \
                 rule: arn:aws:iam::<account of 12 digits>:role/<name>\n  \
                 help: copy it from IAM: aws iam get-role --role-name <name> --query Role.Arn"
            )
        );
    }
}

#[test]
fn a_runner_is_whatever_runs_on_takes() {
    let of = |runner: Value| Config::from_metadata(&json!({"jobs": {"runners": {"arm64": runner}}}), None);
    for runner in [
        json!("x"),
        json!(["self-hosted", "arm64"]),
        json!({"group": "large"}),
        json!({"group": "large", "labels": ["a", "b"]}),
        json!({"labels": "a"}),
    ] {
        assert_eq!(of(runner.clone()).unwrap().runners[&Arch::Arm64], runner);
    }
    for runner in [json!(" "), json!([]), json!([""]), json!({}), json!({"grup": "x"}), json!({"group": []}), json!(1)]
    {
        assert!(of(runner.clone()).is_err(), "{runner}");
    }
}
