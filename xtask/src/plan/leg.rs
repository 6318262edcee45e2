//! The build matrix: which runner builds which jobs for which architecture.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::arch::Arch;
use crate::model::job::{Job, JobName};
use crate::model::problem::Problem;
use crate::plan::slice::{Slice, SliceJob};

/// A job with the architectures to build, and what its legs are told of it.
#[derive(Clone, Debug)]
pub struct Order {
    pub job: JobName,
    pub arches: Vec<Arch>,
    /// `None` where nothing was planned: every leg finds out by itself then, and the gate sees whether they agree.
    pub slice: Option<SliceJob>,
}

/// One entry of the build matrix: a runner, an architecture, and the jobs it builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub arch: Arch,
    /// The runner's label.
    pub runner: String,
    pub jobs: Vec<JobName>,
    /// The slice of the plan, or nothing.
    pub plan: String,
}

/// A leg as it stands in the matrix: what the workflow reads.
#[derive(Serialize)]
struct Entry<'a> {
    name: String,
    arch: Arch,
    runner: &'a str,
    jobs: &'a [JobName],
    plan: &'a str,
}

/// The architectures that a job is built for: its own, else the repository's.
pub fn arches(job: &Job, runners: &BTreeMap<Arch, String>) -> Vec<Arch> {
    let mut arches = job.settings.arches.clone().unwrap_or_else(|| runners.keys().copied().collect());
    arches.sort_unstable();
    arches.dedup();
    arches
}

/// One leg for each job and architecture; several jobs in one leg where there would be more than `most`.
///
/// # Errors
/// A job wants an architecture that no runner is configured for, or there are more architectures than legs.
pub fn legs(commit: &str, orders: &[Order], runners: &BTreeMap<Arch, String>, most: usize) -> anyhow::Result<Vec<Leg>> {
    let mut by_arch: BTreeMap<Arch, Vec<&Order>> = BTreeMap::new();
    for order in orders {
        for &arch in &order.arches {
            by_arch.entry(arch).or_default().push(order);
        }
    }
    let total: usize = by_arch.values().map(Vec::len).sum();
    let mut legs = Vec::new();
    for (arch, orders) in by_arch {
        let Some(runner) = runners.get(&arch) else {
            return Err(Problem::new(format!("architecture `{arch}`"), "no runner is configured for it")
                .help(format!("add `{arch} = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"))
                .usage());
        };
        // Each architecture gets its share of the legs, rounded down so that the sum fits.
        let share = if total <= most { orders.len() } else { (most * orders.len() / total).max(1) };
        for orders in split_evenly(&orders, share) {
            let jobs = orders.iter().map(|order| order.job.clone()).collect();
            legs.push(Leg { arch, runner: runner.clone(), jobs, plan: slice(commit, orders) });
        }
    }
    if legs.len() > most {
        return Err(Problem::new("max-legs", format!("{most} legs are fewer than there are architectures"))
            .help("raise `max-legs` in Cargo.toml")
            .usage());
    }
    Ok(legs)
}

/// The slice of some jobs, if all of them were planned.
fn slice(commit: &str, orders: &[&Order]) -> String {
    let jobs: Option<Vec<SliceJob>> = orders.iter().map(|order| order.slice.clone()).collect();
    jobs.map(|jobs| Slice { commit: commit.to_owned(), jobs }.to_string()).unwrap_or_default()
}

/// Cuts a list into so many runs that differ by one in length at most, in order.
fn split_evenly<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    (0..parts).map(move |i| &items[items.len() * i / parts..items.len() * (i + 1) / parts])
}

/// The matrix, for `strategy: matrix:`.
pub fn matrix(legs: &[Leg]) -> Value {
    let entries: Vec<Entry<'_>> = legs
        .iter()
        .map(|leg| Entry { name: name(leg), arch: leg.arch, runner: &leg.runner, jobs: &leg.jobs, plan: &leg.plan })
        .collect();
    json!({ "include": entries })
}

