//! Finding the jobs: the folders under `jobs/` with a `Dockerfile`, and every reason why one cannot be a job.

use std::fmt::Display;
use std::fs::{DirEntry, FileType};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::model::{Arch, DOCKERFILE, Exit, Failure, JOBS_DIR, JobName, NAME_RULE, Problem, SETTINGS_FILE};
use crate::run::{Context, fleet};
use crate::settings::{Config, JobSettings, job_settings};

/// A directory `jobs/<name>` that holds a `Dockerfile`.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: JobName,
    /// Position among all jobs of the commit, sorted by name.
    pub position: usize,
    /// What it is built for: its own architectures, else the repository's. Sorted.
    pub arches: Vec<Arch>,
    pub settings: JobSettings,
}

/// All jobs of the repository, by name.
///
/// # Errors
/// Everything under `jobs/` that looks like a job and cannot be one, at once, with exit code 2.
fn all(ctx: &Context, config: &Config) -> anyhow::Result<Vec<Job>> {
    let dir = ctx.root.join(JOBS_DIR);
    check_folder(ctx, &dir)?;
    // Not by walkdir, which opens each folder that it lists.
    let entries = dir.read_dir().and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| unread(JOBS_DIR, error).exit(Exit::Usage))?;
    entries.sort_by_cached_key(DirEntry::file_name);
    let jobs = fleet::on_all_cores(ctx, &entries, |entry| {
        candidate(ctx, config, entry).map_err(|problems| Failure::of(Exit::Usage, problems))
    })?;
    let mut jobs: Vec<Job> = jobs.into_iter().flatten().collect();
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    for (position, job) in jobs.iter_mut().enumerate() {
        job.position = position;
    }
    let named: Vec<_> = jobs.iter().map(|job| (&job.name, job.settings.secrets.as_slice())).collect();
    Failure::unless_empty(Exit::Usage, config.secrets.check(&named))?;
    Ok(jobs)
}

fn check_folder(ctx: &Context, dir: &Utf8Path) -> anyhow::Result<()> {
    match dir.symlink_metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            let what = if metadata.is_symlink() { "a link, not a folder" } else { "not a folder" };
            Err(Problem::new(JOBS_DIR, what)
                .rule("jobs are the folders under `jobs/`")
                .help("make it a folder, with a folder in it for each job")
                .exit(Exit::Usage))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Problem::new(JOBS_DIR, format!("there is no such folder in {}", ctx.root))
                .rule("jobs are the folders under `jobs/`")
                .help("make the first job: a folder `jobs/<name>` with a Dockerfile")
                .exit(Exit::Usage))
        }
        // Any other mistake is met when the folder is read.
        _ => Ok(()),
    }
}

/// The jobs that were named, or all. An unknown name is an error: never nothing, and never everything.
///
/// # Errors
/// Names that are not those of jobs, with exit code 2.
pub fn select_jobs(ctx: &Context, config: &Config, names: &[String]) -> anyhow::Result<Vec<Job>> {
    let mut jobs = all(ctx, config)?;
    if names.is_empty() {
        return Ok(jobs);
    }
    // Completion by the shell gives the folder.
    let typed = names.iter().map(|name| name.strip_prefix("jobs/").unwrap_or(name).trim_end_matches('/'));
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        typed.partition(|&typed| jobs.iter().any(|job| job.name.as_str() == typed));
    let problem = |typed: &&str| {
        Problem::new(format!("job `{typed}`"), "there is no such job")
            .help("cargo xtask discover --format table lists the jobs")
            .did_you_mean(typed, jobs.iter().map(|job| job.name.as_str()))
    };
    Failure::unless_empty(Exit::Usage, unknown.iter().map(problem).collect())?;
    jobs.retain(|job| known.contains(&job.name.as_str()));
    Ok(jobs)
}

/// A job, if the entry is one; `None` if it is not meant to be.
fn candidate(ctx: &Context, config: &Config, entry: &DirEntry) -> Result<Option<Job>, Vec<Problem>> {
    let (path, file_name) = (entry.path(), entry.file_name());
    let shown = format!("{JOBS_DIR}/{}", file_name.to_string_lossy());
    if file_name.as_encoded_bytes().starts_with(b".") {
        ctx.ui.detail("Skipped", format!("{shown}: hidden"));
        return Ok(None);
    }
    let file_type = entry.file_type().map_err(|error| vec![unread(&shown, error)])?;
    if file_type.is_symlink() {
        // A link to a file, such as a README, cannot be mistaken for a job.
        if path.is_file() {
            return Ok(None);
        }
        return Err(vec![
            Problem::new(shown, "a link")
                .rule("a job is a folder of its own: git does not follow links, and a link may leave the repository")
                .help("replace the link by the folder"),
        ]);
    }
    if !file_type.is_dir() {
        return Ok(None);
    }
    let files = names_in(&path).map_err(|error| vec![unread(&shown, error)])?;
    let has = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, file_type)| *file_type);
    let Some(file_type) = has(DOCKERFILE) else {
        return no_dockerfile(ctx, &shown, &files);
    };
    let Some(dir) = Utf8Path::from_path(&path) else {
        return Err(vec![Problem::new(shown, "its name is not UTF-8").rule(NAME_RULE).help("rename the folder")]);
    };
    let name = dir.file_name().unwrap_or_default().parse::<JobName>();
    let checks = [name.clone().map(drop), check_dockerfile(ctx, &dir.join(DOCKERFILE), file_type)];
    let mut problems: Vec<Problem> = checks.into_iter().filter_map(Result::err).collect();
    let settings = has(SETTINGS_FILE).map_or_else(|| Ok(JobSettings::default()), |_| settings(dir, &shown));
    let settings = settings.map_err(|mut found| problems.append(&mut found));
    match (name, settings) {
        (Ok(name), Ok(settings)) if problems.is_empty() => {
            let arches = arches(&settings, config);
            Ok(Some(Job { name, position: 0, arches, settings }))
        }
        _ => Err(problems),
    }
}

