//! Building images: several side by side, each with a log of its own; one that fails does not stop the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use serde_json::Value;

use super::images::BuildOptions;
use crate::model::{Digest, Exit, Failure, Image, JobName, Output, Problem, Reference};
use crate::run::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::{count, help_for, human_time, markdown, summary};
use crate::tools::buildx;
use crate::tools::process::{self, End, Options, Outcome};

/// How many builds run side by side. A build waits for the registry and for the engine, which shares the cores out by
/// itself: 30 small ones take two thirds of the time that they take four at a time, on two cores.
const PARALLEL: usize = 16;

/// How many lines of a failed build's log are shown.
const LAST_LINES: usize = 20;

/// An image that was built.
pub struct Built {
    pub job: JobName,
    pub time: Duration,
    reference: Reference,
    /// Where it was pushed.
    digest: Option<Digest>,
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
    let start = Instant::now();
    let logs = ctx.own_path("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("could not make the folder {logs}"))?;
    let parallel = options.parallel.map_or(PARALLEL, usize::from);
    let on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
    let (failed, bars) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let tally = fleet::run(ctx, parallel, on_failure, images, Image::shown, |image| {
        let started = start.elapsed();
        let built = build_one(ctx, image);
        let length = start.elapsed() - started;
        if let (Err(_), Ok(mut failed)) = (&built, failed.lock()) {
            failed.insert(image.shown());
        }
        if let Ok(mut bars) = bars.lock() {
            bars.push(bar(&image.shown(), started, length, if built.is_err() { "crit, " } else { "" }));
            report(ctx, image, &built, &format!("({}/{})", bars.len(), images.len()));
        }
        built
    });
    let rows = rows(images, &tally.done, &failed.into_inner().unwrap_or_default());
    let line =
        format!("{} of {} built in {}", tally.done.len(), count(images.len(), "image"), human_time(start.elapsed()));
    ctx.ui.status("Finished", &line);
    let picture = gantt("builds", &bars.into_inner().unwrap_or_default());
    let table = markdown(&["image", "result", "why", "time", "reference"], &rows);
    summary(ctx, &format!("### Build\n\n{line}\n\n{table}\n\n{picture}"))?;
    Ok(tally)
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
    let start = Instant::now();
    ctx.ui.status("Building", image.shown());
    let mut outcome = attempt(ctx, image).map_err(|error| cannot(image, &error))?;
    if matches!(outcome.end, End::Failure(_)) && pushing_failed_for_now(&outcome.stderr) && ctx.interrupted().is_none()
    {
        ctx.ui.status("Retrying", format!("{}: the registry was busy", image.shown()));
        outcome = attempt(ctx, image).map_err(|error| cannot(image, &error))?;
    }
    if !outcome.success() {
        return Err(failure(ctx, image, &outcome));
    }
    ctx.ui.folded_output(&format!("{} built in {}", image.shown(), human_time(start.elapsed())), &outcome.stderr);
    let digest = digest(ctx, image).filter(|_| image.output == Output::Push);
    Ok(Built { job: image.job.clone(), reference: image.reference.clone(), digest, time: start.elapsed() })
}

/// The digest that buildx noted of what it pushed.
fn digest(ctx: &Context, image: &Image) -> Option<Digest> {
    let text = std::fs::read_to_string(ctx.root.join(&image.metadata_file)).ok()?;
    let metadata: Value = serde_json::from_str(&text).ok()?;
    metadata.get("containerimage.digest")?.as_str()?.parse().ok()
}

fn cannot(image: &Image, error: &anyhow::Error) -> anyhow::Error {
    let problem = Problem::new(image.shown(), format!("could not be built: {error:#}"));
    Failure::of(Exit::Failed, vec![problem])
}

fn log_path(ctx: &Context, image: &Image) -> Utf8PathBuf {
    ctx.own_path("logs").join(format!("{}-{}.log", image.job, image.arch))
}

/// Runs the build once, its output line by line into the log.
fn attempt(ctx: &Context, image: &Image) -> anyhow::Result<Outcome> {
    let path = log_path(ctx, image);
    let log = Mutex::new(File::create(&path).with_context(|| path.to_string())?);
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
    let given = Options { deadline: image.timeout, on_line: Some(&on_line), ..Options::default() };
    process::run(ctx, |sh| buildx::build(sh, image), &given)
}

/// Whether a build failed only because the registry was busy; the steps themselves are cached by then.
fn pushing_failed_for_now(log: &str) -> bool {
    let lines: Vec<&str> = log.lines().collect();
    let error = lines.iter().rev().find(|line| line.starts_with("ERROR:")).copied().unwrap_or_default();
    pushing_failed(&lines) && fleet::is_transient(error)
}

/// Whether the image was made, and the registry did not take it.
fn pushing_failed(log: &[&str]) -> bool {
    log.iter().any(|line| {
        // An engine with the classic image store pushes in a step of its own, whose error says nothing of pushing.
        let is_step = line.starts_with(" > pushing ") && line.ends_with(" with docker:");
        is_step || line.starts_with("ERROR:") && line.contains("failed to push")
    })
}

/// Shows the end of a failed build's log, and says where it failed.
fn failure(ctx: &Context, image: &Image, outcome: &Outcome) -> anyhow::Error {
    let lines: Vec<&str> = outcome.stderr.trim_end().lines().collect();
    let tail = &lines[lines.len().saturating_sub(LAST_LINES)..];
    ctx.ui.failed_output(&format!("{} failed, the end of its log:", image.shown()), tail);
    let what = what_failed(image, outcome, &lines);
    let log = ctx.shown(&log_path(ctx, image));
    let more = format!("the log is {log}\nrerun: cargo xtask build --arch {} {}", image.arch, image.job);
    let hint = help_for(&what);
    // The image is there, and its repository or the right to push is not.
    if let (true, Some(hint)) = (pushing_failed(&lines), hint) {
        return Problem::new(image.reference.to_string(), what).help(format!("{hint}\n{more}")).exit(Exit::Missing);
    }
    let dockerfile = image.job.dockerfile();
    let place = match failing_line(&lines) {
        Some(line) => format!("{dockerfile}:{line}"),
        None => dockerfile.to_string(),
    };
    let problem = match overlooked(ctx, image, &what) {
        Some(path) => {
            Problem::new(place, format!("{what}: `{path}` is not among the files that were hashed for the key"))
                .rule("an image is built from the files that its job names, and from no others")
                .help(format!("add \"inputs\": [\"{path}\"] to {}\n{more}", image.job.settings_file()))
        }
        None => Problem::new(place, what).help(hint.map_or(more.clone(), |hint| format!("{hint}\n{more}"))),
    };
    Failure::of(Exit::Failed, vec![problem])
}

fn what_failed(image: &Image, outcome: &Outcome, lines: &[&str]) -> String {
    let error = match outcome.end {
        End::Failure(_) => lines.iter().rev().find_map(|line| line.strip_prefix("ERROR: ")),
        _ => None,
    };
    match error {
        Some(error) => {
            let error = error.replace("failed to build: ", "").replace("failed to solve: ", "");
            format!("the build for {} failed: {error}", image.arch)
        }
        None if matches!(outcome.end, End::Failure(_)) => {
            format!("the build for {} failed: {}", image.arch, outcome.end)
        }
        None => format!("the build for {} {}", image.arch, outcome.end),
    }
}

/// A file of the repository that BuildKit did not find, because it was not given it.
fn overlooked(ctx: &Context, image: &Image, what: &str) -> Option<String> {
    let is_filtered = image.job.dockerfile() != image.dockerfile.as_str();
    let (_, path) = what.strip_suffix("\": not found")?.rsplit_once('"')?;
    let path = path.trim_start_matches('/');
    (is_filtered && !path.is_empty() && ctx.root.join(path).exists()).then(|| path.to_owned())
}

/// BuildKit shows the failing instruction below a line `Dockerfile:12`.
fn failing_line<'a>(log: &[&'a str]) -> Option<&'a str> {
    let number = |line: &&'a str| {
        let (file, number) = line.split_once(':')?;
        (file.ends_with("Dockerfile") && number.parse::<u32>().is_ok()).then_some(number)
    };
    log.iter().rev().find_map(number)
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
    fn the_failing_line_is_read_from_buildkits_excerpt() {
        let log = ["#5 ERROR: x", "------", "Dockerfile:12", "--------------------", "  12 | >>> RUN false"];
        assert_eq!(failing_line(&log), Some("12"));
        assert_eq!(failing_line(&["ERROR: x: y"]), None);
    }

    #[test]
    fn only_a_busy_registry_is_tried_again() {
        assert!(pushing_failed_for_now("ERROR: failed to solve: failed to push x: 502 Bad Gateway\n"));
        assert!(!pushing_failed_for_now("ERROR: failed to solve: process \"curl 502 Bad Gateway\" did not complete\n"));
        assert!(!pushing_failed_for_now("ERROR: failed to solve: failed to push x: 401 Unauthorized\n"));
        // With the classic image store.
        let failed = |error: &str| format!(" > pushing x with docker:\n------\nERROR: failed to build: {error}\n");
        assert!(pushing_failed_for_now(&failed("received unexpected HTTP status: 502 Bad Gateway")));
        assert!(!pushing_failed_for_now(&failed("name unknown: x")));
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
