//! A registry that accepts a connection and then says nothing: every command ends in the time that is configured.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use expect_test::expect;

use crate::harness::{BOTH, OWN, Registry, Tree, without_digests};
use crate::proxy::{Proxy, Request};
use crate::registry::published::{self, DockerConfig, READERS};

/// Longer than any test waits.
const SILENCE: Duration = Duration::from_secs(600);

/// A registry that takes some of the requests and answers them never.
fn silent(registry: &Registry, which: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Proxy {
    Proxy::start(&registry.address, move |request, upstream| {
        if which(request) {
            std::thread::sleep(SILENCE);
        }
        upstream.ask(request)
    })
}

/// Runs a command with short limits, and this one for a build, in seconds; gives the errors that it ends with.
fn errors(tree: &Tree, address: &str, args: &[&str], build: u64) -> String {
    let (start, timeouts) = (Instant::now(), format!("read=2,write=3,build={build}"));
    let run = DockerConfig::empty().run_with(tree, address, args, &[("JOBS_TIMEOUTS", &timeouts)]);
    // What is tried again is so for two minutes at most, and a program may need a while to end.
    let most = Duration::from_secs(build + 130);
    assert!(start.elapsed() < most, "{args:?}: {:?}\n{}", start.elapsed(), run.stderr);
    let errors = run.errors().replace(address, "<registry>").replace(OWN, "<own>");
    format!("{}: {}", run.code, without_digests(&errors).replace(&format!("{build} s"), "<limit>"))
}

#[test]
fn what_is_only_asked() {
    let message = expect![[r#"
        4: error: <registry>/jobs/a:<sha>: timed out after 2 s
          help: run this again when the registry answers; if it needs longer, raise JOBS_TIMEOUTS"#]];
    // Whoever connects waits in the queue.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let registry = published::registry("");
    let proxy = silent(&registry, |request| request.path.contains("/manifests/"));
    let (address, held, message) = (address.as_str(), proxy.address.as_str(), &message);
    let ask = move |address: &str, command| message.assert_eq(&errors(&published::tree(), address, command, 60));
    // Each is tried again for up to two minutes, so they wait together.
    std::thread::scope(|scope| {
        for command in READERS {
            scope.spawn(move || ask(address, command));
            scope.spawn(move || ask(held, command));
        }
    });
}

#[test]
fn a_tag_that_is_merged() {
    let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    let (tag, path) = (tree.tag(), format!("/manifests/{}", tree.tag()));
    let proxy = silent(&registry, move |request| request.method == "PUT" && request.path.ends_with(&path));
    let message = expect![[r#"
        4: error: <registry>/jobs/a:<sha>: timed out after 3 s
          help: run this again when the registry answers; if it needs longer, raise JOBS_TIMEOUTS"#]];
    message.assert_eq(&errors(&tree, &proxy.address, &["merge"], 60));
    assert_eq!(registry.digest("jobs/a", &tag), None);
    tree.run_with(&["merge"], &env).ended(0);
}

#[test]
fn an_image_that_is_pushed() {
    let message = expect![[r#"
        4: error: <registry>/jobs/a:<sha>-<own>: the build for <own> timed out after <limit>, while pushing the image
          help: run this again when the registry answers; if it needs longer, raise JOBS_TIMEOUTS
            the log is target/xtask/logs/a-<own>.log
            rerun: cargo xtask build --arch <own> a"#]];
    for (method, part) in [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a"]));
        let is_held = move |request: &Request| request.method == method && request.path.contains(part);
        let proxy = silent(&registry, is_held);
        // An engine that is busy may take longer before it pushes at all.
        let limits = [10, 40, 160].into_iter();
        let mut runs = limits.map(|limit| errors(&tree, &proxy.address, &["build", "--arch", OWN], limit));
        let errors = runs.find(|_| proxy.requests().iter().any(is_held));
        message.assert_eq(&errors.unwrap());
        assert_eq!(registry.digest("jobs/a", &format!("{}-{OWN}", tree.tag())), None);
    }
}
