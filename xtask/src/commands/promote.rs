//! `promote`: what is published at one target is checked there, and published at another. Nothing is built.

use super::login;
use crate::cli::PromoteArgs;
use crate::model::{Exit, Expected, Problem};
use crate::plan::{self, Basis, BrokenJobs, RegistryState, recipes, select_jobs};
use crate::publish::{Moves, as_published, promote_all, promote_commands, verify_published};
use crate::run::Context;
use crate::run::fleet::Tally;
use crate::settings::{Config, Run};
use crate::tools::buildx_version;

pub fn run(ctx: &Context, config: &Config, args: &PromoteArgs) -> anyhow::Result<()> {
    let target = |name| Run::at(ctx, config, name, args.tag.clone());
    let (mut from, to) = (target(&args.from)?, target(&args.to)?);
    // What is taken is what stands at the target itself.
    from.target.copies.clear();
    let place = |run: &Run| (run.target.registry.as_ref().map(|r| r.value.clone()), run.target.prefix.value.clone());
    if place(&from) == place(&to) {
        return Err(Problem::new("--to", format!("`{}` is the same place as `{}`", args.to, args.from))
            .rule("the targets differ in their registry or their prefix")
            .help("name another target")
            .exit(Exit::Usage));
    }
    from.target.published_revision()?;
    buildx_version(ctx)?;
    let copies = to.copies()?;
    let runs: Vec<&Run> = [&from, &to].into_iter().chain(&copies).collect();
    super::print(ctx, login::all_renewed(&runs, || promote(&from, &to, args))?)
}

fn promote(from: &Run, to: &Run, args: &PromoteArgs) -> anyhow::Result<Tally<String>> {
    let jobs = select_jobs(&from.ctx, &from.config, &args.jobs, &mut BrokenJobs::default())?;
    if jobs.is_empty() {
        return Err(super::no_jobs("promote"));
    }
    let expected: Result<Vec<Expected>, Problem> =
        jobs.iter().map(|job| plan::expected_of_published(from, job)).collect();
    let expected = expected.map_err(|problem| problem.exit(Exit::Usage))?;
    let by_commit = expected.clone();
    let otherwise = |states: &[anyhow::Result<RegistryState>]| {
        // A tag that is given may be that of any commit; this commit's own is of no other.
        if args.tag.is_some() {
            return Ok(as_published(&expected, states));
        }
        let recipes = recipes(from, jobs, &Basis::Registry { force: false }, &mut BrokenJobs::default())?;
        Ok(recipes.into_iter().map(|recipe| recipe.expected).collect())
    };
    let published = verify_published(from, by_commit, args.parallel, None, otherwise)?;
    if args.dry_run {
        return published.then(|published| promote_commands(to, &published));
    }
    let moves = Moves::with(args.move_back);
    Ok(published.then(|published| promote_all(to, &published, args.parallel, moves))?.shown())
}
