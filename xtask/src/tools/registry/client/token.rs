//! Tokens: what a registry takes in the place of a password, from a server that it names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ANYTHING, Access};
use crate::model::Registry;
use crate::run::{Context, Secret};
use crate::tools::registry::answer::{Question, words};
use crate::tools::registry::challenge::{Challenge, query};
use crate::tools::registry::curl::{Request, Response, fetch, may_follow, quoted};
use crate::tools::registry::login::Login;

/// Fetches the tokens that are missing for the questions, each for at most so many scopes.
pub fn get_tokens(
    ctx: &Context,
    known: &mut BTreeMap<Registry, Access>,
    questions: &[&Question],
    scopes: usize,
) -> anyhow::Result<()> {
    let mut wanted: BTreeMap<Registry, BTreeSet<String>> = BTreeMap::new();
    for question in questions {
        let (scope, Some(registry)) = (question.scope(), question.reference().repository.registry) else { continue };
        let needs = |access: &Access| matches!(access.challenge, Some(Challenge::Bearer { .. }));
        if known.get(&registry).is_some_and(|access| needs(access) && !access.tokens.contains_key(&scope)) {
            wanted.entry(registry).or_default().insert(scope);
        }
    }
    let (mut requests, mut served) = (Vec::new(), Vec::new());
    for (registry, all) in wanted {
        let all: Vec<String> = all.into_iter().collect();
        for some in all.chunks(scopes) {
            let Some(access) = known.get_mut(&registry) else { continue };
            match token_request(&registry, access, some) {
                Some(request) => {
                    requests.push(request);
                    served.push((registry.clone(), some.to_vec()));
                }
                None => {
                    let why = "neither HTTPS nor on this machine";
                    access.tokens.extend(some.iter().map(|scope| (scope.clone(), Err(why.to_owned()))));
                }
            }
        }
    }
    if requests.is_empty() {
        return Ok(());
    }
    for ((registry, scopes), response) in served.into_iter().zip(fetch(ctx, &requests)?) {
        let token = response.and_then(|response| token(&response));
        let Some(access) = known.get_mut(&registry) else { continue };
        access.tokens.extend(scopes.into_iter().map(|scope| (scope, token.clone())));
    }
    Ok(())
}

/// The request for a token. Its server is named by the registry; without TLS it is asked on this machine alone.
fn token_request(registry: &Registry, Access { login, challenge, .. }: &Access, scopes: &[String]) -> Option<Request> {
    let Some(Challenge::Bearer { realm, service }) = challenge else { return None };
    if !may_follow(&registry.url(), realm) {
        return None;
    }
    let query = query(service, scopes.iter().map(String::as_str));
    let separator = if realm.contains('?') { '&' } else { '?' };
    let get = format!("{realm}{separator}{query}");
    let (url, credentials) = match login {
        Login::Anonymous => (get, None),
        Login::User(line) => (get, Some(line.clone())),
        // The OAuth 2 way: https://distribution.github.io/distribution/spec/auth/oauth/
        Login::Identity(token) => {
            let form = quoted(&format!("grant_type=refresh_token&client_id=cargo-xtask-jobs&{query}"));
            let token = quoted(&format!("refresh_token={}", token.reveal()));
            let line = format!("data = {form}\ndata-urlencode = {token}");
            (realm.clone(), Some(Secret::new(line)))
        }
    };
    Some(Request { url, accept: ANYTHING, credentials, more: String::new(), to: None })
}

fn token(response: &Response) -> Result<Secret, String> {
    if response.status != 200 {
        return Err(words(response));
    }
    let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |key: &str| json[key].as_str().filter(|token| !token.is_empty());
    text("token").or_else(|| text("access_token")).map(Secret::new).ok_or_else(|| "it names no token".to_owned())
}
