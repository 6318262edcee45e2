//! Whether an image begins with its base. Its configuration names the platform that was asked for, whatever is in it,
//! so that only its layers tell whose programs it holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expected::bases_of_label;
use super::{BASES_LABEL, Expected, Index, Manifest};
use crate::model::{Arch, Digest, Problem};

/// The layer in which nothing is, an archive of two empty blocks: BuildKit leaves it out of what it builds.
const EMPTY_LAYER: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

impl Manifest {
    /// Whether its first layers are those of a base.
    fn begins_with(&self, base: &Manifest) -> bool {
        let mut own = self.filled_layers();
        base.filled_layers().all(|layer| own.next() == Some(layer))
    }

    fn filled_layers(&self) -> impl Iterator<Item = &Digest> {
        self.diff_ids.iter().filter(|layer| layer.to_string() != EMPTY_LAYER)
    }

    fn arch(&self) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.platform() == self.platform)
    }
}

impl Expected {
    /// What the gate compares layers for.
    pub const BASE_RULE: &str = "an image begins with the layers of its base for its own architecture";

    /// The images that one of the job's has to begin with, by name: its label tells their digests, as a base may have
    /// moved since; else those of this run count.
    pub fn bases_of(&self, image: &Manifest) -> Vec<(&str, Digest)> {
        let built_from = image.labels.get(BASES_LABEL).map(|label| bases_of_label(label)).unwrap_or_default();
        let names = image.arch().and_then(|arch| self.begins_with.get(&arch)).into_iter().flatten();
        let digest = |name: &String| built_from.get(name).or(self.bases.get(name)).cloned();
        names.filter_map(|name| Some((name.as_str(), digest(name)?))).collect()
    }

    /// The images that do not begin with their base for their own platform, as far as the bases are known here.
    pub fn foreign_layers(
        &self,
        arch: Option<Arch>,
        index: &Index,
        known: &BTreeMap<Digest, Arc<Index>>,
    ) -> Vec<Problem> {
        let at = self.reference(arch).to_string();
        let problem = |image: &Manifest| {
            let image_arch = image.arch()?;
            let what = self.foreign_base(image, image_arch, known)?;
            let rebuild = format!("cargo xtask build --force --arch {image_arch} {}", self.job);
            let first = if arch.is_none() { "delete the tag in the registry, and build it again: " } else { "" };
            let problem = Problem::new(&at, format!("the image of {} ({}) {what}", image.platform, image.digest));
            let problem = problem.rule(Expected::BASE_RULE);
            Some(problem.help(format!("{first}{rebuild}")))
        };
        index.images.iter().filter_map(problem).collect()
    }

    /// What an image begins with instead of its base.
    fn foreign_base(&self, image: &Manifest, arch: Arch, known: &BTreeMap<Digest, Arc<Index>>) -> Option<String> {
        let mut bases: Vec<(&str, &Manifest)> = Vec::new();
        for (name, digest) in self.bases_of(image) {
            bases.extend(known.get(&digest)?.images.iter().map(|base| (name, base)));
        }
        let (name, _) = *bases.first()?;
        bases.retain(|(_, base)| image.begins_with(base));
        if bases.iter().any(|(_, base)| base.platform == image.platform) {
            return None;
        }
        Some(match bases.first() {
            Some((name, base)) => {
                let of = base.arch().map_or_else(|| base.platform.clone(), |arch| arch.to_string());
                format!("holds the layers of {name} for {of}")
            }
            None => format!("does not begin with the layers of {name} for {arch}"),
        })
    }
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
