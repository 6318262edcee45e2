//! The commit's files, and which of them reach a job's image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use camino::Utf8Path;

use super::bases::PinnedBase;
use super::jobs::{Job, read_text};
use super::recipe::Recipe;
use crate::dockerfile::{ContextPath, Ignore, Inputs, Matched, allow_list};
use crate::model::{Commit, Exit, JobFiles, Key, Problem, TreeEntry, hash_of_files};
use crate::run::Context;
use crate::settings::JobSettings;
use crate::tools::git;

const ROOT_RULE: &str = "paths start at the repository's root, which is the build context";
/// git's modes of a folder and a file.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_644;

/// The files of the commit, and what of the working tree differs from them.
#[derive(Default)]
pub struct Tree {
    /// Sorted by path.
    entries: Vec<TreeEntry>,
    /// What differs from the commit, or is in no commit: sorted by path, folders without their final slash.
    uncommitted: Vec<TreeEntry>,
    commit: Option<Commit>,
    ignore: Ignore,
    /// The hash of all of the context, which many jobs may need.
    whole: OnceLock<[u8; 32]>,
}

impl Tree {
    /// The tree of the commit that is checked out.
    ///
    /// # Errors
    /// git cannot answer; the ignore file cannot be read.
    pub fn read(ctx: &Context) -> anyhow::Result<Tree> {
        let commit = git::head(ctx)?;
        let (entries, uncommitted) = match &commit {
            Some(commit) => (git::tree(ctx, commit, None)?, git::uncommitted(ctx)?),
            None => (Vec::new(), Vec::new()),
        };
        let ignore = ignore_file(ctx, ".dockerignore").map_err(|problem| problem.exit(Exit::Usage))?;
        let ignore = ignore.unwrap_or_default();
        let mut uncommitted: Vec<TreeEntry> = uncommitted.iter().map(|path| path_entry(path)).collect();
        uncommitted.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { entries, uncommitted, commit, ignore, whole: OnceLock::new() })
    }

    /// Sets what follows from a job's files: its key, unless one of them is not committed or a base is not resolved.
    /// Gives what a build cannot succeed with: the sources that are not there, and an ignore file that cannot be read.
    pub fn finish(&self, ctx: &Context, recipe: &mut Recipe) -> Vec<Problem> {
        match own_ignore(ctx, &recipe.job.files) {
            Ok(own_ignore) => recipe.own_ignore = own_ignore.map(Arc::new),
            Err(problem) => return vec![problem],
        }
        recipe.inputs = self.effective(recipe);
        recipe.whole = match &recipe.inputs {
            Inputs::Whole { line: Some(line), because } => {
                Some(format!("{because} ({}:{line})", recipe.job.files.dockerfile))
            }
            Inputs::Whole { line: None, because } => Some(because.clone()),
            Inputs::Sources(_) => None,
        };
        let selected = recipe.inputs.select(&self.entries, self.ignore(recipe));
        recipe.uncommitted = self.first_uncommitted(ctx, recipe, &selected);
        let named = self.needed(recipe);
        let needed = named.select(&self.entries, self.ignore(recipe));
        let missing = [unreadable(&recipe.job, &selected), self.missing(ctx, &recipe.job, &needed)].concat();
        let digest = |base: &PinnedBase| Some((base.written.clone(), base.digest.clone()?));
        recipe.expected.bases = recipe.bases.iter().filter_map(digest).collect();
        if recipe.uncommitted.is_none() && recipe.expected.bases.len() == recipe.bases.len() {
            recipe.expected.key = Some(self.key(recipe, &selected));
        }
        missing
    }

    fn ignore<'a>(&'a self, recipe: &'a Recipe) -> &'a Ignore {
        recipe.own_ignore.as_deref().unwrap_or(&self.ignore)
    }

    fn key(&self, recipe: &Recipe, selected: &Matched<'_>) -> Key {
        let ignore = self.ignore(recipe);
        let context = recipe.whole.is_some().then(|| match recipe.own_ignore {
            None => *self.whole.get_or_init(|| self.hash_of_context(selected, ignore)),
            Some(_) => self.hash_of_context(selected, ignore),
        });
        let files = match context {
            Some(_) => {
                let named = self.named(&recipe.job);
                hash_of_files(named.select(&self.entries, ignore).files.into_iter(), None)
            }
            None => hash_of_files(selected.files.iter().copied().chain(&selected.empty), None),
        };
        let JobSettings { target, args, .. } = &recipe.job.settings;
        let folder = recipe.job.files.context.as_str();
        Key::of(target.as_deref(), args, &recipe.expected.bases, files, folder, context)
    }

    /// The ignore file by which BuildKit sees the very files that were hashed for the key; `None` where there is no
    /// key, or where all of the context counts and nothing is filtered.
    pub fn allow_list(&self, recipe: &Recipe) -> Option<String> {
        if recipe.expected.key.is_none() || recipe.whole.is_some() {
            return None;
        }
        let ignore = self.ignore(recipe);
        let selected = recipe.inputs.select(&self.entries, ignore);
        // What counts by its name may be ignored, and is not part of the context then.
        let files = selected.files.into_iter().filter(|entry| !ignore.ignored(&entry.path));
        let empty = selected.empty.iter().filter_map(|entry| ignore.in_context(&entry.path));
        Some(allow_list(empty, files.filter_map(|entry| ignore.in_context(&entry.path))))
    }

    /// Those of the paths, and of what is not committed, that count for the job: sorted.
    pub fn counting(&self, recipe: &Recipe, paths: &[Vec<u8>]) -> BTreeSet<String> {
        let mut paths: Vec<TreeEntry> = paths.iter().map(|path| path_entry(path)).collect();
        paths.extend_from_slice(&self.uncommitted);
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        self.counted(recipe, &paths)
    }

    /// The blobs of the files that count for the job, by path: in a listing, or in the commit itself.
    pub fn blobs(&self, recipe: &Recipe, listing: Option<&[TreeEntry]>) -> BTreeMap<String, String> {
        let listing = listing.unwrap_or(&self.entries);
        let counted = self.counted(recipe, listing);
        let blobs = listing.iter().map(|entry| (String::from_utf8_lossy(&entry.path).into_owned(), entry.blob.clone()));
        blobs.filter(|(path, _)| counted.contains(path)).collect()
    }

    /// The paths of a listing that count for the job, for what its Dockerfile reads or by their names.
    fn counted(&self, recipe: &Recipe, listing: &[TreeEntry]) -> BTreeSet<String> {
        // What counts by its name is among the inputs, except where those are all of the context.
        let named = recipe.whole.as_ref().map(|_| self.named(&recipe.job)).unwrap_or_default();
        let all =
            [&recipe.inputs, &named].into_iter().flat_map(|inputs| inputs.select(listing, self.ignore(recipe)).files);
        all.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }

    /// What the job reads: what its Dockerfile does, and what counts by its name. All of the context counts where a
    /// link is on the way, or where it is not certain what BuildKit makes of the ignore file.
    fn effective(&self, recipe: &Recipe) -> Inputs {
        if let Some(fault) = &self.ignore(recipe).unclear {
            let because = format!("line {} of the ignore file: {}", fault.line, fault.what);
            return Inputs::Whole { line: None, because };
        }
        let Job { settings, files, .. } = &recipe.job;
        let is_root = files.context.as_str().is_empty();
        let whole = settings.inputs.iter().map(|path| Inputs::named(path)).find(|named| is_root && named.is_whole());
        let inputs = recipe.inputs.clone().union(whole.unwrap_or_default());
        inputs.union(self.named(&recipe.job)).through_links(&self.entries)
    }

    /// What has to be there; nothing, where a link is on the way or it is not certain what is ignored.
    fn needed(&self, recipe: &Recipe) -> Inputs {
        let is_certain = self.ignore(recipe).unclear.is_none();
        let named = recipe.named.clone().through_links(&self.entries);
        if is_certain && !named.is_whole() { named } else { Inputs::default() }
    }

    /// The files that count by their names, whatever the Dockerfile copies and whatever is ignored.
    fn named(&self, job: &Job) -> Inputs {
        let JobFiles { dockerfile, context, .. } = &job.files;
        let ignore_files = [format!("{dockerfile}.dockerignore"), context.join(".dockerignore").into_string()];
        let own = ignore_files.into_iter().chain([job.files.settings_file().into_string(), dockerfile.to_string()]);
        let named = own.chain(job.settings.inputs.iter().cloned()).map(|path| {
            let named = Inputs::named(&path);
            // All of the context is less than all of the repository, where a link may lead to.
            let is_whole = !context.as_str().is_empty() && named.clone().through_links(&self.entries).is_whole();
            if is_whole { Inputs::everything() } else { named }
        });
        named.filter(|named| !named.is_whole()).fold(Inputs::default(), Inputs::union)
    }

    /// All of the context. Unless it is ignored, git's own folder is part of it, and another in every commit.
    fn hash_of_context(&self, selected: &Matched<'_>, ignore: &Ignore) -> [u8; 32] {
        let history = self.commit.as_ref().filter(|_| !ignore.ignored(b".git/HEAD"));
        hash_of_files(selected.files.iter().copied().chain(&selected.empty), history)
    }

    /// Sources that are neither in the commit nor on the disk, and those that are kept out of the context.
    fn missing(&self, ctx: &Context, job: &Job, needed: &Matched<'_>) -> Vec<Problem> {
        let at = |source: &ContextPath| format!("{}:{}", job.files.dockerfile, source.line.unwrap_or(1));
        let ignored = needed.ignored.iter().map(|source| {
            let what = format!("`{}` is kept out of the build context by .dockerignore", source.written);
            Problem::new(at(source), what).help("copy something else, or except it there with `!`")
        });
        let missing = needed.missing.iter().filter(|source| !is_on_disk(ctx, source)).map(|source| {
            let written = source.written.trim_start_matches(['.', '/']);
            let is_there = |path: &Utf8Path| !written.is_empty() && ctx.root.join(path).exists();
            let (in_job, context) = (job.files.dir.join(written), job.files.context.as_str());
            let rule = match context {
                "" => ROOT_RULE.to_owned(),
                _ => format!("paths start at `{context}`, which is the build context"),
            };
            let problem = Problem::new(at(source), format!("there is no `{}` to copy", source.written)).rule(rule);
            match context {
                "" if is_there(&in_job) => problem.help(format!("did you mean `{in_job}`?")),
                context if !context.is_empty() && is_there(written.into()) => problem.help(
                    "it is in the repository's root: to copy it from there, write \"context\": \".\" in job.json",
                ),
                _ => self.nearest(problem.help("add the file, or mend the path"), &source.path),
            }
        });
        ignored.chain(missing).collect()
    }

    /// Names the file of the same folder whose name is nearest.
    fn nearest(&self, problem: Problem, path: &str) -> Problem {
        let split = |path| str::rsplit_once(path, '/').unwrap_or(("", path));
        let (folder, name) = split(path);
        let paths = self.entries.iter().filter_map(|entry| std::str::from_utf8(&entry.path).ok());
        problem.did_you_mean(name, paths.map(split).filter(|(of, _)| *of == folder).map(|(_, sibling)| sibling))
    }

    /// The first thing that counts and is not committed; the job's own Dockerfile before all.
    fn first_uncommitted(&self, ctx: &Context, recipe: &Recipe, selected: &Matched<'_>) -> Option<String> {
        let dockerfile = &recipe.job.files.dockerfile;
        let of_path = |entry: &TreeEntry| entry.path.as_slice().cmp(dockerfile.as_str().as_bytes());
        if self.entries.binary_search_by(of_path).is_err() {
            return Some(dockerfile.to_string());
        }
        let on_disk = || selected.missing.iter().find(|source| is_on_disk(ctx, source));
        self.counted(recipe, &self.uncommitted).pop_first().or_else(|| on_disk().map(|source| source.path.clone()))
    }
}

