//! What is to be built: every job and architecture of a run, with every detail settled before the first build starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum, value_parser};

use super::cache;
use super::record::Record;
use crate::dockerfile::BaseRole;
use crate::model::{Arch, BuildResult, DOCKERFILE, Exit, Image, JobName, Output, Problem, Provenance};
use crate::plan::{Planned, Recipe};
use crate::run::{Context, write_file};
use crate::settings::{Run, Target};
use crate::tools::process::quote;
use crate::tools::{Bootstrap, Builder, git};

/// How images are built, as the flags of `build` and `pipeline` say.
#[derive(Args, Clone, Debug)]
pub struct BuildOptions {
    /// Build for an architecture that the builder can only emulate
    #[arg(long, env = "JOBS_EMULATE", value_parser = FalseyValueParser::new())]
    pub emulate: bool,
    /// How many builds run side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// Run every step again, whatever is cached
    #[arg(long)]
    pub no_cache: bool,
    /// Start no further build after one has failed
    #[arg(long)]
    pub fail_fast: bool,
    /// What is shown of the builds
    #[arg(long, value_name = "HOW", default_value = "quiet")]
    pub output: Shown,
    /// How much provenance the images carry
    #[arg(long, env = "JOBS_PROVENANCE")]
    pub provenance: Option<Provenance>,
    /// The buildx builder, instead of the current one
    #[arg(long, env = "BUILDX_BUILDER", value_name = "NAME")]
    pub builder: Option<String>,
}

/// What is shown of builds while they run; what failed is shown in the end in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// A line for each image
    Quiet,
    /// All that is printed, as it comes, after the job's name and the architecture
    Stream,
}

/// Settles every detail of the images to build.
///
/// # Errors
/// What the environment, the checkout or the builder makes impossible.
pub fn settle(
    run: &Run,
    plan: &[Planned],
    arches: &[Arch],
    output: Output,
    options: &BuildOptions,
    record: &Record,
) -> anyhow::Result<Vec<Image>> {
    let wanted = wanted(&run.ctx, plan, arches, record);
    check_checkout(run, output)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let builder = Builder::probe(&run.ctx, options.builder.as_deref(), Bootstrap::Yes)?;
    let to_build: BTreeSet<Arch> = wanted.iter().map(|(_, arch)| *arch).collect();
    let to_build: Vec<Arch> = to_build.into_iter().collect();
    let checked = if options.emulate { builder.check_emulated(&to_build) } else { builder.check_native(&to_build) };
    checked?;
    builder.check_space(&run.ctx, run.config.min_free_gb.value)?;
    let push = output == Output::Push;
    let provenance = options.provenance.unwrap_or(run.target.provenance);
    if push {
        run.check_builder(&builder, provenance)?;
    }
    let revision = run.target.revision.as_ref();
    let common = Common {
        run,
        builder: &builder,
        options,
        output,
        provenance,
        epoch: revision.map(|revision| git::commit_time(&run.ctx, &revision.commit)).transpose()?,
        attests: push && builder.attestations,
        several_arches: arches.len() > 1,
    };
    wanted.into_iter().map(|(planned, arch)| common.image(planned, arch)).collect()
}

/// Every job with every architecture that was asked for and that the plan would build.
fn wanted<'a>(ctx: &Context, plan: &'a [Planned], arches: &[Arch], record: &Record) -> Vec<(&'a Planned, Arch)> {
    let mut wanted = Vec::new();
    for planned in plan {
        let name = &planned.recipe.job.name;
        for &arch in arches {
            if !planned.recipe.job.arches.contains(&arch) {
                ctx.ui.status("Skipped", format!("{name} ({arch}): not an architecture of this job"));
            } else if !planned.decision.arches.contains(&arch) {
                ctx.ui.status("Unchanged", format!("{name} ({arch}): {}", planned.decision.reason));
                record.planned(name, arch, BuildResult::Unchanged, &planned.decision.reason.to_string());
            } else {
                wanted.push((planned, arch));
            }
        }
    }
    wanted
}

/// What is pushed says which commit it was built from, so that commit has to be the one that is checked out.
fn check_checkout(run: &Run, output: Output) -> anyhow::Result<()> {
    if output == Output::Load {
        return Ok(());
    }
    let commit = &run.target.published_revision()?.commit;
    let Some(head) = git::head(&run.ctx)?.filter(|head| head != commit) else { return Ok(()) };
    Err(Problem::new("GITHUB_SHA", format!("is {commit}, but {head} is checked out"))
        .rule("an image's revision is the commit that it was built from")
        .help("check out the commit, or unset GITHUB_SHA")
        .exit(Exit::Usage))
}

/// What all images of a run have in common.
struct Common<'a> {
    run: &'a Run,
    builder: &'a Builder,
    options: &'a BuildOptions,
    output: Output,
    provenance: Provenance,
    /// The commit's time, which every layer gets; a job may say another.
    epoch: Option<String>,
    /// Whether attestations are pushed, and layers kept elsewhere than in the builder, which need the same store.
    attests: bool,
    several_arches: bool,
}

