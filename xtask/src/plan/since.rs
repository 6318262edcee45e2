//! What changed since a revision, told by git alone: for pull requests, which have no registry to look in.

use std::collections::BTreeSet;

use crate::model::job::{DOCKERFILE, JOBS_DIR};
use crate::plan::decide::{Action, Decision, Reason, short};
use crate::plan::recipe::Recipe;
use crate::plan::survey::files_changed;
use crate::plan::tree::Tree;
use crate::run::context::Context;
use crate::tools::git;

/// The plan by the files that changed since the merge base with a revision.
///
/// # Errors
/// git does not know the revision, as in a shallow clone: never an empty result.
pub fn plan(ctx: &Context, revision: &str, recipes: &[Recipe]) -> anyhow::Result<Vec<Decision>> {
    let base = git::merge_base(ctx, revision)?;
    let mut paths = git::changed_since(ctx, &base)?.unwrap_or_default();
    paths.extend(git::uncommitted(ctx)?);
    paths.sort();
    paths.dedup();
    let before = jobs_at(ctx, &base)?;
    let now: BTreeSet<String> = recipes.iter().map(|recipe| recipe.job.name.to_string()).collect();
    for gone in before.difference(&now).filter(|name| !ctx.root.join(JOBS_DIR).join(name).join(DOCKERFILE).exists()) {
        ctx.ui.status("Deleted", format!("{JOBS_DIR}/{gone}, since {}: nothing is built for it", short(&base)));
    }
    let tree = Tree::read(ctx)?;
    Ok(recipes.iter().map(|recipe| decide(ctx, &tree, recipe, &before, &paths, &base)).collect())
}

fn decide(
    ctx: &Context,
    tree: &Tree,
    recipe: &Recipe,
    before: &BTreeSet<String>,
    paths: &[Vec<u8>],
    base: &str,
) -> Decision {
    let build = |reason| Decision { action: Action::Build, arches: recipe.arches.clone(), reason };
    if !before.contains(recipe.job.name.as_str()) {
        return build(Reason::Changed(format!("new since {}", short(base))));
    }
    match files_changed(&tree.counting(ctx, &recipe.question(), paths), short(base)) {
        Some(reason) => build(reason),
        None => {
            let reason = Reason::Unchanged { since: base.to_owned() };
            Decision { action: Action::Done, arches: Vec::new(), reason }
        }
    }
}

/// The names of the folders that held a Dockerfile in a commit.
fn jobs_at(ctx: &Context, commit: &str) -> anyhow::Result<BTreeSet<String>> {
    let name = |path: &Vec<u8>| {
        let path = String::from_utf8_lossy(path);
        let rest = path.strip_prefix(JOBS_DIR)?.strip_prefix('/')?;
        Some(rest.strip_suffix(DOCKERFILE)?.strip_suffix('/')?.to_owned()).filter(|name| !name.contains('/'))
    };
    Ok(git::paths_at(ctx, commit, JOBS_DIR)?.iter().filter_map(name).collect())
}
