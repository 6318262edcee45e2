//! Building images: several side by side, each with a log of its own; one that fails does not stop the others.

mod failure;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use serde_json::Value;

use super::bake::{self, Pushed};
use super::cache;
use super::images::BuildOptions;
use crate::model::{Digest, Exit, Failure, Image, JobName, Output, Problem, Reference};
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{
    Context, Secret, Tries, count, create_file, human_time, is_transient, last_error, markdown, summary, write_file,
};
use crate::tools::buildx;
use crate::tools::process::{self, End, Limit, Options, Outcome};
use failure::failure;

/// How many builds run side by side. A build waits for the registry and for the engine, which shares the cores out by
/// itself.
const PARALLEL: usize = 32;

/// An image that was built.
pub struct Built {
    pub job: JobName,
    pub time: Duration,
    reference: Reference,
    /// Where it was pushed.
    digest: Option<Digest>,
    /// Why the registry did not keep its layers for later builds.
    not_kept: Option<String>,
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reference)?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Builds the images; one that fails does not stop the others.
///
/// # Errors
/// What concerns all builds; a single build's failure is part of the tally.
pub fn build_all(ctx: &Context, images: &[Image], options: &BuildOptions) -> anyhow::Result<Tally<Built>> {
    if images.is_empty() {
        ctx.ui.status("Finished", "nothing to build");
        return Ok(Tally { done: Vec::new(), failures: Ok(()) });
    }
    let work = BuildRun { ctx, total: images.len(), start: Instant::now(), came: Mutex::default() };
    let parallel = options.parallel.map_or(PARALLEL, usize::from);
    let (slices, alone) = bake::slices(images, parallel, options);
    let mut done = work.bake_all(&slices, bake::side_by_side(&slices, parallel))?;
    let is_baked: BTreeSet<String> = done.iter().map(|built| built.reference.to_string()).collect();
    let left = slices.into_iter().flatten().filter(|image| !is_baked.contains(&image.reference.to_string()));
    let left: Vec<&Image> = left.chain(alone).collect();
    let on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
    let tally = fleet::run(ctx, parallel, on_failure, &left, |image| image.shown(), |image| work.build_one(image));
    done.extend(tally.done);
    let position = |built: &Built| images.iter().position(|image| image.reference == built.reference);
    done.sort_by_key(position);
    work.summarize(images, &done);
    Ok(Tally { done, failures: tally.failures })
}

/// The commands that [`build_all`] runs first, quoted for a shell.
///
/// # Errors
/// What they are given cannot be written.
pub fn build_commands(ctx: &Context, images: &[Image], options: &BuildOptions) -> anyhow::Result<Vec<String>> {
    let (slices, alone) = bake::slices(images, options.parallel.map_or(PARALLEL, usize::from), options);
    let together = slices.iter().map(|slice| bake::command(ctx, slice));
    together.chain(alone.iter().map(|image| process::shown(ctx, |sh| buildx::build(sh, image)))).collect()
}

/// The builds of a run, and what has come of them so far.
struct BuildRun<'a> {
    ctx: &'a Context,
    total: usize,
    start: Instant,
    came: Mutex<Came>,
}

/// The images that failed, those whose layers were not kept, with the reasons, and the bars of all that have ended.
#[derive(Default)]
struct Came {
    failed: BTreeSet<String>,
    not_kept: Vec<String>,
    bars: Vec<String>,
}

