//! Which files of a listing are those that a build reads.

use std::collections::BTreeSet;

use super::{Ignore, clean};
use crate::model::TreeEntry;

/// git's modes of a symbolic link, a folder and a submodule.
const LINK: u32 = 0o120_000;
const FOLDER: u32 = 0o040_000;
const SUBMODULE: u32 = 0o160_000;

/// The paths of the build context that a build reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// All of the context, by intent or because it cannot be told.
    Whole {
        /// The line of the Dockerfile that is to blame, if one is.
        line: Option<usize>,
        because: String,
    },
    Sources(BTreeSet<ContextPath>),
}

impl Default for Inputs {
    fn default() -> Inputs {
        Inputs::Sources(BTreeSet::new())
    }
}

/// A path of the build context that counts: a source of a `COPY`, an `ADD` or a bind mount, or one that is named
/// without being copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextPath {
    /// The line of the Dockerfile; `None` for a path that something else names.
    pub line: Option<usize>,
    /// With its variables replaced.
    pub written: String,
    /// From the repository's root; never empty, except before a pattern's first wildcard.
    pub path: String,
    /// Whether `path` is but the part of a pattern before its first wildcard.
    pub is_pattern: bool,
    /// How many names the paths may have that the pattern matches.
    pub depth: usize,
}

/// The files of a listing that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched<'a> {
    /// Sorted by path.
    pub files: Vec<&'a TreeEntry>,
    /// Sources that are not there. Patterns are not among them: a build takes one without a match.
    pub missing: Vec<&'a ContextPath>,
    /// Sources that are there, but that the ignore file keeps out of the context.
    pub ignored: Vec<&'a ContextPath>,
    /// Folders that are copied empty: they are not ignored, but all that is in them is. Sorted by path.
    pub empty: Vec<TreeEntry>,
}

impl Inputs {
    /// A file, or everything below a folder, that counts although the Dockerfile does not copy it, whether it is
    /// ignored or not: what `job.json` names, the Dockerfile itself, ignore files.
    pub fn named(path: &str) -> Inputs {
        match ContextPath::new(None, path, &[]) {
            Some(path) => Inputs::Sources(BTreeSet::from([path])),
            None => Inputs::Whole { line: None, because: format!("`{path}` is the whole context") },
        }
    }

    /// Everything in the repository, for a job whose context is not all of it.
    pub fn everything() -> Inputs {
        let path = ContextPath { line: None, written: ".".to_owned(), path: String::new(), is_pattern: true, depth: 0 };
        Inputs::Sources(BTreeSet::from([path]))
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Inputs::Whole { .. })
    }

    /// The same of a context that is this folder: what is read begins there, and what is listed at the root.
    pub fn of_context(self, folder: &str) -> Inputs {
        match self {
            Inputs::Sources(paths) if !folder.is_empty() => {
                Inputs::Sources(paths.into_iter().map(|path| path.below(folder)).collect())
            }
            inputs => inputs,
        }
    }

    /// The inputs of two builds, of two architectures for one. Of two reasons for all of the context, the first stays.
    pub fn union(self, other: Inputs) -> Inputs {
        match (self, other) {
            (Inputs::Sources(mut paths), Inputs::Sources(more)) => {
                paths.extend(more);
                Inputs::Sources(paths)
            }
            (whole @ Inputs::Whole { .. }, _) | (_, whole) => whole,
        }
    }

    /// All of the context, where a source leads through a symbolic link, which BuildKit follows. A link below a copied
    /// directory is copied as a link. `listing` is sorted by path, byte by byte, as git lists files.
    pub fn through_links(self, listing: &[TreeEntry]) -> Inputs {
        let Inputs::Sources(sources) = &self else { return self };
        let link = sources.iter().find_map(|source| Some((source.line, source.link(listing)?)));
        match link {
            Some((line, link)) => {
                let because =
                    format!("`{}` is a symbolic link, which a build follows", String::from_utf8_lossy(&link.path));
                Inputs::Whole { line, because }
            }
            None => self,
        }
    }

    /// The files of `listing` that count. It is sorted by path, byte by byte, as git lists files. A folder or a
    /// submodule in it stands for all that is below.
    pub fn select<'a>(&'a self, listing: &'a [TreeEntry], ignore: &Ignore) -> Matched<'a> {
        let mut selected = Matched::default();
        let Inputs::Sources(sources) = self else {
            selected.files.extend(listing.iter().filter(|entry| !is_ignored(entry, ignore)));
            selected.empty = empty_folders(listing.iter(), "", listing, ignore);
            return selected;
        };
        for source in sources {
            let found: Vec<&TreeEntry> = source.entries(listing).collect();
            let files = selected.files.len();
            let is_named = source.line.is_none();
            selected.files.extend(found.iter().copied().filter(|entry| is_named || !is_ignored(entry, ignore)));
            if !is_named {
                selected.empty.extend(empty_folders(found.iter().copied(), &source.path, listing, ignore));
            }
            if is_named || source.is_pattern || selected.files.len() > files {
                continue;
            }
            match found.is_empty() {
                true => selected.missing.push(source),
                // A directory of which everything is ignored but not itself is an empty directory.
                false if ignore.ignored(source.path.as_bytes()) => selected.ignored.push(source),
                false => {}
            }
        }
        selected.files.sort_by(|a, b| a.path.cmp(&b.path));
        selected.files.dedup();
        selected.empty.sort_by(|a, b| a.path.cmp(&b.path));
        selected.empty.dedup();
        selected
    }
}

