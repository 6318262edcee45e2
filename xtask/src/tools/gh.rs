//! gh: checks what GitHub attests of the index of a job. The attestation itself is made by a step of the workflow.

use camino::Utf8Path;
use xshell::cmd;

use super::builder::find_version;
use super::process::{self, End, Options};
use super::system;
use crate::model::{Exit, Problem, Reference, TrustedWorkflow};
use crate::run::{Context, is_out_of_reach};

/// The oldest gh whose exit code can be trusted: before, it was 0 where there was no attestation (CVE-2025-25204).
const OLDEST: [u32; 3] = [2, 67, 0];
/// The exit code of gh where it has no login.
const NO_LOGIN: i32 = 4;

/// Checks that there is a gh that can be used.
///
/// # Errors
/// It is missing or too old, with exit code 4.
pub fn check_gh(ctx: &Context) -> anyhow::Result<()> {
    usable_gh(ctx)?.map_err(|what| {
        Problem::new("`gh`", what)
            .rule("attestations are checked by gh 2.67 or newer")
            .help("install the GitHub CLI, which GitHub's own runners have: cli.github.com")
            .exit(Exit::Missing)
    })
}

fn usable_gh(ctx: &Context) -> anyhow::Result<Result<(), String>> {
    if !system::has_program(ctx, "gh") {
        return Ok(Err("not installed".to_owned()));
    }
    let version = process::run(ctx, |sh| cmd!(sh, "gh --version"), &Options::default())?;
    Ok(match find_version(&version.stdout()) {
        Some(version) if version >= OLDEST => Ok(()),
        Some([major, minor, patch]) => Err(format!("{major}.{minor}.{patch} is too old")),
        None => Err(format!("has no version that can be read: {}", version.reason())),
    })
}

/// Whether this workflow attested a digest, or what gh says if it did not. The attestation is in a file, or else GitHub
/// has it. Workflow and ref are pinned by one expression: `--signer-workflow` of gh is one without an end, and
/// `--source-ref` takes no pattern.
///
/// # Errors
/// gh has no login, or cannot reach GitHub: with exit code 4.
pub fn verify_attestation(
    ctx: &Context,
    workflow: &TrustedWorkflow,
    bundle: Option<&Utf8Path>,
    index: &Reference,
) -> anyhow::Result<Result<(), String>> {
    let (artifact, repository, regexp) = (format!("oci://{index}"), &workflow.repository, workflow.regexp());
    let bundle = bundle.into_iter().flat_map(|file| ["--bundle", file.as_str()]);
    let outcome = process::run(
        ctx,
        |sh| {
            let by = ["--repo", repository, "--cert-identity-regex", &regexp];
            cmd!(sh, "gh attestation verify {artifact} {by...} {bundle...}")
        },
        &Options::default(),
    )?;
    match outcome.end {
        End::Success => Ok(Ok(())),
        End::Failure(status) if status.code() == Some(NO_LOGIN) => {
            Err(Problem::new("`gh`", outcome.reason()).help("gh auth login").exit(Exit::Missing))
        }
        End::Failure(_) if !is_out_of_reach(&outcome.stderr) => Ok(Err(outcome.reason())),
        _ => {
            let what = format!("cannot be asked whether {index} is attested: {}", outcome.reason());
            Err(Problem::new("GitHub", what).help("check the network, and run this again").exit(Exit::Missing))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::model::matches_ref;

    fn trusted(pattern: &str) -> TrustedWorkflow {
        TrustedWorkflow::new(Some("https://github.com/acme/jobs.x"), &[pattern.to_owned()]).unwrap()
    }

    /// Python's expressions and Go's are the same as far as these go.
    #[test]
    fn an_expression_matches_what_its_pattern_matches() {
        let patterns = [
            "refs/heads/main",
            "refs/tags/v*",
            "refs/tags/v?.?",
            "refs/heads/**",
            "refs/**/release",
            "refs/heads/release-[0-9].x",
            "refs/heads/[!a-m]*",
            "refs/heads/[]+^]x",
            "refs/heads/z[!x]eta",
        ];
        let refs = [
            "refs/heads/main",
            "refs/heads/maine",
            "refs/heads/ma/in",
            "refs/tags/v",
            "refs/tags/v1.2",
            "refs/tags/v1x2",
            "refs/tags/v1/x",
            "refs/release",
            "refs/heads/a/release",
            "refs/heads/release-3.x",
            "refs/heads/release-33.x",
            "refs/heads/zeta",
            "refs/heads/z/eta",
            "refs/heads/z-eta",
            "refs/heads/]x",
            "refs/heads/+x",
            "refs/heads/^x",
            "xrefs/heads/main",
        ];
        // Go's `$` stands at the very end alone, and Python's before a newline too.
        let own: Vec<String> = patterns.iter().map(|pattern| trusted(pattern).regexp().replace('$', r"\Z")).collect();
        let names = refs.map(|name| format!("https://github.com/ACME/jobs.x/.github/workflows/images.yml@{name}"));
        let others =
            ["jobsxx/.github/workflows/images.yml", "jobs.x/.github/workflows/imagesxyml", "jobs.x/images.yml"];
        let others = others.map(|other| format!("https://github.com/acme/{other}@refs/heads/main"));
        let code = "import json, re, sys\nown, names = json.loads(sys.argv[1])\n\
                    for r in own: print(*[int(bool(re.search(r, name))) for name in names], sep='')";
        let given = serde_json::json!([own, names.iter().chain(&others).collect::<Vec<_>>()]).to_string();
        let said = Command::new("python3").args(["-c", code, &given]).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.lines().count(), patterns.len());
        for ((pattern, regexp), matched) in patterns.iter().zip(own).zip(said.lines()) {
            let expected = refs.map(|name| if matches_ref(pattern, name) { '1' } else { '0' });
            assert_eq!(matched, String::from_iter(expected) + "000", "{pattern}: {regexp}");
            assert!(expected.contains(&'1') && expected.contains(&'0'), "{pattern}: {expected:?}");
        }
    }
}
