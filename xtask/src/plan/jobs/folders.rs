//! The folders that may be jobs: those in the folders that `jobs-dirs` names, and those that its patterns match.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{DirEntry, FileType};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use glob::MatchOptions;

use super::{note_of_dockerfiles, unread};
use crate::model::{DOCKERFILE, Exit, Failure, JOBS_DIR, Problem, SETTINGS_FILE, clean, is_pattern};
use crate::run::Context;

const RULE: &str = "jobs are the folders under `jobs/`, or under what `jobs-dirs` in Cargo.toml names";

/// What no pattern means: this tool, with its templates of jobs, and what is built.
pub const OWN: [&str; 2] = ["xtask", "target"];

/// A folder, or a link, that may be a job.
pub struct Folder {
    path: PathBuf,
    /// From the repository's root.
    pub shown: String,
    file_type: FileType,
    pub origin: Origin,
}

/// What a folder stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a folder that holds jobs.
    Listed,
    /// A pattern matches it.
    Matched,
}

/// All of them, each once, sorted by path within each folder.
///
/// # Errors
/// A folder of jobs is not there or cannot be read, with exit code 2.
pub fn all(ctx: &Context, jobs_dirs: &[String]) -> anyhow::Result<Vec<Folder>> {
    let (mut folders, mut problems) = (Vec::new(), Vec::new());
    for dir in jobs_dirs {
        match if is_pattern(dir) { matching(ctx, dir) } else { in_folder(ctx, &clean(dir)) } {
            Ok(found) => folders.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    for problem in problems.iter_mut().filter(|problem| problem.help.is_none()) {
        let note = if folders.is_empty() { note_of_dockerfiles(ctx, jobs_dirs, &[], &[]) } else { None };
        problem.help = Some(first_job(&problem.at, note));
    }
    Failure::unless_empty(Exit::Usage, problems)?;
    let mut seen = BTreeSet::new();
    folders.retain(|folder: &Folder| seen.insert(folder.shown.clone()));
    Ok(folders)
}

/// The remedy where a folder of jobs is not there: what is elsewhere goes before what is new.
fn first_job(dir: &str, elsewhere: Option<Problem>) -> String {
    match elsewhere {
        Some(Problem { at, help: Some(help), .. }) => format!("there are {at}: {help}"),
        _ if dir == JOBS_DIR => "make the first job: cargo xtask new <name>".to_owned(),
        _ => format!("make the first job: a folder `{dir}/<name>` with a Dockerfile"),
    }
}

/// What is in a folder; the problem has no help where there is no such folder.
fn in_folder(ctx: &Context, dir: &str) -> Result<Vec<Folder>, Problem> {
    let shown = if dir.is_empty() { "." } else { dir };
    let mut path = ctx.root.join(dir);
    let problem = |what: String| Problem::new(shown, what).rule(RULE);
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_dir() && !metadata.is_symlink() => {
            let problem = problem("not a folder".to_owned());
            return Err(problem.help("make it a folder, with a folder in it for each job"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(problem(format!("there is no such folder in {}", ctx.root)));
        }
        // Any other mistake is met when the folder is read.
        Err(_) => {}
        // A link may also stand further up.
        Ok(_) => {
            let real = led_to(ctx, path.as_std_path(), shown);
            path = real.map_err(|problem| problem.help("replace the link by the folder"))?;
        }
    }
    // Not by walkdir, which opens each folder that it lists.
    let entries = path.read_dir().and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| unread(shown, error))?;
    entries.sort_by_cached_key(DirEntry::file_name);
    let folder = |entry: &DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let shown = if dir.is_empty() { name.into_owned() } else { format!("{dir}/{name}") };
        let file_type = entry.file_type().map_err(|error| unread(&shown, error))?;
        Ok(Folder { path: entry.path(), shown, file_type, origin: Origin::Listed })
    };
    entries.iter().map(folder).collect()
}

fn matching(ctx: &Context, pattern: &str) -> Result<Vec<Folder>, Problem> {
    let cleaned = clean(pattern);
    let from_root = format!("{}/{cleaned}", glob::Pattern::escape(ctx.root.as_str()));
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let unread = |error: &dyn std::fmt::Display| unread(pattern, error);
    let found = glob::glob_with(&from_root, options).map_err(|error| unread(&error))?;
    let mut folders = Vec::new();
    for path in found {
        let path = path.map_err(|error| unread(&error.error()))?;
        let shown = path.strip_prefix(&ctx.root).unwrap_or(&path).to_string_lossy().into_owned();
        if shown.split('/').next().is_some_and(|first| OWN.contains(&first)) {
            continue;
        }
        let file_type = path.symlink_metadata().map_err(|error| super::unread(&shown, error))?.file_type();
        let folder = Folder { path, shown, file_type, origin: Origin::Matched };
        // Where it cannot be read, that is the folder's own problem.
        match folder.is_group().then(|| in_folder(ctx, &folder.shown)) {
            Some(Ok(within)) => folders.extend(within),
            _ => folders.push(folder),
        }
    }
    if folders.is_empty() {
        let problem = Problem::new(format!("jobs-dirs: `{pattern}`"), format!("matches nothing in {}", ctx.root));
        return Err(problem.rule(RULE).help("mend the pattern, or remove it"));
    }
    Ok(folders)
}

impl Folder {
    pub fn is_hidden(&self) -> bool {
        self.path.file_name().is_some_and(|name: &OsStr| name.as_encoded_bytes().starts_with(b"."))
    }

    /// Whether it is no job itself, and may hold some.
    fn is_group(&self) -> bool {
        let holds = |name| self.path.join(name).symlink_metadata().is_ok();
        !self.is_hidden() && self.path.is_dir() && !holds(DOCKERFILE) && !holds(SETTINGS_FILE)
    }

    /// The folder itself, where a link leads to it; `None` if this is none.
    ///
    /// # Errors
    /// The link leaves the repository, or leads nowhere.
    pub fn real(&self, ctx: &Context) -> Result<Option<PathBuf>, Problem> {
        // A link to a file, such as a README, cannot be mistaken for a job.
        if !self.file_type.is_dir() && (!self.file_type.is_symlink() || self.path.is_file()) {
            return Ok(None);
        }
        // A pattern may match what is behind a link.
        if self.file_type.is_dir() && self.origin == Origin::Listed {
            return Ok(Some(self.path.clone()));
        }
        let real = led_to(ctx, &self.path, &self.shown);
        real.map(|real| Some(real.into())).map_err(|problem| problem.help("replace the link by the folder"))
    }
}

/// Where a link leads to, within the repository.
///
/// # Errors
/// It leaves the repository, or leads nowhere.
pub fn led_to(ctx: &Context, path: &Path, shown: &str) -> Result<Utf8PathBuf, Problem> {
    let nowhere = |error| {
        Problem::new(shown, format!("a link that leads nowhere: {error}"))
            .rule("links are followed within the repository")
    };
    let root = ctx.root.canonicalize_utf8().map_err(nowhere)?;
    let real = path.canonicalize().map_err(nowhere)?;
    match Utf8Path::from_path(&real).and_then(|real| real.strip_prefix(&root).ok()) {
        Some(real) => Ok(ctx.root.join(real)),
        None => Err(Problem::new(shown, "a link that leaves the repository")
            .rule("everything that makes an image is in the repository")),
    }
}
