//! One broken job holds up no other, where that is asked for.

use serde_json::Value;

use crate::harness::{BOTH, DOCKERFILE, Registry, Tree};

/// One job of each way to be broken, between two that are not.
fn tree() -> Tree {
    Tree::new(&[
        ("jobs/a/Dockerfile", DOCKERFILE),
        ("jobs/Bad_Name/Dockerfile", DOCKERFILE),
        ("jobs/base/Dockerfile", "FROM busybox:no-such-tag\n"),
        ("jobs/copy/Dockerfile", "FROM busybox:1.37\nCOPY nothing /\n"),
        ("jobs/settings/Dockerfile", DOCKERFILE),
        ("jobs/settings/job.json", "{"),
        ("jobs/syntax/Dockerfile", "FROM busybox:1.37\nRUM x\n"),
        ("jobs/z/Dockerfile", DOCKERFILE),
    ])
}

const BROKEN: [&str; 5] = ["Bad_Name", "base", "copy", "settings", "syntax"];

fn errors(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("error: ")?.split(':').next()).collect()
}

#[test]
fn a_broken_job_is_named_and_the_others_are_published() {
    let (registry, tree) = (Registry::start(), tree());
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("JOBS_KEEP_GOING", "true")];
    let plan = tree.run_with(&["plan", "--format", "json"], &env).ended(4);
    let jobs: Vec<Value> = serde_json::from_str(&plan.stdout).unwrap();
    let of = |action: &str| -> Vec<&str> {
        jobs.iter().filter(|job| job["action"] == action).filter_map(|job| job["job"].as_str()).collect()
    };
    assert_eq!((of("build"), of("broken")), (vec!["a", "z"], BROKEN.to_vec()), "{}", plan.stdout);
    let at = |job: &str| jobs.iter().find(|it| it["job"] == job).unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(at("syntax").starts_with("jobs/syntax/Dockerfile:2: "), "{}", at("syntax"));
    let said = ["jobs/Bad_Name", "jobs/base/Dockerfile", "jobs/copy/Dockerfile", "jobs/settings/job.json"];
    assert_eq!(errors(&plan.stderr), [&said[..], &["jobs/syntax/Dockerfile"]].concat());
    assert!(plan.stderr.contains("Planned 7 jobs: 0 done, 0 to reuse, 2 to build, 5 broken"), "{}", plan.stderr);
    let table = tree.run_with(&["plan"], &env).ended(4).stdout;
    assert!(table.contains("syntax") && table.contains("broken"), "{table}");

    let built = tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(4);
    assert_eq!(errors(&built.stderr), errors(&plan.stderr));
    let merged = tree.run_with(&["merge"], &env).ended(4);
    assert_eq!(errors(&merged.stderr), errors(&plan.stderr));
    for job in ["a", "z"] {
        assert!(registry.digest(&format!("jobs/{job}"), &tree.tag()).is_some(), "{job}");
    }
    // What is named and sound is all of a run.
    tree.run_with(&["build", "--arch", crate::harness::OWN, "a"], &env).ended(0);
    let named = tree.run_with(&["plan", "a", "copy"], &env).ended(1);
    assert_eq!(errors(&named.stderr), ["jobs/copy/Dockerfile"]);
}

#[test]
fn a_broken_job_holds_up_none_of_its_folder() {
    let tree = Tree::new(&[
        ("Cargo.toml", "[workspace]\n[workspace.metadata.jobs]\njobs-dirs = [\"apps/*\", \"apps/group\"]\n"),
        ("apps/group/Bad_Name/Dockerfile", DOCKERFILE),
        ("apps/group/Another_One/Dockerfile", DOCKERFILE),
        ("apps/group/sound/Dockerfile", DOCKERFILE),
    ]);
    let found = tree.run(&["discover", "--keep-going"]).ended(1);
    assert_eq!(found.stdout, "[\"apps/group/sound\"]\n");
    assert_eq!(errors(&found.stderr), ["apps/group/Another_One", "apps/group/Bad_Name"]);
    let planned = tree.run(&["plan", "--keep-going"]).ended(1).stderr;
    assert!(planned.contains("Planned 3 jobs: 0 done, 0 to reuse, 1 to build, 2 broken"), "{planned}");
}

#[test]
fn each_is_shown_with_its_own_line() {
    let tree = Tree::new(&[
        ("jobs/a/Dockerfile", "FROM busybox:no-such-tag\n"),
        ("jobs/b/Dockerfile", "FROM busybox:1.37\nFROM busybox:no-such-tag\n"),
    ]);
    let planned = tree.run(&["plan", "--keep-going", "--format", "json"]).ended(4).stdout;
    let jobs: Vec<Value> = serde_json::from_str(&planned).unwrap();
    let places = jobs.iter().map(|job| job["reason"].as_str().unwrap().split(": ").next().unwrap());
    assert_eq!(places.collect::<Vec<_>>(), ["jobs/a/Dockerfile:1", "jobs/b/Dockerfile:2"]);
}

#[test]
fn the_legs_of_the_others_are_handed_on() {
    let (registry, tree) = (Registry::start(), tree());
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let going = [env[0], ("JOBS_KEEP_GOING", "1")];
    let output = tree.path().join("output");
    let in_workflow = [going[0], going[1], ("GITHUB_OUTPUT", output.to_str().unwrap())];
    std::fs::write(&output, "").unwrap();
    tree.run_with(&["discover", "--changed", "--format", "matrix"], &in_workflow).ended(4);
    let outputs = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_file(&output).unwrap();
    assert!(outputs.contains("any=true\n"), "{outputs}");
    let matrix = outputs.lines().find_map(|line| line.strip_prefix("matrix=")).unwrap();
    let legs: Value = serde_json::from_str(matrix).unwrap();
    let legs = legs["include"].as_array().unwrap();
    assert_eq!(legs.len(), 4, "{legs:?}");
    for leg in legs {
        let (arch, plan) = (leg["arch"].as_str().unwrap(), leg["plan"].as_str().unwrap());
        let job = leg["jobs"][0].as_str().unwrap();
        // A leg is told of its jobs, and of no broken ones.
        let of_leg = [env[0], ("JOBS_PLAN", plan)];
        tree.run_with(&["build", "--emulate", "--arch", arch, "--", job], &of_leg).ended(0);
    }
}

#[test]
fn a_rehearsal_goes_on_without_them() {
    let (registry, tree) = (Registry::start(), tree());
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["pipeline", "--keep-going"], &env).ended(4);
    let sound: Vec<&str> = run.stdout.lines().filter_map(|line| line.split('@').next()).collect();
    assert_eq!(sound, ["a", "z"].map(|job| format!("{}/jobs/{job}:<sha>", registry.address)));
}

#[test]
fn without_being_asked_to_nothing_goes_on() {
    let (registry, tree) = (Registry::start(), tree());
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let refused = tree.run_with(&["plan"], &env).ended(2);
    assert_eq!(
        (errors(&refused.stderr), refused.stdout.as_str()),
        (vec!["jobs/Bad_Name", "jobs/settings/job.json"], "")
    );
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(2);
    assert_eq!(registry.tags("jobs/a"), [""; 0]);
}
