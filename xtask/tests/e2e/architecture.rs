//! Images that say one architecture and hold another, made in another way than by this program: what the gate finds by
//! their first layers, and `verify --deep` in their files.

use std::io::Write;
use std::process::Stdio;

use expect_test::{Expect, expect};

use crate::harness::{BOTH, DOCKERFILE, OTHER, OWN, Registry, Run, Tree, docker, docker_command, mirrors, run_image};
use crate::proxy::Proxy;

/// A tree with the job `job`, its images of both architectures pushed.
pub struct Built {
    pub registry: Registry,
    pub tree: Tree,
}

impl Built {
    pub fn of(dockerfile: &str) -> Built {
        let built = Built { registry: Registry::start(), tree: Tree::new(&[("jobs/job/Dockerfile", dockerfile)]) };
        built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
        built
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        self.tree.run_with(args, &[&[("JOBS_REGISTRY", self.registry.address.as_str())], env].concat())
    }

    fn image(&self, suffix: &str) -> String {
        format!("{}/jobs/job:{}{suffix}", self.registry.address, self.tree.tag())
    }

    fn digest(&self, suffix: &str) -> Option<String> {
        self.registry.digest("jobs/job", &format!("{}{suffix}", self.tree.tag()))
    }

    /// Replaces the image for arm64 by one of this Dockerfile with the same labels, as a script of somebody's would.
    fn replace_arm64(&self, dockerfile: &str) {
        self.replace_arm64_by(dockerfile, "oci-mediatypes=true");
    }

    pub fn replace_arm64_by(&self, dockerfile: &str, exporter: &str) {
        let arm64 = self.image("-arm64");
        let inspect = ["buildx", "imagetools", "inspect", &arm64, "--format", "{{json .Image.Config.Labels}}"];
        let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&docker(&inspect)).unwrap();
        let labels = labels.iter().flat_map(|(name, value)| ["--label".to_owned(), format!("{name}={value}")]);
        let output = format!("type=image,name={arm64},push=true,{exporter}");
        let mut build = docker_command();
        build.args(["buildx", "build", "--platform", "linux/arm64", "--provenance=mode=min", "--output", &output]);
        let mut child = build.args(labels).arg("-").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{dockerfile}");
    }

    /// Makes the tag of what stands under the architectures' own, without anybody's gate.
    fn merge_by_hand(&self) {
        let (tag, amd64, arm64) = (self.image(""), self.image("-amd64"), self.image("-arm64"));
        let revision = format!("index:org.opencontainers.image.revision={}", self.tree.head());
        docker(&["buildx", "imagetools", "create", "-t", &tag, "--annotation", &revision, &amd64, &arm64]);
    }

    #[track_caller]
    pub fn refused(&self, args: &[&str], message: &Expect) {
        message.assert_eq(&self.run(args).ended(3).errors_at(&self.registry));
    }

    /// Builds again as the help says, and publishes that.
    #[track_caller]
    fn mended(&self) {
        self.run(&["build", "--force", "--arch", "arm64", "--emulate", "job"]).ended(0);
        self.run(&["merge"]).ended(0);
        self.run(&["verify"]).ended(0);
        assert_eq!(run_image(&self.image(""), "arm64"), "I am nobody on aarch64");
    }
}

/// The base of the jobs, as a build by hand names it.
pub fn base() -> String {
    let mirrors = mirrors();
    let mirror = mirrors.split(',').find_map(|entry| entry.strip_prefix("docker.io=")).unwrap_or("docker.io");
    format!("{mirror}/library/busybox:1.37")
}

