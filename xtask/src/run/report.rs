//! What people see on stderr, and the data on stdout.

use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;

use super::environment::Environment;
use crate::model::{Exit, Failure, Problem, one_line, printable, whole_line};

/// The verbosity at which `--quiet` hides nothing more.
const ALWAYS: i8 = i8::MIN;

/// What is said of an image or a tag that stays, whatever becomes of the run.
const LASTING: [&str; 4] = ["Loaded", "Pushed", "Written", "Moved"];

/// The terminal, or the log that stands in its place. stdout is data, stderr is talk.
#[derive(Clone, Debug)]
pub struct Ui {
    /// How often `--verbose` was given, or below zero how often `--quiet` was.
    pub verbosity: i8,
    /// Whether somebody watches who may be shown an area that changes.
    pub is_live: bool,
    is_github: bool,
    /// How often each of [`LASTING`] was said.
    done: Arc<[AtomicUsize; LASTING.len()]>,
    /// Why stdout did not take its data, from the first time on.
    lost: Arc<OnceLock<String>>,
    /// What is drawn below all lines: each of these is a row.
    area: Arc<Mutex<Vec<String>>>,
}

impl Ui {
    pub fn new(color: ColorChoice, verbosity: i8, env: &Environment) -> Ui {
        color_choice(color, env).write_global();
        let debug = verbosity == 0 && env.get("RUNNER_DEBUG") == Some("1");
        let verbosity = if debug { 2 } else { verbosity };
        let (done, lost, area) = (Arc::default(), Arc::default(), Arc::default());
        // A runner may give a step a terminal; but its log keeps every line.
        let (is_github, is_dumb) = (env.is_github_actions(), env.get("TERM") == Some("dumb"));
        let is_live = verbosity >= 0 && !is_github && !is_dumb && std::io::stderr().is_terminal();
        Ui { verbosity, is_live, is_github, done, lost, area }
    }

    /// One line of what is going on, the verb right-aligned as cargo does it.
    pub fn status(&self, verb: &str, text: impl Display) {
        let color = match verb {
            "Failed" | "Refused" | "Interrupted" => AnsiColor::Red,
            "Skipped" | "Retrying" | "Missing" => AnsiColor::Yellow,
            _ => AnsiColor::Green,
        };
        self.count(verb);
        self.line(0, bold(color), &format!("{verb:>12}"), &format!(" {}", one_line(&text.to_string())));
    }

    fn count(&self, verb: &str) {
        for (known, done) in LASTING.iter().zip(self.done.iter()) {
            done.fetch_add(usize::from(*known == verb), Ordering::Relaxed);
        }
    }

    /// What was done before a signal came, and that nothing of it is lost.
    pub fn interrupted(&self) {
        let count = |(verb, done): (&&str, &AtomicUsize)| {
            let done = done.load(Ordering::Relaxed);
            (done > 0).then(|| format!("{done} {}", verb.to_lowercase()))
        };
        let done: Vec<String> = LASTING.iter().zip(self.done.iter()).filter_map(count).collect();
        let done = if done.is_empty() { String::new() } else { format!(" ({})", done.join(", ")) };
        self.error(&anyhow::anyhow!("interrupted{done}: a re-run continues"));
    }

    /// A line that only `--verbose` shows.
    pub fn detail(&self, verb: &str, text: impl Display) {
        self.count(verb);
        self.line(1, bold(AnsiColor::Cyan), &format!("{verb:>12}"), &format!(" {}", one_line(&text.to_string())));
    }

    /// A block of text for people, such as a table or the end of a log.
    pub fn text(&self, text: &str) {
        let shown: Vec<String> = text.lines().map(whole_line).collect();
        self.line(0, Style::new(), "", &shown.join("\n"));
    }

    pub fn warning(&self, text: impl Display) {
        self.line(-1, bold(AnsiColor::Yellow), "warning:", &format!(" {}", printable(&text.to_string())));
    }

    /// The error that a command ends with, in a workflow also as annotations.
    /// The text of a problem is taken as it is, because it was made printable where it was put together.
    pub fn error(&self, error: &anyhow::Error) {
        // The runner reads its commands from both streams.
        let annotations = if self.is_github { annotations(error) } else { Vec::new() };
        for annotation in annotations {
            self.line(ALWAYS, Style::new(), "", &annotation);
        }
        let text = format!("{error:#}");
        let shown = if error.is::<Failure>() || error.is::<Problem>() { text } else { printable(&text) };
        self.line(ALWAYS, bold(AnsiColor::Red), "error:", &format!(" {shown}"));
    }

