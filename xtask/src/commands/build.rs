//! `build`: the images of one or more architectures, several side by side; one that fails does not stop the others.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cli::{Build, BuildOptions};
use crate::commands::login;
use crate::model::arch::Arch;
use crate::model::job::JobName;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::{Digest, Reference};
use crate::plan::jobs;
use crate::plan::survey::survey;
use crate::publish::images::{self, Image, Order};
use crate::run::context::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::report::{Bar, count, gantt, human_time, markdown};
use crate::settings::config::Config;
use crate::settings::target::Target;
use crate::tools::buildx::{self, Output};
use crate::tools::process::{self, End, Given};

/// How many lines of a failed build's log are shown.
const LAST_LINES: usize = 20;

pub fn run(ctx: &Context, config: &Config, args: &Build) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    login::renewed(ctx, &target, || build(ctx, config, args, &target))
}

fn build(ctx: &Context, config: &Config, args: &Build, target: &Target) -> anyhow::Result<()> {
    let arches = arches(&args.arch)?;
    let output = output(ctx, args, target)?;
    let selected = jobs::select(ctx, &args.selection)?;
    // What is loaded is for this engine, whatever a registry holds.
    let from = if output == Output::Load { target.without_registry() } else { target.clone() };
    let survey = survey(ctx, config, &from, &selected, &args.plan)?;
    let order = Order { survey: &survey, arches: &arches, output, options: &args.options };
    let images = images::plan(ctx, target, &order)?;
    if args.dry_run.dry_run {
        return print(ctx, &images);
    }
    let built = build_all(ctx, &images, &args.options)?;
    for image in &built.done {
        ctx.ui.data(image);
    }
    built.result().map(drop)
}

/// The architectures to build for: this machine's, unless others are named.
fn arches(named: &[Arch]) -> anyhow::Result<Vec<Arch>> {
    let mut arches = named.to_vec();
    arches.sort_unstable();
    if let Some(twice) = arches.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Problem::new("--arch", format!("`{}` is given twice", twice[0])).usage());
    }
    if arches.is_empty() {
        let own = Arch::of_this_machine().ok_or_else(|| {
            Problem::new("--arch", format!("this machine is {}, which is not built for", std::env::consts::ARCH))
                .help("name an architecture: --arch amd64 or --arch arm64")
                .usage()
        })?;
        arches.push(own);
    }
    Ok(arches)
}

fn output(ctx: &Context, args: &Build, target: &Target) -> anyhow::Result<Output> {
    if args.push {
        target.published_registry("--push")?;
    }
    if target.registry.is_none() && ctx.env.is_github_actions() {
        ctx.ui.status("Skipped", format!("publishing: {}", target.why_nowhere(ctx)));
    }
    Ok(if args.load || target.registry.is_none() { Output::Load } else { Output::Push })
}

fn print(ctx: &Context, images: &[Image]) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    for image in images {
        ctx.ui.data(process::shown(ctx, buildx::build(&sh, &image.build)));
    }
    Ok(())
}

/// Builds the images; one that fails does not stop the others.
///
/// # Errors
/// What concerns all builds; a single build's failure is part of the tally.
pub fn build_all(ctx: &Context, images: &[Image], options: &BuildOptions) -> anyhow::Result<Tally<Built>> {
    if images.is_empty() {
        ctx.ui.status("Finished", "nothing to build");
        return Ok(fleet::tally(std::iter::empty::<String>(), Vec::new()));
    }
    let start = Instant::now();
    let logs = ctx.own_path("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("could not make the folder {logs}"))?;
    let parallel = options.parallel.map_or_else(default_parallel, usize::from);
    let on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
    let done = AtomicUsize::new(0);
    let bars = Mutex::new(Vec::new());
    let results = fleet::run(&ctx.interrupt, parallel, on_failure, images, |image| {
        let started = start.elapsed();
        let built = build_one(ctx, image);
        let bar =
            Bar { name: image.shown(), start: started, length: start.elapsed() - started, failed: built.is_err() };
        if let Ok(mut bars) = bars.lock() {
            bars.push(bar);
        }
        let progress = format!("({}/{})", done.fetch_add(1, Ordering::Relaxed) + 1, images.len());
        match &built {
            Ok(built) => {
                let verb = if image.build.output == Output::Push { "Pushed" } else { "Loaded" };
                ctx.ui.status(verb, format!("{progress} {} in {}", image.build.reference, human_time(built.time)));
            }
            Err(_) => ctx.ui.status("Failed", format!("{progress} {}", image.shown())),
        }
        built
    });
    let rows = rows(images, &results);
    let tally = fleet::tally(images.iter().map(Image::shown), results);
    let line =
        format!("{} of {} built in {}", tally.done.len(), count(images.len(), "image"), human_time(start.elapsed()));
    ctx.ui.status("Finished", &line);
    let picture = gantt("builds", &bars.into_inner().unwrap_or_default());
    let table = markdown(&["image", "result", "why", "time", "reference"], &rows);
    crate::run::github::summary(ctx, &format!("### Build\n\n{line}\n\n{table}\n\n{picture}"))?;
    Ok(tally)
}

/// What became of each image, failures first.
fn rows(images: &[Image], results: &[Option<anyhow::Result<Built>>]) -> Vec<Vec<String>> {
    let mut rows: Vec<(u8, Vec<String>)> = Vec::new();
    for (image, result) in images.iter().zip(results) {
        let (order, what, time) = match result {
            Some(Ok(built)) => (2, "built", human_time(built.time)),
            Some(Err(_)) => (0, "failed", String::new()),
            None => (1, "not started", String::new()),
        };
        let why = image.why.clone();
        rows.push((order, vec![image.shown(), what.to_owned(), why, time, image.build.reference.to_string()]));
    }
    rows.sort_by_key(|(order, _)| *order);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Most of a build's time is the engine's, and some of it waits for the network.
fn default_parallel() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| cores.get().max(4))
}

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

