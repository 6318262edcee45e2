//! What `--help` says, and its topics.

use crate::harness::Tree;
use expect_test::expect;

#[test]
fn help_names_every_command_with_an_example() {
    let tree = Tree::with_jobs(&["a"]);
    let help = tree.run(&["--help"]).ended(0).stdout;
    for command in [
        "discover",
        "config",
        "build",
        "merge",
        "verify",
        "pipeline",
        "promote",
        "login",
        "ecr",
        "new",
        "doctor",
        "setup",
        "test",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}\n{help}");
        let own = tree.run(&[command, "--help"]).ended(0).stdout;
        assert!(own.contains("Example: ") && own.contains(&format!("cargo xtask {command}")), "{own}");
    }
}

#[test]
fn help_and_refusals_have_the_colours_of_everything_else() {
    let tree = Tree::with_jobs(&["a"]);
    for (flag, variables, is_coloured) in [
        (&[][..], &[][..], false),
        (&["--color", "always"], &[], true),
        (&["--color=always"], &[("NO_COLOR", "1")], true),
        (&["--color=never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("FORCE_COLOR", "1")], true),
        (&[], &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false),
        (&[], &[("CARGO_TERM_COLOR", "never"), ("GITHUB_ACTIONS", "true")], false),
        (&[], &[("GITHUB_ACTIONS", "true")], true),
    ] {
        // A help text, what clap refuses, and what this program refuses itself.
        for command in [&["discover", "--help"], &["discover", "--unknown"], &["discover", "unknown"]] {
            let run = tree.run_with(&[&command[..], flag].concat(), variables);
            let said = run.stdout + &run.stderr;
            assert_eq!(said.contains('\u{1b}'), is_coloured, "{command:?} {flag:?} {variables:?}: {said}");
        }
    }
}

#[test]
fn a_help_text_tells_no_variables_value() {
    let tree = Tree::with_jobs(&["a"]);
    let help = tree.run_with(&["build", "--help"], &[("JOBS_TAG", "\u{1b}[2J")]).ended(0).stdout;
    assert!(help.contains("[env: JOBS_TAG]") && !help.contains('\u{1b}'), "{help}");
}

#[test]
fn a_commands_own_options_come_first_and_lines_fit() {
    let tree = Tree::with_jobs(&["a"]);
    let help = |columns| tree.run_with(&["ecr", "check", "--help"], &[("COLUMNS", columns)]).ended(0).stdout;
    expect![[r#"
        Check that every job's repository is there and fit, before anything is built

        Usage: cargo xtask ecr check [OPTIONS] [JOB]...

        Arguments:
          [JOB]...  Names or folders of jobs; all of them if none is given

        Options:
              --format <FORMAT>  How to print [default: table] [possible values: table,
                                 json]

        Where images go:
              --registry <HOST>            The registry's host; without one, `pipeline`
                                           starts one, and other commands keep images in
                                           the local engine [env: JOBS_REGISTRY]
              --prefix <PATH>              What stands between the registry and the
                                           job's name [env: JOBS_PREFIX]
              --tag <TAG>                  The tag, instead of the commit's or the git
                                           tag's [env: JOBS_TAG]
              --target <NAME>              The target of the configuration, instead of
                                           the one whose `refs` match [env: JOBS_TARGET]
              --mirrors <REGISTRY=PREFIX>  Where a registry's images are pulled from
                                           instead; of several, with commas between them
                                           [env: JOBS_MIRRORS]

        Global options:
          -q, --quiet...      Say less: once only warnings and errors, twice only errors
          -v, --verbose...    Say more: once the commands that are run, twice also what
                              they print
              --color <WHEN>  When to use colours [default: auto] [possible values:
                              auto, always, never]
          -h, --help          Print help

        Example: cargo xtask ecr check --format json | jq .
    "#]]
    .assert_eq(&help("80"));
    for (columns, widest) in [("60", 60), ("1000", 100)] {
        let help = help(columns);
        assert!(help.lines().all(|line| line.chars().count() <= widest), "{help}");
    }
    // Where nobody says how wide: this terminal has 52 columns.
    let line = format!("stty columns 52; '{}' ecr check --help", env!("CARGO_BIN_EXE_xtask"));
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--command", &line, "/dev/null"]).env_remove("COLUMNS").env("NO_COLOR", "1");
    let shown = String::from_utf8(terminal.stdin(std::process::Stdio::null()).output().unwrap().stdout).unwrap();
    let widest = shown.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(shown.contains("Global options:") && widest.is_some_and(|widest| widest <= 52), "{widest:?}: {shown}");
}

#[test]
fn help_has_topics_and_the_help_of_every_command() {
    let tree = Tree::with_jobs(&["a"]);
    let said = |words: &[&str]| tree.run(words).ended(0).stdout;
    assert_eq!(said(&["help"]), said(&["--help"]));
    assert_eq!(said(&["help", "ecr", "check"]), said(&["ecr", "check", "--help"]));
    assert_eq!(
        tree.run(&["help", "biuld"]).ended(2).errors().lines().nth(2),
        Some("  tip: a similar subcommand exists: 'build'")
    );
    expect![[r#"
        Exit codes of every command:

          0           done
          1           at least one job failed
          2           bad usage, configuration or input
          3           refused by the gate
          4           something needed is missing
          10          something to do (`plan --exit-code`)
          130 or 143  interrupted
    "#]]
    .assert_eq(&said(&["help", "exit-codes"]));
    expect![[r#"
        Variables that are read. A flag goes before its variable, and an empty variable
        counts as not set.

          ACTIONS_ID_TOKEN_REQUEST_TOKEN  With this, `login` and cosign ask GitHub for
                                          the workflow's identity
          ACTIONS_ID_TOKEN_REQUEST_URL    Where they ask for it
          AWS_REGION                      The region of ECR, instead of the target's
          BUILDX_BUILDER                  The buildx builder, instead of the current one
                                          [--builder]
          CARGO_MANIFEST_DIR              Set by `cargo run`, whose variables no other
                                          program is given
          CARGO_TERM_COLOR                `always` or `never`: colours, where none of
                                          the other variables decides
          CLICOLOR_FORCE                  Colours, unless it is 0
          COLUMNS                         How wide help texts are, instead of as wide as
                                          the terminal, and tables, instead of 80
          DOCKER_CONFIG                   The folder with docker's logins, instead of
                                          ~/.docker
          DOCKER_HOST                     Where the engine listens; docker itself reads
                                          it
          FORCE_COLOR                     Colours, unless it is 0
          GITHUB_ACTIONS                  `true`: annotations, groups and colours for
                                          the log of a workflow
          GITHUB_BASE_REF                 The branch that a pull request is for
          GITHUB_EVENT_NAME               What started the workflow
          GITHUB_OUTPUT                   The file for the outputs of `discover`,
                                          `config` and `merge`
          GITHUB_REF                      The git ref, instead of the branch that is
                                          checked out
          GITHUB_REPOSITORY               The repository on GitHub, instead of the
                                          remote `origin`
          GITHUB_RUN_ID                   The run, in the name of the session at AWS
          GITHUB_SERVER_URL               Where that repository is
          GITHUB_SHA                      The commit, which has to be the one that is
                                          checked out
          GITHUB_STEP_SUMMARY             The file for summaries
          GITHUB_WORKFLOW_REF             The workflow that signs
          HOME                            The folder that ~ stands for
          JOBS_COSIGN_KEY                 The key that signs, instead of the workflow's
                                          identity
          JOBS_COSIGN_PUB                 Its public half, where that is not in a file
                                          beside it
          JOBS_EMULATE                    Build for an architecture that the builder can
                                          only emulate [--emulate]
          JOBS_FORCE                      Rebuild even if the image exists; needs a tag
                                          that is not published yet [--force]
          JOBS_KEEP_GOING                 Go on without jobs that are broken, and fail
                                          in the end [--keep-going]
          JOBS_MIRRORS                    Where a registry's images are pulled from
                                          instead; of several, with commas between them
                                          [--mirrors]
          JOBS_PARALLEL                   How many builds run side by side [--parallel]
          JOBS_PASSWORD                   The password with which `login` logs in
          JOBS_PASSWORD_<TARGET>          The password for one target, before
                                          JOBS_PASSWORD
          JOBS_PLAN                       The slice of the plan for this runner, as
                                          `discover --changed --format matrix` gives it
                                          [--plan]
          JOBS_PREFIX                     What stands between the registry and the job's
                                          name [--prefix]
          JOBS_PROVENANCE                 How much provenance the images carry
                                          [--provenance]
          JOBS_REGISTRY                   The registry's host; without one, `pipeline`
                                          starts one, and other commands keep images in
                                          the local engine [--registry]
          JOBS_TAG                        The tag, instead of the commit's or the git
                                          tag's [--tag]
          JOBS_TARGET                     The target of the configuration, instead of
                                          the one whose `refs` match [--target]
          JOBS_TIMEOUTS                   As `timeouts` in Cargo.toml, before that:
                                          read=60,write=600,build=3600
          JOBS_USERNAME                   Who logs in, where the registry is not ECR's;
                                          the password comes over stdin, or from
                                          JOBS_PASSWORD [--username]
          NO_COLOR                        No colours
          PATH                            Where programs are looked for
          RUNNER_DEBUG                    1: as -vv
          RUNNER_ENVIRONMENT              `github-hosted`: a runner of GitHub's own,
                                          whose engine `setup --ci` may change
          RUNNER_TEMP                     The folder for an identity token, instead of
                                          TMPDIR or /tmp
          TERM                            `dumb`: a terminal on which nothing is drawn
                                          anew
    "#]]
    .assert_eq(&said(&["help", "environment"]));
}
