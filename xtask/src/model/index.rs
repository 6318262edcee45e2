//! What a registry holds under one reference: an index and its images, and what they say of themselves.

mod base;
mod expected;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::arch::Arch;
use super::commit::Revision;
use super::layer::Layer;
use super::reference::{Digest, Tag};

pub use expected::Expected;

/// The label (and annotation) with the commit that an image was built from.
/// Its meaning is that of the [OCI
/// annotations](https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md).
const REVISION: &str = "org.opencontainers.image.revision";
/// The label (and annotation) with the key.
const KEY_LABEL: &str = "vnd.jobs.key";
/// The label with the digests of the bases, so that a moved one can be named.
const BASES_LABEL: &str = "vnd.jobs.bases";
/// The label of an image that was rebuilt although one with its key existed.
const FORCED: &str = "vnd.jobs.forced";

/// The annotation of an index that was made for a later commit than its images: the commit that they were built from.
const BUILT_FROM: &str = "vnd.jobs.built-from";

/// The annotation of an index that moving tags are to move to: these.
const MOVING_TAGS: &str = "vnd.jobs.moving-tags";

/// What one reference points to: an index, or a bare manifest, which counts as an index of itself alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub digest: Digest,
    pub images: Vec<Manifest>,
    /// SBOMs and provenance, each with the image that it is about.
    pub attestations: BTreeMap<Digest, Option<Digest>>,
    pub annotations: BTreeMap<String, String>,
    /// All its entries, in their order.
    pub descriptors: Vec<Descriptor>,
}

/// One entry of an index, as JSON: enough to list the same manifest in another index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor(pub Value);

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An image of one platform. What its configuration says is empty until that is read, which no expectation allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub digest: Digest,
    /// The platform that the index lists it under, such as `linux/arm64/v8`; `None` if it names none.
    pub declared: Option<String>,
    /// The platform that its own configuration names, without a variant.
    pub platform: String,
    pub labels: BTreeMap<String, String>,
    /// The instructions that it brings to the Dockerfiles that build from it (`ONBUILD`).
    pub on_build: Vec<String>,
    /// Where its configuration is, once its manifest is read.
    pub config: Option<Digest>,
    /// The bytes that a node pulls: its layers and its configuration.
    pub pull_size: u64,
    /// Its layers as they are pulled, from the first one on.
    pub layers: Vec<Layer>,
    /// Its layers unpacked, from the first one on, as its configuration names them: compressed anew, a layer would have
    /// another digest.
    pub diff_ids: Vec<Digest>,
}

/// The platform of an image whose configuration is not read, or names none.
const UNKNOWN_PLATFORM: &str = "an unknown platform";

impl Manifest {
    /// An image as an index lists it.
    pub fn unread(digest: Digest, declared: Option<String>) -> Manifest {
        let (labels, on_build) = (BTreeMap::new(), Vec::new());
        let platform = UNKNOWN_PLATFORM.to_owned();
        let (layers, diff_ids) = (Vec::new(), Vec::new());
        Manifest { digest, declared, platform, labels, on_build, config: None, pull_size: 0, layers, diff_ids }
    }

    /// Whether it was built by force.
    pub fn is_forced(&self) -> bool {
        self.labels.contains_key(FORCED)
    }

    /// Whether its configuration is read.
    pub fn is_read(&self) -> bool {
        self.platform != UNKNOWN_PLATFORM
    }
}

/// The revision that all images carry, if they carry the same.
fn shared_revision(images: &[Manifest]) -> Option<Revision> {
    let first = images.first()?.labels.get(REVISION)?;
    let same = images.iter().all(|image| image.labels.get(REVISION) == Some(first));
    Revision::of_label(first).filter(|_| same)
}

impl Index {
    /// The digests of the images, by which two indexes are compared: the attestations hold times, so they and the
    /// digest of the index itself differ after every build.
    pub fn digests(&self) -> BTreeSet<&Digest> {
        self.images.iter().map(|image| &image.digest).collect()
    }

