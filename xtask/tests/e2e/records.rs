//! What a run leaves behind: its record, and the same line by line.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{DOCKERFILE, OWN, Registry, TempDir, Tree, python_programs, without_digests};
use crate::proxy::{Answer, Proxy};

/// Whether values are as a schema of `xtask/schemas/` says, in the eyes of others.
pub fn validate(schema: &str, values: &[Value]) -> Result<(), String> {
    let dir = TempDir::new();
    let file = |(i, value): (usize, &Value)| {
        let path = dir.0.join(format!("{i}.json"));
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let files: Vec<_> = values.iter().enumerate().map(file).collect();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(schema);
    let mut command = Command::new(python_programs().join("check-jsonschema"));
    let output = command.arg("--schemafile").arg(schema).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// What a run left of itself: its record, what it printed line by line, and its page.
pub struct Left {
    pub record: Value,
    lines: Vec<Value>,
    pub page: String,
    /// Of the step of a workflow.
    summary: String,
}

impl Left {
    pub fn by(tree: &Tree, registry: &Registry, args: &[&str], code: i32) -> Left {
        let summary = tree.path().join("target/summary.md");
        std::fs::create_dir_all(summary.parent().unwrap()).unwrap();
        let summary = summary.to_str().unwrap();
        let env = [("JOBS_REGISTRY", registry.address.as_str()), ("GITHUB_STEP_SUMMARY", summary)];
        let run = tree.run_with(&[args, &["--message-format", "json"]].concat(), &env).ended(code);
        let read = |name: &str| std::fs::read_to_string(tree.path().join("target").join(name)).unwrap_or_default();
        let lines = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Left {
            record: serde_json::from_str(&read("xtask/run.json")).unwrap(),
            lines,
            page: read("xtask/timings.html"),
            summary: read("summary.md"),
        }
    }

    fn reasons(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line["reason"].as_str().unwrap()).collect()
    }

    /// The record without what differs from run to run; of the steps, the names of the Dockerfile's instructions.
    fn plain(&self, tree: &Tree, registry: &Registry) -> String {
        let mut record = self.record.clone();
        for image in record["images"].as_array_mut().unwrap() {
            let steps = image["steps"].as_array().unwrap().iter().map(|step| step["name"].clone());
            image["steps"] = steps.filter(|name| name.as_str().unwrap().contains("/2] ")).collect();
        }
        let text = serde_json::to_string_pretty(&record).unwrap();
        let text = text.replace(&tree.head(), "<commit>").replace(&tree.tag(), "<sha>").replace(OWN, "<own>");
        let is_time = |line: &&str| {
            let key = ["\"began\": ", "\"end\": ", "\"length\": ", "\"start\": "];
            key.iter().any(|key| line.trim_start().starts_with(key)) && !line.contains("null")
        };
        let line = |line: &str| match Some(line).filter(is_time).and_then(|line| line.split_once(": ")) {
            Some((key, time)) => format!("{key}: <ms>{}\n", if time.ends_with(',') { "," } else { "" }),
            None => format!("{line}\n"),
        };
        without_digests(&text.replace(&registry.address, "<registry>").lines().map(line).collect::<String>())
    }
}

/// Three jobs: one whose image is there, one that is built, and one that fails.
pub fn three_jobs(registry: &Registry) -> Tree {
    let tree = Tree::new(&[
        ("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN echo '</script><!-- <script>' && exit 3\n"),
        ("jobs/new/Dockerfile", DOCKERFILE),
        ("jobs/old/Dockerfile", DOCKERFILE),
        ("jobs/old/job.json", &format!("{{\"arches\": [\"{OWN}\"]}}")),
    ]);
    tree.run_with(&["build", "--arch", OWN, "old"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    tree
}

#[test]
fn a_run_leaves_a_record_and_is_told_line_by_line() {
    let registry = Registry::start();
    let tree = three_jobs(&registry);
    let left = Left::by(&tree, &registry, &["build", "--arch", OWN], 1);
    assert_eq!(left.reasons(), ["image", "image", "image", "finished"]);
    expect![[r#"
        {
          "began": <ms>,
          "command": "build",
          "commit": "<commit>",
          "images": [
            {
              "arch": "<own>",
              "digest": null,
              "end": <ms>,
              "job": "bad",
              "log": "target/xtask/logs/bad-<own>.log",
              "reference": "<registry>/jobs/bad:<sha>-<own>",
              "result": "failed",
              "retries": [],
              "start": <ms>,
              "steps": [
                "[1/2] RUN echo '</script><!-- <script>' && exit 3"
              ],
              "why": "never built"
            },
            {
              "arch": "<own>",
              "digest": "sha256:…",
              "end": <ms>,
              "job": "new",
              "log": "target/xtask/logs/new-<own>.log",
              "reference": "<registry>/jobs/new:<sha>-<own>",
              "result": "built",
              "retries": [],
              "start": <ms>,
              "steps": [
                "[1/2] RUN echo \"I am nobody on $(uname -m)\" > /who"
              ],
              "why": "never built"
            },
            {
              "arch": "<own>",
              "digest": null,
              "end": null,
              "job": "old",
              "log": null,
              "reference": null,
              "result": "unchanged",
              "retries": [],
              "start": null,
              "steps": [],
              "why": "every architecture is built"
            }
          ],
          "length": <ms>,
          "problems": [
            {
              "at": "jobs/bad/Dockerfile:2",
              "excerpt": "   1 |     FROM busybox:1.37\n   2 | >>> RUN echo '</script><!-- <script>' && exit 3\n   3 |\nthe last lines of step [1/2]:\n  | </script><!-- <script>",
              "help": "the log is target/xtask/logs/bad-<own>.log\nrerun: cargo xtask build --arch <own> bad",
              "rule": null,
              "what": "the build for <own> failed: process \"/bin/sh -c echo '</script><!-- <script>' && exit 3\" did not complete successfully: exit code: 3"
            }
          ],
          "published": [],
          "result": "failed",
          "schema": 1,
          "tag": "<sha>",
          "version": "0.1.0"
        }
    "#]].assert_eq(&left.plain(&tree, &registry));
    validate("run.json", std::slice::from_ref(&left.record)).unwrap();
    validate("messages.json", &left.lines).unwrap();
    // Whoever judges is awake.
    let mut wrong = left.record.clone();
    wrong["images"][0]["result"] = json!("maybe");
    validate("run.json", &[wrong]).unwrap_err();
    let mut wrong = left.lines[0].clone();
    wrong["start"] = json!("soon");
    validate("messages.json", &[wrong]).unwrap_err();
}

#[test]
fn the_summary_has_failures_first_and_the_ends_of_their_logs() {
    let registry = Registry::start();
    let tree = three_jobs(&registry);
    tree.write("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN echo '</pre>' && exit 3\n");
    std::fs::rename(tree.path().join("jobs/bad"), tree.path().join("jobs/worse")).unwrap();
    tree.commit("one that fails, and comes last by name");
    let Left { record, summary, .. } = Left::by(&tree, &registry, &["build", "--arch", OWN], 1);
    let lines: Vec<&str> = summary.lines().filter(|line| !line.is_empty()).collect();
    let first = |line: &&str| line.split(" | ").take(2).collect::<Vec<_>>().join(" | ").replace(OWN, "<own>");
    let starts: Vec<String> = lines.iter().take(8).map(first).collect();
    assert_eq!(starts[0], "### Build");
    assert_eq!(starts[1].split(" in ").next().unwrap(), "2 of 3 images built");
    assert_eq!(
        starts[2..7],
        [
            "| image | result",
            "| --- | ---",
            "| worse (<own>) | failed",
            "| new (<own>) | built",
            "| old (<own>) | built"
        ]
    );
    // The bars are those of the record.
    let seconds = |image: &Value| [&image["start"], &image["end"]].map(|ms| ms.as_u64().unwrap() / 1_000);
    let bar = |image: &Value| {
        let ([start, end], name) = (seconds(image), image["job"].as_str().unwrap());
        let mark = if image["result"] == "failed" { "crit, " } else { "" };
        format!("  {name} ({OWN}) :{mark}{start}, {}", end.max(start + 1))
    };
    let bars: Vec<String> = record["images"].as_array().unwrap().iter().map(bar).collect();
    assert!(summary.contains(&format!("  axisFormat %M:%S\n{}\n```\n", bars.join("\n"))), "{summary}");
    let title = format!("<details><summary>worse ({OWN}): the end of target/xtask/logs/worse-{OWN}.log</summary>");
    assert_eq!(lines.iter().filter(|line| line.starts_with("<details>")).collect::<Vec<_>>(), [&title.as_str()]);
    assert!(
        summary.contains("RUN echo '&lt;/pre&gt;' &amp;&amp; exit 3") && summary.ends_with("</details>\n\n"),
        "{summary}"
    );
}

#[test]
fn a_summary_is_no_longer_than_github_takes() {
    let registry = Registry::start();
    let dockerfile =
        "FROM busybox:1.37\nRUN for i in $(seq 39); do head -c 2000 /dev/zero | tr '\\0' x; echo; done; exit 3\n";
    let jobs: Vec<String> = (1..=12).map(|job| format!("jobs/job-{job}/Dockerfile")).collect();
    let tree = Tree::new(&jobs.iter().map(|path| (path.as_str(), dockerfile)).collect::<Vec<_>>());
    let Left { summary, .. } = Left::by(&tree, &registry, &["build", "--arch", OWN], 1);
    assert!((300_000..900 * 1024).contains(&summary.len()), "{}", summary.len());
    assert_eq!(summary.matches(") | failed | ").count(), 12);
}

#[test]
fn what_merge_and_pipeline_publish_is_told_too() {
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["a"]);
    let pipeline = Left::by(&tree, &registry, &["pipeline", "-vv"], 0);
    assert_eq!(pipeline.reasons(), ["image", "image", "published", "finished"]);
    let digest = registry.digest("jobs/a", &tree.tag()).unwrap();
    assert_eq!(pipeline.record["published"][0]["digest"], digest.as_str());
    let merge = Left::by(&tree, &registry, &["merge"], 0);
    assert_eq!(merge.reasons(), ["published", "finished"]);
    for Left { record, lines, .. } in [&pipeline, &merge] {
        validate("run.json", std::slice::from_ref(record)).unwrap();
        validate("messages.json", lines).unwrap();
    }
    // What is refused ends the lines too.
    let refused = Left::by(&tree, &registry, &["build", "--arch", OWN, "--force"], 3);
    assert_eq!(refused.reasons(), ["finished"]);
    assert_eq!(refused.lines[0]["result"], "failed");
    validate("messages.json", &refused.lines).unwrap();
}

#[test]
fn what_is_tried_again_is_recorded_with_its_steps() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    // BuildKit tries several times itself.
    let until = Mutex::new(None);
    let proxy = Proxy::start(&registry.address, move |request, upstream| {
        if request.method != "PUT" || !request.path.contains("/manifests/") {
            return upstream.ask(request);
        }
        let until = *until.lock().unwrap().get_or_insert_with(|| Instant::now() + Duration::from_secs(10));
        if Instant::now() < until {
            return Answer::error("503 Service Unavailable", &[], "UNAVAILABLE", "busy");
        }
        upstream.ask(request)
    });
    tree.run_with(&["build", "--arch", OWN], &[("JOBS_REGISTRY", &proxy.address)]).ended(0);
    let text = std::fs::read_to_string(tree.path().join("target/xtask/run.json")).unwrap();
    let image = &serde_json::from_str::<Value>(&text).unwrap()["images"][0];
    assert_eq!(image["result"], "built");
    let retry = image["retries"][0].as_u64().unwrap();
    let pushes = image["steps"].as_array().unwrap().iter().filter(|step| step["name"] == "exporting to image");
    let pushes: Vec<(bool, bool)> =
        pushes.map(|step| (step["start"].as_u64().unwrap() < retry, step["failed"].as_bool().unwrap())).collect();
    assert_eq!(pushes.first(), Some(&(true, true)), "{text}");
    assert_eq!(pushes.last(), Some(&(false, false)), "{text}");
}

#[test]
fn what_was_never_begun_is_recorded_so_and_no_record_is_no_failure() {
    let (registry, target) = (Registry::start(), "target/xtask/run.json");
    let tree =
        Tree::new(&[("jobs/bad/Dockerfile", "FROM busybox:1.37\nRUN false\n"), ("jobs/later/Dockerfile", DOCKERFILE)]);
    let left = Left::by(&tree, &registry, &["build", "--arch", OWN, "--fail-fast", "--parallel", "1"], 1);
    assert_eq!(left.record["images"][1]["result"], "not-started");
    assert_eq!(left.record["images"][1]["start"], Value::Null);
    std::fs::remove_file(tree.path().join(target)).unwrap();
    tree.write(&format!("{target}/x"), "in the way");
    let run = tree.run_with(&["build", "--arch", OWN, "later"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    let warning = format!("warning: {target}: cannot be written: Is a directory (os error 21)\n");
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
}
