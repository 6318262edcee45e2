//! Cases: many side by side, as they wait most of the time, and what came of them.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::lab::Lab;

/// How many cases run side by side.
const PARALLEL: usize = 6;

type Work = dyn Fn(&Lab) -> Result<(), String> + Send + Sync;

pub struct Case {
    /// What it is counted under.
    kind: &'static str,
    name: String,
    /// Whether it is in the subset that `cargo xtask test` runs.
    is_quick: bool,
    /// Whether it takes minutes, and so begins first.
    is_long: bool,
    work: Box<Work>,
}

impl Case {
    pub fn new(
        kind: &'static str,
        name: impl Into<String>,
        work: impl Fn(&Lab) -> Result<(), String> + Send + Sync + 'static,
    ) -> Case {
        Case { kind, name: name.into(), is_quick: false, is_long: false, work: Box::new(work) }
    }

    pub fn quick(self, is_quick: bool) -> Case {
        Case { is_quick, ..self }
    }

    pub fn long(self, is_long: bool) -> Case {
        Case { is_long, ..self }
    }

    pub fn name(&self) -> String {
        format!("{}: {}", self.kind, self.name)
    }

    pub fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// Runs it; a panic has failed it.
    fn run(&self, lab: &Lab) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| (self.work)(lab))).unwrap_or_else(|panic| Err(said(&*panic)))
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn said(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("{}: {}", PLACE.take(), text.unwrap_or("a panic"))
}

/// How many cases of each kind were right, and what was wrong with the others.
#[derive(Default)]
pub struct Report {
    pub passed: BTreeMap<&'static str, usize>,
    pub failed: Vec<(String, String)>,
}

/// Runs the cases; `on_failure` is told of each that fails.
pub fn run_all(lab: &Lab, mut cases: Vec<Case>, on_failure: impl Fn(&str, &str) + Sync) -> Report {
    std::panic::set_hook(Box::new(|info| PLACE.set(info.location().map(ToString::to_string).unwrap_or_default())));
    cases.sort_by_key(|case| !case.is_long);
    let (queue, report) = (Mutex::new(VecDeque::from(cases)), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                let next = || queue.lock().unwrap().pop_front();
                while let Some(case) = next() {
                    let result = case.run(lab);
                    let mut report = report.lock().unwrap();
                    match result {
                        Ok(()) => *report.passed.entry(case.kind).or_default() += 1,
                        Err(why) => {
                            on_failure(&case.name(), &why);
                            report.failed.push((case.name(), why));
                        }
                    }
                }
            });
        }
    });
    report.into_inner().unwrap()
}
