//! What can be wrong with what `build` is asked, and with what it is given to build.

use expect_test::expect;

use super::{Case, case, check_with_registry};
use crate::harness::{DOCKERFILE, Tree};

#[test]
fn architectures() {
    check_with_registry([
        case("aarch64", &["build", "--arch", "aarch64"]).says(expect![[r#"
            error: invalid value 'aarch64' for '--arch <ARCH>': architecture `aarch64`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: did you mean `arm64`?

            For more information, try '--help'."#]]),
        case("x86_64", &["build", "--arch", "x86_64"]).says(expect![[r#"
            error: invalid value 'x86_64' for '--arch <ARCH>': architecture `x86_64`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: did you mean `amd64`?

            For more information, try '--help'."#]]),
        case("a platform", &["build", "--arch", "linux/arm64"]).says(expect![[r#"
            error: invalid value 'linux/arm64' for '--arch <ARCH>': architecture `linux/arm64`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: did you mean `arm64`?

            For more information, try '--help'."#]]),
        case("one that is not built", &["build", "--arch", "s390x"]).says(expect![[r#"
            error: invalid value 's390x' for '--arch <ARCH>': architecture `s390x`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: name one of these

            For more information, try '--help'."#]]),
        case("empty", &["build", "--arch", ""]).says(expect![[r#"
            error: invalid value '' for '--arch <ARCH>': architecture ``: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: name one of these

            For more information, try '--help'."#]]),
        case("nothing after the flag", &["build", "--arch"]).says(expect![[r#"
            error: a value is required for '--arch <ARCH>' but none was supplied

            For more information, try '--help'."#]]),
        case("twice", &["build", "--arch", "arm64", "--arch", "arm64"]).says(expect![[r#"
            error: --arch: `arm64` is given twice
              rule: an architecture is built once
              help: leave one of them out"#]]),
    ]);
}

#[test]
fn jobs() {
    check_with_registry([
        case("none of these names", &["build", "reprot", "nothing", "Report"])
            .file("jobs/report/Dockerfile", DOCKERFILE)
            .says(expect![[r#"
                error: job `reprot`: there is no such job
                  help: did you mean `report`?
                error: job `nothing`: there is no such job
                  help: cargo xtask discover --format table lists the jobs
                error: job `Report`: there is no such job
                  help: did you mean `report`?"#]]),
        case("a path out of `jobs`", &["build", "../x"]).says(expect![[r#"
            error: job `../x`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("a way around", &["build", "job/../job"]).says(expect![[r#"
            error: job `job/../job`: there is no such job
              help: did you mean `job`?"#]]),
        case("an absolute path", &["build", "/abs"]).says(expect![[r#"
            error: job `/abs`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("the root, which is no job", &["build", "."]).says(expect![[r#"
            error: job `.`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("empty", &["build", ""]).says(expect![[r#"
            error: job ``: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("a flag after `--`", &["build", "--", "--push"]).says(expect![[r#"
            error: job `--push`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
        case("a newline and a workflow command", &["build", "x\n::add-mask::x"]).says(expect![[r#"
            error: job `x\n::add-mask::x`: there is no such job
              help: cargo xtask discover --format table lists the jobs"#]]),
    ]);
}

#[test]
fn secrets() {
    check_with_registry([
        case("a secret as a build argument", &["build"])
            .file("jobs/job/job.json", r#"{"args": {"NPM_TOKEN": "x", "KEY": "ghp_0123456789abcdef"}}"#)
            .says(expect![[r#"
            error: jobs/job/job.json: args: `KEY`: its value has the form of a credential
              rule: anyone who has the image or the repository can read build arguments
              help: revoke it, because it has been in a file; then name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…
            error: jobs/job/job.json: args: `NPM_TOKEN`: looks like a secret
              rule: anyone who has the image or the repository can read build arguments
              help: name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…; if it is no secret, say so in job.json: "not-secrets": ["NPM_TOKEN"]"#]]),
        case("arguments that docker cannot take", &["build"])
            .file("jobs/job/job.json", r#"{"args": {"A=B": "x", "NUL": "a\u0000b"}}"#)
            .says(expect![[r#"
                error: jobs/job/job.json: args: `A=B`: not the name of a build argument
                  rule: a name is not empty, and has no `=`, no space and no control character
                  help: write its name and its value apart: "NAME": "value"
                error: jobs/job/job.json: args: `NUL`: its value has a NUL character
                  rule: no argument of a program can have one
                  help: remove it"#]]),
    ]);
}

#[test]
fn secrets_that_a_job_is_not_allowed() {
    let message = || {
        expect![[r#"
        error: jobs/job/job.json: secrets: `npm_token`: not allowed to this job
          rule: [workspace.metadata.jobs.secrets] in Cargo.toml says which jobs may use a secret
          help: to allow it, write there: npm_token = ["web-*", "job"]
        error: jobs/job/job.json: secrets: `pip_token`: not allowed to this job
          rule: [workspace.metadata.jobs.secrets] in Cargo.toml says which jobs may use a secret
          help: did you mean `pip-token`?
        error: jobs/other/job.json: secrets: `aws_key`: not allowed to this job
          rule: [workspace.metadata.jobs.secrets] in Cargo.toml says which jobs may use a secret
          help: to allow it, write there: aws_key = ["other"]"#]]
    };
    let table = "[workspace]\n[workspace.metadata.jobs.secrets]\nnpm_token = [\"web-*\"]\npip-token = [\"job\"]\n";
    check_with_registry(["build", "plan", "discover", "discover --changed --format matrix", "merge", "pipeline"].map(
        |command| {
            Case {
                args: command.split(' ').collect(),
                ..case(command, &[])
                    .file("Cargo.toml", table)
                    .file("jobs/job/job.json", r#"{"secrets": ["npm_token", "pip_token"]}"#)
                    .file("jobs/other/Dockerfile", DOCKERFILE)
                    .file("jobs/other/job.json", r#"{"secrets": ["aws_key"]}"#)
                    .says(message())
            }
        },
    ));
}

#[test]
fn dockerfiles() {
    check_with_registry([
        case("empty", &["build"]).file("jobs/job/Dockerfile", "").says(expect![[r#"
                error: jobs/job/Dockerfile:1: a Dockerfile without instructions
                  rule: an image is built from another one, or from `scratch`
                  help: write what the job is built from, e.g. FROM busybox:1.37"#]]),
        case("comments alone", &["build"]).file("jobs/job/Dockerfile", "# nothing\n\n").says(expect![[r#"
                error: jobs/job/Dockerfile:2: a Dockerfile without instructions
                  rule: an image is built from another one, or from `scratch`
                  help: write what the job is built from, e.g. FROM busybox:1.37"#]]),
        case("no FROM", &["build"]).file("jobs/job/Dockerfile", "ARG A=1\n").says(expect![[r#"
                error: jobs/job/Dockerfile:1: no `FROM`
                  rule: an image is built from another one, or from `scratch`
                  help: write what the job is built from, e.g. FROM busybox:1.37"#]]),
        case("an unknown instruction", &["build"]).file("jobs/job/Dockerfile", "FROM busybox:1.37\n\nRUM echo\n").says(
            expect![[r#"
                error: jobs/job/Dockerfile:3: unknown instruction `RUM`
                  rule: a line begins with an instruction, or continues one that ends in `\`
                  help: did you mean `RUN`?"#]],
        ),
        case("an instruction before FROM", &["build"])
            .file("jobs/job/Dockerfile", "RUN echo\nFROM busybox:1.37\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:1: an instruction before the first `FROM`
                  rule: only `ARG` may stand before the first `FROM`
                  help: move it below the `FROM` of the stage that it is for"#]]),
        case("an image that is no name", &["build"]).file("jobs/job/Dockerfile", "FROM Busybox:1.37\n").says(expect![
            [r#"
            error: jobs/job/Dockerfile:1: image `Busybox:1.37`: not a valid reference
              rule: [registry/]name[:tag][@sha256:…], the name in lower case
              help: mend it, as in busybox:1.37 or ghcr.io/acme/tools:1"#]
        ]),
        case("not UTF-8", &["build"]).bytes("jobs/job/Dockerfile", b"FROM a\xff\n").says(expect![[r#"
                error: jobs/job/Dockerfile:1:7: not UTF-8: the byte 0xff
                  rule: files that are read here are UTF-8 text
                  help: save it as UTF-8"#]]),
        case("an ignore file that is not UTF-8", &["build"]).bytes(".dockerignore", b"# \xe9\n*\xff\n").says(expect![
            [r#"
                error: .dockerignore:1:3: not UTF-8: the byte 0xe9
                  rule: files that are read here are UTF-8 text
                  help: save it as UTF-8"#]
        ]),
        case("one of the job's own that is not UTF-8", &["build"])
            .bytes("jobs/job/Dockerfile.dockerignore", b"\xff")
            .says(expect![[r#"
                error: jobs/job/Dockerfile.dockerignore:1:1: not UTF-8: the byte 0xff
                  rule: files that are read here are UTF-8 text
                  help: save it as UTF-8"#]]),
        case("those of several jobs at once", &["build"])
            .file("jobs/job/Dockerfile", "")
            .file("jobs/other/Dockerfile", "FROM busybox:1.37\nRUN echo <<EOF\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:1: a Dockerfile without instructions
                  rule: an image is built from another one, or from `scratch`
                  help: write what the job is built from, e.g. FROM busybox:1.37
                error: jobs/other/Dockerfile:2: the here-document `<<EOF` is not terminated
                  rule: it ends at a line that is its delimiter, and nothing besides
                  help: add the line `EOF`"#]]),
        case("the stage to build is missing", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37 AS release\n")
            .file("jobs/job/job.json", r#"{"target": "relaese"}"#)
            .says(expect![[r#"
                error: jobs/job/job.json: target: `relaese`: jobs/job/Dockerfile has no such stage
                  help: did you mean `release`?"#]]),
    ]);
}

#[test]
fn platforms() {
    check_with_registry([
        case("of another architecture, in the chain of the last stage", &["build"])
            .file("jobs/job/Dockerfile", "FROM --platform=$BUILDPLATFORM busybox:1.37 AS base\nFROM base\n")
            .file("jobs/other/Dockerfile", "FROM busybox:1.37\nFROM --platform=linux/amd64 busybox:1.37\n")
            .file("jobs/right/Dockerfile", "FROM --platform=linux/amd64 busybox:1.37 AS a\nFROM busybox:1.37\n")
            .file("jobs/single/Dockerfile", "FROM --platform=linux/amd64 busybox:1.37\n")
            .file("jobs/single/job.json", r#"{"arches": ["amd64"]}"#)
            .says(expect![[r#"
                error: jobs/job/Dockerfile:1: `FROM --platform=$BUILDPLATFORM` gives an image for amd64 the programs of another architecture
                  rule: an image holds programs of its own architecture, as do the stages that it begins with
                  help: leave `--platform` out here; tools of the builder's architecture go into a stage that the image does not begin with, and that hands over files by `COPY --from`
                error: jobs/other/Dockerfile:2: `FROM --platform=linux/amd64` gives an image for arm64 the programs of another architecture
                  rule: an image holds programs of its own architecture, as do the stages that it begins with
                  help: leave `--platform` out here; tools of the builder's architecture go into a stage that the image does not begin with, and that hands over files by `COPY --from`"#]]),
        case("in the chain of the stage that is built", &["plan"])
            .file("jobs/job/Dockerfile", "FROM --platform=linux/arm/v7 busybox:1.37 AS old\nFROM busybox:1.37\n")
            .file("jobs/job/job.json", r#"{"target": "old"}"#)
            .says(expect![[r#"
                error: jobs/job/Dockerfile:1: `FROM --platform=linux/arm/v7` gives an image for amd64 the programs of another architecture
                  rule: an image holds programs of its own architecture, as do the stages that it begins with
                  help: leave `--platform` out here; tools of the builder's architecture go into a stage that the image does not begin with, and that hands over files by `COPY --from`"#]]),
    ]);
}

#[test]
fn frontends() {
    check_with_registry([case("a build argument that names none", &["build"])
        .file("jobs/job/job.json", r#"{"args": {"BUILDKIT_SYNTAX": "Docker/dockerfile:1"}}"#)
        .says(expect![[r#"
            error: jobs/job/job.json: args: BUILDKIT_SYNTAX: image `Docker/dockerfile:1`: not a valid reference
              rule: [registry/]name[:tag][@sha256:…], the name in lower case
              help: mend it, as in busybox:1.37 or ghcr.io/acme/tools:1"#]])]);
}

#[test]
fn sources_to_copy() {
    check_with_registry([
        case("not there", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY run.sh /\nADD jobs/job/other.sh /\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:2: there is no `run.sh` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path
                error: jobs/job/Dockerfile:3: there is no `jobs/job/other.sh` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path"#]]),
        case("there, below the job's folder", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY run.sh /\n")
            .file("jobs/job/run.sh", "")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:2: there is no `run.sh` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: did you mean `jobs/job/run.sh`?"#]]),
        case("in another job too", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY \\\n  a \\\n  b /\n")
            .file("jobs/other/Dockerfile", "FROM busybox:1.37\nCOPY c /\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:2: there is no `a` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path
                error: jobs/job/Dockerfile:2: there is no `b` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path
                error: jobs/other/Dockerfile:2: there is no `c` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path"#]]),
        case("ignored", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY jobs/job/run.sh /\n")
            .file("jobs/job/run.sh", "")
            .file(".dockerignore", "**/*.sh\n")
            .says(expect![[r#"
            error: jobs/job/Dockerfile:2: `jobs/job/run.sh` is kept out of the build context by .dockerignore
              help: copy something else, or except it there with `!`"#]]),
        case("beside a copy of all", &["plan"])
            .file(
                "jobs/job/Dockerfile",
                "FROM busybox:1.37\nCOPY . /\nCOPY jobs/job/rnu.sh secret /\nCOPY jobs/job/a /\n",
            )
            .file("jobs/job/run.sh", "")
            .file("secret", "")
            .file(".dockerignore", ".git\ntarget\nsecret\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:3: `secret` is kept out of the build context by .dockerignore
                  help: copy something else, or except it there with `!`
                error: jobs/job/Dockerfile:3: there is no `jobs/job/rnu.sh` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: did you mean `run.sh`?
                error: jobs/job/Dockerfile:4: there is no `jobs/job/a` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path"#]]),
        case("out of the context", &["build"])
            .file("jobs/job/Dockerfile", "FROM busybox:1.37\nCOPY ../secret /\n")
            .says(expect![[r#"
                error: jobs/job/Dockerfile:2: there is no `../secret` to copy
                  rule: paths start at the repository's root, which is the build context
                  help: add the file, or mend the path"#]]),
    ]);
}

#[test]
fn commits() {
    let other = "0123456789012345678901234567890123456789";
    check_with_registry([
        case("too short", &["build"]).env("GITHUB_SHA", "0123456").says(expect![[r#"
            error: GITHUB_SHA: `0123456` is not a commit
              rule: 40 lower-case hex digits
              help: leave it as GitHub sets it, or unset it: git knows the commit too"#]]),
        case("upper case", &["build"]).env("GITHUB_SHA", "0123456789ABCDEF0123456789ABCDEF01234567").says(expect![[
            r#"
            error: GITHUB_SHA: `0123456789ABCDEF0123456789ABCDEF01234567` is not a commit
              rule: 40 lower-case hex digits
              help: leave it as GitHub sets it, or unset it: git knows the commit too"#
        ]]),
        case("no hex digit", &["build"]).env("GITHUB_SHA", "HEAD").says(expect![[r#"
            error: GITHUB_SHA: `HEAD` is not a commit
              rule: 40 lower-case hex digits
              help: leave it as GitHub sets it, or unset it: git knows the commit too"#]]),
        case("not the one that is checked out", &["build"]).env("GITHUB_SHA", other).says(expect![[r#"
            error: GITHUB_SHA: is 0123456789012345678901234567890123456789, but <commit> is checked out
              rule: an image's revision is the commit that it was built from
              help: check out the commit, or unset GITHUB_SHA"#]]),
        case("no repository", &["build"]).make(no_repository).says(expect![[r#"
            error: tag: there is no commit to name images by
              help: commit first, or give --tag"#]]),
        case("no repository, and a tag", &["build", "--tag", "v1"]).make(no_repository).says(expect![[r#"
            error: git: there is no commit here, and images are published under the commit they are built from
              help: commit first"#]]),
    ]);
}

fn no_repository(tree: &Tree) {
    std::fs::remove_dir_all(tree.path().join(".git")).unwrap();
}
