//! Asking: a batch of questions becomes one round of requests, each with the credentials that its registry wants.

mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::answer::{Answer, Question, answer, unreachable, words};
use super::challenge::Challenge;
use super::curl::{Request, Response, fetch, quoted, run};
use super::login::Login;
use super::manifest;
use crate::model::{Digest, Failure, Index, Manifest, Reference, Registry, Repository};
use crate::run::{Context, Secret};
use token::get_tokens;

/// Every kind of manifest. What is left out, a registry may translate into an older kind, and sign, so that its digest
/// is another each time.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const ANYTHING: &str = "*/*";
/// What a registry may send in place of a layer that is smaller, in bytes.
const LARGEST_REFUSAL: u64 = 64 << 10;
/// How many repositories one token is asked for: all of them stand in its URL, and servers take 8 kB.
const SCOPES: usize = 32;

/// Reads registries, and knows from round to round what each wants to know of who asks.
#[derive(Debug, Default)]
pub struct RegistryClient(Mutex<BTreeMap<Registry, Access>>);

/// How a registry is asked.
#[derive(Debug)]
struct Access {
    login: Login,
    challenge: Option<Challenge>,
    /// By what they are good for; or why there is none. A token is good for a few minutes.
    tokens: BTreeMap<String, Result<Secret, String>>,
    /// The repositories that it says are not there.
    missing: BTreeSet<String>,
}

impl RegistryClient {
    /// What the references point to, in one round. The configurations of images are not read:
    /// [`RegistryClient::read_images`] does that.
    ///
    /// # Errors
    /// curl cannot be started, or docker's login cannot be read. A registry that cannot be reached, or refuses, is the
    /// answer to the questions that it was asked; absent is another.
    pub fn indexes(
        &self,
        ctx: &Context,
        references: &[Reference],
    ) -> anyhow::Result<Vec<anyhow::Result<Option<Index>>>> {
        let questions: Vec<Question> = references.iter().cloned().map(Question::Manifest).collect();
        let answers = self.ask(ctx, &questions)?.into_iter().zip(references);
        let index = |(answer, reference): (anyhow::Result<Option<Answer>>, &Reference)| {
            answer?.map(|answer| manifest::index(&answer).map_err(|said| unreachable(reference, &said))).transpose()
        };
        Ok(answers.map(index).collect())
    }

    /// The digest of what a reference points to.
    ///
    /// # Errors
    /// The registry cannot be reached, or refuses.
    pub fn digest(&self, ctx: &Context, reference: &Reference) -> anyhow::Result<Option<Digest>> {
        let answer = self.ask(ctx, &[Question::Existence(reference.clone())])?.pop();
        Ok(answer.transpose()?.flatten().map(|answer| answer.digest))
    }

    /// Points each tag to what its repository holds under a digest: the same bytes, by one small write.
    ///
    /// # Errors
    /// As [`RegistryClient::indexes`]: for each there is one result.
    pub fn point(&self, ctx: &Context, moves: &[(Digest, Reference)]) -> anyhow::Result<Vec<anyhow::Result<()>>> {
        let source = |(digest, tag): &(Digest, Reference)| tag.repository.with_digest(digest);
        let sources: Vec<Question> = moves.iter().map(|to| Question::Manifest(source(to))).collect();
        let (mut results, mut writes) = (Vec::new(), Vec::new());
        for (content, to) in self.ask(ctx, &sources)?.into_iter().zip(moves) {
            let content = content.and_then(|content| {
                let content = content.ok_or_else(|| unreachable(source(to), "is not there"))?;
                manifest::index(&content).map_err(|said| unreachable(source(to), &said)).map(|_| content)
            });
            results.push(content.map(|content| writes.push(Question::Tag(to.1.clone(), content))));
        }
        let mut written = self.ask(ctx, &writes)?.into_iter();
        let result = |read: anyhow::Result<()>| read.and_then(|()| written.next().transpose().map(drop));
        Ok(results.into_iter().map(result).collect())
    }

