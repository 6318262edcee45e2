//! git: which commit this is, what its tree holds, what differs from it, and what came before what.
//!
//! A git that cannot answer is an error, and never "no files" or "nothing changed". Whatever comes from outside stands
//! behind `--end-of-options` or `--`, so that it cannot be taken for an option.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use xshell::{Cmd, Shell, cmd};

use super::process::{self, End, Limit, Options, Outcome};
use crate::model::{Commit, Exit, Problem, TreeEntry};
use crate::run::Context;

/// Settings under which git compares what is really there: a repository's own could hide a changed executable bit, or
/// leave the comparison to a program that watches the files.
const EXACT: [&str; 4] = ["-c", "core.fileMode=true", "-c", "core.fsmonitor=false"];

/// How long it may take to learn of newer commits.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// The remedy where git does not know a commit.
const UNSHALLOW: &str = "fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in actions/checkout";

/// The commit that is checked out; `None` where there is no repository, or no commit yet.
///
/// # Errors
/// git cannot answer, as in a checkout that belongs to another user.
pub fn head(ctx: &Context) -> anyhow::Result<Option<Commit>> {
    resolve(ctx, "HEAD")
}

/// The commit that a revision names; `None` where git knows none of that name.
fn resolve(ctx: &Context, revision: impl Display) -> anyhow::Result<Option<Commit>> {
    let commit = format!("{revision}^{{commit}}");
    optional(ctx, |sh| cmd!(sh, "git rev-parse --verify --quiet --end-of-options {commit}"))?
        .map(|commit| commit.parse().map_err(|problem: Problem| problem.exit(Exit::Usage)))
        .transpose()
}

/// The full name of the branch that is checked out, such as `refs/heads/main`; `None` where HEAD is detached.
pub fn branch(ctx: &Context) -> anyhow::Result<Option<String>> {
    optional(ctx, |sh| cmd!(sh, "git symbolic-ref --quiet HEAD --"))
}

/// The root of the repository that holds the working directory; `None` where there is no repository.
pub fn top_level(ctx: &Context) -> anyhow::Result<Option<String>> {
    // It repeats the `--` on a second line.
    let printed = optional(ctx, |sh| cmd!(sh, "git rev-parse --show-toplevel --"))?;
    Ok(printed.and_then(|printed| printed.lines().next().map(str::to_owned)))
}

/// Where the repository was cloned from, if anywhere.
pub fn origin(ctx: &Context) -> anyhow::Result<Option<String>> {
    optional(ctx, |sh| cmd!(sh, "git config --get --end-of-options remote.origin.url"))
}

/// Whether the working tree differs from the commit, in tracked files or by files that git does not ignore.
/// Cargo's folder is left out, also where nobody told git to ignore it: this tool itself writes there.
pub fn is_dirty(ctx: &Context) -> anyhow::Result<bool> {
    let target = ctx.target_dir.strip_prefix(&ctx.root).ok().map(|dir| format!(":(exclude){dir}"));
    let status = ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"];
    let changes = answer(ctx, |sh| cmd!(sh, "git {EXACT...} {status...} -- . {target...}"))?;
    Ok(!changes.is_empty())
}

/// A commit's time in seconds since 1970, for `SOURCE_DATE_EPOCH`.
pub fn commit_time(ctx: &Context, commit: &Commit) -> anyhow::Result<String> {
    let time = answer(ctx, |sh| cmd!(sh, "git show --no-patch --format=%ct --end-of-options {commit}"))?;
    Ok(String::from_utf8_lossy(&time).trim().to_owned())
}

