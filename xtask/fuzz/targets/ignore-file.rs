//! Ignore files: what is clear to us is what BuildKit makes of it, in time that does not explode, and the list of files
//! that a build may see lets these through and no others.

#![no_main]

use fuzz::buildkit::Patterns;
use fuzz::check_problem;
use fuzz::dockerfile::{Ignore, Inputs, allow_list};
use fuzz::model::TreeEntry;
use libfuzzer_sys::fuzz_target;

const FOLDER: u32 = 0o040_000;

/// A path as git lists it.
fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn check_ignore_file(text: &str, paths: &[&str]) {
    let ignore = Ignore::parse(text);
    if let Some(fault) = &ignore.unclear {
        check_problem(&fault.at(".dockerignore"));
        assert!((1..=text.lines().count()).contains(&fault.line), "{fault:?}");
        assert!(!paths.iter().any(|path| ignore.ignored(path.as_bytes())), "{text:?}");
        return;
    }
    let theirs = Patterns::parse(text);
    for path in paths {
        assert_eq!(ignore.ignored(path.as_bytes()), theirs.ignored(path), "{path:?} in {text:?}");
        check_folders(&ignore, path);
    }
    let within = ignore.clone().of_context("c");
    for path in paths {
        assert_eq!(within.ignored(format!("c/{path}").as_bytes()), ignore.ignored(path.as_bytes()), "{path:?}");
        assert!(path.starts_with("c/") || within.ignored(path.as_bytes()), "{path:?}");
    }
}

/// A folder that is left out as a whole holds no file that is let in.
fn check_folders(ignore: &Ignore, path: &str) {
    for (end, _) in path.match_indices('/') {
        let folder = [TreeEntry { path: path[..end].into(), mode: FOLDER, blob: String::new() }];
        let whole = Inputs::Whole { line: None, because: String::new() };
        let is_left_out = whole.select(&folder, ignore).files.is_empty();
        assert!(!is_left_out || ignore.ignored(path.as_bytes()), "{path:?} in {ignore:?}");
    }
}

/// A list of files lets these and what is below them in, and no others; it has a `?` for each control character.
fn check_allow_list(paths: &[&str]) {
    let Some((other, listed)) = paths.split_last() else { return };
    let list = allow_list([], listed.iter().map(|path| path.as_bytes()));
    let patterns = Patterns::parse(&list);
    for path in listed {
        assert!(!patterns.ignored(path), "{path:?} in {list:?}");
    }
    let may_be = |(listed, other): (char, char)| listed == other || listed.is_control() && other != '/';
    let may_let_in = |path: &&str| {
        let rest = other.chars().nth(path.chars().count());
        let is_long_enough = path.chars().count() <= other.chars().count();
        is_long_enough && path.chars().zip(other.chars()).all(may_be) && matches!(rest, None | Some('/'))
    };
    assert!(patterns.ignored(other) || listed.iter().any(may_let_in), "{other:?} in {list:?}");
}

fuzz_target!(|text: &str| {
    // Paths, then the ignore file.
    let (paths, text) = text.split_once("\n\n").unwrap_or((text, ""));
    let paths: Vec<&str> = paths.split('\n').filter(|path| is_path(path)).collect();
    check_ignore_file(text, &paths);
    check_allow_list(&paths);
});
