//! Every row of BAD-INPUTS.md that a command can meet: the tree, the command, the exit code and the exact message,
//! and the proof that nothing was printed, built or published.
//! What only the gate can see is in `merge.rs`.

mod build;
mod configuration;
mod destination;
mod discover;
mod engine;
mod merge;
mod names;

use std::panic::{AssertUnwindSafe, catch_unwind};

use expect_test::{Expect, expect};

pub use self::engine::without_repositories;
use crate::harness::{DOCKERFILE, Registry, Tree};

/// A bad input: a tree with the job `job` and what is wrong, a command, and how it has to end.
struct Case<'a> {
    what: &'a str,
    args: Vec<&'a str>,
    env: Vec<(&'a str, &'a str)>,
    files: Vec<(&'a str, &'a str)>,
    make: fn(&Tree),
    code: i32,
    message: Expect,
}

/// A case with good files and no variables, that ends with 2 unless it says otherwise.
fn case<'a>(what: &'a str, args: &[&'a str]) -> Case<'a> {
    let message = expect!["the message is missing: `says` is the last part of a case"];
    Case { what, args: args.to_vec(), env: Vec::new(), files: Vec::new(), make: |_| {}, code: 2, message }
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

    /// What only a program can put into the tree, after its commit.
    fn make(mut self, make: fn(&Tree)) -> Case<'a> {
        self.make = make;
        self
    }

    fn run(&self, registry: Option<&Registry>) {
        let tree = Tree::new(&[&[("jobs/job/Dockerfile", DOCKERFILE)], self.files.as_slice()].concat());
        (self.make)(&tree);
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
        assert_eq!(run.stdout, "", "stdout is for results, and there are none");
        assert!(!run.stderr.contains("Building"), "nothing may be built:\n{}", run.stderr);
        if let Some(registry) = registry {
            let catalog = registry.request("GET", "/v2/_catalog", &[]).unwrap();
            assert!(catalog.ends_with("{\"repositories\":[]}\n"), "nothing may be pushed: {catalog}");
        }
    }
}

/// Runs all cases where there is no registry, and names those that fail.
fn check<const N: usize>(cases: [Case<'_>; N]) {
    check_all(None, &cases);
}

/// The same with a registry, which has to stay empty.
fn check_with_registry<const N: usize>(cases: [Case<'_>; N]) {
    check_all(Some(&Registry::start()), &cases);
}

fn check_all(registry: Option<&Registry>, cases: &[Case<'_>]) {
    let fails = |case: &&Case<'_>| catch_unwind(AssertUnwindSafe(|| case.run(registry))).is_err();
    let failed: Vec<&str> = cases.iter().filter(fails).map(|case| case.what).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}