impl BuildRun<'_> {
    /// Builds slices side by side; gives what they pushed. What went wrong is seen where the others are built.
    fn bake_all(&self, slices: &[Vec<&Image>], parallel: usize) -> anyhow::Result<Vec<Built>> {
        let done = Mutex::new(Vec::new());
        let on_pushed = |image: &Image, pushed: Pushed| {
            let Pushed { digest, time, log } = pushed;
            // The log is a copy for people: a full disk shows in the build itself.
            let _ = write_file(self.ctx, &log_path(self.ctx, image), log.as_bytes());
            let (job, reference) = (image.job.clone(), image.reference.clone());
            let built = Ok(Built { job, time, reference, digest: Some(digest), not_kept: None });
            self.note(image, &built, self.start.elapsed().saturating_sub(time));
            self.ctx.ui.folded_output(&format!("{} built in {}", image.shown(), human_time(time)), &log);
            done.lock().unwrap_or_else(PoisonError::into_inner).extend(built);
        };
        let bake = |slice: &Vec<&Image>| {
            slice.iter().for_each(|image| self.ctx.ui.status("Building", image.shown()));
            bake::run(self.ctx, slice, &on_pushed)
        };
        let not_kept = fleet::run(self.ctx, parallel, OnFailure::GoOn, slices, |_| "bake", bake)
            .result()
            .or_else(|error| if self.ctx.interrupted().is_some() { Ok(Vec::new()) } else { Err(error) })?;
        self.came.lock().unwrap_or_else(PoisonError::into_inner).not_kept.extend(not_kept.into_iter().flatten());
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn build_one(&self, image: &Image) -> anyhow::Result<Built> {
        let started = self.start.elapsed();
        let built = build_one(self.ctx, image);
        self.note(image, &built, started);
        built
    }

    /// Notes and tells what came of an image.
    fn note(&self, image: &Image, built: &anyhow::Result<Built>, started: Duration) {
        let length = self.start.elapsed() - started;
        let mut came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        match built {
            Ok(built) => came.not_kept.extend(built.not_kept.iter().map(|why| format!("{}: {why}", image.shown()))),
            Err(_) => drop(came.failed.insert(image.shown())),
        }
        came.bars.push(bar(&image.shown(), started, length, if built.is_err() { "crit, " } else { "" }));
        report(self.ctx, image, built, &format!("({}/{})", came.bars.len(), self.total));
    }

    fn summarize(self, images: &[Image], done: &[Built]) {
        let (took, came) = (self.start.elapsed(), self.came.into_inner().unwrap_or_else(PoisonError::into_inner));
        let rows = rows(images, done, &came.failed);
        if let Some(warning) = cache_warning(&came.not_kept) {
            self.ctx.ui.warning(warning);
        }
        let line = format!("{} of {} built in {}", done.len(), count(images.len(), "image"), human_time(took));
        self.ctx.ui.status("Finished", &line);
        let picture = gantt("builds", &came.bars);
        let table = markdown(&["image", "result", "why", "time", "reference"], &rows);
        summary(self.ctx, &format!("### Build\n\n{line}\n\n{table}\n\n{picture}"));
    }
}

fn report(ctx: &Context, image: &Image, built: &anyhow::Result<Built>, progress: &str) {
    match built {
        Ok(built) => {
            let verb = if image.output == Output::Push { "Pushed" } else { "Loaded" };
            ctx.ui.status(verb, format!("{progress} {} in {}", image.reference, human_time(built.time)));
        }
        Err(_) => ctx.ui.status("Failed", format!("{progress} {}", image.shown())),
    }
}

/// Says in one line whose layers were not kept; each of `not_kept` comes with its reason.
fn cache_warning(not_kept: &[String]) -> Option<String> {
    let first = not_kept.iter().min()?;
    let help =
        if first.contains("immutable") { " (except `cache-*` from the repository's immutable tags)" } else { "" };
    Some(format!("the layers of {} are not kept for later builds: {first}{help}", count(not_kept.len(), "image")))
}