    /// What the caller asked for, on stdout: JSON, references, commands. A closed pipe (`| head`) is no error.
    pub fn data(&self, text: impl Display) {
        self.note_lost(self.above_area(|| writeln!(std::io::stdout().lock(), "{text}")));
    }

    /// A help text on stdout, with its styles where they are wanted.
    pub fn help(&self, text: impl Display) {
        self.note_lost(write!(anstream::stdout().lock(), "{text}"));
    }

    fn note_lost(&self, written: std::io::Result<()>) {
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(self.lost.set(error.to_string())),
            _ => {}
        }
    }

    /// Checks that stdout took all of its data, for the end of a command.
    ///
    /// # Errors
    /// It did not.
    pub fn check_data(&self) -> anyhow::Result<()> {
        let Some(why) = self.lost.get() else { return Ok(()) };
        Err(Problem::new("stdout", format!("cannot be written: {why}"))
            .help("what was done is done: give it a place that takes its data, and repeat the command")
            .exit(Exit::Failed))
    }

    /// The output of a build. In a workflow's log it is collapsed, and the runner is told to take no line of it for a
    /// command; elsewhere `-vv` has shown it as it came.
    pub fn folded_output(&self, title: &str, text: &str) {
        if self.is_github && !text.trim().is_empty() {
            let group = format!("::group::{}\n{}\n::endgroup::", one_line(title), quiet(text));
            self.line(0, Style::new(), "", &group);
        }
    }

    /// The end of a failed program's output: outside of any group, where it is seen.
    pub fn failed_output(&self, title: &str, lines: &[&str]) {
        // After the bar no line of a build can be taken for a workflow command.
        let shown: Vec<String> = lines.iter().map(|line| format!("  | {}", one_line(line))).collect();
        let text = shown.join("\n");
        let text = if self.is_github { quiet(&text) } else { text };
        self.line(0, Style::new(), "", &format!("{}\n{text}", one_line(title)));
    }

    /// Draws an area of two rows or more, or of none, below all lines and in the place of the one before.
    pub fn draw(&self, rows: Vec<String>) {
        let mut area = self.area.lock().unwrap_or_else(PoisonError::into_inner);
        write_area(!area.is_empty(), &rows);
        *area = rows;
    }

    /// A heading between the stages of a rehearsal; a workflow's log has its steps for that.
    pub fn heading(&self, text: impl Display) {
        if !self.is_github {
            self.line(0, bold(AnsiColor::Blue), &format!("\n{}", one_line(&text.to_string())), "");
        }
    }

    /// Text for stderr with a start in a style, from this verbosity on.
    fn line(&self, least: i8, style: Style, start: &str, text: &str) {
        if self.verbosity >= least {
            // Nobody is left to tell of a closed stderr.
            let _ = self.above_area(|| writeln!(anstream::stderr().lock(), "{style}{start}{style:#}{text}"));
        }
    }

    /// Writes whole lines where the area is, which goes on below them.
    fn above_area<R>(&self, write: impl FnOnce() -> R) -> R {
        let area = self.area.lock().unwrap_or_else(PoisonError::into_inner);
        write_area(!area.is_empty(), &[]);
        let written = write();
        write_area(false, &area);
        written
    }
}

/// Writes an area in the place of another. The cursor waits at its start: a terminal that becomes narrower breaks the
/// rows anew, and the cursor stays where all below it is ours; and `^C` is erased with it. (`anstream` would drop all
/// that where colours are not wanted.)
fn write_area(is_drawn: bool, rows: &[String]) {
    // tmux keeps what is erased from the top of the screen on, so the first row is erased by itself; there are two.
    let erase = if is_drawn { "\r\u{1b}[2K\u{1b}[1B\u{1b}[J\u{1b}[1A" } else { "" };
    // As long as the new width is not known, rows that are too long are cut, and not broken.
    let rows = match rows.len() {
        0 => String::new(),
        count => format!("\u{1b}[?7l{}\u{1b}[?7h\r\u{1b}[{}A", rows.join("\n"), count - 1),
    };
    // Nothing is written where there is no area, as to a file.
    let _ = std::io::stderr().lock().write_all(format!("{erase}{rows}").as_bytes());
}

fn bold(color: AnsiColor) -> Style {
    color.on_default().bold()
}

