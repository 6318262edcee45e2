//! Running other programs: shown, bounded in time, ended when somebody asks to stop, and never losing what they said.
//!
//! Each program leads a process group of its own, so that a limit or a signal ends it together with all that it
//! started. Ctrl-C at the terminal therefore reaches this program alone, which passes it on.

mod end;

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Cmd, Shell, cmd};

pub use end::{End, Limit};

use super::buildx;
use crate::model::{Exit, Problem, one_line};
use crate::run::{Context, Secret, last_error};

/// How often a running program is checked for its end, its limit and a signal: at first as often as a program that
/// answers at once needs, such as git, and then as seldom as a build.
const POLL_INTERVALS: RangeInclusive<Duration> = Duration::from_micros(200)..=Duration::from_millis(4);
/// How long a program may take to end by itself once it is asked to. GitHub kills everything 10 s after it cancels.
const GRACE: Duration = Duration::from_secs(2);
/// How long output is read after its program has ended: one that it left behind may keep the pipe open for ever.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How many pieces of output wait to be taken before the program has to wait.
const BACKLOG: usize = 16;
/// A shorter text is no secret, and covering it would make every message unreadable.
const SHORTEST_SECRET: usize = 4;

/// What is done with bytes as they come.
type OnBytes<'a> = dyn Fn(&[u8]) + 'a;
/// What a line means in lines for people.
type Translate<'a> = dyn Fn(&str) -> Vec<String> + 'a;

/// What a program is given besides its arguments, and how it is watched.
#[derive(Default)]
pub struct Options<'a> {
    /// Written to its stdin: the way for anything secret.
    pub stdin: Option<&'a str>,
    /// Variables for this program alone: the secrets of a build, which buildx takes from its environment. They are
    /// covered in what it says.
    pub env: &'a [(String, Secret)],
    pub limit: Limit,
    /// Called with each line of its output as it comes.
    pub on_line: Option<&'a dyn Fn(&str)>,
    /// Reads its stderr where that is for programs: what it means to people is then what it has said.
    pub translate: Option<&'a Translate<'a>>,
    /// Given its stdout as it comes, which may then be more than can be kept.
    pub on_stdout: Option<&'a OnBytes<'a>>,
    /// Covered in what it says, in case it repeats what it was given.
    pub secrets: &'a [&'a Secret],
}

/// What a program left when it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command, quoted for a shell.
    pub command: String,
    pub end: End,
    pub stdout_bytes: Vec<u8>,
    pub stderr: String,
}

/// The command, how it ended, and the end of what it said, in one sentence.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.last_lines();
        let colon = if said.is_empty() { "" } else { ": " };
        write!(f, "`{}` {}{colon}{said}", self.command, self.end)
    }
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.end == End::Success
    }

    /// The program's stdout as text.
    pub fn stdout(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout_bytes)
    }

    /// The program's stdout, if it succeeded.
    ///
    /// # Errors
    /// It did not: the error says how it ended, and what it said.
    fn read(self) -> anyhow::Result<String> {
        if self.success() { Ok(self.stdout().into_owned()) } else { Err(anyhow::Error::msg(self.to_string())) }
    }

    /// Why it failed: the end of what it said, or how it ended if it said nothing. Never empty. What was ended had said
    /// what it was doing, and not why.
    pub fn reason(&self) -> String {
        let said = self.last_lines();
        if said.is_empty() || self.end.is_forced() { self.end.to_string() } else { said }
    }

    fn last_lines(&self) -> String {
        let stdout = self.stdout();
        let said = if self.stderr.trim().is_empty() { &stdout } else { self.stderr.as_str() };
        // What buildx says before its error is what it was doing.
        last_error(said).unwrap_or_else(|| {
            let lines: Vec<&str> = said.trim().lines().collect();
            lines[lines.len().saturating_sub(8)..].join("\n")
        })
    }
}

/// Runs a command to its end, whatever that is.
///
/// # Errors
/// The program could not be started.
pub fn run(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>, options: &Options<'_>) -> anyhow::Result<Outcome> {
    let (command, line) = prepare(ctx, cmd)?;
    run_prepared(ctx, command, line, options)
}

