//! What `merge` hands over to whatever deploys the images.

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::harness::{BOTH, DOCKERFILE, OWN, Registry, TempDir, Tree, docker, without_digests};

/// What is published, with its first commit by that name.
struct Published {
    registry: Registry,
    tree: Tree,
    first: String,
}

impl Published {
    fn new(jobs: &[&str]) -> Published {
        let (registry, tree) = (Registry::start(), Tree::with_jobs(jobs));
        let published = Published { registry, first: tree.head(), tree };
        published.publish(0, &[]);
        published
    }

    fn publish(&self, code: i32, env: &[(&str, &str)]) {
        let env = [env, &[("JOBS_REGISTRY", self.registry.address.as_str())]].concat();
        // A job that does not build is `merge`'s to refuse.
        self.tree.run_with(&[&["build"], &BOTH[..]].concat(), &env);
        self.tree.run_with(&["merge"], &env).ended(code);
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.tree.path().join("target/xtask/images.json")).unwrap()
    }

    fn images(&self) -> Vec<Value> {
        serde_json::from_str::<Value>(&self.file()).unwrap()["images"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn check(&self, text: &str, expected: &Expect) {
        let text = text.replace(&self.registry.address, "<registry>").replace(&self.tree.head(), "<commit>");
        let text = text.replace(&self.tree.tag(), "<sha>").replace(&self.first, "<first>");
        expected.assert_eq(&without_digests(&text));
    }
}

#[test]
fn merge_writes_what_is_published_and_since_when() {
    let published = Published::new(&["a", "b"]);
    published.check(
        &published.file(),
        &expect![[r#"
            {
              "images": [
                {
                  "built-from": "<commit>",
                  "changed": true,
                  "commit": "<commit>",
                  "copies": [],
                  "digest": "sha256:…",
                  "job": "a",
                  "key": "<key>",
                  "key-digest": "sha256:…",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "repository": "<registry>/jobs/a",
                  "tag": "<sha>"
                },
                {
                  "built-from": "<commit>",
                  "changed": true,
                  "commit": "<commit>",
                  "copies": [],
                  "digest": "sha256:…",
                  "job": "b",
                  "key": "<key>",
                  "key-digest": "sha256:…",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "repository": "<registry>/jobs/b",
                  "tag": "<sha>"
                }
              ],
              "version": 1
            }
        "#]],
    );
    let first = published.images();
    let index = |job: &str| published.registry.digest(&format!("jobs/{job}"), &published.tree.tag());
    assert_eq!(first[0]["digest"].as_str(), index("a").as_deref());
    assert_eq!(first[0]["digest"], first[0]["key-digest"]);

    published.tree.write("jobs/a/Dockerfile", &format!("{DOCKERFILE}LABEL changed=yes\n"));
    published.tree.commit("change a");
    published.publish(0, &[]);
    published.check(
        &published.file(),
        &expect![[r#"
            {
              "images": [
                {
                  "built-from": "<commit>",
                  "changed": true,
                  "commit": "<commit>",
                  "copies": [],
                  "digest": "sha256:…",
                  "job": "a",
                  "key": "<key>",
                  "key-digest": "sha256:…",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "repository": "<registry>/jobs/a",
                  "tag": "<sha>"
                },
                {
                  "built-from": "<first>",
                  "changed": false,
                  "commit": "<commit>",
                  "copies": [],
                  "digest": "sha256:…",
                  "job": "b",
                  "key": "<key>",
                  "key-digest": "sha256:…",
                  "platforms": [
                    "linux/amd64",
                    "linux/arm64"
                  ],
                  "repository": "<registry>/jobs/b",
                  "tag": "<sha>"
                }
              ],
              "version": 1
            }
        "#]],
    );
    let second = published.images();
    // An unchanged job has an index of this commit, and the digest by which nothing is rolled out again.
    assert_ne!(second[1]["digest"], first[1]["digest"]);
    assert_eq!(second[1]["key-digest"], first[1]["digest"]);
    let keyed = published.registry.digest("jobs/b", &format!("key-{}", second[1]["key"].as_str().unwrap()));
    assert_eq!(second[1]["key-digest"].as_str(), keyed.as_deref());
    // Once more, when nothing is left to do.
    let file = published.file();
    published.publish(0, &[]);
    assert_eq!(published.file(), file);
}

#[test]
fn what_is_refused_is_not_handed_over() {
    let published = Published::new(&["a", "b"]);
    published.tree.write("jobs/a/Dockerfile", "FROM busybox:1.37\nRUN exit 3\n");
    published.tree.commit("break a");
    published.publish(3, &[]);
    let jobs: Vec<Value> = published.images().iter().map(|image| image["job"].clone()).collect();
    assert_eq!(jobs, ["b"]);
}

#[test]
fn a_step_puts_out_what_is_published_without_the_registrys_host() {
    let published = Published::new(&["a"]);
    let outputs = published.tree.path().join("target/outputs");
    published.publish(0, &[("GITHUB_OUTPUT", outputs.to_str().unwrap())]);
    let text = std::fs::read_to_string(outputs).unwrap();
    assert!(!text.contains(&published.registry.address), "{text}");
    published.check(&text, &expect![[r#"
        images=[{"built-from":"<commit>","changed":true,"commit":"<commit>","digest":"sha256:…","job":"a","key":"<key>","key-digest":"sha256:…","platforms":["linux/amd64","linux/arm64"],"tag":"<sha>"}]
        images-file=target/xtask/images.json
    "#]]);
}

#[test]
fn an_index_from_before_its_base_moved_keeps_its_own_key() {
    let (registry, dir) = (Registry::start(), TempDir::new());
    let base = format!("{}/base:1", registry.address);
    let push_base = |text: &str| {
        std::fs::write(dir.0.join("Dockerfile"), format!("FROM scratch\nLABEL of={text}\n")).unwrap();
        docker(&["buildx", "build", "--quiet", "--provenance=false", "-t", &base, "--push", dir.0.to_str().unwrap()]);
    };
    push_base("before");
    let tree = Tree::new(&[("jobs/a/Dockerfile", &format!("FROM {base}\nCOPY jobs/a/Dockerfile /\n"))]);
    tree.write("jobs/a/job.json", &format!(r#"{{"arches": ["{OWN}"]}}"#));
    tree.commit("for this machine");
    let published = Published { registry, first: tree.head(), tree };
    published.publish(0, &[]);
    let before = published.file();
    push_base("after");
    // What the job's key is by now.
    published.publish(0, &[("JOBS_TAG", "after")]);
    assert_ne!(published.images()[0]["key"], serde_json::from_str::<Value>(&before).unwrap()["images"][0]["key"]);
    published.publish(0, &[]);
    assert_eq!(published.file(), before);
    assert!(published.images()[0]["key-digest"].is_string(), "{before}");
}
