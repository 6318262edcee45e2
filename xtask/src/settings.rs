//! Cargo.toml, job.json, the environment and flags come in; out come the configuration, and the target of this run, with
//! every mistake named. Nothing of a job's image is decided here.

mod access;
mod build_args;
mod config;
mod job;
mod read;
mod target;

pub use access::aws_client;
pub use config::{Cache, Config};
pub use job::{JobSettings, job_settings};
pub use target::{Given, Origin, Sourced, Target};

use crate::run::Context;

/// What every stage of the flow is given: the context, the configuration, and where images go.
#[derive(Clone, Debug)]
pub struct Run {
    pub ctx: Context,
    pub config: Config,
    pub target: Target,
}

impl Run {
    /// # Errors
    /// All values of the target that are not valid, with exit code 2.
    pub fn new(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Run> {
        Ok(Run { ctx: ctx.clone(), config: config.clone(), target: Target::resolve(ctx, config, given)? })
    }

    /// The same where images stay in the local engine.
    pub fn without_registry(&self) -> Run {
        Run { target: self.target.without_registry(), ..self.clone() }
    }
}