/// The part of [`run`] that is compiled once, and not for each command.
fn run_prepared(ctx: &Context, command: Command, line: String, options: &Options<'_>) -> anyhow::Result<Outcome> {
    if ctx.interrupted().is_some() {
        return Ok(Outcome { command: line, end: End::Interrupted, stdout_bytes: Vec::new(), stderr: String::new() });
    }
    ctx.ui.detail("Running", &line);
    let (mut child, target) = start(ctx, command, options)?;
    let secrets: Vec<&Secret> =
        options.secrets.iter().copied().chain(options.env.iter().map(|(_, secret)| secret)).collect();
    let covered = |line: &str| options.on_line.iter().for_each(|on_line| on_line(&redacted(line.as_bytes(), &secrets)));
    let on_line: Option<&dyn Fn(&str)> = if options.on_line.is_some() { Some(&covered) } else { None };
    let translated = RefCell::new(Vec::new());
    let on_foreign = |line: &str| {
        for line in options.translate.iter().flat_map(|translate| translate(line)) {
            covered(&line);
            translated.borrow_mut().extend([line.as_bytes(), b"\n"].concat());
        }
    };
    let on_error: Option<&dyn Fn(&str)> = if options.translate.is_some() { Some(&on_foreign) } else { on_line };
    let (out, err) = (pieces_of(child.stdout.take()), pieces_of(child.stderr.take()));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut read = |stderr: &mut Vec<u8>| {
        let closed = take_pieces(&out, &mut stdout, on_line);
        if let Some(on_stdout) = options.on_stdout {
            on_stdout(&stdout);
            stdout.clear();
        }
        take_pieces(&err, stderr, on_error) && closed
    };
    let limit = options.limit.of(ctx);
    let end = wait(ctx, &mut child, limit, &mut || read(&mut stderr)).context("could not wait for a program")?;
    let said = if options.translate.is_some() { translated.borrow().len() } else { stderr.len() };
    if end.is_forced() {
        stop(ctx, &mut child, &target, &mut || read(&mut stderr)).context("could not end a program")?;
    }
    for (on_line, all) in [(on_line, &stdout), (on_error, &stderr)] {
        // A last line without a newline.
        on_line.iter().for_each(|on_line| String::from_utf8_lossy(&all[last_line(all)..]).lines().for_each(on_line));
    }
    let stderr = if options.translate.is_some() { translated.into_inner() } else { stderr };
    // What it says of our signal is no reason: that is what it said before.
    let stderr = redacted(if end.is_forced() { &stderr[..said] } else { &stderr }, &secrets);
    // What succeeded gives data, which stays as it is; what failed gives its reason.
    let stdout = if end == End::Success { stdout } else { redacted(&stdout, &secrets).into_bytes() };
    if ctx.ui.verbosity >= 2 && options.on_line.is_none() {
        ctx.ui.text(stderr.trim_end());
    }
    Ok(Outcome { command: line, end, stdout_bytes: stdout, stderr })
}

/// Starts a program with what it is given, and tells by which number it is signalled.
fn start(ctx: &Context, command: Command, options: &Options<'_>) -> anyhow::Result<(Child, String)> {
    let mut command = dying_with_us(ctx, command);
    command.stdin(if options.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(options.env.iter().map(|(name, secret)| (name, secret.reveal())));
    let sign = lead_group(&mut command);
    let mut child = command.spawn().map_err(|error| could_not_start(&command, &error))?;
    let target = format!("{sign}{}", child.id());
    feed(&mut child, options.stdin);
    Ok((child, target))
}

/// Runs a command and gives its stdout, without the newline at its end.
///
/// # Errors
/// It could not be started, or failed.
pub fn read(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>, options: &Options<'_>) -> anyhow::Result<String> {
    Ok(run(ctx, cmd, options)?.read()?.trim_end_matches(['\n', '\r']).to_owned())
}

/// Runs a command that belongs to the person at the terminal: what it prints goes there, live. Its stdout is `stderr`
/// unless it prints this command's own data. It stays in the terminal's foreground group, where it may ask for a
/// password.
///
/// # Errors
/// It could not be started, or failed.
pub fn show(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>, limit: Limit, stdout: Stdio) -> anyhow::Result<()> {
    let (mut command, line) = prepare(ctx, cmd)?;
    anyhow::ensure!(ctx.interrupted().is_none(), "interrupted");
    ctx.ui.detail("Running", &line);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| could_not_start(&command, &error))?;
    let end = wait(ctx, &mut child, limit.of(ctx), &mut || true).context("could not wait for a program")?;
    if end.is_forced() {
        let target = child.id().to_string();
        stop(ctx, &mut child, &target, &mut || true).context("could not end a program")?;
    }
    Outcome { command: line, end, stdout_bytes: Vec::new(), stderr: String::new() }.read().map(drop)
}

