//! The ways in which the pipeline runs: pushes that change all, one and no job, a pull request, a merge queue, a broken
//! job, a tag, a forced rebuild, a target with attestations, a job with a secret.

use serde_json::{Value, json};

use crate::act::Act;
use crate::harness::DOCKERFILE;
use crate::workflow::replaced;

/// The legs that are there, if all of them ended well.
#[track_caller]
fn built<'a>(legs: &std::collections::BTreeMap<&'a str, &str>) -> Vec<&'a str> {
    assert!(legs.values().all(|result| *result == "success"), "{legs:?}");
    legs.keys().copied().collect()
}

#[test]
fn a_push_builds_what_it_changes_and_tags_every_job() {
    let act = Act::with_jobs(&["hello", "world"]);
    let first = act.run_push().checked("success");
    assert_eq!(first.jobs(), ["build", "images", "merge", "plan"]);
    let legs = first.legs("build", "Build");
    assert_eq!(built(&legs), ["hello (amd64)", "hello (arm64)", "world (amd64)", "world (arm64)"], "{}", first.said());
    // Once for each job that works with the registry: the plan, four legs, the merge.
    assert_eq!(act.issuer.asked.lock().unwrap().len(), 6);
    let handed_over =
        |of: [(&str, bool); 2]| assert_eq!(act.handed_over(), of.map(|(job, new)| (job.to_owned(), new)).into());
    handed_over([("hello", true), ("world", true)]);
    let first_world = act.images("jobs/world", &act.tree.tag());
    assert_eq!(act.digest("jobs/world", "latest"), act.digest("jobs/world", &act.tree.tag()));
    // The engine was made to hold what comes with an image: two images, and the provenance of each.
    assert_eq!(first_world.as_array().unwrap().len(), 4, "{first_world}");
    let verified = act.xtask(&["verify"], &[]).ended(0).stdout;
    assert_eq!(verified.lines().count(), 2, "{verified}");

    act.tree.write("jobs/hello/Dockerfile", &DOCKERFILE.replace("nobody", "somebody"));
    act.tree.commit("change one job");
    act.push();
    let second = act.run_push().checked("success");
    assert_eq!(built(&second.legs("build", "Build")), ["hello (amd64)", "hello (arm64)"], "{}", second.said());
    handed_over([("hello", true), ("world", false)]);
    let second_hello = act.images("jobs/hello", &act.tree.tag());
    assert_eq!(act.images("jobs/world", &act.tree.tag()), first_world);
    act.xtask(&["verify"], &[]).ended(0);

    act.tree.write("README.md", "What no job can see.\n");
    act.tree.commit("change no job");
    act.push();
    let third = act.run_push().checked("success");
    assert_eq!(third.jobs(), ["images", "plan"], "{}", third.said());
    assert_eq!(act.images("jobs/hello", &act.tree.tag()), second_hello);
    assert_eq!(act.digest("jobs/hello", "latest"), act.digest("jobs/hello", &act.tree.tag()));
    act.xtask(&["verify"], &[]).ended(0);
}

#[test]
fn a_pull_request_builds_what_it_changes_and_publishes_nothing() {
    let act = Act::with_jobs(&["hello", "world"]);
    act.tree.git(&["switch", "--quiet", "--create", "change"]);
    act.tree.write("jobs/world/Dockerfile", &DOCKERFILE.replace("nobody", "somebody"));
    act.tree.commit("change one job");
    // A tag of the name by which git knows the base, at the change.
    act.tree.git(&["tag", "origin/main"]);
    let (base, head) = (act.tree.git(&["rev-parse", "main"]), act.tree.head());
    let request = json!({ "number": 7, "pull_request": {
        "number": 7, "head": { "ref": "change", "sha": head }, "base": { "ref": "main", "sha": base },
    } });
    only_builds_world(&act, "pull_request", &request);
}

