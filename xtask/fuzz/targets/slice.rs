//! Slices of a plan: what is accepted prints and reads again as the same, and the legs of a plan share out its jobs.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fuzz::model::{Arch, Commit, Digest, Exit, Expected, Failure, JobFiles, Key, Repository};
use fuzz::plan::{Basis, Job, LegJob, Recipe, Work, matrix};
use fuzz::settings::JobSettings;
use fuzz::{check_message, check_problem, dockerfile};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn digest(number: u8) -> Digest {
    format!("sha256:{number:064x}").parse().unwrap()
}

/// A slice as the program reads it: only a [`Basis`] can hold one outside of `plan`.
fn read(text: &str) -> anyhow::Result<Basis> {
    Basis::Registry { force: false }.or_slice(text)
}

fn check_text(text: &str) {
    let slice = match read(text) {
        Ok(Basis::Slice(slice)) => slice,
        Ok(_) => return assert!(text.is_empty()),
        Err(error) => {
            let failure = error.downcast_ref::<Failure>().expect("a mistake of whoever wrote the slice");
            assert_eq!(failure.exit, Exit::Usage);
            return failure.problems.iter().for_each(check_problem);
        }
    };
    let printed = slice.to_string();
    check_message(&printed);
    assert!(matches!(read(&printed), Ok(Basis::Slice(again)) if again == slice), "{printed}");
    assert!(printed.len() <= text.len(), "{printed}");
    assert!(slice.jobs.is_sorted_by(|a, b| a.position < b.position), "each position once: {printed}");
    assert!(slice.jobs.iter().all(|job| slice.job(job.position) == Some(job)), "{printed}");
}

/// Jobs of a plan, sorted by name; not all of the commit's, and some without a key.
fn recipes(data: &mut Unstructured<'_>) -> Result<Vec<Recipe>> {
    let (mut position, mut recipes) = (0, Vec::new());
    for _ in 0..data.int_in_range(0..=100)? {
        if data.is_empty() {
            break;
        }
        position += 1 + data.int_in_range(0..=3)?;
        let [bits, number] = data.arbitrary::<[u8; 2]>()?;
        let arches = [&Arch::ALL[..1], &Arch::ALL[1..], &Arch::ALL][usize::from(bits % 3)].to_vec();
        let bases = (0..bits >> 4 & 3).map(|base| (format!("base-{base}"), digest(number.wrapping_add(base))));
        let bases: BTreeMap<String, Digest> = bases.collect();
        let key = (bits & 128 == 0).then(|| Key::of(None, &BTreeMap::new(), &bases, [number; 32], "", None));
        recipes.push(recipe(position, arches, bases, key));
    }
    Ok(recipes)
}

fn recipe(position: usize, arches: Vec<Arch>, bases: BTreeMap<String, Digest>, key: Option<Key>) -> Recipe {
    let files = JobFiles { dir: "jobs/x".into(), dockerfile: "jobs/x/Dockerfile".into(), context: "".into() };
    let (name, settings) = (format!("j{position}").parse().unwrap(), JobSettings::default());
    let job = Job { name, files, position, arches, settings };
    let expected = Expected {
        settings_file: job.files.settings_file(),
        job: job.name.clone(),
        repository: Repository::new(None, "jobs/x").unwrap(),
        tag: "x".parse().unwrap(),
        arches: job.arches.clone(),
        revision: None,
        key,
        bases,
        begins_with: BTreeMap::new(),
        foreign_files: Vec::new(),
        attested: false,
        forced: false,
    };
    let inputs = dockerfile::Inputs::default();
    let (own_ignore, bases, tree) = (None, Vec::new(), Arc::default());
    Recipe { job, inputs, own_ignore, bases, tree, expected, uncommitted: None, whole: None }
}

/// What the legs of a matrix are told of, one leg's jobs after the other's.
fn told<'a>(matrix: &Value, recipes: &'a [Recipe]) -> Vec<(&'a Recipe, Option<Arch>)> {
    let mut all = Vec::new();
    for leg in matrix["include"].as_array().unwrap() {
        let named = |name: &Value| recipes.iter().find(|recipe| recipe.job.name.as_str() == name).unwrap();
        let jobs: Vec<&Recipe> = leg["jobs"].as_array().unwrap().iter().map(named).collect();
        assert!(!jobs.is_empty(), "{leg}");
        check_slice(leg["plan"].as_str().unwrap(), &jobs);
        let arch = leg.get("arch").map(|arch| arch.as_str().unwrap().parse().unwrap());
        all.extend(jobs.into_iter().map(|job| (job, arch)));
    }
    all
}

/// A slice is of the jobs of its leg, or there is none because one of them has no key.
fn check_slice(plan: &str, jobs: &[&Recipe]) {
    if plan.is_empty() {
        return assert!(jobs.iter().any(|recipe| recipe.expected.key.is_none()));
    }
    let Ok(Basis::Slice(slice)) = read(plan) else { panic!("{plan}") };
    assert_eq!(slice.to_string(), plan);
    assert_eq!(slice.jobs.len(), jobs.len());
    for (told, Recipe { job, expected, .. }) in slice.jobs.iter().zip(jobs) {
        assert!(told.position == job.position && told.is_of(expected.key.as_ref().unwrap()), "{plan}");
        assert!(told.bases.iter().eq(expected.bases.values()), "{plan}");
    }
}

fn check_legs(mut data: Unstructured<'_>) -> Result<()> {
    let (most, forced) = (data.int_in_range(1..=64)?, data.arbitrary()?);
    let recipes = recipes(&mut data)?;
    let jobs: Vec<LegJob> = recipes.iter().map(|recipe| LegJob::new(recipe, &recipe.job.arches)).collect();
    let commit: Option<Commit> = COMMIT.parse().ok();
    let work = Work { commit, forced, environment: None, build: jobs.clone(), merge: jobs, unchanged: Vec::new() };
    let runners = BTreeMap::from(Arch::ALL.map(|arch| (arch, Value::from(arch.platform()))));
    let mut to_build: Vec<(String, Arch)> = Vec::new();
    for Recipe { job, .. } in &recipes {
        to_build.extend(job.arches.iter().map(|&arch| (job.name.to_string(), arch)));
    }
    to_build.sort();
    match work.build_legs(&runners, most, Some(Arch::Amd64)) {
        Ok(legs) => {
            assert!(legs.len() <= most, "{} legs", legs.len());
            let built = told(&matrix(&legs), &recipes);
            let mut built: Vec<_> = built.iter().map(|(r, arch)| (r.job.name.to_string(), arch.unwrap())).collect();
            built.sort();
            assert_eq!(built, to_build, "each image is built once");
        }
        Err(error) => {
            let arches: BTreeSet<Arch> = to_build.into_iter().map(|(_, arch)| arch).collect();
            assert!(most < arches.len(), "{error}");
        }
    }
    let merged = told(&matrix(&work.merge_legs(&runners, Some(Arch::Amd64))), &recipes);
    let mut merged: Vec<usize> = merged.iter().map(|(recipe, _)| recipe.job.position).collect();
    merged.sort_unstable();
    assert!(merged.iter().eq(recipes.iter().map(|recipe| &recipe.job.position)), "each job is merged once");
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        // These characters stand for a commit and a digest, which are long to guess.
        check_text(&text.replace('C', COMMIT).replace('D', &"ab".repeat(32)).replace('E', &"cd".repeat(32)));
    }
    // Data that ends too early makes no plan.
    let _ = check_legs(Unstructured::new(data));
});