    /// Reads the manifests and the configurations of the indexes' images, in two rounds, each image once. What is not
    /// there stays unread, and is taken for an image of an unknown platform.
    ///
    /// # Errors
    /// As [`RegistryClient::indexes`]: for each index there is one result.
    pub fn read_images(
        &self,
        ctx: &Context,
        indexes: &mut [(&Repository, &mut Index)],
    ) -> anyhow::Result<Vec<anyhow::Result<()>>> {
        let manifests = wanted(indexes, |repository, image| {
            image.config.is_none().then(|| Question::Manifest(repository.with_digest(&image.digest)))
        });
        let manifests = self.ask_each(ctx, manifests)?;
        let mut results = fill(
            indexes,
            &manifests,
            |image| Some(&image.digest),
            |image, answer, _| {
                if image.config.is_none() { manifest::read_manifest(image, answer) } else { Ok(()) }
            },
        );
        let configs = wanted(indexes, |repository, image| {
            let config = image.config.as_ref().filter(|_| !image.is_read())?;
            Some(Question::Blob(repository.clone(), config.clone()))
        });
        let configs = self.ask_each(ctx, configs)?;
        let read = fill(indexes, &configs, |image| image.config.as_ref(), manifest::read_config);
        results.iter_mut().zip(read).for_each(|(result, read)| {
            if result.is_ok() {
                *result = read;
            }
        });
        Ok(results)
    }

    /// Reads the images of those indexes that are wanted, among what was found under references. What cannot be read is
    /// the error of its reference.
    ///
    /// # Errors
    /// curl cannot be started.
    pub fn read_found(
        &self,
        ctx: &Context,
        references: &[Reference],
        found: &mut [anyhow::Result<Option<Index>>],
        is_wanted: impl Fn(&Index) -> bool,
    ) -> anyhow::Result<()> {
        let places = found.iter_mut().zip(references).enumerate();
        let wanted = places.filter_map(|(i, (index, reference))| match index {
            Ok(Some(index)) if is_wanted(index) => Some((i, (&reference.repository, index))),
            _ => None,
        });
        let (at, mut unread): (Vec<usize>, Vec<_>) = wanted.unzip();
        let read = self.read_images(ctx, &mut unread)?;
        for (i, error) in at.into_iter().zip(read).filter_map(|(i, read)| Some((i, read.err()?))) {
            found[i] = Err(error);
        }
        Ok(())
    }

    /// Whether a registry has said of a repository that it is not there, when it was asked for something in it.
    pub fn is_missing(&self, repository: &Repository) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let access = repository.registry.as_ref().and_then(|registry| known.get(registry));
        access.is_some_and(|access| access.missing.contains(repository.name()))
    }

    /// Forgets who asked: a new login counts from the next round.
    pub fn forget_logins(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn ask_each(
        &self,
        ctx: &Context,
        questions: Vec<Question>,
    ) -> anyhow::Result<BTreeMap<Reference, anyhow::Result<Option<Answer>>>> {
        let answers = self.ask(ctx, &questions)?;
        Ok(questions.iter().map(Question::reference).zip(answers).collect())
    }

    /// Asks all questions at once, and once more those that were asked without what the registry wanted to know.
    pub fn ask(&self, ctx: &Context, questions: &[Question]) -> anyhow::Result<Vec<anyhow::Result<Option<Answer>>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unreachable = greet(ctx, &mut known, questions)?;
        let all: Vec<&Question> = questions.iter().collect();
        get_tokens(ctx, &mut known, &all, SCOPES)?;
        let mut responses = round(ctx, &known, &unreachable, &all)?;
        let refused = renew(ctx, &mut known, &all, &responses)?;
        if !refused.is_empty() {
            let again: Vec<&Question> = refused.iter().map(|&i| all[i]).collect();
            // One token for several repositories may not cover all of them.
            get_tokens(ctx, &mut known, &again, 1)?;
            for (i, response) in refused.into_iter().zip(round(ctx, &known, &unreachable, &again)?) {
                responses[i] = response;
            }
        }
        note_missing(&mut known, questions, &responses);
        let answer = |(question, response)| answer(question, with_reason(&known, question, response));
        let answers = questions.iter().zip(responses).map(answer).collect();
        // What kept a server from giving a token may have passed by the next round.
        known.values_mut().for_each(|access| access.tokens.retain(|_, token| token.is_ok()));
        Ok(answers)
    }
}

/// The questions about images of the indexes, each once.
fn wanted(
    indexes: &[(&Repository, &mut Index)],
    question: impl Fn(&Repository, &Manifest) -> Option<Question>,
) -> Vec<Question> {
    let images =
        indexes.iter().flat_map(|(repository, index)| index.images.iter().map(move |image| (repository, image)));
    let questions = images.filter_map(|(repository, image)| question(repository, image));
    let by_reference: BTreeMap<Reference, Question> = questions.map(|q| (q.reference(), q)).collect();
    by_reference.into_values().collect()
}

