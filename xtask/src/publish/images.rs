//! What is to be built: every job and architecture of a run, with every detail settled before the first build starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8Path;
use clap::builder::FalseyValueParser;
use clap::{Args, value_parser};

use crate::dockerfile::BaseRole;
use crate::model::{
    Arch, BASES_LABEL, DOCKERFILE, Exit, FORCED, Failure, Image, KEY_LABEL, Output, Problem, Provenance, REVISION,
    bases_label,
};
use crate::plan::{Job, Planned, Recipe};
use crate::run::Context;
use crate::settings::{Cache, Run};
use crate::tools::git;
use crate::tools::{Bootstrap, Builder};

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
    /// How much provenance the images carry
    #[arg(long, env = "JOBS_PROVENANCE")]
    pub provenance: Option<Provenance>,
    /// The buildx builder, instead of the current one
    #[arg(long, env = "BUILDX_BUILDER", value_name = "NAME")]
    pub builder: Option<String>,
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
) -> anyhow::Result<Vec<Image>> {
    let wanted = wanted(&run.ctx, plan, arches);
    check_secrets(&run.ctx, wanted.iter().map(|(planned, _)| &planned.recipe.job))?;
    check_checkout(run, output)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let builder = Builder::probe(&run.ctx, options.builder.as_deref(), Bootstrap::Yes)?;
    let to_build: BTreeSet<Arch> = wanted.iter().map(|(_, arch)| *arch).collect();
    let to_build: Vec<Arch> = to_build.into_iter().collect();
    let checked = if options.emulate { builder.check_emulated(&to_build) } else { builder.check_native(&to_build) };
    checked?;
    let common = Common::gather(run, arches, output, options, &builder)?;
    wanted.into_iter().map(|(planned, arch)| common.image(planned, arch)).collect()
}

/// Every job with every architecture that was asked for and that the plan would build.
fn wanted<'a>(ctx: &Context, plan: &'a [Planned], arches: &[Arch]) -> Vec<(&'a Planned, Arch)> {
    let mut wanted = Vec::new();
    for planned in plan {
        let name = &planned.recipe.job.name;
        for &arch in arches {
            if !planned.recipe.job.arches.contains(&arch) {
                ctx.ui.status("Skipped", format!("{name} ({arch}): not an architecture of this job"));
            } else if !planned.decision.arches.contains(&arch) {
                ctx.ui.status("Unchanged", format!("{name} ({arch}): {}", planned.decision.reason));
            } else {
                wanted.push((planned, arch));
            }
        }
    }
    wanted
}

fn check_secrets<'a>(ctx: &Context, jobs: impl Iterator<Item = &'a Job>) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for job in jobs {
        for (id, variable) in secrets(job).into_iter().filter(|(_, variable)| ctx.env.get(variable).is_none()) {
            let at = format!("{}: secrets: `{id}`", job.name.settings_file());
            problems.push(
                Problem::new(at, format!("{variable} is not set"))
                    .rule("a secret is read from the environment variable of its name in upper case")
                    .help(format!("set {variable}, or remove the secret")),
            );
        }
    }
    Failure::unless_empty(Exit::Usage, problems)
}

/// The ids of the secrets that a job's build may mount, and the variables that hold them.
fn secrets(job: &Job) -> BTreeMap<String, String> {
    job.settings.secrets.iter().map(|id| (id.clone(), id.to_uppercase().replace('-', "_"))).collect()
}

/// What is pushed says which commit it was built from, so that commit has to be the one that is checked out.
fn check_checkout(run: &Run, output: Output) -> anyhow::Result<()> {
    if output == Output::Load {
        return Ok(());
    }
    let commit = &run.target.published_revision()?.commit;
    match git::head(&run.ctx)? {
        Some(head) if head != *commit => {
            Err(Problem::new("GITHUB_SHA", format!("is {commit}, but {head} is checked out"))
                .rule("an image's revision is the commit that it was built from")
                .help("check out the commit, or unset GITHUB_SHA")
                .usage())
        }
        _ => Ok(()),
    }
}

