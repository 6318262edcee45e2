//! Every bad input that is known, by what it is for: a row has the tree, the command, the exit code and the exact
//! message. After each, nothing was printed, built, pushed or moved, and nothing is left but logs; the message has a
//! remedy, and nothing in it steers a terminal or GitHub's runner.
//!
//! | input of | rows |
//! |---|---|
//! | `discover` | `discover.rs`, `names.rs` |
//! | `new` | `new.rs` |
//! | `build` | `build.rs`, `destination.rs`, `engine.rs`, `arguments.rs` |
//! | `build`, a secret that is not set | `secrets.rs` beside this file |
//! | `build`, a folder that git does not know, and a git that refuses | `key.rs` beside this file |
//! | `merge`, `verify` | `merge.rs` |
//! | `merge`, `verify`, what only the gate can see | `merge.rs` and `moving.rs` beside this file |
//! | configuration | `configuration.rs`, `job_settings.rs` |
//! | the workflow | `BREAKAGES` in `tests/workflows/contract.rs` |

mod arguments;
mod build;
mod configuration;
mod destination;
mod discover;
mod engine;
mod job_settings;
mod merge;
mod names;
mod new;
mod untouched;

use std::panic::{AssertUnwindSafe, catch_unwind};

use expect_test::{Expect, expect};

pub use self::engine::without_repositories;
pub use self::untouched::Untouched;
use crate::harness::{DOCKERFILE, Registry, Run, Tree, docker};

/// A bad input: a tree with the job `job` and what is wrong, a command, and how it has to end.
struct Case<'a> {
    what: &'a str,
    args: Vec<&'a str>,
    env: Vec<(&'a str, &'a str)>,
    files: Vec<(&'a str, &'a str)>,
    make: Box<dyn Fn(&Tree) + 'a>,
    code: i32,
    message: Expect,
}

/// A case with good files and no variables, that ends with 2 unless it says otherwise.
fn case<'a>(what: &'a str, args: &[&'a str]) -> Case<'a> {
    let message = expect!["the message is missing: `says` is the last part of a case"];
    Case { what, args: args.to_vec(), env: Vec::new(), files: Vec::new(), make: Box::new(|_| {}), code: 2, message }
}

impl<'a> Case<'a> {
    /// The gate refuses it.
    fn refused(self) -> Case<'a> {
        Case { code: 3, ..self }
    }

    /// Something that is needed is missing.
    fn missing(self) -> Case<'a> {
        Case { code: 4, ..self }
    }

    fn says(self, message: Expect) -> Case<'a> {
        Case { message, ..self }
    }

    fn env(mut self, name: &'a str, value: &'a str) -> Case<'a> {
        self.env.push((name, value));
        self
    }

    fn file(mut self, path: &'a str, text: &'a str) -> Case<'a> {
        self.files.push((path, text));
        self
    }

    /// A file with these bytes, after the tree's commit.
    fn bytes(self, path: &'a str, bytes: &'a [u8]) -> Case<'a> {
        self.make(move |tree| std::fs::write(tree.path().join(path), bytes).unwrap())
    }

    /// What only a program can put into the tree, after its commit.
    fn make(mut self, make: impl Fn(&Tree) + 'a) -> Case<'a> {
        self.make = Box::new(make);
        self
    }

    /// Runs the case; gives the tag that its images would have had.
    fn run(&self, registry: Option<&Registry>) -> String {
        // Its own commit and so its own tag: another test may build the same job at the same time.
        let row = format!("{} {:?} {:?}", self.what, self.args, self.message.position.line);
        let own = [("jobs/job/Dockerfile", DOCKERFILE), ("row", row.as_str())];
        let tree = Tree::new(&[&own, self.files.as_slice()].concat());
        let tag = tree.tag();
        (self.make)(&tree);
        let untouched = Untouched::now(&tree, registry);
        // The machine's own region is none of the case's.
        let mut env = vec![("AWS_REGION", "")];
        env.extend(registry.map(|registry| ("JOBS_REGISTRY", registry.address.as_str())));
        env.extend(&self.env);
        let run = tree.run_with(&self.args, &env).ended(self.code);
        let message = match registry {
            Some(registry) => run.errors_at(registry),
            None => run.errors().to_owned(),
        };
        self.message.assert_eq(&message);
        untouched.check(&tree, registry, &run);
        check_remedies(&run);
        check_printed(&run.stderr);
        tag
    }
}

/// Each error says what to do; clap's own refer to the help.
fn check_remedies(run: &Run) {
    for error in run.errors().split("error: ").skip(1) {
        assert!(error.contains("\n  help: ") || error.ends_with("try '--help'."), "no remedy: {error}");
    }
}

/// Nothing steers a terminal, and nothing is a command for GitHub's runner.
#[track_caller]
fn check_printed(text: &str) {
    let commands = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
    let steers = |line: &str| line.chars().any(|c| c.is_control() && c != '\t');
    let bad: Vec<&str> = text.lines().filter(|line| commands(line) || steers(line)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Runs all cases where there is no registry, and names those that fail.
fn check<const N: usize>(cases: [Case<'_>; N]) {
    check_all(None, &cases);
}

/// The same with a registry, which has to stay as it is.
fn check_with_registry<const N: usize>(cases: [Case<'_>; N]) {
    check_all(Some(&untouched::registry()), &cases);
}

fn check_all(registry: Option<&Registry>, cases: &[Case<'_>]) {
    let run = |case: &Case<'_>| catch_unwind(AssertUnwindSafe(|| case.run(registry))).ok();
    let tags: Vec<Option<String>> = cases.iter().map(run).collect();
    // The tests that run at the same time load images of their own.
    let images = docker(&["image", "ls", "--format", "{{.Tag}}"]);
    let is_built = |tag: &String| images.lines().any(|image| image.starts_with(tag.as_str()));
    let failed = cases.iter().zip(&tags).filter(|(_, tag)| tag.as_ref().is_none_or(is_built));
    let failed: Vec<&str> = failed.map(|(case, _)| case.what).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}
