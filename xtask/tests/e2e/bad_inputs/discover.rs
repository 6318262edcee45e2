//! What can be wrong with the folders under `jobs/`, apart from their names.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use expect_test::expect;

use super::{case, check};
use crate::harness::{DOCKERFILE, Tree};

fn remove(tree: &Tree, path: &str) {
    std::fs::remove_dir_all(tree.path().join(path)).unwrap();
}

fn link(tree: &Tree, path: &str, to: &str) {
    symlink(to, tree.path().join(path)).unwrap();
}

#[test]
fn the_folder_of_jobs() {
    check([
        case("`jobs` is missing", &["discover"]).make(|tree| remove(tree, "jobs")).says(expect![[r#"
            error: jobs: there is no such folder in <tree>
              rule: jobs are the folders under `jobs/`, or under what `jobs-dirs` in Cargo.toml names
              help: make the first job: cargo xtask new <name>"#]]),
        case("`jobs` is a file", &["discover"])
            .make(|tree| {
                remove(tree, "jobs");
                tree.write("jobs", "");
            })
            .says(expect![[r#"
                error: jobs: not a folder
                  rule: jobs are the folders under `jobs/`, or under what `jobs-dirs` in Cargo.toml names
                  help: make it a folder, with a folder in it for each job"#]]),
        case("`jobs` is a link out of the repository", &["discover"])
            .make(|tree| {
                remove(tree, "jobs");
                link(tree, "jobs", "/");
            })
            .says(expect![[r#"
                error: jobs: a link that leaves the repository
                  rule: everything that makes an image is in the repository
                  help: replace the link by the folder"#]]),
        case("`jobs/x` is a link to `/`", &["discover"]).make(|tree| link(tree, "jobs/x", "/")).says(expect![[r#"
            error: jobs/x: a link that leaves the repository
              rule: everything that makes an image is in the repository
              help: replace the link by the folder"#]]),
        case("`jobs/x` is a link to itself", &["discover"]).make(|tree| link(tree, "jobs/x", "x")).says(expect![[r#"
            error: jobs/x: a link that leads nowhere: Too many levels of symbolic links (os error 40)
              rule: links are followed within the repository
              help: replace the link by the folder"#]]),
        case("`jobs/x` is a link out of the repository", &["discover"])
            .make(|tree| link(tree, "jobs/x", "../../elsewhere"))
            .says(expect![[r#"
                error: jobs/x: a link that leads nowhere: No such file or directory (os error 2)
                  rule: links are followed within the repository
                  help: replace the link by the folder"#]]),
        case("`GITHUB_OUTPUT` cannot be written", &["discover"]).env("GITHUB_OUTPUT", "/nowhere/output").says(expect![
            [r#"
            error: GITHUB_OUTPUT: `/nowhere/output` cannot be written: No such file or directory (os error 2)
              rule: a step of a workflow hands its results on through this file
              help: leave GITHUB_OUTPUT as GitHub sets it; outside of a workflow, unset it"#]
        ]),
        case("`GITHUB_OUTPUT` is a folder", &["discover"]).env("GITHUB_OUTPUT", "/").says(expect![[r#"
            error: GITHUB_OUTPUT: `/` cannot be written: Is a directory (os error 21)
              rule: a step of a workflow hands its results on through this file
              help: leave GITHUB_OUTPUT as GitHub sets it; outside of a workflow, unset it"#]]),
    ]);
}

#[test]
fn the_dockerfile_of_a_job() {
    check([
        case("a folder", &["discover"]).file("jobs/x/Dockerfile/file", "").says(expect![[r#"
            error: jobs/x/Dockerfile: a folder
              rule: `Dockerfile` is a file
              help: replace it by the file, or rename it"#]]),
        case("a FIFO", &["discover"])
            .file("jobs/x/README.md", "")
            .make(|tree| {
                let path = tree.path().join("jobs/x/Dockerfile");
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            })
            .says(expect![[r#"
                error: jobs/x/Dockerfile: neither a file nor a link
                  rule: `Dockerfile` is a file
                  help: replace it by the file, or rename it"#]]),
        case("lower-case", &["discover"]).file("jobs/x/dockerfile", DOCKERFILE).says(expect![[r#"
            error: jobs/x/dockerfile: not a job's Dockerfile
              rule: the file is named `Dockerfile`, upper-case D, on every machine
              help: git mv jobs/x/dockerfile jobs/x/Dockerfile"#]]),
        case("a link out of the repository", &["discover"])
            .file("jobs/x/README.md", "")
            .make(|tree| link(tree, "jobs/x/Dockerfile", "/etc/passwd"))
            .says(expect![[r#"
                error: jobs/x/Dockerfile: a link that leaves the repository
                  rule: everything that makes an image is in the repository
                  help: replace the link by the file"#]]),
        case("a link to nothing", &["discover"])
            .file("jobs/x/README.md", "")
            .make(|tree| link(tree, "jobs/x/Dockerfile", "nothing"))
            .says(expect![[r#"
                error: jobs/x/Dockerfile: a link that leads nowhere: No such file or directory (os error 2)
                  rule: links are followed within the repository
                  help: replace the link by the file"#]]),
        case("a link to itself", &["discover"])
            .file("jobs/x/README.md", "")
            .make(|tree| link(tree, "jobs/x/Dockerfile", "Dockerfile"))
            .says(expect![[r#"
                error: jobs/x/Dockerfile: a link that leads nowhere: Too many levels of symbolic links (os error 40)
                  rule: links are followed within the repository
                  help: replace the link by the file"#]]),
        case("a link to a folder", &["discover"])
            .file("jobs/x/README.md", "")
            .make(|tree| link(tree, "jobs/x/Dockerfile", "../job"))
            .says(expect![[r#"
                error: jobs/x/Dockerfile: a link that does not lead to a file
                  rule: `Dockerfile` is a file
                  help: replace it by the file, or rename it"#]]),
        case("several at once", &["discover"])
            .file("jobs/x/Dockerfile/file", "")
            .file("jobs/Y/Dockerfile", DOCKERFILE)
            .file("jobs/z/dockerfile", DOCKERFILE)
            .says(expect![[r#"
                error: jobs/Y: not a valid job name
                  rule: lower-case letters and digits, with single '.', '_' or '-' between them
                  help: rename the folder, e.g. jobs/y
                error: jobs/x/Dockerfile: a folder
                  rule: `Dockerfile` is a file
                  help: replace it by the file, or rename it
                error: jobs/z/dockerfile: not a job's Dockerfile
                  rule: the file is named `Dockerfile`, upper-case D, on every machine
                  help: git mv jobs/z/dockerfile jobs/z/Dockerfile"#]]),
    ]);
}

#[test]
fn a_folder_that_cannot_be_read_is_not_skipped() {
    let tree = Tree::with_jobs(&["good", "x"]);
    let folder = tree.path().join("jobs/x");
    let set_mode = |mode| std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    set_mode(0);
    let command = tree.command(&["discover"], &[]);
    // root reads everything, unless these capabilities are taken away.
    let as_root = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let prefix: &[&str] = if folder.read_dir().is_ok() { &as_root } else { &["env"] };
    let mut limited = Command::new(prefix[0]);
    limited.args(&prefix[1..]).arg(command.get_program()).args(command.get_args()).current_dir(tree.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.output().unwrap();
    set_mode(0o755);
    expect![[r#"
        error: jobs/x: could not be read: Permission denied (os error 13)
          rule: nothing is skipped unseen
          help: make it readable: chmod -R u+rX jobs/x"#]]
    .assert_eq(String::from_utf8_lossy(&output.stderr).trim_end());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
}

#[test]
fn what_is_no_job_is_skipped_and_said_with_verbose() {
    let tree = Tree::new(&[("jobs/README.md", ""), ("jobs/lib/job.sh", ""), ("jobs/.hidden/Dockerfile", DOCKERFILE)]);
    link(&tree, "jobs/link.md", "README.md");
    let outputs = tree.path().join("outputs");
    let env = [("GITHUB_OUTPUT", outputs.to_str().unwrap())];
    let run = tree.run_with(&["discover", "--verbose"], &env).ended(0);
    assert_eq!(run.stdout, "[]\n");
    let skipped: Vec<&str> = run.stderr.lines().filter(|line| line.contains("Skipped")).map(str::trim).collect();
    assert_eq!(skipped, ["Skipped jobs/.hidden: hidden", "Skipped jobs/lib: no Dockerfile"]);
    let outputs = std::fs::read_to_string(outputs).unwrap();
    expect![[r#"
        jobs=[]
        matrix={"include":[]}
        merge={"include":[]}
        any=false
        any-merge=false
        files=false
        unchanged=@target/xtask/plan/unchanged.json
        any-unchanged=false
    "#]]
    .assert_eq(&outputs);
    assert_eq!(tree.run(&["discover"]).ended(0).stderr, "");
    // A link inside the repository is as good as a file.
    tree.write("jobs/linked/README.md", "");
    tree.write("shared/Dockerfile", DOCKERFILE);
    link(&tree, "jobs/linked/Dockerfile", "../../shared/Dockerfile");
    assert_eq!(tree.run(&["discover"]).ended(0).stdout, "[\"jobs/linked\"]\n");
}

/// A tree with so many jobs, their names of so many characters.
fn many_jobs(count: usize, length: usize) -> Tree {
    let tree = Tree::new(&[("jobs/README.md", "")]);
    for number in 0..count {
        tree.write(&format!("jobs/j{number:0>width$}/Dockerfile", width = length - 1), DOCKERFILE);
    }
    tree
}

#[test]
fn there_is_a_limit_to_the_matrix_and_to_outputs() {
    let run = many_jobs(300, 4).run(&["discover", "--format", "matrix"]).ended(0);
    let matrix: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(matrix["include"].as_array().unwrap().len(), 40);
    let many = many_jobs(3000, 180);
    let outputs = many.path().join("target/outputs");
    std::fs::create_dir_all(outputs.parent().unwrap()).unwrap();
    let run = many.run_with(&["discover"], &[("GITHUB_OUTPUT", outputs.to_str().unwrap())]).ended(2);
    expect![[r#"
        error: output `jobs`: has 1128002 bytes in UTF-16
          rule: GitHub drops outputs over 1 MB
          help: name fewer jobs, or split the repository"#]]
    .assert_eq(run.errors());
    assert_eq!(run.stdout, "");
    // The list itself is no output of a job.
    assert_eq!(many.run(&["discover"]).ended(0).stdout.matches("jobs/j").count(), 3000);
}
