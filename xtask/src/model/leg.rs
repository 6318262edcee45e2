//! The build matrix: which runner builds which jobs for which architecture.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::arch::Arch;
use super::job::{Job, JobName};
use crate::problem::Problem;

/// One entry of the build matrix: a runner, an architecture, and the jobs it builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub arch: Arch,
    /// The runner's label.
    pub runner: String,
    pub jobs: Vec<JobName>,
}

/// A leg as it stands in the matrix: what the workflow reads.
#[derive(Serialize)]
struct Entry<'a> {
    name: String,
    arch: Arch,
    runner: &'a str,
    jobs: String,
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
pub fn legs(jobs: &[Job], runners: &BTreeMap<Arch, String>, most: usize) -> anyhow::Result<Vec<Leg>> {
    let mut by_arch: BTreeMap<Arch, Vec<JobName>> = BTreeMap::new();
    for job in jobs {
        for arch in arches(job, runners) {
            by_arch.entry(arch).or_default().push(job.name.clone());
        }
    }
    let total: usize = by_arch.values().map(Vec::len).sum();
    let mut legs = Vec::new();
    for (arch, names) in by_arch {
        let Some(runner) = runners.get(&arch) else {
            return Err(Problem::new(format!("architecture `{arch}`"), "no runner is configured for it")
                .help(format!("add `{arch} = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"))
                .usage());
        };
        // Each architecture gets its share of the legs, rounded down so that the sum fits.
        let share = if total <= most { names.len() } else { (most * names.len() / total).max(1) };
        for jobs in split_evenly(&names, share) {
            legs.push(Leg { arch, runner: runner.clone(), jobs: jobs.to_vec() });
        }
    }
    if legs.len() > most {
        return Err(Problem::new("max-legs", format!("{most} legs are fewer than there are architectures"))
            .help("raise `max-legs` in Cargo.toml")
            .usage());
    }
    Ok(legs)
}

/// Cuts a list into so many runs that differ by one in length at most, in order.
fn split_evenly<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    (0..parts).map(move |i| &items[items.len() * i / parts..items.len() * (i + 1) / parts])
}

/// The matrix, for `strategy: matrix:`.
pub fn matrix(legs: &[Leg]) -> Value {
    let entries: Vec<Entry<'_>> = legs
        .iter()
        .map(|leg| Entry { name: name(leg), arch: leg.arch, runner: &leg.runner, jobs: joined(&leg.jobs) })
        .collect();
    json!({ "include": entries })
}

/// The matrix of `merge`: one leg for all jobs.
pub fn merge_matrix(jobs: &[Job]) -> Value {
    if jobs.is_empty() {
        return json!({ "include": [] });
    }
    let names: Vec<JobName> = jobs.iter().map(|job| job.name.clone()).collect();
    json!({ "include": [{ "name": format!("merge {}", range(&names)), "jobs": joined(&names) }] })
}

fn joined(names: &[JobName]) -> String {
    names.iter().map(JobName::as_str).collect::<Vec<_>>().join(" ")
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

    fn jobs(names: &[&str]) -> Vec<Job> {
        names.iter().map(|name| Job { name: name.parse().unwrap(), settings: JobSettings::default() }).collect()
    }

    fn runners() -> BTreeMap<Arch, String> {
        BTreeMap::from([(Arch::Amd64, "x".to_owned()), (Arch::Arm64, "x-arm".to_owned())])
    }

    #[test]
    fn every_job_has_a_leg_for_each_architecture() {
        let legs = legs(&jobs(&["a", "b"]), &runners(), 256).unwrap();
        expect_test::expect![[r#"
            {
              "include": [
                {
                  "arch": "amd64",
                  "jobs": "a",
                  "name": "a (amd64)",
                  "runner": "x"
                },
                {
                  "arch": "amd64",
                  "jobs": "b",
                  "name": "b (amd64)",
                  "runner": "x"
                },
                {
                  "arch": "arm64",
                  "jobs": "a",
                  "name": "a (arm64)",
                  "runner": "x-arm"
                },
                {
                  "arch": "arm64",
                  "jobs": "b",
                  "name": "b (arm64)",
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
        let legs = legs(&jobs(&names), &runners(), 256).unwrap();
        assert_eq!(legs.len(), 256);
        assert!(legs.iter().all(|leg| (7..=8).contains(&leg.jobs.len())));
        assert_eq!(legs.iter().map(|leg| leg.jobs.len()).sum::<usize>(), 2000);
        assert_eq!(name(&legs[0]), "j0000 to j0006 (amd64)");
    }

    #[test]
    fn a_job_may_want_fewer_architectures_and_none_that_nobody_runs() {
        let mut some = jobs(&["a"]);
        some[0].settings.arches = Some(vec![Arch::Arm64, Arch::Arm64]);
        assert_eq!(legs(&some, &runners(), 256).unwrap().len(), 1);
        let only_amd64 = BTreeMap::from([(Arch::Amd64, "x".to_owned())]);
        assert_eq!(
            legs(&some, &only_amd64, 256).unwrap_err().to_string(),
            "architecture `arm64`: no runner is configured for it\n  \
             help: add `arm64 = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"
        );
        assert!(legs(&jobs(&["a"]), &runners(), 1).is_err());
        assert!(legs(&[], &runners(), 256).unwrap().is_empty());
    }
}
