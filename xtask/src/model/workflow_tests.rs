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
