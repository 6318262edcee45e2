//! Signatures and attestations: made before moving tags move, by who may make them, and checked.

use expect_test::expect;

use crate::cloud::{Programs, Watch};
use crate::harness::{BOTH, DOCKERFILE, Registry, Run, TempDir, Tree};

/// A repository of GitHub's with a target, and the registry that it publishes to.
struct Repository {
    tree: Tree,
    registry: Registry,
    programs: Programs,
}

impl Repository {
    /// With a key of the target, and programs that stand before the machine's.
    fn new(key: &str, programs: Programs) -> Repository {
        let tree = Tree::with_jobs(&["job"]);
        let target = "[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\nmoving-tags = [\"latest\"]";
        tree.write("Cargo.toml", &format!("[workspace]\n{target}\n{key} = true\n"));
        tree.commit("a target");
        tree.git(&["remote", "add", "origin", "git@github.com:acme/jobs.git"]);
        Repository { tree, registry: Registry::start(), programs }
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let path = self.programs.first();
        let own = [("JOBS_REGISTRY", self.registry.address.as_str()), ("PATH", &path)];
        // In a workflow there would be colours.
        self.tree.run_with(&[&["--color=never"], args].concat(), &[&own[..], env].concat())
    }

    /// A commit that changes the job, built.
    fn next(&self, env: &[(&str, &str)]) {
        self.tree.write("jobs/job/Dockerfile", &format!("{DOCKERFILE}LABEL change=yes\n"));
        self.tree.commit("a change");
        self.run(&[&["build"], &BOTH[..]].concat(), env).ended(0);
    }

    fn digest(&self, tag: &str) -> Option<String> {
        self.registry.digest("jobs/job", tag)
    }

    /// Where `latest` and the commit's own tag are.
    fn tags(&self) -> (Option<String>, Option<String>) {
        (self.digest("latest"), self.digest(&self.tree.tag()))
    }
}

/// The name and the value of a variable.
type Variable<'a> = (&'a str, &'a str);

/// As a job of the workflow on the branch that the target names.
const WORKFLOW: [Variable<'_>; 3] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_REF", "refs/heads/main"),
    ("GITHUB_WORKFLOW_REF", "acme/jobs/.github/workflows/images.yml@refs/heads/main"),
];

