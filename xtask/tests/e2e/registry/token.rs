//! A server of tokens, and the configuration of a registry that trusts it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::published::base64;
use crate::harness::TempDir;
use crate::proxy::{Answer, Proxy, Request};

/// Who gets a token.
#[derive(Clone)]
pub enum Login {
    Anybody,
    /// Who sends this value of `Authorization`.
    Only(String),
}

/// For which of the scopes that were asked.
#[derive(Clone, Copy, PartialEq)]
pub enum Scopes {
    All,
    /// Some registries give a token for one repository, however many were asked for.
    First,
}

/// Signs tokens with a key of its own.
pub struct Tokens {
    pub server: Proxy,
    /// The tokens that were given out.
    pub given: Arc<Mutex<Vec<String>>>,
    keys: TempDir,
}

const ISSUER: &str = "test issuer";
const SERVICE: &str = "test service";

impl Tokens {
    /// `field` is the name of the token in the answer.
    pub fn start(login: Login, scopes: Scopes, field: &'static str) -> Tokens {
        let keys = TempDir::new();
        openssl(
            &keys.0,
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens -keyout key.pem -out certificate.pem",
            b"",
        );
        let given = Arc::new(Mutex::new(Vec::new()));
        let (list, folder) = (Arc::clone(&given), keys.0.clone());
        let server = Proxy::server(move |request| {
            if let Login::Only(wanted) = &login
                && request.header("Authorization") != Some(wanted)
            {
                let challenge = [("WWW-Authenticate", "Basic realm=\"tokens\"")];
                return Answer::error("401 Unauthorized", &challenge, "UNAUTHORIZED", "authentication required");
            }
            let mut asked = scopes_of(request);
            asked.truncate(if scopes == Scopes::First { 1 } else { usize::MAX });
            let token = sign(&folder, &asked);
            list.lock().unwrap().push(token.clone());
            let answer = json!({ field: token, "expires_in": 300 });
            Answer::new("200 OK", &[("Content-Type", "application/json")], answer.to_string())
        });
        Tokens { server, given, keys }
    }

    /// The part of a registry's configuration with which it sends everybody here.
    pub fn configuration(&self) -> String {
        format!(
            "auth: {{token: {{realm: \"http://{}/token\", service: \"{SERVICE}\", issuer: \"{ISSUER}\", \
             rootcertbundle: \"{}/certificate.pem\"}}}}\n",
            self.server.address,
            self.keys.0.display()
        )
    }

    /// The scopes of each request, sorted.
    pub fn asked(&self) -> Vec<Vec<String>> {
        let sorted = |request| {
            let mut scopes = scopes_of(&request);
            scopes.sort();
            scopes
        };
        self.server.requests().into_iter().map(sorted).collect()
    }
}

/// The scopes that a request asks for, one parameter each.
fn scopes_of(request: &Request) -> Vec<String> {
    let (_, query) = request.path.split_once('?').unwrap_or_default();
    query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(percent_decoded).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}

/// A signed token (RFC 7519) for these scopes, as the registry's own documentation describes it.
fn sign(keys: &Path, scopes: &[String]) -> String {
    let certificate = std::fs::read_to_string(keys.join("certificate.pem")).unwrap();
    let certificate: String = certificate.lines().filter(|line| !line.starts_with("---")).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let access: Vec<_> = scopes
        .iter()
        .map(|scope| {
            let [kind, name, actions] = scope.split(':').collect::<Vec<_>>()[..] else { panic!("{scope}") };
            json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() })
        })
        .collect();
    let seconds = now.as_secs();
    let claims = json!({
        "iss": ISSUER, "sub": "", "aud": SERVICE, "access": access, "jti": now.as_nanos().to_string(),
        "nbf": seconds - 60, "iat": seconds, "exp": seconds + 300,
    });
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
    let text = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = openssl(keys, "dgst -sha256 -sign key.pem", text.as_bytes());
    format!("{text}.{}", base64url(&signature))
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Runs openssl in a folder; what it prints.
pub fn openssl(folder: &Path, args: &str, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(args.split(' ')).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
