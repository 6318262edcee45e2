//! `test`: every check of this repository, in the order in which they fail fastest.

use std::time::Instant;

use crate::commands::setup::{self, Purpose};
use crate::model::problem::{Exit, Failure, Problem};
use crate::run::context::Context;
use crate::run::report::human_time;
use crate::settings::config::Config;
use crate::settings::target::Given;
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
    let mut problems = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for check in cargo::Check::ALL {
        ctx.ui.status("Checking", check.what());
        let checked = cargo::check(ctx, check, &config.mirrors)?;
        passed += checked.passed;
        failed += checked.failed;
        if checked.failed > 0 {
            let help = format!("see above; by itself: {}", checked.command);
            problems.push(Problem::new(check.what(), "failed").help(help));
        }
    }
    ctx.ui.status("Finished", format!("all checks in {}", human_time(start.elapsed())));
    ctx.ui.data(format!("{passed} passed, {failed} failed"));
    Failure::unless_empty(Exit::Failed, problems)
}
