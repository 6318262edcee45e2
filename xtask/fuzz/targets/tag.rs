//! Tags: what is accepted has OCI's grammar and leaves room for an architecture; what is refused comes with one that is
//! accepted.

#![no_main]

use fuzz::check_problem;
use fuzz::model::{Arch, Tag};
use libfuzzer_sys::fuzz_target;
use regex_lite::Regex;

/// As the distribution specification writes it.
const GRAMMAR: &str = "^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$";

thread_local! {
    static TAG: Regex = Regex::new(GRAMMAR).unwrap();
}

fn has_grammar(text: &str) -> bool {
    TAG.with(|tag| tag.is_match(text))
}

fuzz_target!(|text: &str| {
    assert_eq!(text.parse::<Tag>().is_ok(), has_grammar(text), "{text:?}");
    match Tag::for_images(text) {
        Ok(tag) => {
            assert_eq!(tag.to_string(), text);
            for arch in Arch::ALL {
                let of_arch = tag.for_arch(arch).to_string();
                assert!(has_grammar(&of_arch), "{of_arch}");
                assert!(Tag::for_images(&of_arch).is_err(), "{of_arch}");
            }
        }
        Err(problem) => {
            check_problem(&problem);
            let better = problem.help.as_ref().and_then(|help| help.split("e.g. `").nth(1)?.strip_suffix('`'));
            assert!(better.is_none_or(|better| Tag::for_images(better).is_ok()), "{problem:?}");
        }
    }
});
