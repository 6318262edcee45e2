//! Dockerfiles: what is read does not depend on how lines end, more architectures never read less, and every source is
//! a path of the context.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use fuzz::check_problem;
use fuzz::dockerfile::{Base, Dockerfile, Ignore, Inputs, onbuild_inputs};
use fuzz::model::{Arch, TreeEntry};
use libfuzzer_sys::fuzz_target;

const PATH: &str = "jobs/x/Dockerfile";

type Arguments = BTreeMap<String, String>;

/// The same file, written otherwise.
fn check_spellings(text: &str, file: &Dockerfile) {
    let mut others = vec![format!("\u{feff}{text}"), format!("{text}\n"), format!("{text}\n# the end\n")];
    if !text.contains('\r') {
        others.push(text.replace('\n', "\r\n"));
    }
    for other in others {
        assert_eq!(Dockerfile::parse(&other).as_ref(), Ok(file), "{other:?}");
    }
}

fn check_bases(file: &Dockerfile, args: &Arguments, arches: &[Arch]) {
    for stage in [None, file.stage_names().first().copied()] {
        match file.bases(args, arches, stage) {
            Ok(bases) => {
                let names: BTreeSet<&str> = bases.iter().map(|base| base.written.as_str()).collect();
                assert!(names.len() == bases.len() && !names.contains("scratch"), "{bases:?}");
                assert!(bases.is_sorted_by_key(|base: &Base| base.line), "{bases:?}");
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                faults.iter().for_each(|fault| check_problem(&fault.at(PATH)));
            }
        }
    }
}

fn check_inputs(inputs: &Inputs) {
    let sources = match inputs {
        Inputs::Whole { because, .. } => return assert!(!because.is_empty()),
        Inputs::Sources(sources) => sources,
    };
    for source in sources {
        let parts = source.path.split('/');
        assert!(source.is_pattern || !source.path.is_empty(), "{source:?}");
        assert!(!source.path.starts_with('/') && !parts.into_iter().any(|part| part == ".."), "{source:?}");
        assert!(source.is_pattern || source.covers(source), "{source:?}");
    }
    check_selected(inputs);
}

/// Files of a listing that has each source as a folder with a file in it.
fn check_selected(inputs: &Inputs) {
    let Inputs::Sources(sources) = inputs else { return };
    let paths: BTreeSet<String> = sources.iter().map(|source| format!("{}/x", source.path)).collect();
    let entry = |path: String| TreeEntry { path: path.into_bytes(), mode: 0o100_644, blob: String::new() };
    let listing: Vec<TreeEntry> = paths.into_iter().map(entry).collect();
    let selected = inputs.select(&listing, &Ignore::default());
    assert!(selected.files.is_sorted_by(|a, b| a.path < b.path), "{selected:?}");
    assert!(selected.missing.is_empty() && selected.ignored.is_empty(), "{selected:?}");
    assert_eq!(selected.files.len(), listing.len(), "{selected:?}");
}

/// What one architecture reads is among what all of them read.
fn check_architectures(file: &Dockerfile, args: &Arguments) {
    let all = file.inputs(args, &Arch::ALL);
    check_inputs(&all);
    for arch in Arch::ALL {
        let one = file.inputs(args, &[arch]);
        check_inputs(&one);
        let is_among = match (&one, &all) {
            (Inputs::Sources(one), Inputs::Sources(all)) => one.is_subset(all),
            (_, all) => matches!(all, Inputs::Whole { .. }),
        };
        assert!(is_among, "{one:?} {all:?}");
        check_bases(file, args, &[arch]);
    }
    check_bases(file, args, &Arch::ALL);
}

fuzz_target!(|text: &str| {
    let given = Arguments::from([("A".to_owned(), "b/c".to_owned()), ("TARGETARCH".to_owned(), "x".to_owned())]);
    match Dockerfile::parse(text) {
        Ok(file) => {
            check_spellings(text, &file);
            [&Arguments::new(), &given].into_iter().for_each(|args| check_architectures(&file, args));
        }
        Err(fault) => {
            check_problem(&fault.at(PATH));
            assert!((1..=text.lines().count().max(1)).contains(&fault.line), "{fault:?}");
        }
    }
    let instructions: Vec<String> = text.lines().map(str::to_owned).collect();
    check_inputs(&onbuild_inputs(&instructions, &given, &Arch::ALL));
});
