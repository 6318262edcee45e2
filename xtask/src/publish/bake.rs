//! Building many images at once: a few bakes side by side, each of a slice of the images. What a failure cancels is not
//! lost: those images are left, to be built one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use serde_json::Value;

use super::cache;
use super::images::BuildOptions;
use crate::model::{Digest, Image, Output};
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

/// Builds a slice. `on_pushed` is called with each image as it is pushed; with those that are missing in the end, it
/// went wrong. Gives the images whose layers the registry did not keep, with the reasons.
///
/// # Errors
/// The file cannot be written, or the program cannot be started.
pub fn run<'i>(
    ctx: &Context,
    slice: &[&'i Image],
    on_pushed: &(dyn Fn(&'i Image, Pushed) + Sync),
) -> anyhow::Result<Vec<String>> {
    let (start, file) = (Instant::now(), write_bake_file(ctx, slice)?);
    let pushed = std::cell::RefCell::new(BTreeSet::new());
    let progress = std::cell::RefCell::new(Progress::new(slice));
    let on_line = |line: &str| {
        if ctx.ui.verbosity >= 2 {
            ctx.ui.text(line);
        }
        let mut progress = progress.borrow_mut();
        if let Some((i, digest)) = progress.read(line) {
            let log = progress.logs[i].clone();
            pushed.borrow_mut().insert(i);
            on_pushed(slice[i], Pushed { digest, time: start.elapsed(), log });
        }
    };
    let given = Options { on_line: Some(&on_line), limit: Limit::Build(None), ..Options::default() };
    let outcome = process::run(ctx, |sh| buildx::bake(sh, &file, builder(slice)), &given)?;
    let not_kept = slice.iter().zip(names(slice)).filter_map(|(image, name)| {
        cache::refusal(&outcome.stderr, &format!("[{name}] ")).map(|why| format!("{}: {why}", image.shown()))
    });
    let not_kept = not_kept.collect();
    if !outcome.success() {
        return Ok(not_kept);
    }
    // An engine with the classic image store says nothing of what it pushes.
    let (progress, pushed) = (progress.into_inner(), pushed.into_inner());
    let metadata = std::fs::read_to_string(ctx.root.join(file.with_extension("metadata.json"))).unwrap_or_default();
    let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
    for (i, name) in names(slice).iter().enumerate().filter(|(i, _)| !pushed.contains(i)) {
        let digest = metadata[name]["containerimage.digest"].as_str().and_then(|digest| digest.parse().ok());
        if let Some(digest) = digest {
            on_pushed(slice[i], Pushed { digest, time: start.elapsed(), log: progress.logs[i].clone() });
        }
    }
    Ok(not_kept)
}

/// An image that a bake has pushed.
pub struct Pushed {
    pub digest: Digest,
    /// Since its bake began.
    pub time: Duration,
    /// What was said of it.
    pub log: String,
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

/// What a bake has said so far, by image.
struct Progress {
    /// `[<name>`, which stands before the steps of a target.
    marks: Vec<String>,
    references: Vec<String>,
    logs: Vec<String>,
    /// `#<number>` of a step -> its image.
    steps: BTreeMap<String, usize>,
    /// `#<number>` of a step that pushes -> what it pushes.
    pushing: BTreeMap<String, Digest>,
}

impl Progress {
    fn new(slice: &[&Image]) -> Progress {
        Progress {
            marks: names(slice).iter().map(|name| format!("[{name}")).collect(),
            references: slice.iter().map(|image| format!("{}@", image.reference)).collect(),
            logs: slice.iter().map(|_| String::new()).collect(),
            steps: BTreeMap::new(),
            pushing: BTreeMap::new(),
        }
    }

    /// Reads a line; gives the image that it tells to be pushed.
    fn read(&mut self, line: &str) -> Option<(usize, Digest)> {
        let (step, said) = line.split_once(' ').filter(|(step, _)| step.starts_with('#'))?;
        let is_of = |mark: &String| said.strip_prefix(mark.as_str()).is_some_and(|rest| rest.starts_with([' ', ']']));
        if let Some(i) = self.marks.iter().position(is_of) {
            self.steps.insert(step.to_owned(), i);
        }
        let i = *self.steps.get(step)?;
        // As a build of this image alone would say it.
        let mark = &self.marks[i];
        let plain = line.replacen(&format!("{mark} "), "[", 1).replacen(&format!("{mark}] "), "", 1);
        self.logs[i].push_str(&plain);
        self.logs[i].push('\n');
        let pushing =
            said.strip_prefix("pushing manifest for ").and_then(|rest| rest.strip_prefix(&self.references[i]));
        if let Some(digest) = pushing.and_then(|rest| rest.split(' ').next()?.parse().ok()) {
            self.pushing.insert(step.to_owned(), digest);
        }
        if said.starts_with("DONE ") { Some((i, self.pushing.remove(step)?)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_each_image_is_told_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mut progress = Progress {
            marks: vec!["[a-amd64-0".to_owned(), "[a-amd64-01".to_owned()],
            references: vec!["r/a:1-amd64@".to_owned(), "r/b:1-amd64@".to_owned()],
            logs: vec![String::new(), String::new()],
            steps: BTreeMap::new(),
            pushing: BTreeMap::new(),
        };
        let lines = [
            "#1 [internal] load local bake definitions",
            "#2 [a-amd64-0 1/2] FROM busybox",
            "#3 [a-amd64-01 1/1] RUN x",
            "#2 DONE 0.1s",
            "#4 [a-amd64-0] exporting to image",
            &format!("#4 pushing manifest for r/b:1-amd64@{digest}"),
            "#4 CANCELED",
            "#5 [a-amd64-0] exporting to image",
            &format!("#5 pushing manifest for r/a:1-amd64@{digest} 0.1s done"),
            "#5 DONE 0.2s",
        ];
        let pushed: Vec<_> = lines.iter().filter_map(|line| progress.read(line)).collect();
        assert_eq!(pushed, [(0, digest.parse().unwrap())]);
        assert!(progress.logs[0].starts_with("#2 [1/2] FROM busybox\n#2 DONE 0.1s\n#4 exporting to image\n"));
        assert_eq!(progress.logs[1], "#3 [1/1] RUN x\n");
    }
}
