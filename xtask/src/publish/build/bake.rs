//! Building many images at once: a few bakes side by side, each of a slice of the images. What a failure cancels is not
//! lost: those images are left, to be built one by one.

use std::cell::RefCell;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde_json::Value;

use super::BuildRun;
use super::one::pushed_digest;
use crate::model::{BuildRecord, BuildResult, Digest, Image, Output};
use crate::publish::cache;
use crate::publish::images::BuildOptions;
use crate::publish::log::{self, BuildLog};
use crate::run::{Context, write_file};
use crate::tools::buildx;
use crate::tools::process::{self, Limit, Options};

/// How many images one bake builds at most. A failure cancels what is under way of the others, and starting a bake
/// costs as much as half a small build.
const LARGEST: usize = 16;
/// From how many images on bakes build them: fewer are built as fast one by one.
const FEWEST: usize = 9;

/// The images, parted into those that are built together and those that are built one by one: few images, those that
/// must end in time or may mount secrets, and all of them where the first failure is to end the run.
pub fn slices<'i>(
    images: &'i [Image],
    parallel: usize,
    options: &BuildOptions,
) -> (Vec<Vec<&'i Image>>, Vec<&'i Image>) {
    let is_plain = |image: &&Image| {
        let is_given = !image.secrets.is_empty() || !image.ssh.is_empty();
        image.output == Output::Push && image.timeout.is_none() && !is_given && !options.fail_fast
    };
    let (together, alone): (Vec<&Image>, Vec<&Image>) = images.iter().partition(is_plain);
    let largest = LARGEST.min(parallel);
    if together.len() < FEWEST || largest < 2 {
        return (Vec::new(), images.iter().collect());
    }
    // Of equal size, so that none is left to run by itself at the end; and two at least, for one waits for its engine.
    let size = together.len().div_ceil(together.len().div_ceil(largest).max(2));
    (together.chunks(size).map(<[&Image]>::to_vec).collect(), alone)
}

/// How many slices are built side by side, where so many images may be.
pub fn side_by_side(slices: &[Vec<&Image>], parallel: usize) -> usize {
    slices.first().map_or(1, |slice| (parallel / slice.len()).max(1))
}

/// The command that builds a slice, as it can be pasted into a shell. Its file is written.
///
/// # Errors
/// The file cannot be written.
pub fn command(ctx: &Context, slice: &[&Image]) -> anyhow::Result<String> {
    let file = write_bake_file(ctx, slice)?;
    process::shown(ctx, |sh| buildx::bake(sh, &file, builder(slice)))
}

/// Builds a slice. `on_pushed` is called with each image as it is pushed; with those
/// that are missing in the end, it went wrong. Gives the images whose layers the registry did not keep, with the
/// reasons.
///
/// # Errors
/// The file cannot be written, or the program cannot be started.
pub fn run<'i>(
    run: &BuildRun<'_>,
    slice: &[&'i Image],
    on_pushed: &(dyn Fn(&'i Image, Pushed) + Sync),
) -> anyhow::Result<Vec<String>> {
    let (ctx, start, file) = (run.ctx, run.now(), write_bake_file(run.ctx, slice)?);
    let builds = slice.iter().zip(names(slice));
    let builds = builds.map(|(image, name)| OneOf::new(image, BuildLog::of_target(name)));
    let builds: RefCell<Vec<OneOf<'i>>> = RefCell::new(builds.collect());
    let on_line = |line: &str| {
        let Some(event) = log::event(line) else { return };
        for build in builds.borrow_mut().iter_mut() {
            let has_ended = build.read(run, &event);
            let digest = has_ended.then(|| pushed_digest(&build.text, build.image)).flatten();
            let pushed = build.pushed(digest, start, run.now());
            if let Some(pushed) = pushed {
                on_pushed(build.image, pushed);
            }
        }
    };
    let given = Options { on_line: Some(&on_line), limit: Limit::Build(None), ..Options::default() };
    let outcome = process::run(ctx, |sh| buildx::bake(sh, &file, builder(slice)), &given)?;
    let mut builds = builds.into_inner();
    // An engine with the classic image store says nothing of what it pushes.
    let metadata = std::fs::read_to_string(ctx.root.join(file.with_extension("metadata.json"))).unwrap_or_default();
    let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
    for (build, name) in builds.iter_mut().zip(names(slice)).filter(|_| outcome.success()) {
        let digest = metadata[name]["containerimage.digest"].as_str().and_then(|digest| digest.parse().ok());
        let pushed = build.pushed(digest, start, run.now());
        if let Some(pushed) = pushed {
            on_pushed(build.image, pushed);
        }
    }
    let not_kept = builds
        .iter()
        .filter_map(|build| cache::refusal(&build.text).map(|why| format!("{}: {why}", build.image.shown())));
    Ok(not_kept.collect())
}

/// An image that a bake has pushed.
pub struct Pushed {
    pub digest: Digest,
    /// From the beginning of its bake on.
    pub record: BuildRecord,
    /// What was said of it.
    pub text: String,
}

/// One of the images of a bake, and what has been said of it.
struct OneOf<'i> {
    image: &'i Image,
    log: BuildLog,
    text: String,
    is_told: bool,
}

impl<'i> OneOf<'i> {
    fn new(image: &'i Image, log: BuildLog) -> OneOf<'i> {
        OneOf { image, log, text: String::new(), is_told: false }
    }

    /// Reads what buildx tells; whether a step of this image has ended.
    fn read(&mut self, run: &BuildRun<'_>, event: &Value) -> bool {
        let lines = self.log.read(event, run.now());
        if !lines.is_empty() && !self.is_told {
            run.told(self.image, &self.log);
        }
        for line in &lines {
            run.line(self.image, line);
            self.text.push_str(line);
            self.text.push('\n');
        }
        lines.iter().any(|line| line.contains(" DONE "))
    }

    /// What is to be told of the image once it is pushed, once.
    fn pushed(&mut self, digest: Option<Digest>, start: Duration, now: Duration) -> Option<Pushed> {
        let digest = digest.filter(|_| !self.is_told)?;
        self.is_told = true;
        let steps = self.log.begun().cloned().collect();
        let record = BuildRecord::new(self.image, log::millis(start));
        let record = BuildRecord { end_ms: log::millis(now), result: BuildResult::Built, steps, ..record };
        Some(Pushed { digest, record, text: self.text.clone() })
    }
}

/// The builder, which is the same for all images of a run.
fn builder<'i>(slice: &[&'i Image]) -> Option<&'i str> {
    slice.first().and_then(|image| image.builder.as_deref())
}

/// Writes the bake file of a slice, and gives its path as the command has it. Its name tells what it holds: another run
/// in the same folder may build other images, or push them elsewhere.
fn write_bake_file(ctx: &Context, slice: &[&Image]) -> anyhow::Result<Utf8PathBuf> {
    let targets: Vec<(String, &Image)> = names(slice).into_iter().zip(slice.iter().copied()).collect();
    let text = buildx::bake_file(&targets);
    let digest = Digest::of_content(text.as_bytes()).short().replace("sha256:", "");
    let path = ctx.own_path("build").join(format!("bake-{digest}.json"));
    write_file(ctx, &path, text.as_bytes())?;
    Ok(ctx.shown(&path))
}

/// The targets' names, which take no dots. Numbers keep those apart that are alike without.
fn names(slice: &[&Image]) -> Vec<String> {
    let name = |(i, image): (usize, &&Image)| format!("{}-{}-{i}", image.job.as_str().replace('.', "_"), image.arch);
    slice.iter().enumerate().map(name).collect()
}
