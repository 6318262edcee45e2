//! `doctor`: what this machine has, what it needs, and one fix for each thing that is missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::Format;
use crate::model::{Arch, Exit, Failure, Problem, Reference};
use crate::plan::{self, Basis, BrokenJobs, mirrored, recipes, select_jobs};
use crate::run::{Context, table};
use crate::settings::{Config, Given, Run};
use crate::tools::{
    Bootstrap, Builder, RegistryClient, buildx_bounds, buildx_version, engine_version, has_program, running_registry,
};

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
            ctx.ui.data(table(&["", "WHAT", "FOUND", "NEEDED", "FIX"], &rows));
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
    let program = |name: &str| {
        if has_program(ctx, name) { Ok("installed".to_owned()) } else { Err(mended_by_setup("not installed")) }
    };
    let buildx = buildx_version(ctx).map_err(|error| mended_by_setup(first_line(&error)));
    let builder = Builder::probe(ctx, None, Bootstrap::No).map_err(|error| first_line(&error));
    let mut requirements = vec![
        Requirement::new("git", "any version", program("git"), Health::Fail),
        Requirement::new("engine", "one that answers", engine_version(ctx), Health::Fail),
        Requirement::new("buildx", &buildx_bounds(), buildx, Health::Fail),
        image_store(&builder),
    ];
    requirements.extend(config.runners.keys().map(|&arch| emulation(arch, &builder)));
    let registry = match running_registry(ctx) {
        Some(address) => Ok(address),
        None => program("docker-registry").map(|_| "installed, not running".to_owned()),
    };
    requirements.push(Requirement::new("registry", "docker-registry, for `pipeline`", registry, Health::Warn));
    requirements.push(base_images(ctx, &mirrors));
    requirements.extend(notes(ctx, config, given));
    Ok(requirements)
}

/// What is missing, where `setup` is the remedy.
fn mended_by_setup(what: impl Into<String>) -> Problem {
    Problem::new("", what).help("cargo xtask setup")
}

/// What is hardly meant in the jobs' folders.
fn notes(ctx: &Context, config: &Config, given: &Given) -> Vec<Requirement> {
    let recipes = Run::new(ctx, config, given).and_then(|run| {
        let broken = &mut BrokenJobs::new(true);
        recipes(&run, select_jobs(ctx, config, &[], broken)?, &Basis::Since("HEAD".to_owned()), broken)
    });
    // What cannot be read is the concern of the commands that need it, and said there.
    let recipes = recipes.unwrap_or_default();
    let notes = plan::note_of_inputs(recipes.iter()).into_iter().chain(plan::notes_of_files(ctx, recipes.iter()));
    let requirement = |note: Problem| {
        let problem = Problem { at: String::new(), what: format!("{}: {}", note.at, note.what), ..note };
        Requirement::new("jobs", "files that are meant as they are", Err(problem), Health::Warn)
    };
    notes.map(requirement).collect()
}

/// The image store of the engine: some things can only be done with containerd's.
fn image_store(builder: &Result<Builder, String>) -> Requirement {
    const CLASSIC: &str = "docker driver with the classic image store: no attestations, no cache in the registry, \
                           no annotations on indexes";
    const FIX: &str = "set {\"features\":{\"containerd-snapshotter\":true}} in /etc/docker/daemon.json, and restart \
                       the engine (a reload is not enough)";
    let (found, otherwise) = match builder {
        Ok(builder) if builder.attestations => (Ok(builder.driver.clone()), Health::Ok),
        Ok(_) => (Err(Problem::new("", CLASSIC).help(FIX)), Health::Warn),
        Err(error) => (Err(mended_by_setup(error)), Health::Fail),
    };
    Requirement::new("builder", "attestations", found, otherwise)
}

fn emulation(arch: Arch, builder: &Result<Builder, String>) -> Requirement {
    let found = match builder.as_ref().map(|builder| builder.support(arch)) {
        Ok(Some(support)) => Ok(support.to_owned()),
        Ok(None) => Err(mended_by_setup("neither native nor emulated")),
        Err(_) => Err(mended_by_setup("not known without a builder")),
    };
    Requirement::new(arch.as_str(), "native, or emulated for `pipeline`", found, Health::Warn)
}

fn base_images(ctx: &Context, mirrors: &BTreeMap<String, String>) -> Requirement {
    let image = sample_base(mirrors);
    let found = match image.and_then(|image| Ok((RegistryClient::default().digest(ctx, &image)?, image))) {
        Ok((Some(digest), image)) => Ok(format!("{} at {image}", digest.short())),
        Ok((None, image)) => Err(format!("{image} does not exist")),
        Err(error) => Err(first_line(&error)),
    };
    const FIX: &str = "cargo xtask setup, or set JOBS_MIRRORS=docker.io=<mirror>";
    let found = found.map_err(|what| Problem::new("", what).help(FIX));
    Requirement::new("base images", &format!("{SAMPLE_BASE} can be resolved"), found, Health::Warn)
}

/// The sample base, through the mirror if there is one.
pub fn sample_base(mirrors: &BTreeMap<String, String>) -> anyhow::Result<Reference> {
    Ok(mirrored(Reference::normalized(SAMPLE_BASE)?, mirrors)?)
}

/// What is wrong, on the one line that a row of the table has.
fn first_line(error: &anyhow::Error) -> String {
    Failure::reason(error).lines().next().unwrap_or_default().to_owned()
}
