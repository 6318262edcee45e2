//! Indexes as a registry sends them: what the gate lets through holds one image for each architecture, that a node finds
//! by its platform, and nothing else but attestations.

#![no_main]

use std::collections::BTreeMap;

use fuzz::check_problem;
use fuzz::model::{Arch, Digest, Expected, Index, Key, Repository, Revision};
use fuzz::registry::answer::Answer;
use fuzz::registry::manifest::{index, read_config, read_manifest};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Platforms of an entry and of a configuration, as operating system, architecture and variant.
const PLATFORMS: [[&str; 3]; 8] = [
    ["linux", "amd64", ""],
    ["linux", "arm64", ""],
    ["linux", "arm64", "v8"],
    ["linux", "amd64", "v3"],
    ["linux", "s390x", ""],
    ["windows", "amd64", ""],
    ["unknown", "unknown", ""],
    ["", "", ""],
];

fn answer(body: &[u8]) -> Answer {
    Answer { digest: Digest::of_content(body), media_type: String::new(), body: body.to_vec() }
}

fn key() -> Key {
    Key::of(None, &BTreeMap::new(), &BTreeMap::new(), [0; 32], "", None)
}

/// What is expected, by the first byte of the data.
fn expected(data: &[u8]) -> Expected {
    let bits = usize::from(data.first().copied().unwrap_or_default()) % 24;
    Expected {
        settings_file: "jobs/x/job.json".into(),
        job: "x".parse().unwrap(),
        repository: Repository::new(None, "jobs/x").unwrap(),
        tag: "x".parse().unwrap(),
        arches: [&Arch::ALL[..1], &Arch::ALL[1..], &Arch::ALL][bits >> 3].to_vec(),
        revision: Revision::of_label(COMMIT),
        key: (bits & 1 == 0).then(key),
        bases: BTreeMap::new(),
        begins_with: BTreeMap::new(),
        foreign_files: Vec::new(),
        attested: bits & 2 != 0,
        forced: bits & 4 != 0,
    }
}

/// An index, and the configurations of what it lists.
fn generated(data: &mut Unstructured<'_>) -> Result<(Value, Vec<Value>)> {
    let (mut entries, mut configs) = (Vec::new(), Vec::new());
    for _ in 0..data.int_in_range(0..=6)? {
        let mut entry = json!({ "digest": a_digest(data)?, "size": 1 });
        let [os, architecture, variant] = *data.choose(&PLATFORMS)?;
        if !os.is_empty() {
            entry["platform"] = json!({ "os": os, "architecture": architecture, "variant": variant });
        }
        if data.ratio(1, 3)? {
            let of = a_digest(data)?;
            entry["annotations"] =
                json!({ "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of });
        }
        entries.push(entry);
        let [os, architecture, _] = *data.choose(&PLATFORMS)?;
        configs.push(json!({ "os": os, "architecture": architecture, "config": { "Labels": labels(data)? } }));
    }
    let mut index = json!({ "schemaVersion": 2, "manifests": entries, "annotations": labels(data)? });
    if data.ratio(1, 8)? {
        index["config"] = json!({ "digest": a_digest(data)? });
    }
    Ok((index, configs))
}

fn a_digest(data: &mut Unstructured<'_>) -> Result<String> {
    Ok(Digest::of_content(&[data.int_in_range(0..=5)?]).to_string())
}

fn labels(data: &mut Unstructured<'_>) -> Result<Value> {
    let bits: u8 = data.arbitrary()?;
    let other = "f".repeat(20);
    let mut labels = json!({});
    if bits & 1 == 0 {
        labels["vnd.jobs.key"] = if bits & 2 == 0 { key().to_string().into() } else { other.into() };
    }
    if bits & 4 == 0 {
        labels["org.opencontainers.image.revision"] = COMMIT.into();
    }
    if bits & 8 != 0 {
        labels["vnd.jobs.forced"] = "true".into();
    }
    Ok(labels)
}

/// The index with its images read, as far as there are configurations.
fn read(body: &[u8], configs: &[Value]) -> Option<Index> {
    let mut index = index(&answer(body)).ok()?;
    for (image, config) in index.images.iter_mut().zip(configs) {
        let is_bare = image.digest == index.digest;
        let manifest = json!({ "config": { "digest": Digest::of_content(b"c").to_string(), "size": 1 } });
        read_manifest(image, &answer(manifest.to_string().as_bytes())).ok()?;
        read_config(image, &answer(config.to_string().as_bytes()), is_bare).ok()?;
    }
    Some(index)
}

/// Whether a node may take an entry of an index for an image of a platform.
fn is_candidate(entry: &Value) -> bool {
    let name = |key: &str| entry["platform"][key].as_str().unwrap_or_default();
    !matches!([name("os"), name("architecture")], ["unknown", "unknown"])
}

fn check_gate(expected: &Expected, json: &Value, index: &Index) {
    let problems = expected.problems(None, index);
    problems.iter().chain(&expected.problems_of_published(None, index)).for_each(check_problem);
    if !problems.is_empty() {
        return;
    }
    assert!(expected.accepts(index) && expected.accepts_published(index));
    assert!(expected.problems_of_published(None, index).is_empty());
    let mut platforms: Vec<&str> = index.images.iter().map(|image| image.platform.as_str()).collect();
    platforms.sort_unstable();
    assert!(platforms.into_iter().eq(expected.arches.iter().map(|arch| arch.platform())), "{json}");
    let Some(entries) = json["manifests"].as_array() else { return };
    assert_eq!(entries.iter().filter(|entry| is_candidate(entry)).count(), expected.arches.len(), "{json}");
    assert!(json.get("config").is_none() && json.get("layers").is_none(), "also a manifest: {json}");
}

fuzz_target!(|data: &[u8]| {
    let expected = expected(data);
    // Whatever a registry sends is read or refused.
    if let Some(index) = read(data, &[]) {
        check_gate(&expected, &serde_json::from_slice(data).expect("what is read is JSON"), &index);
    }
    let mut data = Unstructured::new(data.get(1..).unwrap_or_default());
    if let Ok((json, configs)) = generated(&mut data) {
        let body = json.to_string();
        let Some(unread) = read(body.as_bytes(), &[]) else { return };
        check_gate(&expected, &json, &unread);
        // The configurations are those of the images, and not of the attestations between them.
        let is_image = |entry: &Value| entry.get("annotations").is_none() || is_candidate(entry);
        let entries = json["manifests"].as_array().into_iter().flatten();
        let of_images = entries.zip(configs).filter(|(entry, _)| is_image(entry));
        let configs: Vec<Value> = of_images.map(|(_, config)| config).collect();
        check_gate(&expected, &json, &read(body.as_bytes(), &configs).expect("it was read before"));
    }
});
