//! `setup`: finds out what is missing, and installs and starts it. It changes nothing that is there, so it can be
//! repeated.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::commands::doctor::sample_base;
use crate::model::{Arch, Exit, Problem};
use crate::run::Context;
use crate::settings::{Config, Given, Run};
use crate::tools::{Bootstrap, Builder, Machine, RegistryClient, buildx_version, check_cosign, engine_version};
use crate::tools::{
    docker_version, ensure_registry, fill_registry, has_program, has_python_environments, is_mended_by_setup,
    noted_mirror, print_registry, running_registry,
};

/// Programs whose packages have the same names.
const PROGRAMS: [&str; 4] = ["git", "curl", "docker-registry", "zstd"];
/// What signs, for targets that want signatures, and for the tests.
const COSIGN: &str = "cosign";
/// Python with what makes virtual environments.
const PYTHON: &str = "python3-venv";
/// `ip`, with which the tests make a bridge for an engine of their own.
const IPROUTE: &str = "iproute2";
/// What only the tests need, in packages of the same names: shells whose completions are tested beside bash's, what
/// some machines have in docker's place, and a terminal.
const FOR_TESTS: [&str; 4] = ["zsh", "fish", "podman", "tmux"];
/// Browsers that need no display, in which the tests open pages; the first is the one that is installed.
const BROWSERS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// The engine and what belongs to it.
const ENGINE: [&str; 5] = ["docker.io", "docker-cli", "containerd", "tini-static", "docker-buildx"];
/// How long a running engine may take to see emulation that was just installed: it looks for it from time to time only.
const EMULATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the engine is asked whether it sees it.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What the machine is made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Pipeline,
    /// The same, but commands are only printed.
    DryRun,
    /// The tests need more: Python installs the programs that give a second opinion.
    Tests,
}

pub fn run(ctx: &Context, config: &Config, given: &Given, purpose: Purpose) -> anyhow::Result<()> {
    let mirrors = config.mirrors_with(&given.mirrors)?;
    if let Err(problem) = docker_version(ctx).and_then(|_| engine_version(ctx))
        && !is_mended_by_setup(&problem)
    {
        return Err(problem.exit(Exit::Missing));
    }
    let mut machine = Machine::inspect(ctx)?;
    machine.dry_run = purpose == Purpose::DryRun;
    let signs = purpose == Purpose::Tests || config.targets.values().any(|target| target.sign);
    install_programs(ctx, &machine, purpose, signs)?;
    start_engine(ctx, &machine)?;
    install_emulation(ctx, &machine, config)?;
    provide_sample_base(ctx, &machine, mirrors)?;
    let done = if machine.dry_run { "nothing was changed" } else { "everything that is needed is there" };
    ctx.ui.status("Finished", done);
    Ok(())
}

/// Makes the engine of a hosted runner hold all that an image carries. Any other engine is somebody's own, and stays
/// as it is.
pub fn fit(run: &Run, dry_run: bool) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    let buildx = buildx_version(ctx)?;
    let builder = Builder::probe(ctx, None, Bootstrap::No)?;
    if !builder.attestations && !ctx.env.is_hosted_runner() {
        run.check_builder(&builder, target.provenance)?;
        ctx.ui.status("Kept", "the engine as it is: this is no runner of GitHub's own");
        return Ok(());
    }
    if !builder.attestations {
        let mut machine = Machine::inspect(ctx)?;
        machine.dry_run = dry_run;
        machine.turn_on_containerd_store(ctx)?;
        if dry_run {
            return Ok(());
        }
        run.check_builder(&Builder::probe(ctx, None, Bootstrap::No)?, target.provenance)?;
    }
    let (engine, driver) = (engine_version(ctx), builder.driver);
    let engine = engine.map_or_else(|_| String::new(), |version| format!("engine {version}, "));
    ctx.ui.status("Finished", format!("{engine}buildx {buildx}, driver {driver}: images keep their attestations"));
    Ok(())
}

