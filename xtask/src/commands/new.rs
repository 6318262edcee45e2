//! `new`: makes the folder of a job from a template. The folder appears as a whole or not at all, and nothing that is
//! there is overwritten.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::Template;
use crate::model::{Exit, JobName, Problem, clean, is_pattern};
use crate::plan::{BrokenJobs, select_jobs};
use crate::run::Context;
use crate::settings::Config;

/// The files of a folder of `xtask/templates/`: their names, and their texts.
macro_rules! files {
    ($folder:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../templates/", $folder, "/", $name)))),+]
    };
}

pub fn run(ctx: &Context, config: &Config, name: &str, template: Template, dry_run: bool) -> anyhow::Result<()> {
    let place = place(config)?;
    // Completion by the shell gives the folder.
    let typed = Utf8Path::new(name).strip_prefix(&place).map_or(name, Utf8Path::as_str).trim_end_matches('/');
    let name = JobName::at(&format!("job `{name}`"), typed).map_err(|problem| problem.exit(Exit::Usage))?;
    let folder = place.join(name.as_str());
    check_free(ctx, config, &name, &folder)?;
    let from = match config.context.as_str() {
        "job" => Utf8Path::new("."),
        context => folder.strip_prefix(clean(context)).unwrap_or(&folder),
    };
    let text = |text: &str| text.replace("{{folder}}", from.as_str()).replace("{{name}}", name.as_str());
    let files: Vec<(&str, String)> = files(template).iter().map(|(file, raw)| (*file, text(raw))).collect();
    if !dry_run {
        make(&ctx.root.join(&folder), &files).map_err(|error| unwritable(&folder, &error))?;
        ctx.ui.status("Created", &folder);
    }
    files.iter().for_each(|(file, _)| ctx.ui.data(folder.join(file)));
    if !dry_run {
        ctx.ui.text(&format!("\nNext: cargo xtask build --load {name}\n      cargo xtask pipeline {name}\n"));
    }
    Ok(())
}

/// The folder of `jobs-dirs` that new jobs go to, from the root.
fn place(config: &Config) -> anyhow::Result<Utf8PathBuf> {
    let mut folders = config.jobs_dirs.iter().map(|dir| clean(dir.strip_suffix("/*").unwrap_or(dir)));
    let place = folders.find(|folder| !is_pattern(folder));
    place.map(Utf8PathBuf::from).ok_or_else(|| {
        Problem::new("jobs-dirs", "names no folder that a new job could go to")
            .rule("it goes to the first that is a folder, or ends in `/*`")
            .help("make the job's folder yourself, with a Dockerfile in it")
            .exit(Exit::Usage)
    })
}

/// Checks that neither the folder nor the name is taken.
fn check_free(ctx: &Context, config: &Config, name: &JobName, folder: &Utf8Path) -> anyhow::Result<()> {
    if ctx.root.join(folder).symlink_metadata().is_ok() {
        return Err(Problem::new(folder.as_str(), "exists already")
            .rule("nothing that is there is overwritten")
            .help("give another name, or remove what is there")
            .exit(Exit::Usage));
    }
    // Where the jobs cannot be told, what is wrong with them is none of the new one's.
    let jobs = select_jobs(ctx, config, &[], &mut BrokenJobs::new(true)).unwrap_or_default();
    let Some(other) = jobs.iter().find(|job| job.name == *name) else { return Ok(()) };
    Err(Problem::new(format!("job `{name}`"), format!("is there already, in {}", other.files.dir))
        .rule("a job's name is the name of its repository, and no other job's")
        .help("give another name")
        .exit(Exit::Usage))
}

fn files(template: Template) -> &'static [(&'static str, &'static str)] {
    match template {
        Template::Shell => files!("shell": "Dockerfile", "main.sh"),
        Template::Python => files!("python": "Dockerfile", "main.py", "requirements.txt"),
        Template::Rust => files!("rust": ".gitignore", "Cargo.lock", "Cargo.toml", "Dockerfile", "src/main.rs"),
        Template::Node => files!("node": ".gitignore", "Dockerfile", "main.js", "package-lock.json", "package.json"),
        Template::Go => files!("go": "Dockerfile", "go.mod", "main.go"),
    }
}

/// Makes a folder with these files: beside its place first, hidden, so that nobody takes half of it for a job.
fn make(folder: &Utf8Path, files: &[(&str, String)]) -> Result<(), Error> {
    let new = folder.with_file_name(format!(".{}.new", std::process::id()));
    let written = files.iter().try_for_each(|(file, text)| write(&new.join(file), text));
    let made = written.and_then(|()| fs::rename(&new, folder));
    if made.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    made
}

fn write(path: &Utf8PathBuf, text: &str) -> Result<(), Error> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)?;
    if text.starts_with("#!") {
        // Whoever may read the script may run it.
        let mut permissions = path.metadata()?.permissions();
        permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

fn unwritable(folder: &Utf8Path, error: &Error) -> anyhow::Error {
    let help = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on its disk".to_owned(),
        _ => format!("make `{}` a folder that can be written", folder.parent().unwrap_or(folder)),
    };
    Problem::new(folder.as_str(), format!("cannot be written: {error}"))
        .rule("a job's folder is made as a whole, or not at all")
        .help(help)
        .exit(Exit::Missing)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::ValueEnum;
    use walkdir::WalkDir;

    use super::*;
    use crate::dockerfile::{Dockerfile, Inputs};
    use crate::model::Arch;

    fn folder_of(template: Template) -> Utf8PathBuf {
        let name = template.to_possible_value().unwrap();
        Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates").join(name.get_name())
    }

    #[test]
    fn every_file_of_every_template_is_made() {
        for template in Template::value_variants() {
            let folder = folder_of(*template);
            let entries = WalkDir::new(&folder).sort_by_file_name().into_iter().map(Result::unwrap);
            let there = entries.filter(|entry| entry.file_type().is_file());
            let there = there.map(|entry| Utf8PathBuf::try_from(entry.into_path()).unwrap());
            let there: BTreeSet<String> = there.map(|path| path.strip_prefix(&folder).unwrap().to_string()).collect();
            let made: BTreeSet<String> = files(*template).iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(made, there, "{folder}");
        }
        let folders = folder_of(Template::Shell).parent().unwrap().read_dir_utf8().unwrap().count();
        assert_eq!(folders, Template::value_variants().len());
    }

    #[test]
    fn an_image_changes_with_the_files_of_its_template_and_no_others() {
        for template in Template::value_variants() {
            let files: BTreeMap<&str, &str> = files(*template).iter().copied().collect();
            let dockerfile = Dockerfile::parse(files["Dockerfile"]).unwrap();
            let Inputs::Sources(sources) = dockerfile.inputs(&BTreeMap::new(), &Arch::ALL) else {
                panic!("{template:?} reads all of the context");
            };
            let sources: Vec<&str> =
                sources.iter().map(|source| source.path.strip_prefix("{{folder}}/").unwrap()).collect();
            let is_read = |file: &str| sources.iter().any(|source| Utf8Path::new(file).starts_with(source));
            let unread: Vec<&str> = files.keys().copied().filter(|file| !is_read(file)).collect();
            let is_own = |file: &&str| *file != "Dockerfile" && *file != ".gitignore";
            assert_eq!(unread.iter().find(|file| is_own(file)), None, "{template:?}");
            for source in sources {
                assert!(
                    files.keys().any(|file| Utf8Path::new(file).starts_with(source)),
                    "{template:?} lacks {source}"
                );
            }
        }
    }
}
