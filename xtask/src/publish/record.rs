//! The record of a run: what became of each image and each tag, and when. It is left as `target/xtask/run.json`, drawn
//! on a page with `--timings`, and told line by line with `--message-format json`. Its schemas are in `xtask/schemas/`.

mod picture;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8Path;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::log::millis;
use super::merge::Merged;
use crate::model::{Arch, BuildRecord, BuildResult, Digest, Failure, Image, JobName, Problem, Step};
use crate::run::fleet::Tally;
use crate::run::{human_time, markdown, summary, write_file};
use crate::settings::Run;

/// The version of the schemas: another one where a field goes, or means something else.
const SCHEMA: u32 = 1;

/// How much of logs goes into a summary, which GitHub drops from 1 MiB on. A log is not cut in the middle, where it
/// would swallow what comes after it.
const LONGEST_LOGS: usize = 500 << 10;

/// How a run is told, as the flags of `build`, `merge` and `pipeline` say.
#[derive(Args, Clone, Debug)]
pub struct Telling {
    /// How to print what is done: as references in the end, or as JSON, an object a line as it comes
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    message_format: MessageFormat,
    /// Draw when each image was built, on a page of its own: target/xtask/timings.html
    #[arg(long)]
    timings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MessageFormat {
    Text,
    Json,
}

/// The record of a run. Times are in milliseconds since it began.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RunRecord {
    /// The version of this schema: another one where a field goes, or means something else.
    schema: u32,
    /// The version of the tool.
    version: &'static str,
    /// `build`, `merge` or `pipeline`.
    command: &'static str,
    /// The commit, with `-dirty` at its end where something was not committed.
    commit: Option<String>,
    tag: String,
    /// When the run began, in milliseconds since 1970.
    began: u64,
    length: u64,
    result: RunResult,
    /// What was planned, by job and architecture.
    images: Vec<ImageRecord>,
    /// The tags that are published, by job.
    published: Vec<PublishedRecord>,
    /// Why the run failed.
    problems: Vec<Problem>,
}

#[derive(Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum RunResult {
    Done,
    Failed,
    Interrupted,
}

/// What became of one job's image for one architecture.
#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ImageRecord {
    job: String,
    arch: Arch,
    result: BuildResult,
    /// The reason of the plan.
    why: String,
    /// Nothing where it was not built in this run.
    start: Option<u64>,
    end: Option<u64>,
    /// When it was tried again, because the registry had been busy.
    retries: Vec<u64>,
    /// In the order in which they began. After a retry, those that were done come again, as cached.
    steps: Vec<Step>,
    /// Where it was to go.
    reference: Option<String>,
    /// What was pushed.
    digest: Option<String>,
    /// The log of its build, from the repository's root.
    log: Option<String>,
}

impl ImageRecord {
    /// An image of which only this is known.
    fn new(job: &JobName, arch: Arch, result: BuildResult, why: &str) -> ImageRecord {
        let (job, why) = (job.to_string(), why.to_owned());
        let (start, end, retries, steps) = (None, None, Vec::new(), Vec::new());
        ImageRecord { job, arch, result, why, start, end, retries, steps, reference: None, digest: None, log: None }
    }

    /// The image as people name it: `job-a (arm64)`.
    fn shown(&self) -> String {
        format!("{} ({})", self.job, self.arch)
    }

    /// What the table of a summary says of it, and where: failures first. Nothing of what was not to be built.
    fn row(&self) -> Option<(usize, Vec<String>)> {
        let order = ["failed", "interrupted", "not started", "built"];
        let place = match self.result {
            BuildResult::Failed => 0,
            BuildResult::Interrupted => 1,
            BuildResult::NotStarted => 2,
            BuildResult::Built => 3,
            BuildResult::Unchanged => return None,
        };
        let time = self.end.zip(self.start).map(|(end, start)| human_time(Duration::from_millis(end - start)));
        let (time, reference) = (time.unwrap_or_default(), self.reference.clone().unwrap_or_default());
        Some((place, vec![self.shown(), order[place].to_owned(), self.why.clone(), time, reference]))
    }
}

/// A tag that is published, and what it points to.
#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PublishedRecord {
    job: String,
    reference: String,
    digest: String,
}

