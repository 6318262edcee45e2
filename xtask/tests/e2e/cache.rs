//! The cache of layers: what a job's build leaves in the registry, what a later one on an empty engine has of it, and
//! what is said if the registry does not take it.

use std::collections::BTreeMap;

use expect_test::expect;

use crate::engine::{Engine, Store};
use crate::harness::{OWN, Registry, Tree, without_digests};
use crate::proxy::{Answer, Proxy};

const TARGET: &str =
    "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\ncache = \"registry\"\n";

/// A repository with these jobs, each with a step that leaves something else each time, before a file that all copy.
fn tree(jobs: &[&str]) -> Tree {
    let dockerfile =
        |job: &&str| format!("FROM busybox:1.37\nRUN cat /proc/sys/kernel/random/uuid >/{job}\nCOPY text /\n");
    let files: Vec<(String, String)> =
        jobs.iter().map(|job| (format!("jobs/{job}/Dockerfile"), dockerfile(job))).collect();
    let files = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    Tree::new(&files.chain([("text", "first"), ("Cargo.toml", TARGET)]).collect::<Vec<_>>())
}

/// The layers of what a reference leads to.
fn layers(registry: &Registry, repository: &str, reference: &str) -> Vec<String> {
    let mut manifest = registry.index(repository, reference);
    if let Some(image) = manifest["manifests"][0]["digest"].as_str() {
        manifest = registry.index(repository, image);
    }
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The steps of a job's build that ran or were cached, by its log: `RUN` -> whether it was cached.
fn steps(tree: &Tree, job: &str) -> BTreeMap<String, bool> {
    let log = std::fs::read_to_string(tree.path().join(format!("target/xtask/logs/{job}-{OWN}.log"))).unwrap();
    let step = |line: &str| {
        let (number, rest) = line.split_once(" [")?;
        let instruction = rest.split_once("] ")?.1.split(' ').next()?.to_owned();
        let is_cached = log.lines().any(|line| line == format!("{number} CACHED"));
        ["RUN", "COPY"].contains(&instruction.as_str()).then_some((instruction, is_cached))
    };
    log.lines().filter_map(step).collect()
}

#[test]
fn a_later_leg_takes_its_steps_from_the_registry() {
    let registry = Registry::start();
    // So many that a bake builds them; and one that is built by itself.
    let jobs = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let tree = tree(&jobs);
    let build = |engine: &Engine, args: &[&str]| {
        let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
        let run = tree.run_with(&[&["build", "--arch", OWN], args].concat(), &env).ended(0);
        assert!(!run.stderr.contains("warning:"), "{}", run.stderr);
    };
    let all = |is_cached| BTreeMap::from([("RUN".to_owned(), is_cached), ("COPY".to_owned(), is_cached)]);
    build(&Engine::empty(), &[]);
    for job in jobs {
        assert_eq!(steps(&tree, job), all(false), "{job}");
        assert!(registry.digest(&format!("jobs/{job}"), &format!("cache-{OWN}")).is_some(), "{job}");
    }
    let first = tree.tag();
    // Another key, and the same steps.
    for job in jobs {
        tree.write(&format!("jobs/{job}/job.json"), r#"{"args": {"UNUSED": "1"}}"#);
    }
    tree.commit("an argument that no step uses");
    let engine = Engine::empty();
    build(&engine, &["a"]);
    build(&engine, &jobs[1..]);
    for job in jobs {
        assert_eq!(steps(&tree, job), all(true), "{job}");
    }
    // What is forced is built from the start, and kept.
    let forced = ["build", "--arch", OWN, "--force", "--tag", "again", "a", "--dry-run"];
    let forced = tree.run_with(&forced, &[engine.env(), ("JOBS_REGISTRY", &registry.address)]).ended(0).stdout;
    assert!(!forced.contains("--cache-from") && forced.contains("--cache-to"), "{forced}");
    tree.write("text", "second");
    tree.commit("another text for all jobs");
    build(&Engine::empty(), &[]);
    for job in jobs {
        let of = |tag: &str| layers(&registry, &format!("jobs/{job}"), &format!("{tag}-{OWN}"));
        let (first, second) = (of(&first), of(&tree.tag()));
        assert_eq!((first.len(), &first[..2]), (3, &second[..2]), "{job}");
        assert_ne!(first[2], second[2], "{job}");
    }
}

#[test]
fn a_cache_that_the_registry_refuses_is_said_in_a_line_and_fails_no_build() {
    // For the export of the cache.
    let (engine, registry) = (Engine::with(Store::Containerd), Registry::start());
    let proxy = Proxy::start(&registry.address, |request, upstream| {
        if request.method == "PUT" && request.path.contains("/manifests/cache-") {
            let why = "The image tag 'cache-x' already exists in the repository and cannot be overwritten because the \
                       tag is immutable.";
            return Answer::error("400 Bad Request", &[], "TAG_INVALID", why);
        }
        upstream.ask(request)
    });
    let tree = tree(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    let env = [engine.env(), ("JOBS_REGISTRY", proxy.address.as_str())];
    let warnings = |names: &[&str]| {
        let run = tree.run_with(&[&["build", "--arch", OWN], names].concat(), &env).ended(0);
        let warnings: Vec<&str> = run.stderr.lines().filter(|line| line.contains("warning:")).collect();
        without_digests(&warnings.join("\n").replace(&proxy.address, "<registry>").replace(OWN, "<own>"))
    };
    let one_by_one = warnings(&["a", "b"]);
    expect![[r#"warning: the layers of 2 images are not kept for later builds: a (<own>): error writing manifest blob: failed commit on ref "sha256:…": unexpected status from PUT request to http://<registry>/v2/jobs/a/manifests/cache-<own>: 400 Bad Request; unknown: The image tag 'cache-x' already exists in the repository and cannot be overwritten because the tag is immutable. (except `cache-*` from the repository's immutable tags)"#]].assert_eq(&one_by_one);
    // So many are built by a bake.
    let baked = warnings(&["--force", "--tag", "v2"]);
    let first = baked.replace("10 images", "2 images");
    assert_eq!(first.split(" not kept").next(), one_by_one.split(" not kept").next());
    assert!(baked.contains("10 images") && baked.lines().count() == 1, "{baked}");
}

#[test]
fn a_job_with_secrets_keeps_no_more_than_its_image_holds() {
    // For the export of the cache.
    let (engine, registry) = (Engine::with(Store::Containerd), Registry::start());
    // The first stage keeps the secret in a file, and is not shipped. It is of this run alone: of what an engine has
    // exported once, it exports all again.
    let address = &registry.address;
    let dockerfile = |job| {
        let keep =
            format!("RUN --mount=type=secret,id=npm_token cat /run/secrets/* >/kept; echo {job} {address} >/out");
        format!("FROM busybox:1.37 AS first\n{keep}\nFROM busybox:1.37\nCOPY --from=first /out /\n")
    };
    let table = format!("{TARGET}[workspace.metadata.jobs.secrets]\nnpm_token = [\"secret\"]\n");
    let tree = Tree::new(&[
        ("Cargo.toml", &table),
        ("jobs/plain/Dockerfile", &dockerfile("plain")),
        ("jobs/secret/Dockerfile", &dockerfile("secret")),
        ("jobs/secret/job.json", r#"{"secrets": ["npm_token"]}"#),
    ]);
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str()), ("NPM_TOKEN", "the-kept-token")];
    let dry = tree.run_with(&["build", "--arch", OWN, "--dry-run"], &env).ended(0).stdout;
    for (job, mode) in [("plain", "max"), ("secret", "min")] {
        let place = format!("type=registry,ref={}/jobs/{job}:cache-{OWN}", registry.address);
        let to = format!("{place},mode={mode},image-manifest=true,oci-mediatypes=true,ignore-error=true");
        assert!(dry.contains(&format!(" --cache-from {place} --cache-to {to} ")), "{dry}");
    }
    // There is nothing to take from yet, which is not worth a word.
    let run = tree.run_with(&["build", "--arch", OWN], &env).ended(0);
    assert!(!run.stderr.contains("warning:"), "{}", run.stderr);
    for (job, is_more) in [("plain", true), ("secret", false)] {
        let repository = format!("jobs/{job}");
        let image = layers(&registry, &repository, &format!("{}-{OWN}", tree.tag()));
        let cache = layers(&registry, &repository, &format!("cache-{OWN}"));
        assert!(!cache.is_empty());
        assert_eq!(cache.iter().any(|layer| !image.contains(layer)), is_more, "{job}: {cache:?} {image:?}");
    }
}
