//! A run: what every stage of the flow is given, at the target of this run or at another one.

use std::sync::Arc;

use super::config::Config;
use super::target::{Given, Target};
use crate::model::{Exit, Problem};
use crate::run::Context;
use crate::tools::RegistryClient;

/// What every stage of the flow is given: the context, the configuration, where images go, and who reads registries.
#[derive(Clone, Debug)]
pub struct Run {
    pub ctx: Context,
    pub config: Config,
    pub target: Target,
    pub client: Arc<RegistryClient>,
}

impl Run {
    /// # Errors
    /// All values of the target that are not valid, with exit code 2.
    pub fn new(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Run> {
        let target = Target::resolve(ctx, config, given)?;
        Ok(Run { ctx: ctx.clone(), config: config.clone(), target, client: Arc::default() })
    }

    /// What publishes at a target of the configuration as it stands there: flags and variables that say where images go
    /// know only one place.
    ///
    /// # Errors
    /// There is no such target, or it has no registry, with exit code 2.
    pub fn at(ctx: &Context, config: &Config, name: &str, tag: Option<String>) -> anyhow::Result<Run> {
        let run = Run::new(ctx, config, &Given { target: Some(name.to_owned()), tag, ..Given::default() })?;
        if run.target.registry.is_none() {
            let problem = Problem::new(format!("target `{name}`"), "has no registry");
            return Err(problem.help("write `registry` there in Cargo.toml").exit(Exit::Usage));
        }
        Ok(run)
    }

    /// The same for each target that gets the same indexes, under the same tag.
    ///
    /// # Errors
    /// As [`Run::at`].
    pub fn copies(&self) -> anyhow::Result<Vec<Run>> {
        let tag = self.target.tag.value.to_string();
        let copy = |name: &String| Run::at(&self.ctx, &self.config, name, Some(tag.clone()));
        self.target.copies.iter().map(copy).map(|run| Ok(Run { client: Arc::clone(&self.client), ..run? })).collect()
    }
}
