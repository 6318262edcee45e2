//! git: which commit this is, whether the tree is clean, and what came before what.

use anyhow::Context as _;
use xshell::cmd;

use super::process::{self, End, Given};
use crate::dockerfile::inputs::Entry;
use crate::model::problem::Problem;
use crate::run::context::Context;

/// The commit that is checked out, in 40 hex digits; `None` where there is none: no repository, or no commit yet.
pub fn head(ctx: &Context) -> anyhow::Result<Option<String>> {
    let sh = ctx.shell()?;
    let commit = "HEAD^{commit}";
    let outcome = process::run(ctx, cmd!(sh, "git rev-parse --verify --quiet {commit}"), &Given::default())?;
    Ok(outcome.success().then(|| outcome.stdout.trim().to_owned()))
}

/// The full name of the branch that is checked out, such as `refs/heads/main`; `None` where HEAD is detached.
pub fn branch(ctx: &Context) -> anyhow::Result<Option<String>> {
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, cmd!(sh, "git symbolic-ref --quiet HEAD"), &Given::default())?;
    Ok(outcome.success().then(|| outcome.stdout.trim().to_owned()))
}

/// Whether the working tree differs from the commit, in tracked files or by files that git does not ignore.
/// Cargo's folder is left out, also where nobody told git to ignore it: this tool itself writes there.
pub fn is_dirty(ctx: &Context) -> anyhow::Result<bool> {
    let sh = ctx.shell()?;
    let target = ctx.target_dir.strip_prefix(&ctx.root).ok().map(|dir| format!(":(exclude){dir}"));
    let changes = process::read(ctx, cmd!(sh, "git status --porcelain --untracked-files=normal -- . {target...}"))?;
    Ok(!changes.is_empty())
}

/// A commit's time in seconds since 1970, for `SOURCE_DATE_EPOCH`.
pub fn commit_time(ctx: &Context, commit: &str) -> anyhow::Result<String> {
    let sh = ctx.shell()?;
    process::read(ctx, cmd!(sh, "git show --no-patch --format=%ct {commit}"))
}

/// Where the repository was cloned from, if anywhere.
pub fn origin(ctx: &Context) -> anyhow::Result<Option<String>> {
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, cmd!(sh, "git config --get remote.origin.url"), &Given::default())?;
    Ok(outcome.success().then(|| outcome.stdout.trim().to_owned()).filter(|url| !url.is_empty()))
}

/// Whether one commit is the other or comes before it.
///
/// # Errors
/// git does not know one of them, as in a shallow clone.
pub fn is_ancestor(ctx: &Context, ancestor: &str, commit: &str) -> anyhow::Result<bool> {
    let sh = ctx.shell()?;
    let cmd = cmd!(sh, "git merge-base --is-ancestor {ancestor} {commit}");
    let outcome = process::run(ctx, cmd, &Given::default())?;
    match outcome.end {
        End::Success => Ok(true),
        End::Failure(status) if status.code() == Some(1) => Ok(false),
        _ => Err(Problem::new(
            format!("commit `{ancestor}`"),
            "not known to git here, so what came first cannot be told",
        )
        .help("fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in actions/checkout")
        .refused()),
    }
}

