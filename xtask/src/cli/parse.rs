//! Reading the command line: what clap refuses, what it prints by itself, and variables that are empty.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ColorChoice, CommandFactory, FromArgMatches, ValueEnum};

use super::{Cli, Command, help};
use crate::model::{Exit, Failure, Problem, one_line};
use crate::run::{Environment, Ui};

/// The command line. An empty variable stands for no flag, because a workflow has no other way to unset one.
///
/// It ends the program where there is nothing more to do: where a help text is asked for, or clap refuses the line.
pub fn parse(env: &Environment) -> Cli {
    let command = plain(Cli::command(), &|name| env.is_empty(name));
    let read = check_utf8(env).map_err(|error| Cli::command().error(ErrorKind::InvalidUtf8, error));
    let matches = read.and_then(|()| command.clone().try_get_matches());
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| end(error, env));
    let Command::Help { topic } = &cli.command else { return cli };
    if let Some(text) = help::topic(&command, topic) {
        print_help(&text, env);
    }
    let asked = topic.iter().map(String::as_str).chain(["--help"]);
    match command.try_get_matches_from(std::iter::once("cargo xtask").chain(asked)) {
        Err(said) => end(said, env),
        Ok(_) => cli,
    }
}

/// Prints what clap has to say, a help text or a refusal, and ends the program.
fn end(said: clap::Error, env: &Environment) -> ! {
    let said = printable(said);
    if !said.use_stderr() {
        print_help(&said.render().ansi().to_string(), env);
    }
    Ui::new(color_flag(), 0, env);
    // Where nobody hears of it, the exit code still tells.
    let _ = said.print();
    std::process::exit(said.exit_code())
}

/// Prints a help text, and ends the program.
fn print_help(text: &str, env: &Environment) -> ! {
    let ui = Ui::new(color_flag(), 0, env);
    ui.help(help::fit(text, help::columns(env)));
    let code = ui.check_data().map_or_else(
        |error| {
            ui.error(&error);
            Exit::Failed as i32
        },
        |()| 0,
    );
    std::process::exit(code)
}

/// What `--color` says, where the rest of the command line is not read.
fn color_flag() -> ColorChoice {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let next = words.windows(2).find(|pair| pair[0] == "--color").map(|pair| pair[1].as_str());
    let when = words.iter().find_map(|word| word.strip_prefix("--color=")).or(next);
    when.and_then(|when| ColorChoice::from_str(when, false).ok()).unwrap_or(ColorChoice::Auto)
}

/// clap says that something is not UTF-8, and not what.
fn check_utf8(env: &Environment) -> anyhow::Result<()> {
    let problem = |at: String| {
        Problem::new(at, "not UTF-8").rule("arguments and variables are UTF-8 text").help("give it in UTF-8")
    };
    let arguments = std::env::args_os().skip(1).filter(|argument| argument.to_str().is_none());
    // Quoted by Rust, such a byte is `\xFF`.
    let quoted = arguments.map(|argument| format!("{argument:?}"));
    let arguments = quoted.map(|quoted| problem(format!("argument `{}`", quoted.trim_matches('"'))));
    let variables = env.not_utf8.iter().map(|name| problem(name.clone()));
    Failure::unless_empty(Exit::Usage, arguments.chain(variables).collect())
}

/// The command without variables that are empty; and none shows its value in a help text, which may steer a terminal.
fn plain(command: clap::Command, is_empty: &dyn Fn(&str) -> bool) -> clap::Command {
    let plain_arg = |arg: Arg| match arg.get_env().map(|name| name.to_string_lossy().into_owned()) {
        Some(name) if is_empty(&name) => arg.env(Resettable::Reset),
        _ => arg.hide_env_values(true),
    };
    command.mut_args(plain_arg).mut_subcommands(|command| plain(command, is_empty))
}

/// An error whose quotes of arguments and variables steer neither a terminal nor a workflow's runner.
fn printable(mut error: clap::Error) -> clap::Error {
    let quoted: Vec<(ContextKind, ContextValue)> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in quoted {
        let shown = match value {
            ContextValue::String(text) => ContextValue::String(one_line(&text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(|text| one_line(text)).collect()),
            _ => continue,
        };
        if error.insert(kind, shown.clone()).is_some_and(|raw| raw != shown) {
            // The tips repeat the argument as it is.
            error.remove(ContextKind::Suggested);
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    use expect_test::expect_file;

    /// The help of a command and of those below it.
    fn helps(command: &clap::Command, path: &str) -> String {
        let mut command = command.clone().bin_name(path);
        let help = help::fit(&command.render_help().to_string(), 100);
        let own = format!("### {path}\n\n```text\n{}\n```\n\n", help.trim_end());
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        below.fold(own, |text, below| text + &helps(below, &format!("{path} {}", below.get_name())))
    }

    #[test]
    fn the_reference_is_what_the_program_says() {
        let command = plain(Cli::command(), &|_| false);
        let topic = |name: &str| help::topic(&command, &[name.to_owned()]).unwrap_or_default();
        let hints = crate::run::hints().map(|(said, help)| {
            let said: Vec<String> = said.iter().map(|text| format!("`{text}`")).collect();
            format!("| {} | {help} |\n", said.join(", "))
        });
        expect_file!["../../REFERENCE.md"].assert_eq(&format!(
            "# Reference\n\nWritten by a unit test, from what the program itself says; `UPDATE_EXPECT=1` writes it anew.\n\n\
             ## Commands\n\n{}## Variables\n\n```text\n{}\n```\n\n## Exit codes\n\n```text\n{}\n```\n\n\
             ## Troubleshooting\n\nWhere another program says one of these, the message names the remedy.\n\n\
             | what is said | what to do |\n|---|---|\n{}",
            helps(&command, "cargo xtask"),
            topic("environment").trim_end(),
            topic("exit-codes").trim_end(),
            hints.collect::<String>(),
        ));
    }

    const COMMANDS: &str = "\u{1b}]0;P\u{7}x\n::add-mask::y\n##[group]z\u{202e}";

    /// Command lines that hold [`COMMANDS`] wherever this command takes a word.
    fn lines(command: &clap::Command, typed: &[String]) -> Vec<Vec<String>> {
        let more = |words: &[&str]| [typed, &words.iter().map(ToString::to_string).collect::<Vec<_>>()].concat();
        let (attached, flag, short) = (format!("--color={COMMANDS}"), format!("--{COMMANDS}"), format!("-{COMMANDS}"));
        let mut lines = vec![more(&[COMMANDS]), more(&[&flag]), more(&[&short]), more(&[&attached])];
        for long in command.get_arguments().filter_map(Arg::get_long) {
            lines.push(more(&[&format!("--{long}"), COMMANDS]));
            lines.push(more(&[&format!("--{long}={COMMANDS}")]));
            lines.push(more(&[&format!("--{long}{COMMANDS}")]));
        }
        for command in command.get_subcommands() {
            lines.extend(self::lines(command, &more(&[command.get_name()])));
        }
        lines
    }

    #[test]
    fn whatever_clap_refuses_is_shown_escaped() {
        let command = plain(Cli::command(), &|_| false);
        let mut refused = 0;
        for line in lines(&command, &["xtask".to_owned()]) {
            let Err(error) = command.clone().try_get_matches_from(&line) else { continue };
            let said = printable(error).render().to_string();
            let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            let commands = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
            assert!(!said.contains(steers) && !said.lines().any(commands), "{line:?}: {said:?}");
            refused += 1;
        }
        assert!(refused > 100, "{refused}");
    }
}
