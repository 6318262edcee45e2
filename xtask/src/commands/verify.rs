//! `verify`: the gate alone, on what is published; changes nothing.

use std::collections::BTreeMap;

use crate::cli::{PlanOptions, Verify};
use crate::commands::merge::{self, refused};
use crate::model::job::JobName;
use crate::model::problem::Problem;
use crate::model::reference::Reference;
use crate::plan::jobs::{self, Selected};
use crate::plan::leg;
use crate::plan::survey;
use crate::publish::gate::{self, Expected, Published};
use crate::run::context::Context;
use crate::run::fleet::{self, OnFailure, Tally};
use crate::run::report::count;
use crate::settings::config::Config;
use crate::settings::target::Target;
use crate::tools::cosign::{self, Signer};
use crate::tools::{builder, buildx};

pub fn run(ctx: &Context, config: &Config, args: &Verify) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    target.published_registry("verify")?;
    let selected = jobs::select(ctx, &args.selection)?;
    if selected.chosen.is_empty() {
        return Err(Problem::new("jobs", "there are none, so there is nothing to verify").usage());
    }
    builder::buildx_version(ctx)?;
    let parallel = args.parallel.map_or(merge::PARALLEL, usize::from);
    let expected = expected(ctx, config, &target, &selected, parallel)?;
    let verified = verify_all(ctx, &expected, target.signer(ctx)?.as_ref(), parallel);
    for (reference, index) in &verified.done {
        ctx.ui.data(format!("{reference}@{}", index.digest));
    }
    verified.result().map(drop)
}

/// What the published tags have to be. The commit tells it for images that were built for it;
/// only where a tag points to images of an earlier commit are the keys worked out.
fn expected(
    ctx: &Context,
    config: &Config,
    target: &Target,
    selected: &Selected,
    parallel: usize,
) -> anyhow::Result<Vec<(JobName, Expected)>> {
    let by_commit = selected.chosen.iter().map(|job| {
        let expected = Expected {
            repository: target.repository(job.name.as_str()).map_err(Problem::usage)?,
            tag: target.tag.value.clone(),
            arches: leg::arches(job, &config.runners),
            revision: target.published_revision()?.label(),
            key: None,
            bases: BTreeMap::new(),
            attested: target.attested,
        };
        Ok((job.name.clone(), expected))
    });
    let by_commit = by_commit.collect::<anyhow::Result<Vec<_>>>()?;
    let right = fleet::all(ctx, parallel, &by_commit, |(_, expected)| {
        let index = buildx::inspect(ctx, &expected.reference())?;
        Ok(index.is_none_or(|index| gate::is_right(expected, &index)))
    })?;
    if right.iter().all(|right| *right) {
        return Ok(by_commit);
    }
    let (_, recipes) = survey::recipes(ctx, config, target, selected, &PlanOptions::default())?;
    recipes.iter().map(|recipe| Ok((recipe.job.name.clone(), survey::expected(target, recipe)?))).collect()
}

/// Checks the published tags of the jobs.
pub fn verify_all(
    ctx: &Context,
    jobs: &[(JobName, Expected)],
    signer: Option<&Signer>,
    parallel: usize,
) -> Tally<(Reference, Published)> {
    let results = fleet::run(&ctx.interrupt, parallel, OnFailure::GoOn, jobs, |(name, expected)| {
        let verified = verify(ctx, expected, name.as_str())?;
        if let Some(signer) = signer {
            check_signature(ctx, signer, expected, &verified.1, name.as_str())?;
        }
        ctx.ui.status("Verified", &verified.0);
        Ok(verified)
    });
    let tally = fleet::tally(jobs.iter().map(|(name, _)| name), results);
    ctx.ui.status("Finished", format!("{} of {} right", tally.done.len(), count(jobs.len(), "published tag")));
    tally
}

fn verify(ctx: &Context, expected: &Expected, name: &str) -> anyhow::Result<(Reference, Published)> {
    let reference = expected.reference();
    let Some(index) = buildx::inspect(ctx, &reference)? else {
        let problem = Problem::new(reference.to_string(), "is not published");
        return Err(problem.help(format!("cargo xtask merge {name}")).refused());
    };
    let problems = gate::check_whole(expected, &index, &survey::parts(ctx, expected)?, name);
    if problems.is_empty() { Ok((reference, index)) } else { Err(refused(problems)) }
}

fn check_signature(
    ctx: &Context,
    signer: &Signer,
    expected: &Expected,
    index: &Published,
    name: &str,
) -> anyhow::Result<()> {
    let signed = expected.repository.with_digest(&index.digest);
    cosign::is_signed(ctx, signer, &signed)?.map_err(|said| {
        Problem::new(signed.to_string(), format!("carries no valid signature: {said}"))
            .rule("the target wants every index signed")
            .help(format!("cargo xtask merge {name}"))
            .refused()
    })
}