    /// The revision that the index is of: its own, else the one that all images carry.
    pub fn revision(&self) -> Option<Revision> {
        match self.annotations.get(REVISION) {
            Some(own) => Revision::of_label(own),
            None => shared_revision(&self.images),
        }
    }

    /// The revision that its images were built from: its own if one of them was, else the one that all of them carry.
    pub fn built_from(&self) -> Option<Revision> {
        let own = self.revision();
        let is_own = |image: &Manifest| image.labels.get(REVISION).and_then(|label| Revision::of_label(label)) == own;
        if self.images.iter().any(is_own) { own } else { shared_revision(&self.images) }
    }

    /// What it says of itself; where it has no annotations, what its first image says.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        let own = Some(&self.annotations).filter(|own| own.contains_key(REVISION));
        own.or_else(|| self.images.first().map(|image| &image.labels))
    }

    /// The key of its images, as it says itself.
    pub fn key(&self) -> Option<&str> {
        self.labels()?.get(KEY_LABEL).map(String::as_str)
    }

    /// The bases of its images by their names, as it says itself.
    pub fn bases(&self) -> BTreeMap<String, Digest> {
        let label = self.labels().and_then(|labels| labels.get(BASES_LABEL));
        label.map(|label| expected::bases_of_label(label)).unwrap_or_default()
    }

    /// Whether one of the images was built by force.
    pub fn is_forced(&self) -> bool {
        self.annotations.contains_key(FORCED) || self.images.iter().any(Manifest::is_forced)
    }

    /// The entries of the images of one architecture, and of what is attested of them.
    pub fn descriptors_of(&self, arch: Arch) -> Vec<Descriptor> {
        let images: Vec<&Manifest> = self.images.iter().filter(|image| image.platform == arch.platform()).collect();
        let is_of_image = |digest: &Digest| images.iter().any(|image| image.digest == *digest);
        let is_wanted = |entry: &Descriptor| {
            let digest: Option<Digest> = entry.0["digest"].as_str().and_then(|digest| digest.parse().ok());
            let about = |digest: &Digest| self.attestations.get(digest).and_then(Option::as_ref);
            digest.is_some_and(|digest| is_of_image(&digest) || about(&digest).is_some_and(is_of_image))
        };
        self.descriptors.iter().filter(|entry| is_wanted(entry)).cloned().collect()
    }

    /// Whether it was published by a run that moves this tag to it.
    pub fn moves(&self, tag: &Tag) -> bool {
        let moved = self.annotations.get(MOVING_TAGS);
        moved.is_some_and(|moved| moved.split(',').any(|moved| moved.parse().as_ref() == Ok(tag)))
    }

    /// Takes over what is known of images with the same digests, whose content is the same.
    pub fn take_images(&mut self, known: &[Manifest]) {
        for image in &mut self.images {
            let Some(same) = known.iter().find(|known| known.digest == image.digest) else { continue };
            *image = Manifest { declared: image.declared.take().or(same.declared.clone()), ..same.clone() };
        }
    }
}

#[cfg(test)]
impl Manifest {
    /// An image that the index lists under its own platform. All digits of its digest are `of`.
    pub fn for_test(of: char, platform: &str, labels: &[(&str, &str)]) -> Manifest {
        Manifest {
            declared: Some(platform.to_owned()),
            platform: platform.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Manifest::unread(format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap(), None)
        }
    }
}

#[cfg(test)]
impl Index {
    /// An index of these images without annotations. All digits of its digest are `f`.
    pub fn for_test(images: Vec<Manifest>) -> Index {
        let digest = format!("sha256:{}", "f".repeat(64)).parse().unwrap();
        let descriptor = |image: &Manifest| Descriptor(serde_json::json!({ "digest": image.digest.to_string() }));
        let descriptors = images.iter().map(descriptor).collect();
        Index { digest, images, attestations: BTreeMap::new(), annotations: BTreeMap::new(), descriptors }
    }
}
