//! Which files of the build context can reach a job's image.
//!
//! The rule for every doubt: too much is an input, never too little.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::dockerfile::base::Globals;
use crate::dockerfile::expand::NoValue;
use crate::dockerfile::ignore::{Ignore, clean};
use crate::dockerfile::instruction::{Copy, Dockerfile, Flag, Kind, Mount, Run, Verb};
use crate::dockerfile::scope::{self, Scope};
use crate::model::arch::Arch;
use crate::model::key::TreeEntry;

/// The paths of the build context that a Dockerfile reads.
///
/// What the `ONBUILD` triggers of a base image from elsewhere read is not in the Dockerfile, so it is not here either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// All of the context, by intent or because it cannot be told.
    Whole {
        line: Option<usize>,
        because: String,
    },
    Sources(BTreeSet<Source>),
}

/// One source of a `COPY`, an `ADD` or a bind mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub line: usize,
    /// With its variables replaced.
    pub written: String,
    /// From the context's root; never empty, except before a pattern's first wildcard.
    pub path: String,
    pub reach: Reach,
}

/// What a source's path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The file, or everything below the directory.
    Path,
    /// Whatever begins with these characters: they are the part of a pattern before its first wildcard. Wildcards stand
    /// for no more than this many directories and names.
    Pattern { depth: usize },
}

/// The files that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected<'a> {
    /// Sorted by path.
    pub files: Vec<&'a TreeEntry>,
    /// Why all of the context counts, if it does: the line, if one is to blame, and the reason.
    pub whole: Option<(Option<usize>, String)>,
    pub missing: Vec<Missing>,
}

/// A source that is not among the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub line: usize,
    pub source: String,
    /// The build fails without a path, but not without a match for a pattern.
    pub is_pattern: bool,
    /// It is there, but `.dockerignore` keeps it out of the context.
    pub is_ignored: bool,
}

impl Inputs {
    /// The inputs of two builds, of two architectures for one.
    pub fn and(self, other: Inputs) -> Inputs {
        match (self, other) {
            (Inputs::Sources(mut paths), Inputs::Sources(more)) => {
                paths.extend(more);
                Inputs::Sources(paths)
            }
            (whole @ Inputs::Whole { .. }, _) | (_, whole) => whole,
        }
    }
}

/// The paths that any stage of `dockerfile` reads.
pub fn inputs(dockerfile: &Dockerfile, args: &BTreeMap<String, String>, target: Arch, build: Arch) -> Inputs {
    let (globals, _) = Globals::new(dockerfile, args, target, build);
    let mut found = Found { whole: foreign_syntax(dockerfile, args), paths: BTreeSet::new() };
    scope::each(dockerfile, args, &globals, &mut |instruction, scope| {
        found.read(&instruction.kind, instruction.line, scope);
    });
    match found.whole {
        Some((line, because)) => Inputs::Whole { line, because },
        None => Inputs::Sources(found.paths),
    }
}

/// Only Docker's own frontends are sure to read the file as we do.
fn foreign_syntax(dockerfile: &Dockerfile, args: &BTreeMap<String, String>) -> Option<(Option<usize>, String)> {
    let (line, image) = match (args.get("BUILDKIT_SYNTAX"), &dockerfile.syntax) {
        (Some(image), _) => (None, image),
        (None, Some(syntax)) => (Some(syntax.line), &syntax.image),
        (None, None) => return None,
    };
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    let ours = ["docker/dockerfile", "docker/dockerfile-upstream"];
    let known =
        ours.iter().any(|own| name.strip_suffix(own).is_some_and(|host| host.is_empty() || host.ends_with('/')));
    (!known).then(|| (line, format!("`{image}` may read the Dockerfile in its own way")))
}

/// What is found while the instructions are read.
struct Found {
    whole: Option<(Option<usize>, String)>,
    paths: BTreeSet<Source>,
}

impl Found {
    fn read(&mut self, kind: &Kind, line: usize, scope: &Scope) {
        let result = match kind {
            Kind::Copy(copy) => self.copy(copy, line, scope),
            Kind::Run(run) => self.run(run, line, scope),
            Kind::Onbuild(kind) => return self.read(kind, line, &Scope::unknown(scope.escape())),
            Kind::Arg(_) | Kind::Env(_) | Kind::Other => Ok(()),
        };
        if let Err(because) = result {
            self.whole.get_or_insert((Some(line), because));
        }
    }