/// The files of the index, sorted by path; none where there is no repository.
///
/// # Errors
/// git lists something that cannot be read.
pub fn entries(ctx: &Context) -> anyhow::Result<Vec<Entry>> {
    let sh = ctx.shell()?;
    let outcome = process::run_bytes(ctx, cmd!(sh, "git ls-files --stage -z"))?;
    let Some(listed) = outcome else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for line in listed.split(|&byte| byte == 0).filter(|line| !line.is_empty()) {
        entries.push(entry(line).with_context(|| format!("git ls-files: {}", String::from_utf8_lossy(line)))?);
    }
    // While a merge is under way, a path stands there once for each side.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// The paths of a commit's files below a folder.
pub fn paths_at(ctx: &Context, commit: &str, folder: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let sh = ctx.shell()?;
    let listed = process::run_bytes(ctx, cmd!(sh, "git ls-tree -r --name-only -z {commit} -- {folder}"))?;
    Ok(paths_of(&listed.unwrap_or_default()))
}

/// The paths that differ from the commit, and those that are in no commit, also where git ignores them:
/// BuildKit knows nothing of `.gitignore`. A folder of which nothing is committed stands for all that is in it.
pub fn uncommitted(ctx: &Context) -> anyhow::Result<Vec<Vec<u8>>> {
    let sh = ctx.shell()?;
    let changed = process::run_bytes(ctx, cmd!(sh, "git diff --name-only --no-renames --relative -z HEAD --"))?;
    let others = process::run_bytes(ctx, cmd!(sh, "git ls-files --others --directory -z --"))?;
    let mut paths: Vec<Vec<u8>> = [changed, others].into_iter().flatten().flat_map(|list| paths_of(&list)).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The paths of tracked files that differ between a commit and the working tree; `None` if git does not know the commit.
pub fn changed_since(ctx: &Context, commit: &str) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let sh = ctx.shell()?;
    let list = process::run_bytes(ctx, cmd!(sh, "git diff --name-only --no-renames --relative -z {commit} --"))?;
    Ok(list.map(|list| paths_of(&list)))
}

fn paths_of(list: &[u8]) -> Vec<Vec<u8>> {
    let paths = list.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    let mut paths: Vec<Vec<u8>> = paths.map(|path| path.strip_suffix(b"/").unwrap_or(path).to_vec()).collect();
    paths.sort();
    paths
}

/// A file as it was in a commit; `None` if it was not there.
pub fn file_at(ctx: &Context, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let sh = ctx.shell()?;
    let object = format!("{commit}:./{path}");
    let outcome = process::run(ctx, cmd!(sh, "git show {object}"), &Given::default())?;
    Ok(outcome.success().then_some(outcome.stdout))
}

/// This commit's ancestors, the nearest first, along the branch that they were merged into.
pub fn ancestors(ctx: &Context, most: usize) -> anyhow::Result<Vec<String>> {
    let sh = ctx.shell()?;
    let count = format!("--max-count={}", most + 1);
    let outcome = process::run(ctx, cmd!(sh, "git rev-list --first-parent {count} HEAD"), &Given::default())?;
    Ok(outcome.stdout.lines().skip(1).map(str::to_owned).collect())
}

/// The commit from which this one and a revision went apart.
///
/// # Errors
/// git does not know the revision, or no common ancestor: a shallow clone does not hold it.
pub fn merge_base(ctx: &Context, revision: &str) -> anyhow::Result<String> {
    let sh = ctx.shell()?;
    let unknown = |what: &str| {
        Problem::new(format!("--since {revision}"), what)
            .help("fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in actions/checkout")
            .usage()
    };
    let commit = format!("{revision}^{{commit}}");
    let known =
        process::run(ctx, cmd!(sh, "git rev-parse --verify --quiet --end-of-options {commit}"), &Given::default())?;
    if !known.success() {
        return Err(unknown("git does not know this revision here"));
    }
    let known = known.stdout.trim().to_owned();
    let base = process::run(ctx, cmd!(sh, "git merge-base {known} HEAD"), &Given::default())?;
    if !base.success() {
        return Err(unknown("has no common ancestor with HEAD here"));
    }
    Ok(base.stdout.trim().to_owned())
}

/// `<mode> <blob> <stage>` TAB `<path>`.
fn entry(line: &[u8]) -> Option<Entry> {
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let mut words = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    Some(Entry { path: line[tab + 1..].to_vec(), mode, blob: words.next()?.to_owned() })
}

/// The root of the repository that holds the working directory.
pub fn top_level(ctx: &Context) -> anyhow::Result<Option<String>> {
    let sh = ctx.shell()?;
    let outcome = process::run(ctx, cmd!(sh, "git rev-parse --show-toplevel"), &Given::default())?;
    Ok(outcome.success().then(|| outcome.stdout.trim().to_owned()))
}
