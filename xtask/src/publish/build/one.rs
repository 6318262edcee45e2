//! Building one image, in as many attempts as a busy registry takes.

use std::cell::RefCell;
use std::io::Write;

use camino::Utf8PathBuf;
use serde_json::Value;

use super::failure::failure;
use super::{BuildRun, Built};
use crate::model::{BuildRecord, BuildResult, Digest, Exit, Failure, Image, Output, Problem};
use crate::publish::cache;
use crate::publish::log::{self, BuildLog};
use crate::run::{Context, Secret, Tries, create_file, is_transient, last_error};
use crate::tools::buildx;
use crate::tools::process::{self, End, Limit, Options, Outcome};

/// Builds an image, and notes in the record what happens.
///
/// # Errors
/// Its build fails, or is interrupted.
pub fn build_one(run: &BuildRun<'_>, image: &Image, record: &mut BuildRecord) -> anyhow::Result<Built> {
    let (ctx, start, secrets) = (run.ctx, run.now(), secrets(run.ctx, image)?);
    let mut outcome = attempt(run, image, &secrets, record).map_err(|error| cannot(image, error))?;
    let mut tries = Tries::new();
    loop {
        let why = matches!(outcome.end, End::Failure(_)).then(|| why_not_pushed_for_now(&outcome.stderr)).flatten();
        let Some(why) = why else { break };
        if !tries.again(ctx, &image.shown(), &why, None) {
            break;
        }
        record.retries_ms.push(log::millis(run.now()));
        outcome = attempt(run, image, &secrets, record).map_err(|error| cannot(image, error))?;
    }
    if !outcome.success() {
        if ctx.interrupted().is_some() || !was_pushed(&outcome.stderr, image) {
            run.tell_failure(image, &outcome.stderr);
            return Err(failure(ctx, image, &outcome, &ctx.shown(&log_path(ctx, image))));
        }
        ctx.ui.warning(format!("{} is pushed, and what came after it failed: {}", image.reference, outcome.reason()));
    }
    record.result = BuildResult::Built;
    let time = run.now() - start;
    run.fold(image, time, &outcome.stderr);
    let noted = || noted_digest(ctx, image).filter(|_| outcome.success());
    let digest = told_digest(&outcome.stderr, image).or_else(noted).filter(|_| image.output == Output::Push);
    let not_kept = cache::refusal(&outcome.stderr);
    Ok(Built { job: image.job.clone(), reference: image.reference.clone(), digest, not_kept, time })
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

/// The digest of an image whose push has come to its end, if that is told.
pub fn pushed_digest(log: &str, image: &Image) -> Option<Digest> {
    told_digest(log, image).filter(|_| was_pushed(log, image))
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

pub fn log_path(ctx: &Context, image: &Image) -> Utf8PathBuf {
    ctx.own_path("logs").join(format!("{}-{}.log", image.job, image.arch))
}

/// Runs the build once, its output line by line into the log.
fn attempt(
    run: &BuildRun<'_>,
    image: &Image,
    secrets: &[(String, Secret)],
    record: &mut BuildRecord,
) -> anyhow::Result<Outcome> {
    let ctx = run.ctx;
    let file = RefCell::new(create_file(ctx, &log_path(ctx, image))?);
    let log = RefCell::new(BuildLog::default());
    let translate = |line: &str| {
        let Some(event) = log::event(line) else { return vec![line.to_owned()] };
        let lines = log.borrow_mut().read(&event, run.now());
        run.told(image, &log.borrow());
        lines
    };
    let on_line = |line: &str| {
        // The log is a copy for people: a full disk shows in the build itself.
        let _ = writeln!(file.borrow_mut(), "{line}");
        run.line(image, line);
    };
    let limit = Limit::Build(image.timeout);
    let given =
        Options { env: secrets, limit, on_line: Some(&on_line), translate: Some(&translate), ..Options::default() };
    let outcome = process::run(ctx, |sh| buildx::build(sh, image), &given);
    record.steps.extend(log.borrow().begun().cloned());
    outcome
}

/// The error of a build that failed only because the registry was busy; the steps themselves are cached by then.
fn why_not_pushed_for_now(log: &str) -> Option<String> {
    last_error(log).filter(|error| pushing_failed(log) && is_transient(error))
}

/// Whether the image was made, and the registry did not take it.
pub fn pushing_failed(log: &str) -> bool {
    log.lines().any(|line| {
        // An engine with the classic image store pushes in a step of its own, whose error says nothing of pushing.
        let is_step = line.starts_with(" > pushing ") && line.ends_with(" with docker:");
        is_step || line.starts_with("ERROR:") && line.contains("failed to push")
    })
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
}
