//! The images that jobs build from: each tag is resolved to a digest once per run, and every build is given the digest.

use std::collections::BTreeMap;

use super::jobs::Job;
use super::recipe::Recipe;
use crate::dockerfile::{BaseRole, ContextPath, Dockerfile, Inputs, onbuild_inputs};
use crate::model::{Arch, Digest, Exit, Expected, Failure, Index, Problem, Reference, Registry};
use crate::run::{help_for, is_unauthorized};
use crate::settings::Run;

/// An image that a job builds from, with what is pulled for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedBase {
    /// As the Dockerfile names it, build arguments filled in.
    pub written: String,
    pub role: BaseRole,
    /// What is pulled: the mirror's name for it, where there is one.
    pub pulled: Reference,
    /// `None` until it is resolved.
    pub digest: Option<Digest>,
    /// The instructions that it brings to the Dockerfiles that build from it (`ONBUILD`).
    on_build: Vec<String>,
    /// The platforms that it is there for, such as `linux/arm64/v8`; empty where one of its images does not say.
    platforms: Vec<String>,
    /// `jobs/<name>/Dockerfile:<line>`, or `job.json` for a frontend that it names.
    at: String,
}

impl PinnedBase {
    /// The image that a build pulls, once it is resolved.
    pub fn image(&self) -> Option<Reference> {
        Some(self.pulled.repository.with_digest(self.digest.as_ref()?))
    }

    /// The registry that the Dockerfile means, whatever stands in for it.
    fn registry(&self) -> String {
        let written = Reference::normalized(&self.written).ok().and_then(|image| image.repository.registry);
        written.as_ref().map(Registry::to_string).unwrap_or_default()
    }
}

/// The images that a job builds from on any of its architectures, by name.
///
/// # Errors
/// Every name that cannot be known, with file and line.
pub fn of_job(run: &Run, job: &Job, dockerfile: &Dockerfile) -> Result<Vec<PinnedBase>, Vec<Problem>> {
    let path = &job.files.dockerfile;
    let bases = dockerfile
        .bases(&job.settings.args, &job.arches, job.settings.target.as_deref())
        .map_err(|faults| faults.iter().map(|fault| fault.at(path.as_str())).collect::<Vec<_>>())?;
    let (mut pinned, mut problems) = (Vec::new(), Vec::new());
    for base in bases {
        let at = base.line.map_or_else(
            || format!("{}: args: BUILDKIT_SYNTAX", job.files.settings_file()),
            |line| format!("{path}:{line}"),
        );
        let pulled = Reference::normalized(&base.written).and_then(|image| mirrored(image, &run.target.mirrors));
        match pulled {
            Ok(pulled) => {
                pinned.push(PinnedBase {
                    written: base.written,
                    role: base.role,
                    pulled,
                    digest: None,
                    on_build: Vec::new(),
                    platforms: Vec::new(),
                    at,
                });
            }
            Err(problem) => problems.push(Problem { what: format!("{}: {}", problem.at, problem.what), at, ..problem }),
        }
    }
    pinned.sort_by(|a, b| a.written.cmp(&b.written));
    if problems.is_empty() { Ok(pinned) } else { Err(problems) }
}

/// With `docker.io` -> `127.0.0.1:5000/hub`, `docker.io/library/busybox` is `127.0.0.1:5000/hub/library/busybox`.
///
/// # Errors
/// What the mirror makes of the name is no reference.
pub fn mirrored(image: Reference, mirrors: &BTreeMap<String, String>) -> Result<Reference, Problem> {
    let registry = image.repository.registry.as_ref().map(Registry::to_string).unwrap_or_default();
    let Some(prefix) = mirrors.get(&registry) else { return Ok(image) };
    let mut mirrored: Reference = format!("{prefix}/{}", image.repository.name()).parse()?;
    mirrored.tag = image.tag;
    mirrored.digest = image.digest;
    Ok(mirrored)
}

