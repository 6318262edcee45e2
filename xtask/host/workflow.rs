//! A workflow as data: its jobs, its steps, and every text in it with the way to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder that holds the workflows.
const FOLDER: &str = ".github/workflows";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files of all workflows, sorted.
pub fn paths() -> Vec<PathBuf> {
    let folder = root().join(FOLDER);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The workflow of the images.
pub fn images() -> Workflow {
    Workflow::read(&root().join(FOLDER).join("images.yml"))
}

/// What cargo says of this repository.
pub fn metadata() -> Value {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the configuration gives `runs-on`, by architecture.
pub fn runners() -> BTreeMap<String, Value> {
    let runners = metadata()["metadata"]["jobs"]["runners"].take();
    serde_json::from_value(runners).unwrap_or_default()
}

/// The runners that a workflow itself names, for jobs that begin before the plan is there.
pub fn own_runners(workflow: &Workflow) -> Vec<Value> {
    let all = workflow.jobs().map(|(_, job)| job["runs-on"].clone());
    let mut own: Vec<Value> = all.filter(|runner| *runner != "${{ matrix.runner }}").collect();
    own.dedup();
    own
}

/// A text with something in it replaced, which has to be there.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "not there to be replaced: {from}");
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "nothing is changed by {from}");
    changed
}

#[derive(Clone)]
pub struct Workflow {
    /// The file's name.
    pub file: String,
    pub text: String,
    /// Aliases are resolved.
    pub data: Value,
}

impl Workflow {
    pub fn read(path: &Path) -> Workflow {
        let file = path.file_name().unwrap().to_str().unwrap();
        Workflow::parse(file, &std::fs::read_to_string(path).unwrap())
    }

    pub fn parse(file: &str, text: &str) -> Workflow {
        let data = yaml_serde::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Workflow { file: file.to_owned(), text: text.to_owned(), data }
    }

    /// The jobs with their names, sorted.
    pub fn jobs(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.data["jobs"].as_object().unwrap().iter().map(|(name, job)| (name.as_str(), job))
    }

    /// The steps, each with its job's name.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.jobs().flat_map(|(name, job)| job["steps"].as_array().into_iter().flatten().map(move |step| (name, step)))
    }

    /// Every text, with the keys that lead to it; an element of a list has its list's.
    pub fn texts(&self) -> Vec<(Vec<String>, String)> {
        let mut found = Vec::new();
        collect(&self.data, &mut Vec::new(), &mut found);
        found
    }

    pub fn has_trigger(&self, event: &str) -> bool {
        self.data["on"].as_object().unwrap().contains_key(event)
    }
}

fn collect(value: &Value, keys: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    match value {
        Value::String(text) => found.push((keys.clone(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys, found)),
        Value::Object(entries) => {
            for (key, item) in entries {
                keys.push(key.clone());
                collect(item, keys, found);
                keys.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What follows each occurrence of a prefix such as `steps.`, up to the end of the word.
pub fn words_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    })
}
