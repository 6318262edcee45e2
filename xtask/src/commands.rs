//! One file per command. Each reads like the description of the command in the README, and turns its flags into what
//! the folders below work with.

mod bench;
mod build;
mod completions;
mod config;
mod discover;
mod doctor;
mod ecr;
mod login;
mod merge;
mod new;
mod pipeline;
mod plan;
mod promote;
mod setup;
mod test;
mod verify;

use crate::cli::Command;
use crate::model::{Exit, Problem};
use crate::plan::{BrokenJobs, Job, Told, note_of_dockerfiles};
use crate::run::Context;
use crate::run::fleet::Tally;
use crate::settings::{Config, Given, Run};
use setup::Purpose;

/// Prints what was done, line by line; what failed follows.
fn print(ctx: &Context, tally: Tally<String>) -> anyhow::Result<()> {
    tally.done.iter().for_each(|line| ctx.ui.data(line));
    tally.failures
}

/// Runs a command; gives the exit code of one that has its own.
pub fn dispatch(ctx: &Context, config: &Config, command: &Command) -> anyhow::Result<u8> {
    let run = |destination: &Given| Run::new(ctx, config, destination);
    let done = match command {
        Command::Discover(args) => discover::run(ctx, config, args),
        Command::Config { format, destination } => config::run(&run(destination)?, *format),
        Command::Plan(args) => return plan::run(&run(&args.destination)?, args),
        Command::Build(args) => build::run(&run(&args.destination)?, args),
        Command::Merge(args) => merge::run(&run(&args.destination)?, args),
        Command::Verify(args) => verify::run(&run(&args.destination)?, args),
        Command::Pipeline(args) => pipeline::run(ctx, config, args),
        Command::Promote(args) => promote::run(ctx, config, args),
        Command::Login { username, read: true, destination, .. } => {
            login::to_read(ctx, config, destination, username.as_deref())
        }
        Command::Login { username, password_stdin, destination, .. } => {
            login::run(&run(destination)?, username.as_deref(), *password_stdin)
        }
        Command::Ecr(command) => ecr::run(ctx, config, command),
        Command::New { name, template, dry_run } => new::run(ctx, config, name, *template, *dry_run),
        Command::Doctor { format, destination } => doctor::run(ctx, config, destination, *format),
        Command::Setup { ci: true, dry_run, destination } => setup::fit(&run(destination)?, *dry_run),
        Command::Setup { ci: false, dry_run, destination } => {
            let purpose = if *dry_run { Purpose::DryRun } else { Purpose::Pipeline };
            setup::run(ctx, config, destination, purpose)
        }
        Command::Test { setup, faults, mirrors } => {
            let config = Config { mirrors: config.mirrors_with(mirrors)?, ..config.clone() };
            test::run(ctx, &config, *setup, *faults)
        }
        Command::Bench { names, rounds, quick, mirrors } => {
            let config = Config { mirrors: config.mirrors_with(mirrors)?, ..config.clone() };
            bench::run(ctx, &config, names, *rounds, *quick)
        }
        // Its text was printed where the command line was read.
        Command::Help { .. } => Ok(()),
        Command::Completions { shell } => completions::run(ctx, *shell),
    };
    done.map(|()| 0)
}

/// Says which Dockerfiles there are where no job is.
fn tell_of_dockerfiles(ctx: &Context, config: &Config, jobs: &[Job], broken: &BrokenJobs) {
    if jobs.is_empty() && broken.aside().is_empty() {
        note_of_dockerfiles(ctx, &config.jobs_dirs, &[], &[]).iter().for_each(|note| ctx.ui.warning(note));
    }
}

fn no_jobs(command: &str) -> anyhow::Error {
    Problem::new("jobs", format!("there are none, so there is nothing to {command}"))
        .rule("jobs are the folders under `jobs/` with a Dockerfile")
        .help("add one: cargo xtask new <name>")
        .exit(Exit::Usage)
}

/// What a runner is told of its work, by names and by `--plan`, which may name a file.
///
/// # Errors
/// The file cannot be read, or holds something else.
fn told(ctx: &Context, jobs: &[String], plan: Option<&str>) -> anyhow::Result<Told> {
    let plan = plan.unwrap_or_default();
    let Some(path) = plan.strip_prefix('@') else { return Ok(Told { jobs: jobs.to_vec(), plan: plan.to_owned() }) };
    let text = std::fs::read_to_string(ctx.root.join(path)).map_err(|error| error.to_string());
    let told = text.and_then(|text| serde_json::from_str::<Told>(&text).map_err(|error| error.to_string()));
    let told = told.map_err(|error| {
        Problem::new("--plan", format!("{path} holds no part of a plan: {error}"))
            .rule("with `@`, a file that `cargo xtask discover --changed --format matrix` wrote in a workflow")
            .help("run that again, on this commit")
            .exit(Exit::Usage)
    })?;
    Ok(if jobs.is_empty() { told } else { Told { jobs: jobs.to_vec(), ..told } })
}
