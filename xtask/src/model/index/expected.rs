//! What the images of a job have to be: the comparison on which plan and gate rest.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::{BASES_LABEL, BUILT_FROM, FORCED, Index, KEY_LABEL, MOVING_TAGS, Manifest, REVISION, shared_revision};
use crate::model::{Arch, Digest, JobName, Key, Problem, Reference, Repository, Revision, Tag};

/// What the images of a job have to be in this run.
#[derive(Clone, Debug)]
pub struct Expected {
    pub job: JobName,
    /// Its `job.json`, for messages.
    pub settings_file: Utf8PathBuf,
    pub repository: Repository,
    pub tag: Tag,
    pub arches: Vec<Arch>,
    /// `None` only where nothing is published.
    pub revision: Option<Revision>,
    /// `None` where something is not committed; then the revision has to do.
    pub key: Option<Key>,
    /// The digests of the bases, by the names that the Dockerfile gives them.
    pub bases: BTreeMap<String, Digest>,
    /// The image that the built stage begins with in the end, as the Dockerfile names it, by architecture; none where
    /// that is `scratch`. There are several where the name depends on the builder.
    pub begins_with: BTreeMap<Arch, BTreeSet<String>>,
    /// Patterns of files that may be for another architecture.
    pub foreign_files: Vec<String>,
    /// Whether images without attestations (provenance, SBOM) are refused.
    pub attested: bool,
    /// Whether only images that were built by force will do.
    pub forced: bool,
}

impl Expected {
    /// Where the images of all architectures are published, or those of one under its own tag.
    pub fn reference(&self, arch: Option<Arch>) -> Reference {
        let tag = arch.map_or_else(|| self.tag.clone(), |arch| self.tag.for_arch(arch));
        self.repository.with_tag(&tag)
    }

