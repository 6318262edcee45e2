//! Registries that are busy, slow or not there: what passes is waited for, and what stays is told in their own words.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::published::{self, DockerConfig, READERS};
use crate::harness::{TempDir, free_port};
use crate::proxy::{Answer, End, Proxy, Request, Upstream};

/// Answers the first requests of each path with one failure after the other, and then as the registry does.
fn first(times: usize, failures: Vec<Answer>) -> impl Fn(&Request, &Upstream) -> Answer + Send + Sync {
    let asked: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let failed = AtomicUsize::new(0);
    move |request, upstream| {
        let count = {
            let mut asked = asked.lock().unwrap();
            let count = asked.entry(request.path.clone()).or_default();
            *count += 1;
            *count
        };
        match count <= times {
            true => failures[failed.fetch_add(1, Ordering::Relaxed) % failures.len()].clone(),
            false => upstream.ask(request),
        }
    }
}

fn too_many(after: &str) -> Answer {
    Answer::error("429 Too Many Requests", &[("Retry-After", after)], "TOOMANYREQUESTS", "slow down, please")
}

/// curl counts in whole seconds of the clock, so a wait is up to one second shorter than it was asked for. Without
/// being asked, it would be one second at first.
#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let registry = published::registry("");
    let proxy = Proxy::start(&registry.address, first(2, vec![too_many("4")]));
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
            assert!(waited > Duration::from_millis(2_900), "{path}: {waited:?}");
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
        let errors = run.errors();
        assert!(errors.contains("429 Too Many Requests: ") && errors.contains("slow down, please"), "{errors}");
    }
    assert!(start.elapsed() < Duration::from_secs(150), "{:?}", start.elapsed());
}

#[test]
fn a_failure_that_passes_is_not_seen() {
    let statuses = ["503 Service Unavailable", "500 Internal Server Error", "502 Bad Gateway", "408 Request Timeout"];
    let failures = statuses.map(|status| Answer::new(status, &[], "<html>busy</html>")).to_vec();
    let registry = published::registry("");
    let proxy = Proxy::start(&registry.address, first(1, failures));
    DockerConfig::empty().run(&published::tree(), &proxy.address, &["verify"]).ended(0);
    assert!(proxy.requests().len() >= 2 * statuses.len(), "each of them was answered once");
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
        let words = ["403 Forbidden: ", "requested access to the resource is denied"];
        assert!(words.iter().all(|words| run.errors().contains(words)), "{}", run.errors());
        assert!(run.errors().contains("help: ask for the right to push and pull there"), "{}", run.errors());
    }
    let mut asked: Vec<String> = proxy.requests().into_iter().map(|request| request.path).collect();
    asked.retain(|path| path.contains(&format!("/a/manifests/{}", tree.tag())));
    assert!(asked.len() <= READERS.len() * 3, "{asked:?}");
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

#[test]
fn a_name_that_nobody_knows_is_told_soon() {
    // The top-level domain that never exists (RFC 6761).
    let start = Instant::now();
    let run = DockerConfig::empty().run(&published::tree(), "registry.invalid", &["verify"]).ended(4);
    assert!(run.errors().contains("registry.invalid"), "{}", run.errors());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn a_registry_on_loopback_is_never_asked_through_a_proxy() {
    let (registry, tree) = (published::registry(""), published::tree());
    let proxy = Proxy::server(|_| Answer::new("502 Bad Gateway", &[], "no way to 127.0.0.1 from here"));
    let url = format!("http://{}", proxy.address);
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let mut env: Vec<(&str, &str)> = names.iter().map(|name| (*name, url.as_str())).collect();
    env.extend([("no_proxy", ""), ("NO_PROXY", "")]);
    for command in READERS {
        DockerConfig::empty().run_with(&tree, &registry.address, command, &env).ended(0);
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
}

#[test]
fn a_signal_ends_the_wait() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, tree, temp) = (silent.local_addr().unwrap().to_string(), published::tree(), TempDir::new());
    let env = [("JOBS_REGISTRY", address.as_str()), ("TMPDIR", temp.0.to_str().unwrap())];
    let mut child = tree.command(&["verify"], &env).stderr(Stdio::piped()).spawn().unwrap();
    // Somebody has asked.
    let (_connection, _) = silent.accept().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 0, "nothing stays in the folder for temporary files");
}
