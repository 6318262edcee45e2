//! What git says of the commits that moving tags are at: asked once for all jobs of a run.

use std::collections::BTreeMap;

use crate::model::Commit;
use crate::run::Context;
use crate::tools::git;

/// How many newer commits are looked for at a registry.
const MOST_NEWER: usize = 16;

/// A newer commit, and the names of its git tags.
type Newer = (Commit, Vec<String>);

/// What git has said so far.
pub struct History<'c> {
    ctx: &'c Context,
    is_fetched: bool,
    /// Whether the first of two commits is the other or comes before it; `None` where git does not know one of them.
    answers: BTreeMap<(Commit, Commit), Option<bool>>,
    newer: BTreeMap<Commit, Vec<Newer>>,
}

impl History<'_> {
    pub fn new(ctx: &Context) -> History<'_> {
        History { ctx, is_fetched: false, answers: BTreeMap::new(), newer: BTreeMap::new() }
    }

    /// As [`git::is_ancestor`]. A commit that is not known may have been pushed since this was cloned.
    ///
    /// # Errors
    /// git cannot tell.
    pub fn is_ancestor(&mut self, older: &Commit, newer: &Commit) -> anyhow::Result<Option<bool>> {
        let pair = (older.clone(), newer.clone());
        if let Some(answer) = self.answers.get(&pair) {
            return Ok(*answer);
        }
        let mut answer = git::is_ancestor(self.ctx, older, newer)?;
        if answer.is_none() && self.fetch() {
            answer = git::is_ancestor(self.ctx, older, newer)?;
        }
        self.answers.insert(pair, answer);
        Ok(answer)
    }

    /// The commits that come after one, the newest first; also those that were pushed since this was cloned.
    ///
    /// # Errors
    /// git cannot tell.
    pub fn after(&mut self, commit: &Commit) -> anyhow::Result<&[Newer]> {
        if !self.newer.contains_key(commit) {
            self.fetch();
            self.newer.insert(commit.clone(), git::descendants(self.ctx, commit, MOST_NEWER)?);
        }
        Ok(self.newer.get(commit).map_or(&[], Vec::as_slice))
    }

    /// Whether this is the first time.
    fn fetch(&mut self) -> bool {
        if self.is_fetched {
            return false;
        }
        git::fetch(self.ctx);
        self.is_fetched = true;
        true
    }
}
