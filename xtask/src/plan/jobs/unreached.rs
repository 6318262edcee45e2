//! The Dockerfiles that git lists and that are part of no job: what whoever moves into a repository has before any job.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use super::folders::OWN;
use crate::model::{DOCKERFILE, JOBS_DIR, JobFiles, Problem, SETTINGS_FILE, clean};
use crate::plan::Broken;
use crate::run::Context;
use crate::tools::git;

/// What others than Docker call the file.
const CONTAINERFILE: &str = "Containerfile";
/// How many things of a kind are named.
const FEW: usize = 3;

/// The tracked Dockerfiles that are part of no job, with what makes jobs of them.
pub fn note_of_dockerfiles(
    ctx: &Context,
    jobs_dirs: &[String],
    jobs: &[&JobFiles],
    broken: &[Broken],
) -> Option<Problem> {
    // Where git cannot answer, whatever needs its answer says so.
    let listed = git::tracked(ctx, &[DOCKERFILE, CONTAINERFILE]).unwrap_or_default();
    let broken = broken.iter().map(|broken| Utf8Path::new(&broken.folder));
    let folders: BTreeSet<&Utf8Path> = jobs.iter().map(|job| job.dir.as_path()).chain(broken).collect();
    let mut found = outside(listed, &folders);
    if !found.is_empty() {
        // A job's Dockerfile may have a second name, by a link.
        let real = |path: &Utf8Path| ctx.root.join(path).canonicalize().ok();
        let built: BTreeSet<_> = jobs.iter().filter_map(|job| real(&job.dockerfile)).collect();
        found.retain(|path| real(path).is_some_and(|path| !built.contains(&path)));
    }
    let names = found.iter().map(|path| path.to_string()).collect();
    (!found.is_empty()).then(|| Problem::new(few(names), "part of no job").help(remedy(&found, &folders, jobs_dirs)))
}

/// Those in none of the folders. Hidden folders hold no jobs, and a file beside a `Dockerfile` is another note's.
fn outside(listed: BTreeSet<Utf8PathBuf>, folders: &BTreeSet<&Utf8Path>) -> Vec<Utf8PathBuf> {
    let is_second =
        |path: &Utf8Path| path.file_name() != Some(DOCKERFILE) && listed.contains(&path.with_file_name(DOCKERFILE));
    let is_outside = |path: &&Utf8PathBuf| {
        !path.ancestors().any(|folder| folders.contains(folder))
            && !path.components().any(|part| part.as_str().starts_with('.'))
            && !OWN.iter().any(|own| path.starts_with(own))
            && !is_second(path)
    };
    listed.iter().filter(is_outside).cloned().collect()
}

/// What to write so that each becomes part of a job. A folder that holds several folders with a Dockerfile, or a job
/// already, is taken for one that holds jobs: what is further down in it is built by the job there.
fn remedy(found: &[Utf8PathBuf], jobs: &BTreeSet<&Utf8Path>, jobs_dirs: &[String]) -> String {
    let mut held: BTreeMap<&Utf8Path, usize> = BTreeMap::new();
    for holder in found.iter().filter_map(|path| path.parent()?.parent()) {
        *held.entry(holder).or_default() += 1;
    }
    let several = held.into_iter().filter(|(_, count)| *count > 1).map(|(holder, _)| holder);
    let holders: BTreeSet<&Utf8Path> = several.chain(jobs.iter().filter_map(|job| job.parent())).collect();
    let (mut wanted, mut settings, mut moves) = (BTreeSet::new(), Vec::new(), Vec::new());
    for path in found {
        let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) else {
            wanted.insert(JOBS_DIR);
            moves.push(format!("move {path} to {JOBS_DIR}/<name>/{DOCKERFILE}"));
            continue;
        };
        let is_held = |folder: &&Utf8Path| folder.parent().is_some_and(|holder| holders.contains(holder));
        let job = folder.ancestors().find(is_held).unwrap_or(folder);
        let holder = job.parent().unwrap_or(job);
        let dockerfile = path.strip_prefix(job).unwrap_or(path);
        if dockerfile != DOCKERFILE {
            settings.push(format!("{{\"dockerfile\": \"{dockerfile}\"}} in {job}/{SETTINGS_FILE}"));
        }
        if dockerfile == DOCKERFILE || !holders.contains(holder) {
            wanted.insert(holder.as_str());
        }
    }
    let settings = (!settings.is_empty()).then(|| format!("write {}", few(settings)));
    let parts = dirs(jobs_dirs, &wanted, jobs.is_empty()).into_iter().chain(settings).chain(moves);
    parts.collect::<Vec<_>>().join("; ")
}

