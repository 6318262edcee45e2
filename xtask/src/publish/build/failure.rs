//! Why a build failed, as its log tells: a step of the Dockerfile, a registry that did not take the image,
//! or an engine that went away.

use camino::Utf8Path;

use super::one::pushing_failed;
use crate::model::{Exit, Image, Problem};
use crate::run::{Context, help_for, is_immutable, last_error};
use crate::tools::process::{End, Outcome};

/// How many lines of a build's log are shown that was ended.
const LAST_LINES: usize = 20;

/// What buildx says when the engine ends, or the way to it, while it builds or before.
const ENGINE_GONE: [&str; 8] = [
    "error reading from server: EOF",
    "closing transport due to",
    "transport is closing",
    "failed to receive status: rpc error: code = Unavailable",
    "error during connect",
    "Cannot connect to the Docker daemon",
    "failed to connect to the docker API",
    "docker daemon is not running",
];

/// Says what failed, and where, with all that is needed to see why.
pub fn failure(ctx: &Context, image: &Image, outcome: &Outcome, log: &Utf8Path) -> anyhow::Error {
    let lines: Vec<&str> = outcome.stderr.trim_end().lines().collect();
    let more = format!("the log is {log}\nrerun: {}", image.rerun);
    let said = last_error(&outcome.stderr).filter(|_| matches!(outcome.end, End::Failure(_)));
    let said = said.map(|said| said.replace("failed to build: ", "").replace("failed to solve: ", ""));
    match said {
        Some(said) if ENGINE_GONE.iter().any(|text| said.contains(text)) => {
            Problem::new("the engine", format!("went away while {} was built: {said}", image.shown()))
                .help(format!("start it: cargo xtask setup\n{more}"))
                .exit(Exit::Missing)
        }
        Some(said) if pushing_failed(&outcome.stderr) => not_pushed(image, &said, &more),
        Some(said) => not_built(ctx, image, &format!("failed: {said}"), &lines, &more),
        None if matches!(outcome.end, End::Failure(_)) => {
            not_built(ctx, image, &format!("failed: {}", outcome.end), &lines, &more)
        }
        None if is_still_pushing(outcome, &lines) => {
            let what = format!("the build for {} {}, while pushing the image", image.arch, outcome.end);
            let help = "run this again when the registry answers; if it needs longer, raise JOBS_TIMEOUTS";
            Problem::new(image.reference.to_string(), what).help(format!("{help}\n{more}")).exit(Exit::Missing)
        }
        None => not_built(ctx, image, &outcome.end.to_string(), &lines, &more),
    }
}

/// Whether the time was up when the image was made, and the registry had not taken all of it.
fn is_still_pushing(outcome: &Outcome, log: &[&str]) -> bool {
    let doing = log.iter().rev().find_map(|line| line.strip_prefix('#')?.split_once(' '));
    matches!(outcome.end, End::TimedOut(_)) && doing.is_some_and(|(_, doing)| doing.starts_with("pushing "))
}

/// The image is there, and its repository, the right to push or the registry is not.
fn not_pushed(image: &Image, said: &str, more: &str) -> anyhow::Error {
    let reference = image.reference.to_string();
    let why = said.replace(&format!("failed to push {reference}: "), "");
    let problem = Problem::new(&reference, format!("could not be pushed: {why}"));
    if is_immutable(&why) {
        let tag = image.reference.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        let tag = tag.trim_end_matches(&format!("-{}", image.arch));
        return problem
            .rule("the repository's tags never change")
            .help(format!("name another tag, for build and merge alike: --tag {tag}-2, or JOBS_TAG\n{more}"))
            .exit(Exit::Refused);
    }
    let hint = help_for(&format!("{reference}: {why}")).unwrap_or("ask whoever runs the registry why it refuses that");
    problem.help(format!("{hint}\n{more}")).exit(Exit::Missing)
}

/// The complaint about a build that did not come to its end, at the instruction where it stopped.
fn not_built(ctx: &Context, image: &Image, how: &str, log: &[&str], more: &str) -> anyhow::Error {
    let what = format!("the build for {} {how}", image.arch);
    let dockerfile = &image.files.dockerfile;
    let place = match failing_line(log, &image.dockerfile) {
        Some(line) => format!("{dockerfile}:{line}"),
        None => dockerfile.to_string(),
    };
    let problem = match overlooked(ctx, image, &what) {
        Some(path) => {
            Problem::new(place, format!("{what}: `{path}` is not among the files that were hashed for the key"))
                .rule("an image is built from the files that its job names, and from no others")
                .help(format!("add \"inputs\": [\"{path}\"] to {}\n{more}", image.files.settings_file()))
        }
        None => {
            let help = help_for(&what).map_or_else(|| more.to_owned(), |hint| format!("{hint}\n{more}"));
            Problem::new(place, what).help(help)
        }
    };
    problem.excerpt(excerpt(log, &image.dockerfile)).exit(Exit::Failed)
}

