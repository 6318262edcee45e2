//! Resolving the images that Dockerfiles build from: each tag to a digest, once per run.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::base::bases;
use crate::dockerfile::instruction::Dockerfile;
use crate::model::arch::Arch;
use crate::model::job::Job;
use crate::model::problem::{Exit, Failure, Problem};
use crate::model::reference::{Digest, Reference, Registry};
use crate::run::context::Context;
use crate::run::fleet;
use crate::tools::buildx;

/// How many registries are asked at once.
const PARALLEL: usize = 8;

/// An image that a job builds from, and the line that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// As the Dockerfile names it, build arguments filled in.
    pub written: String,
    /// `jobs/<name>/Dockerfile:<line>`.
    pub at: String,
    /// What is pulled: the mirror's name for it, where there is one.
    pub pulled: Reference,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `FROM`, `COPY --from=`, `RUN --mount=from=`.
    Image,
    /// `# syntax=`: the program that reads the Dockerfile.
    Frontend,
}

/// The digest of every image that is pulled.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    of: BTreeMap<Reference, Digest>,
    /// Those that bring instructions of their own (`ONBUILD`).
    triggering: BTreeSet<Reference>,
}

impl Digests {
    pub fn add(&mut self, image: &Reference, digest: Digest, triggers: bool) {
        self.of.insert(image.clone(), digest);
        if triggers {
            self.triggering.insert(image.clone());
        }
    }

    pub fn extend(&mut self, more: Digests) {
        self.of.extend(more.of);
        self.triggering.extend(more.triggering);
    }

    pub fn get(&self, image: &Reference) -> Option<&Digest> {
        self.of.get(image)
    }

    /// Whether an image brings instructions of its own, which may copy anything of the context.
    pub fn triggers(&self, image: &Reference) -> bool {
        self.triggering.contains(image)
    }
}

/// Reads a job's Dockerfile.
///
/// # Errors
/// It is no Dockerfile: file and line, for the caller to collect.
pub fn read(ctx: &Context, job: &Job) -> Result<Dockerfile, Problem> {
    let path = job.dockerfile();
    let text = std::fs::read_to_string(ctx.root.join(&path))
        .map_err(|error| Problem::new(path.as_str(), format!("could not be read: {error}")))?;
    Dockerfile::parse(&text).map_err(|fault| fault.at(path.as_str()))
}

/// The images that a job builds from on one architecture.
///
/// # Errors
/// A name that cannot be known: file and line, for the caller to collect.
pub fn used(
    job: &Job,
    dockerfile: &Dockerfile,
    mirrors: &BTreeMap<String, String>,
    (target, build): (Arch, Arch),
) -> Result<Vec<Use>, Vec<Problem>> {
    let path = job.dockerfile();
    let found = bases(dockerfile, &job.settings.args, target, build)
        .map_err(|faults| faults.iter().map(|fault| fault.at(path.as_str())).collect::<Vec<_>>())?;
    let images = found.into_iter().map(|base| (base.line, base.written, Kind::Image));
    let frontend = dockerfile.syntax.iter().map(|syntax| (syntax.line, syntax.image.clone(), Kind::Frontend));
    let mut uses = Vec::new();
    let mut problems = Vec::new();
    for (line, written, kind) in images.chain(frontend) {
        let at = format!("{path}:{line}");
        match Reference::normalized(&written).and_then(|image| through_mirror(image, mirrors)) {
            Ok(pulled) => uses.push(Use { written, at, pulled, kind }),
            Err(problem) => problems.push(Problem { at, what: format!("{}: {}", problem.at, problem.what), ..problem }),
        }
    }
    if problems.is_empty() { Ok(uses) } else { Err(problems) }
}

/// With `docker.io` -> `127.0.0.1:5000/hub`, `docker.io/library/busybox` is `127.0.0.1:5000/hub/library/busybox`.
pub fn through_mirror(image: Reference, mirrors: &BTreeMap<String, String>) -> Result<Reference, Problem> {
    let registry = image.repository.registry.as_ref().map(Registry::to_string).unwrap_or_default();
    let Some(prefix) = mirrors.get(&registry) else { return Ok(image) };
    let mut mirrored: Reference = format!("{prefix}/{}", image.repository.name()).parse()?;
    mirrored.tag = image.tag;
    mirrored.digest = image.digest;
    Ok(mirrored)
}

