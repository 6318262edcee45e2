//! Finding the jobs: the folders with a `Dockerfile`, and every reason why one cannot be a job.

mod folders;
mod unreached;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::FileType;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use super::broken::BrokenJobs;
use crate::model::{
    Arch, DOCKERFILE, Exit, Failure, JOBS_DIR, JobFiles, JobName, NAME_RULE, Problem, SETTINGS_FILE, clean,
};
use crate::run::{Context, fleet};
use crate::settings::{Config, JobSettings, job_settings};
use folders::Folder;

pub use unreached::note_of_dockerfiles;

/// One image of a directory that holds a `Dockerfile`; most have one.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: JobName,
    pub files: JobFiles,
    /// Position among all jobs of the commit, sorted by name.
    pub position: usize,
    /// What it is built for: its own architectures, else the repository's. Sorted.
    pub arches: Vec<Arch>,
    pub settings: JobSettings,
}

/// All jobs of the repository, by name.
///
/// # Errors
/// Everything that looks like a job and cannot be one, at once, with exit code 2.
fn all(ctx: &Context, config: &Config, broken: &mut BrokenJobs) -> anyhow::Result<Vec<Job>> {
    let folders = folders::all(ctx, &config.jobs_dirs)?;
    let jobs = fleet::each_on_all_cores(ctx, &folders, |folder| {
        jobs_in(ctx, config, &folders, folder).map_err(|problems| Failure::of(Exit::Usage, problems))
    });
    let named = folders.iter().zip(jobs).map(|(folder, jobs)| {
        let name = folder.shown.rsplit('/').next().unwrap_or_default();
        (name.to_owned(), folder.shown.clone(), jobs)
    });
    let mut jobs: Vec<Job> = broken.part(named.collect())?.into_iter().flatten().collect();
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    // A link may lead to what is listed under the same name.
    jobs.dedup_by(|a, b| a.name == b.name && a.files == b.files);
    for (position, job) in jobs.iter_mut().enumerate() {
        job.position = position;
    }
    Failure::unless_empty(Exit::Usage, check_together(config, &jobs, broken))?;
    Ok(jobs)
}

/// What only all jobs together show: a name that two of them have, and what is allowed to none.
fn check_together(config: &Config, jobs: &[Job], broken: &BrokenJobs) -> Vec<Problem> {
    let twice = jobs.windows(2).enumerate().filter(|(_, pair)| pair[0].name == pair[1].name).map(|(at, pair)| {
        let (name, [one, other]) = (&pair[1].name, [&pair[0], &pair[1]].map(|job| &job.files.dir));
        let number = jobs[..=at].iter().filter(|job| job.name == *name).count() + 1;
        let image = format!("\"images\": {{\"{name}-{number}\": {{}}}}");
        Problem::new(other.as_str(), format!("the name `{name}` is that of {one} too"))
            .rule("a job's name is the name of its repository, and no other job's")
            .help(format!("rename the folder, or only its image, in {other}/{SETTINGS_FILE}: {image}"))
    });
    let broken = broken.aside().iter().map(|broken| broken.name.as_str());
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).chain(broken).collect();
    let allowed = [&config.secrets, &config.env_args, &config.ssh];
    twice.chain(allowed.into_iter().flat_map(|allowed| allowed.for_nobody(&names))).collect()
}

