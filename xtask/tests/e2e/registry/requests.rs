//! How often a registry is asked: the README's table of requests is held by these lists.

use expect_test::{Expect, expect};

use super::published::{self, DockerConfig};
use crate::harness::{Registry, Tree, without_digests};
use crate::proxy::Proxy;

/// The requests of a command that ends with this code, sorted: method and path, with neither digests nor keys.
fn requests(registry: &Registry, tree: &Tree, args: &[&str], code: i32) -> Vec<String> {
    let proxy = Proxy::recording(&registry.address);
    DockerConfig::empty().run(tree, &proxy.address, args).ended(code);
    let plain = |path: &str| without_digests(&path.replace(&tree.tag(), "<sha>"));
    let mut list: Vec<String> =
        proxy.requests().iter().map(|request| format!("{} {}", request.method, plain(&request.path))).collect();
    list.sort();
    list
}

#[track_caller]
fn check(list: &[String], most: usize, expected: &Expect) {
    expected.assert_eq(&list.join("\n"));
    for job in ["a", "b"] {
        let own = list.iter().filter(|line| line.contains(&format!("/jobs/{job}/"))).count();
        assert!(own <= most, "{job}: {own} requests\n{}", list.join("\n"));
    }
}

#[test]
fn a_job_that_was_never_built() {
    let (registry, tree) = (Registry::start(), published::tree());
    check(
        &requests(&registry, &tree, &["plan", "--exit-code"], 10),
        6,
        &expect![[r#"
        GET /v2/
        GET /v2/jobs/a/manifests/<sha>
        GET /v2/jobs/a/manifests/<sha>-amd64
        GET /v2/jobs/a/manifests/<sha>-arm64
        GET /v2/jobs/a/manifests/key-<key>
        GET /v2/jobs/b/manifests/<sha>
        GET /v2/jobs/b/manifests/<sha>-amd64
        GET /v2/jobs/b/manifests/<sha>-arm64
        GET /v2/jobs/b/manifests/key-<key>"#]],
    );
}

#[test]
fn a_job_that_did_not_change() {
    let (registry, tree) = (published::registry(""), published::tree());
    tree.write("README.md", "other words\n");
    tree.commit("words");
    check(
        &requests(&registry, &tree, &["plan", "--exit-code"], 10),
        2,
        &expect![[r#"
        GET /v2/
        GET /v2/jobs/a/manifests/<sha>
        GET /v2/jobs/a/manifests/key-<key>
        GET /v2/jobs/b/manifests/<sha>
        GET /v2/jobs/b/manifests/key-<key>"#]],
    );
}

#[test]
fn a_job_that_is_published() {
    let (registry, tree) = (published::registry(""), published::tree());
    check(
        &requests(&registry, &tree, &["plan", "--exit-code"], 0),
        2,
        &expect![[r#"
        GET /v2/
        GET /v2/jobs/a/manifests/<sha>
        GET /v2/jobs/b/manifests/<sha>"#]],
    );
}

#[test]
fn a_job_that_is_built_and_not_merged() {
    let (registry, tree) = (published::registry(""), published::tree());
    published::unmerge(&registry, &tree);
    check(
        &requests(&registry, &tree, &["merge", "--dry-run"], 0),
        8,
        &expect![[r#"
        GET /v2/
        GET /v2/jobs/a/blobs/sha256:…
        GET /v2/jobs/a/blobs/sha256:…
        GET /v2/jobs/a/manifests/<sha>
        GET /v2/jobs/a/manifests/<sha>-amd64
        GET /v2/jobs/a/manifests/<sha>-arm64
        GET /v2/jobs/a/manifests/key-<key>
        GET /v2/jobs/a/manifests/sha256:…
        GET /v2/jobs/a/manifests/sha256:…
        GET /v2/jobs/b/blobs/sha256:…
        GET /v2/jobs/b/blobs/sha256:…
        GET /v2/jobs/b/manifests/<sha>
        GET /v2/jobs/b/manifests/<sha>-amd64
        GET /v2/jobs/b/manifests/<sha>-arm64
        GET /v2/jobs/b/manifests/key-<key>
        GET /v2/jobs/b/manifests/sha256:…
        GET /v2/jobs/b/manifests/sha256:…"#]],
    );
}

#[test]
fn a_job_that_is_verified() {
    let (registry, tree) = (published::registry(""), published::tree());
    check(
        &requests(&registry, &tree, &["verify"], 0),
        8,
        &expect![[r#"
        GET /v2/
        GET /v2/jobs/a/blobs/sha256:…
        GET /v2/jobs/a/blobs/sha256:…
        GET /v2/jobs/a/manifests/<sha>
        GET /v2/jobs/a/manifests/<sha>-amd64
        GET /v2/jobs/a/manifests/<sha>-arm64
        GET /v2/jobs/a/manifests/sha256:…
        GET /v2/jobs/a/manifests/sha256:…
        GET /v2/jobs/b/blobs/sha256:…
        GET /v2/jobs/b/blobs/sha256:…
        GET /v2/jobs/b/manifests/<sha>
        GET /v2/jobs/b/manifests/<sha>-amd64
        GET /v2/jobs/b/manifests/<sha>-arm64
        GET /v2/jobs/b/manifests/sha256:…
        GET /v2/jobs/b/manifests/sha256:…"#]],
    );
}