#[test]
fn a_merge_queue_builds_what_it_changes_and_publishes_nothing() {
    let act = Act::with_jobs(&["hello", "world"]);
    let base = act.tree.head();
    act.tree.write("jobs/world/Dockerfile", &DOCKERFILE.replace("nobody", "somebody"));
    act.tree.commit("change one job");
    let head = act.tree.head();
    let queue = json!({ "action": "checks_requested", "merge_group": {
        "base_ref": "refs/heads/main", "base_sha": base,
        "head_ref": format!("refs/heads/gh-readonly-queue/main/pr-7-{base}"), "head_sha": head,
    } });
    only_builds_world(&act, "merge_group", &queue);
}

#[track_caller]
fn only_builds_world(act: &Act, event: &str, payload: &Value) {
    let run = act.run(event, payload).checked("success");
    assert_eq!(run.jobs(), ["check", "discover", "images"]);
    assert_eq!(built(&run.legs("check", "Build")), ["world (amd64)", "world (arm64)"], "{}", run.said());
    assert!(!run.steps().contains("Log in to the registry"), "{:?}", run.steps());
    assert_eq!(*act.issuer.asked.lock().unwrap(), Vec::<String>::new());
    assert_eq!(act.ecr.tags("jobs/world"), [""; 0]);
}

#[test]
fn a_forced_run_rebuilds_the_jobs_it_names_under_a_tag_of_its_own() {
    let act = Act::with_jobs(&["hello", "world"]);
    act.run_push().checked("success");
    let (tag, first) = (act.tree.tag(), act.digest("jobs/world", &act.tree.tag()).unwrap());
    let inputs = json!({ "jobs": "world", "force": "true" });
    let run = act.run("workflow_dispatch", &json!({ "ref": "refs/heads/main", "inputs": inputs })).checked("success");
    assert_eq!(built(&run.legs("build", "Build")), ["world (amd64)", "world (arm64)"], "{}", run.said());
    assert!(act.digest("jobs/world", "forced-1").is_some_and(|forced| forced != first), "{}", run.said());
    assert_eq!(act.digest("jobs/world", &tag), Some(first));
    assert_eq!(act.digest("jobs/hello", "forced-1"), None);
}

#[test]
fn legs_are_shared_where_there_would_be_too_many() {
    let act = Act::with_jobs(&["hello", "small", "world"]);
    let manifest = std::fs::read_to_string(act.tree.path().join("Cargo.toml")).unwrap();
    act.tree.write("Cargo.toml", &replaced(&manifest, "prefix = \"jobs\"", "prefix = \"jobs\"\nmax-legs = 2"));
    act.tree.commit("two legs");
    act.push();
    let run = act.run_push().checked("success");
    assert_eq!(
        built(&run.legs("build", "Build")),
        ["hello to world (amd64)", "hello to world (arm64)"],
        "{}",
        run.said()
    );
    assert_eq!(act.xtask(&["verify"], &[]).ended(0).stdout.lines().count(), 3);
}

#[test]
fn a_broken_job_turns_the_check_red_and_stops_no_other() {
    let act = Act::with_jobs(&["good"]);
    let broken = "FROM busybox:1.37\nRUN echo '##[set-output name=any]x'; echo '::add-mask::good'; exit 3\n";
    act.tree.write("jobs/broken/Dockerfile", broken);
    act.make_repositories("broken");
    act.tree.commit("break a job");
    act.push();
    let run = act.run_push().checked("failure");
    let legs = run.legs("build", "Build");
    let ends: Vec<(&str, &str)> = legs.into_iter().collect();
    let (bad, good) = ("failure", "success");
    let expected = [("broken (amd64)", bad), ("broken (arm64)", bad), ("good (amd64)", good), ("good (arm64)", good)];
    assert_eq!(ends, expected, "{}", run.said());
    assert!(act.digest("jobs/good", &act.tree.tag()).is_some(), "{}", run.said());
    assert_eq!(act.digest("jobs/broken", &act.tree.tag()), None);
    let on_the_line = |arch: &str| {
        format!("::error file=jobs/broken/Dockerfile,line=2,title=jobs/broken::the build for {arch} failed")
    };
    for arch in ["amd64", "arm64"] {
        let mut commands = run.commands().into_iter();
        assert!(commands.any(|command| command.starts_with(&on_the_line(arch))), "{arch}: {}", run.said());
    }
    // What a build prints is no command of the workflow's.
    let foreign = |command: &&str| command.starts_with("::add-mask") || command.starts_with("##[");
    assert_eq!(run.commands().into_iter().find(foreign), None);
}

