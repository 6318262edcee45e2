//! What no new job can be made of.

use std::os::unix::fs::symlink;

use expect_test::expect;

use super::{case, check};
use crate::harness::DOCKERFILE;

#[test]
fn a_name_that_no_job_can_have() {
    check([
        case("upper case", &["new", "Report_Daily"]).says(expect![[r#"
            error: job `Report_Daily`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: e.g. `report-daily`"#]]),
        case("no letter", &["new", "1"]).says(expect![[r#"
            error: job `1`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: give it another name"#]]),
        case("empty", &["new", ""]).says(expect![[r#"
            error: job ``: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: give it another name"#]]),
        case("a folder above", &["new", "../report"]).says(expect![[r#"
            error: job `../report`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: e.g. `report`"#]]),
        case("a folder elsewhere", &["new", "/tmp/report"]).says(expect![[r#"
            error: job `/tmp/report`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: e.g. `tmp-report`"#]]),
        case("a folder below", &["new", "jobs/report/daily"]).says(expect![[r#"
            error: job `jobs/report/daily`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: e.g. `report-daily`"#]]),
        case("control characters", &["new", "a\n::add-mask::\u{1b}]0;x\u{7}"]).says(expect![[r#"
            error: job `a\n::add-mask::\u{1b}]0;x\u{7}`: not a valid job name
              rule: lower-case letters and digits, with single '.', '_' or '-' between them
              help: e.g. `a-add-mask-0-x`"#]]),
        case("none", &["new"]).says(expect![[r#"
            error: the following required arguments were not provided:
              <NAME>

            Usage: cargo xtask new <NAME>

            For more information, try '--help'."#]]),
    ]);
}

#[test]
fn a_template_that_there_is_not() {
    check([
        case("nearly one", &["new", "report", "--template", "pyton"]).says(expect![[r#"
            error: invalid value 'pyton' for '--template <TEMPLATE>'
              [possible values: shell, python, rust, node, go]

              tip: a similar value exists: 'python'

            For more information, try '--help'."#]]),
        case("another language", &["new", "report", "--template", "cobol"]).says(expect![[r#"
            error: invalid value 'cobol' for '--template <TEMPLATE>'
              [possible values: shell, python, rust, node, go]

            For more information, try '--help'."#]]),
    ]);
}

#[test]
fn what_is_there_is_not_overwritten() {
    check([
        case("a job", &["new", "job"]).says(expect![[r#"
            error: jobs/job: exists already
              rule: nothing that is there is overwritten
              help: give another name, or remove what is there"#]]),
        case("a job, by its folder", &["new", "jobs/job/", "--dry-run"]).says(expect![[r#"
            error: jobs/job: exists already
              rule: nothing that is there is overwritten
              help: give another name, or remove what is there"#]]),
        case("an empty folder", &["new", "report"])
            .make(|tree| std::fs::create_dir(tree.path().join("jobs/report")).unwrap())
            .says(expect![[r#"
                error: jobs/report: exists already
                  rule: nothing that is there is overwritten
                  help: give another name, or remove what is there"#]]),
        case("a file", &["new", "report"]).file("jobs/report", "mine").says(expect![[r#"
            error: jobs/report: exists already
              rule: nothing that is there is overwritten
              help: give another name, or remove what is there"#]]),
        case("a link to nothing", &["new", "report"])
            .make(|tree| symlink("nothing", tree.path().join("jobs/report")).unwrap())
            .says(expect![[r#"
                error: jobs/report: exists already
                  rule: nothing that is there is overwritten
                  help: give another name, or remove what is there"#]]),
        case("a job's name in another folder", &["new", "report"])
            .file("Cargo.toml", "[workspace]\n[workspace.metadata.jobs]\njobs-dirs = [\"jobs\", \"apps\"]\n")
            .file("apps/report/Dockerfile", DOCKERFILE)
            .says(expect![[r#"
                error: job `report`: is there already, in apps/report
                  rule: a job's name is the name of its repository, and no other job's
                  help: give another name"#]]),
        case("`jobs-dirs` with patterns alone", &["new", "report"])
            .file("Cargo.toml", "[workspace]\n[workspace.metadata.jobs]\njobs-dirs = [\"*/jobs\"]\n")
            .says(expect![[r#"
                error: jobs-dirs: names no folder that a new job could go to
                  rule: it goes to the first that is a folder, or ends in `/*`
                  help: make the job's folder yourself, with a Dockerfile in it"#]]),
        case("`jobs` is a file", &["new", "report", "--template", "go"])
            .make(|tree| {
                std::fs::remove_dir_all(tree.path().join("jobs")).unwrap();
                tree.write("jobs", "");
            })
            .missing()
            .says(expect![[r#"
                error: jobs/report: cannot be written: Not a directory (os error 20)
                  rule: a job's folder is made as a whole, or not at all
                  help: make `jobs` a folder that can be written"#]]),
    ]);
}
