//! What can be wrong with `[workspace.metadata.jobs]`. Every command reads it first.

use expect_test::expect;

use super::{Case, case, check, check_with_registry};

const TABLE: &str = "[workspace]\n[workspace.metadata.jobs]\n";
const TIMEOUTS: &str = "[workspace]\n[workspace.metadata.jobs.timeouts]\nread = 0\nwrite = \"20\"\nreed = 5\n";

#[test]
fn the_manifest() {
    let table = |text: &str| format!("{TABLE}{text}");
    let texts: Vec<String> = [
        "prefx = \"x\"\n",
        "sha-length = \"7\"\nmax-legs = true\nmin-free-gb = -1\nprefx = 1\nrunners = { amd64 = 1 }\n",
        "runners = {}\n",
        "runners = { aarch64 = \"x\", amd64 = \"\" }\n",
        "max-legs = 300\nsha-length = 3\nprefix = \"../x\"\n",
        "max-legs = 1\n",
        "[workspace.metadata.jobs.targets.main]\nregistri = \"x\"\n",
        "[workspace.metadata.jobs.targets.main]\nrole = \"AKIAIOSFODNN7EXAMPLE\"\n",
        "[workspace.metadata.jobs.targets.main]\nrole = \"jobs-push\"\n",
        "[workspace.metadata.jobs.targets.a]\nrefs = [\"refs/heads/*\"]\n\
         [workspace.metadata.jobs.targets.b]\nrefs = [\"refs/heads/main\"]\n",
        "prefix = \"a\"\nprefix = \"b\"\n",
        "prefix = [\n",
        "[workspace.metadata.jobs.mirrors]\n\"docker.io\" = \"https://x/\"\n",
        "[workspace.metadata.jobs.targets.main]\ncache = \"gha\"\n",
        "[workspace.metadata.jobs.secrets]\nnpm_token = [\"jab\", \"*\", \"other\"]\n",
        "[workspace.metadata.jobs.secrets]\nnpm_token = \"npm_0123456789abcdef\"\npath = [\"job\"]\n",
    ]
    .map(table)
    .into();
    let [unknown, typed, none, runner, limits, one_leg, target, secret, role, two, twice, broken, mirror, rest @ ..] =
        &texts[..]
    else {
        panic!("as many as there are names")
    };
    let marked = format!("\u{feff}{unknown}");
    check([
        case("an unknown key", &["discover"]).file("Cargo.toml", unknown).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`
              help: did you mean `prefix`?"#]]),
        case("wrong types, and a key besides", &["discover"]).file("Cargo.toml", typed).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs] max-legs: invalid type: boolean `true`
              rule: a whole number, 1 or more
              help: write a number, without quotes
            error: Cargo.toml: [workspace.metadata.jobs] min-free-gb: invalid value: integer `-1`
              rule: a whole number, 0 or more
              help: write a number, without quotes
            error: Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`
              help: did you mean `prefix`?
            error: Cargo.toml: [workspace.metadata.jobs] sha-length: invalid type: string "7"
              rule: a whole number, 1 or more
              help: write a number, without quotes"#]]),
        case("not a table", &["discover"]).file("Cargo.toml", "[workspace.metadata]\njobs = 3\n").says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs]: not a table
              help: write its keys below it, one to a line: key = value"#]]),
        case("no architecture", &["discover"]).file("Cargo.toml", none).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.runners]: no architecture
              help: name at least one, e.g. amd64 = "ubuntu-24.04""#]]),
        case("an unknown architecture, and no label", &["discover"]).file("Cargo.toml", runner).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.runners] architecture `aarch64`: not an architecture that is built here
              rule: one of `amd64`, `arm64`
              help: did you mean `arm64`?
            error: Cargo.toml: [workspace.metadata.jobs.runners] amd64: no runner label
              rule: a label, a list of labels, or a table with `group`, `labels` or both
              help: e.g. "ubuntu-24.04""#]]),
        case("several at once", &["discover"]).file("Cargo.toml", limits).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs] prefix: `../x`: not a valid name
              rule: parts of lower-case letters and digits with single '.', '_' or '-' between them, joined by '/'
              help: write it so, e.g. `team/jobs`
            error: Cargo.toml: [workspace.metadata.jobs] sha-length: 3 hex digits
              rule: between 4 and 40
              help: write one between, or leave it out: 7
            error: Cargo.toml: [workspace.metadata.jobs] max-legs: 300 legs
              rule: between 1 and 256, the limit of GitHub Actions
              help: write one between, or leave it out: 40"#]]),
        case("fewer legs than architectures", &["discover"]).file("Cargo.toml", one_leg).says(expect![[r#"
            error: max-legs: 1 legs are fewer than there are architectures
              help: raise `max-legs` in Cargo.toml"#]]),
        case("an unknown key of a target", &["config"]).file("Cargo.toml", target).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.targets.main]: unknown key `registri`
              help: did you mean `registry`?"#]]),
        case("a literal secret", &["config"]).file("Cargo.toml", secret).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.targets.main] role: looks like a secret
              rule: anyone who has the repository can read Cargo.toml
              help: remove it, revoke it, and name the role to assume: arn:aws:iam::<account>:role/<name>"#]]),
        case("a role that is no ARN", &["config"]).file("Cargo.toml", role).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.targets.main] role: `jobs-push`: not the ARN of a role
              rule: arn:aws:iam::<account of 12 digits>:role/<name>
              help: copy it from IAM: aws iam get-role --role-name <name> --query Role.Arn"#]]),
        case("two targets for a ref", &["config"]).file("Cargo.toml", two).says(expect![[r#"
            error: git ref `refs/heads/main`: matches the targets `a`, `b`
              rule: a ref is published to one target
              help: make their `refs` in Cargo.toml differ, or name one with --target"#]]),
        case("a mirror that is no host", &["config"]).file("Cargo.toml", mirror).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.mirrors] mirror `docker.io=https://x/`: registry `https://x/`: has a scheme
              help: write `x`"#]]),
        case("a cache that does nothing", &["build"]).file("Cargo.toml", &rest[0]).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.targets.main] cache: `gha`: a step that runs a command gets no access to GitHub's own cache
              help: write cache = "registry""#]]),
        case("a secret for a job that is not there", &["plan"]).file("Cargo.toml", &rest[1]).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.secrets] npm_token: `jab`: there is no such job
              help: remove it, or write a pattern for jobs to come, such as `report-*`
            error: Cargo.toml: [workspace.metadata.jobs.secrets] npm_token: `other`: there is no such job
              help: remove it, or write a pattern for jobs to come, such as `report-*`"#]]),
        case("the secret itself, and one that is none", &["plan"]).file("Cargo.toml", &rest[2]).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.secrets] `npm_token`: not a list of names of jobs
              rule: the secret itself never stands in a file
              help: write the jobs that may use it: npm_token = ["job-a", "job-b"]
            error: Cargo.toml: [workspace.metadata.jobs.secrets] `path`: its variable PATH has a meaning of its own
              rule: no secret is named `PATH` or `HOME`, ends with `_PROXY`, or begins with `ACTIONS_`, `AWS_`, `BUILDX_`, `COSIGN_`, `DOCKER_`, `GITHUB_`, `JOBS_`, `LD_`, `RUNNER_`
              help: give it a name that begins with what it is for"#]]),
        case("a context that is not there, for all jobs", &["discover"])
            .file("Cargo.toml", "[workspace]\n[workspace.metadata.jobs]\ncontext = \"jib\"\n")
            .file("jobs/other/Dockerfile", "FROM scratch\n")
            .says(expect![[r#"
                error: Cargo.toml: [workspace.metadata.jobs]: context: `jib`: there is no such folder
                  rule: `.` for the root, `job` for the job's own folder, or a folder from the root
                  help: mend the path, or remove the key"#]]),
        case("a key twice", &["discover"]).file("Cargo.toml", twice).says(expect![[r#"
            error: Cargo.toml: cargo cannot read it: duplicate key
                 --> Cargo.toml:4:1
                  |
                4 | prefix = "b"
                  | ^^^^^^
              help: mend it; `cargo metadata --no-deps` says the same"#]]),
        case("broken TOML", &["discover"]).file("Cargo.toml", broken).says(expect![[r#"
            error: Cargo.toml: cargo cannot read it: unclosed array, expected `]`
                 --> Cargo.toml:3:12
                  |
                3 | prefix = [
                  |           ^
              help: mend it; `cargo metadata --no-deps` says the same"#]]),
        case("not UTF-8", &["discover"]).bytes("Cargo.toml", b"[workspace]\n# \xff\n").says(expect![[r#"
            error: Cargo.toml: cargo cannot read it: path at `<tree>/Cargo.toml` was not valid utf-8
              help: mend it; `cargo metadata --no-deps` says the same"#]]),
        case("a byte-order mark hides nothing", &["discover"]).file("Cargo.toml", &marked).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`
              help: did you mean `prefix`?"#]]),
        case("not a table, but a list", &["discover"]).file("Cargo.toml", "[workspace.metadata]\njobs = []\n").says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs]: not a table
              help: write its keys below it, one to a line: key = value"#]]),
        case("empty", &["discover"]).file("Cargo.toml", "").says(expect![[r#"
            error: Cargo.toml: cargo cannot read it: failed to parse manifest at `<tree>/Cargo.toml`
    
                Caused by:
                  manifest is missing either a `[package]` or a `[workspace]`
              help: mend it; `cargo metadata --no-deps` says the same"#]]),
        case("timeouts that are none", &["config"]).file("Cargo.toml", TIMEOUTS).says(expect![[r#"
            error: Cargo.toml: [workspace.metadata.jobs.timeouts]: unknown key `reed`
              help: did you mean `read`?
            error: Cargo.toml: [workspace.metadata.jobs.timeouts] write: invalid type: string "20"
              rule: a whole number, 1 or more
              help: write a number, without quotes"#]]),
        case("timeouts by variable", &["config"])
            .env("JOBS_TIMEOUTS", "read=0,reed=5,write=x,build")
            .says(expect![[r#"
                error: JOBS_TIMEOUTS: `write=x`: not a timeout
                  rule: name=seconds, in whole seconds, with commas between them
                  help: e.g. JOBS_TIMEOUTS=read=60,write=600,build=3600
                error: JOBS_TIMEOUTS: `build`: not a timeout
                  rule: name=seconds, in whole seconds, with commas between them
                  help: e.g. JOBS_TIMEOUTS=read=60,write=600,build=3600"#]]),
        case("`GITHUB_OUTPUT` cannot be written", &["config"]).env("GITHUB_OUTPUT", "/nowhere/output").says(expect![[r#"
            error: GITHUB_OUTPUT: `/nowhere/output` cannot be written: No such file or directory (os error 2)
              rule: a step of a workflow hands its results on through this file
              help: leave GITHUB_OUTPUT as GitHub sets it; outside of a workflow, unset it"#]]),
    ]);
}

#[test]
fn the_manifest_in_every_command() {
    let message = || {
        expect![[r#"
        error: Cargo.toml: [workspace.metadata.jobs]: unknown key `prefx`
          help: did you mean `prefix`?"#]]
    };
    let unknown = format!("{TABLE}prefx = \"x\"\n");
    check_with_registry(["build", "merge", "verify", "pipeline", "doctor", "setup --dry-run"].map(|command| Case {
        args: command.split(' ').collect(),
        ..case(command, &[]).file("Cargo.toml", &unknown).says(message())
    }));
}
