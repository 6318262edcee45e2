//! Registries that keep their blobs elsewhere: a login is for the registry alone, and never sent on.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::proxy::{Answer, Proxy};
use super::published::{self, DockerConfig, READERS, USER};
use super::token::{Login, Scopes, Tokens};
use crate::cloud::PLAIN_PASSWORD;
use crate::harness::Registry;

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