#[test]
fn a_tag_is_published_under_its_name_where_releases_go() {
    let act = Act::with_jobs(&["hello"]);
    act.tree.git(&["tag", "v1.2.3"]);
    let run = act.run("push", &json!({ "ref": "refs/tags/v1.2.3" })).checked("success");
    assert_eq!(built(&run.legs("build", "Build")), ["hello (amd64)", "hello (arm64)"], "{}", run.said());
    assert!(act.digest("releases/hello", "v1.2.3").is_some(), "{}", run.said());
    assert_eq!(act.digest("jobs/hello", &act.tree.tag()), None);
    act.xtask(&["verify"], &[("GITHUB_REF", "refs/tags/v1.2.3")]).ended(0);
    // What no target names is built for nobody, unless somebody asks for it.
    let nowhere = json!({ "ref": "refs/tags/x1" });
    let run = act.run("push", &nowhere).checked("success");
    assert_eq!(run.jobs(), ["images", "plan"], "{}", run.said());
    let run = act.run("workflow_dispatch", &nowhere).checked("success");
    assert_eq!(built(&run.legs("build", "Build")), ["hello (amd64)", "hello (arm64)"], "{}", run.said());
    assert_eq!(act.ecr.tags("jobs/hello"), [""; 0]);
}

#[test]
fn a_new_folder_without_a_repository_turns_the_plan_red_before_anything_is_built() {
    let act = Act::with_jobs(&["hello"]);
    for job in ["new", "newer"] {
        act.tree.write(&format!("jobs/{job}/Dockerfile"), DOCKERFILE);
    }
    act.tree.commit("add jobs");
    act.push();
    let run = act.run_push().checked("failure");
    assert!(run.legs("build", "Build").is_empty() && !run.jobs().contains(&"merge"), "{}", run.said());
    let errors: Vec<&str> = run.commands().into_iter().filter(|command| command.starts_with("::error")).collect();
    let expected = "::error::repositories `jobs/new`, `jobs/newer`: not there%0A\
                    help: cargo xtask ecr ensure --target staging new newer";
    assert_eq!(errors, [expected], "{}", run.said());
    assert_eq!(act.ecr.tags("jobs/hello"), [""; 0]);
}

#[test]
fn a_new_folder_is_enough_where_a_template_makes_repositories() {
    let act = Act::without_repositories(&["hello"]);
    act.ecr.make_on_push("jobs");
    act.run_push().checked("success");
    assert_eq!(act.ecr.repositories(), ["jobs/hello"]);
    assert_eq!(act.digest("jobs/hello", "latest"), act.digest("jobs/hello", &act.tree.tag()));
    act.xtask(&["verify"], &[]).ended(0);
}

/// The stand-in for GitHub's action refuses what a moving tag already points to.
#[test]
fn moving_tags_wait_for_attestations() {
    let act = Act::with_attestations(&["hello", "world"]);
    let (attest, moves) = ("Attest", "Move tags to what is attested");
    let first = act.run_push().checked("success");
    assert!(first.steps().is_superset(&[attest, moves].into()), "{}", first.said());
    let published = act.digest("jobs/hello", &act.tree.tag());
    assert!(published.is_some(), "{}", first.said());
    assert_eq!(act.digest("jobs/hello", "latest"), published);
    assert_eq!(act.digest("jobs/world", "latest"), act.digest("jobs/world", &act.tree.tag()));

    act.tree.write("jobs/hello/Dockerfile", &DOCKERFILE.replace("nobody", "somebody"));
    act.tree.commit("change one job");
    act.push();
    act.set_attestations(false);
    let second = act.run_push().checked("failure");
    assert!(!second.steps().contains(moves), "{}", second.said());
    let unattested = act.digest("jobs/hello", &act.tree.tag());
    assert!(unattested.is_some() && unattested != published, "{}", second.said());
    assert_eq!(act.digest("jobs/hello", "latest"), published);

    act.set_attestations(true);
    let again = act.run_push().checked("success");
    assert_eq!(again.jobs(), ["images", "merge", "plan"], "{}", again.said());
    assert_eq!(act.digest("jobs/hello", &act.tree.tag()), unattested);
    assert_eq!(act.digest("jobs/hello", "latest"), unattested);
}

