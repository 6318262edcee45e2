//! What goes wrong around a build is called what it is, with a remedy that fits.

use expect_test::{Expect, expect};

use crate::engine::{Engine, Store};
use crate::harness::{BOTH, OWN, Registry, Run, Tree, without_digests};
use crate::proxy::{Answer, Proxy, Request};

/// A registry that answers some requests with a fault, and what is said of it.
struct Fault {
    name: &'static str,
    is_hit: fn(&Request) -> bool,
    answer: Answer,
    code: i32,
    says: Expect,
}

/// A fault of everything that is written.
fn on_writes(name: &'static str, answer: Answer, says: Expect) -> Fault {
    let is_hit = |request: &Request| matches!(request.method.as_str(), "POST" | "PUT" | "PATCH");
    Fault { name, is_hit, answer, code: 4, says }
}

/// A fault of the manifests that are written.
fn on_manifests(name: &'static str, answer: Answer, says: Expect) -> Fault {
    let is_hit = |request: &Request| request.method == "PUT" && request.path.contains("/manifests/");
    Fault { name, is_hit, answer, code: 4, says }
}

/// A tag that is there already and never changes.
fn on_immutable(says: Expect) -> Fault {
    let message = "The image tag '1' already exists in the 'jobs/a' repository and cannot be overwritten because the \
                   repository is immutable.";
    Fault { code: 3, ..on_manifests("an immutable tag", error("400 Bad Request", "TAG_INVALID", message), says) }
}

fn error(status: &str, code: &str, message: &str) -> Answer {
    Answer::error(status, &[], code, message)
}

fn denied() -> Answer {
    error("403 Forbidden", "DENIED", "requested access to the resource is denied")
}

fn no_login() -> Answer {
    let challenge = [("WWW-Authenticate", "Basic realm=\"x\"")];
    Answer::error("401 Unauthorized", &challenge, "UNAUTHORIZED", "authentication required")
}

impl Fault {
    /// Runs something against a registry with this fault.
    fn check(&self, registry: &Registry, run: impl Fn(&str) -> Run) {
        let (is_hit, answer) = (self.is_hit, self.answer.clone());
        let proxy = Proxy::start(&registry.address, move |request, registry| match is_hit(request) {
            true => answer.clone(),
            false => registry.ask(request),
        });
        let run = run(&proxy.address);
        let said = without_chance(&run.errors().replace(&proxy.address, "<registry>"));
        self.says.assert_eq(&said.replace(OWN, "<own>"));
        assert_eq!(run.code, self.code, "{}: {run:?}", self.name);
    }
}

/// A message without what is chance: which tag and which layer is refused first, where else the engine has seen the
/// layer, and whether TLS was tried last.
fn without_chance(said: &str) -> String {
    let said = without_digests(said).replace("/manifests/key-<key>", "/manifests/<sha>").replace("https://", "http://");
    let mut parts = said.split("/blobs/uploads/");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let layer = part.split_once("&from=").map_or(part, |(_, from)| from);
        let rest = if part.starts_with('?') { &layer[layer.find([':', '"']).unwrap()..] } else { part };
        plain.push_str("/blobs/uploads/");
        plain.push_str(rest);
    }
    match plain.split_once("pushing with mount from ").and_then(|(start, from)| Some((start, from.split_once(": ")?.1)))
    {
        Some((start, rest)) => format!("{start}{rest}"),
        None => plain,
    }
}