fn arches(settings: &JobSettings, config: &Config) -> Vec<Arch> {
    let mut arches = settings.arches.clone().unwrap_or_else(|| config.runners.keys().copied().collect());
    arches.sort_unstable();
    arches.dedup();
    arches
}

/// The names of what is in a folder, and what they are.
fn names_in(folder: &Path) -> std::io::Result<Vec<(String, FileType)>> {
    let entries = WalkDir::new(folder).min_depth(1).max_depth(1).into_iter();
    let described = |file: walkdir::DirEntry| (file.file_name().to_string_lossy().into_owned(), file.file_type());
    let names: walkdir::Result<_> = entries.map(|entry| entry.map(described)).collect();
    // Its own words would name the folder a second time, with its path on this machine.
    names.map_err(|error| error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into()))
}

fn unread(shown: &str, error: impl Display) -> Problem {
    Problem::new(shown, format!("could not be read: {error}"))
        .rule("nothing is skipped unseen")
        .help(format!("make it readable: chmod -R u+rX {shown}"))
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is not UTF-8, with line and column.
pub fn read_text(path: &Utf8Path, shown: &str) -> Result<String, Problem> {
    let bytes = std::fs::read(path).map_err(|error| unread(shown, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let (before, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let before = String::from_utf8_lossy(before);
        let (line, column) = before.split('\n').fold((0, 0), |(line, _), text| (line + 1, text.chars().count() + 1));
        let byte = rest.first().copied().unwrap_or_default();
        Problem::new(format!("{shown}:{line}:{column}"), format!("not UTF-8: the byte 0x{byte:02x}"))
            .rule("files that are read here are UTF-8 text")
            .help("save it as UTF-8")
    })
}

/// A folder without a Dockerfile is not meant to be a job, unless it looks like one.
fn no_dockerfile(ctx: &Context, shown: &str, files: &[(String, FileType)]) -> Result<Option<Job>, Vec<Problem>> {
    let problem = |name: &str, what| Problem::new(format!("{shown}/{name}"), what);
    if let Some((name, _)) = files.iter().find(|(name, _)| name.eq_ignore_ascii_case(DOCKERFILE)) {
        let rule = format!("the file is named `{DOCKERFILE}`, upper-case D, on every machine");
        let help = format!("git mv {shown}/{name} {shown}/{DOCKERFILE}");
        return Err(vec![problem(name, "not a job's Dockerfile").rule(rule).help(help)]);
    }
    if files.iter().any(|(name, _)| name == SETTINGS_FILE) {
        let what = "there is no such job: its folder has no Dockerfile";
        return Err(vec![problem(SETTINGS_FILE, what).help("add the Dockerfile, or remove the file")]);
    }
    ctx.ui.detail("Skipped", format!("{shown}: no {DOCKERFILE}"));
    Ok(None)
}

fn check_dockerfile(ctx: &Context, path: &Utf8PathBuf, file_type: FileType) -> Result<(), Problem> {
    let problem = |what: String| Problem::new(ctx.shown(path).into_string(), what);
    let is_a_file = |problem: Problem| {
        problem.rule(format!("`{DOCKERFILE}` is a file")).help("replace it by the file, or rename it")
    };
    if !file_type.is_symlink() {
        let what = if file_type.is_dir() { "a folder" } else { "neither a file nor a link" };
        return if file_type.is_file() { Ok(()) } else { Err(is_a_file(problem(what.to_owned()))) };
    }
    let real = ctx.root.canonicalize_utf8().and_then(|root| Ok((path.canonicalize_utf8()?, root)));
    match real {
        Ok((real, root)) if real.starts_with(&root) && real.is_file() => Ok(()),
        Ok((real, root)) if real.starts_with(&root) => {
            Err(is_a_file(problem("a link that does not lead to a file".to_owned())))
        }
        Ok(_) => Err(problem("a link that leaves the repository".to_owned())
            .rule("everything that makes an image is in the repository")
            .help("replace the link by the file")),
        Err(error) => {
            Err(problem(format!("a link that leads nowhere: {error}")).help("mend the link, or replace it by the file"))
        }
    }
}

fn settings(dir: &Utf8Path, shown: &str) -> Result<JobSettings, Vec<Problem>> {
    let at = format!("{shown}/{SETTINGS_FILE}");
    let text = read_text(&dir.join(SETTINGS_FILE), &at).map_err(|problem| vec![problem])?;
    job_settings(&at, &text)
}
