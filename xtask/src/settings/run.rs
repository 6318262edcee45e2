//! A run: what every stage of the flow is given, at the target of this run or at another one.

use std::sync::Arc;

use super::config::{Cache, Config};
use super::target::{Given, Target};
use crate::model::{Exit, Problem, Provenance};
use crate::run::Context;
use crate::tools::{Builder, RegistryClient};

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
        let mirrors = ctx.env.get("JOBS_MIRRORS").into_iter().flat_map(|list| list.split(','));
        let mirrors = mirrors.filter(|mirror| !mirror.is_empty()).map(str::to_owned).collect();
        let given = Given { target: Some(name.to_owned()), tag, mirrors, ..Given::default() };
        let run = Run::new(ctx, config, &given)?;
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

/// How an engine is made to hold attestations, or is done without.
const MORE_THAN_CLASSIC: &str = "use a builder with the driver `docker-container` or `remote` (docker buildx create \
                                 --use), or turn on the containerd image store of the engine; for a runner of \
                                 GitHub's own, cargo xtask setup --ci does so";

impl Run {
    /// Checks that a builder can make what is wanted of the images that are pushed, and says what it leaves out.
    ///
    /// # Errors
    /// With exit code 4: the target itself wants it, and so it is not left out.
    pub fn check_builder(&self, builder: &Builder, provenance: Provenance) -> anyhow::Result<()> {
        let Run { ctx, target, .. } = self;
        if builder.attestations {
            return Ok(());
        }
        if target.attested {
            return Err(Problem::new("attestations", "wanted by the target, and the engine's image store holds none")
                .rule("what a target wants of its images is not left out")
                .help(MORE_THAN_CLASSIC)
                .exit(Exit::Missing));
        }
        let wanted = [(provenance != Provenance::Off, "provenance"), (target.cache != Cache::None, "cache of layers")];
        let left_out: Vec<&str> = wanted.into_iter().filter_map(|(wanted, what)| wanted.then_some(what)).collect();
        if !left_out.is_empty() {
            let left_out = left_out.join(" and no ");
            ctx.ui.warning(format!(
                "no {left_out}: the engine's image store holds none (turn on the containerd image store, or use \
                 another driver)"
            ));
        }
        Ok(())
    }
}