/// What all images of a run have in common.
struct Common<'a> {
    run: &'a Run,
    output: Output,
    options: &'a BuildOptions,
    labels: BTreeMap<String, String>,
    /// The commit's time, which every layer gets; a job may say another.
    epoch: Option<String>,
    provenance: Option<Provenance>,
    /// Whether the builder can keep layers elsewhere than in itself.
    exports_cache: bool,
    several_arches: bool,
}

impl<'a> Common<'a> {
    fn gather(
        run: &'a Run,
        arches: &[Arch],
        output: Output,
        options: &'a BuildOptions,
        builder: &Builder,
    ) -> anyhow::Result<Common<'a>> {
        let target = &run.target;
        let wanted = options.provenance.unwrap_or(target.provenance);
        if output == Output::Push && !builder.attestations {
            check_attestations(run, wanted)?;
        }
        let epoch =
            target.revision.as_ref().map(|revision| git::commit_time(&run.ctx, &revision.commit)).transpose()?;
        Ok(Common {
            run,
            output,
            options,
            labels: labels(run)?,
            epoch,
            provenance: (builder.attestations && output == Output::Push).then_some(wanted),
            exports_cache: builder.attestations && output == Output::Push,
            several_arches: arches.len() > 1,
        })
    }

    fn image(&self, planned: &Planned, arch: Arch) -> anyhow::Result<Image> {
        let Common { run, output, options, .. } = *self;
        let recipe = &planned.recipe;
        let (job, tag) = (&recipe.job, &run.target.tag.value);
        let repository = match output {
            Output::Push => run.target.repository(&job.name),
            Output::Load => run.target.local_repository(&job.name),
        };
        let repository = repository.map_err(Problem::usage)?;
        let reference = match output {
            // The local engine's image is what a person runs next: one architecture needs no suffix.
            Output::Load if !self.several_arches => repository.with_tag(tag),
            _ => repository.with_tag(&tag.for_arch(arch)),
        };
        let metadata_file = run.ctx.own_path("logs").join(format!("{}-{arch}.json", job.name));
        Ok(Image {
            job: job.name.clone(),
            arch,
            reference,
            dockerfile: self.dockerfile(recipe)?,
            stage: job.settings.target.clone(),
            args: self.args(recipe),
            labels: of_job(&self.labels, recipe),
            contexts: contexts(recipe),
            secrets: secrets(job),
            output,
            provenance: self.provenance,
            sbom: run.target.sbom && output == Output::Push,
            cache: cache(run, job, arch).filter(|_| self.exports_cache),
            builder: options.builder.clone(),
            no_cache: options.no_cache,
            metadata_file: run.ctx.shown(&metadata_file).into_string(),
            timeout: job.settings.timeout_minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
            why: planned.decision.reason.to_string(),
        })
    }

    /// The file that BuildKit is given. An image with a key is built from the files that were hashed and from no others:
    /// BuildKit takes the list of them from beside the Dockerfile, so it is given a copy of that.
    fn dockerfile(&self, recipe: &Recipe) -> anyhow::Result<String> {
        let (ctx, name) = (&self.run.ctx, &recipe.job.name);
        let Some(list) = recipe.tree.allow_list(ctx, recipe) else { return Ok(name.dockerfile().into_string()) };
        let dir = ctx.own_path("build").join(name.as_str());
        let copy = dir.join(DOCKERFILE);
        let text = std::fs::read(ctx.root.join(name.dockerfile()));
        let text = text.with_context(|| format!("could not read {}", name.dockerfile()))?;
        std::fs::create_dir_all(&dir)
            .and_then(|()| replace(&dir.join(format!("{DOCKERFILE}.dockerignore")), list.as_bytes()))
            .and_then(|()| replace(&copy, &text))
            .with_context(|| format!("could not write {copy}"))?;
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

/// Puts a whole file in the place of another, as a second run may be reading it.
fn replace(path: &Utf8Path, content: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&new, content)?;
    std::fs::rename(&new, path)
}

