//! `pipeline`: everything that CI does, on this machine, against a loopback registry.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::setup::{self, Purpose};
use crate::cli::PipelineArgs;
use crate::model::{Arch, Exit, Expected, Output, Problem, one_line};
use crate::plan::{self, Basis, BrokenJobs, select_jobs};
use crate::publish::{
    BuildOptions, Built, Merged, Moves, Record, build_all, build_commands, merge_all, settle, verify_all,
};
use crate::run::fleet::Tally;
use crate::run::{Context, count, human_time, markdown, summary, table};
use crate::settings::{Cache, Config, Given, Run, Target};
use crate::tools::process::quote;
use crate::tools::{buildx_version, engine_version, ensure_registry, print_registry, running_registry};

pub fn run(ctx: &Context, config: &Config, args: &PipelineArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    if args.setup {
        let purpose = if args.dry_run { Purpose::DryRun } else { Purpose::Pipeline };
        setup::run(ctx, config, &args.destination, purpose)?;
    }
    if args.dry_run {
        return print_commands(ctx, config, args);
    }
    buildx_version(ctx)?;
    let run = &rehearsal(ctx, config, args.destination.clone())?;
    let record = Record::begin(run, "pipeline", &args.telling);
    record.finish(rehearse(run, args, &record, start))
}

/// Does all of it; gives what is published.
fn rehearse(run: &Run, args: &PipelineArgs, record: &Record, start: Instant) -> anyhow::Result<Tally<String>> {
    let ctx = &run.ctx;
    let stage = |command: &str, flags: &[&str]| heading(run, command, flags, args);
    stage("discover", &[])?;
    let mut broken = BrokenJobs::new(args.keep_going);
    let jobs = select_jobs(ctx, &run.config, &args.jobs, &mut broken)?;
    super::tell_of_dockerfiles(ctx, &run.config, &jobs, &broken);
    ctx.ui.status("Discovered", count(jobs.len(), "job"));
    if jobs.is_empty() {
        ctx.ui.status("Finished", "nothing to build: no jobs");
        return Ok(Tally { done: Vec::new(), failures: broken.result() });
    }
    stage("plan", &[])?;
    let mut plan = plan::make(run, jobs, &Basis::Registry { force: args.force }, &mut broken)?;
    plan::explain(run, &mut plan)?;
    for planned in &plan {
        let (job, decision) = (&planned.recipe.job.name, &planned.decision);
        ctx.ui.status("Planned", format!("{job}: {}, {}", decision.action, decision.reason));
    }
    let arches: Vec<Arch> = run.config.runners.keys().copied().collect();
    let flags: Vec<&str> = arches.iter().flat_map(|arch| ["--arch", arch.as_str()]).collect();
    stage("build", &[&flags[..], &["--push", "--emulate"]].concat())?;
    // A rehearsal on one machine cannot be native for all.
    let options = BuildOptions { emulate: true, ..args.options.clone() };
    let images = settle(run, &plan, &arches, Output::Push, &options, record)?;
    let built = build_all(ctx, &images, &options, record)?.result()?;
    stage("merge", &[])?;
    let recipes: Vec<_> = plan.iter().map(|planned| &planned.recipe).collect();
    let merged = merge_all(run, &recipes, None, Moves::Forward)?;
    record.published(&merged.done);
    merged.result()?;
    stage("verify", &[])?;
    let expected: Vec<Expected> = recipes.iter().map(|recipe| recipe.expected.clone()).collect();
    let verified = verify_all(run, expected.clone(), None, |_| Ok(expected.clone()))?.result()?;
    report(ctx, &expected, &verified, &built);
    let images = count(verified.len(), "multi-platform image");
    ctx.ui.status("Finished", format!("{images} in {}", human_time(start.elapsed())));
    Ok(Tally { done: verified, failures: broken.result() }.shown())
}

/// Names the command that a stage is equal to.
fn heading(run: &Run, command: &str, flags: &[&str], args: &PipelineArgs) -> anyhow::Result<()> {
    let registry = run.target.published_registry("pipeline")?;
    let variable = if command == "discover" { String::new() } else { format!("JOBS_REGISTRY={registry} ") };
    let words = flags.iter().copied().chain(args.jobs.iter().map(String::as_str));
    let words: String = words.map(|word| format!(" {}", quote(word))).collect();
    run.ctx.ui.heading(format!("{command}: {variable}cargo xtask {command}{words}"));
    Ok(())
}

/// Prints what would be run: the builds as far as the registry can be asked what there is, and the equal commands.
fn print_commands(ctx: &Context, config: &Config, args: &PipelineArgs) -> anyhow::Result<()> {
    let mut given = args.destination.clone();
    let is_running = given.registry.is_some() || running_registry(ctx).is_some();
    if !is_running {
        given.registry = Some(print_registry(ctx)?);
    }
    let run = &rehearsal(ctx, config, given)?;
    let strict = BrokenJobs::default;
    let jobs = select_jobs(ctx, &run.config, &args.jobs, &mut strict())?;
    if jobs.is_empty() {
        return Ok(());
    }
    let arches: Vec<Arch> = run.config.runners.keys().copied().collect();
    if is_running && engine_version(ctx).is_ok() {
        let options = BuildOptions { emulate: true, ..args.options.clone() };
        let plan = plan::make(run, jobs, &Basis::Registry { force: args.force }, &mut strict())?;
        let record = Record::begin(run, "pipeline", &args.telling);
        let images = settle(run, &plan, &arches, Output::Push, &options, &record)?;
        build_commands(ctx, &images, &options)?.iter().for_each(|command| ctx.ui.data(command));
    } else {
        let arches = arches.iter().flat_map(|arch| ["--arch".to_owned(), arch.to_string()]);
        let force = args.force.then(|| "--force".to_owned());
        let flags = ["--push", "--emulate"].map(str::to_owned).into_iter().chain(arches).chain(force);
        ctx.ui.data(equal_command(run, "build", flags.chain(flags_of(&args.options)), &args.jobs));
    }
    for command in ["merge", "verify"] {
        ctx.ui.data(equal_command(run, command, std::iter::empty(), &args.jobs));
    }
    Ok(())
}

