//! Registries that want a name and a password: docker's own configuration has them, and nothing else does.

use serde_json::json;

use super::published::{self, DockerConfig, READERS, USER};
use crate::cloud::{PLAIN_PASSWORD, Programs};
use crate::harness::{Run, TempDir};
use crate::proxy::Proxy;

#[test]
fn a_password_in_dockers_configuration_is_used() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let docker = DockerConfig::with_password(&registry.address, USER, PLAIN_PASSWORD.0);
    for command in READERS {
        docker.run(&tree, &registry.address, command).ended(0);
    }
}

/// A credential helper that knows one registry and notes what it is asked, `lab`, and one that knows none, `empty`.
struct Helper {
    programs: Programs,
    notes: TempDir,
}

impl Helper {
    fn new(registry: &str, password: &str) -> Helper {
        let notes = TempDir::new();
        let answer = json!({ "ServerURL": registry, "Username": USER, "Secret": password });
        std::fs::write(notes.0.join("answer"), answer.to_string()).unwrap();
        let script = format!(
            "read -r server\necho \"$* $server\" >> '{0}/asked'\n\
             [ \"$1 $server\" = 'get {registry}' ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
             cat '{0}/answer'",
            notes.0.display()
        );
        let nothing = "echo 'credentials not found in native keychain'; exit 1";
        let programs = Programs::new().script("docker-credential-lab", &script);
        Helper { programs: programs.script("docker-credential-empty", nothing), notes }
    }

    fn path(&self) -> String {
        format!("{}:{}", self.programs.alone(), std::env::var("PATH").unwrap())
    }

    fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.notes.0.join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_credential_helper_of_the_registry_is_asked() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let helper = Helper::new(&registry.address, PLAIN_PASSWORD.0);
    // The helper of a registry goes before all else.
    let docker = DockerConfig::of(&json!({
        "auths": { &registry.address: { "auth": published::base64(b"me:wrong") } },
        "credHelpers": { &registry.address: "lab" },
        "credsStore": "empty",
    }));
    let path = helper.path();
    for command in READERS {
        docker.run_with(&tree, &registry.address, command, &[("PATH", &path)]).ended(0);
    }
    let wanted = format!("get {}", registry.address);
    let asked = helper.asked();
    assert!(asked.contains(&wanted), "{asked:?}");
    let other: Vec<&String> = asked.iter().filter(|line| **line != wanted).collect();
    assert!(other.is_empty(), "only for the registry that it is for: {other:?}");
}

#[test]
fn a_store_of_credentials_is_asked() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let helper = Helper::new(&registry.address, PLAIN_PASSWORD.0);
    // As `docker login` leaves it: the store has the password, and the file the registry's name alone.
    let docker = DockerConfig::of(&json!({ "auths": { &registry.address: {} }, "credsStore": "lab" }));
    let path = helper.path();
    for command in READERS {
        docker.run_with(&tree, &registry.address, command, &[("PATH", &path)]).ended(0);
    }
    assert!(helper.asked().contains(&format!("get {}", registry.address)), "{:?}", helper.asked());
}

#[test]
fn a_helper_that_knows_nothing_leaves_the_reader_anonymous() {
    let (registry, tree) = (published::registry(""), published::tree());
    let helper = Helper::new("another.example.com", "x");
    let docker = DockerConfig::of(&json!({ "credsStore": "lab" }));
    docker.run_with(&tree, &registry.address, &["verify"], &[("PATH", &helper.path())]).ended(0);
}

#[test]
fn a_helper_that_is_not_there_is_named() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let docker = DockerConfig::of(&json!({ "credHelpers": { &registry.address: "not-there" } }));
    let run = docker.run(&tree, &registry.address, &["verify"]).ended(4);
    assert!(run.errors().contains("docker-credential-not-there"), "{}", run.errors());
}

#[track_caller]
fn assert_unauthorized(run: &Run) {
    let errors = run.errors();
    assert!(errors.contains("401 Unauthorized"), "{errors}");
    assert!(errors.contains("help: log in to the registry: cargo xtask login"), "{errors}");
}

