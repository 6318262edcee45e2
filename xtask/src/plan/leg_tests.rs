use camino::Utf8PathBuf;

use super::*;
use crate::model::Key;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn job(name: &str) -> LegJob {
    let dir = Utf8PathBuf::from(format!("jobs/{name}"));
    let files = JobFiles { dockerfile: dir.join("Dockerfile"), dir, context: Utf8PathBuf::new() };
    LegJob { name: name.parse().unwrap(), files, arches: Arch::ALL.to_vec(), minutes: None, slice: None }
}

fn work(names: &[&str]) -> Work {
    Work { commit: COMMIT.parse().ok(), build: names.iter().map(|name| job(name)).collect(), ..Work::default() }
}

fn labels() -> BTreeMap<Arch, Value> {
    BTreeMap::from([(Arch::Amd64, json!("x")), (Arch::Arm64, json!(["self-hosted", "arm64"]))])
}

const HERE: Option<Arch> = Some(Arch::Amd64);

#[test]
fn every_job_has_a_leg_for_each_architecture() {
    let legs = work(&["a", "b"]).build_legs(&labels(), 40, HERE).unwrap();
    let names: Vec<&str> = legs.iter().map(|leg| leg.name.as_str()).collect();
    assert_eq!(names, ["a (amd64)", "b (amd64)", "a (arm64)", "b (arm64)"]);
    expect_test::expect![[r#"
        {
          "include": [
            {
              "arch": "arm64",
              "compile": true,
              "environment": "",
              "jobs": [
                "b"
              ],
              "minutes": 60,
              "name": "b (arm64)",
              "plan": "",
              "runner": [
                "self-hosted",
                "arm64"
              ]
            }
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&matrix(&legs[3..])).unwrap());
    assert!(!legs[0].compile);
}

#[test]
fn few_jobs_of_one_kind_do_not_take_the_legs_of_many() {
    // Of the other architecture there is one job, and one of each without a key.
    let mut work = many(200);
    work.build.iter_mut().skip(3).for_each(|job| job.arches = vec![Arch::Amd64]);
    work.build.iter_mut().take(2).for_each(|job| job.slice = None);
    let sizes = |most| -> Vec<usize> {
        work.build_legs(&labels(), most, HERE).unwrap().iter().map(|leg| leg.told.jobs.len()).collect()
    };
    assert_eq!(sizes(6), [99, 99, 2, 1, 2]);
    assert_eq!(sizes(4), [198, 2, 1, 2]);
    assert_eq!(sizes(3), [200, 3]);
}

#[test]
fn a_leg_may_take_as_long_as_its_jobs() {
    let mut long = work(&["a", "b"]);
    long.build[1].minutes = Some(90);
    let minutes =
        |most| -> Vec<u32> { long.build_legs(&labels(), most, HERE).unwrap().iter().map(|leg| leg.minutes).collect() };
    assert_eq!(minutes(40), [60, 150, 60, 150]);
    assert_eq!(minutes(2), [155, 155]);
    long.build[0].minutes = Some(u32::MAX);
    assert_eq!(long.build_legs(&labels(), 2, HERE).unwrap()[0].minutes, u32::MAX);
    let many: Vec<String> = (0..200).map(|n| format!("j{n}")).collect();
    let many = work(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let minutes: Vec<u32> = [40, 2].map(|most| many.build_legs(&labels(), most, HERE).unwrap()[0].minutes).to_vec();
    assert_eq!(minutes, [105, 360]);
}

#[test]
fn a_job_without_a_key_takes_the_slice_from_no_other() {
    let mut work = many(3);
    work.build[1].slice = None;
    work.merge[1].slice = None;
    let labels = labels();
    let told = |legs: &[Leg]| -> Vec<(usize, bool)> {
        legs.iter().map(|leg| (leg.told.jobs.len(), leg.told.plan.is_empty())).collect()
    };
    let build = work.build_legs(&labels, 4, HERE).unwrap();
    assert_eq!(told(&build), [(2, false), (1, true), (2, false), (1, true)]);
    assert_eq!(told(&work.merge_legs(&labels, HERE)), [(2, false), (1, true)]);
    // With so few legs, they share what there is.
    assert_eq!(told(&work.build_legs(&labels, 2, HERE).unwrap()), [(3, true), (3, true)]);
}

#[test]
fn many_jobs_share_legs_evenly() {
    let names: Vec<String> = (0..1000).map(|n| format!("j{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let legs = work(&names).build_legs(&labels(), 40, HERE).unwrap();
    assert_eq!(legs.len(), 40);
    assert!(legs.iter().all(|leg| leg.told.jobs.len() == 50));
    assert_eq!(legs[0].name, "j0000 to j0049 (amd64)");
}

#[test]
fn a_job_may_want_fewer_architectures_and_none_that_nobody_runs() {
    let mut some = work(&["a"]);
    some.build[0].arches = vec![Arch::Arm64];
    assert_eq!(some.build_legs(&labels(), 40, HERE).unwrap().len(), 1);
    let only_amd64 = BTreeMap::from([(Arch::Amd64, json!("x"))]);
    assert_eq!(
        some.build_legs(&only_amd64, 40, HERE).unwrap_err().to_string(),
        "architecture `arm64`: no runner is configured for it\n  \
         help: add `arm64 = \"<label>\"` to [workspace.metadata.jobs.runners] in Cargo.toml"
    );
    assert!(work(&["a"]).build_legs(&labels(), 1, HERE).is_err());
    assert!(work(&[]).build_legs(&labels(), 40, HERE).unwrap().is_empty());
}

#[test]
fn merges_run_where_the_plan_was_made() {
    let work = Work { merge: vec![job("a"), job("b")], ..Work::default() };
    let labels = labels();
    let [leg] = &work.merge_legs(&labels, HERE)[..] else { panic!() };
    assert_eq!((leg.name.as_str(), &leg.runner, leg.compile), ("merge a to b", &json!("x"), false));
    let only_arm64 = BTreeMap::from([(Arch::Arm64, json!("y"))]);
    let [leg] = &work.merge_legs(&only_arm64, HERE)[..] else { panic!() };
    assert_eq!((&leg.runner, leg.compile), (&json!("y"), true));
}

/// So many jobs with two bases each, all of them to be built and merged.
fn many(jobs: usize) -> Work {
    let key = Key::for_test("0123456789abcdef0123");
    let digest = |n: usize| format!("sha256:{n:064x}").parse().unwrap();
    let many = (0..jobs).map(|n| LegJob {
        slice: Some(SliceJob::new(n, &key, vec![digest(n % 7), digest(n % 3)])),
        ..job(&format!("team-{:02}.report-{n:05}", n % 50))
    });
    let many: Vec<LegJob> = many.collect();
    Work { commit: COMMIT.parse().ok(), build: many.clone(), merge: many, ..Work::default() }
}

/// The legs of so many jobs in at most so many, the files, and what each leg is told, read back.
fn handed_on(jobs: usize, legs: usize) -> (Vec<Leg>, Vec<Leg>, BTreeMap<String, String>, Vec<Told>) {
    let (work, labels) = (many(jobs), labels());
    let mut build = work.build_legs(&labels, legs, HERE).unwrap();
    let mut merge = work.merge_legs(&labels, HERE);
    let files = into_files("target/plan", &mut build, &mut merge);
    let told = build.iter().map(|leg| match leg.told.plan.strip_prefix('@') {
        Some(path) => serde_json::from_str(&files[path]).unwrap(),
        None => leg.told.clone(),
    });
    let told = told.collect();
    (build, merge, files, told)
}

#[test]
fn what_legs_are_told_fits_at_every_size() {
    for (jobs, legs, in_files) in [
        (1, 40, false),
        (300, 40, false),
        (2_000, 256, false),
        (5_000, 40, true),
        (10_000, 40, true),
        (10_000, 2, true),
    ] {
        let (build, merge, files, told) = handed_on(jobs, legs);
        assert_eq!(!files.is_empty(), in_files, "{jobs} jobs, {legs} legs");
        // GitHub counts the outputs of a job in UTF-16.
        let outputs = [&build, &merge].map(|legs| 2 * matrix(legs).to_string().encode_utf16().count());
        assert!(outputs.iter().sum::<usize>() <= (1 << 20) - 8192, "{outputs:?}");
        for Leg { told: Told { jobs, plan }, .. } in build.iter().chain(&merge) {
            assert!(jobs.join(" ").len().max(plan.len()) < 128 * 1024 - 32, "{} and {}", jobs.len(), plan.len());
        }
        // Every job once for each architecture, in a slice that can be read.
        let mut names: Vec<&String> = told.iter().flat_map(|told| &told.jobs).collect();
        assert_eq!(names.len(), 2 * jobs);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), jobs);
        for told in &told {
            let slice: Slice = told.plan.parse().unwrap();
            assert_eq!((slice.commit.to_string(), slice.jobs.len()), (COMMIT.to_owned(), told.jobs.len()));
        }
        assert_eq!(merge.len(), jobs.div_ceil(1000));
    }
}
