//! What a repository that the xtask was moved into is checked for, by `cargo xtask test`: its `images.yml` keeps to the
//! rules that make it safe, whatever was changed in it.

#![allow(clippy::unwrap_used)] // a panic is how a test says no

mod rules;
#[allow(dead_code)] // each target uses its part of it
mod workflow;

use rules::RULES;
use workflow::{images, own_runners, runners};

#[test]
fn the_workflow_keeps_every_rule() {
    let images = images();
    for rule in &RULES {
        let complaints = (rule.complaints)(&images);
        assert!(complaints.is_empty(), "{}: {}: {complaints:#?}", images.file, rule.name);
    }
}

#[test]
fn the_workflow_begins_on_the_runner_of_the_configuration() {
    // One xtask is handed on, to the legs of its architecture; they all find their runners in the plan.
    let configured = runners().remove("amd64").unwrap_or_else(|| "ubuntu-24.04".into());
    assert_eq!(own_runners(&images()), [configured]);
}
