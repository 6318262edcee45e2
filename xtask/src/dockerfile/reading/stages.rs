//! Which stages of a Dockerfile a build needs.

use std::collections::BTreeSet;

use super::Reading;
use crate::dockerfile::Stage;

impl<'a> Reading<'a> {
    /// The stage of this name, the last of several before `end`.
    fn stage_before(&self, end: usize, name: &str) -> Option<usize> {
        self.file.stages[..end].iter().rposition(|stage| stage.name.as_deref() == Some(name))
    }

    /// The stage that is built.
    fn built(&self, name: Option<&str>) -> Option<usize> {
        let count = self.file.stages.len();
        name.map_or_else(|| count.checked_sub(1), |name| self.stage_before(count, &name.to_lowercase()))
    }

    /// The earlier stage that one begins with.
    fn parent(&self, at: usize) -> Option<usize> {
        self.image_of(&self.file.stages[at]).ok().and_then(|image| self.stage_before(at, &image))
    }

    /// The stages that the built one begins with, itself the first of them.
    pub fn chain(&self, built: Option<&str>) -> Vec<&'a Stage> {
        std::iter::successors(self.built(built), |at| self.parent(*at)).map(|at| &self.file.stages[at]).collect()
    }

    /// The stages that the built one begins with or takes files from, and itself.
    pub fn needed(&self, built: Option<&str>) -> BTreeSet<usize> {
        let stages = &self.file.stages;
        let mut needed = BTreeSet::new();
        let mut next: Vec<usize> = self.built(built).into_iter().collect();
        while let Some(at) = next.pop() {
            if !needed.insert(at) {
                continue;
            }
            next.extend(self.parent(at));
            let transfers = stages[at].instructions.iter().flat_map(|instruction| instruction.effect.transfers());
            for from in transfers.filter_map(|transfer| transfer.from.as_ref()) {
                let by_number = from.parse().ok().filter(|number| *number < stages.len());
                next.extend(self.stage_before(stages.len(), &from.to_lowercase()).or(by_number));
            }
        }
        needed
    }
}
