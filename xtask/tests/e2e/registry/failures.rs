//! Registries that are busy, slow or not there: what passes is waited for, and what stays is told in their own words.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::proxy::{Answer, End, Proxy, Request, Upstream};
use super::published::{self, DockerConfig, READERS};
use crate::harness::free_port;

/// Answers the first requests of each path so, and then as the registry does.
fn first(times: usize, failure: Answer) -> impl Fn(&Request, &Upstream) -> Answer + Send + Sync {
    let failed: Mutex<BTreeMap<String, usize>> = Mutex::default();
    move |request, upstream| {
        let mut failed = failed.lock().unwrap();
        let count = failed.entry(request.path.clone()).or_default();
        *count += 1;
        if *count <= times {
            return failure.clone();
        }
        drop(failed);
        upstream.ask(request)
    }
}

fn too_many(after: &str) -> Answer {
    Answer::error("429 Too Many Requests", &[("Retry-After", after)], "TOOMANYREQUESTS", "slow down, please")
}

#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let registry = published::registry("");
    let proxy = Proxy::start(&registry.address, first(2, too_many("1")));
    DockerConfig::empty().run(&published::tree(), &proxy.address, &["verify"]).ended(0);
    let mut times: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for request in proxy.requests() {
        times.entry(request.path).or_default().push(request.at);
    }
    assert!(times.keys().any(|path| path.contains("/manifests/")), "{times:?}");
    for (path, times) in &times {
        assert_eq!(times.len(), 3, "{path}");
        for pair in times.windows(2) {
            let waited = pair[1] - pair[0];
            assert!(waited >= Duration::from_millis(990), "{path}: {waited:?}");
        }
    }
}

#[test]
fn a_registry_that_stays_busy_is_quoted() {
    let proxy = Proxy::server(|request| match request.path.as_str() {
        "/v2/" => Answer::new("200 OK", &[], "{}"),
        _ => too_many("3600"),
    });
    let tree = published::tree();
    let start = Instant::now();
    for command in READERS {
        let run = DockerConfig::empty().run(&tree, &proxy.address, command).ended(4);
        assert!(run.errors().contains("429 Too Many Requests: slow down, please"), "{}", run.errors());
    }
    assert!(start.elapsed() < Duration::from_secs(150), "{:?}", start.elapsed());
}

#[test]
fn a_failure_that_passes_is_not_seen() {
    for status in ["503 Service Unavailable", "500 Internal Server Error", "502 Bad Gateway", "408 Request Timeout"] {
        let registry = published::registry("");
        let proxy = Proxy::start(&registry.address, first(1, Answer::new(status, &[], "<html>busy</html>")));
        DockerConfig::empty().run(&published::tree(), &proxy.address, &["verify"]).ended(0);
    }
}

#[test]
fn a_connection_that_is_cut_is_made_again() {
    let registry = published::registry("");
    let count = AtomicUsize::new(0);
    let proxy = Proxy::start(&registry.address, move |request, upstream| {
        let mut answer = upstream.ask(request);
        if request.path.contains("/manifests/") && count.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.end = End::TooEarly;
        }
        answer
    });
    DockerConfig::empty().run(&published::tree(), &proxy.address, &["verify"]).ended(0);
}

#[test]
fn what_is_forbidden_is_quoted_and_not_asked_again() {
    let proxy = Proxy::server(|request| match request.path.as_str() {
        "/v2/" => Answer::new("200 OK", &[], "{}"),
        _ => Answer::error("403 Forbidden", &[], "DENIED", "requested access to the resource is denied"),
    });
    let tree = published::tree();
    for command in READERS {
        let run = DockerConfig::empty().run(&tree, &proxy.address, command).ended(4);
        let words = "403 Forbidden: requested access to the resource is denied";
        assert!(run.errors().contains(words), "{}", run.errors());
        assert!(run.errors().contains("help: ask for the right to push and pull there"), "{}", run.errors());
    }
    let mut asked: Vec<String> = proxy.requests().into_iter().map(|request| request.path).collect();
    asked.retain(|path| path.contains(&format!("/a/manifests/{}", tree.tag())));
    assert!(asked.len() <= READERS.len() * 3, "{asked:?}");
}

#[test]
fn a_registry_that_never_answers_times_out() {
    // Whoever connects waits in the queue.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let run = DockerConfig::empty().run(&published::tree(), &address, &["verify"]).ended(4);
    assert!(start.elapsed() < Duration::from_secs(150), "{:?}", start.elapsed());
    assert!(run.errors().contains("timed out"), "{}", run.errors());
}

#[test]
fn a_port_that_nobody_listens_on_is_known_at_once() {
    let address = format!("127.0.0.1:{}", free_port());
    let tree = published::tree();
    for command in READERS {
        let start = Instant::now();
        let run = DockerConfig::empty().run(&tree, &address, command).ended(4);
        assert!(start.elapsed() < Duration::from_secs(15), "{command:?}: {:?}", start.elapsed());
        let help = "help: nothing listens there: cargo xtask setup starts the loopback registry";
        assert!(run.errors().contains(help), "{}", run.errors());
    }
}

#[test]
fn what_is_no_registry_is_not_an_empty_one() {
    // A server of something else says `404` to everything, in a page for people.
    let proxy = Proxy::server(|_| Answer::new("404 Not Found", &[("Content-Type", "text/html")], "<h1>no</h1>"));
    let run = DockerConfig::empty().run(&published::tree(), &proxy.address, &["plan"]);
    assert_eq!(run.code, 4, "{run:?}");
}
