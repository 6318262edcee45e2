//! The repository's files as git knows them, and which of them can reach a job's image.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::inputs::{self, Entry, Inputs, Missing, Selected, Source};
use crate::dockerfile::instruction::Dockerfile;
use crate::model::arch::Arch;
use crate::model::job::{Job, SETTINGS_FILE};
use crate::model::key::FilesHash;
use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::tools::git;

/// git's mode of a symbolic link.
const LINK: u32 = 0o120_000;

/// The files of the build context.
pub struct Tree {
    /// Sorted by path.
    entries: Vec<Entry>,
    /// What differs from the commit, or is in no commit: sorted by path, folders without their final slash.
    uncommitted: Vec<Entry>,
    commit: Option<String>,
    ignore: Ignore,
    /// The hash of all of the context, which many jobs may need.
    whole: OnceLock<FilesHash>,
}

/// The files that can reach one job's image.
pub struct Files {
    /// Of the files that the job names.
    pub named: FilesHash,
    /// Of all of the context, where all of it counts.
    pub context: Option<FilesHash>,
    /// Why all of the context counts, if it does.
    pub whole: Option<String>,
    /// A file that counts and is not committed.
    pub uncommitted: Option<String>,
    /// Sources that are not there: such a build cannot succeed.
    pub missing: Vec<Problem>,
}

/// A job whose files are asked for.
pub struct Question<'a> {
    pub job: &'a Job,
    pub dockerfile: &'a Dockerfile,
    pub arches: &'a [Arch],
    /// A base image that brings instructions of its own, which may copy anything.
    pub triggers: Option<&'a str>,
}

impl Tree {
    /// The tree as it is checked out.
    pub fn read(ctx: &Context) -> anyhow::Result<Tree> {
        let commit = git::head(ctx)?;
        let uncommitted = match &commit {
            Some(_) => git::uncommitted(ctx)?.into_iter().map(path_entry).collect(),
            None => Vec::new(),
        };
        Ok(Tree {
            entries: git::entries(ctx)?,
            uncommitted,
            commit,
            ignore: ignore(ctx, ".dockerignore").unwrap_or_default(),
            whole: OnceLock::new(),
        })
    }

    /// The files that can reach a job's image.
    pub fn files(&self, ctx: &Context, question: &Question<'_>) -> Files {
        let inputs = reach(question);
        let own = ignore(ctx, &format!("{}.dockerignore", question.job.dockerfile()));
        // BuildKit prefers the file that is named after the Dockerfile.
        let ignore = own.as_ref().unwrap_or(&self.ignore);
        let selected = self.selected(&inputs, question, ignore);
        let whole = selected.whole.as_ref().map(|(line, because)| match line {
            Some(line) => format!("{because} ({}:{line})", question.job.dockerfile()),
            None => because.clone(),
        });
        let named = self.named(question.job);
        let context = whole.is_some().then(|| match own {
            Some(_) => self.context(&selected.entries, ignore),
            None => *self.whole.get_or_init(|| self.context(&selected.entries, ignore)),
        });
        let chosen = if whole.is_some() { Vec::new() } else { selected.entries };
        let inputs = effective(inputs, whole.as_deref());
        let (uncommitted, missing) = self.not_as_committed(ctx, &inputs, question, ignore, &selected.missing);
        Files { named: FilesHash::of(merged(named, chosen).into_iter(), None), context, whole, uncommitted, missing }
    }

    /// Those of the paths that count for the job, sorted.
    pub fn counting(&self, ctx: &Context, question: &Question<'_>, paths: &[Vec<u8>]) -> Vec<String> {
        let paths: Vec<Entry> = paths.iter().cloned().map(path_entry).collect();
        let own = ignore(ctx, &format!("{}.dockerignore", question.job.dockerfile()));
        let ignore = own.as_ref().unwrap_or(&self.ignore);
        let inputs = reach(question);
        let whole = self.selected(&inputs, question, ignore).whole.map(|(_, because)| because);
        let selected = inputs::select(&effective(inputs, whole.as_deref()), &paths, ignore);
        let named = named_paths(question.job).into_iter().flat_map(|path| below(&paths, &path));
        let all = merged(named.collect(), selected.entries);
        all.into_iter().map(|entry| shown(&entry.path)).collect()
    }

