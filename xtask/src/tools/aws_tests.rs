use super::*;

#[test]
fn the_request_cannot_be_extended() {
    assert_eq!(
        token_request("https://x/?a=b", &Secret::new("a\"b\\c")).unwrap(),
        "url = \"https://x/?a=b\"\nheader = \"Authorization: bearer a\\\"b\\\\c\"\n"
    );
    assert!(token_request("https://x/\noutput = \"/etc/passwd\"", &Secret::new("abc")).is_err());
    assert!(token_request("https://x/", &Secret::new("a\nb")).is_err());
    assert!(token_request("https://x/", &Secret::new("")).is_err());
}

#[test]
fn the_token_is_asked_for_over_https() {
    let url = "https://token.example.com/x?api-version=2.0";
    assert_eq!(token_url(url).unwrap(), format!("{url}&audience=sts.amazonaws.com"));
    assert_eq!(token_url("http://127.0.0.1:80/x").unwrap(), "http://127.0.0.1:80/x?audience=sts.amazonaws.com");
    for bad in ["http://token.example.com/", "http://127.0.0.1.example.com/", "file:///etc/passwd", ""] {
        assert!(token_url(bad).unwrap_err().to_string().starts_with("ACTIONS_ID_TOKEN_REQUEST_URL: "), "{bad}");
    }
}

#[test]
fn a_token_has_three_parts() {
    assert!(is_token("eyJh.eyJz-_.c2ln"));
    assert!(!is_token("eyJh.eyJz") && !is_token("a.b.c\n") && !is_token("a.b.c d"));
}

#[test]
fn the_tokens_file_is_this_users_alone_and_goes_when_it_is_dropped() {
    use std::os::unix::fs::PermissionsExt;
    let identity = Identity::new(&Context::for_tests(), "role", Secret::new("pass-word")).unwrap();
    let path = identity.file.clone();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "pass-word");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(identity);
    assert!(!path.exists());
}

const ROLE: &str = "arn:aws:iam::111122223333:role/jobs-push";
const ACTIONS: (&str, &str) = ("GITHUB_ACTIONS", "true");
const TOKEN: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://x");

fn assumed<const N: usize>(role: Option<&'static str>, env: [(&str, &str); N]) -> Option<&'static str> {
    role_to_assume(role, &Environment::from(env)).unwrap()
}

#[test]
fn a_workflow_assumes_the_role_and_a_laptop_uses_its_own_credentials() {
    assert_eq!(assumed(Some(ROLE), [ACTIONS, TOKEN]), Some(ROLE));
    assert_eq!(assumed(Some(ROLE), []), None);
    assert_eq!(assumed(Some(ROLE), [TOKEN]), None);
    assert_eq!(assumed(None, [ACTIONS]), None);
}

#[test]
fn a_permission_that_is_missing_is_named() {
    assert_eq!(
        role_to_assume(Some(ROLE), &Environment::from([ACTIONS])).unwrap_err().to_string(),
        format!(
            "role `{ROLE}`: GitHub gives this workflow no identity token to assume it with\n  \
             rule: a job asks for the token by a permission, and a pull request from a fork never gets one\n  \
             help: add `id-token: write` to the job's `permissions` in the workflow"
        )
    );
}
