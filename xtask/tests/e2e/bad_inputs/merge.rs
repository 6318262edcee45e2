//! `merge` and `verify` where there is nothing to merge, or where it would go nowhere.
//! What the gate refuses is in `merge.rs` of the whole.

use expect_test::expect;

use super::untouched::put;
use super::{Untouched, case, check, check_with_registry};
use crate::harness::{Registry, Tree};

fn no_jobs(tree: &Tree) {
    std::fs::remove_dir_all(tree.path().join("jobs/job")).unwrap();
}

#[test]
fn nothing_to_merge() {
    check_with_registry([
        case("no jobs, in merge", &["merge"]).make(no_jobs).says(expect![[r#"
                error: jobs: there are none, so there is nothing to merge
                  rule: jobs are the folders under `jobs/` with a Dockerfile
                  help: add one: cargo xtask new <name>"#]]),
        case("no jobs, in verify", &["verify"]).make(no_jobs).says(expect![[r#"
                error: jobs: there are none, so there is nothing to verify
                  rule: jobs are the folders under `jobs/` with a Dockerfile
                  help: add one: cargo xtask new <name>"#]]),
        case("an unknown job, in merge", &["merge", "jab"]).says(expect![[r#"
            error: job `jab`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("an unknown job, in verify", &["verify", "jab"]).says(expect![[r#"
            error: job `jab`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("the target is a source", &["merge", "--tag", "v1-amd64"]).says(expect![[r#"
            error: tag `v1-amd64`: ends in `-amd64`
              rule: a tag does not end in `-amd64` or `-arm64`: the images of one architecture do
              help: give another with --tag or JOBS_TAG"#]]),
        case("nothing was built", &["merge"]).refused().says(expect![[r#"
            error: <registry>/jobs/job:<sha>-amd64: amd64 is missing
              rule: a tag is published when every architecture is there
              help: cargo xtask build --arch amd64 job
            error: <registry>/jobs/job:<sha>-arm64: arm64 is missing
              rule: a tag is published when every architecture is there
              help: cargo xtask build --arch arm64 job"#]]),
        case("nothing was built, and it is a dry run", &["merge", "--dry-run"]).refused().says(expect![[r#"
            error: <registry>/jobs/job:<sha>-amd64: amd64 is missing
              rule: a tag is published when every architecture is there
              help: cargo xtask build --arch amd64 job
            error: <registry>/jobs/job:<sha>-arm64: arm64 is missing
              rule: a tag is published when every architecture is there
              help: cargo xtask build --arch arm64 job"#]]),
        case("nothing was published", &["verify"]).refused().says(expect![[r#"
            error: <registry>/jobs/job:<sha>: is not published
              help: cargo xtask merge job"#]]),
    ]);
    check([
        case("no registry, in merge", &["merge"]).says(expect![[r#"
            error: merge: there is no registry
              help: set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml"#]]),
        case("no registry, in verify", &["verify"]).says(expect![[r#"
            error: verify: there is no registry
              help: set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml"#]]),
    ]);
}

#[test]
fn a_source_without_a_platform_is_refused() {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let registry = Registry::start();
    let tree = Tree::with_jobs(&["job"]);
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let build = ["build", "--arch", "amd64", "--arch", "arm64", "--emulate", "--provenance", "off"];
    tree.run_with(&build, &env).ended(0);
    let tag = format!("{}-arm64", tree.tag());
    let image = registry.digest("jobs/job", &tag).unwrap();
    let answer = registry.request("GET", &format!("/v2/jobs/job/manifests/{image}"), &[&format!("Accept: {MANIFEST}")]);
    let size = answer.unwrap().split_once("\r\n\r\n").unwrap().1.len();
    let manifest = |digest: &str, size: usize| {
        format!(
            r#"{{"schemaVersion": 2, "mediaType": "{INDEX}",
                "manifests": [{{"mediaType": "{MANIFEST}", "digest": "{digest}", "size": {size}}}]}}"#
        )
    };
    put(&registry, "jobs/job", &tag, INDEX, &manifest(&image, size));
    let untouched = Untouched::now(&tree, Some(&registry));
    let run = tree.run_with(&["merge"], &env).ended(3);
    untouched.check(&tree, Some(&registry), &run);
    expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: sha256:… is listed without a platform
          rule: an index lists each image under its own platform
          help: cargo xtask build --arch arm64 --no-cache job"#]]
    .assert_eq(&run.errors_at(&registry));
    let dry = tree.run_with(&["merge", "--dry-run"], &env).ended(3);
    assert_eq!(dry.errors(), run.errors());
    untouched.check(&tree, Some(&registry), &dry);
}
