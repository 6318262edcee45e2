//! Turns a repository full of background jobs into multi-platform images: `cargo xtask pipeline`.
//!
//! Each folder `jobs/<name>` with a `Dockerfile` becomes one tag that runs natively on AMD64 and ARM64 nodes.
//! The workflow of CI calls the same commands that a person types.

mod cli; // every command and flag
mod commands; // one file per command, told in terms of what follows
mod dockerfile; // what a Dockerfile reads
mod model; // the vocabulary
mod plan; // jobs, recipes, decisions, legs
mod publish; // images to build, the gate, indexes
mod run;
mod settings; // Cargo.toml, job.json, environment and flags
mod tools; // the only code that starts another program // what every command stands on

use std::process::ExitCode;

use cli::{Command, Destination, EcrCommand};
use commands::setup::Purpose;
use model::problem::{Exit, Failure};
use run::{Context, Environment, Ui};
use settings::Run;
use settings::config::Config;

fn main() -> ExitCode {
    let env = Environment::of_this_process();
    let cli = cli::parse(|variable| env.is_empty(variable));
    let ui = Ui::new(cli.global.color, cli.global.verbosity(), &env);
    let outcome = context(env, ui.clone()).map(|(ctx, metadata)| {
        let result = Config::read(&ctx, &metadata).and_then(|config| dispatch(&ctx, &config, &cli.command));
        (ctx.interrupted(), result)
    });
    match outcome {
        Ok((Some(interrupted), _)) => {
            ui.error(&anyhow::anyhow!("interrupted"));
            ExitCode::from(interrupted)
        }
        Ok((None, Ok(code))) => ExitCode::from(code),
        Ok((None, Err(error))) | Err(error) => {
            ui.error(&error);
            let exit = error.downcast_ref::<Failure>().map_or(Exit::Failed, |failure| failure.exit);
            ExitCode::from(exit as u8)
        }
    }
}

/// The context, and the metadata of the workspace around the working directory.
fn context(env: Environment, ui: Ui) -> anyhow::Result<(Context, serde_json::Value)> {
    let here = camino::Utf8PathBuf::try_from(std::env::current_dir()?)?;
    let mut ctx = Context::new(here, env, ui)?;
    match tools::cargo::metadata(&ctx)? {
        Some(metadata) => {
            ctx.root = metadata.workspace_root;
            ctx.target_dir = metadata.target_directory;
            Ok((ctx, metadata.metadata))
        }
        None => {
            if let Some(root) = tools::git::top_level(&ctx)? {
                ctx.root = root.into();
                ctx.target_dir = ctx.root.join("target");
            }
            Ok((ctx, serde_json::Value::Null))
        }
    }
}

/// Runs a command; gives the exit code of one that has its own.
fn dispatch(ctx: &Context, config: &Config, command: &Command) -> anyhow::Result<u8> {
    let run = |destination: &Destination| Run::new(ctx, config, &destination.given());
    let done = match command {
        Command::Discover(args) => commands::discover::run(ctx, config, args),
        Command::Config { format, destination } => commands::config::run(&run(destination)?, *format),
        Command::Plan(args) => return commands::plan::run(&run(&args.destination)?, args),
        Command::Build(args) => commands::build::run(&run(&args.destination)?, args),
        Command::Merge(args) => commands::merge::run(&run(&args.destination)?, args),
        Command::Verify { jobs, parallel, destination } => commands::verify::run(&run(destination)?, jobs, *parallel),
        Command::Pipeline(args) => commands::pipeline::run(ctx, config, args),
        Command::Login { username, password_stdin, destination } => {
            commands::login::run(&run(destination)?, username.as_deref(), *password_stdin)
        }
        Command::Ecr(EcrCommand::Check { jobs, format, destination }) => {
            commands::ecr::check(&run(destination)?, jobs, *format)
        }
        Command::Ecr(EcrCommand::Ensure { jobs, dry_run, destination }) => {
            commands::ecr::ensure(&run(destination)?, jobs, *dry_run)
        }
        Command::Doctor { format, destination } => commands::doctor::run(ctx, config, &destination.given(), *format),
        Command::Setup { dry_run, destination } => {
            let purpose = if *dry_run { Purpose::DryRun } else { Purpose::Pipeline };
            commands::setup::run(ctx, config, &destination.given(), purpose)
        }
        Command::Test { setup } => commands::test::run(ctx, config, *setup),
        Command::Completions { shell } => commands::completions::run(ctx, *shell),
    };
    done.map(|()| 0)
}
