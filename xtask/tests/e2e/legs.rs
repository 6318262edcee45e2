//! What the legs of a workflow are told, where it is too long for outputs and variables.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::Tree;

#[test]
fn the_work_of_ten_thousand_jobs_is_handed_on() {
    let files: Vec<(String, &str)> =
        (0..10_000).map(|n| (format!("jobs/team-{:02}.report-{n:05}/Dockerfile", n % 50), "FROM scratch\n")).collect();
    let tree = Tree::new(&files.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>());
    let outputs = tree.path().join("target/outputs");
    std::fs::create_dir_all(outputs.parent().unwrap()).unwrap();
    let env = [("JOBS_REGISTRY", "127.0.0.1:1"), ("GITHUB_OUTPUT", outputs.to_str().unwrap())];
    tree.run_with(&["discover", "--format", "matrix"], &env).ended(0);
    let outputs = std::fs::read_to_string(outputs).unwrap();
    let outputs: BTreeMap<&str, &str> = outputs.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!(outputs["files"], "true");
    // All that the workflow hands from job to job, as GitHub counts it.
    let length: usize =
        outputs.iter().filter(|(name, _)| **name != "jobs").map(|(_, v)| v.encode_utf16().count()).sum();
    assert!(2 * length < 1 << 20, "{length}");
    let legs = |name: &str| serde_json::from_str::<Value>(outputs[name]).unwrap()["include"].clone();
    let (build, merge) = (legs("matrix"), legs("merge"));
    assert_eq!((build.as_array().unwrap().len(), merge.as_array().unwrap().len()), (40, 10));
    // What stands in the file is what is built: each of the jobs, and no other.
    let last = build[39]["plan"].as_str().unwrap();
    let dry = ["build", "--arch", "arm64", "--emulate", "--load", "--dry-run"];
    let dry = tree.run_with(&dry, &[("JOBS_PLAN", last)]).ended(0).stdout;
    assert_eq!(dry.matches("/team-").count() % 500, 0, "{}", &dry[..2000]);
    assert!(dry.contains("report-09999") && !dry.contains("report-00000"));
}
