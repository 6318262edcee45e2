//! What is to be built: every job and architecture of a run, with every detail settled before the first build starts.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use crate::cli::{BuildOptions, Provenance};
use crate::model::arch::Arch;
use crate::model::job::{Job, JobName};
use crate::model::key;
use crate::model::problem::{Exit, Failure, Problem};
use crate::plan::bases::{self, Digests, Use};
use crate::plan::recipe::Recipe;
use crate::plan::survey::{Planned, Survey};
use crate::publish::gate::REVISION;
use crate::run::context::Context;
use crate::settings::config::Cache;
use crate::settings::target::Target;
use crate::tools::builder::{self, Bootstrap, Builder};
use crate::tools::buildx::{Build, Output};
use crate::tools::git;

/// One image to build: a job for an architecture.
#[derive(Clone, Debug)]
pub struct Image {
    pub job: JobName,
    pub build: Build,
    /// After how many minutes the build is ended.
    pub timeout_minutes: Option<u32>,
    /// The reason of the plan.
    pub why: String,
}

impl Image {
    pub fn arch(&self) -> Arch {
        self.build.arch
    }

    pub fn shown(&self) -> String {
        format!("{} ({})", self.job, self.build.arch)
    }

    /// The log of the build.
    pub fn log(&self, ctx: &Context) -> Utf8PathBuf {
        ctx.own_path("logs").join(format!("{}-{}.log", self.job, self.build.arch))
    }
}

/// Everything that a build of several jobs is told.
pub struct Order<'a> {
    pub survey: &'a Survey,
    pub arches: &'a [Arch],
    pub output: Output,
    pub options: &'a BuildOptions,
}

/// Settles every detail of the images to build.
///
/// # Errors
/// What the environment, the checkout or the builder makes impossible.
pub fn plan(ctx: &Context, target: &Target, order: &Order<'_>) -> anyhow::Result<Vec<Image>> {
    let wanted = wanted(ctx, order);
    check_secrets(ctx, wanted.iter().map(|(planned, _)| &planned.recipe.job))?;
    check_checkout(ctx, target, order.output)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let builder = builder::probe(ctx, order.options.builder.as_deref(), Bootstrap::Yes)?;
    let arches: BTreeSet<Arch> = wanted.iter().map(|(_, arch)| *arch).collect();
    builder::check_arches(&builder, &arches.into_iter().collect::<Vec<_>>(), order.options.emulate)?;
    let uses = uses(&wanted, target, &builder)?;
    let digests = complete(ctx, order.survey, &uses)?;
    let details = Details::gather(ctx, target, order, &builder)?;
    let images = wanted.into_iter().zip(&uses);
    images
        .map(|((planned, arch), uses)| details.image(target, order, planned, arch, bases::pin(uses, &digests)))
        .collect()
}