/// The matrix of `merge`: one leg for all jobs, as a merge takes a moment.
pub fn merge_matrix(commit: &str, orders: &[Order]) -> Value {
    if orders.is_empty() {
        return json!({ "include": [] });
    }
    let names: Vec<JobName> = orders.iter().map(|order| order.job.clone()).collect();
    let plan = slice(commit, &orders.iter().collect::<Vec<_>>());
    json!({ "include": [{ "name": format!("merge {}", range(&names)), "jobs": names, "plan": plan }] })
}

fn name(leg: &Leg) -> String {
    format!("{} ({})", range(&leg.jobs), leg.arch)
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
    use crate::model::job::JobSettings;
    use crate::model::key::Key;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn orders(names: &[&str]) -> Vec<Order> {
        let order = |name: &&str| Order { job: name.parse().unwrap(), arches: Arch::ALL.to_vec(), slice: None };
        names.iter().map(order).collect()
    }

    fn legs(orders: &[Order], most: usize) -> anyhow::Result<Vec<Leg>> {
        super::legs(COMMIT, orders, &runners(), most)
    }

    fn runners() -> BTreeMap<Arch, String> {
        BTreeMap::from([(Arch::Amd64, "x".to_owned()), (Arch::Arm64, "x-arm".to_owned())])
    }

    #[test]
    fn every_job_has_a_leg_for_each_architecture() {
        let legs = legs(&orders(&["a", "b"]), 256).unwrap();
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
        .assert_eq(&serde_json::to_string_pretty(&matrix(&legs)).unwrap());
    }

    #[test]
    fn many_jobs_share_legs_evenly() {
        let names: Vec<String> = (0..1000).map(|n| format!("j{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let legs = legs(&orders(&names), 256).unwrap();
        assert_eq!(legs.len(), 256);
        assert!(legs.iter().all(|leg| (7..=8).contains(&leg.jobs.len())));
        assert_eq!(legs.iter().map(|leg| leg.jobs.len()).sum::<usize>(), 2000);
        assert_eq!(name(&legs[0]), "j0000 to j0006 (amd64)");
    }

    #[test]
    fn a_job_may_want_fewer_architectures_and_none_that_nobody_runs() {
        let settings = JobSettings { arches: Some(vec![Arch::Arm64, Arch::Arm64]), ..JobSettings::default() };
        let job = Job { name: "a".parse().unwrap(), settings };
        assert_eq!(arches(&job, &runners()), [Arch::Arm64]);
        let mut some = orders(&["a"]);
        some[0].arches = vec![Arch::Arm64];
        assert_eq!(legs(&some, 256).unwrap().len(), 1);
        let only_amd64 = BTreeMap::from([(Arch::Amd64, "x".to_owned())]);
        assert_eq!(
            super::legs(COMMIT, &some, &only_amd64, 256).unwrap_err().to_string(),
            "architecture `arm64`: no runner is configured for it\n  \
             help: add `arm64 = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"
        );
        assert!(legs(&orders(&["a"]), 1).is_err());
        assert!(legs(&[], 256).unwrap().is_empty());
    }

    #[test]
    fn ten_thousand_jobs_fit_into_256_legs_and_one_megabyte() {
        let key: Key = "0123456789abcdef0123".parse().unwrap();
        let digest = |n: usize| format!("sha256:{n:064x}").parse().unwrap();
        let orders: Vec<Order> = (0..10_000)
            .map(|n| Order {
                job: format!("team-{:02}.report-{n:05}", n % 50).parse().unwrap(),
                arches: Arch::ALL.to_vec(),
                slice: Some(SliceJob::new(n, &key, vec![digest(n % 7), digest(n % 3)], false)),
            })
            .collect();
        let legs = legs(&orders, 256).unwrap();
        assert_eq!(legs.len(), 256);
        let matrix = matrix(&legs).to_string();
        assert!(matrix.len() < 1 << 20, "{}", matrix.len());
        let merge = merge_matrix(COMMIT, &orders).to_string();
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
        assert_eq!((slice.commit.as_str(), slice.jobs.len()), (COMMIT, legs[255].jobs.len()));
    }
}
