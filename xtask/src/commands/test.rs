//! `test`: every check of this repository, in the order in which they fail fastest.

use std::time::Instant;

use crate::commands::setup::{self, Purpose};
use crate::model::{Exit, Failure};
use crate::run::{Context, human_time};
use crate::settings::{Config, Given};
use crate::tools::{ensure_registry, noted_mirror, run_checks};

pub fn run(ctx: &Context, config: &Config, setup: bool, faults: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    if setup {
        setup::run(ctx, config, &Given::default(), Purpose::Tests)?;
    }
    if noted_mirror(ctx).is_some() {
        ensure_registry(ctx)?;
    }
    let config = config.clone().with_noted_mirror(ctx);
    let checked = run_checks(ctx, &config.mirrors, if faults { "all" } else { "few" })?;
    ctx.ui.status("Finished", format!("all checks in {}", human_time(start.elapsed())));
    ctx.ui.data(format!("{} passed, {} failed", checked.passed, checked.failed));
    Failure::unless_empty(Exit::Failed, checked.problems)
}
