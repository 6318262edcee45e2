//! Turns a repository full of background jobs into multi-platform images: `cargo xtask pipeline`.
//!
//! Each folder `jobs/<name>` with a `Dockerfile` becomes one tag that runs natively on AMD64 and ARM64 nodes.
//! The workflow of CI calls the same commands that a person types.

mod cli; // every command and flag

mod commands; // one file per command, told in terms of what follows

mod plan; // jobs, recipes, what the registry holds, decisions, legs

mod publish; // images to build, the gate, indexes

mod dockerfile; // which images and which files a Dockerfile reads

mod settings; // Cargo.toml, job.json, the environment and flags

mod model; // the vocabulary

mod tools; // the only code that starts another program

mod run; // what every command stands on

use std::process::ExitCode;

use model::{Exit, Failure};
use run::{Context, Environment, Ui};
use settings::Config;

fn main() -> ExitCode {
    let env = Environment::of_this_process();
    let cli = cli::parse(&env);
    let ui = Ui::new(cli.color, cli.verbosity(), &env);
    let outcome = context(env, ui.clone()).map(|(mut ctx, metadata)| {
        let result = Config::read(&ctx, &metadata).and_then(|config| {
            ctx.timeouts = config.timeouts.value;
            ctx.env.withheld = config.secrets.variables().into_values().collect();
            commands::dispatch(&ctx, &config, &cli.command)
        });
        (ctx.interrupted(), result.and_then(|code| ctx.ui.check_data().map(|()| code)))
    });
    match outcome {
        Ok((Some(interrupted), _)) => {
            ui.interrupted();
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
    let here = tools::working_directory()?;
    let mut ctx = Context::new(here, env, ui)?;
    let metadata = tools::find_workspace(&mut ctx)?;
    Ok((ctx, metadata))
}