fn build_one(ctx: &Context, image: &Image) -> anyhow::Result<Built> {
    let start = Instant::now();
    ctx.ui.status("Building", image.shown());
    let path = image.log(ctx);
    let cannot = |error: &dyn fmt::Display| {
        let problem = Problem::new(image.shown(), format!("could not be built: {error:#}"));
        Failure::of(Exit::Failed, vec![problem])
    };
    let log = Mutex::new(File::create(&path).map_err(|error| cannot(&format!("{path}: {error}")))?);
    let verbose = ctx.ui.level >= crate::run::report::Level::Everything;
    let on_line = |line: &str| {
        if let Ok(mut log) = log.lock() {
            // The log is a copy for people: a full disk shows in the build itself.
            let _ = writeln!(log, "{line}");
        }
        if verbose {
            ctx.ui.text(&format!("{} {} | {line}", image.job, image.arch()));
        }
    };
    let deadline = image.timeout_minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes)));
    let attempt = || -> anyhow::Result<process::Outcome> {
        let sh = ctx.shell()?;
        let given = Given { deadline, on_line: Some(&on_line), ..Given::default() };
        process::run(ctx, buildx::build(&sh, &image.build), &given)
    };
    let mut outcome = attempt().map_err(|error| cannot(&error))?;
    if matches!(outcome.end, End::Failure(_)) && pushing_failed_for_now(&outcome.stderr) && !ctx.interrupt.is_set() {
        ctx.ui.status("Retrying", format!("{}: the registry was busy", image.shown()));
        outcome = attempt().map_err(|error| cannot(&error))?;
    }
    if !outcome.success() {
        return Err(failure(ctx, image, &outcome));
    }
    ctx.ui.foreign(&format!("{} built in {}", image.shown(), human_time(start.elapsed())), &outcome.stderr);
    let digest = buildx::digest(ctx, &image.build).filter(|_| image.build.output == Output::Push);
    let (job, reference) = (image.job.clone(), image.build.reference.clone());
    Ok(Built { job, reference, digest, time: start.elapsed() })
}

/// Whether a build failed only because the registry was busy; the steps themselves are cached by then.
fn pushing_failed_for_now(log: &str) -> bool {
    let error = log.lines().rev().find(|line| line.starts_with("ERROR:")).unwrap_or_default();
    error.contains("failed to push") && fleet::failing(error) == fleet::Failing::ForNow
}

/// Shows the end of a failed build's log, and says where it failed.
fn failure(ctx: &Context, image: &Image, outcome: &process::Outcome) -> anyhow::Error {
    let lines: Vec<&str> = outcome.stderr.trim_end().lines().collect();
    let tail = &lines[lines.len().saturating_sub(LAST_LINES)..];
    ctx.ui.failed_output(&format!("{} failed, the end of its log:", image.shown()), tail);
    let what = match outcome.end {
        End::Failure(_) => {
            let error = lines.iter().rev().find_map(|line| line.strip_prefix("ERROR: "));
            let error =
                error.map_or_else(|| outcome.ending(), |error| error.replace("failed to build: failed to solve: ", ""));
            format!("the build for {} failed: {error}", image.arch())
        }
        _ => format!("the build for {} {}", image.arch(), outcome.ending()),
    };
    let log = ctx.shown(&image.log(ctx));
    let rerun = format!("cargo xtask build --arch {} {}", image.arch(), image.job);
    let hint = crate::run::hints::help_for(&what);
    // The image is there, and its repository or the right to push is not.
    if let (true, Some(hint)) = (what.contains("failed to push"), hint) {
        let help = format!("{hint}\nthe log is {log}\nrerun: {rerun}");
        return Problem::new(image.build.reference.to_string(), what).help(help).missing();
    }
    let place = match failing_line(&lines) {
        Some(line) => format!("{}:{line}", image.build.dockerfile),
        None => image.build.dockerfile.clone(),
    };
    let hint = hint.map(|hint| format!("{hint}\n")).unwrap_or_default();
    Failure::of(Exit::Failed, vec![Problem::new(place, what).help(format!("{hint}the log is {log}\nrerun: {rerun}"))])
}

/// BuildKit shows the failing instruction below a line `Dockerfile:12`.
fn failing_line<'a>(log: &[&'a str]) -> Option<&'a str> {
    let number = |line: &&'a str| {
        let (file, number) = line.split_once(':')?;
        (file.ends_with("Dockerfile") && number.parse::<u32>().is_ok()).then_some(number)
    };
    log.iter().rev().find_map(number)
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
    fn an_architecture_is_named_once() {
        assert_eq!(arches(&[Arch::Arm64, Arch::Amd64]).unwrap(), Arch::ALL);
        assert_eq!(arches(&[Arch::Arm64, Arch::Arm64]).unwrap_err().to_string(), "--arch: `arm64` is given twice");
    }

    #[test]
    fn only_a_busy_registry_is_tried_again() {
        assert!(pushing_failed_for_now("ERROR: failed to solve: failed to push x: 502 Bad Gateway\n"));
        assert!(!pushing_failed_for_now("ERROR: failed to solve: process \"curl 502 Bad Gateway\" did not complete\n"));
        assert!(!pushing_failed_for_now("ERROR: failed to solve: failed to push x: 401 Unauthorized\n"));
    }
}