/// What became of each image, failures first.
fn rows(images: &[Image], done: &[Built], failed: &BTreeSet<String>) -> Vec<Vec<String>> {
    let times: BTreeMap<&Reference, Duration> = done.iter().map(|built| (&built.reference, built.time)).collect();
    let mut rows: Vec<(u8, Vec<String>)> = Vec::new();
    for image in images {
        let (order, what, time) = match times.get(&image.reference) {
            Some(&time) => (2, "built", human_time(time)),
            None if failed.contains(&image.shown()) => (0, "failed", String::new()),
            None => (1, "not started", String::new()),
        };
        rows.push((order, vec![image.shown(), what.to_owned(), image.why.clone(), time, image.reference.to_string()]));
    }
    rows.sort_by_key(|(order, _)| *order);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn build_one(ctx: &Context, image: &Image) -> anyhow::Result<Built> {
    let (start, secrets) = (Instant::now(), secrets(ctx, image)?);
    ctx.ui.status("Building", image.shown());
    let mut outcome = attempt(ctx, image, &secrets).map_err(|error| cannot(image, error))?;
    let mut tries = Tries::new();
    loop {
        let why = matches!(outcome.end, End::Failure(_)).then(|| why_not_pushed_for_now(&outcome.stderr)).flatten();
        let Some(why) = why else { break };
        if !tries.again(ctx, &image.shown(), &why, None) {
            break;
        }
        outcome = attempt(ctx, image, &secrets).map_err(|error| cannot(image, error))?;
    }
    if !outcome.success() {
        if outcome.end == End::Interrupted || !was_pushed(&outcome.stderr, image) {
            return Err(failure(ctx, image, &outcome, &ctx.shown(&log_path(ctx, image))));
        }
        ctx.ui.warning(format!("{} is pushed, and what came after it failed: {}", image.reference, outcome.reason()));
    }
    ctx.ui.folded_output(&format!("{} built in {}", image.shown(), human_time(start.elapsed())), &outcome.stderr);
    let noted = || noted_digest(ctx, image).filter(|_| outcome.success());
    let digest = told_digest(&outcome.stderr, image).or_else(noted).filter(|_| image.output == Output::Push);
    let not_kept = cache::refusal(&outcome.stderr, "");
    Ok(Built { job: image.job.clone(), reference: image.reference.clone(), digest, not_kept, time: start.elapsed() })
}

/// The secrets that a build may mount, by their variables.
fn secrets(ctx: &Context, image: &Image) -> anyhow::Result<Vec<(String, Secret)>> {
    let (mut secrets, mut problems) = (Vec::new(), Vec::new());
    for (id, variable) in &image.secrets {
        match ctx.env.get(variable) {
            Some(value) => secrets.push((variable.clone(), Secret::new(value))),
            None => problems.push(no_secret(image, id, variable)),
        }
    }
    Failure::unless_empty(Exit::Failed, problems).map(|()| secrets)
}

fn no_secret(image: &Image, id: &str, variable: &str) -> Problem {
    let at = format!("{}: secrets: `{id}`", image.files.settings_file());
    Problem::new(at, format!("{variable} is not set, so {} is not built", image.shown()))
        .rule("a build reads a secret from the environment variable of its name in upper case")
        .help(format!(
            "on a laptop, export {variable}; in .github/workflows/images.yml, add it to `env` of the step `Build`:\n\
             {variable}: ${{{{ secrets.{variable} }}}}\n\
             GitHub passes none to a pull request from a fork, where this job fails alone"
        ))
}

/// Whether the step that pushes has come to its end, whatever came after it.
fn was_pushed(log: &str, image: &Image) -> bool {
    let step = log.lines().find_map(|line| {
        let (step, said) = line.split_once(' ')?;
        let is_push = said.starts_with(&format!("pushing manifest for {}@", image.reference));
        (is_push || said == format!("pushing {} with docker", image.reference)).then_some(step)
    });
    step.is_some_and(|step| log.lines().any(|line| line.starts_with(&format!("{step} DONE "))))
}

/// The digest that buildx tells of what it pushes; with the classic image store, it tells none.
fn told_digest(log: &str, image: &Image) -> Option<Digest> {
    let start = format!("pushing manifest for {}@", image.reference);
    log.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix(&start)?.split(' ').next()?.parse().ok())
}

/// The digest that buildx noted of what it pushed.
fn noted_digest(ctx: &Context, image: &Image) -> Option<Digest> {
    let text = std::fs::read_to_string(ctx.root.join(&image.metadata_file)).ok()?;
    let metadata: Value = serde_json::from_str(&text).ok()?;
    metadata.get("containerimage.digest")?.as_str()?.parse().ok()
}

fn cannot(image: &Image, error: anyhow::Error) -> anyhow::Error {
    if error.is::<Failure>() {
        return error;
    }
    let problem = Problem::new(image.shown(), format!("could not be built: {error:#}"));
    Failure::of(Exit::Failed, vec![problem])
}

fn log_path(ctx: &Context, image: &Image) -> Utf8PathBuf {
    ctx.own_path("logs").join(format!("{}-{}.log", image.job, image.arch))
}