/// The jobs that were named, or all. An unknown name is an error: never nothing, and never everything. The name of a
/// folder stands for all of its jobs.
///
/// # Errors
/// Names that are not those of jobs, and jobs that are broken unless they are put aside, with exit code 2.
pub fn select_jobs(
    ctx: &Context,
    config: &Config,
    names: &[String],
    broken: &mut BrokenJobs,
) -> anyhow::Result<Vec<Job>> {
    let mut jobs = all(ctx, config, broken)?;
    if names.is_empty() {
        return Ok(jobs);
    }
    let typed: Vec<Typed> = names.iter().map(|name| Typed::new(ctx, name.trim_end_matches('/'))).collect();
    let found = jobs.iter().map(|job| (job.name.as_str(), job.files.dir.as_path()));
    let put_aside = broken.aside().iter().map(|broken| (broken.name.as_str(), Utf8Path::new(&broken.folder)));
    let known = Handles::of(found.chain(put_aside));
    let unknown = typed.iter().filter(|typed| !typed.is_one_of(&known));
    let problem = |Typed { text, .. }: &Typed| {
        let mut folders = config.jobs_dirs.iter().map(|dir| Utf8PathBuf::from(clean(dir)).join(text));
        let folder = folders.find(|folder| JobName::at("", text).is_ok() && ctx.root.join(folder).is_dir());
        let why = folder.map_or_else(String::new, |folder| format!(": {folder} has no {DOCKERFILE}"));
        Problem::new(format!("job `{text}`"), format!("there is no such job{why}"))
            .help("cargo xtask discover --format table lists the jobs")
            .did_you_mean(text, jobs.iter().map(|job| job.name.as_str()))
    };
    Failure::unless_empty(Exit::Usage, unknown.map(problem).collect())?;
    let wanted = Handles::of_typed(&typed);
    jobs.retain(|job| wanted.include(job.name.as_str(), &job.files.dir));
    broken.retain(|broken| wanted.include(&broken.name, Utf8Path::new(&broken.folder)));
    Ok(jobs)
}

/// What was typed for a job: its name, that of its folder, or the folder's path, from the root as completion by the
/// shell gives it, or from where this was started, such as `.`.
struct Typed<'a> {
    text: &'a str,
    /// Without the usual folder before it.
    name: &'a str,
    /// The folder that it leads to, if it is a path.
    folder: Option<Utf8PathBuf>,
}

impl Typed<'_> {
    fn new<'a>(ctx: &Context, text: &'a str) -> Typed<'a> {
        let name = text.strip_prefix(JOBS_DIR).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
        let is_path = text.starts_with('.') || text.contains('/');
        Typed { text, name, folder: ctx.typed_path(text).filter(|_| is_path) }
    }

    fn is_one_of(&self, known: &Handles) -> bool {
        known.names.contains(self.name)
            || known.folder_names.contains(self.text)
            || known.folders.contains(Utf8Path::new(self.text))
            || self.folder.as_ref().is_some_and(|folder| known.folders.contains(folder.as_path()))
    }
}

/// By what jobs can be found. Many names may be typed of many jobs, so no list is gone through for each.
#[derive(Default)]
struct Handles<'a> {
    names: BTreeSet<&'a str>,
    folder_names: BTreeSet<&'a str>,
    folders: BTreeSet<&'a Utf8Path>,
}

impl<'a> Handles<'a> {
    fn of(jobs: impl Iterator<Item = (&'a str, &'a Utf8Path)>) -> Handles<'a> {
        let mut handles = Handles::default();
        for (name, folder) in jobs {
            handles.names.insert(name);
            handles.folder_names.extend(folder.file_name());
            handles.folders.insert(folder);
        }
        handles
    }

    fn of_typed(typed: &'a [Typed<'a>]) -> Handles<'a> {
        let texts = || typed.iter().map(|typed| typed.text);
        Handles {
            names: typed.iter().map(|typed| typed.name).collect(),
            folder_names: texts().collect(),
            folders: texts()
                .map(Utf8Path::new)
                .chain(typed.iter().filter_map(|typed| typed.folder.as_deref()))
                .collect(),
        }
    }

    /// Whether a job of this name and folder is among what these were typed for.
    fn include(&self, name: &str, folder: &Utf8Path) -> bool {
        self.names.contains(name)
            || folder.file_name().is_some_and(|name| self.folder_names.contains(name))
            || self.folders.contains(folder)
    }
}