/// Every job with every architecture that was asked for and that the plan would build.
fn wanted<'a>(ctx: &Context, order: &Order<'a>) -> Vec<(&'a Planned, Arch)> {
    let mut wanted = Vec::new();
    for planned in &order.survey.jobs {
        let name = &planned.recipe.job.name;
        for &arch in order.arches {
            if !planned.recipe.arches.contains(&arch) {
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

/// The images that each build pulls: an emulated one may run its tools on another architecture.
fn uses(wanted: &[(&Planned, Arch)], target: &Target, builder: &Builder) -> anyhow::Result<Vec<Vec<Use>>> {
    let (mut uses, mut problems) = (Vec::new(), Vec::new());
    for (planned, arch) in wanted {
        let Recipe { job, dockerfile, .. } = &planned.recipe;
        match bases::used(job, dockerfile, &target.mirrors, (*arch, builder.build_arch(*arch))) {
            Ok(found) => uses.push(found),
            Err(mut found) => problems.append(&mut found),
        }
    }
    Failure::unless_empty(Exit::Usage, problems)?;
    Ok(uses)
}

/// The digests of the survey, and of the images that only an emulated build pulls.
fn complete(ctx: &Context, survey: &Survey, uses: &[Vec<Use>]) -> anyhow::Result<Digests> {
    let mut digests = survey.digests.clone();
    let mut more = bases::union(uses.iter());
    more.retain(|used| digests.get(&used.pulled).is_none());
    if !more.is_empty() {
        digests.extend(bases::resolve(ctx, &more)?);
    }
    Ok(digests)
}

fn check_secrets<'a>(ctx: &Context, jobs: impl Iterator<Item = &'a Job>) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for job in jobs {
        for (id, variable) in secrets(job).filter(|(_, variable)| ctx.env.get(variable).is_none()) {
            problems.push(
                Problem::new(format!("{}/job.json: secrets: `{id}`", job.dir()), format!("{variable} is not set"))
                    .rule("a secret is read from the environment variable of its name in upper case")
                    .help(format!("set {variable}, or remove the secret")),
            );
        }
    }
    Failure::unless_empty(Exit::Usage, problems)
}

/// The ids of the secrets that a job's build may mount, and the variables that hold them.
fn secrets(job: &Job) -> impl Iterator<Item = (String, String)> {
    job.settings.secrets.iter().map(|id| (id.clone(), id.to_uppercase().replace('-', "_")))
}

/// What is pushed says which commit it was built from, so that commit has to be the one that is checked out.
fn check_checkout(ctx: &Context, target: &Target, output: Output) -> anyhow::Result<()> {
    if output == Output::Load {
        return Ok(());
    }
    let revision = target.published_revision()?;
    match git::head(ctx)? {
        Some(head) if head != revision.commit => {
            Err(Problem::new("GITHUB_SHA", format!("is {}, but {head} is checked out", revision.commit))
                .rule("an image's revision is the commit that it was built from")
                .help("check out the commit, or unset GITHUB_SHA")
                .usage())
        }
        _ => Ok(()),
    }
}

/// What all images of a run have in common.
struct Details {
    labels: BTreeMap<String, String>,
    epoch: Option<String>,
    provenance: Option<Provenance>,
    /// Whether the builder can keep layers elsewhere than in itself.
    exports_cache: bool,
    several_arches: bool,
    logs: Utf8PathBuf,
}

impl Details {
    fn gather(ctx: &Context, target: &Target, order: &Order<'_>, builder: &Builder) -> anyhow::Result<Details> {
        let wanted = order.options.provenance.unwrap_or(target.provenance);
        let can = builder.attestations && order.output == Output::Push;
        if target.attested && !builder.attestations && order.output == Output::Push {
            return Err(Problem::new("attestations", "wanted by the target, and the engine's image store holds none")
                .rule("what a target wants of its images is not left out")
                .help("turn on the containerd image store of the engine, or use another driver")
                .missing());
        }
        if !builder.attestations && order.output == Output::Push && wanted != Provenance::Off {
            ctx.ui.warning(
                "no provenance: the engine's image store holds none (turn on the containerd image store, or use another driver)",
            );
        }
        let epoch = match &target.revision {
            Some(revision) => git::commit_time(ctx, &revision.commit).ok(),
            None => None,
        };
        Ok(Details {
            labels: labels(ctx, target)?,
            epoch,
            provenance: can.then_some(wanted),
            exports_cache: builder.attestations,
            several_arches: order.arches.len() > 1,
            logs: ctx.shown(&ctx.own_path("logs")),
        })
    }

    fn image(
        &self,
        target: &Target,
        order: &Order<'_>,
        planned: &Planned,
        arch: Arch,
        pinned: bases::Pinned,
    ) -> anyhow::Result<Image> {
        let job = &planned.recipe.job;
        let tag = &target.tag.value;
        let repository = match order.output {
            Output::Push => target.repository(job.name.as_str()),
            Output::Load => target.local_repository(job.name.as_str()),
        };
        let repository = repository.map_err(Problem::usage)?;
        let reference = match order.output {
            // The local engine's image is what a person runs next: one architecture needs no suffix.
            Output::Load if !self.several_arches => repository.with_tag(tag),
            _ => repository.with_tag(&tag.for_arch(arch)),
        };
        let mut args = job.settings.args.clone();
        args.extend(self.epoch.iter().map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch.clone())));
        args.extend(pinned.frontend.map(|frontend| ("BUILDKIT_SYNTAX".to_owned(), frontend)));
        let labels = of_job(&self.labels, &planned.recipe);
        let build = Build {
            arch,
            reference,
            dockerfile: job.dockerfile().into_string(),
            stage: job.settings.target.clone(),
            args,
            labels,
            contexts: pinned.contexts,
            secrets: secrets(job).collect(),
            output: order.output,
            provenance: self.provenance,
            sbom: target.sbom && order.output == Output::Push,
            cache: cache(target, job, arch).filter(|_| self.exports_cache && order.output == Output::Push),
            builder: order.options.builder.clone(),
            no_cache: order.options.no_cache,
            metadata_file: self.logs.join(format!("{}-{arch}.json", job.name)).into_string(),
        };
        Ok(Image {
            job: job.name.clone(),
            build,
            timeout_minutes: job.settings.timeout_minutes,
            why: planned.decision.reason.to_string(),
        })
    }
}

/// Where a build's layers are taken from and kept. What fails there never fails a build (`ignore-error`).
fn cache(target: &Target, job: &Job, arch: Arch) -> Option<(String, String)> {
    let name = &job.name;
    match target.cache {
        Cache::None => None,
        Cache::Gha => {
            let scope = format!("type=gha,scope={name}-{arch}");
            Some((scope.clone(), format!("{scope},mode=max,ignore-error=true")))
        }
        Cache::Registry => {
            let repository = target.repository(name.as_str()).ok()?;
            let store = format!("type=registry,ref={repository}:cache-{arch}");
            // ECR takes the cache as an OCI image manifest only.
            let to = format!("{store},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true");
            Some((store, to))
        }
    }
}

/// The labels of one job's images.
pub fn of_job(labels: &BTreeMap<String, String>, recipe: &Recipe) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert("org.opencontainers.image.title".to_owned(), recipe.job.name.to_string());
    if let Some(key) = &recipe.key {
        labels.insert(key::LABEL.to_owned(), key.to_string());
    }
    if !recipe.bases.is_empty() {
        labels.insert(key::BASES_LABEL.to_owned(), key::bases_label(&recipe.bases));
    }
    labels
}

/// What every image carries as labels, and every index as annotations, except for the job's own name.
pub fn labels(ctx: &Context, target: &Target) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::from([("org.opencontainers.image.version".to_owned(), target.tag.value.to_string())]);
    if let Some(revision) = &target.revision {
        labels.insert(REVISION.to_owned(), revision.label());
    }
    if let Some(source) = source(ctx)? {
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
