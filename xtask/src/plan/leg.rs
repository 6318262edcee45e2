//! The build matrix: which runner builds which jobs for which architecture.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::recipe::Recipe;
use super::slice::{Slice, SliceJob};
use crate::model::{Arch, Commit, Exit, JobName, Problem};

/// What there is to build, and what to merge afterwards.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// What is checked out; `None` where nothing was planned.
    pub commit: Option<Commit>,
    /// Whether images are built although others with their keys exist.
    pub forced: bool,
    pub build: Vec<LegJob>,
    pub merge: Vec<LegJob>,
}

/// A job with the architectures to build, and what its legs are told of it.
#[derive(Clone, Debug)]
pub struct LegJob {
    pub name: JobName,
    pub arches: Vec<Arch>,
    /// `None` where nothing was planned: every leg finds out by itself then, and the gate sees whether they agree.
    pub slice: Option<SliceJob>,
}

impl LegJob {
    /// A job with these architectures to build. Without a key there is nothing that its legs could be told.
    pub fn new(recipe: &Recipe, arches: &[Arch]) -> LegJob {
        let Recipe { job, expected, .. } = recipe;
        let bases = expected.bases.values().cloned().collect();
        let slice = expected.key.as_ref().map(|key| SliceJob::new(job.position, key, bases));
        LegJob { name: job.name.clone(), arches: arches.to_vec(), slice }
    }
}

/// One entry of the build matrix: a runner, an architecture, and the jobs it builds, as the workflow reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Leg {
    name: String,
    arch: Arch,
    /// The runner's label.
    runner: String,
    jobs: Vec<JobName>,
    /// The slice of the plan, or nothing.
    plan: String,
}

impl Work {
    /// The matrix of `build`, for `strategy: matrix:`. One leg for each job and architecture; several jobs in one leg
    /// where there would be more than `most`.
    ///
    /// # Errors
    /// A job wants an architecture that no runner is configured for, or there are more architectures than legs.
    pub fn build_matrix(&self, runners: &BTreeMap<Arch, String>, most: usize) -> anyhow::Result<Value> {
        Ok(json!({ "include": self.legs(runners, most)? }))
    }

    fn legs(&self, runners: &BTreeMap<Arch, String>, most: usize) -> anyhow::Result<Vec<Leg>> {
        let mut by_arch: BTreeMap<Arch, Vec<&LegJob>> = BTreeMap::new();
        for job in &self.build {
            for &arch in &job.arches {
                by_arch.entry(arch).or_default().push(job);
            }
        }
        let total: usize = by_arch.values().map(Vec::len).sum();
        let mut legs = Vec::new();
        for (arch, jobs) in by_arch {
            let runner = runners.get(&arch).ok_or_else(|| no_runner(arch))?;
            // Each architecture gets its share of the legs, rounded down so that the sum fits.
            let share = if total <= most { jobs.len() } else { (most * jobs.len() / total).max(1) };
            legs.extend(split_evenly(&jobs, share).map(|jobs| self.leg(arch, runner, jobs)));
        }
        if legs.len() > most {
            return Err(Problem::new("max-legs", format!("{most} legs are fewer than there are architectures"))
                .help("raise `max-legs` in Cargo.toml")
                .exit(Exit::Usage));
        }
        Ok(legs)
    }

    fn leg(&self, arch: Arch, runner: &str, jobs: &[&LegJob]) -> Leg {
        let names: Vec<JobName> = jobs.iter().map(|job| job.name.clone()).collect();
        let name = format!("{} ({arch})", range(&names));
        Leg { name, arch, runner: runner.to_owned(), jobs: names, plan: self.slice(jobs) }
    }

    /// The matrix of `merge`: one leg for all jobs, as a merge takes a moment.
    pub fn merge_matrix(&self) -> Value {
        if self.merge.is_empty() {
            return json!({ "include": [] });
        }
        let names: Vec<JobName> = self.merge.iter().map(|job| job.name.clone()).collect();
        let plan = self.slice(&self.merge.iter().collect::<Vec<_>>());
        json!({ "include": [{ "name": format!("merge {}", range(&names)), "jobs": names, "plan": plan }] })
    }

    /// The slice of some jobs, if all of them were planned.
    fn slice(&self, jobs: &[&LegJob]) -> String {
        let jobs: Option<Vec<SliceJob>> = jobs.iter().map(|job| job.slice.clone()).collect();
        let slice = jobs.zip(self.commit.clone());
        slice.map(|(jobs, commit)| Slice { commit, forced: self.forced, jobs }.to_string()).unwrap_or_default()
    }
}

fn no_runner(arch: Arch) -> anyhow::Error {
    Problem::new(format!("architecture `{arch}`"), "no runner is configured for it")
        .help(format!("add `{arch} = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"))
        .exit(Exit::Usage)
}