fn install_programs(ctx: &Context, machine: &Machine, purpose: Purpose, signs: bool) -> anyhow::Result<()> {
    let has = |program: &str| has_program(ctx, program);
    let mut packages: Vec<&str> = PROGRAMS.into_iter().filter(|program| !has(program)).collect();
    if purpose == Purpose::Tests {
        packages.extend((!has_python_environments(ctx)?).then_some(PYTHON));
        packages.extend((!has("ip")).then_some(IPROUTE));
        packages.extend(FOR_TESTS.into_iter().filter(|program| !has(program)));
        packages.extend((!BROWSERS.into_iter().any(has)).then_some(BROWSERS[0]));
    }
    packages.extend((signs && check_cosign(ctx).is_err()).then_some(COSIGN));
    if !has("dockerd") && engine_version(ctx).is_err() {
        packages.extend(ENGINE);
    } else if buildx_version(ctx).is_err() {
        // The engine is somebody else's: only what it lacks is added.
        packages.push("docker-buildx");
    }
    if packages.is_empty() {
        return Ok(());
    }
    machine.install(ctx, &packages)?;
    if machine.dry_run {
        return Ok(());
    }
    buildx_version(ctx)?;
    if packages.contains(&COSIGN) { check_cosign(ctx) } else { Ok(()) }
}

/// Starts the engine, unless one answers.
fn start_engine(ctx: &Context, machine: &Machine) -> anyhow::Result<()> {
    let Err(problem) = engine_version(ctx) else { return Ok(()) };
    if !has_program(ctx, "dockerd") && !machine.dry_run {
        return Err(problem.help("start it: this machine has no `dockerd` to start").exit(Exit::Missing));
    }
    machine.start_engine(ctx)
}

/// Makes every configured architecture run here, for `pipeline` and `--emulate`.
fn install_emulation(ctx: &Context, machine: &Machine, config: &Config) -> anyhow::Result<()> {
    let mut missing: Vec<Arch> = config.runners.keys().copied().collect();
    match Builder::probe(ctx, None, Bootstrap::No) {
        // A new engine will have what the kernel has.
        Err(_) if machine.dry_run => missing.retain(|&arch| Some(arch) != Arch::of_this_machine()),
        Ok(builder) if builder.driver != "docker" => return Ok(()),
        builder => {
            let builder = builder?;
            missing.retain(|&arch| builder.support(arch).is_none());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    for &arch in &missing {
        ctx.ui.status("Installing", format!("emulation of {arch}"));
        machine.install_emulation(ctx, arch)?;
    }
    let start = Instant::now();
    while !machine.dry_run && Builder::probe(ctx, None, Bootstrap::No)?.check_emulated(&missing).is_err() {
        if start.elapsed() > EMULATION_TIMEOUT || ctx.interrupted().is_some() {
            return Err(Problem::new("emulation", "is installed, and the engine does not see it")
                .help("restart the engine, and repeat this")
                .exit(Exit::Missing));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Where Docker Hub is out of reach, puts the sample base into the loopback registry, and notes it as the mirror.
fn provide_sample_base(ctx: &Context, machine: &Machine, mut mirrors: BTreeMap<String, String>) -> anyhow::Result<()> {
    let ensure_registry = if machine.dry_run { print_registry } else { ensure_registry };
    let noted = noted_mirror(ctx);
    let is_ours = mirrors.get("docker.io").is_none_or(|mirror| Some(mirror) == noted.as_ref());
    if noted.is_some() && is_ours {
        // It was filled before, and only has to run: filled again, every base would have moved.
        mirrors.insert("docker.io".to_owned(), ensure_registry(ctx)?);
        if machine.dry_run && running_registry(ctx).is_none() {
            return Ok(());
        }
    }
    let image = sample_base(&mirrors)?;
    let why = match RegistryClient::default().digest(ctx, &image) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => format!("{image} does not exist"),
        Err(error) => format!("{error:#}"),
    };
    if !is_ours {
        ctx.ui.warning(format!("the mirror of docker.io cannot be used: {why}"));
        return Ok(());
    }
    let address = ensure_registry(ctx)?;
    let image = sample_base(&BTreeMap::from([("docker.io".to_owned(), address.clone())]))?;
    fill_registry(ctx, machine, &address, &image)?;
    ctx.ui.status("Using", format!("{address} as the mirror of docker.io in this repository's `target/`"));
    Ok(())
}
