//! What can be wrong with the `job.json` of a job. Every command reads it first.

use expect_test::expect;

use super::{case, check};
use crate::harness::DOCKERFILE;

#[test]
fn the_settings_of_a_job() {
    check([
        case("an unknown key", &["discover"]).file("jobs/job/job.json", "{\n  \"archs\": []\n}\n").says(expect![[r#"
            error: jobs/job/job.json:2:9: unknown key `archs`
              help: did you mean `arches`?"#]]),
        case("a wrong type", &["discover"])
            .file("jobs/job/job.json", r#"{"args": {"A": 1}}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:16: invalid type: integer `1`
                  rule: a string
                  help: put it in double quotes"#]]),
        case("a list with values", &["discover"]).file("jobs/job/job.json", "[null, [\"amd64\"]]").says(expect![[r#"
            error: jobs/job/job.json:1:1: a list
              rule: an object: { … }
              help: write the keys between braces, e.g. {"arches": ["amd64"]}"#]]),
        case("a list", &["discover"]).file("jobs/job/job.json", "[]").says(expect![[r#"
            error: jobs/job/job.json:1:1: a list
              rule: an object: { … }
              help: write the keys between braces, e.g. {"arches": ["amd64"]}"#]]),
        case("no such job", &["discover"]).file("jobs/jab/job.json", "{}").says(expect![[r#"
            error: jobs/jab/job.json: there is no such job: its folder has no Dockerfile
              help: add the Dockerfile, name another ("dockerfile": "…"), or remove the file"#]]),
        case("no architecture", &["discover"]).file("jobs/job/job.json", r#"{"arches": []}"#).says(expect![[r#"
            error: jobs/job/job.json: arches: no architecture
              help: name at least one, or remove the key"#]]),
        case("unknown architectures", &["discover"])
            .file("jobs/job/job.json", r#"{"arches": ["aarch64", "s390x"]}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:23: architecture `aarch64`: not an architecture that is built here
                  rule: one of `amd64`, `arm64`
                  help: did you mean `arm64`?"#]]),
        case("an architecture without a runner", &["discover"])
            .file("jobs/job/job.json", r#"{"arches": ["arm64"]}"#)
            .file("Cargo.toml", "[workspace]\n[workspace.metadata.jobs.runners]\namd64 = \"x\"\n")
            .says(expect![[r#"
            error: architecture `arm64`: no runner is configured for it
              help: add `arm64 = "<label>"` to [workspace.metadata.jobs.runners] in Cargo.toml"#]]),
        case("paths that leave the repository", &["discover"])
            .file("jobs/job/job.json", r#"{"inputs": ["../x", "/etc", "a/../b", "good"]}"#)
            .says(expect![[r#"
                error: jobs/job/job.json: inputs: `../x`: leaves the repository
                  rule: a path from the repository's root, without `..`
                  help: name what is in the repository, e.g. protos/
                error: jobs/job/job.json: inputs: `/etc`: leaves the repository
                  rule: a path from the repository's root, without `..`
                  help: name what is in the repository, e.g. protos/
                error: jobs/job/job.json: inputs: `a/../b`: leaves the repository
                  rule: a path from the repository's root, without `..`
                  help: name what is in the repository, e.g. protos/"#]]),
        case("broken", &["discover"])
            .file("jobs/job/job.json", "{\n  \"arches\": [\"amd64\",]\n}\n")
            .says(expect![[r#"
                error: jobs/job/job.json:2:22: trailing comma
                  rule: JSON: strings and keys in double quotes, no comments, and no comma after the last entry
                  help: mend the file there"#]]),
        case("cut off", &["discover"])
            .file("jobs/job/job.json", "{\"args\": {")
            .says(expect![[r#"
                error: jobs/job/job.json:1:10: EOF while parsing an object
                  rule: JSON: strings and keys in double quotes, no comments, and no comma after the last entry
                  help: mend the file there"#]]),
        case("a byte-order mark", &["discover"]).file("jobs/job/job.json", "\u{feff}{}").says(expect![[r#"
            error: jobs/job/job.json:1:1: starts with a byte-order mark
              help: save it as UTF-8 without one"#]]),
        case("empty", &["discover"]).file("jobs/job/job.json", "").says(expect![[r#"
            error: jobs/job/job.json: empty
              help: write `{}`, or remove the file"#]]),
        case("a key twice", &["discover"])
            .file("jobs/job/job.json", r#"{"arches": ["amd64"], "arches": ["arm64"]}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:30: duplicate key `arches`
                  rule: each key stands once
                  help: remove one of them"#]]),
        case("an argument twice", &["discover"])
            .file("jobs/job/job.json", r#"{"args": {"A": "1", "A": "2"}}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:29: duplicate key `A`
                  rule: each key stands once
                  help: remove one of them"#]]),
        case("a literal secret", &["discover"])
            .file("jobs/job/job.json", r#"{"args": {"DB_PASSWORD": "hunter2"}}"#)
            .says(expect![[r#"
            error: jobs/job/job.json: args: `DB_PASSWORD`: looks like a secret
              rule: anyone who has the image or the repository can read build arguments
              help: name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…; if it is no secret, say so in job.json: "not-secrets": ["DB_PASSWORD"]"#]]),
        case("an exception for no argument", &["discover"])
            .file("jobs/job/job.json", r#"{"args": {"TOKEN_COUNT": "1"}, "not-secrets": ["TOKENS_COUNT"]}"#)
            .says(expect![[r#"
            error: jobs/job/job.json: args: `TOKEN_COUNT`: looks like a secret
              rule: anyone who has the image or the repository can read build arguments
              help: name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…; if it is no secret, say so in job.json: "not-secrets": ["TOKEN_COUNT"]
            error: jobs/job/job.json: not-secrets: `TOKENS_COUNT`: there is no such build argument
              rule: `not-secrets` lists names that stand in `args`
              help: did you mean `TOKEN_COUNT`?"#]]),
        case("a timeout of nothing", &["discover"]).file("jobs/job/job.json", r#"{"timeout-minutes": 0}"#).says(
            expect![[r#"
                error: jobs/job/job.json: timeout-minutes: 0 minutes
                  rule: between 1 and 7200, five days, the limit of GitHub Actions
                  help: name the minutes that its build takes at most, or remove the key"#]],
        ),
        case("a timeout below nothing", &["discover"])
            .file("jobs/job/job.json", r#"{"timeout-minutes": -1}"#)
            .says(expect![[r#"
                error: jobs/job/job.json:1:22: invalid value: integer `-1`
                  rule: a whole number, 1 or more
                  help: write a number, without quotes"#]]),
        case("inputs that name nothing", &["discover"])
            .file("jobs/job/job.json", r#"{"inputs": ["", "a\u0000b"]}"#)
            .says(expect![[r#"
                error: jobs/job/job.json: inputs: ``: empty
                  rule: a path from the repository's root, without `..`
                  help: name what is in the repository, e.g. protos/
                error: jobs/job/job.json: inputs: `a\u{0}b`: has a NUL character
                  rule: a path from the repository's root, without `..`
                  help: name what is in the repository, e.g. protos/"#]]),
        case("other wrong types", &["discover"])
            .file("jobs/job/job.json", r#"{"arches": "amd64"}"#)
            .file("jobs/b/job.json", r#"{"args": ["A"]}"#)
            .file("jobs/b/Dockerfile", DOCKERFILE)
            .file("jobs/c/job.json", r#"{"timeout-minutes": "30"}"#)
            .file("jobs/c/Dockerfile", DOCKERFILE)
            .file("jobs/d/job.json", r#"{"target": null, "context": true}"#)
            .file("jobs/d/Dockerfile", DOCKERFILE)
            .says(expect![[r#"
                error: jobs/b/job.json:1:9: invalid type: sequence
                  rule: names with their values
                  help: write them between braces
                error: jobs/c/job.json:1:24: invalid type: string "30"
                  rule: a whole number, 1 or more
                  help: write a number, without quotes
                error: jobs/d/job.json:1:32: invalid type: boolean `true`
                  rule: a string
                  help: put it in double quotes
                error: jobs/job/job.json:1:18: invalid type: string "amd64"
                  rule: a list
                  help: put it in brackets: ["…"]"#]]),
        case("a folder", &["discover"])
            .file("jobs/job/job.json/file", "")
            .says(expect![[r#"
                error: jobs/job/job.json: could not be read: Is a directory (os error 21)
                  rule: nothing is skipped unseen
                  help: make it readable: chmod -R u+rX jobs/job/job.json"#]]),
        case("not UTF-8", &["discover"])
            .bytes("jobs/job/job.json", b"{\n  \"target\": \"\xc3\xa9\xff\"}")
            .says(expect![[r#"
                error: jobs/job/job.json:2:15: not UTF-8: the byte 0xff
                  rule: files that are read here are UTF-8 text
                  help: save it as UTF-8"#]]),
        case("of several jobs at once", &["discover"])
            .file("jobs/job/job.json", r#"{"timeout-minutes": 0, "arches": []}"#)
            .file("jobs/jab/job.json", "{}")
            .says(expect![[r#"
                error: jobs/jab/job.json: there is no such job: its folder has no Dockerfile
                  help: add the Dockerfile, name another ("dockerfile": "…"), or remove the file
                error: jobs/job/job.json: arches: no architecture
                  help: name at least one, or remove the key
                error: jobs/job/job.json: timeout-minutes: 0 minutes
                  rule: between 1 and 7200, five days, the limit of GitHub Actions
                  help: name the minutes that its build takes at most, or remove the key"#]]),
    ]);
}
