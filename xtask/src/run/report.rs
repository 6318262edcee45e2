//! What people see on stderr, and the data on stdout.

use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::cli::{Color, Global};
use crate::model::problem::{one_line, printable};
use crate::run::environment::Environment;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Errors,
    Warnings,
    Normal,
    Commands,
    Everything,
}

/// The terminal, or the log that stands in its place. stdout is data, stderr is talk.
#[derive(Clone, Debug)]
pub struct Ui {
    pub level: Level,
    is_github: bool,
}

impl Ui {
    pub fn new(global: &Global, env: &Environment) -> Ui {
        color_choice(global.color, env).write_global();
        let level = match (global.quiet, global.verbose) {
            (0, 0) if env.get("RUNNER_DEBUG") == Some("1") => Level::Everything,
            (0, 0) => Level::Normal,
            (0, 1) => Level::Commands,
            (0, _) => Level::Everything,
            (1, _) => Level::Warnings,
            (_, _) => Level::Errors,
        };
        Ui { level, is_github: env.is_github_actions() }
    }

    /// One line of what is going on, the verb right-aligned as cargo does it.
    pub fn status(&self, verb: &str, text: impl Display) {
        let color = match verb {
            "Failed" | "Refused" | "Interrupted" => AnsiColor::Red,
            "Skipped" | "Retrying" | "Missing" => AnsiColor::Yellow,
            _ => AnsiColor::Green,
        };
        if self.level >= Level::Normal {
            self.line(color.on_default().bold(), &format!("{verb:>12}"), &one_line(&text.to_string()));
        }
    }

    /// A line that only `--verbose` shows.
    pub fn detail(&self, verb: &str, text: impl Display) {
        if self.level >= Level::Commands {
            self.line(AnsiColor::Cyan.on_default().bold(), &format!("{verb:>12}"), &one_line(&text.to_string()));
        }
    }

    /// A block of text for people, such as a table or the end of a log.
    pub fn text(&self, text: &str) {
        if self.level >= Level::Normal {
            let shown: Vec<String> = text.lines().map(one_line).collect();
            self.line(Style::new(), "", &shown.join("\n"));
        }
    }

    pub fn warning(&self, text: impl Display) {
        if self.level >= Level::Warnings {
            self.line(AnsiColor::Yellow.on_default().bold(), "warning:", &printable(&text.to_string()));
        }
    }

    /// An error; its text is taken as it is, because it was made printable where it was put together.
    pub fn error(&self, text: impl Display) {
        self.line(AnsiColor::Red.on_default().bold(), "error:", &text.to_string());
    }

    /// What the caller asked for, on stdout: JSON, references, commands. A closed pipe (`| head`) is no error.
    pub fn data(&self, text: impl Display) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A workflow command for GitHub's runner, which reads both streams.
    pub fn command(&self, command: &str) {
        self.line(Style::new(), "", command);
    }

    /// What a program of somebody else printed. In a workflow's log it is collapsed, and the runner is told to take
    /// no line of it for a command; elsewhere it is shown with `-vv`, as it came.
    pub fn foreign(&self, title: &str, text: &str) {
        if self.is_github && !text.trim().is_empty() && self.level >= Level::Normal {
            let title = one_line(title);
            let inside = quiet(text);
            self.line(Style::new(), "", &format!("::group::{title}\n{inside}\n::endgroup::"));
        }
    }

    /// The end of a failed program's output: outside of any group, where it is seen.
    pub fn failed_output(&self, title: &str, lines: &[&str]) {
        // After the bar no line of a build can be taken for a workflow command.
        let shown: Vec<String> = lines.iter().map(|line| format!("  | {}", one_line(line))).collect();
        let text = shown.join("\n");
        let text = if self.is_github { quiet(&text) } else { text };
        if self.level >= Level::Normal {
            self.line(Style::new(), "", &format!("{}\n{text}", one_line(title)));
        }
    }

    /// A heading between the stages of a rehearsal; a workflow's log has its steps for that.
    pub fn heading(&self, text: impl Display) {
        if self.is_github || self.level < Level::Normal {
            return;
        }
        self.line(AnsiColor::Blue.on_default().bold(), "", &format!("\n{}", one_line(&text.to_string())));
    }

    fn line(&self, style: Style, start: &str, text: &str) {
        let mut stderr = anstream::stderr().lock();
        // Nobody is left to tell of a closed stderr.
        let _ = match start {
            "" => writeln!(stderr, "{style}{text}{style:#}"),
            _ => writeln!(stderr, "{style}{start}{style:#} {text}"),
        };
    }
}

/// Text between commands that stop the runner from reading it: the token that resumes is not to be guessed.
/// See [workflow commands](https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands).
fn quiet(text: &str) -> String {
    // The standard library's hash maps are seeded by the system: the one source of chance that costs no crate.
    let random = || RandomState::new().build_hasher().finish();
    let token = format!("{:016x}{:016x}", random(), random());
    let lines: Vec<String> = text.lines().map(one_line).collect();
    format!("::stop-commands::{token}\n{}\n::{token}::", lines.join("\n"))
}

