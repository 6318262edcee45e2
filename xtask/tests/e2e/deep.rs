//! `verify --deep`: the programs in images of both architectures.

use std::path::Path;

use expect_test::{Expect, expect};

use crate::architecture::{Built, base};
use crate::harness::{BOTH, DOCKERFILE, Registry, Run, Tree, without_digests};
use crate::proxy::{Answer, Proxy};

/// A Dockerfile of an image that holds the same program for each architecture, and then this.
fn with_both(more: &str) -> String {
    format!(
        "FROM busybox:1.37-amd64 AS amd64\nFROM busybox:1.37-arm64 AS arm64\nFROM busybox:1.37\n\
         COPY --from=amd64 /bin/busybox /opt/amd64/tool\nCOPY --from=arm64 /bin/busybox /opt/arm64/tool\n{more}"
    )
}

/// Jobs that are published.
fn published(jobs: &[(&str, &str)]) -> Built {
    let files: Vec<(String, &str)> = jobs.iter().map(|(path, text)| (format!("jobs/{path}"), *text)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let built = Built { registry: Registry::start(), tree: Tree::new(&files) };
    built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    built.run(&["merge"]).ended(0);
    built
}

/// Runs it; nothing that was downloaded stays.
#[track_caller]
fn verify(built: &Built, registry: &str) -> Run {
    let run = built.run_with(&["verify", "--deep"], &[("JOBS_REGISTRY", registry)]);
    let folder = built.tree.path().join("target/xtask/layers");
    assert!(std::fs::read_dir(folder).unwrap().next().is_none(), "{}", run.stderr);
    run
}

#[track_caller]
fn refused(built: &Built, code: i32, message: &Expect) {
    message.assert_eq(&verify(built, &built.registry.address).ended(code).errors_at(&built.registry));
}

#[test]
fn a_foreign_program_is_named_unless_it_is_allowed() {
    let built = published(&[
        ("allowed/Dockerfile", &with_both("")),
        ("allowed/job.json", r#"{"foreign-files": ["/opt/*/tool"]}"#),
        ("foreign/Dockerfile", &with_both("")),
        ("foreign/job.json", r#"{"foreign-files": ["/opt/arm64/*", "/bin/*"]}"#),
        ("one/Dockerfile", &with_both("")),
        ("one/job.json", r#"{"arches": ["amd64"]}"#),
        ("right/Dockerfile", DOCKERFILE),
    ]);
    refused(
        &built,
        3,
        &expect![[r#"
        error: <registry>/jobs/foreign:<sha>: the image of linux/arm64 (sha256:…) holds /opt/amd64/tool (amd64)
          rule: the programs of an image are for its own architecture
          help: take those for arm64, or allow them in jobs/foreign/job.json: "foreign-files": ["/opt/amd64/tool"]
        error: <registry>/jobs/one:<sha>: the image of linux/amd64 (sha256:…) holds /opt/arm64/tool (arm64)
          rule: the programs of an image are for its own architecture
          help: take those for amd64, or allow them in jobs/one/job.json: "foreign-files": ["/opt/arm64/tool"]"#]],
    );
    let run = verify(&built, &built.registry.address);
    let names = |text: &str| without_digests(&text.replace(&built.registry.address, "<registry>"));
    expect![[r#"
        <registry>/jobs/allowed:<sha>@sha256:…
        <registry>/jobs/right:<sha>@sha256:…
    "#]]
    .assert_eq(&names(&run.stdout));
    let talk = run.stderr.split("error:").next().unwrap().lines().map(str::trim);
    let talk: Vec<&str> = talk.skip_while(|line| !line.starts_with("Examined")).collect();
    expect![[r#"
        Examined <registry>/jobs/allowed:<sha> (linux/amd64: 3 programs, linux/arm64: 3 programs)
        Examined <registry>/jobs/right:<sha> (linux/amd64: 1 program, linux/arm64: 1 program)
        Finished 2 of 4 tags without foreign programs"#]]
    .assert_eq(&names(&talk.join("\n")));
}

#[test]
fn what_is_deleted_or_replaced_is_not_in_the_image() {
    let built = published(&[
        ("deleted/Dockerfile", &with_both("RUN rm -r /opt\n")),
        ("emptied/Dockerfile", &with_both("RUN rm -r /opt && mkdir -p /opt/amd64 && echo > /opt/amd64/note\n")),
        ("replaced/Dockerfile", &with_both("RUN echo '#!/bin/sh' | tee /opt/amd64/tool > /opt/arm64/tool\n")),
        // A file in place of a folder.
        ("shadowed/Dockerfile", &with_both("RUN rm -r /opt && echo > /opt\n")),
    ]);
    let run = verify(&built, &built.registry.address).ended(0);
    assert!(run.stderr.contains("4 of 4 tags without"), "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 4);
}

#[test]
fn hard_links_are_files_and_symbolic_links_are_none() {
    let links = "RUN mkdir /links && cp /opt/arm64/tool /links/arm64 && cp /opt/amd64/tool /links/amd64 && \
                 ln /links/arm64 /links/arm64-hard && ln /links/amd64 /links/amd64-hard && \
                 ln -s arm64 /links/arm64-soft && ln -s amd64 /links/amd64-soft && rm -r /opt\n\
                 RUN rm /links/arm64 /links/amd64\n";
    let built = published(&[("job/Dockerfile", &with_both(links))]);
    refused(
        &built,
        3,
        &expect![[r#"
        error: <registry>/jobs/job:<sha>: the image of linux/amd64 (sha256:…) holds /links/arm64-hard (arm64)
          rule: the programs of an image are for its own architecture
          help: take those for amd64, or allow them in jobs/job/job.json: "foreign-files": ["/links/arm64-hard"]
        error: <registry>/jobs/job:<sha>: the image of linux/arm64 (sha256:…) holds /links/amd64-hard (amd64)
          rule: the programs of an image are for its own architecture
          help: take those for arm64, or allow them in jobs/job/job.json: "foreign-files": ["/links/amd64-hard"]"#]],
    );
}

#[test]
fn layers_are_read_however_they_are_packed() {
    for exporter in ["compression=zstd", "compression=uncompressed", "compression=gzip,oci-mediatypes=false"] {
        let built = Built::of(DOCKERFILE);
        let text = with_both("").replace("FROM busybox:1.37", &format!("FROM {}", base()));
        built.replace_arm64_by(&text, &format!("{exporter},force-compression=true"));
        built.run(&["merge"]).ended(0);
        let run = verify(&built, &built.registry.address).ended(3);
        assert!(run.errors().contains(") holds /opt/amd64/tool (amd64)\n"), "{exporter}: {}", run.errors());
    }
}

/// The layers of an image of this architecture.
fn layers(built: &Built, arch: &str) -> Vec<String> {
    let index = built.registry.index("jobs/job", &built.tree.tag());
    let images = index["manifests"].as_array().unwrap();
    let image = images.iter().find(|entry| entry["platform"]["architecture"] == arch).unwrap();
    let manifest = built.registry.index("jobs/job", image["digest"].as_str().unwrap());
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The file in which a registry keeps a layer.
fn file_of(folder: &Path, digest: &str) -> std::path::PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    folder.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

#[test]
fn a_layer_that_is_not_what_it_should_be_is_refused() {
    let built = published(&[("job/Dockerfile", DOCKERFILE)]);
    let last = layers(&built, "arm64").pop().unwrap();
    let file = file_of(&built.registry.images(), &last);
    let whole = std::fs::read(&file).unwrap();
    let mut other = whole.clone();
    other[20] ^= 1;
    std::fs::write(&file, &other).unwrap();
    refused(
        &built,
        4,
        &expect![[r#"
        error: <registry>/jobs/job@sha256:…: the registry sent sha256:… for sha256:…
          rule: content is what its digest says
          help: ask whoever runs the registry, or a proxy before it, what changes its answers"#]],
    );
    std::fs::write(&file, [whole, vec![0; 100_000]].concat()).unwrap();
    refused(
        &built,
        4,
        &expect![[r#"
            error: <registry>/jobs/job@sha256:…: sent more than the manifest promised
              help: ask whoever runs the registry, or a proxy before it, what changes its answers"#]],
    );
    std::fs::remove_file(&file).unwrap();
    refused(
        &built,
        3,
        &expect![[r#"
            error: <registry>/jobs/job@sha256:…: the layer is not in the registry
              rule: every layer of a published image can be pulled
              help: delete the tags of this image in the registry, and build it again"#]],
    );
}

#[test]
fn a_layer_is_fetched_once_and_again_where_the_registry_is_busy() {
    let built =
        published(&[("a/Dockerfile", DOCKERFILE), ("b/Dockerfile", DOCKERFILE), ("job/Dockerfile", DOCKERFILE)]);
    let base = layers(&built, "amd64").remove(0);
    let busy = std::sync::atomic::AtomicBool::new(true);
    let first = base.clone();
    let proxy = Proxy::start(&built.registry.address, move |request, upstream| {
        match request.path.ends_with(&first) && busy.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => Answer::error("503 Service Unavailable", &[("Retry-After", "1")], "UNAVAILABLE", "later"),
            false => upstream.ask(request),
        }
    });
    let run = verify(&built, &proxy.address).ended(0);
    assert!(run.stderr.contains("3 of 3 tags without"), "{}", run.stderr);
    let asked: Vec<String> = proxy.requests().into_iter().map(|request| request.path).collect();
    let asked: Vec<&String> = asked.iter().filter(|path| path.ends_with(&base)).collect();
    assert_eq!(asked, [&format!("/v2/jobs/a/blobs/{base}"), &format!("/v2/jobs/a/blobs/{base}")]);
}