/// The jobs of a folder: one for each image; none if it is not meant to be a job.
fn jobs_in(ctx: &Context, config: &Config, all: &[Folder], folder: &Folder) -> Result<Vec<Job>, Vec<Problem>> {
    let one = |problem| vec![problem];
    if folder.is_hidden() {
        ctx.ui.detail("Skipped", format!("{}: hidden", folder.shown));
        return Ok(Vec::new());
    }
    let Some(path) = folder.real(ctx).map_err(one)? else { return Ok(Vec::new()) };
    let files = names_in(&path).map_err(|error| one(unread(&folder.shown, error)))?;
    let has = |name: &str| files.iter().any(|(file, _)| file == name);
    let Some(dir) = Utf8Path::from_path(&path).map(|path| ctx.shown(&path.to_owned())) else {
        let problem = Problem::new(&folder.shown, "its name is not UTF-8").rule(NAME_RULE).help("rename the folder");
        return if has(DOCKERFILE) { Err(one(problem)) } else { Ok(Vec::new()) };
    };
    let settings = match has(SETTINGS_FILE) {
        true => settings(ctx, &dir),
        false => Ok(BTreeMap::from([(None, JobSettings::default())])),
    };
    let settings = match settings {
        Ok(settings) if !has(DOCKERFILE) && settings.values().any(|settings| settings.dockerfile.is_none()) => {
            return no_dockerfile(ctx, &dir, &files);
        }
        Err(_) if !has(DOCKERFILE) => return no_dockerfile(ctx, &dir, &files),
        settings => settings,
    };
    let own = JobName::of_folder(Utf8Path::new(&folder.shown));
    let settings = settings.map_err(|found| {
        let others = [own.clone().map(drop), check_dockerfile(ctx, &dir.join(DOCKERFILE))];
        others.into_iter().filter_map(Result::err).chain(found).collect::<Vec<_>>()
    })?;
    // A second name of a folder adds nothing where each image has its own.
    if settings.keys().all(Option::is_some) && all.iter().any(|other| dir == other.shown && dir != folder.shown) {
        return Ok(Vec::new());
    }
    let (mut jobs, mut problems) = (Vec::new(), Vec::new());
    for (named, settings) in settings {
        let name = match &named {
            Some(name) => image_name(&dir, Utf8Path::new(&folder.shown).file_name().unwrap_or_default(), name),
            None => own.clone(),
        };
        match job(ctx, config, &dir, name, settings) {
            Ok(job) => jobs.push(job),
            Err(found) => problems.extend(found),
        }
    }
    // What all images of a folder have is wrong once.
    if problems.is_empty() { Ok(jobs) } else { Err(Problem::each_once(problems)) }
}

/// The name of one image of a folder. It begins with the folder's, or whoever owns one folder could take the names, and
/// the secrets, that are meant for another.
fn image_name(dir: &Utf8Path, folder: &str, name: &str) -> Result<JobName, Problem> {
    let at = format!("{}: images: `{name}`", dir.join(SETTINGS_FILE));
    let is_own = name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']));
    if is_own {
        return JobName::at(&at, name);
    }
    Err(Problem::new(at, "does not begin with the name of its folder")
        .rule("an image is named as its folder, with `-`, `_` or `.` and more behind it")
        .help(format!("e.g. `{folder}-{name}`")))
}

