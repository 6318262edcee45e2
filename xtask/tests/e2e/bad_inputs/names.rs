//! Names of folders that cannot be names of images, some of which would command a terminal, a shell or GitHub's runner.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use expect_test::{Expect, expect};

use super::{Untouched, check_printed, untouched};
use crate::harness::{DOCKERFILE, Run, Tree};

/// A tree with the job `good` and a folder of this name with a Dockerfile.
fn tree_with(name: &[u8]) -> Tree {
    let tree = Tree::with_jobs(&["good"]);
    let dir = tree.path().join("jobs").join(OsStr::from_bytes(name));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), DOCKERFILE).unwrap();
    tree
}

#[test]
fn a_bad_name_is_refused_by_every_command() {
    let registry = untouched::registry();
    let names: [(&[u8], Expect); 21] = [
        (
            b"Foo",
            expect![[r#"
            error: jobs/Foo: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/foo"#]],
        ),
        (
            b"my job",
            expect![[r#"
            error: jobs/my job: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/my-job"#]],
        ),
        (
            b"-x",
            expect![[r#"
            error: jobs/-x: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/x"#]],
        ),
        (
            b"--push",
            expect![[r#"
            error: jobs/--push: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/push"#]],
        ),
        (
            b"a-",
            expect![[r#"
            error: jobs/a-: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a"#]],
        ),
        (
            b"a.",
            expect![[r#"
            error: jobs/a.: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a"#]],
        ),
        (
            b"a--b",
            expect![[r#"
            error: jobs/a--b: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a-b"#]],
        ),
        (
            b"a__b",
            expect![[r#"
            error: jobs/a__b: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a-b"#]],
        ),
        (
            b"a..b",
            expect![[r#"
            error: jobs/a..b: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a-b"#]],
        ),
        (
            b"1st",
            expect![[r#"
            error: jobs/1st: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder"#]],
        ),
        (
            b"a\nb",
            expect![[r#"
            error: jobs/a\nb: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/a-b"#]],
        ),
        (
            b"$(id)",
            expect![[r#"
            error: jobs/$(id): not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/id"#]],
        ),
        (
            b"`id`",
            expect![[r#"
            error: jobs/`id`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/id"#]],
        ),
        (
            b";",
            expect![[r#"
            error: jobs/;: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder"#]],
        ),
        (
            b"${{ github.token }}",
            expect![[r#"
            error: jobs/${{ github.token }}: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/github-token"#]],
        ),
        (
            b"::add-mask::x",
            expect![[r#"
            error: jobs/::add-mask::x: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/add-mask-x"#]],
        ),
        (
            b"##[group]",
            expect![[r#"
            error: jobs/# #[group]: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/group"#]],
        ),
        (
            b"\x1b[2J",
            expect![[r#"
            error: jobs/\u{1b}[2J: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder"#]],
        ),
        (
            b"a\xffb",
            expect![[r#"
            error: jobs/a�b: its name is not UTF-8
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder"#]],
        ),
        (
            "é".as_bytes(),
            expect![[r#"
            error: jobs/é: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder"#]],
        ),
        (
            "\u{202e}gnp".as_bytes(),
            expect![[r#"
            error: jobs/\u{202e}gnp: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: rename the folder, e.g. jobs/gnp"#]],
        ),
    ];
    for (name, message) in names {
        let tree = tree_with(name);
        let untouched = Untouched::now(&tree, Some(&registry));
        let said = tree.run(&["discover"]).ended(2);
        message.assert_eq(said.errors());
        check_printed(&said.stderr);
        for command in ["build", "merge", "verify", "pipeline"] {
            let run = tree.run_with(&[command], &[("JOBS_REGISTRY", &registry.address)]).ended(2);
            assert_eq!(run.errors(), said.errors(), "{command}");
            untouched.check(&tree, Some(&registry), &run);
        }
    }
}

/// The lines that GitHub's runner would take for commands.
fn commands(run: &Run) -> Vec<&str> {
    run.stderr.lines().filter(|line| line.trim_start().starts_with("::") || line.contains("##[")).collect()
}

#[test]
fn a_bad_name_commands_no_runner() {
    let tree = tree_with(b"::add-mask::x");
    for name in ["##[group]", "a\n::add-mask::x", "${{ github.token }}", "%0A::add-mask::x"] {
        tree.write(&format!("jobs/{name}/Dockerfile"), DOCKERFILE);
    }
    let run = tree.run_with(&["discover", "--color", "never"], &[("GITHUB_ACTIONS", "true")]).ended(2);
    expect![[r#"
        ::error file=jobs/# #[group],title=jobs::not a valid job name%0Ahelp: rename the folder, e.g. jobs/group
        ::error file=jobs/${{ github.token }},title=jobs::not a valid job name%0Ahelp: rename the folder, e.g. jobs/github-token
        ::error file=jobs/%250A%3A%3Aadd-mask%3A%3Ax,title=jobs::not a valid job name%0Ahelp: rename the folder
        ::error file=jobs/%3A%3Aadd-mask%3A%3Ax,title=jobs::not a valid job name%0Ahelp: rename the folder, e.g. jobs/add-mask-x
        ::error file=jobs/a%0A%3A%3Aadd-mask%3A%3Ax,title=jobs::not a valid job name%0Ahelp: rename the folder, e.g. jobs/a-add-mask-x"#]].assert_eq(&commands(&run).join("\n"));
    let elsewhere = tree.run(&["discover", "-vv"]).ended(2);
    assert_eq!(commands(&elsewhere), [""; 0]);
}
