//! The gate: whether what the registry holds may be published under a job's tag. Pure: it sees only what was inspected.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::arch::Arch;
use crate::model::key::{self, Key, Moved};
use crate::model::problem::Problem;
use crate::model::reference::{Digest, Reference, Repository, Tag};

/// The label (and annotation) with the commit that an image was built from.
/// Its meaning is that of the [OCI annotations](https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md).
pub const REVISION: &str = "org.opencontainers.image.revision";

/// What one reference of the registry points to, resolved to digests in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub digest: Digest,
    /// The manifests of the index; of a bare manifest, itself.
    pub manifests: Vec<Manifest>,
    /// Of the index.
    pub annotations: BTreeMap<String, String>,
}

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub digest: Digest,
    /// Bytes of the manifest, and of what it lists where that is known.
    pub size: u64,
    /// What the index says of it: `linux/arm64`, with the variant if there is one; `None` if it says nothing.
    pub platform: Option<String>,
    pub content: Content,
}

/// What a manifest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image, with what its configuration says.
    Image {
        platform: String,
        labels: BTreeMap<String, String>,
        /// Whether it has instructions for those who build from it (`ONBUILD`).
        triggers: bool,
    },
    /// SBOM or provenance of another manifest of the same index.
    AttestationOf(Option<Digest>),
}

impl Published {
    /// The digests of the images, without attestations: these tell whether two indexes hold the same.
    /// (Provenance holds times, so an index differs after every build.)
    pub fn images(&self) -> BTreeSet<&Digest> {
        self.image_manifests().map(|(manifest, ..)| &manifest.digest).collect()
    }

    pub fn image_manifests(&self) -> impl Iterator<Item = (&Manifest, &str, &BTreeMap<String, String>)> {
        self.manifests.iter().filter_map(|manifest| match &manifest.content {
            Content::Image { platform, labels, .. } => Some((manifest, platform.as_str(), labels)),
            Content::AttestationOf(_) => None,
        })
    }

    /// Whether one of the images has instructions for those who build from it.
    pub fn has_triggers(&self) -> bool {
        self.manifests.iter().any(|manifest| matches!(manifest.content, Content::Image { triggers: true, .. }))
    }

    /// The revision that all images carry, if they carry the same.
    pub fn revision(&self) -> Option<&str> {
        let mut revisions = self.image_manifests().map(|(_, _, labels)| labels.get(REVISION));
        let first = revisions.next()??;
        revisions.all(|other| other == Some(first)).then_some(first.as_str())
    }
}

/// What a job's images have to be.
#[derive(Clone, Debug)]
pub struct Expected {
    pub repository: Repository,
    pub tag: Tag,
    pub arches: Vec<Arch>,
    /// The value of the revision label.
    pub revision: String,
    /// The value of the key's label; `None` where something is not committed, and the revision has to do.
    pub key: Option<Key>,
    /// The digests of the bases, by the names that the Dockerfile gives them.
    pub bases: BTreeMap<String, Digest>,
    /// Whether images without attestations (provenance, SBOM) are refused.
    pub attested: bool,
}

impl Expected {
    pub fn arch_reference(&self, arch: Arch) -> Reference {
        self.repository.with_tag(&self.tag.for_arch(arch))
    }

    pub fn reference(&self) -> Reference {
        self.repository.with_tag(&self.tag)
    }

    /// The same, told by the commit instead of the key.
    fn by_commit(&self) -> Expected {
        Expected { key: None, ..self.clone() }
    }
}

/// Whether a published index is what it has to be: complete, and of this key or this commit.
/// (The commit's own images stay right when a base moves after they were published.)
pub fn is_right(expected: &Expected, index: &Published) -> bool {
    check_published(expected, index, "").is_ok()
}

/// Checks a published index: complete, and of this key or this commit.
///
/// # Errors
/// Every reason why it is not right.
pub fn check_published(expected: &Expected, index: &Published, job: &str) -> Result<(), Vec<Problem>> {
    check_index(&expected.by_commit(), index, job).or_else(|_| check_index(expected, index, job))
}

/// Checks a published index, and that it agrees with the architectures' own tags.
/// Gives every reason why it is not right; none if it is.
pub fn check_whole(
    expected: &Expected,
    index: &Published,
    parts: &BTreeMap<Arch, Option<Published>>,
    job: &str,
) -> Vec<Problem> {
    let checks = [check_published(expected, index, job), check_agreement(expected, index, parts, job)];
    checks.into_iter().filter_map(Result::err).flatten().collect()
}

