//! Running other programs: shown, bounded in time, ended when somebody asks to stop, and never losing what they said.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use xshell::{Cmd, cmd};

use crate::model::problem::Problem;
use crate::run::context::Context;
use crate::run::secret::{Secret, redacted};

/// How often a running program is looked after.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a program is given besides its arguments.
#[derive(Default)]
pub struct Given<'a> {
    /// Written to its stdin: the way for anything secret.
    pub stdin: Option<&'a str>,
    /// After which time it is ended.
    pub deadline: Option<Duration>,
    /// Called with each line of its stderr as it comes.
    pub on_line: Option<&'a (dyn Fn(&str) + Sync)>,
    /// Whether the lines of its stdout are given too.
    pub both_streams: bool,
    /// What is covered wherever it says so, in case it repeats what it was given.
    pub secrets: &'a [&'a Secret],
}

/// What a program left when it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command, quoted for a shell.
    pub command: String,
    pub end: End,
    pub stdout: String,
    pub stderr: String,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Success,
    /// With an exit code, or by a signal.
    Failure(ExitStatus),
    TimedOut(Duration),
    Interrupted,
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.end == End::Success
    }

    /// The program's stdout, if it succeeded.
    ///
    /// # Errors
    /// It did not: the error says how it ended, and what it said.
    pub fn read(self) -> anyhow::Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        Err(anyhow::Error::msg(self.complaint()))
    }

    /// How it ended and what it said last, in one sentence.
    pub fn complaint(&self) -> String {
        let said = self.last_words();
        let colon = if said.is_empty() { "" } else { ": " };
        format!("`{}` {}{colon}{said}", self.command, self.ending())
    }

    /// How it ended, in words.
    pub fn ending(&self) -> String {
        match self.end {
            End::Success => "succeeded".to_owned(),
            End::Failure(status) => match status.code() {
                Some(code) => format!("exited with {code}"),
                None => "was ended by a signal".to_owned(),
            },
            End::TimedOut(after) => format!("timed out after {}", crate::run::report::human_time(after)),
            End::Interrupted => "was interrupted".to_owned(),
        }
    }

    /// The end of what it said about its failure.
    pub fn last_words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.trim().lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n").trim_start_matches("ERROR: ").to_owned()
    }
}

/// Runs a command to its end, whatever that is.
///
/// # Errors
/// The program could not be started.
pub fn run(ctx: &Context, cmd: Cmd<'_>, given: &Given<'_>) -> anyhow::Result<Outcome> {
    let (mut command, line) = prepare(ctx, cmd);
    ctx.ui.detail("Running", &line);
    let mut child = spawn(&mut command, given, &line)?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let (end, stdout, stderr) = std::thread::scope(|scope| {
        let on_stdout = given.on_line.filter(|_| given.both_streams);
        let out = scope.spawn(move || stdout.map(|pipe| read_lines(pipe, on_stdout)).unwrap_or_default());
        let err = scope.spawn(|| stderr.map(|pipe| read_lines(pipe, given.on_line)).unwrap_or_default());
        let end = wait(ctx, &mut child, given.deadline);
        (end, out.join().unwrap_or_default(), err.join().unwrap_or_default())
    });
    let end = end.context("could not wait for a program")?;
    let stderr = redacted(&stderr, given.secrets);
    // What succeeded gives data, which stays as it is; what failed gives its last words.
    let stdout = if end == End::Success { stdout } else { redacted(&stdout, given.secrets) };
    let outcome = Outcome { command: line, end, stdout, stderr };
    if ctx.ui.level >= crate::run::report::Level::Everything && given.on_line.is_none() {
        ctx.ui.text(outcome.stderr.trim_end());
    }
    Ok(outcome)
}

/// Runs a command and gives its stdout as it is, byte for byte; `None` if it fails.
///
/// # Errors
/// It could not be started.
pub fn run_bytes(ctx: &Context, cmd: Cmd<'_>) -> anyhow::Result<Option<Vec<u8>>> {
    let (mut command, line) = prepare(ctx, cmd);
    ctx.ui.detail("Running", &line);
    let output = command.stdin(Stdio::null()).output().map_err(|error| could_not_start(&command, &error))?;
    Ok(output.status.success().then_some(output.stdout))
}

