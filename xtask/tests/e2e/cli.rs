//! The command line: what goes to stdout, what goes to stderr, and the files of GitHub Actions.

use expect_test::expect;

use crate::harness::{DOCKERFILE, OWN, Registry, TempDir, Tree, without_digests};

#[test]
fn stdout_is_data_and_nothing_else() {
    let tree = Tree::with_jobs(&["a", "b"]);
    tree.write("jobs/no-job/README.md", "x");
    let run = tree.run(&["discover", "-vv"]).ended(0);
    assert_eq!(run.stdout, "[\"jobs/a\",\"jobs/b\"]\n");
    assert!(run.stderr.contains("jobs/no-job: no Dockerfile"), "{}", run.stderr);
    let quiet = tree.run(&["discover", "-q"]).ended(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("[\"jobs/a\",\"jobs/b\"]\n", ""));
}

#[test]
fn discover_has_three_formats() {
    let tree = Tree::with_jobs(&["a"]);
    let matrix = tree.run(&["discover", "--format", "matrix"]).ended(0).stdout;
    let matrix: serde_json::Value = serde_json::from_str(&matrix).unwrap();
    expect![[r#"
        {
          "include": [
            {
              "arch": "amd64",
              "compile": ,
              "environment": "",
              "jobs": [
                "a"
              ],
              "minutes": 60,
              "name": "a (amd64)",
              "plan": "1;<commit>;…;0:<check>:0",
              "runner": "ubuntu-24.04"
            },
            {
              "arch": "arm64",
              "compile": ,
              "environment": "",
              "jobs": [
                "a"
              ],
              "minutes": 60,
              "name": "a (arm64)",
              "plan": "1;<commit>;…;0:<check>:0",
              "runner": "ubuntu-24.04-arm"
            }
          ]
        }"#]]
    .assert_eq(&on_any_machine(&serde_json::to_string_pretty(&matrix).unwrap()));
    expect![[r#"
        JOB  ARCHITECTURES  DOCKERFILE
        a    amd64 arm64    jobs/a/Dockerfile
    "#]]
    .assert_eq(&tree.run(&["discover", "--format", "table"]).ended(0).stdout);
}

/// The legs of a matrix, without what depends on the machine that made it.
fn on_any_machine(text: &str) -> String {
    let own = if OWN == "arm64" { "ubuntu-24.04-arm" } else { "ubuntu-24.04" };
    let merge = format!("\"runner\":\"{own}\"}}]}}\nany=");
    let text = without_digests(text).replace(&merge, "\"runner\":\"<own>\"}]}\nany=");
    let values = [":true", ":false", ": true", ": false"].map(|value| format!("\"compile\"{value}"));
    values.iter().fold(text, |text, value| text.replace(value, value.trim_end_matches(char::is_alphabetic)))
}

#[test]
fn discover_writes_the_outputs_of_a_step() {
    let tree = Tree::with_jobs(&["a"]);
    let outputs = tree.path().join("outputs");
    let env = [("GITHUB_OUTPUT", outputs.to_str().unwrap())];
    tree.run_with(&["discover"], &env).ended(0);
    expect![[r#"
        jobs=["jobs/a"]
        matrix={"include":[{"arch":"amd64","compile":,"environment":"","jobs":["a"],"minutes":60,"name":"a (amd64)","plan":"1;<commit>;…;0:<check>:0","runner":"ubuntu-24.04"},{"arch":"arm64","compile":,"environment":"","jobs":["a"],"minutes":60,"name":"a (arm64)","plan":"1;<commit>;…;0:<check>:0","runner":"ubuntu-24.04-arm"}]}
        merge={"include":[{"compile":,"environment":"","jobs":["a"],"minutes":60,"name":"merge a","plan":"1;<commit>;…;0:<check>:0","runner":"<own>"}]}
        any=true
        any-merge=true
        files=false
        unchanged=@target/xtask/plan/unchanged.json
        any-unchanged=false
    "#]]
    .assert_eq(&on_any_machine(&std::fs::read_to_string(&outputs).unwrap().replace(&tree.head(), "<commit>")));
    let none = Tree::new(&[("jobs/README.md", "none yet")]);
    std::fs::remove_file(&outputs).unwrap();
    assert_eq!(none.run_with(&["discover"], &env).ended(0).stdout, "[]\n");
    let empty = "merge={\"include\":[]}\nany=false\nany-merge=false\n";
    assert!(std::fs::read_to_string(&outputs).unwrap().contains(empty));
}

const TARGETS: &str = r#"
[workspace]
[workspace.metadata.jobs.targets.staging]
refs = ["refs/heads/main"]
registry = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
role = "arn:aws:iam::111122223333:role/jobs-push"
moving-tags = ["latest"]
[workspace.metadata.jobs.targets.release]
refs = ["refs/tags/v*"]
registry = "registry.example.com"
"#;

#[test]
fn a_path_leads_to_a_job_from_where_it_is_typed() {
    let tree = Tree::with_jobs(&["a", "b"]);
    tree.write("jobs/a/src/main.sh", "");
    for (folder, typed, job) in [
        ("jobs/a", ".", "a"),
        ("jobs/a", "../b", "b"),
        ("jobs/a/src", "..", "a"),
        ("jobs", "a/", "a"),
        ("jobs/b", "jobs/a", "a"),
        (".", "./jobs/b/", "b"),
    ] {
        let run = |command: &[&str], env: &[(&str, &str)]| {
            let mut command = tree.command(command, env);
            let output = command.current_dir(tree.path().join(folder)).output().unwrap();
            String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap()
        };
        assert_eq!(run(&["discover", typed], &[]), format!("[\"jobs/{job}\"]\n"), "{folder}: {typed}");
        let planned = run(&["plan", "--all", "--since", "HEAD", typed], &[]);
        assert_eq!(planned.lines().nth(1).and_then(|row| row.split(' ').next()), Some(job), "{planned}");
        let built = run(&["build", "--dry-run", typed], &[]);
        assert!(built.contains(&format!(" -t jobs/{job}:")) && built.lines().count() == 1, "{built}");
        for command in ["merge", "verify"] {
            let refused = run(&[command, typed], &[("JOBS_REGISTRY", "127.0.0.1:1")]);
            assert!(!refused.contains("there is no such job"), "{command}: {refused}");
        }
    }
}

#[test]
fn how_much_is_said_follows_the_flags() {
    let tree = Tree::with_jobs(&["a"]);
    // A summary that cannot be written is a warning, and git is started in any case.
    let said = |flags: &[&str], more: &[(&str, &str)]| {
        let env = [&[("GITHUB_STEP_SUMMARY", "/nowhere/summary")], more].concat();
        let run = tree.run_with(&[&["discover", "--since", "HEAD"], flags].concat(), &env).ended(0);
        assert_eq!(run.stdout, "[]\n", "data, and nothing else");
        let says = |text: &str| run.stderr.contains(text);
        [says("warning: "), says("Nothing to build: 1 job"), says(" Running git "), says(" Running cargo ")]
    };
    assert_eq!(said(&["-qq"], &[]), [false; 4]);
    assert_eq!(said(&["-q"], &[]), [true, false, false, false]);
    assert_eq!(said(&[], &[]), [true, true, false, false]);
    assert_eq!(said(&["-v"], &[]), [true; 4]);
    assert_eq!(said(&[], &[("RUNNER_DEBUG", "1")]), [true; 4]);
    assert_eq!(said(&["-q"], &[("RUNNER_DEBUG", "1")]), [true, false, false, false], "a flag goes before");
    // What is printed can be pasted.
    let output = tree.command(&["discover", "--since", "HEAD", "-v"], &[]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let commands = stderr.lines().filter_map(|line| line.trim_start().strip_prefix("Running git "));
    let commands: Vec<String> = commands.map(|command| format!("git {command} >/dev/null\n")).collect();
    assert!(commands.len() > 3, "{stderr}");
    let mut shell = std::process::Command::new("sh");
    let pasted = shell.args(["-c", &commands.concat()]).current_dir(tree.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&pasted.stderr), "");
}

#[test]
fn pipeline_names_the_equal_command_of_each_stage() {
    let (registry, tree) =
        (Registry::start(), Tree::new(&[("jobs/a/Dockerfile", "FROM scratch\nCOPY Cargo.toml /\n")]));
    let run = tree.run_with(&["pipeline", "a"], &[("JOBS_REGISTRY", &registry.address)]).ended(0);
    let stages = ["discover: ", "plan: ", "build: ", "merge: ", "verify: "];
    let stages = run.stderr.lines().filter(|line| stages.iter().any(|stage| line.starts_with(stage)));
    expect![[r#"
        discover: cargo xtask discover a
        plan: JOBS_REGISTRY=<registry> cargo xtask plan a
        build: JOBS_REGISTRY=<registry> cargo xtask build --arch amd64 --arch arm64 --push --emulate a
        merge: JOBS_REGISTRY=<registry> cargo xtask merge a
        verify: JOBS_REGISTRY=<registry> cargo xtask verify a"#]]
    .assert_eq(&stages.collect::<Vec<_>>().join("\n").replace(&registry.address, "<registry>"));
}

#[test]
fn a_mistyped_flag_is_guessed() {
    let tree = Tree::with_jobs(&["a"]);
    expect![[r#"
        error: unexpected argument '--paralel' found

          tip: a similar argument exists: '--parallel'

        Usage: cargo xtask build --parallel <N> [JOB]...

        For more information, try '--help'."#]]
    .assert_eq(tree.run(&["build", "--paralel", "2"]).ended(2).errors());
}

#[test]
fn config_tells_every_value_and_where_it_came_from() {
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", TARGETS)]);
    let table = |env: &[(&str, &str)]| {
        let env = [env, &[("JOBS_MIRRORS", "docker.io=127.0.0.1:5000")]].concat();
        let table = tree.run_with(&["config"], &env).ended(0).stdout;
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect::<String>()
    };
    expect![[r#"
        KEY VALUE FROM
        target staging git
        registry 111122223333.dkr.ecr.eu-west-1.amazonaws.com target `staging` in
        Cargo.toml
        prefix jobs default
        tag <sha> git
        role arn:aws:iam::111122223333:role/jobs-push target `staging` in
        Cargo.toml
        environment - target `staging` in
        Cargo.toml
        region eu-west-1 target `staging` in
        Cargo.toml
        moving-tags latest target `staging` in
        Cargo.toml
        copies - target `staging` in
        Cargo.toml
        mirrors docker.io=127.0.0.1:5000 JOBS_MIRRORS
        min-free-gb 1 default
        timeouts build=3600 read=60 write=600 default
    "#]]
    .assert_eq(&table(&[]));
    expect![[r#"
        KEY VALUE FROM
        target release git
        registry 127.0.0.1:5000 JOBS_REGISTRY
        prefix jobs default
        tag v1.2.3 GITHUB_REF
        role - default
        environment - target `release` in Cargo.toml
        region - default
        moving-tags - target `release` in Cargo.toml
        copies - target `release` in Cargo.toml
        mirrors docker.io=127.0.0.1:5000 JOBS_MIRRORS
        min-free-gb 1 default
        timeouts build=3600 read=60 write=600 default
    "#]]
    .assert_eq(&table(&[("GITHUB_REF", "refs/tags/v1.2.3"), ("JOBS_REGISTRY", "127.0.0.1:5000")]));
    expect![[r#"
        KEY VALUE FROM
        target - default
        registry - default
        prefix jobs default
        tag pr-12-<sha> GITHUB_REF
        role - default
        environment - default
        region - default
        moving-tags - default
        copies - default
        mirrors docker.io=127.0.0.1:5000 JOBS_MIRRORS
        min-free-gb 1 default
        timeouts build=3600 read=60 write=600 default
    "#]]
    .assert_eq(&table(&[("GITHUB_REF", "refs/pull/12/merge")]));
}

#[test]
fn config_writes_outputs_without_a_registrys_host() {
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", TARGETS)]);
    let outputs = tree.path().join("target-outputs");
    tree.run_with(&["config"], &[("GITHUB_OUTPUT", outputs.to_str().unwrap()), ("GITHUB_REF", "refs/tags/v1")])
        .ended(0);
    assert_eq!(
        std::fs::read_to_string(&outputs).unwrap(),
        "target=release\ntag=v1-dirty\nregion=\npush=true\nrole=\n".replace("-dirty", "")
    );
}

#[test]
fn what_waits_in_a_merge_queue_is_published_nowhere() {
    let target = "[workspace]\n[workspace.metadata.jobs.targets.all]\nrefs = [\"refs/heads/**/*\"]\n\
                  registry = \"127.0.0.1:5000\"\n";
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", target)]);
    let pushes = |env: &[(&str, &str)]| {
        let outputs = TempDir::new();
        let file = outputs.0.join("outputs");
        tree.run_with(&["config"], &[env, &[("GITHUB_OUTPUT", file.to_str().unwrap())]].concat()).ended(0);
        std::fs::read_to_string(&file).unwrap().contains("push=true\n")
    };
    assert!(pushes(&[("GITHUB_REF", "refs/heads/feature/x")]));
    assert!(!pushes(&[("GITHUB_REF", "refs/heads/gh-readonly-queue/main/pr-12-0123456")]));
    assert!(!pushes(&[("GITHUB_REF", "refs/heads/feature/x"), ("GITHUB_EVENT_NAME", "merge_group")]));
}

#[test]
fn a_change_that_is_not_committed_shows_in_the_tag() {
    let tree = Tree::with_jobs(&["a"]);
    let tag = |tree: &Tree| {
        let config: serde_json::Value =
            serde_json::from_str(&tree.run(&["config", "--format", "json"]).ended(0).stdout).unwrap();
        config["tag"]["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(tag(&tree), "<sha>");
    std::fs::remove_file(tree.path().join(".gitignore")).unwrap();
    tree.commit("nothing is ignored");
    tree.write("target/xtask/logs/a-amd64.log", "what this tool writes is no change");
    assert_eq!(tag(&tree), "<sha>");
    tree.write("new", "");
    assert_eq!(tag(&tree), "<sha>-dirty");
}

#[test]
fn an_empty_variable_stands_for_no_flag_at_every_depth() {
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", TARGETS)]);
    let empty = ["JOBS_REGISTRY", "JOBS_PREFIX", "JOBS_TAG", "JOBS_TARGET", "JOBS_PARALLEL", "JOBS_PROVENANCE"];
    let empty = empty.map(|name| (name, ""));
    let config = tree.run_with(&["config"], &empty).ended(0).stdout;
    assert_eq!(config, tree.run(&["config"]).ended(0).stdout);
    // One level deeper, where this registry is refused in the same words.
    let elsewhere = ("JOBS_REGISTRY", "registry.example.com");
    for command in ["check", "ensure"] {
        let unset = tree.run_with(&["ecr", command], &[elsewhere]).ended(2);
        let empty = tree.run_with(&["ecr", command], &[&empty[1..], &[elsewhere]].concat()).ended(2);
        assert!(unset.errors().starts_with("error: registry `registry.example.com`: "), "{}", unset.errors());
        assert_eq!(empty.errors(), unset.errors());
    }
}

#[test]
fn the_loopback_registry_is_started_without_secrets() {
    let tree = Tree::new(&[("jobs/README.md", "none yet")]);
    let secrets = ["JOBS_PASSWORD", "JOBS_PASSWORD_HUB", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
    let env = [(secrets[0], "pass-word"), (secrets[1], "pass-word"), (secrets[2], "token"), ("JOBS_PREFIX", "kept")];
    tree.run_with(&["pipeline"], &env).ended(0);
    let config = tree.path().join("target/xtask/registry/config.yml");
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_registry = |path: &std::path::PathBuf| {
        let line = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == config.to_str().unwrap())
    };
    let process = processes.into_iter().find(is_registry).expect("the registry runs on");
    let environment = std::fs::read_to_string(process.join("environ")).unwrap();
    let pid = process.file_name().unwrap().to_str().unwrap();
    assert!(std::process::Command::new("kill").args(["-TERM", pid]).status().unwrap().success());
    assert!(environment.contains("JOBS_PREFIX=kept\0"), "{environment}");
    assert!(secrets.iter().all(|secret| !environment.contains(secret)), "{environment}");
}
