//! What buildx tells, as buildx 0.29.1 has told it, shortened.

use expect_test::expect;
use serde_json::json;

use super::*;

/// The lines for people of what came every 100 ms.
fn lines(log: &mut BuildLog, events: &[Value]) -> String {
    let mut text = Vec::new();
    for (event, i) in events.iter().zip(1..) {
        text.extend(log.read(event, Duration::from_millis(100 * i)));
    }
    text.join("\n")
}

fn vertex(digest: &str, name: &str, more: Value) -> Value {
    let mut vertex = json!({ "digest": digest, "name": name });
    vertex.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "vertexes": [vertex] })
}

fn started(digest: &str, name: &str) -> Value {
    vertex(digest, name, json!({ "started": "t" }))
}

fn completed(digest: &str, name: &str) -> Value {
    vertex(digest, name, json!({ "started": "t", "completed": "u" }))
}

fn cached(digest: &str, name: &str) -> Value {
    vertex(digest, name, json!({ "started": "t", "completed": "u", "cached": true }))
}

fn failed(digest: &str, name: &str, error: &str) -> Value {
    vertex(digest, name, json!({ "started": "t", "completed": "u", "error": error }))
}

fn printed(digest: &str, text: &str) -> Value {
    json!({ "logs": [{ "vertex": digest, "stream": 1, "data": Base64::encode_string(text.as_bytes()) }] })
}

fn part(digest: &str, id: &str, current: u64, is_done: bool) -> Value {
    let completed = if is_done { json!("u") } else { Value::Null };
    json!({ "statuses": [{ "id": id, "vertex": digest, "current": current, "started": "t", "completed": completed }] })
}

#[test]
fn a_build_reads_as_with_plain_progress() {
    let mut log = BuildLog::default();
    let (load, from, run) = ("[internal] load .dockerignore", "[stage-1 1/3] FROM x", "[stage-1 2/3] RUN make");
    let both = json!({
        "vertexes": [{ "digest": "e", "name": "exporting to image", "started": "t", "completed": "u" }],
        "statuses": [{ "id": "pushing manifest for r/a:1@sha256:0", "vertex": "e", "current": 0, "completed": "u" }],
    });
    let told = lines(
        &mut log,
        &[
            vertex("r", run, json!({})),
            started("l", load),
            completed("l", load),
            // Taken up again.
            started("l", load),
            part("l", "transferring context:", 0, false),
            part("l", "transferring context:", 0, false),
            part("l", "transferring context:", 2_345, true),
            completed("l", load),
            started("f", from),
            completed("f", from),
            cached("f", from),
            cached("c", "[stage-1 3/3] COPY a b"),
            started("r", run),
            printed("r", "one\ntw"),
            printed("r", "o\n10%\r20%\r\nlast"),
            completed("r", run),
            started("e", "exporting to image"),
            part("e", "pushing manifest for r/a:1@sha256:0", 0, false),
            both,
        ],
    );
    expect![[r#"
        #1 [internal] load .dockerignore
        #1 DONE 0.1s

        #1 transferring context:
        #1 transferring context: 2.34kB done
        #2 [stage-1 1/3] FROM x
        #2 DONE 0.1s

        #3 [stage-1 3/3] COPY a b
        #3 CACHED

        #4 [stage-1 2/3] RUN make
        #4 0.100 one
        #4 0.200 two
        #4 0.200 20%
        #4 0.300 last
        #4 DONE 0.3s

        #5 exporting to image
        #5 pushing manifest for r/a:1@sha256:0
        #5 pushing manifest for r/a:1@sha256:0 done
        #5 DONE 0.2s
    "#]]
    .assert_eq(&told);
    let steps: Vec<(&str, u64, Option<u64>, bool)> =
        log.begun().map(|step| (step.name.as_str(), step.start_ms, step.end_ms, step.cached)).collect();
    assert_eq!(steps[1], (from, 900, Some(1_100), true));
    assert_eq!(steps[3], (run, 1_300, Some(1_600), false));
}

#[test]
fn the_last_lines_of_a_step_that_failed_stand_below_its_error() {
    let mut log = BuildLog::default();
    let (run, other) = ("[2/2] RUN make", "[other 1/1] RUN sleep 9");
    let many: Vec<String> = (1..=30).map(|n| format!("line {n}")).collect();
    let told = lines(
        &mut log,
        &[
            started("o", other),
            started("r", run),
            printed("r", &many.join("\n")),
            failed("r", run, "process \"make\" did not complete successfully: exit code: 1"),
            failed("o", other, "context canceled"),
        ],
    );
    let (_, end) = told.split_once("#2 ERROR: ").unwrap();
    let block = end.split("------\n").nth(1).unwrap();
    assert!(block.starts_with(" > [2/2] RUN make:\n0.100 line 11\n"), "{block}");
    assert!(block.ends_with("\n0.200 line 30\n"), "{block}");
    assert!(end.ends_with("\n#1 CANCELED\n"), "{end}");
    let failed: Vec<bool> = log.begun().map(|step| step.failed).collect();
    assert_eq!(failed, [false, true]);
}

#[test]
fn the_step_that_runs_is_the_one_that_began_first() {
    let mut log = BuildLog::default();
    let events = [started("b", "second"), started("a", "third"), cached("c", "first"), completed("b", "second")];
    lines(&mut log, &events);
    assert_eq!(log.running().map(|step| step.name.as_str()), Some("third"));
}

#[test]
fn what_is_told_of_several_builds_goes_to_each() {
    let mut logs = ["a-amd64-0", "a-amd64-01"].map(|name| BuildLog::of_target(name.to_owned()));
    // A step that both have is one for BuildKit, and it prints once.
    let events = [
        started("i", "[internal] load local bake definitions"),
        started("s", "[a-amd64-0 1/2] RUN x"),
        started("s", "[a-amd64-01 1/2] RUN x"),
        printed("s", "hello\n"),
        completed("s", "[a-amd64-0 1/2] RUN x"),
        started("e", "[a-amd64-01] exporting to image"),
        part("e", "pushing layers", 0, true),
    ];
    let [first, second] = logs.each_mut().map(|log| lines(log, &events));
    assert_eq!(first, "#1 [1/2] RUN x\n#1 0.200 hello\n#1 DONE 0.3s\n");
    assert_eq!(second, "#1 [1/2] RUN x\n#1 0.100 hello\n#2 exporting to image\n#2 pushing layers done");
}

#[test]
fn the_last_words_of_buildx_are_text() {
    for line in ["ERROR: failed to solve: x", "Dockerfile:5", "", "12", "--------------------"] {
        assert_eq!(event(line), None, "{line}");
    }
    assert!(event("{\"vertexes\":[]}").is_some());
}
