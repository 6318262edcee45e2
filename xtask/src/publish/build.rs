//! Building images: several side by side, each with a log of its own; one that fails does not stop the others.

mod failure;
mod one;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bake::{self, Pushed};
use super::images::BuildOptions;
use super::log::millis;
use super::record::Record;
use crate::model::{BuildRecord, BuildResult, Digest, Image, JobName, Output, Reference};
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{Context, count, human_time, write_file};
use crate::tools::{buildx, process};
pub use one::pushed_digest;
use one::{build_one, log_path};

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
pub fn build_all(
    ctx: &Context,
    images: &[Image],
    options: &BuildOptions,
    record: &Record,
) -> anyhow::Result<Tally<Built>> {
    if images.is_empty() {
        ctx.ui.status("Finished", "nothing to build");
        return Ok(Tally { done: Vec::new(), failures: Ok(()) });
    }
    let start = Instant::now();
    images.iter().for_each(|image| record.planned(&image.job, image.arch, BuildResult::NotStarted, &image.why));
    let work = BuildRun { ctx, record, total: images.len(), came: Mutex::default() };
    let parallel = options.parallel.map_or(PARALLEL, usize::from);
    let (slices, _) = bake::slices(images, parallel, options);
    let mut done = work.bake_all(&slices, bake::side_by_side(&slices, parallel))?;
    let is_baked: BTreeSet<String> = done.iter().map(|built| built.reference.to_string()).collect();
    let left: Vec<&Image> = images.iter().filter(|image| !is_baked.contains(&image.reference.to_string())).collect();
    let on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
    let tally = fleet::run(ctx, parallel, on_failure, &left, |image| image.shown(), |image| work.build_one(image));
    done.extend(tally.done);
    let position = |built: &Built| images.iter().position(|image| image.reference == built.reference);
    done.sort_by_key(position);
    work.summarize(images, &done, start.elapsed());
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
    record: &'a Record<'a>,
    total: usize,
    came: Mutex<Came>,
}

/// What happened to the images that have ended, and whose layers were not kept, with the reasons.
#[derive(Default)]
struct Came {
    records: Vec<BuildRecord>,
    not_kept: Vec<String>,
}

impl BuildRun<'_> {
    /// The time since the run began.
    fn now(&self) -> Duration {
        self.record.start.elapsed()
    }

    fn came(&self) -> MutexGuard<'_, Came> {
        // A panic ends the program, so the lock is never poisoned.
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds slices side by side; gives what they pushed. What went wrong is seen where the others are built.
    fn bake_all(&self, slices: &[Vec<&Image>], parallel: usize) -> anyhow::Result<Vec<Built>> {
        let done = Mutex::new(Vec::new());
        let on_pushed = |image: &Image, pushed: Pushed| {
            let Pushed { digest, record, text } = pushed;
            // The log is a copy for people: a full disk shows in the build itself.
            let _ = write_file(self.ctx, &log_path(self.ctx, image), text.as_bytes());
            let (job, reference) = (image.job.clone(), image.reference.clone());
            let time = Duration::from_millis(record.end_ms - record.start_ms);
            let built = Built { job, time, reference, digest: Some(digest), not_kept: None };
            self.ctx.ui.folded_output(&format!("{} built in {}", image.shown(), human_time(time)), &text);
            self.note(image, Some(&built), record);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(built);
        };
        let bake = |slice: &Vec<&Image>| {
            slice.iter().for_each(|image| self.ctx.ui.status("Building", image.shown()));
            bake::run(self.ctx, slice, self.record.start, &on_pushed)
        };
        let not_kept = fleet::run(self.ctx, parallel, OnFailure::GoOn, slices, |_| "bake", bake)
            .result()
            .or_else(|error| if self.ctx.interrupted().is_some() { Ok(Vec::new()) } else { Err(error) })?;
        self.came().not_kept.extend(not_kept.into_iter().flatten());
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn build_one(&self, image: &Image) -> anyhow::Result<Built> {
        let mut record = BuildRecord::new(image, millis(self.now()));
        let built = build_one(self, image, &mut record);
        record.end_ms = millis(self.now());
        if built.is_err() && self.ctx.interrupted().is_some() {
            record.result = BuildResult::Interrupted;
        }
        self.note(image, built.as_ref().ok(), record);
        built
    }

    /// Notes and tells what came of an image.
    fn note(&self, image: &Image, built: Option<&Built>, record: BuildRecord) {
        let digest = built.and_then(|built| built.digest.as_ref());
        self.record.ended(image, &record, digest, &self.ctx.shown(&log_path(self.ctx, image)));
        let mut came = self.came();
        let not_kept = built.and_then(|built| built.not_kept.as_ref());
        came.not_kept.extend(not_kept.map(|why| format!("{}: {why}", image.shown())));
        let progress = format!("({}/{})", came.records.len() + 1, self.total);
        report(self.ctx, image, built, &record, &progress);
        came.records.push(record);
    }

    fn summarize(self, images: &[Image], done: &[Built], took: Duration) {
        let came = self.came.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(warning) = cache_warning(&came.not_kept) {
            self.ctx.ui.warning(warning);
        }
        let line = format!("{} of {} built in {}", done.len(), count(images.len(), "image"), human_time(took));
        self.ctx.ui.status("Finished", &line);
        self.record.summarize(&line);
    }
}

fn report(ctx: &Context, image: &Image, built: Option<&Built>, record: &BuildRecord, progress: &str) {
    match built {
        Some(built) => {
            let verb = if image.output == Output::Push { "Pushed" } else { "Loaded" };
            let cached = match record.cached() {
                (_, 0) => String::new(),
                (cached, of) => format!(", {cached}/{of} steps cached"),
            };
            ctx.ui.status(verb, format!("{progress} {} in {}{cached}", image.reference, human_time(built.time)));
        }
        None => ctx.ui.status("Failed", format!("{progress} {}", image.shown())),
    }
}

/// Says in one line whose layers were not kept; each of `not_kept` comes with its reason.
fn cache_warning(not_kept: &[String]) -> Option<String> {
    let first = not_kept.iter().min()?;
    let help =
        if first.contains("immutable") { " (except `cache-*` from the repository's immutable tags)" } else { "" };
    Some(format!("the layers of {} are not kept for later builds: {first}{help}", count(not_kept.len(), "image")))
}
