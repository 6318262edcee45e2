//! `doctor`: what this machine has, what it needs, and one fix for each thing that is missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::Format;
use crate::model::{Arch, Exit, Failure, Problem, Reference};
use crate::plan::{self, Basis, BrokenJobs, mirrored, recipes, select_jobs};
use crate::run::{Context, table};
use crate::settings::{Config, Given, Run};
use crate::tools::{
    Bootstrap, Builder, Machine, RegistryClient, buildx_bounds, buildx_version, check_cosign, check_gh, docker_version,
    engine_version, has_program, program_version, running_registry,
};

/// Programs, with the oldest version that will do: Rust's is that of this program, git 2.30 takes
/// `rev-parse --end-of-options`, and curl 7.75 tells what became of each of many requests.
const PROGRAMS: [(&str, &str); 3] =
    [("cargo", concat!(env!("CARGO_PKG_RUST_VERSION"), ".0")), ("git", "2.30.0"), ("curl", "7.75.0")];
/// The image that this repository's jobs build from, and that stands for Docker Hub in the checks.
const SAMPLE_BASE: &str = "busybox:1.37";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// Only some commands need it.
    Warn,
    Fail,
}

/// Something that is needed, and whether it is there.
#[derive(Debug, Serialize)]
struct Requirement {
    what: &'static str,
    health: Health,
    found: String,
    needed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Requirement {
    /// What is needed, and what was found or is missing; `otherwise` says how bad that is.
    fn new(what: &'static str, needed: &str, found: Result<String, Problem>, otherwise: Health) -> Requirement {
        let needed = needed.to_owned();
        match found {
            Ok(found) => Requirement { what, health: Health::Ok, found, needed, fix: None },
            Err(problem) => Requirement { what, health: otherwise, found: problem.what, needed, fix: problem.help },
        }
    }

    fn row(&self) -> Vec<String> {
        let (health, fix) = (format!("{:?}", self.health).to_lowercase(), self.fix.clone().unwrap_or_default());
        vec![health, self.what.to_owned(), self.found.clone(), self.needed.clone(), fix]
    }
}

pub fn run(ctx: &Context, config: &Config, given: &Given, format: Format) -> anyhow::Result<()> {
    let requirements = examine(ctx, config, given)?;
    match format {
        Format::Json => ctx.ui.data(serde_json::to_string(&requirements)?),
        Format::Table => {
            let rows: Vec<Vec<String>> = requirements.iter().map(Requirement::row).collect();
            ctx.ui.data(table(ctx, &["", "WHAT", "FOUND", "NEEDED", "FIX"], &rows));
        }
    }
    let failed = requirements.into_iter().filter(|requirement| requirement.health == Health::Fail);
    let problems =
        failed.map(|Requirement { what, found, fix, .. }| Problem { help: fix, ..Problem::new(what, found) });
    Failure::unless_empty(Exit::Missing, problems.collect())
}

/// Checks everything; changes nothing.
fn examine(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Vec<Requirement>> {
    let mirrors = config.mirrors_with(&given.mirrors)?;
    let mut requirements = programs(ctx);
    requirements.extend(engine(ctx, config));
    requirements.push(registry(ctx));
    requirements.extend(mirrors.iter().filter(|(of, _)| *of != "docker.io").map(|(of, _)| mirror(ctx, of, &mirrors)));
    requirements.push(base_images(ctx, &mirrors));
    match Run::new(ctx, config, given) {
        Ok(run) => requirements.extend(of_repository(&run)),
        Err(error) => {
            requirements.push(Requirement::new("repository", "a commit", Err(problem_of(&error)), Health::Fail));
        }
    }
    Ok(requirements)
}

/// This machine, and the programs that are needed beside the engine.
fn programs(ctx: &Context) -> Vec<Requirement> {
    let machine = format!("{}, {}", Machine::inspect(ctx).unwrap_or_default(), std::env::consts::ARCH);
    let mut requirements = vec![
        Requirement::new("machine", "Linux", Ok(machine), Health::Ok),
        Requirement::new("xtask", "any version", Ok(env!("CARGO_PKG_VERSION").to_owned()), Health::Ok),
    ];
    for (program, oldest) in PROGRAMS {
        let found = program_version(ctx, program, oldest);
        requirements.push(Requirement::new(program, &format!("{oldest} or newer"), found, Health::Fail));
    }
    let setpriv = match has_program(ctx, "setpriv") {
        true => Ok("installed".to_owned()),
        false => Err(Problem::new("", "not installed: builds outlive a `kill -9`").help("install util-linux")),
    };
    requirements.push(Requirement::new("setpriv", "any version", setpriv, Health::Warn));
    requirements
}

/// docker, buildx and the builder. What one of them lacks, those that need it do not complain of once more.
fn engine(ctx: &Context, config: &Config) -> Vec<Requirement> {
    let client = docker_version(ctx);
    let has_client = client.is_ok();
    let mut requirements = vec![Requirement::new("docker", "docker's own client", client, Health::Fail)];
    if !has_client {
        return requirements;
    }
    let (engine, buildx) = (engine_version(ctx), buildx_version(ctx).map_err(|error| problem_of(&error)));
    let is_ready = engine.is_ok() && buildx.is_ok();
    requirements.push(Requirement::new("engine", "one that answers", engine, Health::Fail));
    requirements.push(Requirement::new("buildx", &buildx_bounds(), buildx, Health::Fail));
    match Builder::probe(ctx, None, Bootstrap::No) {
        Ok(builder) => {
            requirements.push(image_store(&builder));
            let least = config.min_free_gb.value;
            if let Some(room) = builder.check_space(ctx, least).map_err(|error| problem_of(&error)).transpose() {
                requirements.push(Requirement::new("room", &format!("{least} GB"), room, Health::Fail));
            }
            requirements.extend(config.runners.keys().map(|&arch| emulation(arch, &builder)));
        }
        Err(error) if is_ready => {
            requirements.push(Requirement::new("builder", "attestations", Err(problem_of(&error)), Health::Fail));
        }
        Err(_) => {}
    }
    requirements
}

/// What is missing, where `setup` is the remedy.
fn mended_by_setup(what: impl Into<String>) -> Problem {
    Problem::new("", what).help("cargo xtask setup")
}

/// The image store of the engine: some things can only be done with containerd's.
fn image_store(builder: &Builder) -> Requirement {
    const CLASSIC: &str = "docker driver with the classic image store: no attestations, no cache in the registry, \
                           no annotations on indexes";
    const FIX: &str = "set {\"features\":{\"containerd-snapshotter\":true}} in /etc/docker/daemon.json, and restart \
                       the engine (a reload is not enough)";
    let found = match builder.attestations {
        true => Ok(builder.driver.clone()),
        false => Err(Problem::new("", CLASSIC).help(FIX)),
    };
    Requirement::new("builder", "attestations", found, Health::Warn)
}

fn emulation(arch: Arch, builder: &Builder) -> Requirement {
    let found = builder.support(arch).map(str::to_owned);
    let found = found.ok_or_else(|| mended_by_setup("neither native nor emulated"));
    Requirement::new(arch.as_str(), "native, or emulated for `pipeline`", found, Health::Warn)
}

/// The registry of `pipeline`.
fn registry(ctx: &Context) -> Requirement {
    let found = program_version(ctx, "docker-registry", "2.0.0").map(|version| match running_registry(ctx) {
        Some(address) => format!("{version} at {address}"),
        None => format!("{version}, not running"),
    });
    Requirement::new("registry", "docker-registry, for `pipeline`", found, Health::Warn)
}

/// A mirror: asked for an image, it answers, if only that there is none.
fn mirror(ctx: &Context, registry: &str, mirrors: &BTreeMap<String, String>) -> Requirement {
    let image = Reference::normalized(&format!("{registry}/doctor/doctor")).and_then(|image| mirrored(image, mirrors));
    let found = image.map_err(anyhow::Error::from).and_then(|image| {
        RegistryClient::default().digest(ctx, &image)?;
        Ok(format!("{registry} at {}", mirrors[registry]))
    });
    Requirement::new("mirror", "one that answers", found.map_err(|error| problem_of(&error)), Health::Warn)
}

fn base_images(ctx: &Context, mirrors: &BTreeMap<String, String>) -> Requirement {
    let image = sample_base(mirrors);
    let found = match image.and_then(|image| Ok((RegistryClient::default().digest(ctx, &image)?, image))) {
        Ok((Some(digest), image)) => {
            let registry = image.repository.registry.iter().map(ToString::to_string).collect::<String>();
            Ok(format!("{} at {registry}", digest.short()))
        }
        Ok((None, image)) => Err(format!("{image} does not exist")),
        Err(error) => Err(problem_of(&error).what),
    };
    let is_mirrored = mirrors.get("docker.io").is_some_and(|mirror| !mirror.starts_with("127."));
    let fix =
        if is_mirrored { "mend the mirror of docker.io: `mirrors`, or JOBS_MIRRORS" } else { "cargo xtask setup" };
    let found = found.map_err(|what| Problem::new("", what).help(fix));
    Requirement::new("base images", &format!("{SAMPLE_BASE} can be resolved"), found, Health::Warn)
}

/// The sample base, through the mirror if there is one.
pub fn sample_base(mirrors: &BTreeMap<String, String>) -> anyhow::Result<Reference> {
    Ok(mirrored(Reference::normalized(SAMPLE_BASE)?, mirrors)?)
}

/// The commit, what its targets want, and what is hardly meant in the jobs' folders.
fn of_repository(run: &Run) -> Vec<Requirement> {
    let Run { ctx, config, target, .. } = run;
    let mut requirements =
        vec![Requirement::new("repository", "a commit", Ok(target.tag.value.to_string()), Health::Fail)];
    requirements.extend(login(run));
    let version = |program: &str, check: anyhow::Result<()>| {
        check
            .map_err(|error| problem_of(&error))
            .map(|()| program_version(ctx, program, "0.0.0").unwrap_or_else(|_| "installed".to_owned()))
    };
    if config.targets.values().any(|target| target.sign) {
        let found = version("cosign", check_cosign(ctx));
        requirements.push(Requirement::new("cosign", "3 or newer, for `sign`", found, Health::Warn));
    }
    if config.targets.values().any(|target| target.attest) {
        let found = version("gh", check_gh(ctx));
        requirements.push(Requirement::new("gh", "2.67 or newer, for `attest`", found, Health::Warn));
    }
    requirements.extend(notes(run));
    requirements
}

/// The registry of the target, and the client of AWS where that is ECR.
fn login(run: &Run) -> Vec<Requirement> {
    const AWS: &str = "install the AWS CLI 2: docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html";
    let Run { ctx, target, .. } = run;
    let Some(registry) = target.registry.as_ref().map(|registry| &registry.value) else { return Vec::new() };
    let mut requirements = Vec::new();
    if registry.ecr().is_some() {
        let found = program_version(ctx, "aws", "1.18.0").map_err(|problem| problem.help(AWS));
        requirements.push(Requirement::new("aws", "the AWS client, for ECR", found, Health::Warn));
    }
    let jobs = select_jobs(ctx, &run.config, &[], &mut BrokenJobs::new(true)).unwrap_or_default();
    let repository = jobs.first().and_then(|job| target.repository(&job.name).ok());
    let tag = &target.tag.value;
    let image = repository.and_then(|repository| format!("{repository}:{tag}").parse::<Reference>().ok());
    let found = image.map(|image| run.client.digest(ctx, &image).map_err(|error| problem_of(&error)));
    let found = found.map(|found| found.map(|_| format!("{registry} lets us in")));
    requirements.extend(found.map(|found| Requirement::new("login", "a login that may read", found, Health::Warn)));
    requirements
}

/// What is hardly meant in the jobs' folders.
fn notes(run: &Run) -> Vec<Requirement> {
    let (ctx, broken) = (&run.ctx, &mut BrokenJobs::new(true));
    let jobs = select_jobs(ctx, &run.config, &[], broken);
    let recipes = jobs.and_then(|jobs| recipes(run, jobs, &Basis::Since("HEAD".to_owned()), broken));
    // What cannot be read is the concern of the commands that need it, and said there.
    let Ok(recipes) = recipes else { return Vec::new() };
    let files = plan::notes_of_files(ctx, &run.config.jobs_dirs, recipes.iter(), broken.aside());
    let notes = plan::notes_of_recipes(recipes.iter()).into_iter().chain(files);
    let requirement = |note: Problem| {
        let problem = Problem { at: String::new(), what: format!("{}: {}", note.at, note.what), ..note };
        Requirement::new("jobs", "files that are meant as they are", Err(problem), Health::Warn)
    };
    notes.map(requirement).collect()
}

/// What is wrong, on the one line that a row of the table has, and what to do about it.
fn problem_of(error: &anyhow::Error) -> Problem {
    let first = error.downcast_ref::<Failure>().and_then(|failure| failure.problems.first());
    let what = Failure::reason(error).lines().next().unwrap_or_default().to_owned();
    Problem { help: first.and_then(|problem| problem.help.clone()), ..Problem::new("", what) }
}
