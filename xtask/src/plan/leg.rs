//! The legs of a workflow: which runner builds which jobs for which architecture, and which merges which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::broken::BrokenJobs;
use super::jobs::Job;
use super::recipe::Recipe;
use super::slice::{Slice, SliceJob};
use crate::model::{Arch, Commit, Exit, JobFiles, JobName, Problem};

/// How long a leg may take, in minutes: an hour, a little more for each further job, and what jobs have as their own
/// limit; at most as long as GitHub lets a job run on a runner of its own.
const USUAL_MINUTES: u32 = 60;
const MINUTES_MORE: u32 = 5;
const MOST_MINUTES: u32 = 360;
/// How many jobs one leg merges at most: two minutes' work, and fewer than GitHub attests at once.
const MOST_MERGED: usize = 1000;
/// The longest value of an environment variable on Linux (`MAX_ARG_STRLEN`), in bytes, less room for its name.
const LONGEST_VARIABLE: usize = 128 * 1024 - 64;
/// What the outputs of a job may have together on GitHub, in UTF-16 code units, less room for the short ones.
const LONGEST_OUTPUTS: usize = (1 << 20) / 2 - 4096;

/// What there is to do for the jobs that were planned.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// What is checked out; `None` where nothing was planned.
    pub commit: Option<Commit>,
    /// Whether images are built although others with their keys exist.
    pub forced: bool,
    /// The environment of GitHub's that legs run in. It travels with them: were it an output of its own, GitHub would
    /// drop it where it holds a masked value, and the legs would run in none.
    pub environment: Option<String>,
    pub build: Vec<LegJob>,
    /// What is merged once it is built.
    pub merge: Vec<LegJob>,
    /// What needs no build, and can be merged at once.
    pub unchanged: Vec<LegJob>,
}

/// A job with the architectures to build, and what its legs are told of it.
#[derive(Clone, Debug)]
pub struct LegJob {
    pub name: JobName,
    pub files: JobFiles,
    pub arches: Vec<Arch>,
    /// After how many minutes one of its builds is ended, if it says so.
    minutes: Option<u32>,
    /// `None` where nothing was planned: every leg finds out by itself then, and the gate sees whether they agree.
    slice: Option<SliceJob>,
}

impl LegJob {
    /// A job that was not planned, with all of its architectures.
    pub fn unplanned(job: &Job) -> LegJob {
        let minutes = job.settings.timeout_minutes;
        LegJob { name: job.name.clone(), files: job.files.clone(), arches: job.arches.clone(), minutes, slice: None }
    }

    /// A job with these architectures to build. Without a key there is nothing that its legs could be told.
    pub fn new(recipe: &Recipe, arches: &[Arch]) -> LegJob {
        let Recipe { job, expected, .. } = recipe;
        let bases = expected.bases.values().cloned().collect();
        let slice = expected.key.as_ref().map(|key| SliceJob::new(job.position, key, bases));
        LegJob { arches: arches.to_vec(), slice, ..LegJob::unplanned(job) }
    }
}

/// One entry of a matrix: a runner with the jobs that it builds for an architecture, or merges, as the workflow reads
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leg {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<Arch>,
    /// What `runs-on` takes.
    runner: Value,
    /// Whether the runner has to compile the xtask: the one that is handed on is of another architecture.
    compile: bool,
    /// After how many minutes the leg is ended.
    minutes: u32,
    /// An empty name means none.
    environment: String,
    #[serde(flatten)]
    told: Told,
}

/// What a runner is told of its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The jobs' names.
    pub jobs: Vec<String>,
    /// The slice of the plan, or nothing; `@` and a path stand for the file that holds all of this.
    pub plan: String,
}

impl Told {
    /// What becomes of broken jobs: a leg goes on with its own whatever is wrong with others, as the plan has said it.
    pub fn broken(&self, keep_going: bool) -> BrokenJobs {
        BrokenJobs::new(keep_going || !self.plan.is_empty())
    }
}

impl Work {
    /// The legs that build. One for each job and architecture; several jobs in one leg where there would be too many.
    ///
    /// `runners` is what `runs-on` takes for each architecture, and `here` that of this machine, whose xtask is handed
    /// on.
    ///
    /// # Errors
    /// A job wants an architecture that no runner is configured for, or there are more architectures than legs.
    pub fn build_legs(
        &self,
        runners: &BTreeMap<Arch, Value>,
        most: usize,
        here: Option<Arch>,
    ) -> anyhow::Result<Vec<Leg>> {
        // A job without a key would leave its whole leg without a slice, so it is kept apart if there may be so many.
        let group = |apart: bool| {
            let mut groups: BTreeMap<(Arch, bool), Vec<&LegJob>> = BTreeMap::new();
            for job in &self.build {
                for &arch in &job.arches {
                    groups.entry((arch, apart && job.slice.is_none())).or_default().push(job);
                }
            }
            groups
        };
        let groups = Some(group(true)).filter(|groups| groups.len() <= most).unwrap_or_else(|| group(false));
        let (count, total) = (groups.len(), groups.values().map(Vec::len).sum::<usize>());
        let mut legs = Vec::new();
        for ((arch, _), jobs) in groups {
            let runner = runners.get(&arch).ok_or_else(|| no_runner(arch))?;
            // Each group gets a leg, and its share of the others, rounded down so that the sum fits.
            let others = most.saturating_sub(count);
            let share = if total <= most { jobs.len() } else { 1 + others * jobs.len() / total };
            legs.extend(split_evenly(&jobs, share).map(|jobs| Leg {
                name: format!("{} ({arch})", range(jobs)),
                arch: Some(arch),
                runner: runner.clone(),
                compile: here != Some(arch),
                minutes: minutes(jobs),
                environment: self.environment.clone().unwrap_or_default(),
                told: self.told(jobs),
            }));
        }
        if legs.len() > most {
            return Err(Problem::new("max-legs", format!("{most} legs are fewer than there are architectures"))
                .help("raise `max-legs` in Cargo.toml")
                .exit(Exit::Usage));
        }
        Ok(legs)
    }

