//! `build`: the images of one or more architectures, several side by side; one that fails does not stop the others.

use super::login;
use crate::cli::BuildArgs;
use crate::model::{Arch, Exit, Image, Output, Problem};
use crate::plan::{self, Basis, select_jobs};
use crate::publish::{Record, build_all, build_commands, settle};
use crate::run::fleet::Tally;
use crate::settings::{Run, Target};
use crate::tools::{buildx_version, loaded_architectures};

pub fn run(run: &Run, args: &BuildArgs) -> anyhow::Result<()> {
    let record = Record::begin(run, "build", &args.telling);
    let ended = login::renewed(run, || build(run, args, &record));
    if args.dry_run { super::print(&run.ctx, ended?) } else { record.finish(ended) }
}

fn build(run: &Run, args: &BuildArgs, record: &Record) -> anyhow::Result<Tally<String>> {
    buildx_version(&run.ctx)?;
    let arches = arches(&args.arch)?;
    let output = output(run, args)?;
    let told = super::told(&run.ctx, &args.jobs, args.plan.as_deref())?;
    let mut broken = told.broken(args.keep_going);
    let jobs = select_jobs(&run.ctx, &run.config, &told.jobs, &mut broken)?;
    super::tell_of_dockerfiles(&run.ctx, &run.config, &jobs, &broken);
    let basis = Basis::Registry { force: args.force }.or_slice(&told.plan)?;
    // What is loaded is for this engine, whatever a registry holds.
    let local = Run { target: Target { registry: None, ..run.target.clone() }, ..run.clone() };
    let run = if output == Output::Load { &local } else { run };
    let mut plan = plan::make(run, jobs, &basis, &mut broken)?;
    if run.ctx.env.get("GITHUB_STEP_SUMMARY").is_some() {
        // Nothing else tells why an image is built, and looking for it takes as long as the plan.
        plan::explain(run, &mut plan)?;
    }
    let images = settle(run, &plan, &arches, output, &args.options, record)?;
    if output == Output::Load {
        tell_what_is_replaced(run, &images)?;
    }
    if args.dry_run {
        let commands = build_commands(&run.ctx, &images, &args.options)?;
        return Ok(Tally { done: commands, failures: broken.result() });
    }
    Ok(build_all(&run.ctx, &images, &args.options, record)?.and(broken.result()).shown())
}

/// The architectures to build for: this machine's, unless others are named.
fn arches(named: &[Arch]) -> anyhow::Result<Vec<Arch>> {
    let mut arches = named.to_vec();
    arches.sort_unstable();
    if let Some(twice) = arches.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Problem::new("--arch", format!("`{}` is given twice", twice[0]))
            .rule("an architecture is built once")
            .help("leave one of them out")
            .exit(Exit::Usage));
    }
    if arches.is_empty() {
        let own = Arch::of_this_machine().ok_or_else(|| {
            Problem::new("--arch", format!("this machine is {}, which is not built for", std::env::consts::ARCH))
                .help("name an architecture: --arch amd64 or --arch arm64")
                .exit(Exit::Usage)
        })?;
        arches.push(own);
    }
    Ok(arches)
}

/// Says which local tags hold another architecture's image: one architecture is loaded without a suffix.
fn tell_what_is_replaced(Run { ctx, .. }: &Run, images: &[Image]) -> anyhow::Result<()> {
    let tags: Vec<String> = images.iter().map(|image| image.reference.to_string()).collect();
    let loaded = loaded_architectures(ctx, &tags)?;
    for (Image { arch, .. }, tag) in images.iter().zip(&tags) {
        if let Some(other) = loaded.get(tag).filter(|loaded| **loaded != arch.as_str()) {
            let keep = "--arch amd64 --arch arm64 in one command keeps both, each under a tag of its own";
            ctx.ui.warning(format!("{tag} is the image for {other}, which the one for {arch} replaces ({keep})"));
        }
    }
    Ok(())
}

/// Where the images go: to the registry, where there is one.
fn output(run: &Run, args: &BuildArgs) -> anyhow::Result<Output> {
    if args.push {
        run.target.published_registry("--push")?;
    }
    if run.target.registry.is_none() && run.ctx.env.is_github_actions() {
        run.ctx.ui.status("Skipped", format!("publishing: {}", run.target.why_nowhere(&run.ctx)));
    }
    Ok(if args.load || run.target.registry.is_none() { Output::Load } else { Output::Push })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_named_once() {
        assert_eq!(arches(&[Arch::Arm64, Arch::Amd64]).unwrap(), Arch::ALL);
        let twice = arches(&[Arch::Arm64, Arch::Arm64]).unwrap_err().to_string();
        assert!(twice.starts_with("--arch: `arm64` is given twice\n"), "{twice}");
    }
}