#[test]
fn what_a_key_has_not_signed_gets_no_moving_tag() {
    let (repository, keys) = (Repository::new("sign", Programs::new()), TempDir::new());
    let made = std::process::Command::new("cosign")
        .args(["generate-key-pair", "--output-key-prefix", "own"])
        .env("COSIGN_PASSWORD", "right")
        .current_dir(&keys.0)
        .output()
        .expect("cosign is needed: run `cargo xtask setup`");
    assert!(made.status.success(), "{made:?}");
    let key = keys.0.join("own.key").to_str().unwrap().to_owned();
    let with = |password| [("JOBS_COSIGN_KEY", key.as_str()), ("COSIGN_PASSWORD", password)];
    repository.run(&[&["build"], &BOTH[..]].concat(), &[]).ended(0);
    repository.run(&["merge"], &with("right")).ended(0);
    let (latest, first) = repository.tags();
    assert!(first.is_some() && latest == first);
    repository.run(&["verify"], &with("right")).ended(0);

    repository.next(&[]);
    let run = repository.run(&["merge"], &with("wrong")).ended(4);
    assert!(run.errors().contains("could not be signed: "), "{}", run.errors());
    let (latest, second) = repository.tags();
    assert!(second.is_some() && second != first && latest == first, "the index is there, and its moving tag waits");
    let public = keys.0.join("own.pub").to_str().unwrap().to_owned();
    let public = [("JOBS_COSIGN_PUB", public.as_str())];
    expect![[r#"
        error: <registry>/jobs/job@sha256:…: carries no valid signature: WARNING: Skipping tlog verification is an insecure practice that lacks transparency and auditability verification for the signature.
            Error: no signatures found
            error during command execution: no signatures found
          rule: the target wants every index signed
          help: cargo xtask merge job"#]]
    .assert_eq(&repository.run(&["verify"], &public).ended(3).errors_at(&repository.registry));
    expect![[r#"
        error: sign: only the public key is known
          help: set JOBS_COSIGN_KEY"#]]
    .assert_eq(repository.run(&["merge"], &public).ended(4).errors());

    let run = repository.run(&["merge"], &with("right")).ended(0);
    assert!(run.stderr.contains("Unchanged"), "{}", run.stderr);
    assert_eq!(repository.tags(), (second.clone(), second));
    repository.run(&["verify"], &public).ended(0);
}

/// Signs as a workflow does, which takes GitHub and sigstore. It finds a signature where it has made one.
const COSIGN: &str = r#"
for index; do :; done
mark="$(dirname "$0")/signed-${index##*:}"
flags="--certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity-regexp"
case "$1" in
  version) echo "GitVersion:    v3.0.4" ;;
  verify) test "$2 $3 $4" = "$flags" && test "$5" = "$REGEXP" && test -e "$mark" ;;
  sign) echo "$ACTIONS_ID_TOKEN_REQUEST_TOKEN $ACTIONS_ID_TOKEN_REQUEST_URL" >"$mark"; sleep 0.4 ;;
esac
"#;

#[test]
fn cosign_alone_is_given_what_asks_for_the_workflows_identity() {
    // Of this test alone: all processes of the machine are watched.
    const REQUEST: &str = "request-of-the-watched-signature";
    let repository = Repository::new("sign", Programs::new().script("cosign", COSIGN));
    let regexp = r"^https://github\.com/(?i:acme/jobs)/\.github/workflows/images\.yml@(?:refs/heads/main)$";
    let asking = [("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST), ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://token.test/")];
    let env = [&WORKFLOW[..], &asking, &[("REGEXP", regexp)]].concat();
    let (temp, folder) = (TempDir::new(), repository.programs.alone());
    let watch = Watch::start(&temp.0, REQUEST);
    repository.run(&["discover", "--changed"], &env).ended(0);
    repository.run(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    repository.run(&["merge"], &env).ended(0);
    repository.run(&["verify"], &env).ended(0);
    let seen = watch.end();
    let is_ours = |line: &&String| line.starts_with(env!("CARGO_BIN_EXE_xtask"));
    let of_cosign = |line: &&String| line.contains(&format!("{folder}/cosign ")) || line.as_str() == "sleep 0.4 ";
    let (ours, others): (Vec<&String>, Vec<&String>) = seen.holders.iter().partition(is_ours);
    assert!(others.iter().all(of_cosign), "{others:#?}");
    assert!(!ours.is_empty() && !others.is_empty(), "the watch sees environments: {:#?}", seen.holders);
    assert!(seen.commands.iter().any(|line| line.contains("imagetools create")), "{:#?}", seen.commands);
    let (latest, digest) = repository.tags();
    assert!(digest.is_some() && latest == digest);
    let mark = format!("{folder}/signed-{}", digest.unwrap().trim_start_matches("sha256:"));
    assert_eq!(std::fs::read_to_string(mark).unwrap(), format!("{REQUEST} https://token.test/\n"));
}

#[test]
fn a_workflow_that_cannot_sign_says_so_before_it_builds() {
    let old = "echo 'GitVersion:    v2.5.0'";
    let with = |cosign| Repository::new("sign", Programs::new().script("cosign", cosign));
    let refused = |cosign, env: &[Variable<'_>]| {
        let repository = with(cosign);
        let env = [&WORKFLOW[..], env].concat();
        let runs = [&["plan"][..], &["discover", "--changed"], &["merge"]]
            .map(|args| repository.run(args, &env).ended(4).errors().to_owned());
        assert!(runs.iter().all(|said| *said == runs[0]), "{runs:#?}");
        runs[0].clone()
    };
    let asking = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x");
    expect![[r#"
        error: `cosign`: 2.5.0 is too old
          rule: signatures are made and checked by cosign 3 or newer
          help: let the target say `attest = true` instead of `sign = true`, or install cosign in a step: README.md, "Set up on GitHub and AWS""#]]
    .assert_eq(&refused(old, &[asking]));
    expect![[r#"
        error: sign: a workflow signs by its identity, and there is none here
          help: add `id-token: write` to the job's `permissions` in the workflow; elsewhere, set JOBS_COSIGN_KEY"#]]
    .assert_eq(&refused(COSIGN, &[]));
    let other = ("GITHUB_WORKFLOW_REF", "acme/jobs/.github/workflows/other.yml@refs/heads/main");
    expect![[r#"
        error: workflow `acme/jobs/.github/workflows/other.yml@refs/heads/main`: may not sign for this target
          rule: only acme/jobs/.github/workflows/images.yml signs, on refs/heads/main"#]]
    .assert_eq(&refused(COSIGN, &[asking, other]));
    // Nobody plans on a laptop for its own cosign.
    with(old).run(&["plan"], &[]).ended(0);
}

/// gh, as far as it would have to reach GitHub: the file that it is given holds what it accepts.
const GH: &str = r#"
if [ "$1" = --version ]; then echo "gh version 2.67.0 (2025-02-11)"; exit; fi
for file; do :; done
test "$*" = "$(cat "$file") --bundle $file" || { echo "no attestation of $3" >&2; exit 1; }
"#;

#[test]
fn what_is_not_attested_gets_no_moving_tag() {
    let repository = Repository::new("attest", Programs::new().script("gh", GH));
    let outputs = repository.tree.path().join("target/outputs");
    std::fs::create_dir_all(outputs.parent().unwrap()).unwrap();
    let env = [&WORKFLOW[..], &[("GITHUB_OUTPUT", outputs.to_str().unwrap())]].concat();
    repository.run(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
    let run = repository.run(&["merge"], &env).ended(0);
    assert!(run.stderr.contains("Waiting until GitHub attests"), "{}", run.stderr);
    let (latest, digest) = repository.tags();
    let (digest, at) = (digest.unwrap(), format!("{}/jobs/job", repository.registry.address));
    assert_eq!(latest, None);
    let outputs = std::fs::read_to_string(&outputs).unwrap();
    assert_eq!(outputs.lines().next(), Some("subjects=target/xtask/subjects.txt"), "{outputs}");
    let subjects = std::fs::read_to_string(repository.tree.path().join("target/xtask/subjects.txt")).unwrap();
    assert_eq!(subjects, format!("{}  {at}\n", digest.trim_start_matches("sha256:")));

    let bundle = "target/attestation.json";
    let regexp = r"^https://github\.com/(?i:acme/jobs)/\.github/workflows/images\.yml@(?:refs/heads/main)$";
    let attested = |digest: &str| {
        let of = format!("oci://{at}@{digest} --repo acme/jobs --cert-identity-regex {regexp}");
        repository.tree.write(bundle, &format!("attestation verify {of}"));
    };
    attested(&format!("sha256:{:064}", 0));
    let run = repository.run(&["merge", "--attested", bundle], &env).ended(3);
    expect![[r#"
        error: <registry>/jobs/job@sha256:…: is not attested: no attestation of oci://<registry>/jobs/job@sha256:…
          rule: the target wants every index attested, by this repository's workflow
          help: run the workflow of this commit again: its step `Attest` makes the attestation"#]]
    .assert_eq(&run.errors_at(&repository.registry));
    assert_eq!(repository.digest("latest"), None);
    attested(&digest);
    repository.run(&["merge", "--attested", bundle], &env).ended(0);
    assert_eq!(repository.digest("latest"), Some(digest));

    // What is not published yet is not published by this.
    repository.next(&env);
    let run = repository.run(&["merge", "--attested", bundle], &env).ended(3);
    assert!(run.errors().contains("is not published"), "{}", run.errors());
    assert_eq!(repository.digest(&repository.tree.tag()), None);
}

/// GitHub's own client, which cannot reach GitHub here.
#[test]
fn gh_itself_takes_the_flags_and_accepts_nothing_by_accident() {
    let repository = Repository::new("attest", Programs::new());
    repository.run(&[&["build"], &BOTH[..]].concat(), &[]).ended(0);
    repository.run(&["merge"], &[]).ended(0);
    repository.tree.write("target/attestation.json", "{}\n");
    let token = [("GH_TOKEN", "x")];
    for (args, env) in [(&["merge", "--attested", "target/attestation.json"][..], &[][..]), (&["verify"], &token)] {
        let run = repository.run(args, env).ended(4);
        let asked = "error: GitHub: cannot be asked whether ";
        assert!(run.errors().starts_with(asked) && run.errors().contains("@sha256:"), "{}", run.errors());
        assert!(!run.errors().contains("flag"), "{}", run.errors());
    }
    assert_eq!(repository.digest("latest"), None);
    let nowhere = TempDir::new();
    // Where `CI` is set, it says this in other words.
    let without_login = [("GH_CONFIG_DIR", nowhere.0.to_str().unwrap()), ("CI", "")];
    let run = repository.run(&["verify"], &without_login).ended(4);
    expect![[r#"
        error: `gh`: To get started with GitHub CLI, please run:  gh auth login
            Alternatively, populate the GH_TOKEN environment variable with a GitHub API authentication token.
          help: gh auth login"#]]
    .assert_eq(run.errors());
}

#[test]
fn attestations_that_cannot_be_had_are_refused_before_anything_is_built() {
    let old = Repository::new("attest", Programs::new().script("gh", "echo 'gh version 2.66.1 (2025-01-31)'"));
    let run = old.run(&["plan"], &WORKFLOW).ended(4);
    expect![[r#"
        error: `gh`: 2.66.1 is too old
          rule: attestations are checked by gh 2.67 or newer
          help: install the GitHub CLI, which GitHub's own runners have: cli.github.com"#]]
    .assert_eq(run.errors());
    let elsewhere = Repository::new("attest", Programs::new().script("gh", GH));
    elsewhere.tree.git(&["remote", "set-url", "origin", "https://gitlab.com/acme/jobs"]);
    expect![[r#"
        error: trusted workflow: this repository has no remote `origin` on github.com
          rule: signatures count only if this repository's own workflow made them"#]]
    .assert_eq(elsewhere.run(&["merge"], &[]).ended(4).errors());
    let signing = Repository::new("sign", Programs::new());
    expect![[r#"
        error: --attested: the target asks for no attestations, so `merge` has moved its tags
          help: say `attest = true` of the target in Cargo.toml, or leave the flag out"#]]
    .assert_eq(signing.run(&["merge", "--attested", "x"], &[]).ended(2).errors());
}