impl Common<'_> {
    fn image(&self, planned: &Planned, arch: Arch) -> anyhow::Result<Image> {
        let Common { run, output, options, .. } = *self;
        let recipe = &planned.recipe;
        let job = &recipe.job;
        // The local engine's image is what a person runs next: one architecture needs no suffix.
        let suffix = (output == Output::Push || self.several_arches).then_some(arch);
        let mut secrets = run.config.secrets.variables();
        secrets.retain(|id, _| job.settings.secrets.contains(id));
        let cache = cache::places(run.target.cache, job, &recipe.expected.repository, arch).filter(|_| self.attests);
        let (cache_from, cache_to) = cache.map(|[from, to]| (Some(from), Some(to))).unwrap_or_default();
        let metadata_file = run.ctx.own_path("logs").join(format!("{}-{arch}.json", job.name));
        let mut labels = job.settings.labels.clone();
        labels.extend(recipe.expected.labels(run.target.source.as_deref()));
        Ok(Image {
            job: job.name.clone(),
            files: job.files.clone(),
            arch,
            reference: recipe.expected.reference(suffix),
            dockerfile: self.dockerfile(recipe)?,
            stage: job.settings.target.clone(),
            args: self.args(recipe),
            labels,
            contexts: contexts(recipe),
            secrets,
            ssh: job.settings.ssh.clone(),
            output,
            provenance: self.attests.then_some(self.provenance),
            sbom: run.target.sbom && output == Output::Push,
            cache_from: cache_from.filter(|_| !recipe.expected.forced),
            cache_to,
            builder: options.builder.clone(),
            no_cache: options.no_cache,
            metadata_file: run.ctx.shown(&metadata_file).into_string(),
            timeout: job.settings.timeout_minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
            why: planned.decision.reason.to_string(),
            rerun: self.rerun(&job.name, arch),
        })
    }

    /// The command that builds an image again, with what flags have said of where it goes.
    fn rerun(&self, job: &JobName, arch: Arch) -> String {
        let Target { name, registry, prefix, tag, .. } = &self.run.target;
        let place = [
            registry.as_ref().map(|registry| (&registry.source, registry.value.to_string())),
            Some((&prefix.source, prefix.value.clone())),
            Some((&tag.source, tag.value.to_string())),
            name.as_ref().map(|name| (&name.source, name.value.clone())),
        ];
        let by_flag = place.into_iter().flatten().filter(|(source, _)| source.starts_with("--"));
        let flags: String = by_flag.map(|(flag, value)| format!(" {flag} {}", quote(value))).collect();
        let emulate = if self.builder.check_native(&[arch]).is_err() { " --emulate" } else { "" };
        format!("cargo xtask build --arch {arch} {job}{emulate}{flags}")
    }

    /// The file that BuildKit is given. An image with a key is built from the files that were hashed and from no
    /// others: BuildKit takes the list of them from beside the Dockerfile, so it is given a copy of that.
    fn dockerfile(&self, recipe: &Recipe) -> anyhow::Result<String> {
        let (ctx, dockerfile) = (&self.run.ctx, &recipe.job.files.dockerfile);
        let Some(list) = recipe.tree.allow_list(recipe) else { return Ok(dockerfile.to_string()) };
        let dir = ctx.own_path("build").join(recipe.job.name.as_str());
        let copy = dir.join(DOCKERFILE);
        let text = std::fs::read(ctx.root.join(dockerfile));
        let text = text.with_context(|| format!("could not read {dockerfile}"))?;
        write_file(ctx, &dir.join(format!("{DOCKERFILE}.dockerignore")), list.as_bytes())?;
        write_file(ctx, &copy, &text)?;
        Ok(ctx.shown(&copy).into_string())
    }

    /// The build arguments: the job's own, and what is the same for all images unless the job says otherwise.
    fn args(&self, recipe: &Recipe) -> BTreeMap<String, String> {
        let mut args = recipe.job.settings.args.clone();
        if let Some(epoch) = &self.epoch {
            args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| epoch.clone());
        }
        let frontend = recipe.bases.iter().find(|base| base.role == BaseRole::Frontend);
        if let Some(frontend) = frontend.and_then(|frontend| frontend.image()) {
            args.insert("BUILDKIT_SYNTAX".to_owned(), frontend.to_string());
        }
        args
    }
}

/// For `--build-context`: name in the Dockerfile -> image by digest, so that a build pulls what was resolved.
fn contexts(recipe: &Recipe) -> BTreeMap<String, String> {
    // A frontend's name may be that of a base too.
    let images = recipe.bases.iter();
    images.filter_map(|base| Some((base.written.clone(), format!("docker-image://{}", base.image()?)))).collect()
}
