//! Published jobs, written into the files in which the registry keeps its data: building ten thousand takes hours.
//!
//! What is written is what this tool leaves when it builds and merges: of each architecture an image and its
//! provenance, their index with its annotations, and the tags of the commit and of the key. The tags of the single
//! architectures are not there, as in a registry whose lifecycle policy has taken them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::registry::Registry;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Where a repository keeps a link to a blob.
#[derive(Clone, Copy)]
enum Kind {
    Layer,
    Manifest,
}

/// The data of a registry that holds the base image.
pub struct Storage {
    data: PathBuf,
    /// The digest of the base's index.
    pub base: String,
    /// The base's images by architecture.
    images: BTreeMap<String, BaseImage>,
}

/// What an image takes over from its base.
struct BaseImage {
    layers: Vec<Value>,
    diff_ids: Vec<Value>,
}

impl Storage {
    /// # Errors
    /// The base image is not there.
    pub fn of(registry: &Registry) -> anyhow::Result<Storage> {
        let data = registry.data();
        let link = data.join("repositories/library/busybox/_manifests/tags/1.37/current/link");
        let base = fs::read_to_string(&link).with_context(|| format!("could not read {}", link.display()))?;
        let mut images = BTreeMap::new();
        for entry in array(&blob(&data, &base)?["manifests"]) {
            let architecture = entry["platform"]["architecture"].as_str().unwrap_or_default();
            let manifest = blob(&data, entry["digest"].as_str().unwrap_or_default())?;
            let config = blob(&data, manifest["config"]["digest"].as_str().unwrap_or_default())?;
            let (layers, diff_ids) = (array(&manifest["layers"]), array(&config["rootfs"]["diff_ids"]));
            images.insert(architecture.to_owned(), BaseImage { layers, diff_ids });
        }
        images.remove("unknown");
        Ok(Storage { data, base, images })
    }

    /// Publishes a job whose images have these labels under these tags.
    ///
    /// # Errors
    /// The data cannot be written.
    pub fn publish(&self, repository: &str, labels: &BTreeMap<&str, String>, tags: &[&str]) -> anyhow::Result<()> {
        let repository = self.data.join("repositories").join(repository);
        let mut manifests = Vec::new();
        for (architecture, base) in &self.images {
            manifests.extend(self.image(&repository, architecture, base, labels)?);
        }
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": labels}).to_string();
        let index = self.put(&repository, INDEX, &index, Kind::Manifest)?;
        let digest = index["digest"].as_str().unwrap_or_default();
        for tag in tags {
            let tag = repository.join("_manifests/tags").join(tag);
            write(&tag.join("current/link"), digest)?;
            write(&tag.join("index").join(digest.replace(':', "/")).join("link"), digest)?;
        }
        // The registry reads a repository only where there is such a folder.
        fs::create_dir_all(repository.join("_uploads")).context("could not make a repository")
    }

    /// Writes the image of an architecture and its provenance, and gives their entries in an index.
    fn image(
        &self,
        repository: &Path,
        architecture: &str,
        base: &BaseImage,
        labels: &BTreeMap<&str, String>,
    ) -> anyhow::Result<[Value; 2]> {
        let own = self.put(repository, LAYER, &format!("the files of {}", repository.display()), Kind::Layer)?;
        for layer in &base.layers {
            self.link(repository, layer["digest"].as_str().unwrap_or_default(), Kind::Layer)?;
        }
        let (mut layers, mut diff_ids) = (base.layers.clone(), base.diff_ids.clone());
        diff_ids.push(own["digest"].clone());
        layers.push(own);
        let config = json!({
            "architecture": architecture,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["cat", "/job"], "WorkingDir": "/", "Labels": labels, "ArgsEscaped": true
            },
            "created": "2026-01-01T00:00:00Z",
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "COPY", "comment": "buildkit.dockerfile.v0"}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}
        });
        let image = self.manifest(repository, &config, &layers)?;
        let proof = self.provenance(repository, &image["digest"])?;
        let about = json!({
            "vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"
        });
        Ok([
            with(&image, json!({"platform": {"architecture": architecture, "os": "linux"}})),
            with(&proof, json!({"annotations": about, "platform": {"architecture": "unknown", "os": "unknown"}})),
        ])
    }

    /// Writes the provenance of an image, as short as `mode=min` makes it, and gives its descriptor.
    fn provenance(&self, repository: &Path, image: &Value) -> anyhow::Result<Value> {
        let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
        let (subject, base) = (hex(image.as_str().unwrap_or_default()), hex(&self.base));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": "pkg:docker/job", "digest": {"sha256": subject}}],
            "predicate": {
                "builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1",
                "materials": [{"uri": "pkg:docker/busybox@1.37", "digest": {"sha256": base}}]
            }
        });
        let mut layer = self.put(repository, STATEMENT, &statement.to_string(), Kind::Layer)?;
        layer["annotations"] = json!({"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"});
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}
        });
        self.manifest(repository, &config, &[layer])
    }

    fn manifest(&self, repository: &Path, config: &Value, layers: &[Value]) -> anyhow::Result<Value> {
        let config = self.put(repository, CONFIG, &config.to_string(), Kind::Layer)?;
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
        self.put(repository, IMAGE, &manifest.to_string(), Kind::Manifest)
    }

    /// Writes a blob that a repository has, and gives its descriptor.
    fn put(&self, repository: &Path, media_type: &str, text: &str, kind: Kind) -> anyhow::Result<Value> {
        let hex: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        write(&path_of(&self.data, &digest), text)?;
        self.link(repository, &digest, kind)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": text.len()}))
    }

    fn link(&self, repository: &Path, digest: &str, kind: Kind) -> anyhow::Result<()> {
        let folder = match kind {
            Kind::Layer => "_layers",
            Kind::Manifest => "_manifests/revisions",
        };
        write(&repository.join(folder).join(digest.replace(':', "/")).join("link"), digest)
    }
}

/// A descriptor with more in it.
fn with(descriptor: &Value, more: Value) -> Value {
    let mut entry = descriptor.clone();
    if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
        entry.extend(more);
    }
    entry
}

/// Where the registry keeps a blob.
fn path_of(data: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim().trim_start_matches("sha256:");
    data.join("blobs/sha256").join(hex.get(..2).unwrap_or_default()).join(hex).join("data")
}

/// A manifest or a configuration.
fn blob(data: &Path, digest: &str) -> anyhow::Result<Value> {
    let path = path_of(data, digest);
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file stands in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("could not make the folder {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}
