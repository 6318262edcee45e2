//! What a registry holds, read by plain HTTP and judged without any code of the program.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::ACCEPT;
use crate::proxy::{Request, Upstream};

const REVISION: &str = "org.opencontainers.image.revision";
const REPOSITORY: &str = "jobs/job";
const KEY: &str = "vnd.jobs.key";

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The repository of the one job, in a registry that asks nobody for a login.
pub struct Reader(Upstream);

/// Digests by tag.
pub type Tags = BTreeMap<String, String>;

/// What is under a tag: who it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub key: String,
    /// The commit that the index names, if it names one.
    pub revision: Option<String>,
}

impl Reader {
    pub fn of(registry: &str) -> Reader {
        Reader(Upstream(registry.to_owned()))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let headers = [("Host", "127.0.0.1"), ("Accept", ACCEPT.strip_prefix("Accept: ").unwrap())];
        let path = format!("/v2/{REPOSITORY}/{path}");
        let request = Request { method: "GET".to_owned(), path, ..Request::post(&headers, String::new()) };
        let answer = self.0.ask(&request);
        match answer.status.starts_with("200") {
            true => Ok(answer.body),
            false => Err(format!("{}: {} {}", request.path, answer.status, String::from_utf8_lossy(&answer.body))),
        }
    }

    /// What has this digest, which is looked at.
    fn content(&self, kind: &str, wanted: &Value) -> Result<Value, String> {
        let wanted = wanted.as_str().unwrap_or_default();
        let bytes = self.get(&format!("{kind}/{wanted}"))?;
        match digest(&bytes) == wanted {
            true => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            false => Err(format!("{kind}/{wanted} has other content")),
        }
    }

    pub fn tags(&self) -> Result<Tags, String> {
        let Ok(list) = self.get("tags/list") else { return Ok(Tags::new()) };
        let list: Value = serde_json::from_slice(&list).map_err(|error| error.to_string())?;
        let names = list["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(|tag| Ok((tag.to_owned(), digest(&self.get(&format!("manifests/{tag}"))?)))).collect()
    }

    /// What is under a tag, if that is complete: images of exactly these architectures, all of one key, with all their
    /// parts, and nothing else but what attests to them.
    pub fn set(&self, tag: &str, arches: &[&str]) -> Result<Set, String> {
        let bytes = self.get(&format!("manifests/{tag}"))?;
        let index: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let entries = index["manifests"].as_array().ok_or(format!("{tag} is no index"))?;
        let is_attestation = |entry: &&Value| entry["annotations"]["vnd.docker.reference.digest"].is_string();
        let (attestations, images): (Vec<&Value>, Vec<&Value>) = entries.iter().partition(is_attestation);
        let digests: BTreeSet<&str> = images.iter().filter_map(|image| image["digest"].as_str()).collect();
        for entry in attestations {
            let subject = entry["annotations"]["vnd.docker.reference.digest"].as_str().unwrap();
            if !digests.contains(subject) {
                return Err(format!("{tag} attests to {subject}, which is not in it"));
            }
            self.content("manifests", &entry["digest"])?;
        }
        let mut keys = BTreeSet::new();
        let mut found: Vec<String> = Vec::new();
        for image in images {
            let manifest = self.content("manifests", &image["digest"])?;
            let config = self.content("blobs", &manifest["config"]["digest"])?;
            for layer in manifest["layers"].as_array().into_iter().flatten() {
                self.content("blobs", &layer["digest"])?;
            }
            let arch = config["architecture"].as_str().unwrap_or_default();
            if image["platform"]["architecture"] != *arch || config["os"] != "linux" {
                return Err(format!("{tag} lists an image of {arch} as {}", image["platform"]));
            }
            found.push(arch.to_owned());
            keys.insert(config["config"]["Labels"][KEY].as_str().unwrap_or_default().to_owned());
        }
        found.sort();
        match (found == arches, keys.len()) {
            (true, 1) => Ok(Set {
                key: keys.pop_first().unwrap(),
                revision: index["annotations"][REVISION].as_str().map(str::to_owned),
            }),
            _ => Err(format!("{tag} holds {found:?} of the keys {keys:?}")),
        }
    }
}

/// What is right: the commits with their keys, and of each tag what was there before.
pub struct Invariant<'a> {
    pub keys: &'a BTreeMap<String, String>,
    pub before: &'a Tags,
    /// The commits that `latest` may be at.
    pub latest: Vec<&'a str>,
}

const BOTH: [&str; 2] = ["amd64", "arm64"];

impl Invariant<'_> {
    /// # Errors
    /// What is not as it should be.
    pub fn check(&self, reader: &Reader) -> Result<Tags, String> {
        let now = reader.tags()?;
        let mut wrong: Vec<String> = self.before.keys().filter(|tag| !now.contains_key(*tag)).cloned().collect();
        wrong.iter_mut().for_each(|tag| *tag += " is gone");
        for (tag, digest) in &now {
            wrong.extend(self.tag(reader, tag, digest).err().map(|why| format!("{tag}: {why}")));
        }
        if wrong.is_empty() { Ok(now) } else { Err(format!("{}\n{now:#?}", wrong.join("\n"))) }
    }

    fn tag(&self, reader: &Reader, tag: &str, digest: &str) -> Result<(), String> {
        let same = self.before.get(tag).is_none_or(|before| before == digest);
        if tag == "latest" {
            let set = reader.set(tag, &BOTH)?;
            let revision = set.revision.unwrap_or_default();
            let is_right = self.latest.contains(&revision.as_str()) && self.keys.get(&revision) == Some(&set.key);
            return ensure(is_right, || format!("is at {revision}, which is none of {:?}", self.latest));
        }
        if let Some(key) = tag.strip_prefix("key-") {
            let set = reader.set(tag, &BOTH)?;
            return ensure(same && set.key.contains(key), || format!("holds {set:?}, or has moved"));
        }
        let (commit, arch) = tag.split_once('-').map_or((tag, None), |(commit, arch)| (commit, Some(arch)));
        let (commit, key) = self.keys.iter().find(|(full, _)| full.starts_with(commit)).ok_or("is of nobody")?;
        match arch {
            Some(arch) => {
                let set = reader.set(tag, &[arch])?;
                ensure(set.key == *key, || format!("is of key {}, and not {key}", set.key))
            }
            None => {
                let set = reader.set(tag, &BOTH)?;
                let is_right = set.key == *key && set.revision.as_ref() == Some(commit);
                ensure(same && is_right, || format!("holds {set:?}, or has moved"))
            }
        }
    }
}

pub fn ensure(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}