    fn selected(&self, inputs: &Inputs, question: &Question<'_>, ignore: &Ignore) -> Selected<'_> {
        let dockerfile = question.job.dockerfile();
        let is_link = below(&self.entries, dockerfile.as_str()).iter().any(|entry| entry.mode == LINK);
        match is_link {
            true => {
                let because = format!("{dockerfile} is a symbolic link");
                inputs::select(&Inputs::Whole { line: None, because }, &self.entries, ignore)
            }
            false => inputs::select(inputs, &self.entries, ignore),
        }
    }

    /// The files that count by their names, whatever the Dockerfile copies.
    fn named(&self, job: &Job) -> Vec<&Entry> {
        named_paths(job).iter().flat_map(|path| below(&self.entries, path)).collect()
    }

    /// All of the context. Unless it is ignored, git's own folder is part of it, and another in every commit.
    fn context(&self, entries: &[&Entry], ignore: &Ignore) -> FilesHash {
        let history = self.commit.as_deref().filter(|_| !ignore.ignored(b".git/HEAD"));
        FilesHash::of(entries.iter().copied(), history)
    }

    fn not_as_committed(
        &self,
        ctx: &Context,
        inputs: &Inputs,
        question: &Question<'_>,
        ignore: &Ignore,
        missing: &[Missing],
    ) -> (Option<String>, Vec<Problem>) {
        let job = question.job;
        let mut uncommitted = inputs::select(inputs, &self.uncommitted, ignore).entries;
        uncommitted.extend(named_paths(job).iter().flat_map(|path| below(&self.uncommitted, path)));
        let mut first = uncommitted.first().map(|entry| shown(&entry.path));
        if let Inputs::Paths(sources) = inputs {
            first = first.or_else(|| sources.iter().find_map(|source| self.inside_uncommitted(source)));
        }
        let mut problems = Vec::new();
        for missing in missing.iter().filter(|missing| !missing.is_pattern) {
            match check_missing(ctx, job, missing) {
                Ok(path) => drop(first.get_or_insert(path)),
                Err(problem) => problems.push(problem),
            }
        }
        (first, problems)
    }

    /// git tells of a folder that is in no commit by its name alone: what is below it is not committed either.
    fn inside_uncommitted(&self, source: &Source) -> Option<String> {
        let inside = |entry: &&Entry| {
            source.path.as_bytes().strip_prefix(entry.path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        self.uncommitted.iter().find(inside).map(|entry| shown(&entry.path))
    }
}

/// A source that git does not know is an error where it is not on the disk either.
fn check_missing(ctx: &Context, job: &Job, missing: &Missing) -> Result<String, Problem> {
    let at = format!("{}:{}", job.dockerfile(), missing.line);
    let path = missing.source.trim_start_matches(['.', '/']);
    if missing.is_ignored {
        let what = format!("`{}` is kept out of the build context by .dockerignore", missing.source);
        return Err(Problem::new(at, what).help("copy something else, or except it there with `!`"));
    }
    if ctx.root.join(missing.source.trim_start_matches('/')).symlink_metadata().is_ok() {
        return Ok(path.to_owned());
    }
    let in_job = job.dir().join(path);
    let help = match ctx.root.join(&in_job).exists() {
        true => format!("did you mean `{in_job}`?"),
        false => "add the file, or mend the path".to_owned(),
    };
    Err(Problem::new(at, format!("there is no `{}` to copy", missing.source))
        .rule("paths start at the repository's root, which is the build context")
        .help(help))
}

/// What the Dockerfile reads of the context, on any architecture.
fn reach(question: &Question<'_>) -> Inputs {
    if let Some(base) = question.triggers {
        return Inputs::Whole { line: None, because: format!("the base {base} has ONBUILD instructions") };
    }
    let of_arch = |&arch: &Arch| inputs::inputs(question.dockerfile, &question.job.settings.args, arch, arch);
    question.arches.iter().map(of_arch).reduce(Inputs::and).unwrap_or(Inputs::Paths(BTreeSet::new()))
}

/// What counts once the links among the files are known too.
fn effective(inputs: Inputs, whole: Option<&str>) -> Inputs {
    match whole {
        Some(because) => Inputs::Whole { line: None, because: because.to_owned() },
        None => inputs,
    }
}

fn named_paths(job: &Job) -> Vec<String> {
    let dockerfile = job.dockerfile().into_string();
    let mut paths = vec![format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()];
    paths.push(job.dir().join(SETTINGS_FILE).into_string());
    paths.push(dockerfile);
    paths.extend(job.settings.inputs.iter().map(|path| path.trim_matches('/').trim_start_matches("./").to_owned()));
    paths
}

/// The entry of this path, and those below it. (Sorted by bytes, they need not stand side by side: `a-b` is before `a/b`.)
fn below<'a>(entries: &'a [Entry], path: &str) -> Vec<&'a Entry> {
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
fn merged<'a>(some: Vec<&'a Entry>, others: Vec<&'a Entry>) -> Vec<&'a Entry> {
    let mut all = others;
    all.extend(some);
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup();
    all
}

fn path_entry(path: Vec<u8>) -> Entry {
    Entry { path, mode: 0, blob: String::new() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn ignore(ctx: &Context, path: &str) -> Option<Ignore> {
    std::fs::read_to_string(ctx.root.join(path)).ok().map(|text| Ignore::parse(&text))
}