/// Inputs with names that BuildKit does not take.
fn unreadable(job: &Job, selected: &Matched<'_>) -> Vec<Problem> {
    let is_unreadable = |entry: &&&TreeEntry| std::str::from_utf8(&entry.path).is_err();
    let unreadable = selected.files.iter().filter(is_unreadable).map(|entry| {
        let what = format!("`{}` is an input, and its name is not UTF-8", String::from_utf8_lossy(&entry.path));
        Problem::new(job.files.dockerfile.as_str(), what)
            .rule("BuildKit takes no file with another name into a build")
            .help("rename the file, or list it in .dockerignore")
    });
    unreadable.collect()
}

fn is_on_disk(ctx: &Context, source: &ContextPath) -> bool {
    ctx.root.join(&source.path).symlink_metadata().is_ok()
}

/// A path that git lists; a folder ends with a slash.
fn path_entry(path: &[u8]) -> TreeEntry {
    let (path, mode) = path.strip_suffix(b"/").map_or((path, FILE), |folder| (folder, FOLDER));
    TreeEntry { path: path.to_vec(), mode, blob: String::new() }
}

/// The ignore file of a job alone, or of its own context. BuildKit prefers the one that is named after the Dockerfile.
fn own_ignore(ctx: &Context, files: &JobFiles) -> Result<Option<Ignore>, Problem> {
    let JobFiles { dockerfile, context, .. } = files;
    let ignore = ignore_file(ctx, &format!("{dockerfile}.dockerignore"))?;
    if context.as_str().is_empty() {
        return Ok(ignore);
    }
    let ignore = match ignore {
        Some(ignore) => ignore,
        None => ignore_file(ctx, context.join(".dockerignore").as_str())?.unwrap_or_default(),
    };
    Ok(Some(ignore.of_context(context.as_str())))
}

fn ignore_file(ctx: &Context, shown: &str) -> Result<Option<Ignore>, Problem> {
    let path = ctx.root.join(shown);
    // A link that leads nowhere counts as no file, as it does for BuildKit.
    if !path.exists() {
        return Ok(None);
    }
    read_text(&path, shown).map(|text| Some(Ignore::parse(&text)))
}
