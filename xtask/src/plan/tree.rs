//! The commit's files, and which of them reach a job's image.

use std::sync::OnceLock;

use super::jobs::Job;
use super::recipe::Recipe;
use crate::dockerfile::{Ignore, Inputs, Missing, Selection, allow_list};
use crate::model::commit::Commit;
use crate::model::key::{Key, TreeEntry, hash_of_files};
use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::settings::job::JobSettings;
use crate::tools::git;

/// git's mode of a symbolic link.
const LINK: u32 = 0o120_000;

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
    /// git cannot answer.
    pub fn read(ctx: &Context) -> anyhow::Result<Tree> {
        let commit = git::head(ctx)?;
        let (entries, uncommitted) = match &commit {
            Some(commit) => (git::tree(ctx, commit, None)?, git::uncommitted(ctx)?),
            None => (Vec::new(), Vec::new()),
        };
        let ignore = ignore_file(ctx, ".dockerignore").unwrap_or_default();
        let uncommitted = uncommitted.into_iter().map(path_entry).collect();
        Ok(Tree { entries, uncommitted, commit, ignore, whole: OnceLock::new() })
    }

    /// The paths that differ from the commit, or are in no commit.
    pub fn uncommitted(&self) -> impl Iterator<Item = Vec<u8>> {
        self.uncommitted.iter().map(|entry| entry.path.clone())
    }

    /// Sets what follows from a job's files: its key, unless one of them is not committed or a base is not resolved.
    /// Gives the sources that are not there, with which a build cannot succeed.
    pub fn finish(&self, ctx: &Context, recipe: &mut Recipe) -> Vec<Problem> {
        let own = own_ignore_file(ctx, &recipe.job);
        let ignore = own.as_ref().unwrap_or(&self.ignore);
        let selected = self.select(&recipe.job, &recipe.inputs, ignore);
        recipe.whole = selected.whole.as_ref().map(|(line, because)| match line {
            Some(line) => format!("{because} ({}:{line})", recipe.job.name.dockerfile()),
            None => because.clone(),
        });
        recipe.uncommitted = self.first_uncommitted(ctx, recipe, ignore, &selected);
        let missing = self.missing(ctx, &recipe.job, &selected);
        let context = recipe.whole.is_some().then(|| match own {
            Some(_) => self.hash_of_context(&selected.files, ignore),
            None => *self.whole.get_or_init(|| self.hash_of_context(&selected.files, ignore)),
        });
        let chosen = if recipe.whole.is_some() { Vec::new() } else { selected.files };
        let named = hash_of_files(merged(self.named(&recipe.job), chosen).into_iter(), None);
        recipe.expected.bases = recipe.digests();
        if recipe.uncommitted.is_none() && recipe.expected.bases.len() == recipe.bases.len() {
            let JobSettings { target, args, .. } = &recipe.job.settings;
            recipe.expected.key = Some(Key::of(target.as_deref(), args, &recipe.expected.bases, named, context));
        }
        missing
    }

    /// The ignore file by which BuildKit sees the very files that were hashed for the key; `None` where there is no key,
    /// or where all of the context counts and nothing is filtered.
    pub fn allow_list(&self, ctx: &Context, recipe: &Recipe) -> Option<String> {
        if recipe.expected.key.is_none() || recipe.whole.is_some() {
            return None;
        }
        let own = own_ignore_file(ctx, &recipe.job);
        let selected = self.select(&recipe.job, &recipe.inputs, own.as_ref().unwrap_or(&self.ignore));
        let files = merged(self.named(&recipe.job), selected.files);
        Some(allow_list(files.iter().map(|entry| entry.path.as_slice())))
    }

    /// Those of the paths that count for the job, sorted.
    pub fn counting(&self, ctx: &Context, recipe: &Recipe, paths: &[Vec<u8>]) -> Vec<String> {
        let paths: Vec<TreeEntry> = paths.iter().cloned().map(path_entry).collect();
        let own = own_ignore_file(ctx, &recipe.job);
        let ignore = own.as_ref().unwrap_or(&self.ignore);
        let inputs = effective(&recipe.inputs, recipe.whole.as_deref());
        let named = named_paths(&recipe.job).into_iter().flat_map(|path| below(&paths, &path));
        let all = merged(named.collect(), inputs.select(&paths, ignore).files);
        all.into_iter().map(|entry| shown(&entry.path)).collect()
    }
}

