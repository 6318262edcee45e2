//! `login`: to a registry that wants a password, by the workflow's identity or by name; and no secret left anywhere.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use expect_test::expect;

use crate::cloud::{
    Aws, BEARER, Issuer, JWT, OWN_PASSWORD, PLAIN_PASSWORD, Programs, ROLE_PASSWORD, Watch, files_with, manifest,
    path_with_client,
};
use crate::harness::{DOCKERFILE, Registry, Run, TempDir, Tree};

/// A job in a repository whose target is ECR's, and the folders of the runner.
struct Runner {
    tree: Tree,
    registry: Registry,
    docker: TempDir,
    temp: TempDir,
}

impl Runner {
    /// With a registry that lets one user in.
    fn new(user: &str, (_, hash): (&str, &str), manifest: impl Fn(&str) -> String) -> Runner {
        let registry = Registry::with_user(user, hash);
        let files = [("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", &manifest(&registry.address))];
        Runner { tree: Tree::new(&files), registry, docker: TempDir::new(), temp: TempDir::new() }
    }

    fn env<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("DOCKER_CONFIG", self.docker.0.to_str().unwrap()),
            ("RUNNER_TEMP", self.temp.0.to_str().unwrap()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/nowhere"),
            ("NO_COLOR", "1"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        ];
        [&own, more].concat()
    }

    fn login(&self, env: &[(&str, &str)]) -> Run {
        let run = self.tree.run_with(&["login"], &self.env(env));
        Run { stderr: run.stderr.replace(&self.registry.address, "<registry>"), ..run }
    }

    /// Whether docker has a password for the registry.
    fn is_logged_in(&self) -> bool {
        let config = std::fs::read_to_string(self.docker.0.join("config.json")).unwrap_or_default();
        config.contains(&self.registry.address)
    }
}

/// What GitHub sets for a job that has the permission.
fn workflow<'a>(issuer: &'a Issuer, aws: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "o/r"),
        ("GITHUB_REF", "refs/heads/main"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &issuer.url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER),
        ("AWS_ENDPOINT_URL", aws),
        ("PATH", path),
    ]
}

/// The errors behind the annotations that GitHub makes of them.
fn errors(run: &Run) -> String {
    let start = run.stderr.find("\nerror: ").map_or(0, |newline| newline + 1);
    run.stderr[start..].trim_end().to_owned()
}

/// base64 of `AWS:` and [`ROLE_PASSWORD`], as docker keeps it.
const BASIC: &str = "QVdTOjExMTEyMjIyMzMzMy1hdXRoLXRva2Vu";

