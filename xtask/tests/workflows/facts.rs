//! What is known of GitHub's runners, in `runners.json` with its day and its source, against what this tool needs.

use serde_json::Value;

use crate::cloud::Programs;
use crate::harness::Tree;
use crate::workflow::{metadata, root, runners};

fn facts() -> Value {
    let path = root().join("xtask/tests/workflows/runners.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The first numbers of a version.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

#[test]
fn the_runners_have_what_this_tool_needs() {
    let facts = facts();
    let rust = metadata()["packages"][0]["rust_version"].as_str().unwrap().to_owned();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    // Of runners of one's own, one knows oneself what they have.
    let hosted = |runner: Value| runner.as_str().filter(|label| label.starts_with("ubuntu-")).map(str::to_owned);
    for label in runners().into_values().filter_map(hosted) {
        let runner = &facts["runners"][&label];
        let fact = |name: &str| runner[name].as_str().unwrap_or_else(|| panic!("runners.json: {label}: no {name}"));
        assert!(version(fact("rust")) >= version(&rust), "{label}: Rust {}", fact("rust"));
        // README says what a machine needs, and what `setup` can install on.
        assert!(readme.contains("curl 7.75 or newer"));
        assert!(version(fact("curl")) >= version("7.75"), "{label}: curl {}", fact("curl"));
        let (name, release) = fact("distribution").split_once(' ').unwrap();
        assert!(name == "ubuntu" && readme.contains(release), "{label}: setup does not know {name} {release}");
        assert!(version(fact("aws")) >= version("2"), "{label}: AWS client {}", fact("aws"));
        assert!(readme.contains("the GitHub CLI 2.67"));
        assert!(version(fact("gh")) >= version("2.67"), "{label}: GitHub CLI {}", fact("gh"));
        // Docker 29 is the first whose own default is the other store.
        let store = if version(fact("docker")) < version("29") { "classic" } else { "containerd" };
        assert_eq!(fact("store"), store, "{label}");
        assert_eq!(buildx_is_usable(fact("buildx")), Value::from("ok"), "{label}: buildx {}", fact("buildx"));
    }
    assert_ne!(buildx_is_usable("0.31.1"), Value::from("ok"));
}

/// What `doctor` says of a buildx with this version.
fn buildx_is_usable(version: &str) -> Value {
    let docker = Programs::new().script("docker", &format!("echo github.com/docker/buildx v{version}"));
    let path = docker.first();
    let run = Tree::with_jobs(&["a"]).run_with(&["doctor", "--format", "json"], &[("PATH", &path)]);
    let rows: Value = serde_json::from_str(&run.stdout).unwrap();
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["what"] == "buildx").expect("doctor looks at buildx")["health"].clone()
}