/// The command that does what a stage does, quoted for a shell.
fn equal_command(run: &Run, command: &str, flags: impl Iterator<Item = String>, jobs: &[String]) -> String {
    let Target { registry, prefix, tag, mirrors, .. } = &run.target;
    let registry = registry.iter().flat_map(|registry| ["--registry".to_owned(), registry.value.to_string()]);
    let place = [("--prefix", prefix.value.clone()), ("--tag", tag.value.to_string())];
    let mirrors = mirrors.iter().map(|(of, mirror)| ("--mirrors", format!("{of}={mirror}")));
    let place = place.into_iter().chain(mirrors).flat_map(|(flag, value)| [flag.to_owned(), value]);
    let words = ["cargo", "xtask", command].map(str::to_owned).into_iter();
    let words = words.chain(flags).chain(registry).chain(place).chain(jobs.iter().cloned());
    words.map(quote).collect::<Vec<_>>().join(" ")
}

/// How images are built, as flags again.
fn flags_of(options: &BuildOptions) -> impl Iterator<Item = String> {
    let BuildOptions { emulate: _, parallel, no_cache, fail_fast, provenance, builder, output: _ } = options;
    let provenance = provenance.and_then(|provenance| Some(provenance.to_possible_value()?.get_name().to_owned()));
    let values = [
        ("--parallel", parallel.map(|parallel| parallel.to_string())),
        ("--provenance", provenance),
        ("--builder", builder.clone()),
    ];
    let values = values.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten();
    let flags = [("--no-cache", *no_cache), ("--fail-fast", *fail_fast)];
    values.chain(flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag.to_owned()))
}

/// The run of a rehearsal: a loopback registry, and neither a role nor tags that move.
fn rehearsal(ctx: &Context, config: &Config, mut given: Given) -> anyhow::Result<Run> {
    if given.registry.is_none() {
        given.registry = Some(ensure_registry(ctx)?);
    }
    // Setup may just have noted a mirror, and the registry may listen elsewhere than before.
    let run = Run::new(ctx, &config.clone().with_noted_mirror(ctx), &given)?;
    if let Some(registry) = run.target.registry.as_ref().filter(|registry| !registry.value.is_loopback()) {
        return Err(Problem::new(format!("registry `{}`", registry.value), "is not on this machine")
            .rule("`pipeline` is a rehearsal, and publishes to a loopback registry only")
            .help("leave JOBS_REGISTRY unset, or run build and merge by themselves")
            .exit(Exit::Usage));
    }
    let (sign, attest, cache) = (false, false, Cache::None);
    let target = Target { role: None, moving_tags: Vec::new(), cache, sign, attest, ..run.target };
    Ok(Run { target, ..run })
}

/// The published images, as a table for people.
fn report(ctx: &Context, expected: &[Expected], verified: &[Merged], built: &[Built]) {
    let mut rows = Vec::new();
    for (Expected { job, .. }, Merged { index, .. }) in expected.iter().zip(verified) {
        let times: Vec<Duration> = built.iter().filter(|built| built.job == *job).map(|built| built.time).collect();
        let time = if times.is_empty() { "-".to_owned() } else { human_time(times.iter().sum()) };
        let platforms: Vec<&str> = index.images.iter().map(|image| image.platform.as_str()).collect();
        // What a node pulls, for each platform.
        let sizes: Vec<String> = index.images.iter().map(|image| human_size(image.pull_size)).collect();
        let digest = index.digest.short().to_owned();
        rows.push(vec![job.to_string(), platforms.join(" "), digest, sizes.join(" "), time]);
    }
    let headings = ["JOB", "PLATFORMS", "DIGEST", "SIZE", "BUILD TIME"];
    ctx.ui.text(&format!("\n{}", table(ctx, &headings, &rows)));
    summary(ctx, &markdown(&headings, &rows));
    // What this run has made is what a person wants to try.
    let is_new = |(expected, _): &(&Expected, &Merged)| built.iter().any(|built| built.job == expected.job);
    let new = expected.iter().zip(verified).find(is_new).map(|(_, merged)| merged);
    if let Some(Merged { reference, .. }) = new.or(verified.first()) {
        ctx.ui.text(&format!("\nRun one: docker run --rm {} --help\n", one_line(&reference.to_string())));
    }
}

/// A size in bytes as people say it, in powers of 1000.
fn human_size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(human_size(999), "999 B");
        assert_eq!(human_size(1_234_567), "1.2 MB");
    }
}
