//! What every workflow of this repository keeps to, beyond what the linters know.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::workflow::{Workflow, metadata, words_after};

/// A rule by its name, and what it has to say about a workflow.
pub struct Rule {
    pub name: &'static str,
    pub complaints: fn(&Workflow) -> Vec<String>,
}

pub const RULES: [Rule; 20] = [
    Rule { name: "pinned-actions", complaints: pinned_actions },
    Rule { name: "no-rights-by-default", complaints: no_rights_by_default },
    Rule { name: "no-expression-in-run", complaints: no_expression_in_run },
    Rule { name: "expressions-in-their-places", complaints: expressions_in_their_places },
    Rule { name: "no-foreign-code-with-rights", complaints: no_foreign_code_with_rights },
    Rule { name: "checkout-keeps-no-credentials", complaints: checkout_keeps_no_credentials },
    Rule { name: "merge-unless-cancelled", complaints: merge_unless_cancelled },
    Rule { name: "no-token-before-the-merge", complaints: no_token_before_the_merge },
    Rule { name: "writes-in-the-environment", complaints: writes_in_the_environment },
    Rule { name: "timeout", complaints: timeout },
    Rule { name: "concurrency", complaints: concurrency },
    Rule { name: "no-registry-in-outputs", complaints: no_registry_in_outputs },
    Rule { name: "no-long-lived-keys", complaints: no_long_lived_keys },
    Rule { name: "no-inherited-secrets", complaints: no_inherited_secrets },
    Rule { name: "no-empty-matrix", complaints: no_empty_matrix },
    Rule { name: "legs-do-not-stop-each-other", complaints: legs_do_not_stop_each_other },
    Rule { name: "legs-name-their-jobs", complaints: legs_name_their_jobs },
    Rule { name: "names-are-not-options", complaints: names_are_not_options },
    Rule { name: "runs-in-the-queue", complaints: runs_in_the_queue },
    Rule { name: "one-check", complaints: one_check },
];

const ACTIONS: [&str; 5] = [
    "actions/attest",
    "actions/checkout",
    "actions/download-artifact",
    "actions/upload-artifact",
    "sigstore/cosign-installer",
];

fn pinned_actions(workflow: &Workflow) -> Vec<String> {
    let lines = workflow.text.lines().filter_map(|line| line.split_once("uses: "));
    let pinned = |used: &str| -> Option<bool> {
        let (action, pin) = used.split_once('@')?;
        let (commit, version) = pin.split_once(" # v")?;
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(ACTIONS.contains(&action) && is_commit && version.split('.').count() == 3)
    };
    lines.filter(|(_, used)| pinned(used) != Some(true)).map(|(_, used)| used.to_owned()).collect()
}

fn no_rights_by_default(workflow: &Workflow) -> Vec<String> {
    let top = workflow.data.get("permissions").is_none_or(|rights| rights != &serde_json::json!({}));
    let jobs = workflow.jobs().filter(|(_, job)| !job["permissions"].is_object()).map(|(name, _)| name.to_owned());
    top.then(|| "top level".to_owned()).into_iter().chain(jobs).collect()
}

fn no_expression_in_run(workflow: &Workflow) -> Vec<String> {
    let runs = workflow.steps().filter_map(|(job, step)| Some((job, step["run"].as_str()?)));
    runs.filter(|(_, run)| run.contains("${{")).map(|(job, run)| format!("{job}: {run}")).collect()
}

/// Where GitHub evaluates an expression and no shell sees it. `name` and `outputs` are shown or handed on.
const PLACES: [&str; 10] =
    ["environment", "env", "if", "with", "strategy", "runs-on", "timeout-minutes", "name", "outputs", "concurrency"];

fn expressions_in_their_places(workflow: &Workflow) -> Vec<String> {
    let in_place = |keys: &[String]| keys.iter().any(|key| PLACES.contains(&key.as_str()));
    let texts = workflow.texts().into_iter().filter(|(keys, text)| text.contains("${{") && !in_place(keys));
    texts.map(|(keys, text)| format!("{}: {text}", keys.join("."))).collect()
}

