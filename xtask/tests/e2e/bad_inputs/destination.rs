//! What can be wrong with tags, registries and the rest of where images go.

use expect_test::expect;

use super::{case, check, check_with_registry};
use crate::harness::Tree;

#[test]
fn tags() {
    let (longest, longer) = ("x".repeat(123), "x".repeat(129));
    let (longest, longer) = (["build", "--tag", &longest], ["build", "--tag", &longer]);
    check_with_registry([
        case("empty", &["build", "--tag", ""]).says(expect![[r#"
            error: tag ``: empty
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG"#]]),
        case("a dot first", &["build", "--tag", ".x"]).says(expect![[r#"
            error: tag `.x`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `x`"#]]),
        case("a dash first", &["build", "--tag=-x"]).says(expect![[r#"
            error: tag `-x`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `x`"#]]),
        case("a slash", &["build", "--tag", "feature/x"]).says(expect![[r#"
            error: tag `feature/x`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `feature-x`"#]]),
        case("a plus", &["build", "--tag", "1.0+b"]).says(expect![[r#"
            error: tag `1.0+b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `1.0-b`"#]]),
        case("a colon", &["build", "--tag", "a:b"]).says(expect![[r#"
            error: tag `a:b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `a-b`"#]]),
        case("an at sign", &["build", "--tag", "a@b"]).says(expect![[r#"
            error: tag `a@b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `a-b`"#]]),
        case("a newline", &["build", "--tag", "a\n::error::b"]).says(expect![[r#"
            error: tag `a\n::error::b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `a-error-b`"#]]),
        case("123 characters", &longest).says(expect![[r#"
            error: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`: has 123 characters
              rule: at most 122: an architecture's suffix is added, and 128 is the limit
              help: give a shorter one: --tag or JOBS_TAG"#]]),
        case("129 characters", &longer).says(expect![[r#"
            error: tag `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`: has 129 characters
              rule: at most 122: an architecture's suffix is added, and 128 is the limit
              help: give a shorter one: --tag or JOBS_TAG"#]]),
        case("one architecture's", &["build", "--tag", "v1-arm64"]).says(expect![[r#"
            error: tag `v1-arm64`: ends in `-arm64`
              rule: a tag does not end in `-amd64` or `-arm64`: the images of one architecture do
              help: give another with --tag or JOBS_TAG"#]]),
        case("by variable", &["build"]).env("JOBS_TAG", "feature/x").says(expect![[r#"
            error: tag `feature/x`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `feature-x`"#]]),
        case("of git", &["build"]).env("GITHUB_REF", "refs/tags/1.0+b").says(expect![[r#"
            error: tag `1.0+b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `1.0-b`"#]]),
        case("a target's moving tag", &["merge", "--tag", "latest"]).file(
            "Cargo.toml",
            "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/*\"]\nmoving-tags = [\"latest\"]\n",
        ).says(expect![[r#"
            error: tag `latest`: is a moving tag of this target
              rule: a published tag never changes, and a moving tag does
              help: give another with --tag or JOBS_TAG; `merge` moves this one by itself"#]]),
    ]);
}

#[test]
fn registries() {
    check([
        case("none, and `--push`", &["build", "--push"]).says(expect![[r#"
            error: --push: there is no registry
              help: set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml"#]]),
        case("empty", &["build", "--registry", ""]).says(expect![[r#"
            error: registry ``: empty
              help: give a host such as `127.0.0.1:5000`, or leave it unset"#]]),
        case("a scheme", &["build"]).env("JOBS_REGISTRY", "https://registry.example.com/").says(expect![[r#"
            error: registry `https://registry.example.com/`: has a scheme
              help: write `registry.example.com`"#]]),
        case("user info", &["build"]).env("JOBS_REGISTRY", "me:hunter2@registry.example.com").says(expect![[r#"
            error: registry `…@registry.example.com`: carries a user name
              help: write `registry.example.com`, and use `docker login registry.example.com`"#]]),
        case("user info after a scheme", &["build"])
            .env("JOBS_REGISTRY", "https://me:hunter2@registry.example.com")
            .says(expect![[r#"
                error: registry `…@registry.example.com`: carries a user name
                  help: write `registry.example.com`, and use `docker login registry.example.com`"#]]),
        case("a slash at the end", &["build"]).env("JOBS_REGISTRY", "registry.example.com/").says(expect![[r#"
            error: registry `registry.example.com/`: ends in `/`
              help: write `registry.example.com`"#]]),
        case("a path", &["build"]).env("JOBS_REGISTRY", "registry.example.com/team").says(expect![[r#"
            error: registry `registry.example.com/team`: has a path
              help: write `registry.example.com`, and put `team` into `prefix`"#]]),
        case("upper case", &["build"]).env("JOBS_REGISTRY", "Registry.example.com").says(expect![[r#"
            error: registry `Registry.example.com`: has upper-case letters
              help: write `registry.example.com`"#]]),
        case("no domain", &["build"]).env("JOBS_REGISTRY", "registry").says(expect![[r#"
            error: registry `registry`: has neither a domain nor a port, so Docker Hub would be meant
              help: give a host such as `registry.example.com:5000`"#]]),
        case("a port that is none", &["build"]).env("JOBS_REGISTRY", "registry.example.com:http").says(expect![[r#"
            error: registry `registry.example.com:http`: has a port that is not a number
              help: give a host such as `registry.example.com:5000`"#]]),
        case("a newline", &["build"]).env("JOBS_REGISTRY", "a.b\n::error::c").says(expect![[r#"
            error: registry `a.b\n::error::c`: has a port that is not a number
              help: give a host such as `registry.example.com:5000`"#]]),
        case("in merge", &["merge"]).env("JOBS_REGISTRY", "registry").says(expect![[r#"
            error: registry `registry`: has neither a domain nor a port, so Docker Hub would be meant
              help: give a host such as `registry.example.com:5000`"#]]),
        case("in verify", &["verify"]).env("JOBS_REGISTRY", "registry").says(expect![[r#"
            error: registry `registry`: has neither a domain nor a port, so Docker Hub would be meant
              help: give a host such as `registry.example.com:5000`"#]]),
        case("in pipeline", &["pipeline"]).env("JOBS_REGISTRY", "registry").says(expect![[r#"
            error: registry `registry`: has neither a domain nor a port, so Docker Hub would be meant
              help: give a host such as `registry.example.com:5000`"#]]),
        case("not on this machine, in pipeline", &["pipeline"]).env("JOBS_REGISTRY", "registry.example.com").says(
            expect![[r#"
            error: registry `registry.example.com`: is not on this machine
              rule: `pipeline` is a rehearsal, and publishes to a loopback registry only
              help: leave JOBS_REGISTRY unset, or run build and merge by themselves"#]],
        ),
    ]);
}

#[test]
fn registries_of_aws() {
    const ECR: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    check([
        case("another region", &["config"]).env("JOBS_REGISTRY", ECR)
        .env("AWS_REGION", "us-east-1").says(expect![[r#"
            error: registry `111122223333.dkr.ecr.eu-west-1.amazonaws.com`: is in eu-west-1, not in us-east-1
              rule: the region of the registry and the one of AWS_REGION are the same
              help: set AWS_REGION=eu-west-1, or push to the registry in us-east-1"#]]),
        case("another region, with FIPS", &["config"]).env("JOBS_REGISTRY", "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com")
        .env("AWS_REGION", "us-west-2").says(expect![[r#"
            error: registry `111122223333.dkr.ecr-fips.us-east-1.amazonaws.com`: is in us-east-1, not in us-west-2
              rule: the region of the registry and the one of AWS_REGION are the same
              help: set AWS_REGION=us-east-1, or push to the registry in us-west-2"#]]),
        case("another region than the target's", &["config"]).env("JOBS_REGISTRY", ECR)
        .file(
            "Cargo.toml",
            "[workspace]\n[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/*\"]\nregion = \"us-east-1\"\n",
        ).says(expect![[r#"
            error: registry `111122223333.dkr.ecr.eu-west-1.amazonaws.com`: is in eu-west-1, not in us-east-1
              rule: the region of the registry and the one of target `main` in Cargo.toml are the same
              help: write region = "eu-west-1" there, or leave it out"#]]),
        case("an account of 11 digits", &["config"]).env("JOBS_REGISTRY", "11112222333.dkr.ecr.eu-west-1.amazonaws.com").says(expect![[r#"
            error: registry `11112222333.dkr.ecr.eu-west-1.amazonaws.com`: `11112222333` is not an AWS account
              rule: an account is 12 digits
              help: mend it, as in 111122223333.dkr.ecr.eu-west-1.amazonaws.com"#]]),
        case("an account with a letter", &["config"]).env("JOBS_REGISTRY", "11112222333x.dkr.ecr.eu-west-1.amazonaws.com").says(expect![[r#"
            error: registry `11112222333x.dkr.ecr.eu-west-1.amazonaws.com`: `11112222333x` is not an AWS account
              rule: an account is 12 digits
              help: mend it, as in 111122223333.dkr.ecr.eu-west-1.amazonaws.com"#]]),
        case("region and tag at once", &["config", "--tag", "a:b"]).env("JOBS_REGISTRY", ECR)
        .env("AWS_REGION", "us-east-1").says(expect![[r#"
            error: registry `111122223333.dkr.ecr.eu-west-1.amazonaws.com`: is in eu-west-1, not in us-east-1
              rule: the region of the registry and the one of AWS_REGION are the same
              help: set AWS_REGION=eu-west-1, or push to the registry in us-east-1
            error: tag `a:b`: not a valid tag
              rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'
              help: give another with --tag or JOBS_TAG, e.g. `a-b`"#]]),
    ]);
}

#[test]
fn repositories_and_mirrors() {
    let prefix = "p".repeat(250);
    check_with_registry([
        case("longer than 255", &["build"]).env("JOBS_PREFIX", &prefix)
            .file("jobs/other/Dockerfile", "FROM scratch\n").says(expect![[r#"
                error: repository `<registry>/pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp/job`: has 270 characters
                  rule: registry, prefix and name have at most 255 together
                  help: shorten the folder's name or the prefix
                error: repository `<registry>/pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp/other`: has 272 characters
                  rule: registry, prefix and name have at most 255 together
                  help: shorten the folder's name or the prefix"#]]),
        case("longer than 255, in merge", &["merge"]).env("JOBS_PREFIX", &prefix)
            .file("jobs/other/Dockerfile", "FROM scratch\n").says(expect![[r#"
            error: repository `<registry>/pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp/job`: has 270 characters
              rule: registry, prefix and name have at most 255 together
              help: shorten the folder's name or the prefix
            error: repository `<registry>/pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp/other`: has 272 characters
              rule: registry, prefix and name have at most 255 together
              help: shorten the folder's name or the prefix"#]]),
        case("a prefix that is no name", &["config"]).env("JOBS_PREFIX", "/Jobs/").says(expect![[r#"
            error: prefix `/Jobs/`: not a valid name
              rule: parts of lower-case letters and digits with single '.', '_' or '-' between them, joined by '/'
              help: write it so, e.g. `team/jobs`"#]]),
        case("a mirror without a registry", &["build"]).env("JOBS_MIRRORS", "127.0.0.1:5000").says(expect![[r#"
            error: mirror `127.0.0.1:5000`: not a mirror
              rule: registry=prefix
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000"#]]),
        case("mirrors that are no hosts", &["build"]).env("JOBS_MIRRORS", "docker.io=http://127.0.0.1:5000,quay.io=mirror").says(expect![[r#"
            error: mirror `docker.io=http://127.0.0.1:5000`: registry `http://127.0.0.1:5000`: has a scheme
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000
            error: mirror `quay.io=mirror`: registry `mirror`: has neither a domain nor a port, so Docker Hub would be meant
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000"#]]),
        case("a mirror, in doctor", &["doctor"]).env("JOBS_MIRRORS", "127.0.0.1:5000").says(expect![[r#"
            error: mirror `127.0.0.1:5000`: not a mirror
              rule: registry=prefix
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000"#]]),
        case("a mirror, in setup", &["setup", "--dry-run"]).env("JOBS_MIRRORS", "127.0.0.1:5000").says(expect![[r#"
            error: mirror `127.0.0.1:5000`: not a mirror
              rule: registry=prefix
              help: e.g. JOBS_MIRRORS=docker.io=127.0.0.1:5000"#]]),
        case("a target where there is none", &["build", "--target", "main"]).says(expect![[r#"
            error: target `main`: not in [workspace.metadata.jobs.targets] of Cargo.toml
              rule: there is none yet
              help: add [workspace.metadata.jobs.targets.main] there, or name another"#]]),
        case("an unknown target", &["build", "--target", "stagin"]).file("Cargo.toml", "[workspace]\n[workspace.metadata.jobs.targets.staging]\n").says(expect![[r#"
            error: target `stagin`: not in [workspace.metadata.jobs.targets] of Cargo.toml
              rule: one of `staging`
              help: did you mean `staging`?"#]]),
    ]);
}

#[test]
fn an_empty_variable_is_none() {
    let tree = Tree::with_jobs(&["job"]);
    let names =
        ["JOBS_REGISTRY", "JOBS_PREFIX", "JOBS_TAG", "JOBS_TARGET", "JOBS_MIRRORS", "JOBS_PARALLEL", "JOBS_EMULATE"];
    let env = names.map(|name| (name, ""));
    let config = tree.run_with(&["config", "--format", "json"], &env).ended(0).stdout;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["tag"]["value"], &config["prefix"]["value"]), (&"<sha>".into(), &"jobs".into()));
    let merged = tree.run_with(&["merge"], &env).ended(2);
    assert_eq!(merged.errors().lines().next(), Some("error: merge: there is no registry"));
}