/// For `--build-context`: name in the Dockerfile -> image by digest, so that a build pulls what was resolved.
fn contexts(recipe: &Recipe) -> BTreeMap<String, String> {
    // A frontend's name may be that of a base too.
    let images = recipe.bases.iter();
    images.filter_map(|base| Some((base.written.clone(), format!("docker-image://{}", base.image()?)))).collect()
}

/// What a target wants of its images is not left out because the builder holds no attestations.
fn check_attestations(run: &Run, wanted: Provenance) -> anyhow::Result<()> {
    if run.target.attested {
        return Err(Problem::new("attestations", "wanted by the target, and the engine's image store holds none")
            .rule("what a target wants of its images is not left out")
            .help("turn on the containerd image store of the engine, or use another driver")
            .missing());
    }
    if wanted != Provenance::Off {
        run.ctx.ui.warning(
            "no provenance: the engine's image store holds none (turn on the containerd image store, or use another driver)",
        );
    }
    Ok(())
}

/// Where a build's layers are taken from and kept. What fails there never fails a build (`ignore-error`).
fn cache(run: &Run, job: &Job, arch: Arch) -> Option<[String; 2]> {
    let name = &job.name;
    match run.target.cache {
        Cache::None => None,
        Cache::Gha => {
            let scope = format!("type=gha,scope={name}-{arch}");
            Some([scope.clone(), format!("{scope},mode=max,ignore-error=true")])
        }
        Cache::Registry => {
            let repository = run.target.repository(name).ok()?;
            let store = format!("type=registry,ref={repository}:cache-{arch}");
            // ECR takes the cache as an OCI image manifest only.
            let to = format!("{store},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true");
            Some([store, to])
        }
    }
}

/// The labels of one job's images.
pub fn of_job(labels: &BTreeMap<String, String>, recipe: &Recipe) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert("org.opencontainers.image.title".to_owned(), recipe.job.name.to_string());
    if let Some(key) = &recipe.expected.key {
        labels.insert(KEY_LABEL.to_owned(), key.to_string());
    }
    if !recipe.bases.is_empty() {
        labels.insert(BASES_LABEL.to_owned(), bases_label(&recipe.expected.bases));
    }
    if recipe.expected.forced {
        labels.insert(FORCED.to_owned(), "true".to_owned());
    }
    labels
}

/// What every image carries as labels, and every index as annotations, except for the job's own name.
pub fn labels(run: &Run) -> anyhow::Result<BTreeMap<String, String>> {
    let version = run.target.tag.value.to_string();
    let mut labels = BTreeMap::from([("org.opencontainers.image.version".to_owned(), version)]);
    if let Some(revision) = &run.target.revision {
        labels.insert(REVISION.to_owned(), revision.to_string());
    }
    if let Some(source) = source(&run.ctx)? {
        labels.insert("org.opencontainers.image.source".to_owned(), source);
    }
    Ok(labels)
}

/// Where the source is: the repository on GitHub, or where it was cloned from, without a password in it.
fn source(ctx: &Context) -> anyhow::Result<Option<String>> {
    if let (Some(server), Some(repository)) = (ctx.env.get("GITHUB_SERVER_URL"), ctx.env.get("GITHUB_REPOSITORY")) {
        return Ok(Some(format!("{server}/{repository}")));
    }
    Ok(git::origin(ctx)?.map(|url| public_url(&url)))
}

/// `git@github.com:acme/jobs.git` as `https://github.com/acme/jobs`, and no credentials.
fn public_url(url: &str) -> String {
    let url = url.trim_end_matches(".git");
    if let Some((scheme, rest)) = url.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let scheme = if scheme == "ssh" { "https" } else { scheme };
        return format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned();
    }
    match url.split_once('@').and_then(|(_, rest)| rest.split_once(':')) {
        Some((host, path)) => format!("https://{host}/{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_public() {
        for (url, public) in [
            ("git@github.com:acme/jobs.git", "https://github.com/acme/jobs"),
            ("https://me:token@github.com/acme/jobs.git", "https://github.com/acme/jobs"),
            ("ssh://git@github.com/acme/jobs", "https://github.com/acme/jobs"),
            ("/srv/jobs.git", "/srv/jobs"),
        ] {
            assert_eq!(public_url(url), public);
        }
    }
}