    fn copy(&mut self, copy: &Copy, line: usize, scope: &Scope) -> Result<(), String> {
        let (verb, own) = match copy.verb {
            Verb::Add => ("ADD", ["keep-git-dir", "checksum", "unpack"].as_slice()),
            Verb::Copy => ("COPY", [].as_slice()),
        };
        understood(verb, &copy.flags, &[["chown", "chmod", "link", "parents", "exclude"].as_slice(), own].concat())?;
        if copy.from.is_some() {
            return Ok(());
        }
        for source in &copy.sources {
            let written = scope.expand(source).map_err(|reason| unclear(verb, source, reason))?;
            if copy.verb == Verb::Add && is_remote(&written) {
                continue;
            }
            let path = clean(&format!("/{written}"));
            let Some(path) = path.strip_prefix('/').filter(|path| !path.is_empty()) else {
                return Err(format!("`{verb} {source}` copies the whole context"));
            };
            let reach = |_| {
                let depth = if path.contains("**") { usize::MAX } else { path.split('/').count() };
                Reach::Pattern { depth }
            };
            // A backslash only escapes in a pattern, but what it escapes is not looked into.
            let wildcard = path.find(['*', '?', '[', '\\']);
            let fixed = path.get(..wildcard.unwrap_or(path.len())).unwrap_or_default().to_owned();
            self.paths.insert(Source { line, written, path: fixed, reach: wildcard.map_or(Reach::Path, reach) });
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, line: usize, scope: &Scope) -> Result<(), String> {
        understood("RUN", &run.flags, &["network", "security", "device"])?;
        run.mounts.iter().try_for_each(|mount| self.mount(mount, line, scope))
    }

    fn mount(&mut self, mount: &Mount, line: usize, scope: &Scope) -> Result<(), String> {
        if mount.from().is_some() {
            return Ok(());
        }
        let kind = mount.get(&["type"]).unwrap_or("bind");
        match scope.expand(kind).map_err(|reason| unclear("RUN --mount", kind, reason))?.to_lowercase().as_str() {
            "bind" => {}
            // A cache begins empty where it is not told from which image.
            "cache" | "tmpfs" | "secret" | "ssh" => return Ok(()),
            other => return Err(format!("`RUN --mount=type={other}` is not known here")),
        }
        let source = mount.get(&["source", "src"]).unwrap_or_default();
        let written = scope.expand(source).map_err(|reason| unclear("RUN --mount", source, reason))?;
        let path = clean(&format!("/{written}"));
        let path = path.trim_start_matches('/').to_owned();
        if path.is_empty() {
            return Err("`RUN --mount` mounts the whole context".to_owned());
        }
        self.paths.insert(Source { line, written, path, reach: Reach::Path });
        Ok(())
    }
}

fn understood(verb: &str, flags: &[Flag], known: &[&str]) -> Result<(), String> {
    match flags.iter().find(|flag| !known.contains(&flag.name.as_str())) {
        Some(flag) => Err(format!("`{verb} --{}` is not known here", flag.name)),
        None => Ok(()),
    }
}

fn unclear(verb: &str, source: &str, reason: NoValue) -> String {
    match reason {
        NoValue::Unknown(name) => format!("`{verb} {source}`: the value of `{name}` is not known here"),
        NoValue::Refused(what) => format!("`{verb} {source}`: {what}"),
    }
}

/// Whether `ADD` downloads the source or clones it, also from `user@host:path`.
fn is_remote(source: &str) -> bool {
    let word = |text: &str, others: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || others.contains(c))
    };
    let scp = source.split_once(':').and_then(|(login, _)| login.split_once('@'));
    ["http://", "https://", "git://", "ssh://"].iter().any(|scheme| source.starts_with(scheme))
        || scp.is_some_and(|(user, host)| word(user, "_") && word(host, "."))
}

