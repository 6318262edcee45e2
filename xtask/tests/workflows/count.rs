//! How many jobs a run of the workflow starts, and how many of them wait for each other, worked out from the workflow
//! itself and from what the plan puts out.

use std::collections::BTreeMap;

use expect_test::expect;
use serde_json::Value;

use crate::harness::{BOTH, DOCKERFILE, Registry, Tree};
use crate::workflow::{Workflow, images, root, words_after};

type Outputs = BTreeMap<String, String>;

/// The jobs that run, in the order of the file's names: how many of each, and how long the chain up to it is.
struct Counted<'a> {
    workflow: &'a Workflow,
    event: &'static str,
    outputs: &'a Outputs,
    ran: BTreeMap<&'a str, (usize, usize)>,
}

impl<'a> Counted<'a> {
    fn new(workflow: &'a Workflow, event: &'static str, outputs: &'a Outputs) -> Counted<'a> {
        let mut counted = Counted { workflow, event, outputs, ran: BTreeMap::new() };
        let mut waiting: Vec<(&str, &Value)> = workflow.jobs().collect();
        while !waiting.is_empty() {
            let names: Vec<&str> = waiting.iter().map(|(name, _)| *name).collect();
            let is_ready = |job: &Value| needs(job).iter().all(|need| !names.contains(need));
            let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, job)| is_ready(job));
            assert!(!ready.is_empty(), "jobs wait for each other: {names:?}");
            ready.into_iter().for_each(|(name, job)| counted.look_at(name, job));
            waiting = later;
        }
        counted
    }

    fn look_at(&mut self, name: &'a str, job: &'a Value) {
        let condition = job["if"].as_str().unwrap_or("always()").split_whitespace().collect::<Vec<_>>().join(" ");
        let even_so = condition.contains("always()") || condition.contains("!cancelled()");
        let ran = needs(job).iter().all(|need| self.ran.contains_key(need));
        if !(even_so || ran) || !condition.split(" || ").any(|any| any.split(" && ").all(|all| self.holds(all))) {
            return;
        }
        let legs = job["strategy"]["matrix"].as_str().map(|matrix| {
            let output = words_after(matrix, "needs.").next().unwrap();
            let matrix: Value = serde_json::from_str(&self.value(&format!("needs.{output}"))).unwrap();
            matrix["include"].as_array().unwrap().len()
        });
        let before = needs(job).iter().filter_map(|need| self.ran.get(need)).map(|(_, chain)| *chain).max();
        self.ran.insert(name, (legs.unwrap_or(1), before.unwrap_or(0) + 1));
    }

    fn holds(&self, term: &str) -> bool {
        let of =
            |term: &str| term.split_once(" == '").map(|(name, value)| self.value(name) == value.trim_matches('\''));
        match term {
            "always()" | "!cancelled()" => true,
            _ if term.contains(" != ") => !of(&term.replace(" != ", " == ")).unwrap(),
            _ => of(term).unwrap_or_else(|| panic!("what is `{term}`?")),
        }
    }

    fn value(&self, name: &str) -> String {
        if name == "github.event_name" {
            return self.event.to_owned();
        }
        let (job, output) = name.strip_prefix("needs.").and_then(|name| name.split_once(".outputs.")).unwrap();
        let declared = self.workflow.data["jobs"][job]["outputs"][output].as_str().unwrap();
        let output = words_after(declared, "outputs.").next().unwrap();
        if self.ran.contains_key(job) { self.outputs[output].clone() } else { String::new() }
    }

    fn shown(&self, case: &str) -> String {
        let jobs: usize = self.ran.values().map(|(jobs, _)| jobs).sum();
        let chain = self.ran.values().map(|(_, chain)| chain).max().unwrap();
        let each: Vec<String> = self.ran.iter().map(|(name, (jobs, _))| format!("{name} {jobs}")).collect();
        format!("{case}: {jobs} jobs in a chain of {chain} ({})\n", each.join(", "))
    }
}

fn needs(job: &Value) -> Vec<&str> {
    match &job["needs"] {
        Value::String(need) => vec![need],
        needs => needs.as_array().into_iter().flatten().map(|need| need.as_str().unwrap()).collect(),
    }
}

/// What the plan of a tree puts out.
fn outputs(tree: &Tree, registry: &Registry, args: &[&str]) -> Outputs {
    let file = tree.path().join("target/outputs");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("GITHUB_OUTPUT", file.to_str().unwrap())];
    tree.run_with(&[&["discover", "--changed", "--format", "matrix"], args].concat(), &env).ended(0);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
#[allow(clippy::print_stdout)] // the counts are what a person runs it for
fn few_jobs_start_and_few_wait_for_each_other() {
    let images = images();
    let count = |case: &str, event, outputs: &Outputs| Counted::new(&images, event, outputs).shown(case);
    let names: Vec<String> = (0..100).map(|number| format!("job-{number:02}")).collect();
    let many = Tree::with_jobs(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all = outputs(&many, &Registry::start(), &[]);
    let (tree, registry) = (Tree::with_jobs(&["a", "b", "c"]), Registry::start());
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
    tree.commit("nothing changes");
    let nothing = outputs(&tree, &registry, &[]);
    tree.write("jobs/a/Dockerfile", &DOCKERFILE.replace("nobody", "somebody"));
    tree.commit("one job changes");
    let one = outputs(&tree, &registry, &[]);
    let proposed = outputs(&tree, &registry, &["--since", "HEAD~1"]);
    let counted = [
        count("nothing changed", "push", &nothing),
        count("one of the jobs changed", "push", &one),
        count("all of 100 jobs changed", "push", &all),
        count("a pull request changes one", "pull_request", &proposed),
    ];
    let counted = counted.concat();
    println!("{counted}");
    expect![[r#"
        nothing changed: 2 jobs in a chain of 2 (images 1, plan 1)
        one of the jobs changed: 5 jobs in a chain of 4 (build 2, images 1, merge 1, plan 1)
        all of 100 jobs changed: 43 jobs in a chain of 4 (build 40, images 1, merge 1, plan 1)
        a pull request changes one: 4 jobs in a chain of 3 (check 2, discover 1, images 1)
    "#]]
    .assert_eq(&counted);
    // README shows what this prints.
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for line in counted.lines() {
        let (case, numbers) = line.split_once(": ").unwrap();
        let (numbers, _) = numbers.split_once(" (").unwrap();
        let (jobs, chain) = numbers.split_once(" jobs in a chain of ").unwrap();
        assert!(readme.contains(&format!("| {case} | {jobs} | {chain} |")), "README has other numbers for: {line}");
    }
}