/// Looks up the digest of every base, each image once, all at the same time; a pinned one keeps its own. Gives for each
/// job what is wrong with its bases: with exit code 4, every image that cannot be resolved, with its line; with 2,
/// every base that copies folders by `ONBUILD` which the job does not name, or that is not there for one of its
/// architectures.
///
/// # Errors
/// No registry can be asked.
pub fn resolve(run: &Run, recipes: &mut [Recipe]) -> anyhow::Result<Vec<anyhow::Result<()>>> {
    let mut wanted: BTreeMap<Reference, PinnedBase> = BTreeMap::new();
    for base in recipes.iter().flat_map(|recipe| &recipe.bases) {
        let known = wanted.entry(base.pulled.clone()).or_insert_with(|| base.clone());
        // An image may be a frontend too: it is then read as the more of the two.
        known.role = if base.role == BaseRole::Image { BaseRole::Image } else { known.role };
    }
    let found = look_up(run, wanted)?;
    let resolved = recipes.iter_mut().map(|recipe| {
        let (mut problems, mut missing) = (Vec::new(), Vec::new());
        for base in &mut recipe.bases {
            match found.get(&base.pulled) {
                None => {}
                Some(Err(problem)) => missing.push(Problem { at: base.at.clone(), ..problem.clone() }),
                Some(Ok(PinnedBase { digest, on_build, platforms, .. })) => {
                    (base.digest, base.on_build) = (digest.clone(), on_build.clone());
                    problems.extend(check_platforms(&recipe.expected, base, platforms));
                    // Most bases have none, and there are as many of them as jobs.
                    let copied = on_build.first().and_then(|_| check_on_build(run, &recipe.job, &recipe.inputs, base));
                    problems.extend(copied);
                }
            }
        }
        Failure::unless_empty(Exit::Missing, missing)?;
        Failure::unless_empty(Exit::Usage, problems)
    });
    Ok(resolved.collect())
}

/// Three requests for an image: what the tag points to, and the manifest and the configuration of the first image
/// there, which tells what it brings by `ONBUILD`.
fn look_up(
    run: &Run,
    mut wanted: BTreeMap<Reference, PinnedBase>,
) -> anyhow::Result<BTreeMap<Reference, Result<PinnedBase, Problem>>> {
    let references: Vec<Reference> = wanted.keys().cloned().collect();
    references.iter().for_each(|reference| run.ctx.ui.detail("Resolving", reference));
    let (mut missing, mut indexes) = (BTreeMap::new(), Vec::new());
    for (base, index) in wanted.values_mut().zip(run.client.indexes(&run.ctx, &references)?) {
        match index {
            Ok(Some(mut index)) => {
                base.digest = base.pulled.digest.clone().or(Some(index.digest.clone()));
                base.platforms = declared(&index);
                index.images.truncate(if base.role == BaseRole::Image { 1 } else { 0 });
                indexes.push((base, index));
            }
            Ok(None) => drop(missing.insert(base.pulled.clone(), no_such_image(base))),
            Err(error) => drop(missing.insert(base.pulled.clone(), unresolved(base, &error))),
        }
    }
    let mut unread: Vec<_> = indexes.iter_mut().map(|(base, index)| (&base.pulled.repository, index)).collect();
    let read = run.client.read_images(&run.ctx, &mut unread)?;
    for ((base, index), read) in indexes.into_iter().zip(read) {
        match read {
            Ok(()) => {
                // A bare manifest says it in its configuration.
                if index.images.iter().any(|image| image.digest == index.digest) {
                    base.platforms = declared(&index);
                }
                base.on_build = index.images.into_iter().flat_map(|image| image.on_build).collect();
            }
            Err(error) => drop(missing.insert(base.pulled.clone(), unresolved(base, &error))),
        }
    }
    let found = wanted.into_iter().map(|(pulled, base)| match missing.remove(&pulled) {
        Some(problem) => (pulled, Err(problem)),
        None => (pulled, Ok(base)),
    });
    Ok(found.collect())
}

