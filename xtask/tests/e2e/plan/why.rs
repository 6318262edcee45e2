//! What `plan` shows: what is to be done first, the rest as a number, and the chain behind a decision.

use expect_test::expect;
use serde_json::Value;

use super::Published;
use crate::harness::{DOCKERFILE, Tree};

/// The lines without what differs from run to run: every digit of a commit, a key, a digest or a blob is a zero.
pub fn plain(text: &str) -> String {
    let is_hex = |word: &str| word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    let word = |word: &str| match word.len() {
        7 | 12 | 20 if is_hex(word) => "0".repeat(word.len()),
        _ => word.to_owned(),
    };
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let words = words.map(|part| {
        let (text, end) = part.split_at(part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
        word(text) + end
    });
    words.collect()
}

#[test]
fn what_is_to_be_done_stands_first_and_the_rest_is_a_number() {
    let files: Vec<String> = (0..200).map(|number| format!("jobs/job-{number:03}/Dockerfile")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), DOCKERFILE)).collect();
    let tree = Tree::new(&files);
    let since = ["--since", "HEAD~1"];
    tree.write("jobs/job-150/Dockerfile", &format!("{DOCKERFILE}LABEL x=y\n"));
    tree.write("jobs/the-job-with-the-longest-name-of-all-of-them/Dockerfile", DOCKERFILE);
    tree.commit("one of 200, and a new one");
    let run = tree.run(&[&["plan"], &since[..]].concat()).ended(0);
    expect![[r#"
        JOB                        PLAN   BUILDS       REASON
        job-150                    build  amd64 arm64  jobs/job-150/Dockerfile
                                                       changed since 0000000
        the-job-with-the-longest-  build  amd64 arm64  new since 0000000
          name-of-all-of-them
    "#]]
    .assert_eq(&plain(&run.stdout));
    let said: Vec<&str> = run.stderr.lines().map(str::trim).collect();
    let expected = ["Planned 201 jobs: 199 done, 0 to reuse, 2 to build", "Unchanged 199 jobs: --all lists them"];
    assert_eq!(said, expected);
    let all = tree.run(&[&["plan", "--all"], &since[..]].concat()).ended(0).stdout;
    assert_eq!((all.matches("unchanged since").count(), all.find("build") < all.find("done")), (199, true), "{all}");
    let json = tree.run(&[&["plan", "--format", "json"], &since[..]].concat()).ended(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap().as_array().unwrap().len(), 201);
    tree.commit("nothing");
    let run = tree.run(&[&["plan", "--exit-code"], &since[..]].concat()).ended(0);
    assert_eq!(
        (run.stdout.as_str(), plain(&run.stderr).as_str()),
        ("", "     Nothing to build: 201 jobs unchanged since 0000000\n")
    );
    let wide = tree.run_with(&["plan", "--since", "HEAD~2"], &[("COLUMNS", "120")]).ended(0).stdout;
    assert_eq!(wide.lines().count(), 3, "{wide}");
}

#[test]
fn an_empty_selection_is_nothing_and_never_everything() {
    let tree = Tree::with_jobs(&["a", "b"]);
    for command in ["plan", "build", "merge", "verify", "discover"] {
        let run = tree.run_with(&[command, ""], &[("JOBS_REGISTRY", "127.0.0.1:1")]).ended(2);
        let refused = "error: job ``: there is no such job\n  help: cargo xtask discover --format table lists the jobs";
        assert_eq!(run.errors(), refused, "{command}");
    }
    std::fs::remove_dir_all(tree.path().join("jobs/a")).unwrap();
    std::fs::remove_dir_all(tree.path().join("jobs/b")).unwrap();
    std::fs::create_dir_all(tree.path().join("jobs/lib")).unwrap();
    let run = tree.run(&["plan", "--exit-code"]).ended(0);
    assert_eq!((run.stdout.as_str(), run.stderr.trim()), ("", "Nothing to build: no jobs"));
}

#[test]
fn the_chain_of_a_decision_names_all_that_the_key_is_made_from() {
    let published = Published::new();
    let why = |args: &[&str]| {
        let shown = published.run(&[&["plan", "--why"], args].concat()).ended(0).stdout;
        plain(&shown.replace(&published.registry.address, "<registry>"))
    };
    expect![[r#"
        b: done, published
        key 00000000000000000000

              WHAT               NOW           AT <sha>
        same  jobs/b/Dockerfile  0000000
        same  jobs/b/job.json    0000000
        same  jobs/lib/util.sh   0000000
        same  argument PROFILE   debug
        same  stage              the last one
        same  base busybox:1.37  000000000000
    "#]]
    .assert_eq(&why(&["b"]));
    published.tree.write("jobs/lib/util.sh", "echo 2\n");
    published.tree.write("jobs/b/job.json", r#"{"args": {"PROFILE": "release", "LEVEL": "2"}}"#);
    published.push_base("2");
    published.tree.commit("much");
    published.tree.write("jobs/a/Dockerfile", &format!("{}LABEL x=y\n", super::SHARED));
    expect![[r#"
        a: build amd64 arm64, jobs/a/Dockerfile is not committed
        key none, before 00000000000000000000

                 WHAT               NOW            AT 0000000
        changed  jobs/a/Dockerfile  not committed  0000000
        changed  jobs/lib/util.sh   0000000        0000000
        same     stage              the last one
        same     base busybox:1.37  000000000000

        b: build amd64 arm64, argument LEVEL changed since 0000000
        key 00000000000000000000, before 00000000000000000000

                 WHAT               NOW           AT 0000000
        changed  jobs/b/job.json    0000000       0000000
        changed  jobs/lib/util.sh   0000000       0000000
        new      argument LEVEL     2             -
        changed  argument PROFILE   release       debug
        same     jobs/b/Dockerfile  0000000
        same     stage              the last one
        same     base busybox:1.37  000000000000

        c: build amd64 arm64, base <registry>/base:1 moved (sha256:000000000000 → sha256:000000000000)
        key 00000000000000000000, before 00000000000000000000

                 WHAT                         NOW           AT 0000000
        changed  base <registry>/base:1  000000000000  000000000000
        same     jobs/c/Dockerfile            0000000
        same     stage                        the last one
    "#]]
    .assert_eq(&why(&["a", "b", "c"]));
    let json = published.run(&["plan", "--format", "json", "--why", "c"]).ended(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let (since, factors) = (&json[0]["why"]["since"], &json[0]["why"]["factors"]);
    assert_eq!(since.as_str().map(str::len), Some(7));
    assert_eq!(
        (&factors[0]["kind"], &factors[0]["now"], &factors[0]["change"]),
        (&"key".into(), &json[0]["key"], &"changed".into())
    );
    assert_eq!((&factors[1]["kind"], &factors[1]["change"]), (&"base".into(), &"changed".into()), "{factors}");
    assert!(factors[1]["before"].as_str().is_some_and(|digest| digest.starts_with("sha256:") && digest.len() == 71));
    // By files alone, and where nothing was before.
    expect![[r#"
        b: build amd64 arm64, jobs/b/job.json and 1 more changed since 0000000

                 WHAT               NOW           AT 0000000
        changed  jobs/b/job.json    0000000       0000000
        changed  jobs/lib/util.sh   0000000       0000000
        new      argument LEVEL     2             -
        changed  argument PROFILE   release       debug
        same     jobs/b/Dockerfile  0000000
        same     stage              the last one
                 base busybox:1.37  not resolved
    "#]]
    .assert_eq(&why(&["--since", "HEAD~1", "b"]));
    expect![[r#"
        b: build amd64 arm64, there is no registry to find images in
        key 00000000000000000000

        WHAT               NOW
        jobs/b/Dockerfile  0000000
        jobs/b/job.json    0000000
        jobs/lib/util.sh   0000000
        argument LEVEL     2
        argument PROFILE   release
        stage              the last one
        base busybox:1.37  000000000000
    "#]]
    .assert_eq(&plain(&published.tree.run(&["plan", "--why", "b"]).ended(0).stdout));
}
