//! Unit tests of `inputs.rs`. Every rule was tried with BuildKit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::dockerfile::Dockerfile;
use crate::model::Arch;

fn read(text: &str) -> Inputs {
    Dockerfile::parse(text).unwrap().inputs(&BTreeMap::new(), &Arch::ALL)
}

fn entries(paths: &[&str]) -> Vec<TreeEntry> {
    let entry = |path: &&str| {
        let (path, mode) = match path.split_once(' ') {
            Some((path, "link")) => (path, LINK),
            Some((path, "folder")) => (path, FOLDER),
            Some((path, _)) => (path, SUBMODULE),
            None => (*path, 0o100_644),
        };
        TreeEntry { path: path.as_bytes().to_vec(), mode, blob: String::new() }
    };
    let mut entries: Vec<TreeEntry> = paths.iter().map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// The files that the instruction selects; then the reason for all, or what is missing.
fn selected(instruction: &str, entries: &[TreeEntry], ignore: &str) -> String {
    let inputs = read(&format!("FROM scratch\n{instruction}\n")).through_links(entries);
    told(&inputs, entries, ignore)
}

fn told(inputs: &Inputs, entries: &[TreeEntry], ignore: &str) -> String {
    let matched = inputs.select(entries, &Ignore::parse(ignore));
    let mut told: Vec<String> =
        matched.files.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    told.extend(matched.empty.iter().map(|entry| format!("{}/", String::from_utf8_lossy(&entry.path))));
    if let Inputs::Whole { line, because } = inputs {
        told.push(format!("all, line {}: {because}", line.unwrap_or_default()));
    }
    let line = |source: &ContextPath| source.line.unwrap();
    told.extend(matched.missing.iter().map(|source| format!("line {}: no {}", line(source), source.written)));
    told.extend(matched.ignored.iter().map(|source| format!("line {}: {} is ignored", line(source), source.written)));
    told.join(", ")
}

#[test]
fn a_folder_of_which_all_but_itself_is_ignored_is_empty() {
    let files = entries(&["a/b/c/x.md", "a/b/y", "a/d/e/x.md", "a/x.md", "f/x.md", "g/h/x.md", "g-x/x.md"]);
    for (instruction, ignore, expected) in [
        (
            "COPY . /",
            "**/*.md",
            "a/b/y, a/b/c/, a/d/e/, f/, g-x/, g/h/, all, line 2: `COPY .` copies the whole context",
        ),
        ("COPY a /", "**/*.md", "a/b/y, a/b/c/, a/d/e/"),
        ("COPY f g/h /", "**/*.md", "f/, g/h/"),
        ("COPY g* /", "**/*.md", "g-x/, g/h/"),
        ("COPY a /", "**/*.md\na/d/e", "a/b/y, a/b/c/, a/d/"),
        ("COPY a /", "a/*\n!a/d", "a/d/e/x.md"),
        ("COPY a/b /", "a\n!a/b/c/x.md", "a/b/c/x.md"),
        ("COPY f /", "f", "line 2: f is ignored"),
    ] {
        assert_eq!(selected(instruction, &files, ignore), expected, "{instruction}, {ignore}");
    }
}

#[test]
fn files_below_the_sources_are_selected() {
    let files =
        entries(&["a", "d/e/f", "d/g", "d-x", "d.y", "jobs/a/conf", "jobs/b/conf", "jobs/b/run", "sub submodule"]);
    for (instruction, ignore, expected) in [
        ("COPY a /", "", "a"),
        ("COPY d /", "", "d/e/f, d/g"),
        ("COPY d d/e a d /", "", "a, d/e/f, d/g"),
        ("COPY d* /", "", "d-x, d.y, d/e/f, d/g"),
        ("COPY jobs/*/conf /", "", "jobs/a/conf, jobs/b/conf, jobs/b/run"),
        ("COPY sub/x /", "", "sub"),
        ("COPY sub/*.x /", "", "sub"),
        ("RUN --mount=source=d,target=/x true", "", "d/e/f, d/g"),
        ("USER u", "", ""),
        ("COPY d /", "d/e", "d/g"),
        ("COPY d /", "*\n!d/e", "d/e/f"),
        ("COPY d /", "d/**", "d/"),
        ("COPY a no/such jobs/c* /", "", "a, line 2: no no/such"),
        ("COPY a/b /", "", "line 2: no a/b"),
        ("COPY a d /", "a\nd", "line 2: a is ignored, line 2: d is ignored"),
        ("COPY d* /", "d*", ""),
        ("COPY . /", "jobs\nsub", "a, d-x, d.y, d/e/f, d/g, all, line 2: `COPY .` copies the whole context"),
    ] {
        assert_eq!(selected(instruction, &files, ignore), expected, "{instruction} {ignore:?}");
    }
}

#[test]
fn symbolic_links_that_a_build_follows_select_all() {
    let files = entries(&["a", "d/l link", "d/t", "jobs/x/l link", "l link"]);
    let all = |link: &str| {
        format!("a, d/l, d/t, jobs/x/l, l, all, line 2: `{link}` is a symbolic link, which a build follows")
    };
    for (instruction, expected) in [
        ("COPY d /", "d/l, d/t".to_owned()),
        ("COPY jobs/* /", "jobs/x/l".to_owned()),
        ("COPY d/l /", all("d/l")),
        ("COPY l/t /", all("l")),
        ("COPY l/*.x /", all("l")),
        ("COPY l* /", all("l")),
        ("COPY jobs/*/* /", all("jobs/x/l")),
        ("COPY jobs/** /", all("jobs/x/l")),
        ("RUN --mount=source=l,target=/x true", all("l")),
    ] {
        assert_eq!(selected(instruction, &files, ""), expected, "{instruction}");
    }
}

#[test]
fn named_paths_count_even_if_they_are_ignored() {
    let files = entries(&["a", "d/l link", "d/t", "jobs/x/Dockerfile", "l link", "s submodule"]);
    let named = |paths: &[&str]| paths.iter().map(|path| Inputs::named(path)).fold(Inputs::default(), Inputs::union);
    let all = "a, d/l, d/t, jobs/x/Dockerfile, l, s, all, line 0: ";
    for (paths, expected) in [
        (["jobs/x/Dockerfile", "./a/"].as_slice(), "a, jobs/x/Dockerfile"),
        (&["d", "/d/t", "d/u", "*"], "d/l, d/t"),
        (&["s/x"], "s"),
        (&["l/x", "a"], &format!("{all}`l` is a symbolic link, which a build follows")),
        (&["a", "."], &format!("{all}`.` is the whole context")),
    ] {
        assert_eq!(told(&named(paths).through_links(&files), &files, ""), expected, "{paths:?}");
    }
    assert_eq!(told(&named(&["a", "d/t"]), &files, "*"), "a, d/t");
    let both = named(&["a"]).union(read("FROM scratch\nCOPY a d /"));
    assert_eq!(told(&both, &files, "*\n!d/t"), "a, d/t, line 2: a is ignored");
}

#[test]
fn of_two_reasons_for_all_the_first_stays() {
    let whole = |because: &str| Inputs::Whole { line: Some(3), because: because.to_owned() };
    assert_eq!(read("FROM scratch\nCOPY a /").union(whole("x")), whole("x"));
    assert_eq!(whole("x").union(whole("y")), whole("x"));
    let both = read("FROM scratch\nCOPY a /").union(read("FROM scratch\nCOPY b /"));
    assert_eq!(both, read("FROM scratch\nCOPY a b /"));
}

#[test]
fn a_folder_in_a_listing_stands_for_all_below_it() {
    let files = entries(&["jobs/new folder", "lib folder", "target folder", "x"]);
    for (instruction, ignore, expected) in [
        ("COPY lib/a/b /", "", "lib"),
        ("COPY lib/* jobs/n* /", "", "jobs/new, lib"),
        ("COPY jobs/new/src/x jobs /", "", "jobs/new"),
        ("COPY jobs/ne /", "", "line 2: no jobs/ne"),
        ("COPY x/a /", "", "line 2: no x/a"),
        ("COPY . /", "target\nx", "jobs/new, lib, all, line 2: `COPY .` copies the whole context"),
        ("COPY . /", "*\n!lib", "lib, all, line 2: `COPY .` copies the whole context"),
        // An exception may be about something below a folder that is ignored itself.
        ("COPY . /", "*\n!lib/a/b", "lib, all, line 2: `COPY .` copies the whole context"),
        ("COPY . /", "*\n!jobs/*/src", "jobs/new, all, line 2: `COPY .` copies the whole context"),
        ("COPY . /", "*\n!jobs\n!libs\njobs/*", "jobs/, all, line 2: `COPY .` copies the whole context"),
    ] {
        assert_eq!(selected(instruction, &files, ignore), expected, "{instruction} {ignore:?}");
    }
}

#[test]
fn ten_thousand_jobs_take_a_moment() {
    let paths: Vec<String> = (0..10_000)
        .flat_map(|job| ["Dockerfile", "job.json", "src/main", "src/lib"].map(|file| format!("jobs/job-{job}/{file}")))
        .collect();
    let files = entries(&paths.iter().map(String::as_str).collect::<Vec<&str>>());
    let ignore = Ignore::parse(".git\ntarget\n**/*.md\n**/node_modules\n!jobs\n");
    let start = Instant::now();
    let mut count = 0;
    for job in 0..10_000 {
        let text =
            format!("FROM alpine:3\nWORKDIR /app\nCOPY jobs/job-{job}/src jobs/job-{job}/job.json ./\nRUN true\n");
        count += read(&text).through_links(&files).select(&files, &ignore).files.len();
    }
    assert_eq!(count, 30_000);
    // A debug build takes half a second; reading every file for every job would take minutes.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
