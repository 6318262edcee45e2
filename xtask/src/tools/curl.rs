//! curl: GitHub's identity token.

use std::time::Duration;

use serde::Deserialize;
use xshell::cmd;

use super::process::{self, Given};
use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::run::secret::Secret;
use crate::settings::access;

/// What GitHub tells a job that may ask for identity tokens: where, and the token to ask with.
pub const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
pub const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

#[derive(Deserialize)]
struct Answer {
    value: String,
}

/// Asks GitHub for a token that says which workflow this is, for AWS.
///
/// # Errors
/// GitHub refuses, cannot be reached, or gives something else.
pub fn identity_token(ctx: &Context) -> anyhow::Result<Secret> {
    let at = "GitHub's identity token";
    let url = access::token_url(ctx.env.get(URL).unwrap_or_default()).map_err(Problem::usage)?;
    let bearer = Secret::new(ctx.env.get(BEARER).unwrap_or_default());
    let config = config(&url, &bearer).map_err(Problem::usage)?;
    let sh = ctx.shell()?;
    // `-q` goes first, so that no ~/.curlrc can ask for a trace of headers.
    let cmd = cmd!(sh, "curl -q --silent --show-error --fail --max-time 60 --retry 3 --config -");
    let given = Given {
        stdin: Some(&config),
        deadline: Some(Duration::from_secs(240)),
        secrets: &[&bearer],
        ..Given::default()
    };
    let outcome = process::run(ctx, cmd, &given)?;
    if !outcome.success() {
        // What came on stdout may be half a token.
        let said = process::Outcome { stdout: String::new(), ..outcome }.complaint();
        let help = "is `id-token: write` among the job's `permissions`? if so, run the job again";
        return Err(Problem::new(at, said).help(help).missing());
    }
    let answer: Result<Answer, _> = serde_json::from_str(&outcome.stdout);
    match answer {
        Ok(Answer { value }) if is_token(&value) => Ok(Secret::new(value)),
        // Not with the answer, which may hold the token.
        _ => Err(Problem::new(at, "the answer holds no token").help("run the job again").missing()),
    }
}

/// A JSON web token: three parts of base64url with dots between them. Nothing else gets into a file or an environment.
fn is_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The request as curl reads it from its stdin: on its command line, every user of the machine could read the token.
fn config(url: &str, bearer: &Secret) -> Result<String, Problem> {
    if bearer.reveal().is_empty() {
        return Err(
            Problem::new(BEARER, "not set, though the address to ask at is").help("leave both as GitHub sets them")
        );
    }
    if [url, bearer.reveal()].iter().any(|text| text.chars().any(char::is_control)) {
        return Err(Problem::new(format!("{URL} or {BEARER}"), "holds a control character"));
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let authorization = format!("Authorization: bearer {}", bearer.reveal());
    Ok(format!("url = {}\nheader = {}\n", quoted(url), quoted(&authorization)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_cannot_be_extended() {
        assert_eq!(
            config("https://x/?a=b", &Secret::new("a\"b\\c")).unwrap(),
            "url = \"https://x/?a=b\"\nheader = \"Authorization: bearer a\\\"b\\\\c\"\n"
        );
        assert!(config("https://x/\noutput = \"/etc/passwd\"", &Secret::new("abc")).is_err());
        assert!(config("https://x/", &Secret::new("a\nb")).is_err());
        assert!(config("https://x/", &Secret::new("")).is_err());
    }

    #[test]
    fn a_token_has_three_parts() {
        assert!(is_token("eyJh.eyJz-_.c2ln"));
        assert!(!is_token("eyJh.eyJz") && !is_token("a.b.c\n") && !is_token("a.b.c d"));
    }
}