/// Both events run with the rights of the default branch on what a stranger wrote.
fn no_foreign_code_with_rights(workflow: &Workflow) -> Vec<String> {
    let events = ["pull_request_target", "workflow_run"].into_iter();
    events.filter(|event| workflow.has_trigger(event)).map(str::to_owned).collect()
}

fn checkout_keeps_no_credentials(workflow: &Workflow) -> Vec<String> {
    let is_checkout = |step: &Value| step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout@"));
    let checkouts = workflow.steps().filter(|(_, step)| is_checkout(step));
    let keeps = |step: &Value| step["with"]["persist-credentials"] != Value::Bool(false);
    checkouts.filter(|(_, step)| keeps(step)).map(|(job, _)| job.to_owned()).collect()
}

/// A job's condition, without blanks that mean nothing.
fn condition(job: &Value) -> String {
    job["if"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The jobs after a build run even if a leg failed, as `merge` refuses what is not all there; but not when cancelled.
fn merge_unless_cancelled(workflow: &Workflow) -> Vec<String> {
    let always = workflow.jobs().filter(|(name, job)| *name != "images" && condition(job).contains("always()"));
    let merge =
        workflow.jobs().filter(|(name, job)| *name == "merge" && !condition(job).starts_with("!cancelled() && "));
    always.chain(merge).map(|(name, job)| format!("{name}: {}", condition(job))).collect()
}

/// The events of what is not merged yet.
pub const PROPOSALS: [&str; 2] = ["pull_request", "merge_group"];

/// A job that may ask for a token either excludes what is not merged yet itself, or depends on what such a job puts
/// out: nothing, if it was skipped; or it logs in to read alone.
fn no_token_before_the_merge(workflow: &Workflow) -> Vec<String> {
    let excluded = PROPOSALS.into_iter().filter(|event| workflow.has_trigger(event));
    let excluded: String = excluded.map(|event| format!("github.event_name != '{event}' && ")).collect();
    let excludes = |job: &Value| {
        let condition = condition(job) + " && ";
        condition.starts_with(&excluded) && !condition.contains("||")
    };
    let excluding: Vec<&str> = workflow.jobs().filter(|(_, job)| excludes(job)).map(|(name, _)| name).collect();
    let depends = |job: &Value| {
        let condition = condition(job);
        let wants =
            |name: &&str| condition.contains(&format!("needs.{name}.outputs.")) && condition.ends_with(" == 'true'");
        !condition.contains("||") && excluding.iter().any(wants)
    };
    let with_token = workflow.jobs().filter(|(_, job)| job["permissions"].get("id-token").is_some());
    with_token
        .filter(|(name, job)| !excludes(job) && !depends(job) && !only_reads(workflow, name))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether a job logs in, and to read alone.
fn only_reads(workflow: &Workflow, name: &str) -> bool {
    let runs = workflow.steps().filter(|(job, _)| *job == name).filter_map(|(_, step)| step["run"].as_str());
    let logins: Vec<&str> = runs.filter(|run| run.contains("xtask login")).collect();
    !logins.is_empty() && logins.iter().all(|run| run.contains("xtask login --read"))
}

/// Whoever may ask for a token to push with, and knows the target, is in the target's environment.
fn writes_in_the_environment(workflow: &Workflow) -> Vec<String> {
    let writes = |job: &Value| job["permissions"].get("id-token").is_some() && job.get("needs").is_some();
    let outside = |job: &Value| job["environment"] != "${{ matrix.environment }}";
    let jobs = workflow.jobs().filter(|(name, job)| writes(job) && outside(job) && !only_reads(workflow, name));
    jobs.map(|(name, _)| name.to_owned()).collect()
}

/// A number of minutes, or the one of a planned leg.
fn timeout(workflow: &Workflow) -> Vec<String> {
    let planned = |job: &Value| job["strategy"]["matrix"].is_string();
    let ends = |job: &Value| {
        let minutes = &job["timeout-minutes"];
        minutes.is_u64() || planned(job) && minutes == "${{ matrix.minutes }}"
    };
    let forever = workflow.jobs().filter(|(_, job)| !ends(job));
    forever.map(|(name, _)| name.to_owned()).collect()
}

const ONLY_PULL_REQUESTS: &str = "${{ github.event_name == 'pull_request' }}";
/// A pull request shares a group with its other runs, any other run with none: it is neither cancelled nor dropped.
const OWN_GROUP: &str = "${{ github.event_name == 'pull_request' && github.ref || github.run_id }}";

fn concurrency(workflow: &Workflow) -> Vec<String> {
    let concurrency = &workflow.data["concurrency"];
    let group = concurrency["group"].as_str().is_some_and(|group| group.ends_with(OWN_GROUP));
    let cancels = concurrency["cancel-in-progress"] == ONLY_PULL_REQUESTS;
    if group && cancels { Vec::new() } else { vec![concurrency.to_string()] }
}

/// GitHub drops an output that holds a masked value, without a failure.
fn no_registry_in_outputs(workflow: &Workflow) -> Vec<String> {
    let outputs = workflow.texts().into_iter().filter(|(keys, _)| keys.iter().any(|key| key == "outputs"));
    let told = |text: &str| {
        let names = words_after(text, "outputs.").any(|name| ["registry", "role"].contains(&name));
        names || text.contains("amazonaws.com") || text.contains("arn:aws")
    };
    outputs.filter(|(_, text)| told(text)).map(|(keys, text)| format!("{}: {text}", keys.join("."))).collect()
}

/// AWS is reached by identity; what else is secret is a secret of a job, which `Cargo.toml` allows, or the password of
/// another registry, which `login` is given.
fn no_long_lived_keys(workflow: &Workflow) -> Vec<String> {
    let keys = ["aws_access_key_id", "aws_secret_access_key", "aws-access-key-id", "aws-secret-access-key"];
    let text = workflow.text.to_lowercase();
    let found = keys.into_iter().filter(|key| text.contains(key)).map(str::to_owned);
    let metadata = metadata();
    let names = metadata["metadata"]["jobs"]["secrets"].as_object().into_iter().flatten();
    let allowed = names.map(|(name, _)| name.to_uppercase().replace('-', "_")).collect();
    found.chain(other_secrets(workflow, &allowed)).collect()
}

/// The builds that are not passed the secrets whose variables these are, and all else that is taken of `secrets`.
pub fn other_secrets(workflow: &Workflow, allowed: &BTreeSet<String>) -> Vec<String> {
    let (mut complaints, mut rest) = (Vec::new(), workflow.data.clone());
    for (job, content) in rest["jobs"].as_object_mut().unwrap() {
        for step in content["steps"].as_array_mut().into_iter().flatten() {
            if is_login(step) {
                let env = step["env"].as_object_mut().into_iter().flatten();
                env.filter(|(name, value)| name.starts_with("JOBS_PASSWORD") && is_secret(value)).for_each(taken);
            }
            let builds = is_build(step);
            for name in allowed.iter().filter(|_| builds) {
                let line = format!("${{{{ secrets.{name} }}}}");
                if step["env"][name] == line.as_str() {
                    taken((name, &mut step["env"][name]));
                } else {
                    let step = step["name"].as_str().unwrap_or_default();
                    complaints.push(format!("{job}: the step `{step}` needs in its `env`: {name}: {line}"));
                }
            }
        }
    }
    let takes = |text: &str| text.to_lowercase().split(|c| !is_word(c)).any(|word| word == "secrets");
    let others = Workflow { data: rest, ..workflow.clone() }.texts().into_iter().filter(|(_, text)| takes(text));
    complaints.into_iter().chain(others.map(|(keys, text)| format!("{}: {text}", keys.join(".")))).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a value is one secret, and nothing besides.
fn is_secret(value: &Value) -> bool {
    let name = value.as_str().and_then(|text| text.strip_prefix("${{ secrets.")?.strip_suffix(" }}"));
    name.is_some_and(|name| name.chars().all(is_word))
}

/// Takes out an entry that may stand where it is.
fn taken((_, value): (&String, &mut Value)) {
    value.take();
}

fn is_login(step: &Value) -> bool {
    step["run"].as_str().is_some_and(|run| run.contains("xtask login"))
}

fn is_build(step: &Value) -> bool {
    step["run"].as_str().is_some_and(|run| run.contains("xtask build "))
}

fn no_inherited_secrets(workflow: &Workflow) -> Vec<String> {
    workflow.jobs().filter(|(_, job)| job.get("secrets").is_some()).map(|(name, _)| name.to_owned()).collect()
}

/// The jobs whose matrix is put out by another, with that text.
fn planned_matrices(workflow: &Workflow) -> impl Iterator<Item = (&str, &Value, &str)> {
    workflow.jobs().filter_map(|(name, job)| Some((name, job, job["strategy"]["matrix"].as_str()?)))
}

/// An empty matrix is an error, so the output that tells whether it is empty has to be asked first.
fn no_empty_matrix(workflow: &Workflow) -> Vec<String> {
    let guarded = |job: &Value, matrix: &str| {
        let from = words_after(matrix, "needs.").next().unwrap_or_default();
        let guard = match from.split_once(".outputs.") {
            Some((name, "matrix")) => format!("needs.{name}.outputs.any == 'true'"),
            Some((name, output)) => format!("needs.{name}.outputs.any-{output} == 'true'"),
            None => return false,
        };
        condition(job).contains(&guard)
    };
    let open = planned_matrices(workflow).filter(|(_, job, matrix)| !guarded(job, matrix));
    open.map(|(name, ..)| name.to_owned()).collect()
}

fn legs_do_not_stop_each_other(workflow: &Workflow) -> Vec<String> {
    let stopping = planned_matrices(workflow).filter(|(_, job, _)| job["strategy"]["fail-fast"] != Value::Bool(false));
    stopping.map(|(name, ..)| name.to_owned()).collect()
}

/// A leg has no slice where one of its jobs has no key. Nothing but their names keeps it from taking all jobs then.
fn legs_name_their_jobs(workflow: &Workflow) -> Vec<String> {
    let planned: Vec<&str> = planned_matrices(workflow).map(|(name, ..)| name).collect();
    let works = |run: &str| ["xtask build", "xtask merge"].iter().any(|command| run.contains(command));
    let builds =
        workflow.steps().filter(|(job, step)| planned.contains(job) && step["run"].as_str().is_some_and(works));
    let names = |step: &Value| {
        step["env"]["NAMES"] == "${{ join(matrix.jobs, ' ') }}"
            && step["run"].as_str().is_some_and(|run| run.trim_end().ends_with(" $NAMES"))
    };
    builds.filter(|(_, step)| !names(step)).map(|(job, _)| job.to_owned()).collect()
}

/// What a person types to start a run is never an option, nor is a folder's name.
fn names_are_not_options(workflow: &Workflow) -> Vec<String> {
    let takes =
        |step: &Value| step["run"].as_str().is_some_and(|run| run.contains("$NAMES") && !run.contains(" -- $NAMES"));
    workflow.steps().filter(|(_, step)| takes(step)).map(|(job, _)| job.to_owned()).collect()
}

/// A merge queue waits for ever for a check that does not run in it.
fn runs_in_the_queue(workflow: &Workflow) -> Vec<String> {
    if workflow.has_trigger("pull_request") == workflow.has_trigger("merge_group") {
        return Vec::new();
    }
    vec![workflow.data["on"].to_string()]
}

/// The check that a branch protection requires: it waits for all, always runs, and fails on failure and cancellation.
fn one_check(workflow: &Workflow) -> Vec<String> {
    let Some(check) = workflow.data["jobs"].get("images") else { return Vec::new() };
    let waits = |name: &str| check["needs"].as_array().is_some_and(|needs| needs.iter().any(|need| need == name));
    let mut complaints: Vec<String> = workflow
        .jobs()
        .filter(|(name, _)| *name != "images" && !waits(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    let red = "contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled')";
    let fails = check["steps"].as_array().is_some_and(|steps| steps.len() == 1)
        && check["steps"][0]["if"] == red
        && check["steps"][0]["run"] == "exit 1";
    if condition(check) != "always()" || !fails {
        complaints.push("images".to_owned());
    }
    complaints
}