/// Cuts a list into so many runs that differ by one in length at most, in order.
fn split_evenly<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    (0..parts).map(move |i| &items[items.len() * i / parts..items.len() * (i + 1) / parts])
}

fn range(names: &[JobName]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn work(names: &[&str]) -> Work {
        let job = |name: &&str| LegJob { name: name.parse().unwrap(), arches: Arch::ALL.to_vec(), slice: None };
        Work { commit: COMMIT.parse().ok(), build: names.iter().map(job).collect(), ..Work::default() }
    }

    fn runners() -> BTreeMap<Arch, String> {
        BTreeMap::from([(Arch::Amd64, "x".to_owned()), (Arch::Arm64, "x-arm".to_owned())])
    }

    #[test]
    fn every_job_has_a_leg_for_each_architecture() {
        let matrix = work(&["a", "b"]).build_matrix(&runners(), 256).unwrap();
        expect_test::expect![[r#"
            {
              "include": [
                {
                  "arch": "amd64",
                  "jobs": [
                    "a"
                  ],
                  "name": "a (amd64)",
                  "plan": "",
                  "runner": "x"
                },
                {
                  "arch": "amd64",
                  "jobs": [
                    "b"
                  ],
                  "name": "b (amd64)",
                  "plan": "",
                  "runner": "x"
                },
                {
                  "arch": "arm64",
                  "jobs": [
                    "a"
                  ],
                  "name": "a (arm64)",
                  "plan": "",
                  "runner": "x-arm"
                },
                {
                  "arch": "arm64",
                  "jobs": [
                    "b"
                  ],
                  "name": "b (arm64)",
                  "plan": "",
                  "runner": "x-arm"
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&matrix).unwrap());
    }

    #[test]
    fn many_jobs_share_legs_evenly() {
        let names: Vec<String> = (0..1000).map(|n| format!("j{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let legs = work(&names).legs(&runners(), 256).unwrap();
        assert_eq!(legs.len(), 256);
        assert!(legs.iter().all(|leg| (7..=8).contains(&leg.jobs.len())));
        assert_eq!(legs.iter().map(|leg| leg.jobs.len()).sum::<usize>(), 2000);
        assert_eq!(legs[0].name, "j0000 to j0006 (amd64)");
    }

    #[test]
    fn a_job_may_want_fewer_architectures_and_none_that_nobody_runs() {
        let mut some = work(&["a"]);
        some.build[0].arches = vec![Arch::Arm64];
        assert_eq!(some.legs(&runners(), 256).unwrap().len(), 1);
        let only_amd64 = BTreeMap::from([(Arch::Amd64, "x".to_owned())]);
        assert_eq!(
            some.legs(&only_amd64, 256).unwrap_err().to_string(),
            "architecture `arm64`: no runner is configured for it\n  \
             help: add `arm64 = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"
        );
        assert!(work(&["a"]).legs(&runners(), 1).is_err());
        assert!(work(&[]).legs(&runners(), 256).unwrap().is_empty());
    }

    #[test]
    fn ten_thousand_jobs_fit_into_256_legs_and_one_megabyte() {
        let key = Key::for_test("0123456789abcdef0123");
        let digest = |n: usize| format!("sha256:{n:064x}").parse().unwrap();
        let jobs: Vec<LegJob> = (0..10_000)
            .map(|n| LegJob {
                name: format!("team-{:02}.report-{n:05}", n % 50).parse().unwrap(),
                arches: Arch::ALL.to_vec(),
                slice: Some(SliceJob::new(n, &key, vec![digest(n % 7), digest(n % 3)])),
            })
            .collect();
        let work = Work { commit: COMMIT.parse().ok(), build: jobs.clone(), merge: jobs, ..Work::default() };
        let legs = work.legs(&runners(), 256).unwrap();
        assert_eq!(legs.len(), 256);
        let matrix = work.build_matrix(&runners(), 256).unwrap().to_string();
        assert!(matrix.len() < 1 << 20, "{}", matrix.len());
        let merge = work.merge_matrix().to_string();
        assert!(merge.len() < 1 << 20, "{}", merge.len());
        // Architectures apart, every job once in each.
        for arch in Arch::ALL {
            let mut names: Vec<&JobName> =
                legs.iter().filter(|leg| leg.arch == arch).flat_map(|leg| &leg.jobs).collect();
            assert_eq!(names.len(), 10_000);
            names.dedup();
            assert_eq!(names.len(), 10_000);
        }
        let slice: Slice = legs[255].plan.parse().unwrap();
        assert_eq!((slice.commit.to_string(), slice.jobs.len()), (COMMIT.to_owned(), legs[255].jobs.len()));
    }
}