/// Text between commands that stop the runner from reading it: the token that resumes is not to be guessed.
/// See [workflow commands](https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands).
fn quiet(text: &str) -> String {
    // The system seeds the standard library's hash maps: a source of randomness that costs no crate.
    let random = || RandomState::new().build_hasher().finish();
    let token = format!("{:016x}{:016x}", random(), random());
    let lines: Vec<String> = text.lines().map(one_line).collect();
    format!("::stop-commands::{token}\n{}\n::{token}::", lines.join("\n"))
}

/// How many annotations of one kind GitHub shows for a step.
const MOST_ANNOTATIONS: usize = 10;

/// An error's problems as annotations, on the lines they name.
fn annotations(error: &anyhow::Error) -> Vec<String> {
    let Some(failure) = error.downcast_ref::<Failure>() else {
        return vec![format!("::error::{}", escape_message(&format!("{error:#}")))];
    };
    let more = failure.problems.len().saturating_sub(MOST_ANNOTATIONS - 1);
    let shown = if more > 1 { MOST_ANNOTATIONS - 1 } else { MOST_ANNOTATIONS };
    let mut lines: Vec<String> = failure.problems.iter().take(shown).map(annotation).collect();
    lines.extend((more > 1).then(|| format!("::error::and {more} more")));
    lines
}

/// `::error file=…,line=…,col=…::message`, or without a place if the problem is not in a file.
fn annotation(problem: &Problem) -> String {
    let help = problem.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    // `jobs/x/job.json: arches` is a key of a file, and not the name of one.
    let is_file = |place: &str| {
        let file = place.trim_end_matches(|c: char| c == ':' || c.is_ascii_digit());
        ["Cargo.toml", "/job.json", "/Dockerfile"].iter().any(|name| file.ends_with(name))
    };
    let (place, key) = match problem.at.split_once(": ").filter(|(place, _)| is_file(place)) {
        Some((place, key)) => (place, format!("{key}: ")),
        None => (problem.at.as_str(), String::new()),
    };
    if !(place.starts_with("jobs/") || place.starts_with("Cargo.toml")) {
        return format!("::error::{}", escape_message(&format!("{}: {}{help}", problem.at, problem.what)));
    }
    let title = escape_property(place.rsplit_once('/').map_or("Cargo.toml", |(folder, _)| folder));
    format!("::error {},title={title}::{}", position(place), escape_message(&format!("{key}{}{help}", problem.what)))
}

/// `file=…,line=…,col=…` of `file`, `file:line` or `file:line:column`.
fn position(place: &str) -> String {
    let number = |(_, number): &(&str, &str)| number.parse::<u32>().is_ok();
    let Some((start, last)) = place.rsplit_once(':').filter(number) else {
        return format!("file={}", escape_property(place));
    };
    match start.rsplit_once(':').filter(number) {
        Some((file, line)) => format!("file={},line={line},col={last}", escape_property(file)),
        None => format!("file={},line={last}", escape_property(start)),
    }
}

/// The escapes of [workflow commands](https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts).
fn escape_message(text: &str) -> String {
    let lines: Vec<String> = text.replace('%', "%25").replace('\r', "%0D").split('\n').map(one_line).collect();
    lines.join("%0A")
}

fn escape_property(text: &str) -> String {
    escape_message(text).replace(':', "%3A").replace(',', "%2C")
}

/// `--color`, then the variables that the field agreed on, then what the terminal can do.
fn color_choice(flag: ColorChoice, env: &Environment) -> anstream::ColorChoice {
    let forced = |name: &str| env.get(name).is_some_and(|value| value != "0");
    match (flag, env.get("CARGO_TERM_COLOR")) {
        (ColorChoice::Always, _) => anstream::ColorChoice::Always,
        (ColorChoice::Never, _) => anstream::ColorChoice::Never,
        _ if env.get("NO_COLOR").is_some() => anstream::ColorChoice::Never,
        _ if forced("FORCE_COLOR") || forced("CLICOLOR_FORCE") => anstream::ColorChoice::Always,
        (_, Some("always")) => anstream::ColorChoice::Always,
        (_, Some("never")) => anstream::ColorChoice::Never,
        _ if env.is_github_actions() => anstream::ColorChoice::Always,
        _ => anstream::ColorChoice::Auto,
    }
}

