//! Variables in a Dockerfile: what `plan` makes of them is what BuildKit makes of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Output, Stdio};

use crate::architecture::base;
use crate::harness::{BOTH, Registry, TempDir, Tree, docker_command, run_image};

#[path = "../../src/dockerfile"]
mod program {
    pub mod expand;
}

use program::expand::{NoValue, expand};

const VALUES: [(&str, &str); 4] = [("V", "v1.2.3-rc.1"), ("P", "/usr/local/lib*[a]"), ("L", "ab\ncb*"), ("E", "")];
/// Patterns that BuildKit takes.
const PATTERNS: [&str; 24] = [
    "v",
    "*",
    "**",
    "?",
    "*.",
    "*.*",
    ".*",
    "?*?",
    "b",
    "*b",
    "[a]",
    "+",
    "^",
    "\"*\"",
    "'*'",
    "\"\\*\"",
    "\\*",
    "\\?",
    "\\}",
    "\\/",
    "${V%%.*}",
    "${NO:-\\*}",
    "/usr",
    "",
];

/// What this program makes of a word.
fn expanded(word: &str, escape: char) -> Result<String, NoValue> {
    let values = BTreeMap::from(VALUES);
    expand(word, escape, &mut |name| Ok(values.get(name).map(|value| value.to_string())))
}

/// All the patterns with all the operators on all the values.
fn words() -> Vec<String> {
    let mut words = Vec::new();
    for (name, _) in VALUES.iter().chain(&[("NO", "")]) {
        for pattern in PATTERNS {
            words.extend(["#", "##", "%", "%%"].map(|operator| format!("${{{name}{operator}{pattern}}}")));
            words.extend(["/", "//"].map(|operator| format!("<${{{name}{operator}{pattern}/_\\/\"$E\"'-'}}>")));
        }
    }
    words
}

/// A build of what stands on its stdin.
fn build(dockerfile: &str, output: &str) -> Output {
    let mut command = docker_command();
    command.args(["buildx", "build", "--progress=plain", "--output", output]);
    command.args(VALUES.iter().flat_map(|(name, value)| ["--build-arg".to_owned(), format!("{name}={value}")]));
    command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What BuildKit makes of the words, each before `FROM` and after it.
fn built(words: &[String], escape: char) -> BTreeMap<String, String> {
    let declared: String = VALUES.iter().map(|(name, _)| format!("ARG {name}\n")).collect();
    // A line for many of them: each would be an entry of the image's history.
    let lines = |keyword: &str, word: fn((usize, &String)) -> String| {
        let all: Vec<String> = words.iter().enumerate().map(word).collect();
        all.chunks(100).map(|some| format!("{keyword} {}\n", some.join(" "))).collect::<String>()
    };
    let dockerfile = format!(
        "# escape={escape}\n{declared}{}FROM {} AS build\n{declared}{}{}RUN env -0 > /env\n\
         FROM scratch\nCOPY --from=build /env /\n",
        lines("ARG", |(i, word)| format!("BEFORE{i}={word}")),
        base(),
        lines("ARG", |(i, _)| format!("BEFORE{i}")),
        lines("ENV", |(i, word)| format!("AFTER{i}={word}")),
    );
    let dir = TempDir::new();
    let output = build(&dockerfile, &format!("type=local,dest={}", dir.0.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let env = std::fs::read_to_string(dir.0.join("env")).unwrap();
    let pairs = env.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn words_have_the_values_that_a_build_gives_them() {
    for escape in ['\\', '`'] {
        let mut words = words();
        words.retain(|word| expanded(word, escape).is_ok());
        assert!(words.len() > 600, "{}", words.len());
        let built = built(&words, escape);
        for (i, word) in words.iter().enumerate() {
            let expected = expanded(word, escape).unwrap();
            for place in ["BEFORE", "AFTER"] {
                assert_eq!(built.get(&format!("{place}{i}")), Some(&expected), "{place} `FROM`: {word}");
            }
        }
    }
}

#[test]
fn a_build_refuses_the_words_that_are_refused_here() {
    for word in ["${V#\\v}", "${V%\\v}", "${V/\\v/}", "${V/v}", "${V/v/", "${V#v", "${V:#v}", "${V:0:1}", "${V^^}"] {
        assert!(matches!(expanded(word, '\\'), Err(NoValue { is_refused: true, .. })), "{word}");
        let output = build(&format!("ARG V\nARG X={word}\nFROM scratch\nENV X=$X\n"), "type=cacheonly");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("failed to process"), "{word}: {said}");
    }
}

#[test]
fn a_job_names_its_files_and_its_base_by_patterns() {
    let dockerfile = "\
        ARG VERSION=v1.37 ARCH=${TARGETARCH/arm64/aarch64}\n\
        FROM busybox:${VERSION#v} AS base\n\
        FROM base\n\
        ARG TARGETARCH NAME=tool.txt:1\n\
        ARG FILE=${NAME%:*}-${TARGETARCH/arm64/aarch64}\n\
        COPY bin/$FILE /tool\n\
        CMD [\"cat\", \"/tool\"]\n";
    let tree = Tree::new(&[("jobs/job/Dockerfile", dockerfile), ("other", "1")]);
    tree.write("bin/tool.txt-amd64", "for AMD64");
    tree.write("bin/tool.txt-aarch64", "for ARM64");
    tree.commit("tools");
    let registry = Registry::start();
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let planned = tree.run_with(&["plan"], &env).ended(0);
    assert!(!planned.stderr.contains("warning"), "{}", planned.stderr);
    // The build is given no other files than those that were found here.
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
    let image = format!("{}/jobs/job:{}", registry.address, tree.tag());
    assert_eq!([run_image(&image, "amd64"), run_image(&image, "arm64")], ["for AMD64", "for ARM64"]);
    // What it does not read changes nothing.
    tree.write("other", "2");
    tree.commit("another file");
    let plan = tree.run_with(&["plan", "--format", "json"], &env).ended(0);
    assert!(plan.stdout.contains("unchanged since"), "{}", plan.stdout);
}
