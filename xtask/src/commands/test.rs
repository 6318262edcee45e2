//! `test`: every check of this repository, in the order in which they fail fastest. Where the xtask was moved to, these
//! are the jobs and their workflow, and not its own tests.

use std::time::Instant;

use crate::commands::setup::{self, Purpose};
use crate::model::{Exit, Failure, Problem};
use crate::plan::{Basis, BrokenJobs, recipes, select_jobs};
use crate::run::{Context, human_time};
use crate::settings::{Config, Given, Run};
use crate::tools::{Checked, check_workflow, ensure_registry, noted_mirror, run_checks};

/// What the repository of the xtask itself has, and no other.
const OWN_TESTS: &str = "xtask/tests";
const WORKFLOW: &str = ".github/workflows/images.yml";

pub fn run(ctx: &Context, config: &Config, setup: bool, faults: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let is_own = ctx.root.join(OWN_TESTS).exists();
    if faults && !is_own {
        return Err(Problem::new("--faults", "the fault bench is not in this repository")
            .rule("it tests the xtask itself, where that comes from")
            .help("leave it out; `cargo xtask test` checks the jobs and their workflow")
            .exit(Exit::Usage));
    }
    if setup {
        setup::run(ctx, config, &Given::default(), if is_own { Purpose::Tests } else { Purpose::Pipeline })?;
    }
    if noted_mirror(ctx).is_some() {
        ensure_registry(ctx)?;
    }
    let config = config.clone().with_noted_mirror(ctx);
    let mut checked = check_jobs(ctx, &config)?;
    if is_own {
        checked.append(run_checks(ctx, &config.mirrors, if faults { "all" } else { "few" })?);
    } else if ctx.root.join(WORKFLOW).exists() {
        checked.append(check_workflow(ctx)?);
    }
    ctx.ui.status("Finished", format!("all checks in {}", human_time(start.elapsed())));
    ctx.ui.data(format!("{} passed, {} failed", checked.passed, checked.failed));
    Failure::unless_empty(Exit::Failed, checked.problems)
}

/// Reads every job as a build does: its Dockerfile, its settings, its sources, and whether its bases are there.
fn check_jobs(ctx: &Context, config: &Config) -> anyhow::Result<Checked> {
    ctx.ui.status("Checking", "jobs");
    let run = Run::new(ctx, config, &Given::default())?;
    let mut broken = BrokenJobs::new(true);
    let jobs = select_jobs(ctx, config, &[], &mut broken)?;
    let sound = recipes(&run, jobs, &Basis::Registry { force: false }, &mut broken)?;
    let problems = broken.aside().iter().flat_map(|broken| broken.problems.clone()).collect();
    Ok(Checked { passed: sound.len(), failed: broken.aside().len(), problems })
}
