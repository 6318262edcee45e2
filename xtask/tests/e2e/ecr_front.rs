//! Amazon ECR as a workflow meets it, on loopback. Images are in a real registry, behind a server that refuses what ECR
//! refuses. The API is moto's, which knows the repositories; what moto lacks is answered here.

use std::collections::{BTreeMap, VecDeque};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cloud::Aws;
use crate::harness::{Registry, python_programs};
use crate::proxy::{Answer, Proxy, Request, Upstream};

/// moto's own account.
pub const OWN_ACCOUNT: &str = "123456789012";
/// What is said of a registry that asks who it is.
const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "Basic realm=\"https://ecr/\",service=\"ecr.amazonaws.com\"");
/// Where the API's actions begin.
const ACTIONS: &str = "AmazonEC2ContainerRegistry_V20150921.";
const TEMPLATES: &str = "RepositoryCreationTemplate";

/// What an account may do, as AWS sets it.
#[derive(Clone, Copy)]
pub struct Limits {
    pub tags_of_a_digest: usize,
    pub puts_in_a_second: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { tags_of_a_digest: 1_000, puts_in_a_second: 10 }
    }
}

/// The registry of one account.
pub struct Ecr {
    _aws: Aws,
    api: Proxy,
    front: Proxy,
    store: Proxy,
    registry: Registry,
    state: Arc<State>,
}

struct State {
    moto: Upstream,
    account: &'static str,
    limits: Limits,
    /// The address of the server that has the blobs.
    store: String,
    templates: Mutex<Vec<Value>>,
    forbidden: Mutex<Vec<&'static str>>,
    /// The digest of each tag, by repository.
    tags: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    /// When the last manifests were put.
    puts: Mutex<VecDeque<Instant>>,
}

impl Ecr {
    pub fn start() -> Ecr {
        Ecr::of(OWN_ACCOUNT, Limits::default())
    }

    pub fn of(account: &'static str, limits: Limits) -> Ecr {
        let (aws, registry) = (Aws::start(), Registry::start());
        // As S3 does, it refuses who brings the registry's password along.
        let store =
            Proxy::on("127.0.0.2", &registry.address, |request, registry| match request.header("Authorization") {
                Some(_) => Answer::new("400 Bad Request", &[], "Only one auth mechanism allowed"),
                None => registry.ask(request),
            });
        let state = Arc::new(State {
            moto: Upstream(aws.url().replace("http://", "")),
            account,
            limits,
            store: store.address.clone(),
            templates: Mutex::default(),
            forbidden: Mutex::default(),
            tags: Mutex::default(),
            puts: Mutex::default(),
        });
        let (for_api, for_front) = (Arc::clone(&state), Arc::clone(&state));
        let api = Proxy::server(move |request| for_api.api(request));
        let front = Proxy::start(&registry.address, move |request, registry| for_front.registry(request, registry));
        Ecr { _aws: aws, api, front, store, registry, state }
    }

    /// The registry's host.
    pub fn address(&self) -> &str {
        &self.front.address
    }

    /// The host of the registry behind, which asks nobody for a login.
    pub fn store(&self) -> &str {
        &self.registry.address
    }

