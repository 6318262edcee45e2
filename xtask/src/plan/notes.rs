//! What is no mistake, but hardly meant: all of the repository as an input, a default for what BuildKit sets, an
//! ignore file that nobody reads, a Dockerfile that nobody builds. Each is said once, for all that it is true of.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::broken::Broken;
use super::jobs::note_of_dockerfiles;
use super::recipe::Recipe;
use crate::model::{JobFiles, Problem};
use crate::run::Context;

/// A note and the places that it is about, of which it names the first.
struct Note {
    places: BTreeSet<String>,
    what: &'static str,
    help: &'static str,
}

/// What jobs' Dockerfiles say that is hardly meant.
pub fn notes_of_recipes<'a>(recipes: impl Iterator<Item = &'a Recipe> + Clone) -> Vec<Problem> {
    let whole = recipes.clone().filter(|recipe| recipe.job.files.context.as_str().is_empty());
    let whole = whole.filter_map(|recipe| recipe.whole.as_ref().map(|why| format!("{}: {why}", recipe.job.name)));
    let notes = [
        Note {
            places: whole.collect(),
            what: "all of the repository is an input, so that every commit builds the job",
            help: "copy by name, list what no image needs in .dockerignore, or say \"context\": \"job\" in \
                   job.json",
        },
        Note {
            places: recipes.flat_map(|recipe| recipe.platform_defaults.iter().cloned()).collect(),
            what: "the default replaces what BuildKit sets, also where that is another architecture",
            help: "leave the default out, or the line if it is before the first `FROM`: BuildKit sets the variable by \
                   itself",
        },
    ];
    notes.iter().filter_map(Note::said).collect()
}

/// The files in the folders of all jobs that nobody takes, and the Dockerfiles elsewhere.
pub fn notes_of_files<'a>(
    ctx: &Context,
    jobs_dirs: &[String],
    recipes: impl Iterator<Item = &'a Recipe>,
    broken: &[Broken],
) -> Vec<Problem> {
    let jobs: Vec<&JobFiles> = recipes.map(|recipe| &recipe.job.files).collect();
    let folders: BTreeSet<&Utf8Path> = jobs.iter().map(|job| job.dir.as_path()).collect();
    let in_folder = |dir: &Utf8Path| {
        let entries = ctx.root.join(dir).read_dir().into_iter().flatten().flatten();
        entries.map(|entry| dir.join(entry.file_name().to_string_lossy().as_ref()).into_string()).collect::<Vec<_>>()
    };
    let files: BTreeSet<String> = folders.into_iter().flat_map(in_folder).collect();
    let notes = [
        Note {
            places: unread(&files, &jobs),
            what: "nobody reads it, as the build context is another folder",
            help: "say \"context\": \"job\" in job.json, or move its lines, with paths from the context, to \
                   Dockerfile.dockerignore",
        },
        Note {
            places: unbuilt(&files, &jobs),
            what: "nobody builds it",
            help: "name it in job.json: \"dockerfile\", or one of several \"images\"; or remove it",
        },
    ];
    notes.iter().filter_map(Note::said).chain(note_of_dockerfiles(ctx, jobs_dirs, &jobs, broken)).collect()
}

impl Note {
    fn said(&self) -> Option<Problem> {
        let (first, more) = (self.places.first()?, self.places.len() - 1);
        let and_more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        Some(Problem::new(format!("{first}{and_more}"), self.what).help(self.help))
    }
}

/// The ignore files in the folders of jobs that no build takes.
fn unread(files: &BTreeSet<String>, jobs: &[&JobFiles]) -> BTreeSet<String> {
    let of_contexts = jobs.iter().map(|job| job.context.join(".dockerignore").into_string());
    let of_jobs = jobs.iter().map(|job| format!("{}.dockerignore", job.dockerfile));
    let read: BTreeSet<String> = of_contexts.chain(of_jobs).collect();
    files.iter().filter(|file| file.ends_with(".dockerignore") && !read.contains(*file)).cloned().collect()
}

/// What has the name of a Dockerfile in the folders of jobs, and is none's.
fn unbuilt(files: &BTreeSet<String>, jobs: &[&JobFiles]) -> BTreeSet<String> {
    let is_dockerfile = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or_default();
        let has_name = ["Dockerfile", "Containerfile"].iter().any(|known| {
            name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                || name.ends_with(&format!(".{known}"))
        });
        has_name && !name.ends_with(".dockerignore") && !name.ends_with(".md")
    };
    let built: BTreeSet<&str> = jobs.iter().map(|job| job.dockerfile.as_str()).collect();
    files.iter().filter(|file| is_dockerfile(file) && !built.contains(file.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nobody_takes_are_found() {
        let files = ["a/.dockerignore", "a/Dockerfile", "a/Dockerfile.debug", "a/Dockerfile.debug.dockerignore"];
        let more = ["b/.dockerignore", "b/Dockerfile", "b/web.Dockerfile", "b/Dockerfile.md", "b/Dockerfiles"];
        let files: BTreeSet<String> = files.into_iter().chain(more).map(str::to_owned).collect();
        let job = |dir: &str, dockerfile: &str, context: &str| JobFiles {
            dir: dir.into(),
            dockerfile: format!("{dir}/{dockerfile}").into(),
            context: context.into(),
        };
        let (a, b) = (job("a", "Dockerfile", ""), job("b", "Dockerfile", "b"));
        let jobs = [&a, &b];
        assert_eq!(Vec::from_iter(unread(&files, &jobs)), ["a/.dockerignore", "a/Dockerfile.debug.dockerignore"]);
        assert_eq!(Vec::from_iter(unbuilt(&files, &jobs)), ["a/Dockerfile.debug", "b/web.Dockerfile"]);
        let debug = job("a", "Dockerfile.debug", "");
        let jobs = [&a, &b, &debug];
        assert_eq!(Vec::from_iter(unread(&files, &jobs)), ["a/.dockerignore"]);
        assert_eq!(Vec::from_iter(unbuilt(&files, &jobs)), ["b/web.Dockerfile"]);
    }
}
