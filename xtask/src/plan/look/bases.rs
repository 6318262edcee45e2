//! The images that those of jobs have to begin with: the gate compares layers, and only a configuration of the base
//! itself tells which they are on each platform.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Look;
use crate::model::{Arch, Digest, Exit, Expected, Failure, Index, Manifest, Problem, Reference};
use crate::plan::{RegistryState, mirrored};

/// Who asks for a base: positions of jobs, and the name that their Dockerfiles give it.
type Wanted = BTreeMap<Reference, (String, BTreeSet<usize>)>;

impl Look<'_> {
    /// Three rounds: the bases of what was read, each once for all jobs, by the digests that were built from.
    ///
    /// Where one cannot be looked at, nothing new is published. What is published passed when that was done, and its
    /// base may be gone from the mirror since, so there it is said, and no more.
    pub(super) fn find_bases(&mut self, of: impl Fn(&RegistryState) -> bool) -> anyhow::Result<()> {
        let wanted = self.wanted_bases(of);
        let references: Vec<Reference> = wanted.keys().cloned().collect();
        let mut found = self.run.client.indexes(&self.run.ctx, &references)?;
        for index in found.iter_mut().flatten().flatten() {
            index.images.retain(is_of_ours);
        }
        self.run.client.read_found(&self.run.ctx, &references, &mut found, |_| true)?;
        for ((reference, (name, jobs)), index) in wanted.into_iter().zip(found) {
            let is_whole = |index: &Index| index.images.iter().all(Manifest::is_read);
            match index.map(|index| index.filter(is_whole)) {
                Ok(Some(index)) => self.put_base(&jobs, reference.digest, &Arc::new(index)),
                Ok(None) => self.do_without_base(&jobs, &name, &format!("there is no {reference}")),
                Err(error) => self.do_without_base(&jobs, &name, &Failure::reason(&error)),
            }
        }
        Ok(())
    }

    fn wanted_bases(&self, of: impl Fn(&RegistryState) -> bool) -> Wanted {
        let mut wanted = Wanted::new();
        for (i, (expected, state)) in self.jobs.iter().enumerate() {
            let Some(state) = state.as_ref().ok().filter(|state| of(state)) else { continue };
            let held = [&state.index, &state.keyed].into_iter().chain(state.parts.values()).flatten();
            for (name, digest) in held.flat_map(|index| &index.images).flat_map(|image| expected.bases_of(image)) {
                let pulled = Reference::normalized(name).and_then(|image| mirrored(image, &self.run.target.mirrors));
                // A name that is none was refused with the Dockerfile.
                let Ok(Reference { repository, .. }) = pulled else { continue };
                let entry = wanted.entry(repository.with_digest(&digest));
                entry.or_insert_with(|| (name.to_owned(), BTreeSet::new())).1.insert(i);
            }
        }
        wanted
    }

    fn put_base(&mut self, jobs: &BTreeSet<usize>, digest: Option<Digest>, index: &Arc<Index>) {
        for &i in jobs {
            if let (Ok(state), Some(digest)) = (&mut self.jobs[i].1, &digest) {
                state.bases.insert(digest.clone(), Arc::clone(index));
            }
        }
    }

    fn do_without_base(&mut self, jobs: &BTreeSet<usize>, name: &str, why: &str) {
        let is_published = |state: &RegistryState| state.index.is_some();
        let (published, new): (Vec<usize>, Vec<usize>) =
            jobs.iter().partition(|&&i| self.jobs[i].1.as_ref().is_ok_and(is_published));
        for i in new {
            let (expected, state) = &mut self.jobs[i];
            *state = Err(not_compared(expected, name, why));
        }
        if !published.is_empty() {
            let names: Vec<&str> = published.iter().map(|&i| self.jobs[i].0.job.as_str()).collect();
            let jobs = names.join(", ");
            self.run.ctx.ui.warning(format!("base `{name}`: {why}, so the layers of {jobs} are not compared with it"));
        }
    }
}

/// Whether an image of a base is for one of our platforms, whatever the variant; a bare manifest does not say.
fn is_of_ours(image: &Manifest) -> bool {
    let of = |platform: &str| Arch::ALL.iter().any(|arch| platform.starts_with(arch.platform()));
    image.declared.as_deref().is_none_or(of)
}

fn not_compared(expected: &Expected, name: &str, why: &str) -> anyhow::Error {
    Problem::new(expected.reference(None).to_string(), format!("cannot be compared with its base `{name}`: {why}"))
        .rule(Expected::BASE_RULE)
        .help(format!("cargo xtask merge {}, once the base can be pulled", expected.job))
        .exit(Exit::Missing)
}
