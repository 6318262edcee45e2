//! What a registry's answers say: indexes, manifests and configurations, as the [OCI image specification] and Docker's
//! older formats write them. Pure.
//!
//! [OCI image specification]: https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::Answer;
use crate::model::{Descriptor, Digest, Index, Layer, Manifest, Problem};

const NO_MANIFEST: &str = "the registry sent something that is no manifest of an image";

/// The index that an answer is, its images not read yet; a bare manifest counts as an index of itself alone.
pub fn index(answer: &Answer) -> Result<Index, String> {
    let json = json(answer)?;
    let mut index = Index {
        digest: answer.digest.clone(),
        images: Vec::new(),
        attestations: BTreeMap::new(),
        annotations: map(&json["annotations"]),
        descriptors: Vec::new(),
    };
    let Some(entries) = json["manifests"].as_array() else {
        let (digest, size) = (answer.digest.clone(), answer.body.len());
        let media_type = Some(text(&json["mediaType"])).filter(|kind| !kind.is_empty());
        let media_type = media_type.unwrap_or(&answer.media_type);
        let descriptor = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
        index.descriptors.push(Descriptor(descriptor));
        let mut image = Manifest::unread(digest, None);
        read_manifest(&mut image, answer)?;
        index.images.push(image);
        return Ok(index);
    };
    // Docker would take it for a manifest or for an index by its media type, and run what was not looked at.
    if ["config", "layers"].iter().any(|key| json.get(key).is_some()) {
        return Err(format!("{NO_MANIFEST}: it is an index as well"));
    }
    for entry in entries {
        let digest = digest(&entry["digest"])?;
        let about = map(&entry["annotations"]);
        index.descriptors.push(Descriptor(entry.clone()));
        let platform = entry.get("platform").map(platform);
        // Under the platform of a node, a node would take it for an image.
        if about.contains_key("vnd.docker.reference.type") && platform.as_deref() == Some("unknown/unknown") {
            let subject = about.get("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok());
            index.attestations.insert(digest, subject);
        } else {
            index.images.push(Manifest::unread(digest, platform));
        }
    }
    Ok(index)
}

/// Notes what a manifest says of its image: where its configuration is, and what a node pulls.
pub fn read_manifest(image: &mut Manifest, answer: &Answer) -> Result<(), String> {
    let json = json(answer)?;
    let config = digest(&json["config"]["digest"])?;
    let layers = json["layers"].as_array().into_iter().flatten();
    let blobs = layers.clone().chain([&json["config"]]);
    let layer =
        |blob: &Value| Ok(Layer { digest: digest(&blob["digest"])?, size: blob["size"].as_u64().unwrap_or_default() });
    image.pull_size = blobs.filter_map(|blob| blob["size"].as_u64()).sum();
    image.layers = layers.map(layer).collect::<Result<_, String>>()?;
    image.config = Some(config);
    Ok(())
}

/// Notes what an image's configuration says of it. A bare manifest is listed nowhere: it declares what it is.
pub fn read_config(image: &mut Manifest, answer: &Answer, is_bare: bool) -> Result<(), String> {
    let json = json(answer)?;
    if json.get("architecture").is_some() {
        image.platform = format!("{}/{}", text(&json["os"]), text(&json["architecture"]));
    }
    if is_bare {
        image.declared = Some(image.platform.clone());
    }
    let diff_ids = json["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    image.diff_ids = diff_ids.map(digest).collect::<Result<_, _>>()?;
    image.labels = map(&json["config"]["Labels"]);
    // Docker's, and not of OCI's format: the instructions that it brings to the Dockerfiles that build from it.
    let on_build = json["config"]["OnBuild"].as_array().into_iter().flatten();
    image.on_build = on_build.map(|instruction| text(instruction).to_owned()).collect();
    Ok(())
}

fn json(answer: &Answer) -> Result<Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("{NO_MANIFEST}: it is not valid JSON: {error}"))
}

fn digest(value: &Value) -> Result<Digest, String> {
    text(value).parse().map_err(|problem: Problem| format!("{NO_MANIFEST}: {}: {}", problem.at, problem.what))
}

/// `linux/arm64`, with the variant if there is one.
fn platform(platform: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|key| text(&platform[key]));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
    }

    fn answer(of: char, body: &Value) -> Answer {
        Answer { digest: digest(of), media_type: "application/x".to_owned(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn an_index_with_an_attestation_is_read() {
        let (image, proof) = (digest('a').to_string(), digest('b').to_string());
        let body = json!({ "annotations": { "k": "v" }, "manifests": [
            { "digest": image, "size": 7, "platform": { "architecture": "arm64", "os": "linux", "variant": "v8" } },
            { "digest": proof, "platform": { "architecture": "unknown", "os": "unknown" }, "annotations": {
                "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image } },
        ] });
        let index = index(&answer('f', &body)).unwrap();
        assert_eq!((index.digest, index.annotations["k"].as_str()), (digest('f'), "v"));
        assert_eq!(index.images, [Manifest::unread(digest('a'), Some("linux/arm64/v8".to_owned()))]);
        assert_eq!(index.attestations, BTreeMap::from([(digest('b'), Some(digest('a')))]));
        assert_eq!(index.descriptors[0].to_string(), body["manifests"][0].to_string());
    }

    #[test]
    fn nothing_is_taken_for_something_else() {
        let (image, proof) = (digest('a').to_string(), digest('b').to_string());
        let about =
            json!({ "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image });
        for platform in [json!({ "architecture": "arm64", "os": "linux" }), json!({})] {
            let entry = json!({ "digest": proof, "platform": platform, "annotations": about });
            let index = index(&answer('f', &json!({ "manifests": [entry] }))).unwrap();
            assert_eq!((index.images.len(), index.attestations.len()), (1, 0), "a node may run it");
        }
        for key in ["config", "layers"] {
            assert_eq!(
                index(&answer('f', &json!({ "manifests": [], key: [] }))).unwrap_err(),
                "the registry sent something that is no manifest of an image: it is an index as well"
            );
        }
    }

    #[test]
    fn a_bare_manifest_is_read_with_its_configuration() {
        let manifest = json!({ "config": { "digest": digest('c').to_string(), "size": 2 },
                               "layers": [{ "digest": digest('d').to_string(), "size": 40 }] });
        let mut index = index(&answer('a', &manifest)).unwrap();
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [digest('e').to_string()] },
                             "config": { "Labels": { "a": "b" }, "OnBuild": ["COPY . ."] } });
        read_config(&mut index.images[0], &answer('c', &config), true).unwrap();
        let image = &index.images[0];
        assert_eq!((image.platform.as_str(), image.declared.as_deref()), ("linux/amd64", Some("linux/amd64")));
        assert_eq!((image.pull_size, image.config.clone()), (42, Some(digest('c'))));
        assert_eq!((image.labels["a"].as_str(), image.on_build.as_slice()), ("b", ["COPY . .".to_owned()].as_slice()));
        assert_eq!(image.layers, [Layer { digest: digest('d'), size: 40 }]);
        assert_eq!(image.diff_ids, [digest('e')]);
        assert!(read_manifest(&mut index.images[0], &answer('a', &json!({}))).is_err());
    }
}