/// A secret of these tests alone, as `act` is given it as an argument; and its SHA-256 sum.
const TOKEN: &str = "the-npm-token-of-the-workflow";
const TOKEN_SUM: &str = "0c9e83a700b6a7b7253c739739bf189049366d09de5a1e7654d1fcdb53de30ca";

/// This repository with a job that may mount the secret, and prints it, and one that may not and tries to; and the line
/// in the workflow that README names.
fn with_a_secret() -> Act {
    let act = Act::without_repositories(&[]);
    ["npm", "thief"].iter().for_each(|job| act.make_repositories(job));
    let (workflow, arch) = (".github/workflows/images.yml", "          ARCH: ${{ matrix.arch }}\n");
    let read = |path: &str| std::fs::read_to_string(act.tree.path().join(path)).unwrap();
    let line = format!("{arch}          NPM_TOKEN: ${{{{ secrets.NPM_TOKEN }}}}\n");
    act.tree.write(workflow, &replaced(&read(workflow), arch, &line));
    let table = "[workspace.metadata.jobs.secrets]\nnpm_token = [\"npm\"]\n";
    act.tree.write("Cargo.toml", &format!("{}{table}", read("Cargo.toml")));
    // A step of its own in each run of this test: what an earlier one left with the engine would print nothing.
    let mount = format!("FROM busybox:1.37\nRUN --mount=type=secret,id=npm_token echo {} && ", act.ecr.address());
    let used = format!("cd /run/secrets && cat npm_token && sha256sum npm_token | grep {TOKEN_SUM}\n");
    act.tree.write("jobs/npm/Dockerfile", &format!("{mount}{used}"));
    act.tree.write("jobs/npm/job.json", r#"{"secrets": ["npm_token"]}"#);
    act.tree.write("jobs/thief/Dockerfile", &format!("{mount}test ! -e /run/secrets/npm_token\n"));
    act.tree.commit("a job with a secret");
    act.push();
    act
}

#[test]
fn a_secret_reaches_the_job_that_is_allowed_it_and_no_log() {
    let mut act = with_a_secret();
    act.secrets.push(("NPM_TOKEN", TOKEN));
    // It looks for the secret in all that the run printed.
    let run = act.run_push().checked("success");
    let legs = run.legs("build", "Build");
    assert_eq!(built(&legs), ["npm (amd64)", "npm (arm64)", "thief (amd64)", "thief (arm64)"], "{}", run.said());
    assert!(run.said().contains("***"), "the job printed it: {}", run.said());
    act.xtask(&["verify"], &[]).ended(0);

    act.tree.write("jobs/thief/job.json", r#"{"secrets": ["npm_token"]}"#);
    act.tree.commit("ask for the secret of another job");
    act.push();
    let run = act.run_push().checked("failure");
    assert!(run.legs("build", "Build").is_empty(), "{}", run.said());
    let refused = "jobs/thief/job.json: secrets: `npm_token`: not allowed to this job";
    assert!(run.said().contains(refused), "{}", run.said());
}

#[test]
fn without_its_secret_a_job_fails_alone() {
    // As in a pull request from a fork, which gets none.
    let act = with_a_secret();
    let (base, head) = (act.tree.git(&["rev-parse", "main~1"]), act.tree.head());
    act.tree.git(&["update-ref", "refs/remotes/origin/main", &base]);
    let request = json!({ "number": 7, "pull_request": {
        "number": 7, "head": { "ref": "change", "sha": head }, "base": { "ref": "main", "sha": base },
    } });
    let run = act.run("pull_request", &request).checked("failure");
    let ends: Vec<(&str, &str)> = run.legs("check", "Build").into_iter().collect();
    let (bad, good) = ("failure", "success");
    let expected = [("npm (amd64)", bad), ("npm (arm64)", bad), ("thief (amd64)", good), ("thief (arm64)", good)];
    assert_eq!(ends, expected, "{}", run.said());
    assert!(run.said().contains("GitHub passes none to a pull request from a fork"), "{}", run.said());
}