/// Starts a program that goes on after this one has ended, in a process group of its own, so that Ctrl-C in this
/// terminal does not end it. What it prints goes to the log.
///
/// # Errors
/// It could not be started, or the log cannot be written.
pub fn spawn_daemon(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>, log: &Utf8Path) -> anyhow::Result<Child> {
    let (mut command, line) = prepare(ctx, cmd)?;
    anyhow::ensure!(ctx.interrupted().is_none(), "interrupted");
    ctx.ui.detail("Running", format!("{line} >{log} 2>&1 &"));
    log.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .with_context(|| format!("could not make the folder of {log}"))?;
    let file = File::create(log).with_context(|| format!("could not write {log}"))?;
    lead_group(&mut command);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().map_err(|error| could_not_start(&command, &error))
}

/// A command as it can be pasted into a shell.
pub fn shown(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<String> {
    Ok(prepare(ctx, cmd)?.1)
}

/// A command at the repository's root, without the variables that its program is not given; and as it can be pasted
/// into a shell.
fn prepare(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<(Command, String)> {
    let sh = Shell::new().context("could not read the working directory")?;
    sh.change_dir(&ctx.root);
    Ok(with_line(ctx, Command::from(cmd(&sh))))
}

fn with_line(ctx: &Context, command: Command) -> (Command, String) {
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    let kept: Vec<&str> = ctx.env.kept_from(command.get_program()).collect();
    let mut command = buildx::as_plugin(ctx, command);
    for name in kept {
        command.env_remove(name);
    }
    (command, words.join(" "))
}

/// A word for a POSIX shell: in single quotes where it has anything that the shell would not take as it stands. What
/// would steer the terminal, or end the line, is escaped in the quotes `$'…'`, which bash, zsh and ksh know.
pub fn quote(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    let is_hidden = |c: char| c.is_control() || one_line(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8();
    if !word.chars().any(is_hidden) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let escaped = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if is_hidden(c) && c.is_ascii() => format!("\\{:03o}", u32::from(c)),
        c if is_hidden(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("$'{}'", word.chars().map(escaped).collect::<String>())
}

fn could_not_start(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    let problem = Problem::new(format!("`{program}`"), format!("could not start: {error}"));
    problem.help("install it: cargo xtask setup").exit(Exit::Missing)
}

/// The same program, killed by the kernel when this one dies without a chance to end it, as by `kill -9`: an orphan
/// would go on writing to a registry. It stays as it is where there is no `setpriv`, as on macOS, and where it is not
/// found itself, which it has to say under its own name. `sudo` is another user's, whose programs no signal reaches.
/// And nobody but `cosign` is given what asks for the workflow's identity; it only writes about what is published.
fn dying_with_us(ctx: &Context, command: Command) -> Command {
    let program = command.get_program();
    // BusyBox has a `setpriv` of its own, which does not know the option.
    let is_whole = |path: &Utf8PathBuf| path.canonicalize().is_ok_and(|real| !real.ends_with("busybox"));
    let setpriv = find_program(ctx, OsStr::new("setpriv")).filter(is_whole);
    let is_wrapped = program != "sudo" && program != "cosign" && find_program(ctx, program).is_some();
    let Some(setpriv) = setpriv.filter(|_| is_wrapped) else { return command };
    let mut wrapped = Command::new(setpriv);
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(program).args(command.get_args());
    take_surroundings(&mut wrapped, &command);
    wrapped
}

/// A program, from the first folder of `PATH` that has it.
pub fn find_program(ctx: &Context, program: &OsStr) -> Option<Utf8PathBuf> {
    let program = program.to_str()?;
    ctx.env.get("PATH")?.split(':').map(|dir| Utf8Path::new(dir).join(program)).find(|path| path.is_file())
}

/// Gives a command the variables and the working directory of the one whose place it takes.
pub fn take_surroundings(command: &mut Command, of: &Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    of.get_current_dir().map(|dir| command.current_dir(dir));
}

/// Makes a program lead a process group, and gives the sign of the number by which it is signalled.
/// `sudo` asks for a password at the terminal, which only the group in the foreground may read, so it stays there.
fn lead_group(command: &mut Command) -> &'static str {
    if command.get_program() == "sudo" {
        return "";
    }
    command.process_group(0);
    "-"
}

/// Writes a program's stdin from a thread of its own, because the program may print before it reads.
fn feed(child: &mut Child, text: Option<&str>) {
    if let (Some(text), Some(mut pipe)) = (text.map(str::to_owned), child.stdin.take()) {
        // A program that ends without reading says so itself, in its exit code.
        std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    }
}

/// What comes out of a pipe, piece by piece, read by a thread that nobody has to wait for.
fn pieces_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, pieces) = sync_channel(BACKLOG);
    std::thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(length @ 1..) if sender.send(buffer[..length].to_vec()).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
    pieces
}

/// Takes the pieces that have come; whether there will be no more. No more than a backlog at once: a program that never
/// stops printing must not keep its limit from being checked.
fn take_pieces(pieces: &Receiver<Vec<u8>>, all: &mut Vec<u8>, on_line: Option<&dyn Fn(&str)>) -> bool {
    for _ in 0..BACKLOG {
        match pieces.try_recv() {
            Ok(piece) => {
                let start = on_line.map_or(0, |_| last_line(all));
                all.extend(piece);
                if let Some(on_line) = on_line {
                    String::from_utf8_lossy(&all[start..last_line(all)]).lines().for_each(on_line);
                }
            }
            Err(error) => return error == TryRecvError::Disconnected,
        }
    }
    false
}

/// Where the last line starts, which is not complete yet.
fn last_line(text: &[u8]) -> usize {
    text.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1)
}

