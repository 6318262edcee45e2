//! `test`: every check of this repository, in the order in which they fail fastest.

use std::time::Instant;

use crate::commands::setup::{self, Purpose};
use crate::model::{Exit, Failure};
use crate::run::{Context, human_time};
use crate::settings::{Config, Given};
use crate::tools::{cargo, registry};

pub fn run(ctx: &Context, config: &Config, setup: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    if setup {
        setup::run(ctx, config, &Given::default(), Purpose::Tests)?;
    }
    if registry::noted_mirror(ctx).is_some() {
        registry::ensure(ctx)?;
    }
    let config = config.clone().with_noted_mirror(ctx);
    let checked = cargo::check(ctx, &config.mirrors)?;
    ctx.ui.status("Finished", format!("all checks in {}", human_time(start.elapsed())));
    ctx.ui.data(format!("{} passed, {} failed", checked.passed, checked.failed));
    Failure::unless_empty(Exit::Failed, checked.problems)
}