impl Tree {
    /// The files that the Dockerfile reads; all of them where it is a link, as nothing tells then what it is read from.
    fn select<'a>(&'a self, job: &Job, inputs: &Inputs, ignore: &Ignore) -> Selection<'a> {
        let dockerfile = job.name.dockerfile();
        let is_link = below(&self.entries, dockerfile.as_str()).iter().any(|entry| entry.mode == LINK);
        let because = || format!("{dockerfile} is a symbolic link");
        match is_link {
            true => Inputs::Whole { line: None, because: because() }.select(&self.entries, ignore),
            false => inputs.select(&self.entries, ignore),
        }
    }

    /// The files that count by their names, whatever the Dockerfile copies.
    fn named(&self, job: &Job) -> Vec<&TreeEntry> {
        named_paths(job).iter().flat_map(|path| below(&self.entries, path)).collect()
    }

    /// All of the context. Unless it is ignored, git's own folder is part of it, and another in every commit.
    fn hash_of_context(&self, entries: &[&TreeEntry], ignore: &Ignore) -> [u8; 32] {
        let history = self.commit.as_ref().filter(|_| !ignore.ignored(b".git/HEAD"));
        hash_of_files(entries.iter().copied(), history)
    }

    /// The first thing that counts and is not committed; the job's own Dockerfile before all.
    fn first_uncommitted(
        &self,
        ctx: &Context,
        recipe: &Recipe,
        ignore: &Ignore,
        selected: &Selection<'_>,
    ) -> Option<String> {
        let dockerfile = recipe.job.name.dockerfile();
        if below(&self.entries, dockerfile.as_str()).is_empty() {
            return Some(dockerfile.into_string());
        }
        let inputs = effective(&recipe.inputs, recipe.whole.as_deref());
        let named = named_paths(&recipe.job);
        let differing = inputs.select(&self.uncommitted, ignore).files.into_iter();
        let differing = differing.chain(named.iter().flat_map(|path| below(&self.uncommitted, path)));
        let mut paths = named.iter().map(String::as_str).chain(inputs.paths());
        let first = differing.map(|entry| shown(&entry.path)).next();
        first.or_else(|| paths.find_map(|path| self.inside_uncommitted(path))).or_else(|| {
            let on_disk = |missing: &&Missing| !missing.is_pattern && is_on_disk(ctx, missing);
            selected
                .missing
                .iter()
                .find(on_disk)
                .map(|missing| missing.source.trim_start_matches(['.', '/']).to_owned())
        })
    }

    /// git tells of a folder that is in no commit by its name alone: what is below it is not committed either.
    fn inside_uncommitted(&self, path: &str) -> Option<String> {
        let inside = |entry: &&TreeEntry| {
            path.as_bytes().strip_prefix(entry.path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        self.uncommitted.iter().find(inside).map(|entry| shown(&entry.path))
    }

    /// Sources that are neither in the commit nor on the disk.
    fn missing(&self, ctx: &Context, job: &Job, selected: &Selection<'_>) -> Vec<Problem> {
        let missing = selected.missing.iter().filter(|missing| !missing.is_pattern && !is_on_disk(ctx, missing));
        missing.map(|missing| no_such_source(ctx, job, missing)).collect()
    }
}

fn is_on_disk(ctx: &Context, missing: &Missing) -> bool {
    !missing.is_ignored && ctx.root.join(missing.source.trim_start_matches('/')).symlink_metadata().is_ok()
}

fn no_such_source(ctx: &Context, job: &Job, missing: &Missing) -> Problem {
    let at = format!("{}:{}", job.name.dockerfile(), missing.line);
    if missing.is_ignored {
        let what = format!("`{}` is kept out of the build context by .dockerignore", missing.source);
        return Problem::new(at, what).help("copy something else, or except it there with `!`");
    }
    let in_job = job.name.dir().join(missing.source.trim_start_matches(['.', '/']));
    let help = match ctx.root.join(&in_job).exists() {
        true => format!("did you mean `{in_job}`?"),
        false => "add the file, or mend the path".to_owned(),
    };
    Problem::new(at, format!("there is no `{}` to copy", missing.source))
        .rule("paths start at the repository's root, which is the build context")
        .help(help)
}

/// What counts once the links among the files are known too.
fn effective(inputs: &Inputs, whole: Option<&str>) -> Inputs {
    match whole {
        Some(because) => Inputs::Whole { line: None, because: because.to_owned() },
        None => inputs.clone(),
    }
}

fn named_paths(job: &Job) -> Vec<String> {
    let dockerfile = job.name.dockerfile().into_string();
    let mut paths = vec![format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()];
    paths.push(job.name.settings_file().into_string());
    paths.push(dockerfile);
    paths.extend(job.settings.inputs.iter().map(|path| path.trim_matches('/').trim_start_matches("./").to_owned()));
    paths
}

/// The entry of this path, and those below it. (Sorted by bytes, they need not stand side by side: `a-b` is before `a/b`.)
fn below<'a>(entries: &'a [TreeEntry], path: &str) -> Vec<&'a TreeEntry> {
    if path.is_empty() || path == "." {
        return entries.iter().collect();
    }
    let start = |prefix: &[u8]| entries.partition_point(|entry| entry.path.as_slice() < prefix);
    let folder = format!("{path}/").into_bytes();
    let file = entries.get(start(path.as_bytes())).filter(|entry| entry.path == path.as_bytes());
    let inside = entries[start(&folder)..].iter().take_while(|entry| entry.path.starts_with(&folder));
    file.into_iter().chain(inside).collect()
}

/// Both, sorted by path, each once.
fn merged<'a>(some: Vec<&'a TreeEntry>, others: Vec<&'a TreeEntry>) -> Vec<&'a TreeEntry> {
    let mut all = others;
    all.extend(some);
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup();
    all
}

fn path_entry(path: Vec<u8>) -> TreeEntry {
    TreeEntry { path, mode: 0, blob: String::new() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// BuildKit prefers the ignore file that is named after the Dockerfile.
fn own_ignore_file(ctx: &Context, job: &Job) -> Option<Ignore> {
    ignore_file(ctx, &format!("{}.dockerignore", job.name.dockerfile()))
}

fn ignore_file(ctx: &Context, path: &str) -> Option<Ignore> {
    std::fs::read_to_string(ctx.root.join(path)).ok().map(|text| Ignore::parse(&text))
}