    /// The legs that merge what was built, on runners like the one that plans.
    pub fn merge_legs(&self, runners: &BTreeMap<Arch, Value>, here: Option<Arch>) -> Vec<Leg> {
        let (planned, others): (Vec<&LegJob>, Vec<&LegJob>) = self.merge.iter().partition(|job| job.slice.is_some());
        let like_this = here.and_then(|arch| runners.get(&arch));
        let runner = like_this.or_else(|| runners.values().next()).cloned().unwrap_or_default();
        let leg = |jobs: &[&LegJob]| Leg {
            name: format!("merge {}", range(jobs)),
            arch: None,
            runner: runner.clone(),
            compile: like_this.is_none(),
            minutes: USUAL_MINUTES,
            environment: self.environment.clone().unwrap_or_default(),
            told: self.told(jobs),
        };
        let legs =
            [&planned, &others].into_iter().flat_map(|jobs| split_evenly(jobs, jobs.len().div_ceil(MOST_MERGED)));
        legs.map(leg).collect()
    }

    /// What is told of the jobs that can be merged at once, in a file: its text, and what stands for it.
    pub fn unchanged_in_file(&self, path: &str) -> (String, Told) {
        self.told(&self.unchanged.iter().collect::<Vec<_>>()).in_file(path)
    }

    fn told(&self, jobs: &[&LegJob]) -> Told {
        // A slice is of jobs that were all planned.
        let slices: Option<Vec<SliceJob>> = jobs.iter().map(|job| job.slice.clone()).collect();
        let slice = slices.zip(self.commit.clone()).map(|(jobs, commit)| Slice { commit, forced: self.forced, jobs });
        Told {
            jobs: jobs.iter().map(|job| job.name.to_string()).collect(),
            plan: slice.map(|slice| slice.to_string()).unwrap_or_default(),
        }
    }
}

impl Told {
    /// Whether a step can be given all of it in environment variables.
    fn fits_into_variables(&self) -> bool {
        let names: usize = self.jobs.iter().map(|name| name.len() + 1).sum();
        names.max(self.plan.len()) <= LONGEST_VARIABLE
    }

    /// This in a file: its text, and what stands for it.
    fn in_file(&self, path: &str) -> (String, Told) {
        (json!(self).to_string(), Told { jobs: Vec::new(), plan: format!("@{path}") })
    }
}

/// A matrix, for `strategy: matrix:`.
pub fn matrix(legs: &[Leg]) -> Value {
    json!({ "include": legs })
}

/// What the legs are told goes into files where it is too long for the outputs of a job, or for the variables of a
/// step: the text of each file by its path below the folder.
pub fn into_files(folder: &str, build: &mut [Leg], merge: &mut [Leg]) -> BTreeMap<String, String> {
    let outputs = [&*build, &*merge].map(|legs| matrix(legs).to_string().encode_utf16().count()).iter().sum::<usize>();
    if outputs <= LONGEST_OUTPUTS && build.iter().chain(&*merge).all(|leg| leg.told.fits_into_variables()) {
        return BTreeMap::new();
    }
    let mut files = BTreeMap::new();
    for (kind, legs) in [("build", build), ("merge", merge)] {
        for (number, leg) in legs.iter_mut().enumerate() {
            let path = format!("{folder}/{kind}-{number}.json");
            let (text, told) = leg.told.in_file(&path);
            leg.told = told;
            files.insert(path, text);
        }
    }
    files
}

fn minutes(jobs: &[&LegJob]) -> u32 {
    let own = jobs.iter().filter_map(|job| job.minutes).fold(0, u32::saturating_add);
    let more = u32::try_from(jobs.len().saturating_sub(1)).unwrap_or(MOST_MINUTES).saturating_mul(MINUTES_MORE);
    own.saturating_add(more).saturating_add(USUAL_MINUTES).min(MOST_MINUTES.max(own))
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

fn range(jobs: &[&LegJob]) -> String {
    match jobs {
        [] => "nothing".to_owned(),
        [only] => only.name.to_string(),
        [first, .., last] => format!("{} to {}", first.name, last.name),
    }
}

#[cfg(test)]
#[path = "leg_tests.rs"]
mod tests;
