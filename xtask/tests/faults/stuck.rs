//! One commit that is built or merged more than once, and tags that a lifecycle policy takes: what is published stays,
//! and whoever runs again finishes.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::check::{Invariant, Reader, Tags};
use crate::front::{Place, TAG_WRITE, UPLOAD};
use crate::harness::{BOTH, Registry, Tree};
use crate::lab::{B, Bench, C, Lab, Runner, Start};

const JOB: &str = "jobs/job";
/// Built twice without layers of an earlier build, this is another image each time.
const DOCKERFILE: &str = "FROM busybox:1.37\nRUN cat /proc/uptime > /now\n";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gone in [&["amd64"][..], &["arm64"], &["amd64", "arm64"]] {
        for (start, commit) in [(Start::PublishedB, B), (Start::PublishedB, C), (Start::BuiltB, B)] {
            let name = format!(
                "the tags of {} expire, {}",
                gone.join(" and "),
                if start == Start::BuiltB {
                    "and it is not merged yet"
                } else if commit == B {
                    "and it runs again"
                } else {
                    "and they are reused"
                }
            );
            cases.push(Case::new("one commit twice", name, move |lab| expire(lab, start, commit, gone)));
        }
    }
    for force in [&["--no-cache"][..], &["--force"], &["--force", "--no-cache"]] {
        let name = format!("what is published is built again by {}", force.join(" "));
        cases.push(Case::new("one commit twice", name, move |lab| again(lab, force)));
    }
    for (what, place) in [("its first upload", UPLOAD), ("the write of its first tag", TAG_WRITE)] {
        let name = format!("a build is held at {what}, while another run publishes");
        cases.push(Case::new("one commit twice", name, move |lab| overtaken(lab, place)));
    }
    cases
}

fn expire(lab: &Lab, start: Start, commit: usize, gone: &[&str]) -> Result<(), String> {
    let registry = lab.registry(start);
    gone.iter().for_each(|arch| registry.delete(JOB, &format!("{}-{arch}", &lab.commits[B][..7])));
    let runner = Runner::new(lab.tree(commit), &registry.address);
    let bench = Bench::of(lab, commit, runner, Reader::of(&registry.address));
    bench.runner.finish()?;
    bench.recover()
}

/// A registry, and two clones at one commit.
struct Twins {
    registry: Registry,
    runners: [Runner; 2],
}

impl Twins {
    fn new(lab: &Lab) -> Twins {
        let (registry, first) = (Registry::start(), Tree::copy_of(lab.source()));
        first.write("jobs/job/Dockerfile", DOCKERFILE);
        first.commit("never the same");
        let second = Tree::copy_of(first.path());
        let runners = [first, second].map(|tree| Runner::new(tree, &registry.address));
        Twins { registry, runners }
    }

    fn build(&self, runner: usize, flags: &[&str], codes: &[i32]) -> Result<(), String> {
        self.runners[runner].run(&[&["build"], &BOTH[..], flags].concat()).with(codes).map(drop)
    }

    /// Everything is right, and no tag has changed but those of architectures.
    fn check(&self, before: &Tags) -> Result<Tags, String> {
        let (reader, commit) = (Reader::of(&self.registry.address), self.runners[0].tree.head());
        let key = reader.set(&commit[..7], &["amd64", "arm64"])?.key;
        let keys = BTreeMap::from([(commit.clone(), key)]);
        Invariant { keys: &keys, before, latest: vec![&commit] }.check(&reader)
    }

    /// Both run again, and finish; nothing that is published changes.
    fn finish(&self) -> Result<(), String> {
        let before = self.check(&Tags::new())?;
        self.runners.iter().try_for_each(Runner::finish)?;
        self.check(&before).map(drop)
    }
}

/// What is published is built again, which may be refused.
fn again(lab: &Lab, flags: &[&str]) -> Result<(), String> {
    let twins = Twins::new(lab);
    twins.runners[0].finish()?;
    let before = twins.check(&Tags::new())?;
    twins.build(1, flags, &[0, 3])?;
    twins.runners[1].run(&["merge"]).with(&[0])?;
    twins.check(&before)?;
    twins.finish()
}

/// The slower one pushes other images, after the faster one has published.
fn overtaken(lab: &Lab, place: Place) -> Result<(), String> {
    let twins = Twins::new(lab);
    let slow = twins.runners[0].hold(&[&["build"], &BOTH[..], &["--no-cache"]].concat(), place, 1);
    twins.build(1, &["--no-cache"], &[0])?;
    twins.runners[1].run(&["merge"]).with(&[0])?;
    let before = twins.check(&Tags::new())?;
    twins.runners[0].front.heal();
    slow.end().with(&[0])?;
    twins.check(&before)?;
    twins.finish()
}
