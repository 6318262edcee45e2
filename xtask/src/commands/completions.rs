//! `completions`: what a shell needs to complete `cargo xtask …` and `xtask …`, job names included.
//!
//! clap generates what it knows, for `xtask`. A file beside this one adds the rest: the names of jobs, and a way from
//! `cargo xtask` to that, which leaves every other subcommand to cargo's own completion.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::run::Context;

pub fn run(ctx: &Context, shell: Shell) -> anyhow::Result<()> {
    let mut command = Cli::command().name("xtask");
    let mut generated = Vec::new();
    clap_complete::generate(shell, &mut command, "xtask", &mut generated);
    let mut generated = String::from_utf8_lossy(&generated).into_owned();
    let ours = match shell {
        Shell::Bash => include_str!("completions/xtask.bash"),
        Shell::Zsh => {
            // For zsh, the generated part names what completes an argument.
            generated = generated.lines().map(complete_jobs).collect::<Vec<_>>().join("\n");
            include_str!("completions/xtask.zsh")
        }
        Shell::Fish => include_str!("completions/xtask.fish"),
        _ => "",
    };
    let (commands, options) = (commands_with_jobs(&command, "").join("|"), options_with_values(&command).join(" "));
    let script = format!("{generated}\n{ours}").replace("@COMMANDS@", &commands).replace("@OPTIONS@", &options);
    ctx.ui.data(script.trim_end());
    Ok(())
}

/// The commands that take names of jobs, as they are typed: `build`, `ecr check`.
fn commands_with_jobs(command: &Command, typed: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for command in command.get_subcommands() {
        let typed = format!("{typed} {}", command.get_name()).trim_start().to_owned();
        commands.extend(commands_with_jobs(command, &typed));
        if command.get_positionals().any(|arg| arg.get_id() == "jobs") {
            commands.push(typed);
        }
    }
    commands
}

/// The options whose next word is their value.
fn options_with_values(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter(|arg| arg.get_action().takes_values());
    let mut options: Vec<String> = own.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    options.extend(command.get_subcommands().flat_map(options_with_values));
    options.sort();
    options.dedup();
    options
}

fn complete_jobs(line: &str) -> String {
    let is_of_jobs = line.starts_with("'*::jobs -- ");
    if is_of_jobs { line.replace(":_default'", ":_xtask_jobs'") } else { line.to_owned() }
}
