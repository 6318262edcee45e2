//! What the fuzz targets share: the files of the program, and what every complaint has to be like.
//!
//! The xtask is a program and no library, so its folders are compiled a second time here, all but those that the
//! parsers do not need. `crate::model` in them is what it is in the program.

pub mod buildkit;

#[allow(dead_code, clippy::all)] // the commands use the rest, and it is judged where it belongs
#[path = "../../src"]
mod program {
    pub mod dockerfile;
    pub mod model;
    pub mod plan;
    pub mod run;
    pub mod settings;
    pub mod tools;
}

pub use program::{dockerfile, model, plan, run, settings, tools};

/// What reads a registry's answers. The program keeps it to the folder that asks for them, so it is compiled once more,
/// beside answers that no registry has to send.
#[allow(clippy::duplicate_mod)]
#[path = "../../src/tools/registry"]
pub mod registry {
    pub mod answer {
        pub struct Answer {
            pub digest: crate::model::Digest,
            pub media_type: String,
            pub body: Vec<u8>,
        }
    }
    pub mod manifest;
}

use model::Problem;

/// Checks that a complaint has a place, a reason, and a rule or a remedy, and does nothing to a terminal or to GitHub's
/// runner.
pub fn check_problem(problem: &Problem) {
    assert!(!problem.at.is_empty() && !problem.what.is_empty(), "{problem:?}");
    assert!(problem.rule.is_some() || problem.help.is_some(), "{problem:?}");
    check_message(&problem.to_string());
}

/// Checks what follows `error: ` on a terminal and in the log of a workflow.
pub fn check_message(text: &str) {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}');
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || is_hidden(c);
    assert!(!text.contains(steers), "steers the terminal: {text:?}");
    // The runner takes blanks off the beginning of a line before it looks for a command.
    assert!(!text.lines().skip(1).any(|line| line.trim_start().starts_with("::")), "a command: {text:?}");
    assert!(!text.contains("##["), "a command: {text:?}");
}
