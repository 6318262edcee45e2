//! The repository's files as git knows them, and which of them can reach a job's image.

use std::collections::BTreeMap;

use crate::context::Context;
use crate::model::arch::Arch;
use crate::model::dockerfile::Dockerfile;
use crate::model::ignore::Ignore;
use crate::model::inputs::{self, Entry, Inputs, Selected};
use crate::model::job::Job;
use crate::problem::Problem;
use crate::tools::git;

/// The files of the build context.
pub struct Tree {
    /// Sorted by path.
    entries: Vec<Entry>,
    /// `.dockerignore`.
    ignore: Ignore,
}

impl Tree {
    pub fn read(ctx: &Context) -> anyhow::Result<Tree> {
        Ok(Tree { entries: git::entries(ctx)?, ignore: ignore(ctx, ".dockerignore").unwrap_or_default() })
    }

    /// The files that can reach a job's image.
    fn select(&self, ctx: &Context, job: &Job, dockerfile: &Dockerfile, arches: &[Arch]) -> Selected<'_> {
        let of_arch = |&arch: &Arch| inputs::inputs(dockerfile, &job.settings.args, arch, arch);
        let all = arches.iter().map(of_arch).reduce(Inputs::and);
        let all = all.unwrap_or(Inputs::Paths(std::collections::BTreeSet::new()));
        // BuildKit prefers the file that is named after the Dockerfile.
        match ignore(ctx, &format!("{}.dockerignore", job.dockerfile())) {
            Some(own) => inputs::select(&all, &self.entries, &own),
            None => inputs::select(&all, &self.entries, &self.ignore),
        }
    }

    /// The sources of `COPY` and `ADD` that are not there: such a build cannot succeed.
    pub fn missing_sources(&self, ctx: &Context, job: &Job, dockerfile: &Dockerfile, arches: &[Arch]) -> Vec<Problem> {
        let selected = self.select(ctx, job, dockerfile, arches);
        let exists = |source: &str| ctx.root.join(source.trim_start_matches('/')).symlink_metadata().is_ok();
        let missing = selected.missing.iter().filter(|missing| !missing.is_pattern);
        let mut problems = Vec::new();
        for missing in missing {
            let at = format!("{}:{}", job.dockerfile(), missing.line);
            if missing.is_ignored {
                let what = format!("`{}` is kept out of the build context by .dockerignore", missing.source);
                problems.push(Problem::new(at, what).help("copy something else, or except it there with `!`"));
            } else if !exists(&missing.source) {
                problems.push(
                    Problem::new(at, format!("there is no `{}` to copy", missing.source))
                        .rule("paths start at the repository's root, which is the build context")
                        .help(format!("e.g. {}/{}", job.dir(), missing.source.trim_start_matches(['.', '/']))),
                );
            }
        }
        problems
    }
}

fn ignore(ctx: &Context, path: &str) -> Option<Ignore> {
    std::fs::read_to_string(ctx.root.join(path)).ok().map(|text| Ignore::parse(&text))
}

/// The missing sources of all jobs.
pub fn missing_sources<'a>(
    ctx: &Context,
    jobs: impl Iterator<Item = (&'a Job, &'a Dockerfile)>,
    arches: &BTreeMap<Arch, String>,
) -> anyhow::Result<Vec<Problem>> {
    let tree = Tree::read(ctx)?;
    let arches: Vec<Arch> = arches.keys().copied().collect();
    Ok(jobs.flat_map(|(job, dockerfile)| tree.missing_sources(ctx, job, dockerfile, &arches)).collect())
}
