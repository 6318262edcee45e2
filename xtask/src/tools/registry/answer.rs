//! Questions to a registry, and what its responses say to them. Pure.

use std::fmt;

use camino::Utf8PathBuf;
use serde_json::Value;

use super::curl::Response;
use crate::model::{Digest, Exit, Layer, Problem, Reference, Repository};
use crate::run::{help_for, is_immutable};

/// What a registry is asked for.
pub enum Question {
    /// The manifest or index that a tag or a digest names.
    Manifest(Reference),
    /// Whether it exists, and its digest. Docker Hub's limits do not count this.
    Existence(Reference),
    /// A configuration.
    Blob(Repository, Digest),
    /// That a tag points to this manifest or index from now on.
    Tag(Reference, Answer),
    /// A layer, which goes to a file.
    Layer { repository: Repository, layer: Layer, to: Utf8PathBuf },
}

impl Question {
    pub fn reference(&self) -> Reference {
        match self {
            Question::Manifest(reference) | Question::Existence(reference) | Question::Tag(reference, _) => {
                reference.clone()
            }
            Question::Blob(repository, digest) | Question::Layer { repository, layer: Layer { digest, .. }, .. } => {
                repository.with_digest(digest)
            }
        }
    }

    /// The right that it needs, as [token servers](https://distribution.github.io/distribution/spec/auth/scope/) name
    /// them.
    pub fn scope(&self) -> String {
        let actions = if matches!(self, Question::Tag(..)) { "pull,push" } else { "pull" };
        format!("repository:{}:{actions}", self.reference().repository.name())
    }
}

/// What a registry gave.
#[derive(Clone)]
pub struct Answer {
    pub digest: Digest,
    pub media_type: String,
    /// Empty where only the existence was asked for, or where it is in a file.
    pub body: Vec<u8>,
}

/// What a response says to a question: `None` if there is no such thing.
pub fn answer(question: &Question, response: Result<Response, String>) -> anyhow::Result<Option<Answer>> {
    let reference = question.reference();
    let response = response.map_err(|why| unreachable(&reference, &why))?;
    match (response.status, &response.from) {
        (200, _) => {}
        (201, None) if matches!(question, Question::Tag(..)) => {}
        (404, None) if matches!(question, Question::Tag(..)) => return Err(unreachable(&reference, &words(&response))),
        (404, None) => return Ok(None),
        // What another server lacks, the registry has not called absent.
        (_, Some(other)) => {
            return Err(unreachable(&reference, &format!("{other}, where it is kept: {}", words(&response))));
        }
        _ => return Err(unreachable(&reference, &words(&response))),
    }
    let promised = response.headers("docker-content-digest").next().and_then(|digest| digest.parse::<Digest>().ok());
    let promised = reference.digest.clone().or(promised);
    let digest = match (question, promised) {
        (Question::Tag(_, content), promised) => match promised.filter(|promised| *promised != content.digest) {
            Some(other) => return Err(other_content(&reference, &content.digest, &other)),
            None => content.digest.clone(),
        },
        // Whether a file is what it should be is for whoever reads it.
        (Question::Existence(_) | Question::Layer { .. }, Some(promised)) => promised,
        (Question::Existence(_), None) => {
            return Err(unreachable(&reference, "names no digest in `Docker-Content-Digest`"));
        }
        (_, promised) => {
            let found = Digest::of_content(&response.body);
            if let Some(promised) = promised.filter(|promised| *promised != found) {
                return Err(other_content(&reference, &promised, &found));
            }
            found
        }
    };
    let media_type = response.headers("content-type").next().unwrap_or_default().to_owned();
    Ok(Some(Answer { digest, media_type, body: response.body }))
}

pub fn other_content(reference: &Reference, promised: &Digest, found: &Digest) -> anyhow::Error {
    Problem::new(reference.to_string(), format!("the registry sent {found} for {promised}"))
        .rule("content is what its digest says")
        .help("ask whoever runs the registry, or a proxy before it, what changes its answers")
        .exit(Exit::Missing)
}

/// A registry's own words: the status, and the messages of its [error
/// codes](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes).
pub fn words(response: &Response) -> String {
    let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let errors = json["errors"].as_array().into_iter().flatten();
    let message = |error: &Value| {
        let texts = ["code", "message"].map(|key| error[key].as_str().unwrap_or_default().to_owned());
        texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let said: Vec<String> = errors.map(message).filter(|text| !text.is_empty()).collect();
    let (status, reason) = (response.status, reason(response.status));
    if said.is_empty() { format!("{status} {reason}") } else { format!("{status} {reason}: {}", said.join("; ")) }
}

/// The [names of statuses](https://www.rfc-editor.org/rfc/rfc9110#section-15), which HTTP/2 does not send.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "(unexpected status)",
    }
}

/// The complaint about a registry that did not do what it was asked, with the remedy where its words are known.
pub fn unreachable(at: impl fmt::Display, said: &str) -> anyhow::Error {
    if is_immutable(said) {
        return Problem::new(at.to_string(), said).rule("the repository's tags never change").exit(Exit::Refused);
    }
    let help = help_for(&format!("{at}: {said}")).unwrap_or(match said.starts_with("timed out") {
        true => "run this again when the registry answers; if it needs longer, raise JOBS_TIMEOUTS",
        false => "is the registry's address right, and can it be reached from here? if so, ask whoever runs it",
    });
    Problem::new(at.to_string(), said).help(help).exit(Exit::Missing)
}