/// A line of `--message-format json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Line<'a> {
    /// The version of this schema: another one where a field goes, or means something else.
    schema: u32,
    #[serde(flatten)]
    message: Message<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message<'a> {
    /// An image whose result is known; after a new login, another result may follow.
    Image(&'a ImageRecord),
    /// A tag that is published.
    Published(&'a PublishedRecord),
    /// The end of the run, and the last line.
    Finished { result: RunResult, length: u64, problems: &'a [Problem] },
}

/// What is known of a run so far.
pub struct Record<'a> {
    run: &'a Run,
    command: &'static str,
    telling: &'a Telling,
    /// When the run began.
    pub start: Instant,
    since_1970: Duration,
    images: Mutex<BTreeMap<(String, Arch), ImageRecord>>,
    published: Mutex<Vec<PublishedRecord>>,
}

impl<'a> Record<'a> {
    /// Begins the record of a command's run.
    pub fn begin(run: &'a Run, command: &'static str, telling: &'a Telling) -> Record<'a> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (images, published) = (Mutex::default(), Mutex::default());
        Record { run, command, telling, start: Instant::now(), since_1970, images, published }
    }

    /// Notes what is planned of an image, unless more is known of it: after a new login, all is planned again.
    pub fn planned(&self, job: &JobName, arch: Arch, result: BuildResult, why: &str) {
        let planned = ImageRecord::new(job, arch, result, why);
        if result == BuildResult::Unchanged {
            self.tell(Message::Image(&planned));
        }
        lock(&self.images).entry((job.to_string(), arch)).or_insert(planned);
    }

    /// Notes and tells what became of an image.
    pub fn ended(&self, image: &Image, build: &BuildRecord, digest: Option<&Digest>, log: &Utf8Path) {
        let image = ImageRecord {
            start: Some(build.start_ms),
            end: Some(build.end_ms),
            retries: build.retries_ms.clone(),
            steps: build.steps.clone(),
            reference: Some(image.reference.to_string()),
            digest: digest.map(ToString::to_string),
            log: Some(log.to_string()),
            ..ImageRecord::new(&build.job, build.arch, build.result, &image.why)
        };
        self.tell(Message::Image(&image));
        lock(&self.images).insert((image.job.clone(), image.arch), image);
    }

    /// Notes and tells what is published.
    pub fn published(&self, merged: &[Merged]) {
        for Merged { expected, reference, index, .. } in merged {
            let (job, reference, digest) = (expected.job.to_string(), reference.to_string(), index.digest.to_string());
            let published = PublishedRecord { job, reference, digest };
            self.tell(Message::Published(&published));
            lock(&self.published).push(published);
        }
    }

    /// Adds the builds to the summary of a step: what became of each image, when, and why some failed.
    pub fn summarize(&self, line: &str) {
        let (ctx, images) = (&self.run.ctx, lock(&self.images));
        let mut rows: Vec<(usize, Vec<String>)> = images.values().filter_map(ImageRecord::row).collect();
        rows.sort_by_key(|(place, _)| *place);
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
        let table = markdown(&["image", "result", "why", "time", "reference"], &rows);
        let (gantt, mut logs) = (picture::gantt("builds", images.values()), String::new());
        for image in images.values().filter(|image| image.result == BuildResult::Failed) {
            let log = image.log.as_ref().and_then(|log| std::fs::read_to_string(ctx.root.join(log)).ok());
            let log = log.map(|log| picture::folded_log(image, &log)).unwrap_or_default();
            if logs.len() + log.len() < LONGEST_LOGS {
                logs.push_str(&log);
            }
        }
        summary(ctx, &format!("### Build\n\n{line}\n\n{table}\n\n{gantt}\n\n{logs}"));
    }

    /// How many images have come to this so far.
    pub fn count(&self, result: BuildResult) -> usize {
        lock(&self.images).values().filter(|image| image.result == result).count()
    }

    /// Prints what was done, unless it has been told, and writes the record.
    ///
    /// # Errors
    /// The run has failed.
    pub fn finish(&self, ended: anyhow::Result<Tally<String>>) -> anyhow::Result<()> {
        let ended = ended.and_then(|tally| {
            let is_told = self.telling.message_format == MessageFormat::Json;
            tally.done.iter().filter(|_| !is_told).for_each(|line| self.run.ctx.ui.data(line));
            tally.failures
        });
        let written = self.write(ended.as_ref().err());
        // A record is a copy for people and programs: what was done is done without it.
        written.unwrap_or_else(|error| self.run.ctx.ui.warning(format!("{error:#}")));
        ended
    }

    fn write(&self, error: Option<&anyhow::Error>) -> anyhow::Result<()> {
        let ctx = &self.run.ctx;
        let record = self.record(error);
        let RunRecord { result, length, problems, .. } = &record;
        self.tell(Message::Finished { result: *result, length: *length, problems });
        let text = serde_json::to_string_pretty(&record)?;
        write_file(ctx, &ctx.own_path("run.json"), format!("{text}\n").as_bytes())?;
        if self.telling.timings {
            let path = ctx.own_path("timings.html");
            write_file(ctx, &path, picture::page(&text).as_bytes())?;
            ctx.ui.status("Drawn", format!("timings: {}", ctx.shown(&path)));
        }
        Ok(())
    }

    fn record(&self, error: Option<&anyhow::Error>) -> RunRecord {
        let Run { ctx, target, .. } = self.run;
        let result = match error {
            _ if ctx.interrupted().is_some() => RunResult::Interrupted,
            Some(_) => RunResult::Failed,
            None => RunResult::Done,
        };
        RunRecord {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            command: self.command,
            commit: target.revision.as_ref().map(ToString::to_string),
            tag: target.tag.value.to_string(),
            began: millis(self.since_1970),
            length: millis(self.start.elapsed()),
            result,
            images: lock(&self.images).values().cloned().collect(),
            published: lock(&self.published).clone(),
            problems: error.map(|error| Failure::told(error, self.command).problems).unwrap_or_default(),
        }
    }

    fn tell(&self, message: Message) {
        if self.telling.message_format == MessageFormat::Json {
            let line = serde_json::to_string(&Line { schema: SCHEMA, message });
            self.run.ctx.ui.data(line.unwrap_or_default());
        }
    }
}

/// A panic cannot leave a list half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    /// The schema of what is written, as it is checked in.
    fn schema<T: schemars::JsonSchema>() -> String {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        serde_json::to_string_pretty(&settings.into_generator().into_root_schema_for::<T>()).unwrap() + "\n"
    }

    #[test]
    fn the_schemas_are_those_of_the_types() {
        expect_file!["../../schemas/run.json"].assert_eq(&schema::<RunRecord>());
        expect_file!["../../schemas/messages.json"].assert_eq(&schema::<Line>());
    }
}