/// A duration as people say it: `0.4s`, `12s`, `3m12s`.
pub fn human_time(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

/// `1 job`, `2 jobs`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_commands_nothing() {
        let text = quiet("a\n::add-mask::x\n##[set-output name=x]y");
        let lines: Vec<&str> = text.lines().collect();
        let token = lines[0].strip_prefix("::stop-commands::").unwrap();
        assert_eq!(token.len(), 32);
        assert_eq!(lines[1..], ["a", "::add-mask::x", "# #[set-output name=x]y", &format!("::{token}::")]);
        assert_ne!(quiet("a"), quiet("a"), "another token each time");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(human_time(Duration::from_millis(420)), "0.4s");
        assert_eq!(human_time(Duration::from_secs(192)), "3m12s");
        assert_eq!(count(1, "job"), "1 job");
        assert_eq!(count(0, "job"), "0 jobs");
    }

    #[test]
    fn colour_follows_the_flag_then_the_variables() {
        use anstream::ColorChoice::{Always, Auto, Never};
        let cases = [
            (ColorChoice::Always, Environment::from([("NO_COLOR", "1")]), Always),
            (ColorChoice::Never, Environment::from([("FORCE_COLOR", "1")]), Never),
            (ColorChoice::Auto, Environment::from([("NO_COLOR", "1"), ("FORCE_COLOR", "1")]), Never),
            (ColorChoice::Auto, Environment::from([("CLICOLOR_FORCE", "1")]), Always),
            (ColorChoice::Auto, Environment::from([("CARGO_TERM_COLOR", "never"), ("GITHUB_ACTIONS", "true")]), Never),
            (ColorChoice::Auto, Environment::from([("GITHUB_ACTIONS", "true")]), Always),
            (ColorChoice::Auto, Environment::default(), Auto),
        ];
        for (flag, env, choice) in cases {
            assert_eq!(color_choice(flag, &env), choice, "{flag:?} {env:?}");
        }
    }

    #[test]
    fn annotations_point_at_the_line_and_inject_nothing() {
        let on_line = Problem::new("jobs/a/Dockerfile:3", "no such file\n::set-output name=x::y").help("add it");
        assert_eq!(
            annotation(&on_line),
            "::error file=jobs/a/Dockerfile,line=3,title=jobs/a::no such file%0A::set-output name=x::y%0Ahelp: add it"
        );
        assert_eq!(annotation(&Problem::new("registry `x`", "100% bad")), "::error::registry `x`: 100%25 bad");
        assert_eq!(
            annotation(&Problem::new("jobs/a,b:c", "bad name")),
            "::error file=jobs/a%2Cb%3Ac,title=jobs::bad name"
        );
    }

    #[test]
    fn annotations_tell_the_line_from_the_column_and_a_file_from_its_keys() {
        for (at, annotated) in [
            ("jobs/a/job.json:2:17", "::error file=jobs/a/job.json,line=2,col=17,title=jobs/a::wrong"),
            ("jobs/a/Dockerfile:3", "::error file=jobs/a/Dockerfile,line=3,title=jobs/a::wrong"),
            ("jobs/a/job.json", "::error file=jobs/a/job.json,title=jobs/a::wrong"),
            ("jobs/a/job.json: arches", "::error file=jobs/a/job.json,title=jobs/a::arches: wrong"),
            (
                "Cargo.toml: [workspace.metadata.jobs.runners]",
                "::error file=Cargo.toml,title=Cargo.toml::[workspace.metadata.jobs.runners]: wrong",
            ),
            ("Cargo.toml:12:1: prefix", "::error file=Cargo.toml,line=12,col=1,title=Cargo.toml::prefix: wrong"),
            ("jobs/a: b", "::error file=jobs/a%3A b,title=jobs::wrong"),
            ("jobs/1:2:3:4", "::error file=jobs/1%3A2,line=3,col=4,title=jobs::wrong"),
            ("--arch: x", "::error::--arch: x: wrong"),
        ] {
            assert_eq!(annotation(&Problem::new(at, "wrong")), annotated);
        }
    }

    #[test]
    fn the_eleventh_annotation_says_how_many_more_there_are() {
        let lines = |count: usize| {
            let problems = (0..count).map(|n| Problem::new(format!("jobs/a/Dockerfile:{n}"), "wrong")).collect();
            annotations(&Failure::of(Exit::Usage, problems))
        };
        assert_eq!(lines(10).len(), 10);
        assert_eq!((lines(12).len(), lines(12)[9].as_str()), (10, "::error::and 3 more"));
        assert_eq!(annotations(&anyhow::anyhow!("a\nb")), ["::error::a%0Ab"]);
    }
}