/// What `jobs-dirs` has to be, if it is something else: without what holds nothing, where there are no jobs.
fn dirs(jobs_dirs: &[String], wanted: &BTreeSet<&str>, without_jobs: bool) -> Option<String> {
    let named: BTreeSet<String> = jobs_dirs.iter().map(|dir| clean(dir)).collect();
    let kept = jobs_dirs.iter().filter(|dir| !without_jobs || wanted.contains(clean(dir).as_str())).map(String::as_str);
    let new: Vec<&str> = wanted.iter().copied().filter(|dir| !named.contains(*dir)).collect();
    let shown = |dir: &str| format!("\"{}\"", if dir.is_empty() { "." } else { dir });
    let all: Vec<String> = kept.chain(new.iter().copied()).map(shown).collect();
    (!new.is_empty())
        .then(|| format!("write jobs-dirs = [{}] in [workspace.metadata.jobs] of Cargo.toml", all.join(", ")))
}

/// The first few, and how many there are more.
fn few(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(FEW);
    let named = names.into_iter().take(FEW).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Dockerfiles that are part of no job, and the remedy.
    fn said(listed: &[&str], jobs: &[&str], jobs_dirs: &[&str]) -> (String, String) {
        let listed = listed.iter().map(Utf8PathBuf::from).collect();
        let jobs = jobs.iter().map(Utf8Path::new).collect();
        let found = outside(listed, &jobs);
        let dirs: Vec<String> = jobs_dirs.iter().map(|dir| dir.to_string()).collect();
        (found.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(" "), remedy(&found, &jobs, &dirs))
    }

    const IN_CARGO: &str = "in [workspace.metadata.jobs] of Cargo.toml";

    #[test]
    fn what_is_in_no_job_is_found() {
        let listed = ["a/Dockerfile", "a/test/Dockerfile", "ab/Dockerfile", "b/Containerfile", "b/Dockerfile"];
        let others = [".devcontainer/Dockerfile", "xtask/x/Dockerfile", "target/Dockerfile", "b/c/Containerfile"];
        let (found, _) = said(&[&listed[..], &others].concat(), &["a"], &["."]);
        assert_eq!(found, "ab/Dockerfile b/Dockerfile b/c/Containerfile");
        assert_eq!(said(&listed[..2], &["a"], &["."]), (String::new(), String::new()));
    }

    #[test]
    fn each_has_what_makes_a_job_of_it() {
        let dirs = |dirs: &str| format!("write jobs-dirs = [{dirs}] {IN_CARGO}");
        let help = |listed: &[&str], jobs: &[&str], jobs_dirs: &[&str]| said(listed, jobs, jobs_dirs).1;
        // Where no job is yet, what is configured holds none.
        assert_eq!(help(&["src/a/Dockerfile"], &[], &["jobs"]), dirs("\"src\""));
        assert_eq!(help(&["a/Dockerfile"], &[], &["jobs"]), dirs("\".\""));
        assert_eq!(help(&["src/a/Dockerfile", "src/b/Dockerfile"], &["web"], &["."]), dirs("\".\", \"src\""));
        assert_eq!(help(&["lib/a/Dockerfile"], &["src/b"], &["src/"]), dirs("\"src/\", \"lib\""));
        assert_eq!(help(&["src/a/Dockerfile"], &["src/b"], &["src/b*"]), dirs("\"src/b*\", \"src\""));
        // What is further down in a folder that holds jobs.
        let deep = "write {\"dockerfile\": \"src/Dockerfile\"} in src/cart/job.json";
        assert_eq!(help(&["src/cart/src/Dockerfile"], &["src/b"], &["src"]), deep);
        let all = ["src/a/Dockerfile", "src/b/Dockerfile", "src/cart/src/Dockerfile"];
        assert_eq!(help(&all, &[], &["."]), format!("{}; {deep}", dirs("\"src\"")));
        // Of another name.
        let named = |job: &str| format!("write {{\"dockerfile\": \"Containerfile\"}} in {job}/job.json");
        assert_eq!(help(&["src/a/Containerfile"], &["src/b"], &["src"]), named("src/a"));
        assert_eq!(help(&["src/a/Containerfile"], &[], &["src"]), named("src/a"));
        assert_eq!(help(&["src/a/Containerfile"], &[], &["jobs"]), format!("{}; {}", dirs("\"src\""), named("src/a")));
        // In the root, where no folder is a job.
        let moved = "move Dockerfile to jobs/<name>/Dockerfile";
        assert_eq!(help(&["Dockerfile"], &[], &["jobs"]), moved);
        let both = ["Dockerfile", "src/a/Dockerfile"];
        assert_eq!(help(&both, &[], &["jobs"]), format!("{}; {moved}", dirs("\"jobs\", \"src\"")));
        assert_eq!(help(&["Dockerfile"], &["src/b"], &["src"]), format!("{}; {moved}", dirs("\"src\", \"jobs\"")));
    }

    #[test]
    fn a_few_are_named() {
        let names = |count: usize| (1..=count).map(|number| number.to_string()).collect();
        assert_eq!([3, 4].map(|count| few(names(count))), ["1, 2, 3", "1, 2, 3 and 1 more"]);
    }
}
