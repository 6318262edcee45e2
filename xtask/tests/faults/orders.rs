//! Runs of several commits that meet each other: whoever finishes last, `latest` ends at the newest of them.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::check::{Invariant, Reader, ensure};
use crate::front::{LATEST_READ, LATEST_WRITE, Place, TAG_READ, TAG_WRITE};
use crate::harness::Tree;
use crate::lab::{A, B, C, Lab, Runner, Running, Start};

/// The six orders of three commits.
const ORDERS: [[usize; 3]; 6] = [[A, B, C], [A, C, B], [B, A, C], [B, C, A], [C, A, B], [C, B, A]];
const NAMES: [&str; 3] = ["A", "B", "C"];

/// Where a run is held: at the nth of such requests.
type Point = (&'static str, Place, usize);

const POINTS: [Point; 6] = [
    ("its first look", TAG_READ, 1),
    ("the write of its tag", TAG_WRITE, 1),
    ("its first look at latest", LATEST_READ, 1),
    ("its second look at latest", LATEST_READ, 2),
    ("its third look at latest", LATEST_READ, 3),
    ("the write of latest", LATEST_WRITE, 1),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (held, other) in [(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)] {
        for point in POINTS {
            let name = format!("{} is held at {}, and {} runs", NAMES[held], point.0, NAMES[other]);
            let case =
                Case::new("orders of two", name, move |lab| Meeting::of(lab, Lab::tree).hold(&[held], point, &[other]));
            cases.push(case.quick((held, other) == (B, C)));
        }
    }
    for order in ORDERS {
        let name = order.map(|commit| NAMES[commit]).join(", ");
        cases.push(Case::new("orders of three", format!("{name}, one after the other"), move |lab| {
            Meeting::of(lab, Lab::tree).each(&order)
        }));
        for point in &POINTS[2..] {
            let one = format!("{name}: the first is held at {}", point.0);
            cases.push(Case::new("orders of three", one, move |lab| {
                Meeting::of(lab, Lab::tree).hold(&order[..1], *point, &order[1..])
            }));
        }
        let two = format!("{name}: the first two are held at their first look at latest");
        cases.push(Case::new("orders of three", two, move |lab| {
            Meeting::of(lab, Lab::tree).hold(&order[..2], POINTS[2], &order[2..])
        }));
        for point in [POINTS[1], POINTS[5]] {
            let killed = format!("{name}: the first is killed at {}, and runs again at the end", point.0);
            cases.push(Case::new("orders with a kill", killed, move |lab| {
                Meeting::of(lab, Lab::tree).kill(order[0], point)?.each(&[order[1], order[2], order[0]])
            }));
        }
        let again = format!("{name}, and again in this order");
        cases.push(Case::new("orders of re-runs", again, move |lab| {
            Meeting::of(lab, Lab::tree).each(&[&[A, B, C][..], &order].concat())
        }));
    }
    cases.extend(old_clones());
    cases
}

/// How the clone of a commit is made.
type Clones = fn(&Lab, usize) -> Tree;

/// As a workflow's checkouts are: none knows of a newer commit, but where it can fetch it.
fn old_clones() -> Vec<Case> {
    const KIND: &str = "orders of old clones";
    let mut cases = Vec::new();
    for order in ORDERS {
        let name = order.map(|commit| NAMES[commit]).join(", ");
        for (which, tree) in [("with a remote", Lab::old_tree as Clones), ("without a remote", Lab::lone_tree)] {
            cases.push(Case::new(KIND, format!("{name}, {which}"), move |lab| Meeting::of(lab, tree).each(&order)));
        }
    }
    for (held, other) in [(A, B), (A, C), (B, C)] {
        let point = POINTS[5];
        let name = format!("{} is held at {}, and {} runs", NAMES[held], point.0, NAMES[other]);
        let case = move |lab: &Lab| Meeting::of(lab, Lab::old_tree).hold(&[held], point, &[other]);
        cases.push(Case::new(KIND, name, case));
    }
    cases
}

/// One registry, and a run for each commit.
struct Meeting<'a> {
    lab: &'a Lab,
    registry: crate::harness::Registry,
    runners: BTreeMap<usize, Runner>,
}

impl<'a> Meeting<'a> {
    fn of(lab: &'a Lab, tree: fn(&Lab, usize) -> Tree) -> Meeting<'a> {
        let registry = lab.registry(Start::Built);
        let runners = [A, B, C].map(|commit| (commit, Runner::new(tree(lab, commit), &registry.address)));
        Meeting { lab, registry, runners: runners.into() }
    }

    /// The first are held there until the others are done, and then go on in their order.
    fn hold(self, held: &[usize], (_, place, nth): Point, others: &[usize]) -> Result<(), String> {
        let mut waiting: Vec<(&usize, Running)> = Vec::new();
        for commit in held {
            waiting.push((commit, self.runners[commit].hold(&["merge"], place, nth)));
        }
        let mut texts = String::new();
        for commit in others {
            texts += &self.runners[commit].run(&["merge"]).with(&[0])?.text;
        }
        for (commit, running) in waiting {
            self.runners[commit].front.heal();
            texts += &running.end().with(&[0])?.text;
        }
        self.judge(&texts, *held.iter().chain(others).max().unwrap())
    }

    /// A run ends at this point.
    fn kill(self, commit: usize, (_, place, nth): Point) -> Result<Meeting<'a>, String> {
        let runner = &self.runners[&commit];
        let mut running = runner.hold(&["merge"], place, nth);
        running.child.kill().unwrap();
        let _ = running.end();
        runner.front.heal();
        Ok(self)
    }

    /// One after the other.
    fn each(self, order: &[usize]) -> Result<(), String> {
        let mut texts = String::new();
        for commit in order {
            texts += &self.runners[commit].run(&["merge"]).with(&[0])?.text;
        }
        self.judge(&texts, *order.iter().max().unwrap())
    }

    /// Everything is right, and `latest` is at the newest commit; and still, after all that ran have run again.
    fn judge(&self, texts: &str, newest: usize) -> Result<(), String> {
        let check = || {
            let latest = vec![self.lab.commits[newest].as_str()];
            let (keys, before) = (&self.lab.keys, &BTreeMap::new());
            let tags = Invariant { keys, before, latest }.check(&Reader::of(&self.registry.address))?;
            ensure(tags.contains_key("latest"), || "there is no latest".to_owned())
        };
        check().map_err(|why| format!("{why}\n(commits {:?})\n{texts}", self.lab.commits))?;
        for (_, runner) in self.runners.range(..=newest) {
            runner.run(&["merge"]).with(&[0])?;
            runner.run(&["verify"]).with(&[0])?;
        }
        check()
    }
}
