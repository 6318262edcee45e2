//! Help texts: no wider than the terminal, and on what is no command, the environment and the exit codes.

use std::collections::BTreeMap;

use clap::Command;

use crate::run::Environment;
use crate::tools::terminal_columns;

/// How wide a text is where nobody tells how wide it may be, and the most that reads well.
const USUAL_COLUMNS: usize = 80;
const MOST_COLUMNS: usize = 100;

/// What is read besides the variables of flags.
const VARIABLES: [(&str, &str); 33] = [
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "With this, `login` and cosign ask GitHub for the workflow's identity"),
    ("ACTIONS_ID_TOKEN_REQUEST_URL", "Where they ask for it"),
    ("AWS_REGION", "The region of ECR, instead of the target's"),
    ("CARGO_MANIFEST_DIR", "Set by `cargo run`, whose variables no other program is given"),
    ("CARGO_TERM_COLOR", "`always` or `never`: colours, where none of the other variables decides"),
    ("CLICOLOR_FORCE", "Colours, unless it is 0"),
    ("COLUMNS", "How wide help texts are, instead of as wide as the terminal, and tables, instead of 80"),
    ("DOCKER_CONFIG", "The folder with docker's logins, instead of ~/.docker"),
    ("DOCKER_HOST", "Where the engine listens; docker itself reads it"),
    ("FORCE_COLOR", "Colours, unless it is 0"),
    ("GITHUB_ACTIONS", "`true`: annotations, groups and colours for the log of a workflow"),
    ("GITHUB_BASE_REF", "The branch that a pull request is for"),
    ("GITHUB_EVENT_NAME", "What started the workflow"),
    ("GITHUB_OUTPUT", "The file for the outputs of `discover`, `config` and `merge`"),
    ("GITHUB_REF", "The git ref, instead of the branch that is checked out"),
    ("GITHUB_REPOSITORY", "The repository on GitHub, instead of the remote `origin`"),
    ("GITHUB_RUN_ID", "The run, in the name of the session at AWS"),
    ("GITHUB_SERVER_URL", "Where that repository is"),
    ("GITHUB_SHA", "The commit, which has to be the one that is checked out"),
    ("GITHUB_STEP_SUMMARY", "The file for summaries"),
    ("GITHUB_WORKFLOW_REF", "The workflow that signs"),
    ("HOME", "The folder that ~ stands for"),
    ("JOBS_COSIGN_KEY", "The key that signs, instead of the workflow's identity"),
    ("JOBS_COSIGN_PUB", "Its public half, where that is not in a file beside it"),
    ("JOBS_PASSWORD", "The password with which `login` logs in"),
    ("JOBS_PASSWORD_<TARGET>", "The password for one target, before JOBS_PASSWORD"),
    ("JOBS_TIMEOUTS", "As `timeouts` in Cargo.toml, before that: read=60,write=600,build=3600"),
    ("NO_COLOR", "No colours"),
    ("PATH", "Where programs are looked for"),
    ("RUNNER_DEBUG", "1: as -vv"),
    ("RUNNER_ENVIRONMENT", "`github-hosted`: a runner of GitHub's own, whose engine `setup --ci` may change"),
    ("RUNNER_TEMP", "The folder for an identity token, instead of TMPDIR or /tmp"),
    ("TERM", "`dumb`: a terminal on which nothing is drawn anew"),
];

/// What every command ends with.
const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "done"),
    ("1", "at least one job failed"),
    ("2", "bad usage, configuration or input"),
    ("3", "refused by the gate"),
    ("4", "something needed is missing"),
    ("10", "something to do (`plan --exit-code`)"),
    ("130 or 143", "interrupted"),
];

/// The text on this topic, if it is one.
pub fn topic(command: &Command, words: &[String]) -> Option<String> {
    match words {
        [word] if word == "environment" => Some(environment(command)),
        [word] if word == "exit-codes" => Some(format!("Exit codes of every command:\n\n{}", list(EXIT_CODES))),
        _ => None,
    }
}

fn environment(command: &Command) -> String {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    of_flags(command, &mut variables);
    variables.extend(VARIABLES.map(|(name, meaning)| (name.to_owned(), meaning.to_owned())));
    let head = "Variables that are read. A flag goes before its variable, and an empty variable counts as not set.";
    format!("{head}\n\n{}", list(variables))
}

/// The variables of flags, with the help that `build` gives, which says it most generally.
fn of_flags(command: &Command, variables: &mut BTreeMap<String, String>) {
    for arg in command.get_arguments() {
        let (Some(name), Some(flag), Some(help)) = (arg.get_env(), arg.get_long(), arg.get_help()) else { continue };
        variables.entry(name.to_string_lossy().into_owned()).or_insert_with(|| format!("{help} [--{flag}]"));
    }
    let mut commands: Vec<&Command> = command.get_subcommands().collect();
    commands.sort_by_key(|command| command.get_name() != "build");
    commands.into_iter().for_each(|command| of_flags(command, variables));
}

/// Names with what they mean, line by line.
fn list<N: AsRef<str>, M: AsRef<str>>(entries: impl IntoIterator<Item = (N, M)>) -> String {
    let entries: Vec<(N, M)> = entries.into_iter().collect();
    let width = entries.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or_default();
    entries.iter().map(|(name, meaning)| format!("  {:width$}  {}\n", name.as_ref(), meaning.as_ref())).collect()
}

/// How many columns a text may take.
pub fn columns(env: &Environment) -> usize {
    let told = env.get("COLUMNS").and_then(|columns| columns.parse().ok());
    told.or_else(terminal_columns).unwrap_or(USUAL_COLUMNS).clamp(USUAL_COLUMNS / 2, MOST_COLUMNS)
}

/// The text with lines that are no longer than this, broken between words: a description goes on below itself.
pub fn fit(text: &str, columns: usize) -> String {
    text.split('\n').map(|line| fit_line(line, columns)).collect::<Vec<_>>().join("\n")
}

fn fit_line(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let blanks = |text: &str| text.len() - text.trim_start_matches(' ').len();
    let start = blanks(line);
    // Two blanks or more part an option from its description.
    let description = line[start..].find("  ").map_or(start, |gap| start + gap + blanks(&line[start + gap..]));
    let (head, text) = line.split_at(description);
    let indent = width(head);
    let (mut fitted, mut column) = (head.to_owned(), indent);
    for word in text.split(' ') {
        if column > indent && column + 1 + width(word) > columns {
            fitted += &format!("\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            fitted.push(' ');
            column += 1;
        }
        fitted.push_str(word);
        column += width(word);
    }
    fitted
}

/// How many columns a text takes: its styles take none.
fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Exit;

    #[test]
    fn a_description_goes_on_below_itself() {
        assert_eq!(fit("one two three\n\nfour", 8), "one two\nthree\n\nfour");
        assert_eq!(
            fit("  -q, --quiet  Say less than \u{1b}[1mbefore\u{1b}[0m", 24),
            "  -q, --quiet  Say less\n               than\n               \u{1b}[1mbefore\u{1b}[0m"
        );
        assert_eq!(fit("      [env: X]", 10), "      [env:\n      X]", "a word is never broken");
    }

    #[test]
    fn every_exit_code_is_listed() {
        for exit in [Exit::Failed, Exit::Usage, Exit::Refused, Exit::Missing] {
            assert!(EXIT_CODES.iter().any(|(code, _)| *code == (exit as u8).to_string()), "{exit:?}");
        }
    }
}