/// Gives each image its answer, if it has one.
fn fill(
    indexes: &mut [(&Repository, &mut Index)],
    answers: &BTreeMap<Reference, anyhow::Result<Option<Answer>>>,
    asked: impl Fn(&Manifest) -> Option<&Digest>,
    read: impl Fn(&mut Manifest, &Answer, bool) -> Result<(), String>,
) -> Vec<anyhow::Result<()>> {
    let fill = |(repository, index): &mut (&Repository, &mut Index)| {
        let bare = index.digest.clone();
        index.images.iter_mut().try_for_each(|image| {
            let Some(reference) = asked(image).map(|digest| repository.with_digest(digest)) else { return Ok(()) };
            match answers.get(&reference) {
                None | Some(Ok(None)) => Ok(()),
                Some(Ok(Some(answer))) => {
                    let is_bare = image.digest == bare;
                    read(image, answer, is_bare).map_err(|said| unreachable(&reference, &said))
                }
                // An error has no copy, and several images may share it.
                Some(Err(error)) => Err(unreachable(&reference, &Failure::reason(error))),
            }
        })
    };
    indexes.iter_mut().map(fill).collect()
}

fn greeting(url: &str, more: &str) -> Request {
    Request { url: format!("{url}/v2/"), accept: ANYTHING, credentials: None, more: more.to_owned(), to: None }
}

/// What a header says in the greetings of the registries among some addresses of this machine, empty where it is not
/// there. Anything may listen at the others, so patience is short.
pub fn greetings(ctx: &Context, addresses: &[String], header: &str) -> Vec<Option<String>> {
    let request = |address: &String| greeting(&format!("http://{address}"), "max-time = 2");
    let requests: Vec<Request> = addresses.iter().map(request).collect();
    // One try: most of the ports have nobody who listens, and some may have somebody who is no registry.
    let responses = run(ctx, &requests.iter().collect::<Vec<_>>()).unwrap_or_default();
    let said = |response: &Response| response.headers(header).next().unwrap_or_default().to_owned();
    let is_registry = |response: &Response| matches!(response.status, 200 | 401);
    responses.into_iter().map(|response| response.ok().filter(is_registry).map(|response| said(&response))).collect()
}

/// Asks each registry that is new here what it wants to know; without credentials, as nobody has asked for them yet.
/// Gives the reasons of those that cannot be asked.
fn greet(
    ctx: &Context,
    known: &mut BTreeMap<Registry, Access>,
    questions: &[Question],
) -> anyhow::Result<BTreeMap<Registry, String>> {
    let asked: BTreeSet<Registry> = questions.iter().filter_map(|q| q.reference().repository.registry).collect();
    let new: Vec<Registry> = asked.into_iter().filter(|registry| !known.contains_key(registry)).collect();
    let mut unreachable = BTreeMap::new();
    if new.is_empty() {
        return Ok(unreachable);
    }
    let responses = fetch(ctx, &new.iter().map(|registry| greeting(&registry.url(), "")).collect::<Vec<_>>())?;
    for (registry, response) in new.into_iter().zip(responses) {
        let challenge = match response {
            Ok(response) if response.status == 200 => None,
            Ok(response) if response.status == 401 && response.from.is_none() => {
                Challenge::of(response.headers("www-authenticate"))
            }
            Ok(response) if response.status == 404 => {
                unreachable.insert(registry, "no registry answers there: /v2/ is not found".to_owned());
                continue;
            }
            Ok(response) => {
                unreachable.insert(registry, words(&response));
                continue;
            }
            Err(why) => {
                unreachable.insert(registry, why);
                continue;
            }
        };
        // Where nobody asks who it is, docker's login is not needed, and may be broken.
        let login = challenge.as_ref().map_or(Ok(Login::Anonymous), |_| Login::of(ctx, &registry))?;
        known.insert(registry, Access { login, challenge, tokens: BTreeMap::new(), missing: BTreeSet::new() });
    }
    Ok(unreachable)
}

/// One round: every question whose registry can be reached.
fn round(
    ctx: &Context,
    known: &BTreeMap<Registry, Access>,
    unreachable: &BTreeMap<Registry, String>,
    questions: &[&Question],
) -> anyhow::Result<Vec<Result<Response, String>>> {
    let requests: Vec<Option<Request>> = questions.iter().map(|question| request(known, question)).collect();
    let is_asked: Vec<bool> = requests.iter().map(Option::is_some).collect();
    let mut responses = fetch(ctx, &requests.into_iter().flatten().collect::<Vec<_>>())?.into_iter();
    let response = |(question, is_asked): (&&Question, bool)| {
        let registry = question.reference().repository.registry;
        let why = registry.as_ref().and_then(|registry| unreachable.get(registry));
        let response = if is_asked { responses.next() } else { None };
        response.unwrap_or_else(|| Err(why.cloned().unwrap_or_else(|| "is in no registry".to_owned())))
    };
    Ok(questions.iter().zip(is_asked).map(response).collect())
}