/// `--color`, then the variables that the field agreed on, then what the terminal can do.
fn color_choice(flag: Color, env: &Environment) -> anstream::ColorChoice {
    let forced = |name: &str| env.get(name).is_some_and(|value| value != "0");
    match flag {
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
        Color::Auto if env.get("NO_COLOR").is_some() => anstream::ColorChoice::Never,
        Color::Auto if forced("FORCE_COLOR") || forced("CLICOLOR_FORCE") => anstream::ColorChoice::Always,
        Color::Auto if env.get("CARGO_TERM_COLOR") == Some("always") => anstream::ColorChoice::Always,
        Color::Auto if env.get("CARGO_TERM_COLOR") == Some("never") => anstream::ColorChoice::Never,
        Color::Auto if env.is_github_actions() => anstream::ColorChoice::Always,
        Color::Auto => anstream::ColorChoice::Auto,
    }
}

/// Rows under headings, each column as wide as its widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// The same as a table in Markdown.
pub fn markdown(headings: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    let plain = |cell: &String| one_line(cell).replace('|', "\\|");
    let mut lines = vec![line(&mut headings.iter().map(ToString::to_string))];
    lines.push(line(&mut headings.iter().map(|_| "---".to_owned())));
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(plain))));
    lines.join("\n")
}

/// One bar of a [`gantt`]: name, start and length, both since the run began.
pub struct Bar {
    pub name: String,
    pub start: Duration,
    pub length: Duration,
    pub failed: bool,
}

/// The longest diagram that GitHub draws, in characters.
const LONGEST_DIAGRAM: usize = 45_000;

/// A picture of time for the summary, in Mermaid; nothing where it would be too long to be drawn.
pub fn gantt(title: &str, bars: &[Bar]) -> String {
    let plain = |text: &str| text.replace([':', ';', '#', ','], " ");
    let mut lines = vec!["```mermaid".to_owned(), "gantt".to_owned(), format!("  title {}", plain(title))];
    lines.extend(["  dateFormat X", "  axisFormat %M:%S"].map(str::to_owned));
    for bar in bars {
        let state = if bar.failed { "crit, " } else { "" };
        let (start, end) = (bar.start.as_secs(), (bar.start + bar.length).as_secs().max(bar.start.as_secs() + 1));
        lines.push(format!("  {} :{state}{start}, {end}", plain(&bar.name)));
    }
    lines.push("```".to_owned());
    let text = lines.join("\n");
    if bars.is_empty() || text.chars().count() > LONGEST_DIAGRAM { String::new() } else { text }
}

/// A duration as people say it: `0.4s`, `12s`, `3m12s`.
pub fn human_time(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

/// A size in bytes as people say it, in powers of 1000.
pub fn human_size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
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
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [vec!["job-a".to_owned(), "x".to_owned()], vec!["b".to_owned(), "yy".to_owned()]];
        assert_eq!(table(&["job", "what"], &rows), "job    what\njob-a  x\nb      yy");
    }

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
    fn a_picture_of_time_is_drawn() {
        let bar = |name: &str, start, length, failed| Bar {
            name: name.to_owned(),
            start: Duration::from_secs(start),
            length: Duration::from_millis(length),
            failed,
        };
        assert_eq!(
            gantt("leg: a", &[bar("job-a (amd64)", 0, 1500, false), bar("b;#:c", 1, 3000, true)]),
            "```mermaid\ngantt\n  title leg  a\n  dateFormat X\n  axisFormat %M:%S\n  job-a (amd64) :0, 1\n  \
             b   c :crit, 1, 4\n```"
        );
        assert_eq!(gantt("x", &[]), "");
        assert_eq!(gantt("x", &std::array::from_fn::<Bar, 2000, _>(|_| bar("a long name of a job", 0, 1, false))), "");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(human_time(Duration::from_millis(420)), "0.4s");
        assert_eq!(human_time(Duration::from_secs(192)), "3m12s");
        assert_eq!(human_size(999), "999 B");
        assert_eq!(human_size(1_234_567), "1.2 MB");
        assert_eq!(count(1, "job"), "1 job");
        assert_eq!(count(0, "job"), "0 jobs");
    }

    #[test]
    fn colour_follows_the_flag_then_the_variables() {
        use anstream::ColorChoice::{Always, Auto, Never};
        let cases = [
            (Color::Always, Environment::from([("NO_COLOR", "1")]), Always),
            (Color::Never, Environment::from([("FORCE_COLOR", "1")]), Never),
            (Color::Auto, Environment::from([("NO_COLOR", "1"), ("FORCE_COLOR", "1")]), Never),
            (Color::Auto, Environment::from([("CLICOLOR_FORCE", "1")]), Always),
            (Color::Auto, Environment::from([("CARGO_TERM_COLOR", "never"), ("GITHUB_ACTIONS", "true")]), Never),
            (Color::Auto, Environment::from([("GITHUB_ACTIONS", "true")]), Always),
            (Color::Auto, Environment::default(), Auto),
        ];
        for (flag, env, choice) in cases {
            assert_eq!(color_choice(flag, &env), choice, "{flag:?} {env:?}");
        }
    }
}
