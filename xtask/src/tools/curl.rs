//! curl: GitHub's identity token.

use std::time::Duration;

use serde_json::Value;
use xshell::cmd;

use super::process::{self, Options, Outcome};
use crate::model::{Problem, Registry};
use crate::run::{Context, Secret};

/// Where GitHub hands out identity tokens; it is set for a job that may ask for them.
pub const TOKEN_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The token to ask with.
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// Who receives the identity token: AWS's token service, as its identity provider for GitHub is set up by default.
const AUDIENCE: &str = "sts.amazonaws.com";
/// After how long curl is ended: its four attempts of 60 seconds.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Asks GitHub for a token that says to AWS which workflow this is.
///
/// # Errors
/// GitHub refuses, cannot be reached, or gives something else.
pub fn identity_token(ctx: &Context) -> anyhow::Result<Secret> {
    let at = "GitHub's identity token";
    let url = token_url(ctx.env.get(TOKEN_URL).unwrap_or_default()).map_err(Problem::usage)?;
    let bearer = Secret::new(ctx.env.get(BEARER).unwrap_or_default());
    let config = config(&url, &bearer).map_err(Problem::usage)?;
    let sh = ctx.shell()?;
    // `-q` goes first, so that no ~/.curlrc can ask for a trace of headers.
    let cmd = cmd!(sh, "curl -q --silent --show-error --fail --max-time 60 --retry 3 --config -");
    let given = Options { stdin: Some(&config), deadline: Some(TIMEOUT), secrets: &[&bearer], ..Options::default() };
    let outcome = process::run(ctx, cmd, &given)?;
    if !outcome.success() {
        // What curl has printed may be half a token, and no message may show that.
        let said = Outcome { stdout_bytes: Vec::new(), ..outcome }.to_string();
        let help = "is `id-token: write` among the job's `permissions`? if so, run the job again";
        return Err(Problem::new(at, said).help(help).missing());
    }
    let answer: Value = serde_json::from_str(&outcome.stdout()).unwrap_or_default();
    match answer["value"].as_str() {
        Some(token) if is_token(token) => Ok(Secret::new(token)),
        // The answer itself is not shown, because it may hold the token.
        _ => Err(Problem::new(at, "the answer holds no token").help("run the job again").missing()),
    }
}

/// The address at which GitHub is asked.
///
/// # Errors
/// The address would send the workflow's token over the network in the clear.
fn token_url(base: &str) -> Result<String, Problem> {
    let loopback = base.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.parse().is_ok_and(|host: Registry| host.is_loopback())
    });
    if !loopback && !base.starts_with("https://") {
        return Err(Problem::new(TOKEN_URL, "not an `https://` address")
            .rule("the workflow's token is sent encrypted")
            .help("leave the variable as GitHub sets it"));
    }
    let separator = if base.contains('?') { '&' } else { '?' };
    Ok(format!("{base}{separator}audience={AUDIENCE}"))
}

/// Whether a text is a JSON web token: three parts of base64url with dots between them. Nothing else may get into a
/// file or an environment.
fn is_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The request as curl reads it from stdin. On the command line, every user of the machine could read the token.
fn config(url: &str, bearer: &Secret) -> Result<String, Problem> {
    if bearer.reveal().is_empty() {
        return Err(
            Problem::new(BEARER, "not set, though the address to ask at is").help("leave both as GitHub sets them")
        );
    }
    if [url, bearer.reveal()].iter().any(|text| text.chars().any(char::is_control)) {
        return Err(Problem::new(format!("{TOKEN_URL} or {BEARER}"), "holds a control character"));
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
}
