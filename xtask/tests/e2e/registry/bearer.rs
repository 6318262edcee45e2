//! Registries that want tokens: one request for a token serves many repositories, where the registry allows it.

use super::published::{self, DockerConfig, READERS, USER, base64};
use super::token::{Login, Scopes, Tokens};
use crate::cloud::PLAIN_PASSWORD;
use crate::harness::{TempDir, Tree, free_port};
use crate::proxy::{Answer, Proxy};

const A: &str = "repository:jobs/a:pull";
const B: &str = "repository:jobs/b:pull";

#[test]
fn one_anonymous_token_serves_all_repositories() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    let (registry, tree) = (published::registry(&tokens.configuration()), published::tree());
    for (command, number) in READERS.iter().zip(1..) {
        DockerConfig::empty().run(&tree, &registry.address, command).ended(0);
        assert_eq!(tokens.asked(), vec![vec![A, B]; number], "one request for all: {command:?}");
    }
    for request in tokens.server.requests() {
        assert!(request.path.starts_with("/token?"), "{}", request.path);
        assert!(request.path.contains("service=test%20service") || request.path.contains("service=test+service"));
        assert_eq!(request.header("Authorization"), None);
    }
}

#[test]
fn a_token_may_be_named_access_token() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "access_token");
    let (registry, tree) = (published::registry(&tokens.configuration()), published::tree());
    DockerConfig::empty().run(&tree, &registry.address, &["verify"]).ended(0);
    assert_eq!(tokens.asked(), [[A, B]]);
}

#[test]
fn where_a_token_is_for_one_repository_each_gets_its_own() {
    let tokens = Tokens::start(Login::Anybody, Scopes::First, "token");
    let (registry, tree) = (published::registry(&tokens.configuration()), published::tree());
    for command in READERS {
        let before = tokens.asked().len();
        DockerConfig::empty().run(&tree, &registry.address, command).ended(0);
        let asked = &tokens.asked()[before..];
        assert_eq!(asked[0], [A, B], "{command:?}");
        // The first token does for `a`, but the reader need not look into it to find out.
        let mut later = asked[1..].to_vec();
        later.sort();
        assert!(later == [[B]] || later == [[A], [B]], "{command:?}: {asked:?}");
    }
}

#[test]
fn a_server_of_tokens_gets_the_password_and_the_registry_does_not() {
    let basic = format!("Basic {}", base64(format!("{USER}:{}", PLAIN_PASSWORD.0).as_bytes()));
    let tokens = Tokens::start(Login::Only(basic.clone()), Scopes::All, "token");
    let (registry, tree) = (published::registry(&tokens.configuration()), published::tree());
    let proxy = Proxy::recording(&registry.address);
    let docker = DockerConfig::with_password(&proxy.address, USER, PLAIN_PASSWORD.0);
    for command in READERS {
        docker.run(&tree, &proxy.address, command).ended(0);
    }
    assert!(!proxy.requests().is_empty());
    for request in proxy.requests() {
        assert_ne!(request.header("Authorization"), Some(basic.as_str()), "{}", request.path);
    }
    assert!(tokens.server.requests().iter().all(|request| request.header("Authorization") == Some(&basic)));
}

#[test]
fn a_server_of_tokens_that_refuses_is_quoted() {
    let basic = format!("Basic {}", base64(format!("{USER}:{}", PLAIN_PASSWORD.0).as_bytes()));
    let tokens = Tokens::start(Login::Only(basic), Scopes::All, "token");
    let (registry, tree) = (published::registry(&tokens.configuration()), published::tree());
    let wrong = DockerConfig::with_password(&registry.address, USER, "wrong");
    for docker in [DockerConfig::empty(), wrong] {
        for command in READERS {
            let run = docker.run(&tree, &registry.address, command).ended(4);
            let errors = run.errors();
            assert!(errors.contains("401 Unauthorized"), "{errors}");
            assert!(errors.contains("help: log in to the registry: cargo xtask login"), "{errors}");
        }
    }
}

#[test]
fn a_token_that_the_registry_does_not_take_ends_in_words() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    let other = Tokens::start(Login::Anybody, Scopes::All, "token");
    // The registry sends everybody to one server, and trusts the certificate of another.
    let configuration = tokens.configuration().replace(&tokens.server.address, &other.server.address);
    let (registry, tree) = (published::registry(&configuration), published::tree());
    let run = DockerConfig::empty().run(&tree, &registry.address, &["verify"]).ended(4);
    assert!(run.errors().contains("401 Unauthorized"), "{}", run.errors());
    assert!(other.server.requests().len() < 10, "{}", other.server.requests().len());
}

#[test]
fn many_repositories_need_few_tokens() {
    const JOBS: usize = 70;
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    let registry = published::registry(&tokens.configuration());
    let jobs: Vec<String> = (0..JOBS).map(|number| format!("a-job-with-a-rather-long-name-{number:02}")).collect();
    let tree = Tree::with_jobs(&jobs.iter().map(String::as_str).collect::<Vec<_>>());
    let run = DockerConfig::empty().run(&tree, &registry.address, &["plan"]).ended(0);
    assert_eq!(run.stdout.matches("never built").count(), JOBS, "{}", run.stdout);
    let asked = tokens.asked();
    assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), JOBS, "each once");
    assert!(asked.len() <= 5, "{} requests", asked.len());
    // What servers take at least for a request's first line (RFC 9112, section 3).
    assert!(tokens.server.requests().iter().all(|request| request.path.len() < 8000));
}

#[test]
fn a_server_of_tokens_that_fails_is_quoted_and_no_login_is_asked_for() {
    let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
    let broken = Proxy::server(|_| Answer::error("403 Forbidden", &[], "DENIED", "this client is not allowed"));
    let nobody = format!("127.0.0.1:{}", free_port());
    for (address, words) in [(&broken.address, "this client is not allowed"), (&nobody, nobody.as_str())] {
        let configuration = tokens.configuration().replace(&tokens.server.address, address);
        let (registry, tree) = (published::registry(&configuration), published::tree());
        let run = DockerConfig::empty().run(&tree, &registry.address, &["verify"]).ended(4);
        assert!(run.errors().contains(words), "{}", run.errors());
        assert!(!run.errors().contains("help: log in"), "{}", run.errors());
    }
}

#[test]
fn a_challenge_cannot_add_options_to_the_request() {
    let temp = TempDir::new();
    let made = temp.0.join("made");
    let realm = format!("http://127.0.0.1:1/\\\"\\noutput = \\\"{}", made.display());
    for realm in [realm, "file:///etc/passwd".to_owned(), String::new(), "http://127.0.0.1:1/{a,b}[1-9]".to_owned()] {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
        let server = Proxy::server(move |_| {
            let header = [("WWW-Authenticate", challenge.as_str())];
            Answer::error("401 Unauthorized", &header, "UNAUTHORIZED", "authentication required")
        });
        DockerConfig::empty().run(&published::tree(), &server.address, &["verify"]).ended(4);
        assert!(!made.exists(), "{realm}");
    }
}
