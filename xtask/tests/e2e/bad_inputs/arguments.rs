//! Arguments, variables and files that would command a terminal or GitHub's runner, and such as are no text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use expect_test::{Expect, expect};

use super::{Case, Untouched, case, check, check_printed};
use crate::harness::{DOCKERFILE, Run, Tree};

/// It sets a terminal's title, hides a word in GitHub's log and opens a group in it.
const COMMANDS: &str = "\u{1b}]0;P\u{7}x\n::add-mask::y\n##[group]z";

#[test]
fn what_clap_refuses_is_shown_escaped() {
    let flag = format!("--{COMMANDS}");
    let format = format!("--format={COMMANDS}");
    let push = format!("--push={COMMANDS}");
    check([
        case("a flag", &["discover", &flag]).says(expect![[r#"
            error: unexpected argument '--\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z' found

            Usage: cargo xtask discover [OPTIONS] [JOB]...

            For more information, try '--help'."#]]),
        case("a command", &[COMMANDS]).says(expect![[r#"
            error: unrecognized subcommand '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z'

            Usage: cargo xtask [OPTIONS] <COMMAND>

            For more information, try '--help'."#]]),
        case("a command of `ecr`", &["ecr", COMMANDS]).says(expect![[r#"
            error: unrecognized subcommand '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z'

            Usage: cargo xtask ecr [OPTIONS] <COMMAND>

            For more information, try '--help'."#]]),
        case("one of several words", &["discover", &format]).says(expect![[r#"
            error: invalid value '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z' for '--format <FORMAT>'
              [possible values: json, matrix, table]

            For more information, try '--help'."#]]),
        case("what reorders a line", &["discover", "--format=\u{202e}nosj"]).says(expect![[r#"
            error: invalid value '\u{202e}nosj' for '--format <FORMAT>'
              [possible values: json, matrix, table]

            For more information, try '--help'."#]]),
        case("a value for a flag that has none", &["build", &push]).says(expect![[r#"
            error: unexpected value '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z' for '--push' found; no more were expected

            Usage: cargo xtask build --push [JOB]...

            For more information, try '--help'."#]]),
        case("a number", &["build"]).env("JOBS_PARALLEL", COMMANDS).says(expect![[r#"
            error: invalid value '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z' for '--parallel <N>': invalid digit found in string

            For more information, try '--help'."#]]),
        case("an architecture", &["build", "--arch", COMMANDS]).says(expect![[r#"
            error: invalid value '\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z' for '--arch <ARCH>': architecture `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: name one of these

            For more information, try '--help'."#]]),
    ]);
}

/// Values that this program refuses itself.
fn refused_here() -> [Case<'static>; 15] {
    let table = concat!("[workspace]\n[workspace.metadata.jobs]\n", r#""\u001b]0;P\u0007\n::add-mask::y" = 1"#);
    [
        case("a target", &["build", "--target", COMMANDS]).says(expect![[r#"
            error: target `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: not in [workspace.metadata.jobs.targets] of Cargo.toml
              rule: there is none yet
              help: add [workspace.metadata.jobs.targets.\u{1b}]0;P\u{7}x
                : :add-mask::y
                # #[group]z] there, or name another"#]]),
        case("a tag", &["build", "--tag", COMMANDS]).says(expect![[r#"
            error: tag `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `0-P-x-add-mask-y-group-z`"#]]),
        case("a registry", &["build", "--registry", COMMANDS]).says(expect![[r#"
            error: registry `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: has upper-case letters
              help: write `\u{1b}]0;p\u{7}x
                : :add-mask::y
                # #[group]z`"#]]),
        case("a prefix", &["build", "--prefix", COMMANDS]).says(expect![[r#"
            error: prefix `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: not a valid name
              rule: parts of lower-case letters and digits with single '.', '_' or '-' between them, joined by '/'
              help: write it so, e.g. `team/jobs`"#]]),
        case("a mirror", &["build"]).env("JOBS_MIRRORS", COMMANDS).says(expect![[r#"
            error: mirror `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: not a mirror
              rule: registry=prefix
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000"#]]),
        case("a builder", &["build", "--builder", COMMANDS]).missing().says(expect![[r#"
            error: builder `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: cannot be used: no builder "\x1b]0;P\ax\n::add-mask::y\n# #[group]z" found
              help: docker buildx ls lists the builders, and docker buildx create makes one"#]]),
        case("a job", &["build", COMMANDS]).says(expect![[r#"
            error: job `\u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("a revision", &["plan", "--since", COMMANDS]).says(expect![[r#"
            error: --since \u{1b}]0;P\u{7}x\n::add-mask::y\n# #[group]z: git does not know this revision here
              help: fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in actions/checkout"#]]),
        case("a slice", &["build", "--plan", COMMANDS]).says(expect![[r#"
            error: --plan: not a slice of a plan
              rule: the text that `cargo xtask discover --changed --format matrix` gives as `plan`
              help: copy it whole, or leave it out: the plan is made here then"#]]),
        case("a file with a slice", &["build", "--plan", "@\u{1b}]0;P\u{7}\n::add-mask::y"]).says(expect![[r#"
            error: --plan: \u{1b}]0;P\u{7}
                : :add-mask::y holds no part of a plan: No such file or directory (os error 2)
              rule: with `@`, a file that `cargo xtask discover --changed --format matrix` wrote in a workflow
              help: run that again, on this commit"#]]),
        case("a commit", &["build"]).env("GITHUB_SHA", COMMANDS).says(expect![[r#"
            error: GITHUB_SHA: `\u{1b}]0;P\u{7}x
                : :add-mask::y
                # #[group]z` is not a commit
              rule: 40 lower-case hex digits
              help: leave it as GitHub sets it, or unset it: git knows the commit too"#]]),
        case("a git tag", &["build"])
            .env("GITHUB_REF", "refs/tags/\u{1b}]0;P\u{7}\n::add-mask::y")
            .says(expect![[r#"
                error: tag `\u{1b}]0;P\u{7}\n::add-mask::y`: not a valid tag
                  rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
                  help: give another with --tag or JOBS_TAG, e.g. `0-P-add-mask-y`"#]]),
        case("an instruction", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\n::add-mask::\u{1b}]0;P\u{7}y x\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:2: unknown instruction `::ADD-MASK::\u{1b}]0;P\u{7}Y`
                  rule: a line begins with an instruction, or continues one that ends in `\`
                  help: see https://docs.docker.com/reference/dockerfile/"#]]),
        case("a key of job.json", &["build"])
            .file("jobs/job/job.json", r#"{"\u001b]0;P\u0007\n::add-mask::y": 1}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:34: unknown key `\u{1b}]0;P\u{7}
                    : :add-mask::y`
                  rule: one of `$schema`, `arches`, `target`, `dockerfile`, `context`, `images`, `args`, `env-args`, `labels`, `not-secrets`, `inputs`, `secrets`, `ssh`, `foreign-files`, `timeout-minutes`
                  help: remove it, or write one of these"#]]),
        case("a key of Cargo.toml", &["build"]).file("Cargo.toml", table).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs]: unknown key `\u{1b}]0;P\u{7}
                : :add-mask::y`
              rule: one of `prefix`, `sha-length`, `max-legs`, `min-free-gb`, `runners`, `mirrors`, `provenance`, `timeouts`, `jobs-dirs`, `context`, `secrets`, `env-args`, `ssh`, `targets`
              help: remove it, or write one of these"#]]),
    ]
}

#[test]
fn what_is_refused_here_is_shown_escaped() {
    check(refused_here());
}

#[test]
fn annotations_command_nothing_else() {
    for case in refused_here() {
        let tree = Tree::new(&[&[("jobs/job/Dockerfile", DOCKERFILE)], case.files.as_slice()].concat());
        let env = [&[("GITHUB_ACTIONS", "true")], case.env.as_slice()].concat();
        let run = tree.run_with(&[case.args.as_slice(), &["--color", "never"]].concat(), &env).ended(case.code);
        assert!(run.stderr.contains("::error"), "{}: {}", case.what, run.stderr);
        let messages = run.stderr.lines().map(|line| line.strip_prefix("::error").map_or(line, |rest| &rest[2..]));
        check_printed(&messages.collect::<Vec<_>>().join("\n"));
    }
}

/// A run with arguments and variables that are no text.
#[track_caller]
fn refused(args: &[&[u8]], env: &[(&str, &[u8])], message: &Expect) {
    let tree = Tree::with_jobs(&["job"]);
    let untouched = Untouched::now(&tree, None);
    let mut command = tree.command(&[], &[]);
    command.args(args.iter().map(|arg| OsStr::from_bytes(arg)));
    command.envs(env.iter().map(|(name, value)| (name, OsStr::from_bytes(value))));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
    let run = run.ended(2);
    message.assert_eq(run.errors());
    untouched.check(&tree, None, &run);
    check_printed(&run.stderr);
}

#[test]
fn what_is_not_utf_8_is_named() {
    refused(
        &[b"build", b"--tag", b"a\xff\n::add-mask::y"],
        &[("JOBS_TAG", b"\xff"), ("GITHUB_REF", b"\xfe")],
        &expect![[r#"
            error: argument `a\xFF\n::add-mask::y`: not UTF-8
              rule: arguments and variables are UTF-8 text
              help: give it in UTF-8
            error: GITHUB_REF: not UTF-8
              rule: arguments and variables are UTF-8 text
              help: give it in UTF-8
            error: JOBS_TAG: not UTF-8
              rule: arguments and variables are UTF-8 text
              help: give it in UTF-8

            Usage: cargo xtask [OPTIONS] <COMMAND>

            For more information, try '--help'."#]],
    );
}