#[test]
fn without_a_login_the_remedy_is_named() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    for command in READERS {
        assert_unauthorized(&DockerConfig::empty().run(&tree, &registry.address, command).ended(4));
    }
}

#[test]
fn a_wrong_password_is_not_tried_for_long() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let proxy = Proxy::recording(&registry.address);
    let docker = DockerConfig::with_password(&proxy.address, USER, "wrong");
    for command in READERS {
        assert_unauthorized(&docker.run(&tree, &proxy.address, command).ended(4));
    }
    let asked = proxy.requests();
    // Whoever goes on trying locks the account.
    assert!(asked.len() < 40, "{} requests", asked.len());
    let broken = DockerConfig::with_password("another.example.com", USER, PLAIN_PASSWORD.0);
    assert_unauthorized(&broken.run(&tree, &proxy.address, &["verify"]).ended(4));
    let sent =
        proxy.requests()[asked.len()..].iter().filter(|request| request.header("Authorization").is_some()).count();
    assert_eq!(sent, 0, "the password of another registry");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    let docker = DockerConfig::empty();
    std::fs::write(docker.path().join("config.json"), "{").unwrap();
    let run = docker.run(&tree, &registry.address, &["verify"]).ended(2);
    assert!(run.errors().contains("config.json"), "{}", run.errors());
    // Not base64, and base64 without a colon.
    for auth in ["%%%", "bm8gY29sb24="] {
        let docker = DockerConfig::of(&json!({ "auths": { &registry.address: { "auth": auth } } }));
        docker.run(&tree, &registry.address, &["verify"]).ended(4);
    }
}

#[test]
fn old_configurations_name_a_registry_by_its_url() {
    let (registry, tree) = (published::registry_with_login(), published::tree());
    for key in ["https://ADDRESS", "https://ADDRESS/v1/", "http://ADDRESS/v2/"] {
        let docker = DockerConfig::with_password(&key.replace("ADDRESS", &registry.address), USER, PLAIN_PASSWORD.0);
        docker.run(&tree, &registry.address, &["verify"]).ended(0);
    }
}

/// A password with everything that a configuration or a shell might trip over, and its hash, one of bcrypt's.
const ODD_PASSWORD: (&str, &str) = ("a\"b\\c:d $e'", "$2b$04$abcdefghijklmnopqrstuuZ23DiKXz78T7LCbk9FQoiwPbLpTTVU2");

#[test]
fn a_password_may_hold_any_character() {
    let (registry, tree) = (published::registry_with_hash(ODD_PASSWORD.1), published::tree());
    let docker = DockerConfig::with_password(&registry.address, USER, ODD_PASSWORD.0);
    docker.run(&tree, &registry.address, &["verify"]).ended(0);
    let helper = Helper::new(&registry.address, ODD_PASSWORD.0);
    let docker = DockerConfig::of(&json!({ "credsStore": "lab" }));
    docker.run_with(&tree, &registry.address, &["verify"], &[("PATH", &helper.path())]).ended(0);
}

#[test]
fn a_mirror_may_want_a_login_too() {
    let (registry, tree) = (published::for_user(published::data_with_base(), PLAIN_PASSWORD.1, ""), published::tree());
    let docker = DockerConfig::with_password(&registry.address, USER, PLAIN_PASSWORD.0);
    let mirrors = format!("docker.io={}", registry.address);
    for command in READERS {
        docker.run_with(&tree, &registry.address, command, &[("JOBS_MIRRORS", &mirrors)]).ended(0);
    }
    let env = [("JOBS_MIRRORS", mirrors.as_str())];
    let run = DockerConfig::empty().run_with(&tree, &registry.address, &["plan"], &env).ended(4);
    assert!(run.errors().contains("base `busybox:1.37` cannot be resolved"), "{}", run.errors());
    assert!(run.errors().contains("401 Unauthorized"), "{}", run.errors());
    // The login of this tool is that of the target.
    let help = format!("help: docker login {}; or set JOBS_MIRRORS", registry.address);
    assert!(run.errors().contains(&help), "{}", run.errors());
}