    /// Where the API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.api.address)
    }

    /// Runs the AWS client itself, with moto's own account.
    #[track_caller]
    pub fn client(&self, args: &[&str]) -> Value {
        let output = Command::new(python_programs().join("aws"))
            .args(["--region", "eu-west-1", "--output", "json", "ecr"])
            .args(args)
            .envs(credentials(&self.url()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The API's actions that were asked for, in their order.
    pub fn actions(&self) -> Vec<String> {
        self.api.requests().iter().filter_map(|request| action(request).map(str::to_owned)).collect()
    }

    /// From now on, nobody may do this.
    pub fn forbid(&self, action: &'static str) {
        self.state.forbidden.lock().unwrap().push(action);
    }

    /// Makes a repository with the API's own defaults, and this setting of its tags.
    pub fn make(&self, name: &str, mutability: &str, exclusions: &[&str]) {
        let filters: Vec<Value> = exclusions.iter().map(|text| wildcard(text)).collect();
        let mut body = json!({ "repositoryName": name, "imageTagMutability": mutability });
        if !filters.is_empty() {
            body["imageTagMutabilityExclusionFilters"] = json!(filters);
        }
        let made = self.state.ask_moto("CreateRepository", &body);
        assert!(made.status.starts_with("200"), "{}: {}", made.status, String::from_utf8_lossy(&made.body));
    }

    /// Has repositories below a prefix made by their first push, as those of `ecr ensure` are.
    pub fn make_on_push(&self, prefix: &str) {
        self.state.templates.lock().unwrap().push(json!({
            "prefix": prefix,
            "appliedFor": ["CREATE_ON_PUSH"],
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [wildcard("latest"), wildcard("key-*")],
        }));
    }

    /// The repositories, sorted.
    pub fn repositories(&self) -> Vec<String> {
        let answer = self.state.ask_moto("DescribeRepositories", &json!({}));
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let name = |repository: &Value| repository["repositoryName"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = answer["repositories"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    /// The tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.state.tags.lock().unwrap().get(repository).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The digest that a tag points to; `None` if there is no such tag.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        self.state.tags.lock().unwrap().get(repository)?.get(tag).cloned()
    }

    /// What a tag points to.
    pub fn index(&self, repository: &str, tag: &str) -> Value {
        self.registry.index(repository, tag)
    }

    /// Says that so many more tags point to a digest.
    pub fn add_tags(&self, repository: &str, digest: &str, count: usize) {
        let mut tags = self.state.tags.lock().unwrap();
        let tags = tags.entry(repository.to_owned()).or_default();
        let first = tags.len();
        tags.extend((first..first + count).map(|n| (format!("tag-{n}"), digest.to_owned())));
    }

    /// Whether blobs were read where they are.
    pub fn sent_blobs(&self) -> bool {
        !self.store.requests().is_empty()
    }
}

/// What the AWS client is told of where the API is, and of who asks: moto's own account.
pub fn credentials(url: &str) -> [(&str, &str); 4] {
    let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
    [("AWS_ENDPOINT_URL", url), keys[0], keys[1], ("AWS_CONFIG_FILE", "/nowhere")]
}

/// What docker sends who has logged in with the password of an account.
pub fn authorization(account: &str) -> String {
    format!("Basic {}", Base64::encode_string(format!("AWS:{account}-auth-token").as_bytes()))
}

fn wildcard(text: &str) -> Value {
    json!({ "filterType": "WILDCARD", "filter": text })
}

fn action(request: &Request) -> Option<&str> {
    request.header("X-Amz-Target")?.strip_prefix(ACTIONS)
}

impl State {
    /// The API.
    fn api(&self, request: &Request) -> Answer {
        let Some(action) = action(request) else { return self.moto.ask(request) };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if self.forbidden.lock().unwrap().contains(&action) {
            let who = format!("arn:aws:sts::{}:assumed-role/jobs-push/xtask", self.account);
            let message = format!("User: {who} is not authorized to perform: ecr:{action} on resource: *");
            return api_error("AccessDeniedException", &message);
        }
        match action.strip_suffix('s').unwrap_or(action).split_once(TEMPLATES) {
            Some(("Create", _)) => {
                self.templates.lock().unwrap().push(body.clone());
                api_answer(&json!({ "registryId": self.account, "repositoryCreationTemplate": body }))
            }
            Some(("Describe", _)) => {
                let templates = self.templates.lock().unwrap();
                api_answer(&json!({ "registryId": self.account, "repositoryCreationTemplates": *templates }))
            }
            None if action == "ListImages" => self.list_images(&body),
            _ => self.moto.ask(request),
        }
    }

    /// moto has no images. Pages are as long as they are asked to be.
    fn list_images(&self, asked: &Value) -> Answer {
        let name = asked["repositoryName"].as_str().unwrap_or_default();
        let tags = self.tags.lock().unwrap();
        let of_repository = tags.get(name).into_iter().flatten();
        let first = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let most = asked["maxResults"].as_u64().map_or(100, |most| usize::try_from(most).unwrap());
        let images: Vec<Value> =
            of_repository.map(|(tag, digest)| json!({ "imageTag": tag, "imageDigest": digest })).collect();
        let page: Vec<&Value> = images.iter().skip(first).take(most).collect();
        let next = (first + most < images.len()).then(|| json!({ "nextToken": (first + most).to_string() }));
        let mut answer = next.unwrap_or_else(|| json!({}));
        answer["imageIds"] = json!(page);
        api_answer(&answer)
    }

    fn ask_moto(&self, action: &str, body: &Value) -> Answer {
        let target = format!("{ACTIONS}{action}");
        let headers = [
            ("Host", "api.ecr.eu-west-1.amazonaws.com"),
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-1/ecr/aws4_request, Signature=y"),
            ("X-Moto-Account-Id", self.account),
        ];
        self.moto.ask(&Request::post(&headers, body.to_string()))
    }

    /// A repository, if it exists.
    fn repository(&self, name: &str) -> Option<Value> {
        let answer = self.ask_moto("DescribeRepositories", &json!({ "repositoryNames": [name] }));
        let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        answer["repositories"].get(0).cloned()
    }

    /// The repository that a push goes to: it is there, or a template makes it. Of the templates, the one with the
    /// longest prefix counts, and `ROOT` where there is no other.
    fn pushed_to(&self, name: &str) -> Option<Value> {
        if let Some(repository) = self.repository(name) {
            return Some(repository);
        }
        let templates = self.templates.lock().unwrap();
        let prefix = |template: &&Value| template["prefix"].as_str().unwrap().to_owned();
        let matching = templates.iter().filter(|template| name.starts_with(&format!("{}/", prefix(template))));
        let longest = matching.max_by_key(|template| prefix(template).len());
        let template = longest.or_else(|| templates.iter().find(|template| prefix(template) == "ROOT"))?;
        if !template["appliedFor"].as_array().unwrap().contains(&json!("CREATE_ON_PUSH")) {
            return None;
        }
        let mut body = json!({ "repositoryName": name });
        for key in ["imageTagMutability", "imageTagMutabilityExclusionFilters"] {
            body[key] = template[key].clone();
        }
        body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.ask_moto("CreateRepository", &body);
        self.repository(name)
    }

    /// The registry.
    fn registry(&self, request: &Request, registry: &Upstream) -> Answer {
        if request.header("Authorization") != Some(authorization(self.account).as_str()) {
            let headers = [CHALLENGE];
            return Answer::error("401 Unauthorized", &headers, "UNAUTHORIZED", "Not Authorized");
        }
        let path = request.path.strip_prefix("/v2/").unwrap_or_default();
        let Some((name, rest)) = ["/manifests/", "/blobs/", "/tags/"].iter().find_map(|part| path.split_once(part))
        else {
            return registry.ask(request);
        };
        match request.method.as_str() {
            "GET" | "HEAD" if self.repository(name).is_none() => self.name_unknown(name),
            "GET" if request.path.contains("/blobs/sha256:") => {
                let location = format!("http://{}{}", self.store, request.path);
                Answer::new("307 Temporary Redirect", &[("Location", &location)], "")
            }
            "GET" | "HEAD" => registry.ask(request),
            _ => match self.pushed_to(name) {
                None => Answer::nothing(),
                Some(found) if request.path.contains("/manifests/") => self.put_image(request, registry, &found, rest),
                Some(_) => registry.ask(request),
            },
        }
    }

    fn put_image(&self, request: &Request, registry: &Upstream, repository: &Value, reference: &str) -> Answer {
        if !self.may_put() {
            return Answer::error("429 Too Many Requests", &[], "TOOMANYREQUESTS", "Rate exceeded");
        }
        let name = repository["repositoryName"].as_str().unwrap();
        let digest: String = Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{digest}");
        let mut tags = self.tags.lock().unwrap();
        let tags = tags.entry(name.to_owned()).or_default();
        let before = tags.get(reference);
        if reference.starts_with("sha256:") || before == Some(&digest) {
            return registry.ask(request);
        }
        if before.is_some() && !can_change(repository, reference) {
            let message = format!(
                "The image tag '{reference}' already exists in the '{name}' repository and cannot be overwritten \
                 because the repository is immutable."
            );
            return Answer::error("400 Bad Request", &[], "TAG_INVALID", &message);
        }
        if tags.values().filter(|other| **other == digest).count() >= self.limits.tags_of_a_digest {
            let message = format!("The image with digest '{digest}' exceeds the maximum allowed number of tags");
            return Answer::error("403 Forbidden", &[], "DENIED", &message);
        }
        let answer = registry.ask(request);
        if answer.status.starts_with("201") {
            tags.insert(reference.to_owned(), digest);
        }
        answer
    }

    /// Whether there was less than the limit of the last second.
    fn may_put(&self) -> bool {
        let mut puts = self.puts.lock().unwrap();
        puts.retain(|at| at.elapsed() < Duration::from_secs(1));
        let may = puts.len() < self.limits.puts_in_a_second;
        if may {
            puts.push_back(Instant::now());
        }
        may
    }

    fn name_unknown(&self, name: &str) -> Answer {
        let message =
            format!("The repository with name '{name}' does not exist in the registry with id '{}'", self.account);
        Answer::error("404 Not Found", &[], "NAME_UNKNOWN", &message)
    }
}

/// Whether a repository lets a tag point to something else.
fn can_change(repository: &Value, tag: &str) -> bool {
    let filters = repository["imageTagMutabilityExclusionFilters"].as_array().into_iter().flatten();
    let matches = |filter: &Value| glob::Pattern::new(filter["filter"].as_str().unwrap()).unwrap().matches(tag);
    let setting = repository["imageTagMutability"].as_str().unwrap();
    let is_excluded = setting.ends_with("_WITH_EXCLUSION") && filters.into_iter().any(matches);
    setting.starts_with("MUTABLE") != is_excluded
}

fn api_answer(body: &Value) -> Answer {
    Answer::new("200 OK", &[("Content-Type", "application/x-amz-json-1.1")], body.to_string())
}

fn api_error(kind: &str, message: &str) -> Answer {
    let body = json!({ "__type": kind, "message": message });
    Answer::new("400 Bad Request", &[("Content-Type", "application/x-amz-json-1.1")], body.to_string())
}
