//! What a registry sends is what its digest promises, and no longer than a manifest may be, or it is refused.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::published::{self, DockerConfig, READERS};
use crate::harness::{Registry, Run};
use crate::proxy::{Answer, End, Proxy, Request};

fn digest_of(body: &[u8]) -> String {
    let hex: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Another text of the same length that is as valid.
fn falsified(answer: &mut Answer) {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let other = match text.find('\n') {
        Some(_) => text.replacen('\n', " ", 1),
        None => text.replacen("\"created\":\"20", "\"created\":\"21", 1),
    };
    assert_ne!(other, text);
    answer.body = other.into_bytes();
}

/// A registry that falsifies what it answers to some requests.
fn falsifying(registry: &Registry, which: impl Fn(&Request) -> bool + Send + Sync + 'static, says: Says) -> Proxy {
    Proxy::start(&registry.address, move |request, upstream| {
        let mut answer = upstream.ask(request);
        if request.method == "GET" && answer.status == "200 OK" && which(request) {
            falsified(&mut answer);
            if says == Says::TheDigestOfWhatItSends {
                let digest = digest_of(&answer.body);
                answer.set("Docker-Content-Digest", &digest);
                answer.set("Etag", &format!("\"{digest}\""));
            }
        }
        answer
    })
}

/// What the header `Docker-Content-Digest` says of content that was falsified.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    TheRealDigest,
    TheDigestOfWhatItSends,
}

/// The message names the digest that was promised and the one that came.
#[track_caller]
fn assert_refused(run: Run) {
    let run = run.ended(4);
    let first = run.errors().split("\nerror: ").next().unwrap();
    let mut digests: Vec<&str> = first.split("sha256:").skip(1).map(|rest| &rest[..rest.len().min(64)]).collect();
    digests.sort_unstable();
    digests.dedup();
    assert!(digests.len() >= 2, "{}", run.errors());
}

/// `verify` refuses, and `merge` publishes nothing.
#[track_caller]
fn check(which: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static, says: Says) {
    let (registry, tree) = (published::registry(""), published::tree());
    let docker = DockerConfig::empty();
    let proxy = falsifying(&registry, which.clone(), says);
    assert_refused(docker.run(&tree, &proxy.address, &["verify"]));
    published::unmerge(&registry, &tree);
    let tags = ["jobs/a", "jobs/b"].map(|job| registry.tags(job));
    let proxy = falsifying(&registry, which, says);
    assert_refused(docker.run(&tree, &proxy.address, &["merge"]));
    assert_eq!(["jobs/a", "jobs/b"].map(|job| registry.tags(job)), tags, "nothing is published");
    assert!(proxy.requests().iter().all(|request| request.method != "PUT"), "nothing is sent");
}

#[test]
fn a_manifest_other_than_its_header_says_is_refused() {
    check(|request| request.path.contains("/manifests/"), Says::TheRealDigest);
}

#[test]
fn a_manifest_other_than_the_one_asked_for_is_refused() {
    check(|request| request.path.contains("/manifests/sha256:"), Says::TheDigestOfWhatItSends);
}

#[test]
fn a_configuration_other_than_the_one_asked_for_is_refused() {
    check(|request| request.path.contains("/blobs/"), Says::TheDigestOfWhatItSends);
}

#[test]
fn a_plan_does_not_believe_a_false_manifest() {
    let (registry, tree) = (published::registry(""), published::tree());
    let proxy = falsifying(&registry, |request| request.path.contains("/manifests/"), Says::TheRealDigest);
    for command in READERS {
        assert_refused(DockerConfig::empty().run(&tree, &proxy.address, command));
    }
}

/// A manifest that is longer than 4 MiB, which is where registries themselves draw the line.
fn long(answer: &mut Answer, length: usize) {
    answer.body.resize(length, b' ');
    let digest = digest_of(&answer.body);
    answer.set("Docker-Content-Digest", &digest);
}

#[test]
fn a_manifest_of_more_than_4_mib_is_refused() {
    // Whoever tells the length is refused by it, and whoever does not, by what comes.
    for end in [End::Length, End::Close] {
        let registry = published::registry("");
        let proxy = Proxy::start(&registry.address, move |request, upstream| {
            let mut answer = upstream.ask(request);
            if answer.status == "200 OK" && request.path.contains("/manifests/") {
                long(&mut answer, (4 << 20) + 1);
                answer.end = end;
            }
            answer
        });
        let tree = published::tree();
        for command in READERS {
            let start = Instant::now();
            let run = DockerConfig::empty().run(&tree, &proxy.address, command).ended(4);
            assert!(start.elapsed() < Duration::from_secs(30), "it is not asked for again: {:?}", start.elapsed());
            assert!(run.errors().contains("the limit for a manifest"), "{}", run.errors());
        }
    }
}

#[test]
fn a_manifest_of_4_mib_is_read() {
    let registry = published::registry("");
    let proxy = Proxy::start(&registry.address, move |request, upstream| {
        let mut answer = upstream.ask(request);
        let is_tag = request.path.contains("/manifests/") && !request.path.contains("/manifests/sha256:");
        if answer.status == "200 OK" && is_tag {
            long(&mut answer, 4 << 20);
        }
        answer
    });
    DockerConfig::empty().run(&published::tree(), &proxy.address, &["plan", "--exit-code"]).ended(0);
}

#[test]
fn a_page_in_the_place_of_a_manifest_is_not_one() {
    // Such as the page with which a hotel's network greets.
    let page = || Answer::new("200 OK", &[("Content-Type", "text/html")], "<html>Welcome</html>");
    let proxy = Proxy::server(move |_| page());
    let tree = published::tree();
    for command in READERS {
        DockerConfig::empty().run(&tree, &proxy.address, command).ended(4);
    }
}