/// What a program said, as text and without the secrets.
fn redacted(said: &[u8], secrets: &[&Secret]) -> String {
    let mut text = String::from_utf8_lossy(said).into_owned();
    for secret in secrets.iter().map(|secret| secret.reveal()) {
        // A secret of several lines is printed line by line.
        for part in std::iter::once(secret).chain(secret.lines()).filter(|part| part.len() >= SHORTEST_SECRET) {
            text = text.replace(part, "***");
        }
    }
    text
}

/// Waits for a program's end, for its limit, or for a signal. `read` takes what was printed, and tells whether that was
/// all.
fn wait(
    ctx: &Context,
    child: &mut Child,
    limit: Option<Duration>,
    read: &mut dyn FnMut() -> bool,
) -> std::io::Result<End> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            poll(DRAIN_TIMEOUT, read);
            return Ok(if status.success() { End::Success } else { End::Failure(status) });
        }
        let late = limit.filter(|&limit| start.elapsed() > limit).map(End::TimedOut);
        if let Some(end) = late.or(ctx.interrupted().map(|_| End::Interrupted)) {
            return Ok(end);
        }
        read();
        nap(start);
    }
}

/// Asks a program and its whole group to end, and kills what is left of them after the grace.
fn stop(ctx: &Context, child: &mut Child, target: &str, read: &mut dyn FnMut() -> bool) -> std::io::Result<()> {
    signal(ctx, "-TERM", target);
    poll(GRACE, || read() && child.try_wait().is_ok_and(|status| status.is_some()));
    signal(ctx, "-KILL", target);
    // Where there is no program `kill`, at least the child itself ends.
    child.kill()?;
    child.wait()?;
    poll(DRAIN_TIMEOUT, read);
    Ok(())
}

/// Signals a process, or a group where the number is negative. The standard library can only kill, and only a process.
fn signal(ctx: &Context, name: &str, target: &str) {
    let Ok((mut command, _)) = prepare(ctx, |sh| cmd!(sh, "kill {name} -- {target}")) else { return };
    // One that is gone already is no error, and one that cannot be signalled shows by not ending.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Waits until something is done, but no longer than the limit.
fn poll(limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < limit {
        nap(start);
    }
}

/// Sleeps for a part of the time that has passed.
fn nap(start: Instant) {
    std::thread::sleep((start.elapsed() / 4).clamp(*POLL_INTERVALS.start(), *POLL_INTERVALS.end()));
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