/// Whether what an architecture's tag holds is what it has to be.
pub fn check_part(expected: &Expected, arch: Arch, part: &Published) -> bool {
    let mut problems = Vec::new();
    check_images("", part, &BTreeSet::from([arch]), expected, "", &mut problems);
    problems.is_empty()
}

/// Checks the images of all architectures, each under its own tag.
/// Gives the digests to make the index from, in the order of the architectures.
///
/// # Errors
/// Every reason why they must not be published together.
pub fn check_parts(
    expected: &Expected,
    found: &BTreeMap<Arch, Option<Published>>,
    job: &str,
) -> Result<Vec<Digest>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut digests = Vec::new();
    for &arch in &expected.arches {
        let at = expected.arch_reference(arch).to_string();
        match found.get(&arch).and_then(Option::as_ref) {
            None => problems.push(
                Problem::new(&at, format!("{arch} is missing"))
                    .rule("a tag is published when every architecture is there")
                    .help(format!("cargo xtask build --arch {arch} {job}")),
            ),
            Some(published) => {
                check_images(&at, published, &BTreeSet::from([arch]), expected, job, &mut problems);
                digests.push(published.digest.clone());
            }
        }
    }
    if problems.is_empty() { Ok(digests) } else { Err(problems) }
}

/// Checks an index: every architecture exactly once, nothing else.
pub fn check_index(expected: &Expected, published: &Published, job: &str) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let arches = expected.arches.iter().copied().collect();
    check_images(&expected.reference().to_string(), published, &arches, expected, job, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Checks that an index holds the very images that stand under the architectures' tags, where these exist.
pub fn check_agreement(
    expected: &Expected,
    index: &Published,
    found: &BTreeMap<Arch, Option<Published>>,
    job: &str,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let any = found.values().any(Option::is_some);
    for (&arch, part) in found {
        let at = expected.arch_reference(arch).to_string();
        let Some(part) = part else {
            // All absent is in order: a reused image has none, and a lifecycle policy may have expired them.
            if any {
                problems.push(
                    Problem::new(&at, format!("{arch} is missing, while another architecture's tag is there"))
                        .help(format!("cargo xtask build --arch {arch} {job}")),
                );
            }
            continue;
        };
        // As in the index, the commit counts as well as the key.
        if !check_part(&expected.by_commit(), arch, part) {
            check_images(&at, part, &BTreeSet::from([arch]), expected, job, &mut problems);
        }
        if !part.images().is_subset(&index.images()) {
            problems.push(other_content(expected, index, part));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The refusal of a tag that exists with other content.
pub fn other_content(expected: &Expected, existing: &Published, wanted: &Published) -> Problem {
    let list = |published: &Published| {
        let shown: Vec<String> = published
            .image_manifests()
            .map(|(manifest, platform, _)| format!("{platform} {}", manifest.digest))
            .collect();
        shown.join(", ")
    };
    Problem::new(
        expected.reference().to_string(),
        format!("exists with other content: {}, and not {}", list(existing), list(wanted)),
    )
    .rule("a published tag never changes")
    .help("commit a change to get a new tag, or delete the tag in the registry")
}

fn check_images(
    at: &str,
    published: &Published,
    arches: &BTreeSet<Arch>,
    expected: &Expected,
    job: &str,
    problems: &mut Vec<Problem>,
) {
    let rebuild = |arch: &str| format!("cargo xtask build --arch {arch} --no-cache {job}");
    let mut seen: BTreeMap<Arch, usize> = BTreeMap::new();
    for (manifest, platform, labels) in published.image_manifests() {
        let declared = manifest.platform.as_deref();
        let arch = platform.strip_prefix("linux/").and_then(|arch| arch.parse::<Arch>().ok());
        match arch.filter(|arch| arches.contains(arch)) {
            Some(arch) => *seen.entry(arch).or_default() += 1,
            None => {
                let wanted: Vec<String> = arches.iter().map(|arch| format!("linux/{arch}")).collect();
                problems.push(
                    Problem::new(at, format!("holds an image of {platform} ({})", manifest.digest))
                        .rule(format!("here stands {} alone", wanted.join(" and ")))
                        .help(arches.iter().map(|arch| rebuild(arch.as_str())).collect::<Vec<_>>().join("; ")),
                );
            }
        }
        check_declared(at, manifest, declared, platform, problems);
        check_identity(at, labels, expected, &rebuild(arch_or_any(arch)), problems);
    }
    for &arch in arches {
        match seen.get(&arch) {
            Some(1) => {}
            None => problems.push(
                Problem::new(at, format!("{arch} is missing"))
                    .rule("every architecture is there exactly once")
                    .help(rebuild(arch.as_str())),
            ),
            Some(times) => problems.push(
                Problem::new(at, format!("linux/{arch} is there {times} times"))
                    .rule("every architecture is there exactly once")
                    .help(rebuild(arch.as_str())),
            ),
        }
    }
    check_attestations(at, published, problems);
    if expected.attested {
        check_attested(at, published, &rebuild("ARCH"), problems);
    }
}

/// Every image has an attestation of its own.
fn check_attested(at: &str, published: &Published, rebuild: &str, problems: &mut Vec<Problem>) {
    let subjects: BTreeSet<&Digest> = published
        .manifests
        .iter()
        .filter_map(|manifest| match &manifest.content {
            Content::AttestationOf(subject) => subject.as_ref(),
            Content::Image { .. } => None,
        })
        .collect();
    for (manifest, platform, _) in
        published.image_manifests().filter(|(manifest, ..)| !subjects.contains(&manifest.digest))
    {
        problems.push(
            Problem::new(at, format!("the image of {platform} ({}) carries no attestation", manifest.digest))
                .rule("the target wants provenance or an SBOM of every image")
                .help(rebuild),
        );
    }
}

fn arch_or_any(arch: Option<Arch>) -> &'static str {
    arch.map_or("ARCH", Arch::as_str)
}

/// The platform that the index declares is what a node chooses by; the configuration is what it then runs.
fn check_declared(at: &str, manifest: &Manifest, declared: Option<&str>, platform: &str, problems: &mut Vec<Problem>) {
    match declared {
        Some(declared) if declared == platform => {}
        // arm64 has one variant only, which some tools spell out.
        Some(declared) if declared.strip_suffix("/v8") == Some(platform) => {}
        Some(declared) => problems.push(
            Problem::new(at, format!("{} is listed as {declared}, but is an image of {platform}", manifest.digest))
                .rule("an index lists each image under its own platform"),
        ),
        None => problems.push(
            Problem::new(at, format!("{} is listed without a platform", manifest.digest))
                .rule("an index lists each image under its own platform"),
        ),
    }
}

fn check_identity(
    at: &str,
    labels: &BTreeMap<String, String>,
    expected: &Expected,
    rebuild: &str,
    problems: &mut Vec<Problem>,
) {
    let Some(key) = &expected.key else {
        return check_revision(at, labels.get(REVISION).map(String::as_str), expected, rebuild, problems);
    };
    let found = labels.get(key::LABEL).map(String::as_str);
    if found == Some(key.as_str()) {
        return;
    }
    let what = match (found, key::moved_base(labels, &expected.bases)) {
        (None, _) => "carries no key, so nobody knows what it was built from".to_owned(),
        (Some(_), Some(Moved { name, old, new })) => {
            format!("was built from another base: {name} was {old}, and is {new} for this run")
        }
        (Some(found), None) => format!("was built from other inputs: its key is {found}, not {key}"),
    };
    problems.push(
        Problem::new(at, what).rule("all images of a tag are built from the same inputs and bases").help(rebuild),
    );
}

fn check_revision(at: &str, revision: Option<&str>, expected: &Expected, rebuild: &str, problems: &mut Vec<Problem>) {
    if revision == Some(expected.revision.as_str()) {
        return;
    }
    let what = match revision {
        Some(revision) => format!("was built from {revision}, not from {}", expected.revision),
        None => "carries no revision label, so nobody knows what it was built from".to_owned(),
    };
    problems.push(Problem::new(at, what).rule("all images of a tag are built from the tag's commit").help(rebuild));
}

fn check_attestations(at: &str, published: &Published, problems: &mut Vec<Problem>) {
    let digests: BTreeSet<&Digest> = published.manifests.iter().map(|manifest| &manifest.digest).collect();
    for manifest in &published.manifests {
        if let Content::AttestationOf(subject) = &manifest.content
            && !subject.as_ref().is_some_and(|subject| digests.contains(subject))
        {
            problems.push(
                Problem::new(at, format!("{} attests to an image that is not in the index", manifest.digest))
                    .rule("nothing stands in an index but images and their attestations"),
            );
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