fn request(known: &BTreeMap<Registry, Access>, question: &Question) -> Option<Request> {
    let Reference { repository, tag, digest } = question.reference();
    let registry = repository.registry.as_ref()?;
    let access = known.get(registry)?;
    let what = digest.map(|digest| digest.to_string()).or(tag.map(|tag| tag.to_string())).unwrap_or_default();
    let (kind, accept, more) = match question {
        Question::Manifest(_) => ("manifests", MANIFESTS, String::new()),
        Question::Existence(_) => ("manifests", MANIFESTS, "head".to_owned()),
        Question::Blob(..) => ("blobs", ANYTHING, String::new()),
        Question::Tag(_, Answer { media_type, body, .. }) => {
            let (kind, body) = (quoted(&format!("Content-Type: {media_type}")), quoted(&String::from_utf8_lossy(body)));
            ("manifests", ANYTHING, format!("request = \"PUT\"\nheader = {kind}\ndata-binary = {body}"))
        }
        Question::Layer { layer, .. } => {
            ("blobs", ANYTHING, format!("max-filesize = {}", layer.size.max(LARGEST_REFUSAL)))
        }
    };
    let to = if let Question::Layer { to, .. } = question { Some(to.clone()) } else { None };
    let credentials = match (&access.challenge, &access.login) {
        (Some(Challenge::Bearer { .. }), _) => {
            let token = access.tokens.get(&question.scope()).and_then(|token| token.as_ref().ok());
            let header = |token: &Secret| quoted(&format!("Authorization: Bearer {}", token.reveal()));
            token.map(|token| Secret::new(format!("header = {}", header(token))))
        }
        (Some(Challenge::Basic), Login::User(line)) => Some(line.clone()),
        _ => None,
    };
    let url = format!("{}/v2/{}/{kind}/{what}", registry.url(), repository.name());
    Some(Request { url, accept, credentials, more, to })
}

/// The questions that were refused and are worth asking again: the registry wants to know something else than it was
/// told, or a token has expired, or does not cover the repository. What was wrong is forgotten.
fn renew(
    ctx: &Context,
    known: &mut BTreeMap<Registry, Access>,
    questions: &[&Question],
    responses: &[Result<Response, String>],
) -> anyhow::Result<Vec<usize>> {
    let (mut again, mut expired) = (Vec::new(), Vec::new());
    for (i, (question, response)) in questions.iter().zip(responses).enumerate() {
        let repository = question.reference().repository;
        let access = repository.registry.as_ref().and_then(|registry| known.get_mut(registry));
        let (Some(access), Ok(response)) = (access, response) else { continue };
        // Another server is told nothing of who asks.
        if response.status != 401 || response.from.is_some() {
            continue;
        }
        let wanted = Challenge::of(response.headers("www-authenticate"));
        let is_new = wanted.is_some() && access.challenge != wanted;
        let had_token = access.tokens.contains_key(&question.scope());
        if is_new {
            if let (None, Some(registry)) = (&access.challenge, &repository.registry) {
                access.login = Login::of(ctx, registry)?;
            }
            access.challenge = wanted;
        }
        if is_new || had_token {
            again.push(i);
            expired.push((repository.registry, question.scope()));
        }
    }
    for (registry, scope) in expired {
        let access = registry.as_ref().and_then(|registry| known.get_mut(registry));
        access.map(|access| access.tokens.remove(&scope));
    }
    Ok(again)
}

/// Notes the repositories that a registry says are not there, and not only that they lack what was asked for.
fn note_missing(
    known: &mut BTreeMap<Registry, Access>,
    questions: &[Question],
    responses: &[Result<Response, String>],
) {
    let is_unknown =
        |response: &Response| response.from.is_none() && words(response).starts_with("404 Not Found: NAME_UNKNOWN");
    let lacking = questions.iter().zip(responses).filter(|(_, response)| response.as_ref().is_ok_and(is_unknown));
    for repository in lacking.map(|(question, _)| question.reference().repository) {
        let access = repository.registry.as_ref().and_then(|registry| known.get_mut(registry));
        access.map(|access| access.missing.insert(repository.name().to_owned()));
    }
}

/// A refusal for want of a token says why there is none.
fn with_reason(
    known: &BTreeMap<Registry, Access>,
    question: &Question,
    response: Result<Response, String>,
) -> Result<Response, String> {
    let Repository { registry: Some(registry), .. } = &question.reference().repository else { return response };
    let Some(Access { challenge: Some(Challenge::Bearer { realm, .. }), tokens, .. }) = known.get(registry) else {
        return response;
    };
    match (response, tokens.get(&question.scope())) {
        (Ok(response), Some(Err(why))) if response.status == 401 => Err(format!("no token from {realm}: {why}")),
        (response, _) => response,
    }
}