#[test]
fn a_workflow_logs_in_by_its_identity_and_leaves_no_secret() {
    // Of this test alone: others may show theirs to everybody, and all processes are watched.
    let (bearer, token) = ("bearer-of-the-watched-login", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3YXRjaGVkIn0.d2F0Y2hlZA");
    let (aws, issuer) = (Aws::start(), Issuer::of(bearer, token));
    let runner = Runner::new("AWS", ROLE_PASSWORD, manifest);
    // A login is over so soon that a busy machine would not see it among its processes.
    let slow = Programs::new().script("docker", "sleep 0.5\nPATH=\"${PATH#*:}\"\nexec docker \"$@\"");
    let (url, path) = (aws.url(), slow.first());
    let summary = runner.tree.path().join("target/summary.md");
    // Credentials of another account would go before the role's, and a level of detail shows all that programs say.
    let more = [
        ("AWS_ACCESS_KEY_ID", "AKIAOTHER"),
        ("AWS_SECRET_ACCESS_KEY", "other"),
        ("RUNNER_DEBUG", "1"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
    ];
    std::fs::create_dir_all(summary.parent().unwrap()).unwrap();
    let watch = Watch::start(&runner.temp.0, bearer);
    let run = runner.login(&[workflow(&issuer, &url, &path), more.to_vec()].concat());
    let seen = watch.end();
    let run = run.ended(0);
    assert!(run.stderr.contains("Logged in") && runner.is_logged_in(), "{}", run.stderr);
    assert_eq!(*issuer.asked.lock().unwrap(), ["GET /token?api-version=2.0&audience=sts.amazonaws.com HTTP/1.1"]);

    let secrets = [bearer, token, ROLE_PASSWORD.0, BASIC];
    for program in ["curl -q --silent", "aws ecr get-login-password --region eu-west-1", "docker login --username AWS"]
    {
        assert!(
            seen.commands.iter().any(|line| line.contains(program)),
            "{program} was not seen: {:#?}",
            seen.commands
        );
    }
    let is_ours = |line: &String| line.starts_with(env!("CARGO_BIN_EXE_xtask"));
    assert!(!seen.holders.is_empty() && seen.holders.iter().all(is_ours), "{:#?}", seen.holders);
    for line in &seen.commands {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
    for secret in secrets {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{}\n{}", run.stdout, run.stderr);
    }
    assert!(!seen.files.is_empty() && seen.files.iter().all(|(_, mode)| *mode == 0o600), "{:?}", seen.files);
    assert_eq!(std::fs::read_dir(&runner.temp.0).unwrap().count(), 0);
    for folder in [runner.tree.path(), &runner.docker.0] {
        assert_eq!(files_with(folder, &secrets, "config.json"), [""; 0].map(std::path::PathBuf::from));
    }
    assert_eq!(files_with(&runner.docker.0, &[BASIC], "none").len(), 1, "the search finds what docker keeps");
}

#[test]
fn on_a_laptop_the_clients_own_credentials_are_used() {
    let aws = Aws::start();
    let runner = Runner::new("AWS", OWN_PASSWORD, manifest);
    let (url, path) = (aws.url(), path_with_client());
    let env = [("AWS_ENDPOINT_URL", url.as_str()), ("PATH", path.as_str())];
    let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
    runner.login(&[&env[..], &keys].concat()).ended(0);
    assert!(runner.is_logged_in());
    expect![[r#"
        error: `aws ecr get-login-password`: exited with 255: Unable to locate credentials. You can configure credentials by running "aws configure".
          help: give the AWS client credentials: `aws sso login` or `aws configure`; in a workflow, set the target's `role`"#]]
    .assert_eq(runner.login(&env).ended(4).errors());
}

#[test]
fn a_workflow_without_the_permission_or_the_client_says_so() {
    let runner = Runner::new("AWS", ROLE_PASSWORD, manifest);
    expect![[r#"
        error: role `arn:aws:iam::111122223333:role/jobs-push`: GitHub gives this workflow no identity token to assume it with
          rule: a job asks for the token by a permission, and a pull request from a fork never gets one
          help: add `id-token: write` to the job's `permissions` in the workflow"#]]
    .assert_eq(&errors(&runner.login(&[("GITHUB_ACTIONS", "true")]).ended(4)));
    let programs = Programs::new().link("git").link("cargo").link("docker").link("curl");
    expect![[r#"
        error: `aws`: not installed
          rule: the AWS client asks ECR for the registry's password
          help: install the AWS CLI, which GitHub's own runners have: `pip install awscli`, or AWS's installer"#]]
    .assert_eq(runner.login(&[("PATH", &programs.alone())]).ended(4).errors());
}

#[test]
fn what_other_programs_say_of_a_secret_is_covered() {
    let (aws, issuer) = (Aws::start(), Issuer::start());
    let runner = Runner::new("AWS", ROLE_PASSWORD, manifest);
    let url = aws.url();
    let half = format!("echo '{{\"value\":\"{JWT}\"'; exit 28");
    let telltales = [
        ("curl", half.as_str()),
        ("curl", "cat >&2; exit 22"),
        ("curl", "cat; exit 22"),
        ("curl", "cat"),
        ("aws", "cat \"$AWS_WEB_IDENTITY_TOKEN_FILE\" >&2; exit 255"),
        ("aws", "cat \"$AWS_WEB_IDENTITY_TOKEN_FILE\"; exit 255"),
        ("aws", "env >&2; exit 255"),
        ("aws", "echo 111122223333-auth-token; exit 255"),
        ("docker", "cat >&2; exit 1"),
        ("docker", "cat; exit 1"),
        // Not in base64, as HTTP's basic authentication sends it: neither docker nor curl prints that, `--debug` or not.
        ("docker", "env; printf 'AWS:%s' \"$(cat)\"; exit 1"),
    ];
    for (program, script) in telltales {
        let path = Programs::new().script(program, script);
        let path = path.first();
        let env = [workflow(&issuer, &url, &path), vec![("RUNNER_DEBUG", "1")]].concat();
        let run = runner.login(&env).ended(4);
        for secret in [BEARER, JWT, ROLE_PASSWORD.0] {
            assert!(!run.stderr.contains(secret), "{program}: {script}: {}", run.stderr);
        }
        assert_eq!(std::fs::read_dir(&runner.temp.0).unwrap().count(), 0, "{program}: {script}");
    }
}

#[test]
fn a_login_that_is_stopped_leaves_no_token() {
    let issuer = Issuer::start();
    let runner = Runner::new("AWS", ROLE_PASSWORD, manifest);
    let slow = Programs::new().script("aws", "exec sleep 60");
    let path = slow.first();
    let env = runner.env(&workflow(&issuer, "http://127.0.0.1:1", &path));
    let mut child = runner.tree.command(&["login"], &env).stderr(Stdio::null()).spawn().unwrap();
    let tokens = || std::fs::read_dir(&runner.temp.0).unwrap().count();
    let start = Instant::now();
    while tokens() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no token was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!((child.wait().unwrap().code(), tokens()), (Some(143), 0));
}

#[test]
fn a_refusal_says_what_to_do() {
    let (aws, issuer) = (Aws::start(), Issuer::start());
    let (url, path) = (aws.url(), path_with_client());
    let runner = Runner::new("AWS", OWN_PASSWORD, manifest);
    let errors = |code: i32, env: &[(&str, &str)]| errors(&runner.login(env).ended(code));
    let vouched = workflow(&issuer, &url, &path);
    // The role's password is not the one that this registry wants.
    expect![[r#"
        error: registry `<registry>`: the login failed: `docker login --username AWS --password-stdin <registry>` exited with 1: Error response from daemon: login attempt to http://<registry>/v2/ failed with status: 401 Unauthorized
          help: check the user name and the password, and that they are for this registry"#]].assert_eq(&errors(4, &vouched));
    expect![[r#"
        error: GitHub's identity token: `curl -q --silent --show-error --fail --max-time 60 --retry 3 --config -` exited with 22: curl: (22) The requested URL returned error: 403
          help: is `id-token: write` among the job's `permissions`? if so, run the job again"#]].assert_eq(&errors(4, &[&vouched[..], &[("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "another")]].concat()));
    let in_the_clear = ("ACTIONS_ID_TOKEN_REQUEST_URL", "http://example.com/x");
    expect![[r#"
        error: ACTIONS_ID_TOKEN_REQUEST_URL: not an `https://` address
          rule: the workflow's token is sent encrypted
          help: leave the variable as GitHub sets it"#]]
    .assert_eq(&errors(2, &[&vouched[..], &[in_the_clear]].concat()));
    let said = "An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not authorized";
    let refusing = Programs::new().script("aws", &format!("echo '{said}' >&2; exit 254"));
    let path = refusing.first();
    expect![[r#"
        error: `aws ecr get-login-password`: exited with 254: An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not authorized
          rule: a role is assumed by those whom its trust policy names; GitHub says of this workflow:
            sub = repo:o@11/r@22:ref:refs/heads/main
            repository_id = 22
            job_workflow_ref = o/r/.github/workflows/images.yml@refs/heads/main
          help: if it is to be let in, let the trust policy of `arn:aws:iam::111122223333:role/jobs-push` say:
            {
              "Action": "sts:AssumeRoleWithWebIdentity",
              "Condition": {
                "StringEquals": {
                  "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                  "token.actions.githubusercontent.com:job_workflow_ref": "o/r/.github/workflows/images.yml@refs/heads/main",
                  "token.actions.githubusercontent.com:repository_id": "22"
                }
              },
              "Effect": "Allow",
              "Principal": {
                "Federated": "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
              }
            }"#]].assert_eq(&errors(4, &workflow(&issuer, &url, &path)));
}

#[test]
fn a_job_in_an_environment_is_let_in_by_its_subject() {
    // `sub` is `repo:o@11/r@22:environment:production`.
    const TOKEN: &str = concat!(
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tI",
        "iwiYXVkIjoic3RzLmFtYXpvbmF3cy5jb20iLCJzdWIiOiJyZXBvOm9AMTEvckAyMjplbnZpcm9ubWVudDpwcm9kdWN",
        "0aW9uIiwicmVwb3NpdG9yeV9pZCI6IjIyIiwiam9iX3dvcmtmbG93X3JlZiI6Im8vci8uZ2l0aHViL3dvcmtmbG93c",
        "y9pbWFnZXMueW1sQHJlZnMvaGVhZHMvbWFpbiJ9.c2lnbmF0dXJlLW9mLXRlc3Q",
    );
    let runner = Runner::new("AWS", OWN_PASSWORD, manifest);
    let said = "An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not authorized";
    let path = Programs::new().script("aws", &format!("echo '{said}' >&2; exit 254"));
    let (issuer, path) = (Issuer::of(BEARER, TOKEN), path.first());
    let errors = errors(&runner.login(&workflow(&issuer, "http://127.0.0.1:1", &path)).ended(4));
    let condition = "\"token.actions.githubusercontent.com:sub\": \"repo:o@11/r@22:environment:production\"";
    assert!(errors.contains(condition), "{errors}");
}

#[test]
fn other_registries_take_a_name_and_a_password() {
    let runner = Runner::new("me", PLAIN_PASSWORD, |address| {
        format!(
            "[workspace]\n[workspace.metadata.jobs.targets.own]\nrefs = [\"refs/heads/*\"]\nregistry = \"{address}\"\n"
        )
    });
    let me = [("JOBS_USERNAME", "me"), ("JOBS_PASSWORD", PLAIN_PASSWORD.0)];
    let run = runner.login(&[]).ended(0);
    assert!(run.stderr.contains("Skipped <registry> is this machine's own") && !runner.is_logged_in());
    runner.login(&me).ended(0);
    assert!(runner.is_logged_in());
    expect![[r#"
        error: registry `<registry>`: the login failed: `docker login --username me --password-stdin <registry>` exited with 1: Error response from daemon: login attempt to http://<registry>/v2/ failed with status: 401 Unauthorized
          help: check the user name and the password, and that they are for this registry"#]].assert_eq(runner.login(&[me[0], ("JOBS_PASSWORD", "wrong-password")]).ended(4).errors());
    expect![[r#"
        error: registry `<registry>`: no password to log in with
          rule: a password is never an argument, where every user of the machine can read it
          help: give it over stdin with --password-stdin, or set JOBS_PASSWORD or JOBS_PASSWORD_OWN"#]]
    .assert_eq(runner.login(&me[..1]).ended(2).errors());
    std::fs::remove_file(runner.docker.0.join("config.json")).unwrap();
    assert_eq!(with_stdin(&runner, &format!("{}\n", PLAIN_PASSWORD.0)).code, 0);
    assert!(runner.is_logged_in());
    expect![[r#"
        error: --password-stdin: stdin is empty
          help: printf %s "$PASSWORD" | cargo xtask login --password-stdin"#]]
    .assert_eq(with_stdin(&runner, "\n").ended(2).errors());
    let nowhere = Tree::with_jobs(&["a"]);
    expect![[r#"
        error: login: there is no registry
          help: set JOBS_REGISTRY or --registry, or configure a target in Cargo.toml"#]]
    .assert_eq(nowhere.run(&["login"]).ended(2).errors());
    expect![[r#"
        error: registry `registry.example.com`: no user name to log in with
          help: set JOBS_USERNAME and JOBS_PASSWORD, or give --username and --password-stdin; for a copy, write `username` in its target"#]]
    .assert_eq(nowhere.run_with(&["login"], &[("JOBS_REGISTRY", "registry.example.com")]).ended(2).errors());
}

#[test]
fn a_target_names_its_user_and_has_a_password_of_its_own() {
    let runner = Runner::new("me", PLAIN_PASSWORD, |address| {
        format!(
            "[workspace]\n[workspace.metadata.jobs.targets.own-1]\nrefs = [\"refs/heads/*\"]\nusername = \"me\"\n\
             registry = \"{address}\"\n"
        )
    });
    let (own, common) = (("JOBS_PASSWORD_OWN_1", PLAIN_PASSWORD.0), ("JOBS_PASSWORD", "of-another-registry"));
    runner.login(&[common]).ended(4);
    runner.login(&[common, own]).ended(0);
    assert!(runner.is_logged_in());
    std::fs::remove_file(runner.docker.0.join("config.json")).unwrap();
    // A registry that is given instead knows nobody of the target's.
    let run = runner.login(&[own, ("JOBS_REGISTRY", "127.0.0.1:1")]).ended(0);
    assert!(run.stderr.contains("no user name is set"), "{}", run.stderr);
}

/// Logs in as `me` with this on stdin.
fn with_stdin(runner: &Runner, text: &str) -> Run {
    let mut command =
        runner.tree.command(&["login", "--username", "me", "--password-stdin"], &runner.env(&[("JOBS_PASSWORD", "x")]));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_command_logs_in_once_by_itself_when_the_registry_asks_for_it() {
    let manifest = |_: &str| "[workspace]\n".to_owned();
    let runner = Runner::new("me", PLAIN_PASSWORD, manifest);
    let registry = ("JOBS_REGISTRY", runner.registry.address.as_str());
    let me = [registry, ("JOBS_USERNAME", "me"), ("JOBS_PASSWORD", PLAIN_PASSWORD.0)];
    let build = ["build", "--arch", "amd64", "--arch", "arm64", "--emulate"];
    // Without a password there is nothing to log in with, and the remedy is said.
    let run = runner.tree.run_with(&build, &runner.env(&[registry])).ended(4);
    assert!(run.errors().ends_with("help: log in to the registry: cargo xtask login"), "{}", run.errors());
    let run = runner.tree.run_with(&build, &runner.env(&me)).ended(0);
    assert_eq!(run.stderr.matches("Retrying after a new login").count(), 1, "{}", run.stderr);
    // A login that was lost in between.
    std::fs::remove_file(runner.docker.0.join("config.json")).unwrap();
    let run = runner.tree.run_with(&["merge"], &runner.env(&me)).ended(0);
    assert_eq!(run.stderr.matches("Retrying after a new login").count(), 1, "{}", run.stderr);
    // A wrong password is tried once, and given up.
    std::fs::remove_file(runner.docker.0.join("config.json")).unwrap();
    let wrong = [registry, me[1], ("JOBS_PASSWORD", "wrong-password")];
    let run = runner.tree.run_with(&["verify"], &runner.env(&wrong)).ended(4);
    assert!(!run.stderr.contains("wrong-password"), "{}", run.stderr);
    let run = runner.tree.run_with(&build, &runner.env(&wrong)).ended(4);
    assert_eq!(run.stderr.matches("Retrying").count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("wrong-password"), "{}", run.stderr);
}

#[test]
fn what_is_not_merged_yet_logs_in_to_read_where_a_target_says_so() {
    let (aws, issuer) = (Aws::start(), Issuer::start());
    // Each account has a password of its own, and the registry knows that of the role that reads alone.
    let reading = |registry: &str| {
        let manifest = manifest(registry);
        manifest.replace("role = ", "read-role = \"arn:aws:iam::123456789012:role/jobs-read\"\nrole = ")
    };
    let runner = Runner::new("AWS", OWN_PASSWORD, reading);
    let (url, path) = (aws.url(), path_with_client());
    let login = |more: &[(&str, &str)]| {
        let env = [workflow(&issuer, &url, &path), more.to_vec()].concat();
        runner.tree.run_with(&["login", "--read"], &runner.env(&env)).ended(0).stderr.trim().to_owned()
    };
    let request = [("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_BASE_REF", "main")];
    let queue = [("GITHUB_REF", "refs/heads/gh-readonly-queue/main/pr-7-0123"), ("GITHUB_EVENT_NAME", "merge_group")];
    for proposal in [request, queue] {
        let said = login(&proposal);
        assert!(said.contains("Logged in") && runner.is_logged_in(), "{said}");
        std::fs::remove_file(runner.docker.0.join("config.json")).unwrap();
    }
    issuer.asked.lock().unwrap().clear();
    let fork = login(&[&request[..], &[("ACTIONS_ID_TOKEN_REQUEST_URL", "")]].concat());
    expect!["Skipped logging in to read: GitHub gives no identity token, which the job has to ask for, and a fork does not get"].assert_eq(&fork);
    let elsewhere = login(&[("GITHUB_REF", "refs/pull/7/merge"), ("GITHUB_BASE_REF", "other")]);
    expect!["Skipped logging in to read: there is no target to read from"].assert_eq(&elsewhere);
    runner.tree.write("Cargo.toml", &manifest(&runner.registry.address));
    expect!["Skipped logging in to read: the target `staging` has no `read-role`"].assert_eq(&login(&request));
    assert!(!runner.is_logged_in() && issuer.asked.lock().unwrap().is_empty());
}