/// What a base copies by `ONBUILD` is not in the Dockerfile. A file that the job does not name fails the build; but of
/// a folder, no more would be copied than what the job names of it, so that is refused here.
fn check_on_build(run: &Run, job: &Job, inputs: &Inputs, base: &PinnedBase) -> Option<Problem> {
    let context = job.files.context.as_str();
    let further = job.settings.inputs.iter().map(|path| Inputs::named(path));
    // Where all of the context counts, nothing is kept from the build.
    let Inputs::Sources(named) = further.fold(inputs.clone(), Inputs::union) else { return None };
    let is_named = |copied: &ContextPath| named.iter().any(|source| source.covers(copied));
    let copied = match onbuild_inputs(&base.on_build, &job.settings.args, &job.arches).of_context(context) {
        Inputs::Whole { .. } if ContextPath::new(None, context, &[]).is_some_and(|all| is_named(&all)) => return None,
        Inputs::Whole { .. } if context.is_empty() => ".".to_owned(),
        Inputs::Whole { .. } => context.to_owned(),
        Inputs::Sources(sources) => {
            let is_file = |source: &ContextPath| !source.is_pattern && run.ctx.root.join(&source.path).is_file();
            let path = sources.into_iter().find(|source| !is_file(source) && !is_named(source))?.path;
            if path.is_empty() { ".".to_owned() } else { path }
        }
    };
    let what = format!("base `{}` copies `{copied}` of the build context by ONBUILD", base.written);
    Some(
        Problem::new(&base.at, what)
            .rule("an image is built from the files that its job names, and from no others")
            .help(format!("add \"inputs\": [\"{copied}\"] to {}", job.files.settings_file())),
    )
}

/// The platforms of an index's images; none where one of them does not say.
fn declared(index: &Index) -> Vec<String> {
    index.images.iter().map(|image| image.declared.clone()).collect::<Option<_>>().unwrap_or_default()
}

/// Where a base is not there for an architecture, BuildKit takes what there is, and writes the wanted architecture into
/// the configuration of the image.
fn check_platforms(expected: &Expected, base: &PinnedBase, platforms: &[String]) -> Option<Problem> {
    let is_there_for = |arch: &Arch| platforms.iter().any(|platform| platform.starts_with(arch.platform()));
    let lacks = |arch: &Arch| {
        let names = expected.begins_with.get(arch);
        names.is_some_and(|names| names.contains(&base.written)) && !platforms.is_empty() && !is_there_for(arch)
    };
    let (missing, others): (Vec<Arch>, Vec<Arch>) = expected.arches.iter().partition(|arch| lacks(arch));
    let arch = missing.first()?;
    let what = format!("base `{}` is there for {}, and not for {arch}", base.written, platforms.join(", "));
    let others: Vec<String> = others.iter().map(|arch| format!("\"{arch}\"")).collect();
    let without = match others.is_empty() {
        true => String::new(),
        false => format!(", or add \"arches\": [{}] to {}", others.join(", "), expected.settings_file),
    };
    let help = format!("name an image that is there for {arch} too{without}");
    Some(Problem::new(&base.at, what).rule(Expected::BASE_RULE).help(help))
}

fn no_such_image(base: &PinnedBase) -> Problem {
    let (written, pulled) = (base.registry(), &base.pulled);
    let at_mirror = !pulled.to_string().starts_with(&format!("{written}/"));
    let mirrored = match at_mirror {
        true => {
            format!(", copy the image to the mirror of {written}, or name another: JOBS_MIRRORS={written}=<mirror>")
        }
        false => String::new(),
    };
    Problem::new(&base.at, format!("base `{}` cannot be resolved to a digest: there is no {pulled}", base.written))
        .help(format!("mend the name or the tag{mirrored}"))
}

fn unresolved(base: &PinnedBase, error: &anyhow::Error) -> Problem {
    let registry = base.pulled.repository.registry.as_ref().map(Registry::to_string).unwrap_or_default();
    let why = Failure::reason(error);
    let what = format!("base `{}` cannot be resolved to a digest at {registry}: {why}", base.written);
    let (problem, said) = (Problem::new(&base.at, what), format!("{error:#}"));
    let by_mirror = format!("set JOBS_MIRRORS={}=<mirror> (or `mirrors` in Cargo.toml)", base.registry());
    match help_for(&said) {
        // The login of this tool is that of the target.
        Some(_) if is_unauthorized(&said) => problem.help(format!("docker login {registry}; or {by_mirror}")),
        Some(help) => problem.help(format!("{help}; or {by_mirror}")),
        None => problem.help(format!("{by_mirror}, or docker login {registry}")),
    }
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
        let pulled =
            |image: &str| mirrored(Reference::normalized(image).unwrap(), &mirrors).map(|r| r.to_string()).unwrap();
        assert_eq!(pulled("busybox:1.37"), "127.0.0.1:5000/library/busybox:1.37");
        assert_eq!(pulled("quay.io/a/b"), "mirror.example.com/quay/a/b:latest");
        assert_eq!(pulled("ghcr.io/a/b:1"), "ghcr.io/a/b:1");
    }
}
