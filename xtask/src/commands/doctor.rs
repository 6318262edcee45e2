//! `doctor`: what this machine has, what it needs, and one fix for each thing that is missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::Format;
use crate::model::arch::Arch;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::Reference;
use crate::plan::jobs;
use crate::plan::recipe::{self, Basis};
use crate::run::context::Context;
use crate::run::report::table;
use crate::settings::Run;
use crate::settings::config::Config;
use crate::settings::target::Given;
use crate::settings::target::Target;
use crate::tools::builder::{self, Bootstrap, Builder};
use crate::tools::{buildx, registry, system};

/// The image that this repository's jobs build from, and that stands for Docker Hub in the checks.
pub const SAMPLE_BASE: &str = "busybox:1.37";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    /// Needed by some commands only.
    Warn,
    Fail,
}

/// One thing that is needed.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub health: Health,
    pub found: String,
    pub needed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

pub fn run(ctx: &Context, config: &Config, given: &Given, format: Format) -> anyhow::Result<()> {
    let findings = examine(ctx, config, given)?;
    match format {
        Format::Json => ctx.ui.data(serde_json::to_string(&findings)?),
        Format::Table => {
            let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
            ctx.ui.data(table(&["", "WHAT", "FOUND", "NEEDED", "FIX"], &rows));
        }
    }
    let failed = findings.into_iter().filter(|finding| finding.health == Health::Fail);
    let problems = failed.map(|finding| {
        Problem::new(finding.what, finding.found).help(finding.fix.unwrap_or_else(|| "cargo xtask setup".to_owned()))
    });
    Failure::unless_empty(Exit::Missing, problems.collect())
}

fn row(finding: &Finding) -> Vec<String> {
    let health = match finding.health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "fail",
    };
    let fix = finding.fix.clone().unwrap_or_default();
    vec![health.to_owned(), finding.what.to_owned(), finding.found.clone(), finding.needed.clone(), fix]
}

/// Looks at everything; changes nothing.
pub fn examine(ctx: &Context, config: &Config, given: &Given) -> anyhow::Result<Vec<Finding>> {
    let mirrors = Target::mirrors_only(ctx, config, given)?;
    let fix = Some("cargo xtask setup".to_owned());
    let finding = |what, needed: &str, found: Result<String, String>, bad: Health| match found {
        Ok(found) => Finding { what, health: Health::Ok, found, needed: needed.to_owned(), fix: None },
        Err(found) => Finding { what, health: bad, found, needed: needed.to_owned(), fix: fix.clone() },
    };
    let program = |name: &str| {
        if system::has_program(ctx, name) { Ok("installed".to_owned()) } else { Err("not installed".to_owned()) }
    };
    let mut findings = vec![finding("git", "any version", program("git"), Health::Fail)];
    findings.push(finding("engine", "one that answers", system::engine(ctx)?, Health::Fail));
    let version = builder::buildx_version(ctx).map(|version| version.to_string()).map_err(|error| first_line(&error));
    findings.push(finding("buildx", "0.22.0 or newer, not 0.31.1", version, Health::Fail));
    let builder = builder::probe(ctx, None, Bootstrap::No).map_err(|error| first_line(&error));
    findings.push(store(&builder));
    for arch in config.arches() {
        findings.push(emulation(arch, &builder));
    }
    let registry = match registry::running(ctx) {
        Some(address) => Ok(address),
        None => program("docker-registry").map(|_| "installed, not running".to_owned()),
    };
    findings.push(finding("registry", "docker-registry, for `pipeline`", registry, Health::Warn));
    findings.push(base(ctx, &mirrors));
    findings.extend(whole_contexts(ctx, config, given));
    Ok(findings)
}

/// Jobs whose input is all of the build context: every commit rebuilds them.
fn whole_contexts(ctx: &Context, config: &Config, given: &Given) -> Vec<Finding> {
    let recipes = Run::new(ctx, config, given)
        .and_then(|run| recipe::recipes(&run, jobs::all(ctx, config)?, &Basis::Since("HEAD".to_owned())));
    // What cannot be read is the concern of the commands that need it, and said there.
    let whole =
        recipes.unwrap_or_default().into_iter().filter_map(|recipe| Some((recipe.job.name.clone(), recipe.whole?)));
    whole
        .map(|(name, because)| Finding {
            what: "inputs",
            health: Health::Warn,
            found: format!("{name}: all of the build context: {because}"),
            needed: "paths that are named".to_owned(),
            fix: Some("copy by name, and list what no image needs in .dockerignore".to_owned()),
        })
        .collect()
}

/// The image store of the engine: without containerd's, images carry no attestations.
fn store(builder: &Result<Builder, String>) -> Finding {
    let (health, found, fix) = match builder {
        Ok(builder) if builder.attestations => (Health::Ok, builder.driver.clone(), None),
        Ok(_) => (
            Health::Warn,
            "docker driver without the containerd image store: no attestations".to_owned(),
            Some("set {\"features\":{\"containerd-snapshotter\":true}} in /etc/docker/daemon.json".to_owned()),
        ),
        Err(error) => (Health::Fail, error.clone(), Some("cargo xtask setup".to_owned())),
    };
    Finding { what: "builder", health, found, needed: "attestations".to_owned(), fix }
}

fn emulation(arch: Arch, builder: &Result<Builder, String>) -> Finding {
    let what = match arch {
        Arch::Amd64 => "amd64",
        Arch::Arm64 => "arm64",
    };
    let (health, found) = match builder {
        Ok(builder) if builder.is_native(arch) => (Health::Ok, "native"),
        Ok(builder) if builder.can_run(arch) => (Health::Ok, "emulated"),
        Ok(_) => (Health::Warn, "neither native nor emulated"),
        Err(_) => (Health::Warn, "not known without a builder"),
    };
    let fix = (health != Health::Ok).then(|| "cargo xtask setup".to_owned());
    Finding { what, health, found: found.to_owned(), needed: "native, or emulated for `pipeline`".to_owned(), fix }
}

fn base(ctx: &Context, mirrors: &BTreeMap<String, String>) -> Finding {
    let image = sample_base(mirrors);
    let needed = format!("{SAMPLE_BASE} can be resolved");
    let found = match image.and_then(|image| Ok((buildx::inspect(ctx, &image)?, image))) {
        Ok((Some(published), image)) => Ok(format!("{} at {image}", published.digest.short())),
        Ok((None, image)) => Err(format!("{image} does not exist")),
        Err(error) => Err(first_line(&error)),
    };
    let fix = found.is_err().then(|| "cargo xtask setup, or set JOBS_MIRRORS=docker.io=<mirror>".to_owned());
    let health = if found.is_ok() { Health::Ok } else { Health::Warn };
    Finding { what: "base images", health, found: found.unwrap_or_else(|error| error), needed, fix }
}

/// The sample base, through the mirror if there is one.
pub fn sample_base(mirrors: &BTreeMap<String, String>) -> anyhow::Result<Reference> {
    Ok(crate::plan::bases::mirrored(Reference::normalized(SAMPLE_BASE)?, mirrors)?)
}

/// What is wrong, without what it is about: the finding names that itself.
fn first_line(error: &anyhow::Error) -> String {
    let problem = error.downcast_ref::<Failure>().and_then(|failure| failure.problems.first());
    let text = problem.map_or_else(|| format!("{error:#}"), |problem| problem.what.clone());
    text.lines().next().unwrap_or_default().to_owned()
}