/// The files of a commit below the working directory, or below one of its folders, sorted by path.
pub fn tree(ctx: &Context, commit: &Commit, folder: Option<&str>) -> anyhow::Result<Vec<TreeEntry>> {
    let listed = answer(ctx, |sh| cmd!(sh, "git ls-tree -r -z --end-of-options {commit} {folder...}"))?;
    let mut entries = Vec::new();
    for line in listed.split(|&byte| byte == 0).filter(|line| !line.is_empty()) {
        entries.push(entry(line).with_context(|| format!("git ls-tree: {}", String::from_utf8_lossy(line)))?);
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// `<mode> <type> <object>` TAB `<path>`.
fn entry(line: &[u8]) -> Option<TreeEntry> {
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let mut words = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    Some(TreeEntry { path: line[tab + 1..].to_vec(), mode, blob: words.nth(1)?.to_owned() })
}

/// The paths at which the working tree differs from the commit, and those that are in no commit, also where git ignores
/// them: BuildKit knows nothing of `.gitignore`. A folder of which nothing is committed stands for all that is in it,
/// and ends with a slash. Files that git was told not to look at (`--assume-unchanged`, `--skip-worktree`) count as
/// different.
pub fn uncommitted(ctx: &Context) -> anyhow::Result<Vec<Vec<u8>>> {
    let diff = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules=none", "--relative", "-z"];
    let changed = answer(ctx, |sh| cmd!(sh, "git {EXACT...} {diff...} --end-of-options HEAD --"))?;
    let others = answer(ctx, |sh| cmd!(sh, "git {EXACT...} ls-files --others --directory -z --"))?;
    let tagged = answer(ctx, |sh| cmd!(sh, "git {EXACT...} ls-files -v -z --"))?;
    let hidden = |line: &&[u8]| line.first().is_some_and(|tag| tag.is_ascii_lowercase() || *tag == b'S');
    let hidden = tagged.split(|&byte| byte == 0).filter(hidden).map(|line| line.get(2..).unwrap_or_default().to_vec());
    let mut paths = [paths_of(&changed), paths_of(&others), hidden.collect()].concat();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The paths of tracked files that differ between a commit and the working tree; `None` if git does not know the
/// commit.
pub fn changed_since(ctx: &Context, commit: &Commit) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    if resolve(ctx, commit)?.is_none() {
        return Ok(None);
    }
    let diff = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--relative", "-z"];
    Ok(Some(paths_of(&answer(ctx, |sh| cmd!(sh, "git {EXACT...} {diff...} --end-of-options {commit} --"))?)))
}

/// The tracked files of these names, in whichever folder below the working directory; none where there is no
/// repository.
pub fn tracked(ctx: &Context, names: &[&str]) -> anyhow::Result<BTreeSet<Utf8PathBuf>> {
    let patterns = names.iter().map(|name| format!(":(glob)**/{name}"));
    let listed = optional(ctx, |sh| cmd!(sh, "git ls-files -z -- {patterns...}"))?.unwrap_or_default();
    Ok(listed.split_terminator('\0').map(Utf8PathBuf::from).collect())
}

fn paths_of(list: &[u8]) -> Vec<Vec<u8>> {
    let paths = list.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    let mut paths: Vec<Vec<u8>> = paths.map(<[u8]>::to_vec).collect();
    paths.sort();
    paths
}

/// A file as it was in a commit; `None` if it was not there.
pub fn file_at(ctx: &Context, commit: &Commit, path: &str) -> anyhow::Result<Option<String>> {
    let Some(entry) = tree(ctx, commit, Some(path))?.pop() else { return Ok(None) };
    let blob = entry.blob;
    let text = answer(ctx, |sh| cmd!(sh, "git show --end-of-options {blob}"))?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Whether one commit is the other or comes before it; `None` if one of them is not in the whole history that git has
/// here.
///
/// # Errors
/// git does not know one of them, and has a part of the history alone, as in a shallow clone.
pub fn is_ancestor(ctx: &Context, ancestor: &Commit, commit: &Commit) -> anyhow::Result<Option<bool>> {
    let asked = process::run(
        ctx,
        |sh| cmd!(sh, "git merge-base --is-ancestor --end-of-options {ancestor} {commit}"),
        &Options::default(),
    )?;
    match asked.end {
        End::Success => return Ok(Some(true)),
        End::Failure(status) if status.code() == Some(1) => return Ok(Some(false)),
        _ => {}
    }
    let unknown = [ancestor, commit].into_iter().find(|commit| !matches!(resolve(ctx, commit), Ok(Some(_))));
    let is_shallow = optional(ctx, |sh| cmd!(sh, "git rev-parse --is-shallow-repository --"))?;
    match unknown {
        None => Err(refused(&asked)),
        Some(_) if is_shallow.is_some_and(|said| said.lines().next() == Some("false")) => Ok(None),
        Some(unknown) => {
            let what = "not known to git here, so what came first cannot be told";
            Err(Problem::new(format!("commit `{unknown}`"), what).help(UNSHALLOW).exit(Exit::Refused))
        }
    }
}

/// Learns of commits that are newer than the clone, where that needs nobody's password. What cannot be fetched stays
/// unknown, as where a workflow's checkout keeps no credentials.
pub fn fetch(ctx: &Context) {
    let quick = ["-c", "gc.auto=0", "-c", "maintenance.auto=false"];
    let given = Options { limit: Limit::Within(FETCH_TIMEOUT), ..Options::default() };
    let alone = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "true"), ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")];
    let _ =
        process::run(ctx, |sh| cmd!(sh, "git {quick...} fetch --quiet --no-recurse-submodules --").envs(alone), &given);
}

/// The commits that come after one, as far as git knows them, the newest first, each with the names of its git tags.
/// Commits that no branch holds any more count too.
pub fn descendants(ctx: &Context, commit: &Commit, most: usize) -> anyhow::Result<Vec<(Commit, Vec<String>)>> {
    let (count, not) = (format!("--max-count={most}"), format!("^{commit}"));
    let all = ["--all", "--reflog", "--ancestry-path", "--decorate-refs=refs/tags/*"];
    let log = ["-c", "log.showSignature=false", "log", "--decorate=full", "--format=%H %D"];
    let listed = answer(ctx, |sh| cmd!(sh, "git {log...} {all...} {count} {not} --"))?;
    let listed = String::from_utf8_lossy(&listed);
    let descendant = |line: &str| {
        let (commit, refs) = line.split_once(' ').unwrap_or((line, ""));
        let tags = refs.split(", ").filter_map(|name| name.strip_prefix("tag: refs/tags/")).map(str::to_owned);
        Ok((commit.parse().map_err(|problem: Problem| problem.exit(Exit::Usage))?, tags.collect()))
    };
    listed.lines().map(descendant).collect()
}

/// This commit's ancestors, the nearest first, along the branch that they were merged into.
pub fn ancestors(ctx: &Context, most: usize) -> anyhow::Result<Vec<Commit>> {
    let count = format!("--max-count={}", most + 1);
    let listed = answer(ctx, |sh| cmd!(sh, "git rev-list --first-parent {count} --end-of-options HEAD --"))?;
    let listed = String::from_utf8_lossy(&listed);
    listed.lines().skip(1).map(|line| line.parse().map_err(|problem: Problem| problem.exit(Exit::Usage))).collect()
}

/// The commit from which this one and a revision went apart.
///
/// # Errors
/// git does not know the revision, or no common ancestor: a shallow clone does not hold it.
pub fn merge_base(ctx: &Context, revision: &str) -> anyhow::Result<Commit> {
    let unknown = |what: &str| Problem::new(format!("--since {revision}"), what).help(UNSHALLOW).exit(Exit::Usage);
    let known = resolve(ctx, revision)?.ok_or_else(|| unknown("git does not know this revision here"))?;
    let base = optional(ctx, |sh| cmd!(sh, "git merge-base --end-of-options {known} HEAD"))?;
    let base = base.ok_or_else(|| unknown("has no common ancestor with HEAD here"))?;
    base.parse().map_err(|problem: Problem| problem.exit(Exit::Usage))
}

/// What git prints, where it may also say by exit code 1 that there is nothing, or that there is no repository.
fn optional(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<Option<String>> {
    let outcome = process::run(ctx, |sh| cmd(sh).env("LC_ALL", "C"), &Options::default())?;
    match outcome.end {
        End::Success => Ok(Some(outcome.stdout().trim().to_owned()).filter(|text| !text.is_empty())),
        End::Failure(status) if status.code() == Some(1) => Ok(None),
        _ if outcome.stderr.contains("not a git repository") => Ok(None),
        _ => Err(refused(&outcome)),
    }
}

/// What git prints, byte for byte: paths need not be UTF-8.
fn answer(ctx: &Context, cmd: impl FnOnce(&Shell) -> Cmd<'_>) -> anyhow::Result<Vec<u8>> {
    let outcome = process::run(ctx, |sh| cmd(sh).env("LC_ALL", "C"), &Options::default())?;
    if outcome.success() { Ok(outcome.stdout_bytes) } else { Err(refused(&outcome)) }
}

fn refused(outcome: &Outcome) -> anyhow::Error {
    Problem::new("git", outcome.to_string())
        .rule("git says which files a commit holds, and without it nobody knows what an image is built from")
        .help("follow what git says above, and run this again")
        .exit(Exit::Missing)
}
