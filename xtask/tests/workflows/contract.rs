//! The contract between the workflows and the xtask: every rule kept, every rule alive, and both sides at one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cloud::path_with_client;
use crate::harness::{BOTH, Registry, Tree};
use crate::rules::{RULES, other_secrets};
use crate::workflow::{self, Workflow, images, own_runners, root, runners, words_after};

fn workflows() -> Vec<Workflow> {
    workflow::paths().iter().map(|path| Workflow::read(path)).collect()
}

#[test]
fn the_workflows_keep_every_rule() {
    let files: Vec<String> = workflows().iter().map(|workflow| workflow.file.clone()).collect();
    assert_eq!(files, ["ci.yml", "images.yml"]);
    for workflow in workflows() {
        for rule in &RULES {
            let complaints = (rule.complaints)(&workflow);
            assert!(complaints.is_empty(), "{}: {}: {complaints:#?}", workflow.file, rule.name);
        }
    }
}

/// A rule, and a change of `images.yml` that breaks it.
const BREAKAGES: [(&str, &str, &str); 38] = [
    ("pinned-actions", "@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2", "@v4"),
    ("pinned-actions", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7"),
    ("pinned-actions", " # v7.0.0", ""),
    ("pinned-actions", "uses: actions/checkout@", "uses: acme/checkout@"),
    ("no-rights-by-default", "\npermissions: {}\n", "\n"),
    ("no-rights-by-default", "\npermissions: {}\n", "\npermissions: read-all\n"),
    ("no-rights-by-default", "    permissions: {}\n", ""),
    ("no-expression-in-run", "--arch \"$ARCH\"", "--arch \"${{ matrix.arch }}\""),
    (
        "expressions-in-their-places",
        "    timeout-minutes: 15\n",
        "    timeout-minutes: 15\n    defaults: { run: { shell: \"${{ inputs.jobs }}\" } }\n",
    ),
    ("no-foreign-code-with-rights", "  pull_request:\n", "  pull_request_target:\n"),
    (
        "checkout-keeps-no-credentials",
        "          persist-credentials: false\n          fetch-depth: 0",
        "          fetch-depth: 0",
    ),
    ("checkout-keeps-no-credentials", "persist-credentials: false", "persist-credentials: true"),
    ("merge-unless-cancelled", "\"!cancelled() && needs.plan", "\"always() && needs.plan"),
    ("merge-unless-cancelled", "\"!cancelled() && needs.plan", "\"needs.plan"),
    ("no-token-before-the-merge", "github.event_name != 'pull_request' && github", "github"),
    ("no-token-before-the-merge", " && github.event_name != 'merge_group'", ""),
    ("no-token-before-the-merge", "    permissions: {}\n    steps", "    permissions: { id-token: write }\n    steps"),
    (
        "no-token-before-the-merge",
        "&& needs.plan.outputs.any == 'true'",
        "&& needs.plan.result == 'skipped' || needs.plan.outputs.any == 'true'",
    ),
    ("writes-in-the-environment", "    environment: ${{ matrix.environment }}\n", ""),
    ("timeout", "    timeout-minutes: 15\n", ""),
    ("timeout", "    timeout-minutes: 15\n", "    timeout-minutes: ${{ matrix.minutes }}\n"),
    ("concurrency", "  cancel-in-progress: ${{ github.event_name == 'pull_request' }}", "  cancel-in-progress: true"),
    ("concurrency", " && github.ref || github.run_id }}", " && github.ref || github.ref_name }}"),
    (
        "no-registry-in-outputs",
        "      any: ${{ steps.plan.outputs.any }}",
        "      any: ${{ steps.config.outputs.role }}",
    ),
    ("no-long-lived-keys", "          ARCH: ${{ matrix.arch }}", "          AWS_ACCESS_KEY_ID: ${{ vars.KEY }}"),
    ("no-long-lived-keys", "          ARCH: ${{ matrix.arch }}", "          ARCH: ${{ secrets.ARCH }}"),
    ("no-long-lived-keys", "          ARCH: ${{ matrix.arch }}", "          ARCH: ${{ secrets['ARCH'] }}"),
    ("no-long-lived-keys", "          ARCH: ${{ matrix.arch }}", "          ARCH: ${{ toJSON(secrets) }}"),
    ("no-inherited-secrets", "    timeout-minutes: 15\n", "    timeout-minutes: 15\n    secrets: inherit\n"),
    ("no-empty-matrix", " && needs.plan.outputs.any == 'true'", ""),
    ("legs-do-not-stop-each-other", "      fail-fast: false\n", ""),
    ("legs-name-their-jobs", "build --arch \"$ARCH\" -- $NAMES", "build --arch \"$ARCH\""),
    ("legs-name-their-jobs", "xtask merge -- $NAMES", "xtask merge"),
    ("legs-name-their-jobs", "${{ join(matrix.jobs, ' ') }}", "${{ inputs.jobs }}"),
    ("names-are-not-options", "--format matrix -- $NAMES", "--format matrix $NAMES"),
    ("runs-in-the-queue", "  merge_group: # the queue waits for the required check\n", ""),
    ("one-check", "needs: [discover, check, plan, build, merge]", "needs: [discover, check, plan, build]"),
    ("one-check", " || contains(needs.*.result, 'cancelled')", ""),
];

#[test]
fn every_rule_finds_what_breaks_it() {
    let images = images();
    for (name, from, to) in BREAKAGES {
        let broken = Workflow::parse("images.yml", &workflow::replaced(&images.text, from, to));
        let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
        assert!(!(rule.complaints)(&broken).is_empty(), "{name} lets this pass: {to}");
    }
    let broken: BTreeSet<&str> = BREAKAGES.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(broken, RULES.iter().map(|rule| rule.name).collect(), "every rule is shown to be alive");
}

#[test]
fn builds_are_passed_the_secrets_that_are_allowed_and_no_others() {
    let (images, allowed) = (images(), ["NPM_TOKEN".to_owned()].into());
    let passing = |line: &str, at: &str| {
        let text = workflow::replaced(&images.text, at, &format!("{line}\n{at}"));
        other_secrets(&Workflow::parse("images.yml", &text), &allowed)
    };
    let (line, at) = ("          NPM_TOKEN: ${{ secrets.NPM_TOKEN }}", "          ARCH: ${{ matrix.arch }}");
    assert_eq!(passing(line, at), [""; 0]);
    let missing = "the step `Build` needs in its `env`: NPM_TOKEN: ${{ secrets.NPM_TOKEN }}";
    assert_eq!(other_secrets(&images, &allowed), ["build", "check"].map(|job| format!("{job}: {missing}")));
    // A step that logs in may be given the registry's password, and nothing else.
    let login = |line: &str| {
        let at = "        run: target/debug/xtask login\n";
        let text = workflow::replaced(&images.text, at, &format!("        env: {{ {line} }}\n{at}"));
        other_secrets(&Workflow::parse("images.yml", &text), &BTreeSet::new())
    };
    assert_eq!(login("JOBS_PASSWORD_HUB: \"${{ secrets.HUB }}\""), [""; 0]);
    for line in ["HUB: \"${{ secrets.HUB }}\"", "JOBS_PASSWORD: \"${{ toJSON(secrets) }}\""] {
        assert!(!login(line).is_empty(), "{line}");
    }
    for (line, at) in [
        ("          NPM_TOKEN: ${{ secrets.OTHER }}", at),
        ("          NPM_TOKEN: ${{ secrets.NPM_TOKEN }}\n          OTHER: ${{ secrets.OTHER }}", at),
        (line, "          JOBS_FORCE: ${{ inputs.force }}"),
        ("  NPM_TOKEN: ${{ secrets.NPM_TOKEN }}", "  # A commit's tag never changes."),
    ] {
        assert!(!passing(line, at).is_empty(), "{line}");
    }
}

#[test]
fn the_pipeline_runs_when_it_should() {
    let images = images();
    expect_test::expect![[r#"
        {
          "merge_group": null,
          "pull_request": null,
          "push": {
            "branches": [
              "master",
              "main"
            ],
            "tags": [
              "v*"
            ]
          },
          "schedule": [
            {
              "cron": "23 3 * * *"
            }
          ],
          "workflow_dispatch": {
            "inputs": {
              "force": {
                "description": "Rebuild them even if their images exist, under the tag forced-<run>",
                "type": "boolean"
              },
              "jobs": {
                "description": "Names of jobs, with blanks between them; all of them if empty",
                "type": "string"
              }
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&images.data["on"]).unwrap());
}

#[test]
fn the_runners_are_those_of_the_configuration() {
    let runners = runners();
    assert_eq!(own_runners(&images()), [runners["amd64"].clone()]);
    // This repository is checked on every architecture.
    let ci = Workflow::read(&root().join(".github/workflows/ci.yml"));
    let checked = ci.data["jobs"]["test"]["strategy"]["matrix"]["runner"].as_array().unwrap();
    assert!(checked.iter().eq(runners.values()), "{checked:?}");
}

const XTASK: &str = "target/debug/xtask ";
/// What runs besides the xtask: what makes it, what mends what an artifact loses, and the check's red light.
const OTHERS: [&str; 3] = ["cargo build --package xtask --locked", "chmod +x target/debug/xtask", "exit 1"];

/// The xtask's arguments in a step; `None` for a step that runs something else.
fn arguments(step: &Value) -> Option<Vec<String>> {
    let run = step["run"].as_str()?;
    let call = run.lines().find_map(|line| line.strip_prefix(XTASK))?;
    Some(call.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect())
}

#[test]
fn every_step_is_one_call_of_the_xtask_with_flags_that_it_knows() {
    let tree = Tree::with_jobs(&["a"]);
    for (job, step) in images().steps().filter(|(_, step)| step.get("run").is_some()) {
        let run = step["run"].as_str().unwrap();
        let lines = run.lines().filter(|line| !line.starts_with("# shellcheck disable=")).count();
        assert_eq!(lines, 1, "{job}: {run}");
        let Some(arguments) = arguments(step) else {
            assert!(OTHERS.contains(&run), "{job}: {run}");
            continue;
        };
        let help = tree.run(&[&arguments[0], "--help"]).ended(0).stdout;
        // Lines are broken to fit.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let env = step["env"].as_object().cloned().unwrap_or_default();
        let is_password = |name: &str| arguments[0] == "login" && name.starts_with("JOBS_PASSWORD");
        for name in env.keys().filter(|name| name.starts_with("JOBS_") && !is_password(name)) {
            assert!(help.contains(&format!("[env: {name}]")), "{job}: `{}` does not read {name}", arguments[0]);
        }
        // Flags also come from variables, as words of their values.
        let values: Vec<String> = env.values().map(Value::to_string).collect();
        let words = values.iter().flat_map(|value| words_after(value, "--")).map(|word| format!("--{word}"));
        let flags = arguments.iter().map(|word| word.split('=').next().unwrap_or_default().to_owned());
        for flag in flags.chain(words).filter(|word| word.starts_with("--")) {
            assert!(help.contains(&flag), "{job}: `{}` knows no {flag}", arguments[0]);
        }
    }
    for (job, step) in Workflow::read(&root().join(".github/workflows/ci.yml")).steps() {
        let run = step["run"].as_str().unwrap_or("cargo");
        assert!(run.starts_with("cargo ") && run.lines().count() == 1 || run == "cargo", "{job}: {run}");
    }
}

/// What the actions put out that are used, by their own documentation.
const PUT_OUT: [(&str, &str); 1] = [("actions/attest", "bundle-path")];

/// A target that makes use of all that the steps of `images.yml` can do.
const TARGET: &str = "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/*\"]\nattest = true\n";

/// What a step of `images.yml` writes: its xtask is run, in a tree with a job.
fn written(step: &Value) -> BTreeMap<String, String> {
    if let Some(action) = step["uses"].as_str() {
        let outputs = PUT_OUT.into_iter().filter(|(name, _)| action.starts_with(&format!("{name}@")));
        return outputs.map(|(_, output)| (output.to_owned(), String::new())).collect();
    }
    let (tree, registry) = (Tree::with_jobs(&["a"]), Registry::start());
    tree.git(&["remote", "add", "origin", "https://github.com/acme/jobs"]);
    tree.write("Cargo.toml", TARGET);
    tree.commit("a target");
    let path = path_with_client();
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("PATH", &path)];
    let outputs = tree.path().join("target/outputs");
    std::fs::create_dir_all(outputs.parent().unwrap()).unwrap();
    let arguments = arguments(step).expect("a step with outputs calls the xtask");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.contains('$')).collect();
    if arguments[0] == "merge" {
        tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    }
    tree.run_with(&arguments, &[&env[..], &[("GITHUB_OUTPUT", outputs.to_str().unwrap())]].concat()).ended(0);
    let text = std::fs::read_to_string(outputs).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The keys of the entries of a matrix that the xtask writes.
fn keys(matrix: &str) -> BTreeSet<String> {
    let matrix: Value = serde_json::from_str(matrix).unwrap();
    matrix["include"][0].as_object().unwrap().keys().cloned().collect()
}

/// `job.outputs.name` as (`job`, `name`), for every such use after a prefix.
fn used(text: &str, prefix: &str) -> Vec<(String, String)> {
    let uses = words_after(text, prefix).filter_map(|word| word.split_once(".outputs."));
    uses.map(|(of, name)| (of.to_owned(), name.to_owned())).collect()
}

#[test]
fn the_outputs_that_are_used_are_those_that_are_written() {
    let images = images();
    let mut used_of_jobs: BTreeSet<(String, String)> = BTreeSet::new();
    for (name, job) in images.jobs() {
        let text = job.to_string();
        for (step, output) in used(&text, "steps.") {
            let steps = job["steps"].as_array().unwrap();
            let step =
                steps.iter().find(|found| found["id"] == step.as_str()).unwrap_or_else(|| panic!("{name}: {step}"));
            assert!(written(step).contains_key(&output), "{name}: {} writes no output `{output}`", step["run"]);
        }
        used_of_jobs.extend(used(&text, "needs."));
    }
    let declared: BTreeSet<(String, String)> = images
        .jobs()
        .flat_map(|(name, job)| job["outputs"].as_object().into_iter().flatten().map(move |(key, _)| (name, key)))
        .map(|(name, key)| (name.to_owned(), key.clone()))
        .collect();
    assert_eq!(used_of_jobs, declared, "what jobs use of each other, and what they hand on");
}

#[test]
fn the_legs_hold_what_the_jobs_ask_of_them() {
    let images = images();
    let plan =
        images.data["jobs"]["plan"]["steps"].as_array().unwrap().iter().find(|step| step["id"] == "plan").unwrap();
    let outputs = written(plan);
    for (name, job) in images.jobs() {
        let Some(matrix) = job["strategy"]["matrix"].as_str() else { continue };
        let (_, output) = used(matrix, "needs.").remove(0);
        let keys = keys(&outputs[&output]);
        for key in words_after(&job.to_string(), "matrix.") {
            assert!(keys.contains(key), "{name}: no `{key}` among {keys:?}");
        }
    }
}