fn is_ignored(entry: &TreeEntry, ignore: &Ignore) -> bool {
    match entry.mode {
        FOLDER | SUBMODULE => ignore.ignored_with_all_below(&entry.path),
        _ => ignore.ignored(&entry.path),
    }
}

/// The folders whose paths begin with this one, in which some of the entries are, and which are copied empty.
fn empty_folders<'a>(
    entries: impl Iterator<Item = &'a TreeEntry>,
    begins: &str,
    listing: &[TreeEntry],
    ignore: &Ignore,
) -> Vec<TreeEntry> {
    let parent = |path: &'a [u8]| Some(&path[..path.iter().rposition(|byte| *byte == b'/')?]);
    let ignored = entries.filter(|entry| is_ignored(entry, ignore));
    let parents: BTreeSet<&[u8]> = ignored.filter_map(|entry| parent(&entry.path)).collect();
    let nearest = parents.into_iter().filter_map(|folder| {
        let outwards = std::iter::successors(Some(folder), |folder| parent(folder));
        outwards.take_while(|folder| folder.starts_with(begins.as_bytes())).find(|folder| !ignore.ignored(folder))
    });
    let is_empty = |folder: &&[u8]| {
        let below = [folder, b"/".as_slice()].concat();
        let first = listing.partition_point(|entry| entry.path < below);
        listing[first..]
            .iter()
            .take_while(|entry| entry.path.starts_with(&below))
            .all(|entry| is_ignored(entry, ignore))
    };
    let entry = |folder: &[u8]| TreeEntry { path: folder.to_vec(), mode: FOLDER, blob: String::new() };
    nearest.collect::<BTreeSet<_>>().into_iter().filter(is_empty).map(entry).collect()
}

impl ContextPath {
    /// The file or everything below the folder, or what begins with the part of a pattern before the first of the
    /// `wildcards`; `None` for the context itself.
    pub fn new(line: Option<usize>, written: &str, wildcards: &[char]) -> Option<ContextPath> {
        let mut path = clean(written);
        let depth = if path.contains("**") { usize::MAX } else { path.split('/').count() };
        let wildcard = path.find(wildcards);
        path.truncate(wildcard.unwrap_or(path.len()));
        let source = ContextPath { line, written: written.to_owned(), path, depth, is_pattern: wildcard.is_some() };
        (source.is_pattern || !source.path.is_empty()).then_some(source)
    }

    /// The same in a folder.
    fn below(self, folder: &str) -> ContextPath {
        let depth = self.depth.saturating_add(folder.split('/').count());
        ContextPath { path: format!("{folder}/{}", self.path), depth, ..self }
    }

    /// Whether everything that another path leads to is below this one.
    pub fn covers(&self, other: &ContextPath) -> bool {
        let below = other.path.strip_prefix(&self.path);
        !self.is_pattern && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What it leads to, and what stands for that in the listing: a folder, a submodule or a link on the way.
    fn entries<'a>(&self, listing: &'a [TreeEntry]) -> impl Iterator<Item = &'a TreeEntry> {
        let path = self.path.as_bytes();
        let from = |path: &[u8]| &listing[listing.partition_point(|entry| entry.path.as_slice() < path)..];
        let ends = self.path.match_indices('/').map(|(end, _)| &path[..end]);
        let on_the_way = ends.filter_map(move |path| from(path).first().filter(|entry| entry.path == path));
        let beginning = from(path).iter().take_while(move |entry| entry.path.starts_with(path));
        on_the_way.filter(|entry| matches!(entry.mode, LINK | FOLDER | SUBMODULE)).chain(
            beginning.filter(move |entry| self.is_pattern || matches!(entry.path.get(path.len()), None | Some(b'/'))),
        )
    }

    /// The symbolic link through which it leads.
    fn link<'a>(&self, listing: &'a [TreeEntry]) -> Option<&'a TreeEntry> {
        let is_passed = |entry: &TreeEntry| entry.path.split(|byte| *byte == b'/').count() <= self.depth;
        self.entries(listing).find(|entry| entry.mode == LINK && is_passed(entry))
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
