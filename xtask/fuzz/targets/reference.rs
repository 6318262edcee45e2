//! Names of images, registries, repositories, digests, commits, keys and jobs: what is accepted has its specification's
//! grammar, and prints as it was written.

#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use fuzz::model::{Arch, Commit, Digest, JobName, Key, Problem, Reference, Registry, Repository, Revision};
use fuzz::{check_message, check_problem};
use libfuzzer_sys::fuzz_target;
use regex_lite::Regex;

/// As `distribution/reference` writes them, which Docker and BuildKit use.
const REFERENCE: &str = r"^(HOST/)?PART(/PART)*(:TAG)?(@sha256:[0-9a-f]{64})?$";
const HOST: &str = r"(?:LABEL(?:\.LABEL)*(?::[0-9]+)?)";
const LABEL: &str = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const PART: &str = r"(?:[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)";
const TAG: &str = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";

fn grammar(text: &str) -> Regex {
    let words = [("HOST", HOST), ("LABEL", LABEL), ("PART", PART), ("TAG", TAG)];
    Regex::new(&words.iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(word, meaning))).unwrap()
}

thread_local! {
    static OF_REFERENCE: Regex = grammar(REFERENCE);
    static OF_HOST: Regex = grammar("^HOST$");
    static OF_PATH: Regex = grammar("^PART(/PART)*$");
}

/// What parses prints as it was written.
fn round_trip<T: FromStr<Err = Problem> + Display>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(parsed) => {
            assert_eq!(parsed.to_string(), text);
            check_message(text);
            Some(parsed)
        }
        Err(problem) => {
            check_problem(&problem);
            let offers_nothing = problem.help.is_some_and(|help| help.contains("``") && !text.contains('`'));
            assert!(!offers_nothing, "no remedy: {text:?}");
            None
        }
    }
}

fn check_reference(text: &str) {
    if round_trip::<Reference>(text).is_none() {
        return;
    }
    assert!(OF_REFERENCE.with(|grammar| grammar.is_match(text)), "{text:?}");
    let full = Reference::normalized(text).expect("what is filled in is no mistake");
    assert!(full.repository.registry.is_some() && (full.tag.is_some() || full.digest.is_some()), "{full}");
    assert_eq!(Reference::normalized(&full.to_string()).as_ref(), Ok(&full));
}

fn check_registry(text: &str) {
    let Some(registry) = round_trip::<Registry>(text) else { return };
    assert!(OF_HOST.with(|grammar| grammar.is_match(text)), "{text:?}");
    let scheme = if registry.is_loopback() { "http://" } else { "https://" };
    assert!(registry.url().starts_with(scheme), "{}", registry.url());
    // The first part of a reference that names it is taken for it, and never for a name on Docker Hub.
    let image = format!("{text}/x").parse::<Reference>().expect("a registry and a name");
    assert_eq!(image.repository.registry, Some(registry));
}

fn check_repository(text: &str) {
    match Repository::new(None, text) {
        Ok(repository) => {
            assert!(OF_PATH.with(|grammar| grammar.is_match(text)) && text.len() <= 255, "{text:?}");
            assert_eq!(repository.to_string(), text);
        }
        Err(problem) => check_problem(&problem),
    }
}

fn check_job(text: &str) {
    match text.parse::<JobName>() {
        Ok(name) => assert!(Repository::new(None, name.as_str()).is_ok() || text.len() > 255, "{name}"),
        Err(problem) => {
            check_problem(&problem);
            let better = problem.help.as_ref().and_then(|help| help.split("jobs/").nth(1));
            assert!(better.is_none_or(|better| better.parse::<JobName>().is_ok()), "{problem:?}");
        }
    }
}

fuzz_target!(|text: &str| {
    // One character stands for a digest, which is long to guess.
    let text = &text.replace('D', &format!("sha256:{}", "0123456789abcdef".repeat(4)));
    check_reference(text);
    check_registry(text);
    check_repository(text);
    check_job(text);
    round_trip::<Digest>(text);
    round_trip::<Commit>(text);
    round_trip::<Key>(text);
    round_trip::<Arch>(text);
    assert!(Revision::of_label(text).is_none_or(|revision| revision.to_string() == *text), "{text:?}");
});