/// What is said alike, whatever store the engine has.
fn in_every_store() -> [Fault; 2] {
    [
        on_writes(
            "denied",
            denied(),
            expect![[r#"
            error: <registry>/jobs/a:<sha>-<own>: could not be pushed: denied
              help: ask for the right to push and pull there
                the log is target/xtask/logs/a-<own>.log
                rerun: cargo xtask build --arch <own> a"#]],
        ),
        on_writes(
            "no login",
            no_login(),
            expect![[r#"
            error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unauthorized
              help: log in to the registry: cargo xtask login
                the log is target/xtask/logs/a-<own>.log
                rerun: cargo xtask build --arch <own> a"#]],
        ),
    ]
}

fn check_pushes(store: Store, faults: &[Fault]) {
    let engine = Engine::with(store);
    let alike = in_every_store();
    // Most of the time goes by in pauses.
    std::thread::scope(|scope| {
        for fault in faults.iter().chain(&alike) {
            let engine = &engine;
            scope.spawn(move || {
                let tree = Tree::with_jobs(&["a"]);
                fault.check(&Registry::start(), |address| {
                    tree.run_with(&["build", "--arch", OWN], &[engine.env(), ("JOBS_REGISTRY", address)])
                });
            });
        }
    });
}

#[test]
fn a_push_that_is_refused_is_explained() {
    let by_proxy = |status: &str, text: &str| Answer::new(status, &[], text);
    check_pushes(
        Store::Containerd,
        &[
            on_writes(
                "forbidden, by a proxy",
                by_proxy("403 Forbidden", "no"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unexpected status from POST request to http://<registry>/v2/jobs/a/blobs/uploads/: 403 Forbidden: no
                  help: ask for the right to push and pull there
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_writes(
                "no repository",
                error("404 Not Found", "NAME_UNKNOWN", "repository name not known to registry"),
                expect![[r#"
                    error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unknown: repository name not known to registry
                      help: the registry does not make repositories by itself: create it before the first push
                        the log is target/xtask/logs/a-<own>.log
                        rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_immutable(expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unknown: The image tag '1' already exists in the 'jobs/a' repository and cannot be overwritten because the repository is immutable.
                  rule: the repository's tags never change
                  help: name another tag, for build and merge alike: --tag <sha>-2, or JOBS_TAG
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]]),
            on_manifests(
                "words that nobody knows",
                error("400 Bad Request", "TAG_INVALID", "manifest tag did not match URI"),
                expect![[r#"
                    error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unknown: manifest tag did not match URI
                      help: ask whoever runs the registry why it refuses that
                        the log is target/xtask/logs/a-<own>.log
                        rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_writes(
                "no answer",
                Answer::nothing(),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: failed to do request: Post "http://<registry>/v2/jobs/a/blobs/uploads/": EOF
                  help: the registry, or a proxy before it, ended the connection: try again later, or ask whoever runs it
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_writes(
                "busy, by a proxy",
                by_proxy("503 Service Unavailable", "<html>busy</html>"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unexpected status from POST request to http://<registry>/v2/jobs/a/blobs/uploads/: 503 Service Unavailable: <html>busy</html>
                  help: the registry is in trouble, and not the name or the login: try again later
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_writes(
                "broken",
                error("500 Internal Server Error", "UNKNOWN", "unknown error"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unknown: 500 Internal Server Error
                  help: the registry is in trouble, and not the name or the login: try again later
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_manifests(
                "busy",
                error("503 Service Unavailable", "UNAVAILABLE", "service unavailable"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unavailable: 503 Service Unavailable
                  help: the registry is in trouble, and not the name or the login: try again later
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_manifests(
                "too many requests",
                error("429 Too Many Requests", "TOOMANYREQUESTS", "Rate exceeded"),
                expect![[r#"
                    error: <registry>/jobs/a:<sha>-<own>: could not be pushed: toomanyrequests: Rate exceeded
                      help: the registry takes no more requests for now: try again later, or build fewer images at a time (--parallel)
                        the log is target/xtask/logs/a-<own>.log
                        rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_writes(
                "too many requests, by a proxy",
                by_proxy("429 Too Many Requests", "slow"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: unexpected status from POST request to http://<registry>/v2/jobs/a/blobs/uploads/: 429 Too Many Requests: slow
                  help: the registry takes no more requests for now: try again later, or build fewer images at a time (--parallel)
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
        ],
    );
}

#[test]
fn a_push_that_is_refused_is_explained_with_the_classic_store() {
    check_pushes(
        Store::Classic,
        &[
            on_writes(
                "forbidden, by a proxy",
                Answer::new("403 Forbidden", &[], "no"),
                expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: denied: no
                  help: ask for the right to push and pull there
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]],
            ),
            on_immutable(expect![[r#"
                error: <registry>/jobs/a:<sha>-<own>: could not be pushed: tag invalid: The image tag '1' already exists in the 'jobs/a' repository and cannot be overwritten because the repository is immutable.
                  rule: the repository's tags never change
                  help: name another tag, for build and merge alike: --tag <sha>-2, or JOBS_TAG
                    the log is target/xtask/logs/a-<own>.log
                    rerun: cargo xtask build --arch <own> a"#]]),
        ],
    );
}

#[test]
fn a_merge_that_is_refused_shows_its_error_alone() {
    let (engine, registry, tree) = (Engine::with(Store::Containerd), Registry::start(), Tree::with_jobs(&["a"]));
    let env = [engine.env(), ("JOBS_REGISTRY", registry.address.as_str())];
    tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    for fault in [
        on_writes(
            "denied",
            denied(),
            expect![[r#"
            error: <registry>/jobs/a:<sha>: failed commit on ref "index-sha256:…": unexpected status from PUT request to http://<registry>/v2/jobs/a/manifests/<sha>: 403 Forbidden: denied
              help: ask for the right to push and pull there"#]],
        ),
        on_immutable(expect![[r#"
            error: <registry>/jobs/a:<sha>: failed commit on ref "index-sha256:…": unexpected status from PUT request to http://<registry>/v2/jobs/a/manifests/<sha>: 400 Bad Request: unknown: The image tag '1' already exists in the 'jobs/a' repository and cannot be overwritten because the repository is immutable.
              rule: the repository's tags never change"#]]),
        on_manifests(
            "words that nobody knows",
            error("400 Bad Request", "TAG_INVALID", "manifest tag did not match URI"),
            expect![[r#"
                error: <registry>/jobs/a:<sha>: failed commit on ref "index-sha256:…": unexpected status from PUT request to http://<registry>/v2/jobs/a/manifests/<sha>: 400 Bad Request: unknown: manifest tag did not match URI
                  help: is the registry's address right, and can it be reached from here? if so, ask whoever runs it"#]],
        ),
        on_writes(
            "broken",
            error("500 Internal Server Error", "UNKNOWN", "unknown error"),
            expect![[r#"
            error: <registry>/jobs/a:<sha>: failed commit on ref "index-sha256:…": unexpected status from PUT request to http://<registry>/v2/jobs/a/manifests/<sha>: 500 Internal Server Error: unknown
              help: the registry is in trouble, and not the name or the login: try again later"#]],
        ),
    ] {
        fault.check(&registry, |address| tree.run_with(&["merge"], &[engine.env(), ("JOBS_REGISTRY", address)]));
    }
}