/// Runs a command and gives its stdout, without the newline at its end.
///
/// # Errors
/// It could not be started, or failed.
pub fn read(ctx: &Context, cmd: Cmd<'_>) -> anyhow::Result<String> {
    Ok(run(ctx, cmd, &Given::default())?.read()?.trim_end_matches(['\n', '\r']).to_owned())
}

/// Runs a command that belongs to the person at the terminal: what it prints goes to stderr, live.
///
/// # Errors
/// It could not be started, or failed.
pub fn show(ctx: &Context, cmd: Cmd<'_>) -> anyhow::Result<()> {
    let (mut command, line) = prepare(ctx, cmd);
    ctx.ui.detail("Running", &line);
    command.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| could_not_start(&command, &error))?;
    let end = wait(ctx, &mut child, None).context("could not wait for a program")?;
    Outcome { command: line, end, stdout: String::new(), stderr: String::new() }.read().map(drop)
}

/// A command as it can be pasted into a shell.
pub fn shown(ctx: &Context, cmd: Cmd<'_>) -> String {
    prepare(ctx, cmd).1
}

fn prepare(ctx: &Context, cmd: Cmd<'_>) -> (Command, String) {
    let mut command = Command::from(cmd);
    for name in ctx.env.kept_from_programs() {
        command.env_remove(name);
    }
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    let line = words.join(" ");
    (command, line)
}

/// A word for a POSIX shell: in single quotes where it has anything that the shell would not take as it stands.
fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn spawn(command: &mut Command, given: &Given<'_>, line: &str) -> anyhow::Result<Child> {
    command.stdin(if given.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| could_not_start(command, &error))?;
    if let (Some(text), Some(mut pipe)) = (given.stdin, child.stdin.take()) {
        // A program that ends without reading says so itself, in its exit code.
        if let Err(error) = pipe.write_all(text.as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(error).with_context(|| format!("could not write to `{line}`"));
        }
    }
    Ok(child)
}

fn could_not_start(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    let problem = Problem::new(format!("`{program}`"), format!("could not start: {error}"));
    problem.help("install it: cargo xtask setup").missing()
}

fn read_lines(pipe: impl Read, on_line: Option<&(dyn Fn(&str) + Sync)>) -> String {
    let mut all = String::new();
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(&bytes);
        if let Some(on_line) = on_line {
            on_line(line.trim_end_matches(['\n', '\r']));
        }
        all.push_str(&line);
        bytes.clear();
    }
    all
}

/// Waits, but not past the deadline, nor past a signal by more than the child needs to end by itself.
fn wait(ctx: &Context, child: &mut Child, deadline: Option<Duration>) -> std::io::Result<End> {
    const GRACE: Duration = Duration::from_secs(2); // GitHub kills everything 10 s after it cancels
    let start = Instant::now();
    let mut told: Option<(Instant, End)> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match told {
                Some((_, end)) => end,
                None if status.success() => End::Success,
                None => End::Failure(status),
            });
        }
        let late = deadline.filter(|&deadline| start.elapsed() > deadline).map(End::TimedOut);
        let stop = late.or(ctx.interrupt.is_set().then_some(End::Interrupted));
        match (told, stop) {
            (None, Some(end)) => {
                terminate(ctx, child);
                told = Some((Instant::now(), end));
            }
            (Some((since, _)), _) if since.elapsed() > GRACE => child.kill()?,
            _ => {}
        }
        std::thread::sleep(PATIENCE);
    }
}

/// Asks a child to end. The standard library can only kill, so the program of that name asks.
fn terminate(ctx: &Context, child: &mut Child) {
    let pid = child.id().to_string();
    let asked = ctx.shell().map(|sh| cmd!(sh, "kill -TERM {pid}").quiet().ignore_stderr().run().is_ok());
    if !asked.unwrap_or(false) {
        // Already gone, or not to be asked: `try_wait` tells which.
        let _ = child.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, quoted) in [
            ("docker", "docker"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
            ("busybox:1.37=docker-image://x/y@sha256:0", "busybox:1.37=docker-image://x/y@sha256:0"),
            ("{{json .}}", "'{{json .}}'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quote(OsStr::new(word)), quoted);
        }
    }
}
