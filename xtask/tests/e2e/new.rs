//! `new`: jobs from templates, made once and never over anything that is there.

use std::path::Path;
use std::process::Command;

use expect_test::expect;

use crate::harness::{DOCKERFILE, LocalImages, OWN, Tree, docker};

const TEMPLATES: [&str; 5] = ["shell", "python", "rust", "node", "go"];

/// A repository without jobs.
fn empty() -> Tree {
    Tree::new(&[])
}

/// All files below `jobs/`, and hidden ones with them.
fn files(tree: &Tree) -> String {
    tree.git(&["ls-files", "--others", "--cached", "jobs"])
}

#[test]
fn a_new_job_builds_and_runs() {
    let tree = empty();
    let images = LocalImages(vec![format!("jobs/report:{}-dirty", tree.tag())]);
    let run = tree.run(&["new", "report"]).ended(0);
    assert_eq!(run.stdout, "jobs/report/Dockerfile\njobs/report/main.sh\n");
    expect![[r#"
             Created jobs/report

        Next: cargo xtask build --load report
              cargo xtask pipeline report
    "#]]
    .assert_eq(&run.stderr);
    assert_eq!(tree.run(&["build", "--load", "report"]).ended(0).stdout, "jobs/report:<sha>-dirty\n");
    let here = if OWN == "arm64" { "aarch64" } else { "x86_64" };
    let lines = |steps: u32| -> Vec<String> {
        (1..=steps).map(|step| format!("{{\"job\":\"report\",\"arch\":\"{here}\",\"step\":{step}}}")).collect()
    };
    assert_eq!(docker(&["run", "--rm", &images.0[0]]), lines(3).join("\n"));
    let help = docker(&["run", "--rm", &images.0[0], "--help"]);
    assert!(help.starts_with("usage: report [--help]\n"), "{help}");
    assert_eq!(docker(&["inspect", "--format", "{{.Config.User}}", &images.0[0]]), "65534:65534");
}

#[test]
fn a_dry_run_prints_the_files_and_makes_none() {
    let tree = empty();
    for template in TEMPLATES {
        let args = ["new", "report.daily", "--template", template];
        let dry = tree.run(&[&args[..], &["--dry-run"]].concat()).ended(0);
        assert_eq!((dry.stderr.as_str(), files(&tree).as_str()), ("", ""), "{template}");
        assert_eq!(dry.stdout, tree.run(&args).ended(0).stdout);
        // Nothing else is made, and nothing is left over.
        assert_eq!(dry.stdout.trim_end(), files(&tree));
        std::fs::remove_dir_all(tree.path().join("jobs")).unwrap();
    }
}

#[test]
fn a_new_job_stands_where_jobs_live() {
    for (dirs, context, dockerfile, copied) in [
        (r#"["services", "apps"]"#, ".", "services/report/Dockerfile", "services/report/main.sh"),
        (r#"["apps/*"]"#, "job", "apps/report/Dockerfile", "./main.sh"),
        (r#"["apps/we*", "./services/"]"#, "services", "services/report/Dockerfile", "report/main.sh"),
    ] {
        let table = format!("[workspace]\n[workspace.metadata.jobs]\njobs-dirs = {dirs}\ncontext = \"{context}\"\n");
        let tree = Tree::new(&[("Cargo.toml", &table), ("apps/web/Dockerfile", DOCKERFILE)]);
        assert_eq!(tree.run(&["new", "report"]).ended(0).stdout.lines().next(), Some(dockerfile));
        let text = std::fs::read_to_string(tree.path().join(dockerfile)).unwrap();
        assert!(text.contains(&format!("\nCOPY --chmod=0555 {copied} /jobs/report/main.sh\n")), "{text}");
        assert!(tree.run(&["discover"]).ended(0).stdout.contains("/report\""), "{dirs}");
    }
}

#[test]
fn the_job_of_a_template_changes_with_its_files_and_no_others() {
    let tree = empty();
    for template in TEMPLATES {
        tree.run(&["new", template, "--template", template]).ended(0);
        tree.write(&format!("jobs/{template}/NOTES.md"), "about it\n");
    }
    tree.commit("jobs");
    let changed = |ending: &str| {
        for file in files(&tree).lines().filter(|file| file.ends_with(ending)) {
            let text = std::fs::read_to_string(tree.path().join(file)).unwrap();
            tree.write(file, &format!("{text}\n"));
        }
        tree.commit("a change");
        tree.run(&["discover", "--since", "HEAD~1"]).ended(0).stdout
    };
    assert_eq!(changed("/NOTES.md"), "[]\n");
    assert_eq!(changed("/Dockerfile"), "[\"jobs/go\",\"jobs/node\",\"jobs/python\",\"jobs/rust\",\"jobs/shell\"]\n");
    assert_eq!(changed("/go.mod"), "[\"jobs/go\"]\n");
    assert_eq!(changed("/package-lock.json"), "[\"jobs/node\"]\n");
    assert_eq!(changed("/requirements.txt"), "[\"jobs/python\"]\n");
    assert_eq!(changed("/src/main.rs"), "[\"jobs/rust\"]\n");
    assert_eq!(changed("/main.sh"), "[\"jobs/shell\"]\n");
}

/// Runs a program of a job; gives its exit code, and what it said.
fn run(program: &Path, args: &[&str], steps: &str) -> (Option<i32>, String, String) {
    let output = Command::new(program).args(args).env("STEPS", steps).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_programs_of_templates_do_the_same() {
    let tree = empty();
    for template in ["shell", "python", "rust"] {
        tree.run(&["new", template, "--template", template]).ended(0);
    }
    let path = |file: &str| tree.path().join("jobs").join(file);
    // Below the repository's own workspace, and with what the image is built with.
    let build = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--offline"])
        .current_dir(path("rust"))
        .env_remove("CARGO_TARGET_DIR")
        .status();
    assert!(build.unwrap().success());
    let (shell, python, rust) = (path("shell/main.sh"), path("python/main.py"), path("rust/target/debug/job"));
    let python = (Path::new("python3"), vec![python.to_str().unwrap()]);
    for (name, (program, args)) in [("shell", (&*shell, vec![])), ("python", python), ("rust", (&*rust, vec![]))] {
        let run = |more: &[&str], steps: &str| run(program, &[&args, more].concat(), steps);
        let (code, stdout, stderr) = run(&["--help"], "");
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
        expect![[r#"
            usage: <job> [--help]

            Writes one JSON line to stdout for each step of its work.

            environment:
              STEPS  how many steps, 1 to 999 (default 3)

            exit status: 0 done, 1 failed, 2 bad arguments or environment
        "#]]
        .assert_eq(&stdout.replace(name, "<job>"));
        for (given, steps) in [("", 3), ("1", 1), ("999", 999)] {
            let (code, stdout, stderr) = run(&[], given);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
            let lines: Vec<serde_json::Value> =
                stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let arch = std::env::consts::ARCH;
            let line = |step: u32| serde_json::json!({ "job": name, "arch": arch, "step": step });
            assert_eq!(lines, (1..=steps).map(line).collect::<Vec<_>>());
        }
        let fails = |args: &[&str], steps: &str, what: &str| {
            assert_eq!(run(args, steps), (Some(2), String::new(), format!("{name}: {what}\n")));
        };
        fails(&["--nonsense"], "", "unexpected arguments: see --help");
        fails(&["--help", "twice"], "", "unexpected arguments: see --help");
        for steps in ["0", "1000", "-1", "many", "1 2", "\n"] {
            fails(&[], steps, "STEPS: not a whole number from 1 to 999");
        }
    }
}
