//! Registries that keep their blobs elsewhere: a login is for the registry alone, and never sent on.

use super::proxy::{Answer, Proxy};
use super::published::{self, DockerConfig, READERS, USER};
use super::token::{Login, Scopes, Tokens};
use crate::cloud::PLAIN_PASSWORD;
use crate::harness::Registry;

/// A registry whose blobs are on another server, which wants no login and notes what it is sent.
struct Elsewhere {
    front: Proxy,
    store: Proxy,
    _registries: [Registry; 2],
}

impl Elsewhere {
    /// `host` is what the other server is called.
    fn new(registry: Registry, host: &str) -> Elsewhere {
        let plain = published::registry("");
        let store = Proxy::recording(&plain.address);
        let to = store.address.replace("127.0.0.1", host);
        let front = Proxy::start(&registry.address, move |request, upstream| {
            let answer = upstream.ask(request);
            if answer.status == "200 OK" && request.path.contains("/blobs/") {
                let to = format!("http://{to}{}?signature=of-this-address", request.path);
                return Answer::new("307 Temporary Redirect", &[("Location", &to)], "");
            }
            answer
        });
        Elsewhere { front, store, _registries: [registry, plain] }
    }

    #[track_caller]
    fn check(&self, docker: &DockerConfig) {
        let tree = published::tree();
        for command in READERS {
            docker.run(&tree, &self.front.address, command).ended(0);
        }
        let front = self.front.requests();
        assert!(front.iter().any(|request| request.header("Authorization").is_some()), "the registry wants a login");
        let stored = self.store.requests();
        assert!(!stored.is_empty(), "configurations are blobs");
        for request in stored {
            assert!(request.path.ends_with("?signature=of-this-address"), "{}", request.path);
            let secret = request.headers.iter().find(|(name, value)| {
                name.eq_ignore_ascii_case("Authorization") || value.contains("Basic ") || value.contains("Bearer ")
            });
            assert_eq!(secret, None, "{}", request.path);
        }
    }
}

#[test]
fn a_password_is_not_sent_to_where_blobs_are() {
    // Another port of the same host is another server, too.
    for host in ["127.0.0.1", "localhost"] {
        let elsewhere = Elsewhere::new(published::registry_with_login(), host);
        elsewhere.check(&DockerConfig::with_password(&elsewhere.front.address, USER, PLAIN_PASSWORD.0));
    }
}

#[test]
fn a_token_is_not_sent_to_where_blobs_are() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    for host in ["127.0.0.1", "localhost"] {
        Elsewhere::new(published::registry(&tokens.configuration()), host).check(&DockerConfig::empty());
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let registry = published::registry("");
    let front = Proxy::start(&registry.address, |request, upstream| match request.path.contains("/blobs/") {
        true => Answer::new("307 Temporary Redirect", &[("Location", request.path.as_str())], ""),
        false => upstream.ask(request),
    });
    let run = DockerConfig::empty().run(&published::tree(), &front.address, &["verify"]).ended(4);
    assert!(run.errors().contains("redirect"), "{}", run.errors());
}

#[test]
fn a_redirect_to_a_file_is_not_followed() {
    let registry = published::registry("");
    let front = Proxy::start(&registry.address, |request, upstream| match request.path.contains("/blobs/") {
        true => Answer::new("307 Temporary Redirect", &[("Location", "file:///etc/passwd")], ""),
        false => upstream.ask(request),
    });
    DockerConfig::empty().run(&published::tree(), &front.address, &["verify"]).ended(4);
}