/// One job of a folder.
fn job(
    ctx: &Context,
    config: &Config,
    dir: &Utf8Path,
    name: Result<JobName, Problem>,
    settings: JobSettings,
) -> Result<Job, Vec<Problem>> {
    let dockerfile = dir.join(settings.dockerfile.as_deref().map_or_else(|| DOCKERFILE.to_owned(), clean));
    let context = match settings.context.as_deref().unwrap_or(&config.context) {
        "job" => dir.to_owned(),
        context => Utf8PathBuf::from(clean(context)),
    };
    let files = JobFiles { dir: dir.to_owned(), dockerfile, context };
    let mut problems: Vec<Problem> = name.as_ref().err().cloned().into_iter().collect();
    problems.extend(check_dockerfile(ctx, &files.dockerfile).err());
    let named_in = match settings.context {
        Some(_) => files.settings_file().into_string(),
        None => "Cargo.toml: [workspace.metadata.jobs]".to_owned(),
    };
    problems.extend(check_context(ctx, &files, &named_in).err());
    let Ok(name) = name else { return Err(problems) };
    let uses =
        [(&config.secrets, &settings.secrets), (&config.env_args, &settings.env_args), (&config.ssh, &settings.ssh)];
    problems.extend(uses.into_iter().flat_map(|(allowed, named)| allowed.refused(&name, &files, named)));
    if problems.is_empty() {
        let settings = settings.with_env_args(files.settings_file().as_str(), |name| ctx.env.get(name))?;
        let arches = arches(&settings, config);
        return Ok(Job { name, files, position: 0, arches, settings });
    }
    Err(problems)
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
fn no_dockerfile(ctx: &Context, dir: &Utf8Path, files: &[(String, FileType)]) -> Result<Vec<Job>, Vec<Problem>> {
    let problem = |name: &str, what| Problem::new(format!("{dir}/{name}"), what);
    if let Some((name, _)) = files.iter().find(|(name, _)| name.eq_ignore_ascii_case(DOCKERFILE)) {
        let rule = format!("the file is named `{DOCKERFILE}`, upper-case D, on every machine");
        let help = format!("git mv {dir}/{name} {dir}/{DOCKERFILE}");
        return Err(vec![problem(name, "not a job's Dockerfile").rule(rule).help(help)]);
    }
    if files.iter().any(|(name, _)| name == SETTINGS_FILE) {
        let what = "there is no such job: its folder has no Dockerfile";
        let help = "add the Dockerfile, name another (\"dockerfile\": \"…\"), or remove the file";
        return Err(vec![problem(SETTINGS_FILE, what).help(help)]);
    }
    ctx.ui.detail("Skipped", format!("{dir}: no {DOCKERFILE}"));
    Ok(Vec::new())
}

fn check_dockerfile(ctx: &Context, shown: &Utf8Path) -> Result<(), Problem> {
    let problem = |what: &str| Problem::new(shown.as_str(), what);
    let is_a_file = |problem: Problem| {
        problem.rule(format!("`{DOCKERFILE}` is a file")).help("replace it by the file, or rename it")
    };
    let path = ctx.root.join(shown);
    let file_type = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(problem("there is no such file").help("add it, or name another in job.json: `dockerfile`"));
        }
        Err(error) => return Err(unread(shown.as_str(), error)),
    };
    if !file_type.is_symlink() {
        let what = if file_type.is_dir() { "a folder" } else { "neither a file nor a link" };
        return if file_type.is_file() { Ok(()) } else { Err(is_a_file(problem(what))) };
    }
    match folders::led_to(ctx, path.as_std_path(), shown.as_str()) {
        Ok(real) if real.is_file() => Ok(()),
        Ok(_) => Err(is_a_file(problem("a link that does not lead to a file"))),
        Err(problem) => Err(problem.help("replace the link by the file")),
    }
}

/// The build context is a folder of the repository, by its own name: BuildKit follows no link out of it.
fn check_context(ctx: &Context, files: &JobFiles, named_in: &str) -> Result<(), Problem> {
    let JobFiles { dir, context, .. } = files;
    if context.as_str().is_empty() || context == dir {
        return Ok(());
    }
    let problem = |what: &str| {
        Problem::new(format!("{named_in}: context: `{context}`"), what)
            .rule("`.` for the root, `job` for the job's own folder, or a folder from the root")
    };
    let (path, root) = (ctx.root.join(context), ctx.root.canonicalize_utf8());
    match path.canonicalize_utf8() {
        Ok(real) if !real.is_dir() => Err(problem("not a folder").help("name a folder")),
        Ok(real) if root.is_ok_and(|root| real == root.join(context)) => Ok(()),
        Ok(_) => Err(problem("leads through a link").help("name the folder that the link leads to")),
        Err(_) => Err(problem("there is no such folder")
            .help("mend the path, or remove the key")
            .did_you_mean(context.as_str(), ["job"])),
    }
}

fn settings(ctx: &Context, dir: &Utf8Path) -> Result<BTreeMap<Option<String>, JobSettings>, Vec<Problem>> {
    let at = dir.join(SETTINGS_FILE);
    let text = read_text(&ctx.root.join(&at), at.as_str()).map_err(|problem| vec![problem])?;
    job_settings(at.as_str(), &text)
}