/// The files of `entries` that count for `inputs`. `entries` have to be sorted by path, byte by byte, as git lists them.
///
/// Where a source leads through a symbolic link, BuildKit follows it, so that all of the context counts; a link below a
/// copied directory is copied as a link.
pub fn select<'a>(inputs: &Inputs, entries: &'a [TreeEntry], ignore: &Ignore) -> Selected<'a> {
    let mut selected = Selected { files: Vec::new(), whole: None, missing: Vec::new() };
    let mut ranges = Vec::new();
    match inputs {
        Inputs::Whole { line, because } => selected.whole = Some((*line, because.clone())),
        Inputs::Sources(sources) => {
            for source in sources {
                let reached = Reached::find(source, entries);
                if let Some(link) = reached.link {
                    let link = String::from_utf8_lossy(&link.path);
                    let because = format!("`{link}` is a symbolic link, which a build follows");
                    selected.whole.get_or_insert((Some(source.line), because));
                } else {
                    selected.missing.extend(reached.missing(source, entries, ignore));
                }
                ranges.extend(reached.ranges);
            }
        }
    }
    if selected.whole.is_some() {
        ranges.push(0..entries.len());
    }
    selected.files = kept(entries, ranges, ignore);
    selected
}

fn kept<'a>(entries: &'a [TreeEntry], mut ranges: Vec<Range<usize>>, ignore: &Ignore) -> Vec<&'a TreeEntry> {
    // The longer of two that begin together comes first, so that the other is skipped.
    ranges.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut next = 0;
    let mut kept = Vec::new();
    for range in ranges {
        let rest = range.start.max(next)..range.end;
        next = next.max(range.end);
        kept.extend(entries.get(rest).unwrap_or_default().iter().filter(|entry| !ignore.ignored(&entry.path)));
    }
    kept
}

/// What one source leads to.
struct Reached<'a> {
    ranges: Vec<Range<usize>>,
    link: Option<&'a TreeEntry>,
}

const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

impl<'a> Reached<'a> {
    fn find(source: &Source, entries: &'a [TreeEntry]) -> Reached<'a> {
        let path = source.path.as_bytes();
        let mut reached = Reached { ranges: Vec::new(), link: None };
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            reached.step(entries, &path[..end], Step::Through);
        }
        match source.reach {
            Reach::Path => {
                reached.step(entries, path, Step::To);
                reached.ranges.push(beginning_with(entries, format!("{}/", source.path).as_bytes()));
            }
            Reach::Pattern { depth } => {
                let range = beginning_with(entries, path);
                let found = entries.get(range.clone()).unwrap_or_default();
                let links = found.iter().filter(|entry| entry.mode == LINK);
                let names = |entry: &&TreeEntry| entry.path.split(|byte| *byte == b'/').count();
                reached.link = reached.link.or(links.into_iter().find(|link| names(link) <= depth));
                reached.ranges.push(range);
            }
        }
        reached
    }

    /// The file at `path`, on the way to the source or the source itself.
    ///
    /// What is below a submodule is not listed: it stands for all of it.
    fn step(&mut self, entries: &'a [TreeEntry], path: &[u8], step: Step) {
        let Ok(at) = entries.binary_search_by(|entry| entry.path.as_slice().cmp(path)) else { return };
        match entries[at].mode {
            LINK => self.link = self.link.or(Some(&entries[at])),
            mode if step == Step::To || mode == SUBMODULE => self.ranges.push(at..at + 1),
            _ => {}
        }
    }

    fn missing(&self, source: &Source, entries: &[TreeEntry], ignore: &Ignore) -> Option<Missing> {
        let is_pattern = source.reach != Reach::Path;
        let mut found = self.ranges.iter().flat_map(|range| entries.get(range.clone()).unwrap_or_default()).peekable();
        let exists = found.peek().is_some();
        // A directory of which everything is ignored but not itself is an empty directory.
        let is_ignored = exists && (is_pattern || ignore.ignored(source.path.as_bytes()));
        if exists && !is_ignored || found.any(|entry| !ignore.ignored(&entry.path)) {
            return None;
        }
        Some(Missing { line: source.line, source: source.written.clone(), is_pattern, is_ignored })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Through,
    To,
}

fn beginning_with(entries: &[TreeEntry], prefix: &[u8]) -> Range<usize> {
    let start = entries.partition_point(|entry| entry.path.as_slice() < prefix);
    let rest = entries.get(start..).unwrap_or_default();
    start..start + rest.partition_point(|entry| entry.path.starts_with(prefix))
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
