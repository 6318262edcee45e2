//! git: which commit this is, whether the tree is clean, and what came before what.

use anyhow::Context as _;
use xshell::cmd;

use super::process::{self, End, Given};
use crate::context::Context;
use crate::model::inputs::Entry;
use crate::problem::Problem;

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
pub fn is_dirty(ctx: &Context) -> anyhow::Result<bool> {
    let sh = ctx.shell()?;
    let changes = process::read(ctx, cmd!(sh, "git status --porcelain --untracked-files=normal -- ."))?;
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
