//! What is done with `images.json`: the examples of *Hand the images over*, and *Promote*.

use serde_json::{Value, json};

use super::{Reader, text_of};
use crate::cloud::{OWN_PASSWORD, PLAIN_PASSWORD, Programs, path_with_client};
use crate::examples::example;
use crate::harness::{BOTH, Registry, Tree};

/// Jobs that two legs of a run have merged, each with its artifact as it is downloaded.
fn two_legs() -> Reader {
    let reader = Reader::new(Tree::with_jobs(&["job-a", "job-b"]));
    reader.types(&format!("cargo xtask build {}", BOTH.join(" ")));
    for (leg, job) in [("images-plan-0", "job-b"), ("images-merge-0", "job-a")] {
        let kept = format!("mkdir -p target/parts/{leg} && cp target/xtask/images.json target/parts/{leg}/");
        reader.types(&format!("cargo xtask merge {job} && {kept}"));
    }
    reader.types("mv target/parts parts");
    reader
}

fn read(reader: &Reader, path: &str) -> Value {
    serde_json::from_str(&text_of(&reader.tree.path().join(path))).unwrap()
}

/// The names of a value's fields, at every depth.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        other => other.clone(),
    }
}

#[test]
fn images_json_looks_like_this() {
    let reader = two_legs();
    let shown: Value = serde_json::from_str(&example("README.md", "Hand the images over", 0)).unwrap();
    let mut written = read(&reader, "parts/images-merge-0/images.json");
    // The example is of an image that an earlier commit's run has built.
    assert_eq!(written["images"][0]["changed"].take(), json!(true));
    written["images"][0]["changed"] = json!(false);
    assert_eq!(shape(&written), shape(&shown));
}

#[test]
fn the_parts_of_a_run_become_one_file_and_settings_of_what_deploys() {
    let reader = two_legs();
    let commands = example("README.md", "Hand the images over", 1);
    let (download, join) = commands.trim_end().split_once('\n').unwrap();
    // GitHub's client knows these words, and asks for a login next.
    assert_asks_for_a_login(&reader, download);
    reader.types(join);
    reader.types(&example("README.md", "Hand the images over", 2));
    let repository = |job: &str| format!("{}/jobs/{job}", reader.registry.address);
    let digest = |job: &str| reader.registry.digest(&format!("jobs/{job}"), &reader.tree.tag()).unwrap();
    let image = |job: &str| json!({ "name": job, "newName": repository(job), "digest": digest(job) });
    assert_eq!(
        read(&reader, "images/kustomization.yaml"),
        json!({
            "apiVersion": "kustomize.config.k8s.io/v1alpha1",
            "kind": "Component",
            "images": [image("job-a"), image("job-b")],
        })
    );
    let value = |job: &str| json!({ "repository": repository(job), "digest": digest(job) });
    assert_eq!(
        read(&reader, "values.images.yaml"),
        json!({ "images": { "job-a": value("job-a"), "job-b": value("job-b") } })
    );
}

/// The client itself, of which no test has an account.
#[track_caller]
pub fn assert_asks_for_a_login(reader: &Reader, command: &str) {
    let path = path_with_client();
    let nobody = reader.home.0.to_str().unwrap();
    let env = [("PATH", path.as_str()), ("GH_CONFIG_DIR", nobody), ("RUN_ID", "1"), ("GH_TOKEN", "")];
    let output = reader.shell(command, &env).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(4) && said.contains("GH_TOKEN"), "{command}\n{said}");
}

#[test]
fn a_gitops_repository_is_told() {
    let reader = two_legs();
    let steps: Value = yaml_serde::from_str(&example("README.md", "Hand the images over", 3)).unwrap();
    let script = steps[1]["run"].as_str().unwrap();
    // GitHub's client, which sends what it is given.
    let gh = "echo \"$*\" > sent-to\ncat > sent";
    let programs = Programs::new().script("gh", gh);
    reader.types_with(script, &[("PATH", &programs.first())]);
    let sent = read(&reader, "sent");
    assert_eq!(text_of(&reader.tree.path().join("sent-to")), "api repos/OWNER/deploy/dispatches --input -\n");
    assert_eq!(sent["event_type"], "images");
    let jobs = sent["client_payload"]["images"].as_array().unwrap();
    assert_eq!(jobs.iter().map(|job| job["job"].as_str().unwrap()).collect::<Vec<_>>(), ["job-a", "job-b"]);
    assert!(jobs.iter().all(|job| job["digest"].as_str().unwrap().starts_with("sha256:")), "{sent}");
    // README says how many jobs a payload of 64 kB has room for, with a repository of ECR's.
    let host = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    let one = sent["client_payload"]["images"][0].to_string().replace(&reader.registry.address, host);
    let room = 64_000 / (one.len() + 1);
    assert!((200..400).contains(&room), "{room}");
}

#[test]
fn what_is_published_is_promoted() {
    let tree = Tree::with_jobs(&["job-a"]);
    let reader = Reader::new(tree);
    let staging = Registry::with_user("ann", PLAIN_PASSWORD.1);
    let production = Registry::with_user("bob", OWN_PASSWORD.1);
    let target = |name: &str, registry: &Registry, user: &str| {
        format!(
            "[workspace.metadata.jobs.targets.{name}]\nregistry = \"{}\"\nusername = \"{user}\"\nrefs = [\"refs/heads/{name}\"]\n",
            registry.address
        )
    };
    let targets = target("staging", &staging, "ann") + &target("production", &production, "bob");
    reader.tree.write("Cargo.toml", &format!("[workspace]\n{targets}"));
    reader.tree.commit("targets");
    let docker = reader.home.0.join("docker");
    let env = [
        ("JOBS_REGISTRY", ""),
        ("DOCKER_CONFIG", docker.to_str().unwrap()),
        ("JOBS_PASSWORD_STAGING", PLAIN_PASSWORD.0),
        ("JOBS_PASSWORD_PRODUCTION", OWN_PASSWORD.0),
    ];
    let commands = example("README.md", "Promote", 0);
    let (login, promote) = commands.split_once('\n').unwrap();
    reader.types_with(login, &env);
    let staged = [&env[..], &[("JOBS_TARGET", "staging")]].concat();
    reader.types_with(&format!("cargo xtask build {} && cargo xtask merge", BOTH.join(" ")), &staged);
    let said = reader.types_with(promote, &env);
    // The comment says what a dry run prints.
    let shown = promote.lines().next().unwrap().split_once("# ").unwrap().1;
    let dry = said.lines().find(|line| line.starts_with("docker buildx imagetools create ")).unwrap();
    let parts: Vec<&str> = shown.split(" …").flat_map(|part| part.split('…')).map(str::trim).collect();
    assert!(parts.iter().all(|part| dry.contains(part)), "{parts:?}: {dry}");
    assert!(said.contains(&format!("      Copied {}/jobs/job-a:", production.address)), "{said}");
    assert_eq!(production.tags("jobs/job-a").len(), 2);
}