/// Looks up the digest of every image; a pinned one keeps its own.
///
/// # Errors
/// With exit code 4, every image that cannot be resolved, with the first line that names it.
pub fn resolve(ctx: &Context, uses: &[Use]) -> anyhow::Result<Digests> {
    let mut first: BTreeMap<&Reference, &Use> = BTreeMap::new();
    for used in uses {
        first.entry(&used.pulled).or_insert(used);
    }
    let wanted: Vec<(&Reference, &Use)> = first.into_iter().collect();
    let found = fleet::all(ctx, PARALLEL, &wanted, |(image, used)| {
        ctx.ui.detail("Resolving", image);
        Ok(match buildx::inspect(ctx, image) {
            Ok(Some(published)) => {
                let digest = image.digest.clone().unwrap_or_else(|| published.digest.clone());
                Ok(((*image).clone(), digest, published.has_triggers()))
            }
            Ok(None) => Err(no_such_image(used)),
            Err(error) => Err(unresolved(used, &innermost(&error), crate::run::hints::help_for(&format!("{error:#}")))),
        })
    })?;
    let mut digests = Digests::default();
    let mut problems = Vec::new();
    for result in found {
        match result {
            Ok((image, digest, triggers)) => digests.add(&image, digest, triggers),
            Err(problem) => problems.push(problem),
        }
    }
    Failure::unless_empty(Exit::Missing, problems)?;
    Ok(digests)
}

fn innermost(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Failure>().and_then(|failure| failure.problems.first()) {
        Some(problem) => problem.what.clone(),
        None => format!("{error:#}"),
    }
}

/// The registry that the Dockerfile means, whatever stands in for it.
fn registry_of(used: &Use) -> String {
    let written = Reference::normalized(&used.written).ok().and_then(|image| image.repository.registry);
    written.as_ref().map(Registry::to_string).unwrap_or_default()
}

fn no_such_image(used: &Use) -> Problem {
    let (written, pulled) = (registry_of(used), &used.pulled);
    let at_mirror = !pulled.to_string().starts_with(&format!("{written}/"));
    let mirrored = if at_mirror { format!(", or copy the image to the mirror of {written}") } else { String::new() };
    Problem::new(&used.at, format!("base `{}` cannot be resolved to a digest: there is no {pulled}", used.written))
        .help(format!("mend the name or the tag{mirrored}"))
}

fn unresolved(used: &Use, why: &str, help: Option<&str>) -> Problem {
    let registry = used.pulled.repository.registry.as_ref().map(Registry::to_string).unwrap_or_default();
    let what = format!("base `{}` cannot be resolved to a digest at {registry}: {why}", used.written);
    let problem = Problem::new(&used.at, what);
    let by_hand = format!(
        "set JOBS_MIRRORS={}=<mirror> (or `mirrors` in Cargo.toml), or docker login {registry}",
        registry_of(used)
    );
    match help.filter(|help| {
        !help.contains("loopback") || used.pulled.repository.registry.as_ref().is_some_and(Registry::is_loopback)
    }) {
        Some(help) => problem.help(format!("{help}; or {by_hand}")),
        None => problem.help(by_hand),
    }
}

/// What a build is given so that it pulls exactly what was resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// For `--build-context`: name in the Dockerfile -> image by digest.
    pub contexts: BTreeMap<String, String>,
    /// For `BUILDKIT_SYNTAX`: the frontend by digest.
    pub frontend: Option<String>,
}

pub fn pin(uses: &[Use], digests: &Digests) -> Pinned {
    let mut pinned = Pinned::default();
    for used in uses {
        let Some(digest) = digests.get(&used.pulled) else { continue };
        let image = used.pulled.repository.with_digest(digest).to_string();
        match used.kind {
            Kind::Image => drop(pinned.contexts.insert(used.written.clone(), format!("docker-image://{image}"))),
            Kind::Frontend => pinned.frontend = Some(image),
        }
    }
    pinned
}

/// Every use of several lists once, for one look-up of all.
pub fn union<'a>(lists: impl Iterator<Item = &'a Vec<Use>>) -> Vec<Use> {
    let mut seen = BTreeSet::new();
    lists.flatten().filter(|used| seen.insert((used.pulled.clone(), used.at.clone()))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_stands_in_for_a_registry() {
        let mirrors = BTreeMap::from([
            ("docker.io".to_owned(), "127.0.0.1:5000".to_owned()),
            ("quay.io".to_owned(), "mirror.example.com/quay".to_owned()),
        ]);
        let pulled = |image: &str| {
            through_mirror(Reference::normalized(image).unwrap(), &mirrors)
                .map(|reference| reference.to_string())
                .unwrap()
        };
        assert_eq!(pulled("busybox:1.37"), "127.0.0.1:5000/library/busybox:1.37");
        assert_eq!(pulled("quay.io/a/b"), "mirror.example.com/quay/a/b:latest");
        assert_eq!(pulled("ghcr.io/a/b:1"), "ghcr.io/a/b:1");
    }
}
