use super::*;

fn trusted(refs: &[&str]) -> TrustedWorkflow {
    let refs: Vec<String> = refs.iter().map(|&pattern| pattern.to_owned()).collect();
    TrustedWorkflow::new(Some("https://github.com/acme/jobs.x"), &refs).unwrap()
}

#[test]
fn the_workflow_and_its_refs_are_pinned_at_both_ends() {
    assert_eq!(
        trusted(&["refs/heads/main", "refs/tags/v*"]).regexp(),
        r"^https://github\.com/(?i:acme/jobs\.x)/\.github/workflows/images\.yml@(?:refs/heads/main|refs/tags/v[^/]*)$"
    );
}

#[test]
fn without_a_repository_or_refs_nobody_is_trusted() {
    let refs = ["refs/heads/main".to_owned()];
    for source in [None, Some("https://gitlab.com/acme/jobs"), Some("https://github.com.example.com/acme/jobs")] {
        assert_eq!(
            TrustedWorkflow::new(source, &refs).unwrap_err().to_string(),
            "trusted workflow: this repository has no remote `origin` on github.com\n  \
             rule: signatures count only if this repository's own workflow made them"
        );
    }
    assert_eq!(
        TrustedWorkflow::new(Some("https://github.com/acme/jobs"), &[]).unwrap_err().to_string(),
        "trusted workflow: no target in Cargo.toml says on which `refs` it may sign\n  \
         help: give the target its `refs`, or name one with --target"
    );
}

#[test]
fn a_workflow_knows_before_it_builds_that_its_signature_would_be_refused() {
    let trusted = trusted(&["refs/heads/main", "refs/tags/v*"]);
    for git_ref in ["refs/heads/main", "refs/tags/v1.2.3"] {
        let workflow = format!("Acme/jobs.x/.github/workflows/images.yml@{git_ref}");
        trusted.check(Some(&workflow)).unwrap();
    }
    for workflow in [
        "acme/jobs.x/.github/workflows/images.yml@refs/heads/other",
        "acme/jobs.x/.github/workflows/images.yml@refs/tags/v1/x",
        "acme/jobs.x/.github/workflows/deploy.yml@refs/heads/main",
        "acme/other/.github/workflows/images.yml@refs/heads/main",
    ] {
        assert_eq!(
            trusted.check(Some(workflow)).unwrap_err().to_string(),
            format!(
                "workflow `{workflow}`: may not sign for this target\n  rule: only \
                 acme/jobs.x/.github/workflows/images.yml signs, on refs/heads/main or refs/tags/v*"
            )
        );
    }
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
    let own: Vec<String> = patterns.iter().map(|pattern| trusted(&[pattern]).regexp().replace('$', r"\Z")).collect();
    let names = refs.map(|name| format!("https://github.com/ACME/jobs.x/.github/workflows/images.yml@{name}"));
    let others = ["jobsxx/.github/workflows/images.yml", "jobs.x/.github/workflows/imagesxyml", "jobs.x/images.yml"];
    let others = others.map(|other| format!("https://github.com/acme/{other}@refs/heads/main"));
    let code = "import json, re, sys\nown, names = json.loads(sys.argv[1])\n\
                for r in own: print(*[int(bool(re.search(r, name))) for name in names], sep='')";
    let given = serde_json::json!([own, names.iter().chain(&others).collect::<Vec<_>>()]).to_string();
    let said = std::process::Command::new("python3").args(["-c", code, &given]).output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.lines().count(), patterns.len());
    for ((pattern, regexp), matched) in patterns.iter().zip(own).zip(said.lines()) {
        let expected = refs.map(|name| if matches_ref(pattern, name) { '1' } else { '0' });
        assert_eq!(matched, String::from_iter(expected) + "000", "{pattern}: {regexp}");
        assert!(expected.contains(&'1') && expected.contains(&'0'), "{pattern}: {expected:?}");
    }
}