/// The lines of the Dockerfile around the one that failed, as BuildKit shows them, and the last lines of its step; of a
/// build that was ended, the last lines of its log.
fn excerpt(log: &[&str], dockerfile: &str) -> String {
    let rest_of = |start: Option<usize>| start.map_or(&[][..], |start| &log[start + 1..]);
    let is_end = |line: &&&str| line.starts_with("------");
    let mut shown: Vec<String> = rest_of(log.iter().rposition(|line| line_number(line, dockerfile).is_some()))
        .iter()
        .skip_while(is_end)
        .take_while(|line| !is_end(line))
        .map(|line| line.trim_end().into())
        .collect();
    let step = failed_step(log);
    let printed: Vec<&&str> = rest_of(step).iter().take_while(|line| !is_end(line)).collect();
    if let Some((name, _)) = step.and_then(|step| log[step][3..].split_once(']')).filter(|_| !printed.is_empty()) {
        shown.push(format!("the last lines of step {name}]:"));
        let without_time =
            |line: &&&str| line.split_once(' ').map_or_else(String::new, |(_, said)| format!("  | {said}"));
        shown.extend(printed.iter().map(without_time));
    }
    if shown.is_empty() {
        shown.extend(log[log.len().saturating_sub(LAST_LINES)..].iter().map(|line| format!("  | {line}")));
    }
    shown.join("\n")
}

/// Where the log repeats the last lines of the step that the build's error is about. Of steps that run side by side,
/// several may fail before the first failure cancels them.
fn failed_step(log: &[&str]) -> Option<usize> {
    let said = log.iter().rfind(|line| line.starts_with("ERROR: "))?;
    let is_said = |number: &str, error: &str| number.starts_with('#') && !number.contains(' ') && said.ends_with(error);
    let is_its_error = |line: &&str| line.split_once(" ERROR: ").is_some_and(|(number, error)| is_said(number, error));
    let error = log.iter().position(is_its_error)?;
    let step = log[error..].iter().position(|line| line.starts_with(" > "))?;
    Some(error + step).filter(|&step| log[step].starts_with(" > ["))
}

/// A file of the repository that BuildKit did not find, because it was not given it.
fn overlooked(ctx: &Context, image: &Image, what: &str) -> Option<String> {
    let is_filtered = image.files.dockerfile != image.dockerfile.as_str();
    let (_, path) = what.strip_suffix("\": not found")?.rsplit_once('"')?;
    let path = path.trim_start_matches('/');
    let path = image.files.context.join(path);
    (is_filtered && path != image.files.context && ctx.root.join(&path).exists()).then(|| path.into_string())
}

/// BuildKit shows the failing instruction below a line `Dockerfile:12`.
fn failing_line<'a>(log: &[&'a str], dockerfile: &str) -> Option<&'a str> {
    log.iter().rev().find_map(|line| line_number(line, dockerfile))
}

fn line_number<'a>(line: &'a str, dockerfile: &str) -> Option<&'a str> {
    let (file, number) = line.split_once(':')?;
    let is_it = file.ends_with(Utf8Path::new(dockerfile).file_name()?);
    (is_it && number.parse::<u32>().is_ok()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_read_from_buildkits_excerpt() {
        let log = ["#5 ERROR: x", "------", "Dockerfile:12", "--------------------", "  12 | >>> RUN false"];
        assert_eq!(failing_line(&log, "jobs/x/Dockerfile"), Some("12"));
        assert_eq!(failing_line(&log, "jobs/x/Dockerfile.debug"), None);
    }

    #[test]
    fn a_failure_shows_the_dockerfile_and_what_its_step_printed_last() {
        let log = "#1 [internal] x\n------\n > importing cache manifest from r/a:cache:\n------\n\n\
                   #5 ERROR: process \"make\" did not complete\n------\n > [builder 2/3] RUN make ]:\n0.1 no rule\n\
                   0.2 stop\n------\n\nDockerfile:2\n--------------------\n   1 |     FROM x\n   2 | >>> RUN make ]\n   \
                   3 |     \n--------------------\nERROR: failed to solve: process \"make\" did not complete";
        let shown = |log: &str| excerpt(&log.lines().collect::<Vec<_>>(), "target/xtask/build/a/Dockerfile");
        let dockerfile = "   1 |     FROM x\n   2 | >>> RUN make ]\n   3 |";
        let step = "the last lines of step [builder 2/3]:\n  | no rule\n  | stop";
        assert_eq!(shown(log), format!("{dockerfile}\n{step}"));
        assert_eq!(shown(&log.replace("0.1 no rule\n0.2 stop\n", "")), dockerfile);
        assert_eq!(shown("#1 [internal] x\n#2 [2/2] RUN sleep"), "  | #1 [internal] x\n  | #2 [2/2] RUN sleep");
    }

    /// As buildx 0.29.1 tells of two stages that both fail: either may be the one that it names, and either end last.
    #[test]
    fn of_two_steps_that_fail_at_once_the_one_of_the_error_is_shown() {
        let error = |code| format!("process \"exit {code}\" did not complete successfully: exit code: {code}");
        let step = |number, stage, code| {
            let error = error(code);
            format!("#{number} ERROR: {error}\n------\n > [{stage} 1/3] RUN exit {code}:\n0.2 in {stage}\n------\n\n")
        };
        let (builder, last) = (step(4, "builder", 3), step(5, "stage-1", 4));
        let excerpt_of = |first: &str, second: &str, line, code| {
            let end = format!("Dockerfile:{line}\n----------\n   {line} | >>> RUN exit {code}\n----------\n");
            let log = format!("{first}{second}{end}ERROR: failed to build: failed to solve: {}", error(code));
            excerpt(&log.lines().collect::<Vec<_>>(), "jobs/a/Dockerfile")
        };
        for (first, second) in [(&builder, &last), (&last, &builder)] {
            let shown = "   2 | >>> RUN exit 3\nthe last lines of step [builder 1/3]:\n  | in builder";
            assert_eq!(excerpt_of(first, second, 2, 3), shown);
            let shown = "   6 | >>> RUN exit 4\nthe last lines of step [stage-1 1/3]:\n  | in stage-1";
            assert_eq!(excerpt_of(first, second, 6, 4), shown);
        }
    }
}
