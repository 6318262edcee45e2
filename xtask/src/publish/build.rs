//! Building images: several side by side, each with a log of its own; one that fails does not stop the others.

mod bake;
mod failure;
mod one;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::board::Board;
use super::images::{BuildOptions, Shown};
use super::log::{BuildLog, millis};
use super::record::Record;
use crate::model::{BuildRecord, BuildResult, Digest, Exit, Failure, Image, JobName, Output, Problem, Reference};
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{Context, count, human_time, write_file};
use crate::tools::{Terminal, buildx, process};
use bake::Pushed;
use one::{build_one, log_path};

/// How many builds run side by side. A build waits for the registry and for the engine, which shares the cores out by
/// itself.
const PARALLEL: usize = 32;

/// How often the area is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// How many lines of a failed build's log are shown at once.
const LAST_LINES: usize = 40;

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
    images.iter().for_each(|image| record.planned(&image.job, image.arch, BuildResult::NotStarted, &image.why));
    let streams = options.output == Shown::Stream || ctx.ui.verbosity >= 2;
    let run = BuildRun { ctx, record, total: images.len(), streams, came: Mutex::default() };
    let (stop, stopped) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| run.show(stopped));
        let tally = run.build(images, options);
        drop::<Sender<()>>(stop);
        tally
    })
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
    /// Whether what builds print is shown as it comes.
    streams: bool,
    came: Mutex<Came>,
}

/// What runs, what happened to the images that have ended, and whose layers were not kept, with the reasons.
#[derive(Default)]
struct Came {
    board: Board,
    records: Vec<BuildRecord>,
    /// Why builds failed, by their images.
    failures: BTreeMap<String, Vec<Problem>>,
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

    /// Whether an area shows what runs: not among lines that come all the time.
    fn has_area(&self) -> bool {
        self.ctx.ui.is_live && !self.streams
    }

    /// Shows what runs, until it is stopped or a signal comes.
    fn show(&self, stopped: Receiver<()>) {
        let mut terminal = self.has_area().then(Terminal::new);
        while stopped.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) && self.ctx.interrupted().is_none() {
            let size = terminal.as_mut().map(Terminal::size);
            let mut came = self.came();
            let ended = format!("({}/{})", came.records.len(), self.total);
            if let Some(size) = size {
                self.ctx.ui.draw(came.board.area(&ended, self.now(), size));
            } else if let Some(line) = came.board.heartbeat(&ended, self.now()) {
                self.ctx.ui.status("Building", line);
            }
        }
        self.ctx.ui.draw(Vec::new());
    }

    fn build(&self, images: &[Image], options: &BuildOptions) -> anyhow::Result<Tally<Built>> {
        let (start, parallel) = (Instant::now(), options.parallel.map_or(PARALLEL, usize::from));
        let (slices, _) = bake::slices(images, parallel, options);
        let mut done = self.bake_all(&slices, bake::side_by_side(&slices, parallel))?;
        let is_baked: BTreeSet<String> = done.iter().map(|built| built.reference.to_string()).collect();
        let is_left = |image: &&Image| !is_baked.contains(&image.reference.to_string());
        let left: Vec<&Image> = images.iter().filter(is_left).collect();
        let on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
        let (name, work) = (|image: &&Image| image.shown(), |image: &&Image| self.build_one(image));
        let tally = fleet::run(self.ctx, parallel, on_failure, &left, name, work);
        done.extend(tally.done);
        done.sort_by_key(|built| images.iter().position(|image| image.reference == built.reference));
        self.summarize(images, &done, start.elapsed());
        Ok(Tally { done, failures: tally.failures })
    }

    /// A build begins.
    fn begin(&self, image: &Image) {
        if !self.has_area() {
            self.ctx.ui.status("Building", image.shown());
        }
        self.came().board.begin(image.shown(), self.now());
    }

    /// A build has told more of itself, in these lines among others.
    fn told(&self, image: &Image, log: &BuildLog) {
        self.came().board.step(&image.shown(), log.running());
    }

    /// The log of a build that succeeded, where it was not shown yet.
    fn fold(&self, image: &Image, time: Duration, text: &str) {
        if !self.streams {
            self.ctx.ui.folded_output(&format!("{} built in {}", image.shown(), human_time(time)), text);
        }
    }

    /// The end of a failed build's log, at once where the run goes on: why it failed is said in the end.
    fn tell_failure(&self, image: &Image, text: &str) {
        let is_last = self.came().records.len() + 1 == self.total;
        if !is_last && !self.streams && self.ctx.interrupted().is_none() {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            let tail = &lines[lines.len().saturating_sub(LAST_LINES)..];
            self.ctx.ui.failed_output(&format!("{} failed, the end of its log:", image.shown()), tail);
        }
    }

    /// A line of a build's log.
    fn line(&self, image: &Image, line: &str) {
        if self.streams && !line.is_empty() {
            self.ctx.ui.text(&format!("{} {} | {line}", image.job, image.arch));
        }
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
            self.fold(image, time, &text);
            self.note(image, Some(&built), record);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(built);
        };
        let bake = |slice: &Vec<&Image>| {
            slice.iter().for_each(|image| self.begin(image));
            let not_kept = bake::run(self, slice, &on_pushed);
            // What is not built begins anew.
            slice.iter().for_each(|image| self.came().board.end(&image.shown(), self.now()));
            not_kept
        };
        let not_kept = fleet::run(self.ctx, parallel, OnFailure::GoOn, slices, |_| "bake", bake)
            .result()
            .or_else(|error| if self.ctx.interrupted().is_some() { Ok(Vec::new()) } else { Err(error) })?;
        self.came().not_kept.extend(not_kept.into_iter().flatten());
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn build_one(&self, image: &Image) -> anyhow::Result<Built> {
        self.begin(image);
        let mut record = BuildRecord::new(image, millis(self.now()));
        let built = build_one(self, image, &mut record);
        record.end_ms = millis(self.now());
        if let Err(error) = &built {
            match self.ctx.interrupted() {
                Some(_) => record.result = BuildResult::Interrupted,
                None => self
                    .came()
                    .failures
                    .extend(error.downcast_ref::<Failure>().map(|failure| (image.shown(), failure.problems.clone()))),
            }
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
        came.board.end(&image.shown(), self.now());
        let progress = format!("({}/{})", came.records.len() + 1, self.total);
        report(self.ctx, image, built, &record, &progress);
        came.records.push(record);
    }

    fn summarize(&self, images: &[Image], done: &[Built], took: Duration) {
        let came = self.came();
        if let Some(warning) = cache_warning(&came.not_kept) {
            self.ctx.ui.warning(warning);
        }
        let line = format!("{} of {} built in {}", done.len(), count(images.len(), "image"), human_time(took));
        let others = [
            (BuildResult::Failed, "failed"),
            (BuildResult::Interrupted, "interrupted"),
            (BuildResult::Unchanged, "unchanged"),
        ];
        let others = others.map(|(result, what)| (self.record.count(result), what));
        let others: Vec<String> =
            others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
        self.ctx.ui.status("Finished", format!("{line}{others}"));
        if self.ctx.interrupted().is_some() && !came.failures.is_empty() {
            // In the end, it is said that the run was interrupted, and no more.
            let problems = came.failures.values().flatten().cloned().collect();
            self.ctx.ui.error(&Failure::of(Exit::Failed, problems));
        }
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
        None if record.result == BuildResult::Interrupted => {
            ctx.ui.status("Interrupted", format!("{progress} {}", image.shown()));
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
