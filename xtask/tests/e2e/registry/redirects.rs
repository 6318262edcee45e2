//! Registries that keep their blobs elsewhere: a login is for the registry alone, and never sent on.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::published::{self, DockerConfig, READERS, USER};
use super::token::{Login, Scopes, Tokens};
use crate::cloud::PLAIN_PASSWORD;
use crate::harness::Registry;
use crate::proxy::{Answer, Proxy};

/// A registry that sends whoever asks for a blob to another server, which wants no login and notes what it is sent.
struct Elsewhere {
    front: Proxy,
    store: Proxy,
    _registry: Registry,
}

impl Elsewhere {
    /// `host` is what the other server is called, and `start` starts the registry with this configuration.
    fn new(host: &str, start: impl FnOnce(&str) -> Registry) -> Elsewhere {
        let files = Arc::new(OnceLock::new());
        let folder: Arc<OnceLock<PathBuf>> = Arc::clone(&files);
        let store = Proxy::server(move |request| match (folder.get(), request.path.strip_prefix('/')) {
            (Some(folder), Some(path)) => match std::fs::read(folder.join(path)) {
                Ok(body) => Answer::new("200 OK", &[], body),
                Err(error) => Answer::new("404 Not Found", &[], error.to_string()),
            },
            _ => Answer::new("400 Bad Request", &[], ""),
        });
        let registry = start(&redirect(&format!("http://{}", store.address.replace("127.0.0.1", host))));
        files.set(registry.images()).unwrap();
        Elsewhere { front: Proxy::recording(&registry.address), store, _registry: registry }
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
            assert!(request.path.starts_with("/docker/registry/v2/blobs/"), "{}", request.path);
            let secret = request.headers.iter().find(|(name, value)| {
                name.eq_ignore_ascii_case("Authorization") || value.contains("Basic ") || value.contains("Bearer ")
            });
            assert_eq!(secret, None, "{}", request.path);
        }
    }
}

/// The part of a registry's configuration with which it sends everybody to another server for blobs.
pub fn redirect(url: &str) -> String {
    format!("middleware: {{storage: [{{name: redirect, options: {{baseurl: \"{url}\"}}}}]}}\n")
}

#[test]
fn a_password_is_not_sent_to_where_blobs_are() {
    // Another port of the same host is another server, too.
    for host in ["127.0.0.1", "localhost"] {
        let elsewhere = Elsewhere::new(host, |more| published::for_user(published::data(), PLAIN_PASSWORD.1, more));
        elsewhere.check(&DockerConfig::with_password(&elsewhere.front.address, USER, PLAIN_PASSWORD.0));
    }
}

#[test]
fn a_token_is_not_sent_to_where_blobs_are() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    for host in ["127.0.0.1", "localhost"] {
        let start = |more: &str| published::registry(&format!("{}{more}", tokens.configuration()));
        Elsewhere::new(host, start).check(&DockerConfig::empty());
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

#[test]
fn another_server_cannot_ask_for_the_login() {
    // It wants a token, from a server of its own, which would be sent the password.
    let thief = Arc::new(OnceLock::<String>::new());
    let realm = Arc::clone(&thief);
    let store = Proxy::server(move |_| {
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", realm.get().unwrap());
        Answer::error("401 Unauthorized", &[("WWW-Authenticate", &challenge)], "UNAUTHORIZED", "who asks?")
    });
    let tokens = Proxy::server(|_| Answer::new("200 OK", &[], "{\"token\": \"x\"}"));
    thief.set(tokens.address.clone()).unwrap();
    let more = redirect(&format!("http://{}", store.address));
    let registry = published::for_user(published::data(), PLAIN_PASSWORD.1, &more);
    let docker = DockerConfig::with_password(&registry.address, USER, PLAIN_PASSWORD.0);
    let run = docker.run(&published::tree(), &registry.address, &["verify"]).ended(4);
    assert!(run.errors().contains("who asks?") && run.errors().contains(&store.address), "{}", run.errors());
    assert!(!store.requests().is_empty() && tokens.requests().is_empty(), "{:?}", tokens.requests());
}

#[test]
fn what_another_server_lacks_is_not_absent() {
    let store = Proxy::server(|_| Answer::new("404 Not Found", &[], ""));
    let registry = published::registry("");
    let url = format!("http://{}/gone", store.address);
    let front = Proxy::start(&registry.address, move |request, upstream| match request.path.contains("/manifests/") {
        true => Answer::new("307 Temporary Redirect", &[("Location", url.as_str())], ""),
        false => upstream.ask(request),
    });
    for command in READERS {
        let run = DockerConfig::empty().run(&published::tree(), &front.address, command).ended(4);
        assert!(run.errors().contains("404"), "{}", run.errors());
    }
}