/// Runs the build once, its output line by line into the log.
fn attempt(ctx: &Context, image: &Image, secrets: &[(String, Secret)]) -> anyhow::Result<Outcome> {
    let path = log_path(ctx, image);
    let log = Mutex::new(create_file(ctx, &path)?);
    let verbose = ctx.ui.verbosity >= 2;
    let on_line = |line: &str| {
        if let Ok(mut log) = log.lock() {
            // The log is a copy for people: a full disk shows in the build itself.
            let _ = writeln!(log, "{line}");
        }
        if verbose {
            ctx.ui.text(&format!("{} {} | {line}", image.job, image.arch));
        }
    };
    let limit = Limit::Build(image.timeout);
    let given = Options { env: secrets, limit, on_line: Some(&on_line), ..Options::default() };
    process::run(ctx, |sh| buildx::build(sh, image), &given)
}

/// The error of a build that failed only because the registry was busy; the steps themselves are cached by then.
fn why_not_pushed_for_now(log: &str) -> Option<String> {
    last_error(log).filter(|error| pushing_failed(log) && is_transient(error))
}

/// Whether the image was made, and the registry did not take it.
fn pushing_failed(log: &str) -> bool {
    log.lines().any(|line| {
        // An engine with the classic image store pushes in a step of its own, whose error says nothing of pushing.
        let is_step = line.starts_with(" > pushing ") && line.ends_with(" with docker:");
        is_step || line.starts_with("ERROR:") && line.contains("failed to push")
    })
}

/// One bar of a [`gantt`]: when it starts and ends, both since the run began, and `crit, ` for one that is to stand
/// out.
fn bar(name: &str, start: Duration, length: Duration, mark: &str) -> String {
    let (start, end) = (start.as_secs(), (start + length).as_secs().max(start.as_secs() + 1));
    format!("  {} :{mark}{start}, {end}", without_mermaid(name))
}

/// The longest diagram that GitHub draws, in characters.
const LONGEST_DIAGRAM: usize = 45_000;

/// A picture of time for the summary, in Mermaid; nothing where it would be too long to be drawn.
fn gantt(title: &str, bars: &[String]) -> String {
    let head = format!("```mermaid\ngantt\n  title {}\n  dateFormat X\n  axisFormat %M:%S", without_mermaid(title));
    let text = format!("{head}\n{}\n```", bars.join("\n"));
    if bars.is_empty() || text.chars().count() > LONGEST_DIAGRAM { String::new() } else { text }
}

/// A name without the characters that have a meaning in Mermaid.
fn without_mermaid(text: &str) -> String {
    text.replace([':', ';', '#', ','], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_registry_is_tried_again() {
        assert!(why_not_pushed_for_now("ERROR: failed to solve: failed to push x: 502 Bad Gateway\n").is_some());
        assert!(
            why_not_pushed_for_now("ERROR: failed to solve: process \"curl 502 Bad Gateway\" did not complete\n")
                .is_none()
        );
        assert!(why_not_pushed_for_now("ERROR: failed to solve: failed to push x: 401 Unauthorized\n").is_none());
        // As docker-registry answers two pushes of one layer at the same instant.
        let several = "ERROR: failed to push x: errors:\nunknown: provided digest did not match uploaded content\n\
                       unknown: blob unknown to registry - sha256:90a4\n\n";
        assert!(why_not_pushed_for_now(several).is_some());
        assert!(why_not_pushed_for_now("ERROR: failed to push x: errors:\ndenied: no\n\n502 Bad Gateway\n").is_none());
        // With the classic image store.
        let failed = |error: &str| format!(" > pushing x with docker:\n------\nERROR: failed to build: {error}\n");
        assert!(why_not_pushed_for_now(&failed("received unexpected HTTP status: 502 Bad Gateway")).is_some());
        assert!(why_not_pushed_for_now(&failed("name unknown: x")).is_none());
    }

    #[test]
    fn a_picture_of_time_is_drawn() {
        let bar = |name: &str, start, length, mark| {
            bar(name, Duration::from_secs(start), Duration::from_millis(length), mark)
        };
        assert_eq!(
            gantt("leg: a", &[bar("job-a (amd64)", 0, 1500, ""), bar("b;#:c", 1, 3000, "crit, ")]),
            "```mermaid\ngantt\n  title leg  a\n  dateFormat X\n  axisFormat %M:%S\n  job-a (amd64) :0, 1\n  \
             b   c :crit, 1, 4\n```"
        );
        assert_eq!(gantt("x", &[]), "");
        assert_eq!(gantt("x", &vec![bar("a long name of a job", 0, 1, ""); 2000]), "");
    }
}
