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
    for (jobs, complaint) in [
        (
            json!({"prefx": "x"}),
            "Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`\n  help: did you mean `prefix`?",
        ),
        (
            json!({"zzz": 1}),
            "Cargo.toml: [workspace.metadata.jobs]: unknown key `zzz`\n  rule: one of `prefix`, `sha-length`, \
             `max-legs`, `runners`, `mirrors`, `provenance`, `timeouts`, `secrets`, `targets`",
        ),
        (
            json!({"sha-length": "7"}),
            "Cargo.toml: [workspace.metadata.jobs] sha-length: invalid type: string \"7\", expected a whole number",
        ),
        (
            json!({"runners": {}}),
            "Cargo.toml: [workspace.metadata.jobs.runners]: no architecture\n  \
             help: name at least one, e.g. amd64 = \"ubuntu-24.04\"",
        ),
        (
            json!({"runners": {"aarch64": "x", "amd64": ""}, "sha-length": 3, "max-legs": 300}),
            "Cargo.toml: [workspace.metadata.jobs.runners] architecture `aarch64`: not an architecture that is built \
             here\n  rule: one of `amd64`, `arm64`\n  help: did you mean `arm64`?\n\
             error: Cargo.toml: [workspace.metadata.jobs.runners] amd64: no runner label\n  rule: a label, a list of \
             labels, or a table with `group`, `labels` or both\n  help: e.g. \"ubuntu-24.04\"\n\
             error: Cargo.toml: [workspace.metadata.jobs] sha-length: 3 hex digits\n  rule: between 4 and 40\n\
             error: Cargo.toml: [workspace.metadata.jobs] max-legs: 300 legs\n  \
             rule: between 1 and 256, the limit of GitHub Actions",
        ),
        (
            json!({"targets": {"prod": {"registri": "x"}, "dev": {"refs": ["main"], "registry": "http://x"}}}),
            "Cargo.toml: [workspace.metadata.jobs.targets.dev] registry `http://x`: has a scheme\n  help: write `x`\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.dev] refs: `main`: not a full git ref\n  \
             rule: a pattern such as `refs/heads/main` or `refs/tags/v*`\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.prod]: unknown key `registri`\n  \
             help: did you mean `registry`?",
        ),
        (
            json!({"prefix": "/Jobs"}),
            "Cargo.toml: [workspace.metadata.jobs] prefix: `/Jobs`: not a valid name\n  rule: parts of lower-case \
             letters and digits with single '.', '_' or '-' between them, joined by '/'",
        ),
        (
            json!({"mirrors": {"docker.io": "https://x/"}}),
            "Cargo.toml: [workspace.metadata.jobs.mirrors] mirror `docker.io=https://x/`: registry `https:`: has a \
             port that is not a number\n  help: give a host such as `registry.example.com:5000`",
        ),
        (
            json!({"targets": {"x": {"cache": "gha"}, "y": {"cache": "s3"}}, "secrets": {"npm_token": "npm_0123456789"}}),
            "Cargo.toml: [workspace.metadata.jobs.targets.x] cache: `gha`: a step that runs a command gets no access to \
             GitHub's own cache\n  help: write cache = \"registry\"\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.y] cache: `s3`: not a place for a cache\n  \
             rule: one of `registry`, `none`\n\
             error: Cargo.toml: [workspace.metadata.jobs.secrets] `npm_token`: not a list of names of jobs\n  \
             rule: the secret itself never stands in a file\n  \
             help: write the jobs that may use it: npm_token = [\"job-a\", \"job-b\"]",
        ),
        (
            json!({"targets": {"x": {"role": "AKIAIOSFODNN7EXAMPLE"}}}),
            "Cargo.toml: [workspace.metadata.jobs.targets.x] role: looks like a secret\n  rule: anyone who has the \
             repository can read Cargo.toml\n  help: remove it, revoke it, and name the role to assume: \
             arn:aws:iam::<account>:role/<name>",
        ),
        (
            json!({"targets": {"x": {"role": "arn:aws:iam::111122223333:role/x", "username": "ghp_0123456789"}}}),
            "Cargo.toml: [workspace.metadata.jobs.targets.x] username: looks like a secret\n  rule: anyone who has the \
             repository can read Cargo.toml\n  help: remove it, revoke it, and name the role to assume: \
             arn:aws:iam::<account>:role/<name>\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.x] username: stands beside a role\n  \
             rule: a role logs in to ECR, a user to any other registry",
        ),
        (
            json!({"targets": {"hub-a": {}, "hub_a": {}}}),
            "Cargo.toml: [workspace.metadata.jobs.targets.hub_a]: has JOBS_PASSWORD_HUB_A as `hub-a` has\n  \
             rule: the password of a target is in a variable of its own\n  help: rename one of them",
        ),
        (
            json!({"targets": {
                "x": {"copies": ["hubb", "x", "y", "hub", "strict"]}, "y": {}, "hub": {"registry": "docker.io"},
                "strict": {"registry": "ghcr.io", "attest": true},
            }}),
            "Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `hubb`: not such a target\n  \
             rule: another target, with a registry and without copies of its own\n  help: did you mean `hub`?\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `x`: not such a target\n  \
             rule: another target, with a registry and without copies of its own\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `y`: not such a target\n  \
             rule: another target, with a registry and without copies of its own\n\
             error: Cargo.toml: [workspace.metadata.jobs.targets.x] copies: `strict`: its `attest` and `sign` are not \
             those of `x`\n  rule: moving tags move everywhere at once, and wait for the same",
        ),
    ] {
        assert_eq!(complaints(jobs), complaint);
    }
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
                 rule: arn:aws:iam::<account of 12 digits>:role/<name>"
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