#[test]
fn an_image_with_its_base_of_another_architecture_is_refused() {
    let built = Built::of(DOCKERFILE);
    built.replace_arm64(&format!("FROM --platform=linux/amd64 {}\nRUN echo x > /x\n", base()));
    built.refused(&["merge"], &expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: the image of linux/arm64 (sha256:…) holds the layers of busybox:1.37 for amd64
          rule: an image begins with the layers of its base for its own architecture
          help: cargo xtask build --force --arch arm64 job"#]]);
    assert_eq!(built.digest(""), None, "the tag must not appear");
    built.merge_by_hand();
    let published = expect![[r#"
        error: <registry>/jobs/job:<sha>: the image of linux/arm64 (sha256:…) holds the layers of busybox:1.37 for amd64
          rule: an image begins with the layers of its base for its own architecture
          help: delete the tag in the registry, and build it again: cargo xtask build --force --arch arm64 job"#]];
    built.refused(&["verify"], &published);
    built.refused(&["merge"], &published);
    built.registry.delete("jobs/job", &built.tree.tag());
    built.mended();
}

#[test]
fn an_image_with_another_base_is_refused() {
    let built = Built::of(DOCKERFILE);
    built.replace_arm64(&format!("FROM {} AS base\nFROM scratch\nCOPY --from=base /bin /bin\n", base()));
    built.refused(&["merge"], &expect![[r#"
        error: <registry>/jobs/job:<sha>-arm64: the image of linux/arm64 (sha256:…) does not begin with the layers of busybox:1.37 for arm64
          rule: an image begins with the layers of its base for its own architecture
          help: cargo xtask build --force --arch arm64 job"#]]);
    built.mended();
}

#[test]
fn layers_are_compared_unpacked() {
    for exporter in ["oci-mediatypes=false", "compression=zstd,force-compression=true"] {
        let built = Built::of(DOCKERFILE);
        built.replace_arm64_by(&format!("FROM {}\nRUN echo x > /x\n", base()), exporter);
        built.run(&["merge"]).ended(0);
        assert_eq!(built.run(&["verify"]).ended(0).errors(), "", "{exporter}");
    }
}

#[test]
fn a_base_may_be_named_in_every_way() {
    let jobs = [
        ("argument", "ARG VERSION=1.37\nFROM busybox:$VERSION AS one\nFROM one\nRUN echo x > /x\n"),
        ("digest", &format!("FROM {}@{}\nRUN echo x > /x\n", base(), busybox("1.37"))),
        ("each", "FROM busybox:1.37-$TARGETARCH\n"),
        ("tools", "FROM busybox:1.37-amd64 AS tools\nFROM busybox:1.37\nCOPY --from=tools /etc/passwd /x\n"),
    ];
    let files: Vec<(String, &str)> = jobs.map(|(job, text)| (format!("jobs/{job}/Dockerfile"), text)).into();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let built = Built { registry: Registry::start(), tree: Tree::new(&files) };
    built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    built.run(&["merge"]).ended(0);
    let verified = built.run(&["verify"]).ended(0).stderr;
    assert!(verified.contains("4 of 4 published tags right") && !verified.contains("warning"), "{verified}");
}

/// What a tag of the base stands for.
fn busybox(tag: &str) -> String {
    let at = format!("{}:{tag}", base().trim_end_matches(":1.37"));
    docker(&["buildx", "imagetools", "inspect", &at, "--format", "{{json .Manifest.Digest}}"]).replace('"', "")
}

#[test]
fn a_base_that_is_not_there_for_an_architecture_is_refused_before_anything_is_built() {
    let only = |arch: &str| format!("FROM busybox:1.37-{arch}\nRUN echo x > /x\n");
    let by_digest = format!("FROM busybox@{} AS base\nFROM base\n", busybox("1.37-arm64"));
    let built = Built {
        registry: Registry::start(),
        tree: Tree::new(&[("jobs/a/Dockerfile", &only("amd64")), ("jobs/b/Dockerfile", &by_digest)]),
    };
    let refused = expect![[r#"
        error: jobs/a/Dockerfile:1: base `busybox:1.37-amd64` is there for linux/amd64, and not for arm64
          rule: an image begins with the layers of its base for its own architecture
          help: name an image that is there for arm64 too, or add "arches": ["amd64"] to jobs/a/job.json
        error: jobs/b/Dockerfile:1: base `busybox@sha256:…` is there for linux/arm64, and not for amd64
          rule: an image begins with the layers of its base for its own architecture
          help: name an image that is there for amd64 too, or add "arches": ["arm64"] to jobs/b/job.json"#]];
    for command in ["plan", "build"] {
        refused.assert_eq(&built.run(&[command]).ended(2).errors_at(&built.registry));
    }
    // For the architecture that it is there for, it will do.
    built.tree.write("jobs/a/job.json", r#"{"arches": ["amd64"]}"#);
    built.tree.write("jobs/b/job.json", r#"{"arches": ["arm64"]}"#);
    built.tree.commit("one architecture each");
    built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    built.run(&["merge"]).ended(0);
    assert_eq!(built.run(&["verify"]).ended(0).errors(), "");
}

#[test]
fn an_image_without_a_base_begins_with_nothing() {
    let files = "FROM busybox:1.37 AS base\nFROM scratch AS image\nCOPY --from=base /bin/busybox /\n\
                 FROM busybox:1.37 AS check\nRUN exit 1\n";
    let built = Built { registry: Registry::start(), tree: Tree::new(&[("jobs/job/Dockerfile", files)]) };
    built.tree.write("jobs/job/job.json", "{\"target\": \"Image\"}");
    built.tree.commit("the stage in the middle");
    built.run(&[&["build"], &BOTH[..]].concat()).ended(0);
    built.run(&["merge"]).ended(0);
    assert_eq!(built.run(&["verify"]).ended(0).errors(), "");
}

/// The requests to the mirror in which `merge` and `verify` ask for bases, and the mirror.
fn requests_for_bases(jobs: &[&str], args: &[&str]) -> Vec<String> {
    let mirrors = mirrors();
    let mirror = mirrors.split(',').find_map(|entry| entry.strip_prefix("docker.io=")).unwrap();
    let (registry, tree, proxy) = (Registry::start(), Tree::with_jobs(jobs), Proxy::recording(mirror));
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    tree.run_with(&["merge"], &env).ended(0);
    let by_proxy = format!("docker.io={}", proxy.address);
    tree.run_with(args, &[env[0], ("JOBS_MIRRORS", by_proxy.as_str())]).ended(0);
    let line = |path: &str| crate::harness::without_digests(path);
    proxy.requests().iter().map(|request| format!("{} {}", request.method, line(&request.path))).collect()
}

#[test]
fn each_base_is_asked_for_once_for_all_jobs() {
    let expected = [
        "GET /v2/",
        "GET /v2/library/busybox/blobs/sha256:…",
        "GET /v2/library/busybox/blobs/sha256:…",
        "GET /v2/library/busybox/manifests/sha256:…",
        "GET /v2/library/busybox/manifests/sha256:…",
        "GET /v2/library/busybox/manifests/sha256:…",
    ];
    let mut requests = requests_for_bases(&["a", "b", "c"], &["verify"]);
    requests.sort();
    assert_eq!(requests, expected);
    // A merge has to know what the tag stands for now, too, for the key.
    let merge = requests_for_bases(&["a", "b", "c"], &["merge"]);
    assert_eq!(merge.len(), expected.len() + 3, "{merge:?}");
}

#[test]
fn a_base_that_is_gone_stops_no_release_and_every_new_one() {
    let built = Built::of(DOCKERFILE);
    let mirrors = mirrors();
    let mirror = mirrors.split(',').find_map(|entry| entry.strip_prefix("docker.io=")).unwrap();
    // Its tag is there, and what the tag pointed to when the images were built is not.
    let proxy = Proxy::start(mirror, |request, upstream| match request.path.contains("/manifests/sha256:") {
        true => crate::proxy::Answer::error("404 Not Found", &[], "MANIFEST_UNKNOWN", "manifest unknown"),
        false => upstream.ask(request),
    });
    let env = format!("docker.io={}", proxy.address);
    let env = [("JOBS_MIRRORS", env.as_str())];
    let plain = |text: &str| crate::harness::without_digests(&text.replace(&proxy.address, "<mirror>"));
    let refused = built.run_with(&["merge"], &env).ended(4);
    expect![[r#"
        error: <registry>/jobs/job:<sha>: cannot be compared with its base `busybox:1.37`: there is no <mirror>/library/busybox@sha256:…
          rule: an image begins with the layers of its base for its own architecture
          help: cargo xtask merge job, once the base can be pulled"#]].assert_eq(&plain(refused.errors()).replace(&built.registry.address, "<registry>"));
    assert_eq!(built.digest(""), None, "the tag must not appear");
    built.run(&["merge"]).ended(0);
    let verified = built.run_with(&["verify"], &env).ended(0);
    expect![[r#"
        warning: base `busybox:1.37`: there is no <mirror>/library/busybox@sha256:…, so the layers of job are not compared with it
            Verified <registry>/jobs/job:<sha>
            Finished 1 of 1 published tag right
    "#]].assert_eq(&plain(&verified.stderr).replace(&built.registry.address, "<registry>"));
    assert_eq!(built.run_with(&["merge"], &env).ended(0).stderr.matches("warning: base").count(), 1);
}

#[test]
fn a_default_for_what_buildkit_sets_is_named_and_does_what_the_note_says() {
    let machine = |arch: &str| if arch == "arm64" { "aarch64" } else { "x86_64" };
    let dockerfile = |default: &str, in_stage: &str| {
        format!(
            "ARG BUILDPLATFORM{default}\n\
             FROM --platform=$BUILDPLATFORM busybox:1.37 AS tools\n\
             RUN uname -m > /built-on\n\
             FROM busybox:1.37\n\
             ARG TARGETARCH{in_stage}\n\
             COPY --from=tools /built-on /built-on\n\
             RUN echo \"for $TARGETARCH\" >> /built-on\n\
             CMD [\"cat\", \"/built-on\"]\n"
        )
    };
    let (global, stage) = (format!("=linux/{OTHER}"), format!("=${{TARGETARCH:-{OTHER}}}"));
    let tree = Tree::new(&[("jobs/job/Dockerfile", &dockerfile(&global, &stage))]);
    let built = || {
        tree.run(&["build", "--load"]).ended(0);
        docker(&["run", "--rm", &format!("jobs/job:{}", tree.tag())])
    };
    assert_eq!(built(), format!("{}\nfor {OTHER}", machine(OTHER)));
    let warning = format!(
        "warning: jobs/job/Dockerfile:1: `ARG BUILDPLATFORM=linux/{OTHER}` (and 1 more): the default replaces what \
         BuildKit sets, also where that is another architecture\n      \
         help: leave the default out, or the line if it is before the first `FROM`: BuildKit sets the variable by \
         itself\n"
    );
    let planned = tree.run(&["plan"]).ended(0).stderr;
    assert!(planned.starts_with(&warning), "{planned}");
    let doctor = tree.run(&["doctor", "--format", "json"]).stdout;
    assert!(doctor.contains("(and 1 more): the default replaces what BuildKit sets"), "{doctor}");
    tree.write("jobs/job/Dockerfile", &dockerfile("", ""));
    tree.commit("without defaults");
    assert_eq!(built(), format!("{}\nfor {OWN}", machine(OWN)));
    let planned = tree.run(&["plan"]).ended(0).stderr;
    assert!(!planned.contains("warning"), "{planned}");
}