    /// What the images carry as labels, and their index as annotations. `source` is where the source is.
    pub fn labels(&self, source: Option<&str>) -> BTreeMap<String, String> {
        let labels = [
            ("org.opencontainers.image.title", Some(self.job.to_string())),
            ("org.opencontainers.image.version", Some(self.tag.to_string())),
            ("org.opencontainers.image.source", source.map(str::to_owned)),
            (REVISION, self.revision.as_ref().map(ToString::to_string)),
            (KEY_LABEL, self.key.as_ref().map(ToString::to_string)),
            (BASES_LABEL, (!self.bases.is_empty()).then(|| bases_label(&self.bases))),
            (FORCED, self.forced.then(|| "true".to_owned())),
        ];
        labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// What an index of these images carries as annotations, which are those of this commit, and the tags that are to
    /// move to it.
    pub fn annotations(
        &self,
        source: Option<&str>,
        images: &[Manifest],
        moving_tags: &[Tag],
    ) -> BTreeMap<String, String> {
        let mut annotations = self.labels(source);
        if !moving_tags.is_empty() && !self.is_dirty() {
            let tags: Vec<String> = moving_tags.iter().map(ToString::to_string).collect();
            annotations.insert(MOVING_TAGS.to_owned(), tags.join(","));
        }
        let built_from = shared_revision(images).filter(|built_from| Some(built_from) != self.revision.as_ref());
        annotations.extend(built_from.map(|revision| (BUILT_FROM.to_owned(), revision.to_string())));
        if images.iter().any(Manifest::is_forced) {
            annotations.insert(FORCED.to_owned(), "true".to_owned());
        }
        annotations
    }

    /// The first of the bases that is not what it was for an image with these labels: `busybox moved (… → …)`.
    pub fn moved_base(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        let built_from = bases_of_label(labels.get(BASES_LABEL)?);
        self.bases.iter().find_map(|(name, new)| {
            let old = built_from.get(name).filter(|old| *old != new)?;
            Some(format!("{name} moved ({} → {})", old.short(), new.short()))
        })
    }

    /// Like [`Expected::problems`], but images of this commit will do even if they have another key: they stay right
    /// when a base moves after they were published.
    pub fn problems_of_published(&self, arch: Option<Arch>, index: &Index) -> Vec<Problem> {
        let key = self.key.clone().filter(|_| self.is_dirty());
        let by_commit = Expected { key, ..self.clone() }.problems(arch, index);
        if by_commit.is_empty() { by_commit } else { self.problems(arch, index) }
    }

    /// Every reason why an index does not hold each architecture exactly once, with this key, and nothing else; the
    /// same for what stands under one architecture's own tag.
    pub fn problems(&self, arch: Option<Arch>, index: &Index) -> Vec<Problem> {
        let at = self.reference(arch).to_string();
        let arches = arch.as_ref().map_or(self.arches.as_slice(), std::slice::from_ref);
        let mut problems = Vec::new();
        let mut seen: BTreeMap<Arch, usize> = BTreeMap::new();
        for image in &index.images {
            let arch = Arch::ALL.into_iter().find(|arch| arch.platform() == image.platform);
            match arch.filter(|arch| arches.contains(arch)) {
                Some(arch) => *seen.entry(arch).or_default() += 1,
                None => problems.push(self.other_platform(&at, image, arches)),
            }
            problems.extend(wrongly_declared(&at, image).map(|problem| problem.help(self.rebuild(arch))));
            problems.extend(self.other_identity(&at, index, &image.labels, &self.rebuild(arch)));
        }
        for &arch in arches {
            problems.extend(self.not_once(&at, arch, seen.get(&arch).copied().unwrap_or_default()));
        }
        problems.extend(self.wrong_attestations(&at, index));
        problems
    }

    fn rebuild(&self, arch: Option<Arch>) -> String {
        format!("cargo xtask build --arch {} --no-cache {}", arch.map_or("ARCH", Arch::as_str), self.job)
    }

    fn other_platform(&self, at: &str, image: &Manifest, arches: &[Arch]) -> Problem {
        let wanted: Vec<&str> = arches.iter().map(|arch| arch.platform()).collect();
        let rebuild: Vec<String> = arches.iter().map(|&arch| self.rebuild(Some(arch))).collect();
        Problem::new(at, format!("holds an image of {} ({})", image.platform, image.digest))
            .rule(format!("here stands {} alone", wanted.join(" and ")))
            .help(rebuild.join("; "))
    }

    fn not_once(&self, at: &str, arch: Arch, times: usize) -> Option<Problem> {
        let what = match times {
            1 => return None,
            0 => format!("{arch} is missing"),
            times => format!("{} is there {times} times", arch.platform()),
        };
        let problem = Problem::new(at, what).rule("every architecture is there exactly once");
        Some(problem.help(self.rebuild(Some(arch))))
    }

    /// Whether the labels are those of other inputs, or of another commit where there is no key. An index of this
    /// commit may hold images of an earlier one, if they are those that it was made for.
    fn other_identity(
        &self,
        at: &str,
        index: &Index,
        labels: &BTreeMap<String, String>,
        rebuild: &str,
    ) -> Option<Problem> {
        const SAME_INPUTS: &str = "all images of a tag are built from the same inputs and bases";
        let own = index.annotations.get(KEY_LABEL).filter(|_| self.is_of_this_commit(index));
        let (what, rule) = match (&self.key, own) {
            (Some(key), _) => (self.other_key(key, labels)?, SAME_INPUTS),
            (None, Some(key)) if labels.get(KEY_LABEL) == Some(key) => return None,
            (None, Some(key)) => {
                (format!("holds an image that was built from other inputs: its key is not {key}"), SAME_INPUTS)
            }
            (None, None) => (self.other_revision(labels)?, "all images of a tag are built from the tag's commit"),
        };
        Some(Problem::new(at, what).rule(rule).help(rebuild))
    }

    /// Whether something in the working tree is not committed.
    pub fn is_dirty(&self) -> bool {
        self.revision.as_ref().is_some_and(|revision| revision.dirty)
    }

    /// Whether an index says that it was made for this commit.
    /// A dirty tree may have been dirty in another way then, so where there is a key, only that counts.
    fn is_of_this_commit(&self, index: &Index) -> bool {
        if self.key.is_some() && self.is_dirty() {
            return false;
        }
        let own = self.revision.as_ref().map(ToString::to_string);
        own.is_some() && index.annotations.get(REVISION) == own.as_ref()
    }

    /// Whether an index says that it was made for this key.
    fn is_of_this_key(&self, index: &Index) -> bool {
        let own = self.key.as_ref().map(ToString::to_string);
        own.is_some() && index.annotations.get(KEY_LABEL) == own.as_ref()
    }

    /// Whether an index is what is expected: by its images where they are read, else by what it says of itself, which
    /// is enough to plan with, as the gate reads the images.
    pub fn accepts(&self, index: &Index) -> bool {
        self.is_of_this_key(index) && self.lists(index) || self.problems(None, index).is_empty()
    }

    /// Like [`Expected::accepts`], but an index of this commit will do even if it has another key.
    pub fn accepts_published(&self, index: &Index) -> bool {
        self.is_of_this_commit(index) && self.lists(index)
            || self.accepts(index)
            || self.problems_of_published(None, index).is_empty()
    }

    /// Whether an index lists each architecture exactly once, and nothing else, as far as its entries tell.
    fn lists(&self, index: &Index) -> bool {
        let declared = |arch: &Arch| {
            let is_declared = |image: &&Manifest| {
                let platform = image.declared.as_deref().unwrap_or_default();
                platform.strip_suffix("/v8").unwrap_or(platform) == arch.platform()
            };
            index.images.iter().filter(is_declared).count() == 1
        };
        index.images.len() == self.arches.len()
            && self.arches.iter().all(declared)
            && (!self.forced || index.is_forced())
            && self.wrong_attestations("", index).is_empty()
    }

    fn other_key(&self, key: &Key, labels: &BTreeMap<String, String>) -> Option<String> {
        let Some(found) = labels.get(KEY_LABEL) else {
            return Some("carries no key, so nobody knows what it was built from".to_owned());
        };
        if *found == key.to_string() {
            let not_forced = self.forced && !labels.contains_key(FORCED);
            return not_forced.then(|| "was not built by force".to_owned());
        }
        Some(match self.moved_base(labels) {
            Some(moved) => format!("was built from another base: {moved}"),
            None => format!("was built from other inputs: its key is {found}, not {key}"),
        })
    }

    fn other_revision(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        let expected = self.revision.as_ref().map(ToString::to_string).unwrap_or_default();
        match labels.get(REVISION) {
            Some(found) if *found == expected => None,
            Some(found) => Some(format!("was built from {found}, not from {expected}")),
            None => Some("carries no revision label, so nobody knows what it was built from".to_owned()),
        }
    }

    /// Nothing stands in an index but images and their attestations, and each image has one where the target wants it.
    fn wrong_attestations(&self, at: &str, index: &Index) -> Vec<Problem> {
        let (images, subjects) = (index.digests(), index.attestations.values().flatten().collect::<BTreeSet<_>>());
        let is_about_an_image = |subject: &Option<Digest>| subject.as_ref().is_some_and(|s| images.contains(s));
        let strangers = index.attestations.iter().filter(|(_, subject)| !is_about_an_image(subject));
        let mut problems: Vec<Problem> = strangers
            .map(|(digest, _)| {
                Problem::new(at, format!("{digest} attests to an image that is not in the index"))
                    .rule("nothing stands in an index but images and their attestations")
                    .help(self.rebuild(None))
            })
            .collect();
        for image in index.images.iter().filter(|image| self.attested && !subjects.contains(&image.digest)) {
            problems.push(
                Problem::new(at, format!("the image of {} ({}) carries no attestation", image.platform, image.digest))
                    .rule("the target wants provenance or an SBOM of every image")
                    .help(self.rebuild(None)),
            );
        }
        problems
    }
}

/// The platform that the index declares is what a node chooses by; the configuration is what it then runs.
fn wrongly_declared(at: &str, image: &Manifest) -> Option<Problem> {
    let Manifest { digest, declared, platform, .. } = image;
    let what = match declared {
        // arm64 has one variant only, which some tools spell out.
        Some(declared) if declared == platform || declared.strip_suffix("/v8") == Some(platform) => return None,
        Some(declared) => format!("{digest} is listed as {declared}, but is an image of {platform}"),
        None => format!("{digest} is listed without a platform"),
    };
    Some(Problem::new(at, what).rule("an index lists each image under its own platform"))
}

/// The bases of an image as its label tells them: `<name>@<digest>`, joined by commas.
fn bases_label(bases: &BTreeMap<String, Digest>) -> String {
    bases.iter().map(|(name, digest)| format!("{name}@{digest}")).collect::<Vec<_>>().join(",")
}

/// Reads [`bases_label`]; what cannot be read is left out.
pub(super) fn bases_of_label(label: &str) -> BTreeMap<String, Digest> {
    let base = |text: &str| {
        let (name, digest) = text.rsplit_once('@')?;
        Some((name.to_owned(), digest.parse().ok()?))
    };
    label.split(',').filter_map(base).collect()
}

#[cfg(test)]
impl Expected {
    pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// The job `a` for both architectures under the tag `abc`, at this commit, without a key.
    pub fn for_test() -> Expected {
        Expected {
            job: "a".parse().unwrap(),
            settings_file: "jobs/a/job.json".into(),
            repository: Repository::new(Some("reg.example".parse().unwrap()), "jobs/a").unwrap(),
            tag: "abc".parse().unwrap(),
            arches: Arch::ALL.to_vec(),
            revision: Revision::of_label(Expected::COMMIT),
            key: None,
            bases: BTreeMap::new(),
            begins_with: BTreeMap::new(),
            foreign_files: Vec::new(),
            attested: false,
            forced: false,
        }
    }
}

#[cfg(test)]
#[path = "expected_tests.rs"]
mod tests;
