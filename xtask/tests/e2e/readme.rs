//! Every example of README.md and jobs/README.md is run as it stands there, and prints what stands there.

mod handed_over;
mod on_aws;

use std::path::Path;
use std::process::Command;

use expect_test::expect;
use serde_json::Value;

use crate::cloud::Programs;
use crate::examples::{DOCUMENTS, example, examples};
use crate::harness::{BOTH, DOCKERFILE, LocalImages, Registry, TempDir, Tree, root, without_digests};
use crate::plan::why::plain;
use crate::records::validate;

/// A reader: a clone of this repository, or a repository of the reader's own, and a registry.
struct Reader {
    tree: Tree,
    registry: Registry,
    home: TempDir,
    /// `cargo xtask` is the program that is tested, and the rest of cargo cargo's own.
    programs: Programs,
}

impl Reader {
    fn new(tree: Tree) -> Reader {
        let cargo = format!(
            "[ \"$1\" = xtask ] || exec '{}' \"$@\"\nshift\nexec '{}' \"$@\"",
            std::env::var("CARGO").unwrap(),
            env!("CARGO_BIN_EXE_xtask")
        );
        let programs = Programs::new().script("cargo", &cargo);
        Reader { tree, registry: Registry::start(), home: TempDir::new(), programs }
    }

    /// A command line's process, which sees what a user's terminal would show on one stream.
    fn shell(&self, text: &str, env: &[(&str, &str)]) -> Command {
        let path = self.programs.first();
        let own = [("JOBS_REGISTRY", self.registry.address.as_str()), ("PATH", &path)];
        let git = [("GIT_AUTHOR_NAME", "Ann"), ("GIT_COMMITTER_NAME", "Ann")];
        let mail = [("GIT_AUTHOR_EMAIL", "ann@example.com"), ("GIT_COMMITTER_EMAIL", "ann@example.com")];
        let home = [("USER_HOME", self.home.0.to_str().unwrap())];
        let env = [&own[..], &git, &mail, &home, env].concat();
        let mut command = self.tree.program("bash", &env);
        // cargo needs the home that this machine's toolchain is in.
        command.args(["-euc", &format!("exec 2>&1; {}", text.replace("~/", "$USER_HOME/"))]);
        command
    }

    #[track_caller]
    fn types(&self, text: &str) -> String {
        self.types_with(text, &[])
    }

    /// Runs lines of a shell, all of which have to succeed; what they print, data and words for people alike.
    #[track_caller]
    fn types_with(&self, text: &str, env: &[(&str, &str)]) -> String {
        let output = self.shell(text, env).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}\n{said}");
        said.replace(&self.registry.address, "127.0.0.1:5000")
    }
}

/// The words of each line, as what is wider in one run moves the columns after it, with a zero for each digit.
fn words(text: &str) -> Vec<String> {
    let digits = |word: &str| word.replace(|c: char| c.is_ascii_digit(), "0");
    let words = |line: &str| line.split_whitespace().map(digits).collect::<Vec<_>>().join(" ");
    without_digests(&plain(text)).lines().map(words).collect()
}

#[test]
fn every_example_is_run() {
    let mut texts = String::new();
    let mut folders = vec![root().join("xtask/tests")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension() {
                Some(extension) if extension == "rs" => texts += &std::fs::read_to_string(path).unwrap(),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    for document in DOCUMENTS {
        let all = examples(document);
        assert!(all.len() > 2, "{all:?}");
        for it in all {
            let call = format!("example(\"{document}\", \"{}\", {})", it.section, it.number);
            assert!(texts.contains(&call), "no test has {call}:\n{}", it.text);
        }
    }
}

#[test]
fn the_first_command_ends_as_it_says() {
    let reader = Reader::new(Tree::of_this_repository());
    let commands = example("README.md", "Jobs", 0);
    let (pipeline, test) = commands.trim_end().split_once('\n').unwrap();
    let said = reader.types(pipeline);
    let shown = example("README.md", "Jobs", 1);
    let last = said.lines().count() - shown.lines().count();
    let said = said.lines().skip(last).collect::<Vec<_>>().join("\n");
    // A time may be 3.1s, 17s or 1m02s.
    let is_time = |word: &str| word.ends_with('s') && word.starts_with('0');
    let plain = |word: &str| if is_time(word) { "0s".to_owned() } else { word.to_owned() };
    let plain = |line: String| line.split(' ').map(plain).collect::<Vec<_>>().join(" ");
    let plain = |text: &str| words(text).into_iter().map(plain).collect::<Vec<_>>();
    assert_eq!(plain(&said), plain(&shown));
    // The second is what runs this test, here and in continuous integration: tests/tidy.rs.
    assert!(test.starts_with("cargo xtask test --setup --faults "), "{test}");
}

#[test]
fn completions_are_where_the_shells_look() {
    let reader = Reader::new(Tree::new(&[]));
    std::fs::create_dir_all(reader.home.0.join(".config/fish/conf.d")).unwrap();
    reader.types(&example("README.md", "Commands", 0));
    for (shell, file) in
        [("bash", ".bash_completion"), ("zsh", ".xtask.zsh"), ("fish", ".config/fish/conf.d/xtask.fish")]
    {
        let written = std::fs::read_to_string(reader.home.0.join(file)).unwrap();
        assert_eq!(written, reader.tree.run(&["completions", shell]).ended(0).stdout, "{file}");
    }
}

#[test]
fn a_job_is_added() {
    let reader = Reader::new(Tree::of_this_repository());
    let image = format!("jobs/report:{}-dirty", reader.tree.tag());
    let _images = LocalImages(vec![image.clone()]);
    let said = reader.types(&example("README.md", "Add a job", 0));
    assert!(said.contains("Created jobs/report\n") && said.contains(&format!("\n{image}\n")), "{said}");
    assert!(said.contains(&format!("\nRun one: docker run --rm 127.0.0.1:5000/{image} --help\n")), "{said}");
}

#[test]
fn the_configuration_is_one() {
    let settings = example("README.md", "Configuration", 0);
    let tree = Tree::new(&[
        ("Cargo.toml", &format!("[workspace]\n{settings}")),
        ("jobs/report/Dockerfile", DOCKERFILE),
        ("jobs/report/job.json", r#"{"secrets": ["npm_token"], "env-args": ["CHANNEL"], "ssh": ["default"]}"#),
        ("apps/shop/Dockerfile", DOCKERFILE),
        ("apps/group/web-shop/Dockerfile", DOCKERFILE),
    ]);
    let env = [("GITHUB_REF", "refs/heads/main"), ("COLUMNS", "200"), ("CHANNEL", "stable")];
    let config = tree.run_with(&["config"], &env).ended(0).stdout;
    expect![[r#"
        KEY VALUE FROM
        target staging git
        registry 000000000000.dkr.ecr.eu-west-0.amazonaws.com target `staging` in Cargo.toml
        prefix jobs default
        tag <sha> GITHUB_REF
        role arn:aws:iam::000000000000:role/jobs-push target `staging` in Cargo.toml
        environment - target `staging` in Cargo.toml
        region eu-west-0 target `staging` in Cargo.toml
        moving-tags latest target `staging` in Cargo.toml
        copies - target `staging` in Cargo.toml
        mirrors docker.io=000.0.0.0:0000 JOBS_MIRRORS
        min-free-gb 0 Cargo.toml
        timeouts build=0000 read=00 write=000 Cargo.toml"#]]
    .assert_eq(&words(&config).join("\n"));
    let discovered = tree.run_with(&["discover"], &env).ended(0).stdout;
    expect![[r#"
        ["apps/group/web-shop","apps/shop","jobs/report"]
    "#]]
    .assert_eq(&discovered);
}

/// The spans of code in a text.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn a_repository_is_moved_by_these_settings() {
    let readme = text_of(&root().join("README.md"));
    let rows = readme.lines().skip_while(|line| !line.contains("| Dockerfiles | built by | settings |")).skip(2);
    let mut settings = Vec::new();
    let mut count = 0;
    for row in rows.take_while(|line| line.trim_start().starts_with('|')) {
        let cells: Vec<&str> = row.trim().trim_matches('|').split('|').collect();
        let (path, command) = (spans(cells[0])[0], spans(cells[1])[0]);
        let (files, lines): (Vec<&str>, Vec<&str>) = spans(cells[2]).into_iter().partition(|it| !it.contains(" = "));
        settings = if cells[2].contains("the same") { settings } else { lines };
        let manifest = format!("[workspace]\n[workspace.metadata.jobs]\n{}\n", settings.join("\n"));
        // Only in the context that the command names, this file is there.
        let context = command.rsplit(' ').next().unwrap();
        let (dockerfile, mark) = ("FROM scratch\nCOPY of-the-context /\n", format!("{context}/of-the-context"));
        let tree = Tree::new(&[("Cargo.toml", &manifest), (path, dockerfile), (&mark, "")]);
        files.chunks(2).for_each(|file| tree.write(file[0], file[1]));
        tree.commit("settings");
        let plan = tree.run(&["plan", "--why", "vote"]).ended(0).stdout;
        assert!(plan.contains(mark.trim_start_matches("./")), "{row}\n{plan}");
        assert_eq!(tree.run(&["discover", "--format", "table"]).ended(0).stdout.lines().count(), 2, "{row}");
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn images_are_named_so() {
    let shown = example("README.md", "Configuration", 1);
    let target = "[workspace.metadata.jobs.targets.main]\nrefs = [\"refs/heads/main\"]\nmoving-tags = [\"latest\"]\n";
    let tree = Tree::new(&[("jobs/a/Dockerfile", DOCKERFILE), ("Cargo.toml", &format!("[workspace]\n{target}"))]);
    let reader = Reader::new(tree);
    reader.types(&format!("cargo xtask build {} && cargo xtask merge", BOTH.join(" ")));
    let named = |line: &str| {
        let name = line.split("  ").next().unwrap().strip_prefix("<registry>/<prefix>/<job>:").unwrap();
        let name = name.replace("<tag>", "<sha>").replace("<20 hex>", "<key>");
        ["amd64", "arm64"].map(|arch| name.replace("<arch>", arch))
    };
    let mut shown: Vec<String> = shown.lines().flat_map(named).collect();
    shown.sort();
    shown.dedup();
    let tags = reader.registry.tags("jobs/a");
    let mut tags: Vec<String> =
        tags.iter().map(|tag| without_digests(tag).replace(&reader.tree.tag(), "<sha>")).collect();
    tags.sort();
    assert_eq!(tags, shown);
}

#[test]
fn what_changes_one_job_is_planned_so() {
    let reader = Reader::new(Tree::of_this_repository());
    reader.types(&format!("cargo xtask build {} && cargo xtask merge", BOTH.join(" ")));
    let mut commands = 0;
    for part in example("README.md", "How it decides", 0).split("$ ").skip(1) {
        let (command, shown) = part.split_once('\n').unwrap();
        assert_eq!(plain(&reader.types(command)), plain(shown), "{command}");
        commands += 1;
    }
    assert_eq!(commands, 2);
}

#[test]
fn a_run_tells_what_it_builds() {
    let reader = Reader::new(Tree::with_jobs(&["a"]));
    let command = example("README.md", "What a run leaves behind", 0);
    // What people are told is not for jq.
    let said = reader.types(&format!("exec 2>/dev/null; {command}"));
    expect![[r#"
        a	amd64	built	nothing with these inputs is built
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_job_made_by_hand_builds() {
    let program = "#!/bin/sh\necho hello\n";
    let dockerfile = example("jobs/README.md", "Add a job", 0);
    let tree = Tree::new(&[("jobs/report/Dockerfile", &dockerfile), ("jobs/report/report.sh", program)]);
    let reader = Reader::new(tree);
    let image = format!("jobs/report:{}", reader.tree.tag());
    let _images = LocalImages(vec![image.clone()]);
    let said = reader.types(&format!("cargo xtask build --load report && docker run --rm {image}"));
    assert!(said.ends_with("\nhello\n"), "{said}");
}

#[test]
fn the_settings_of_a_job_are_some() {
    let settings = example("jobs/README.md", "Settings", 0);
    let value: Value = serde_json::from_str(&settings).unwrap();
    validate("job.schema.json", &[value]).unwrap();
    let allowed = "[workspace]\n[workspace.metadata.jobs.secrets]\nnpm_token = [\"report\"]\n";
    let tree = Tree::new(&[
        ("Cargo.toml", allowed),
        ("protos/a.proto", ""),
        ("jobs/report/job.json", &settings),
        ("jobs/report/Dockerfile.debug", "FROM busybox:1.37 AS release\nARG PROFILE\nRUN echo $PROFILE > /profile\n"),
    ]);
    std::fs::copy(root().join("jobs/job.schema.json"), tree.path().join("jobs/job.schema.json")).unwrap();
    tree.commit("settings");
    let planned = tree.run(&["plan", "--why", "report"]).ended(0).stdout;
    expect![[r#"
        report: build amd00, there is no registry to find images in
        key <key>

        WHAT NOW
        jobs/report/Dockerfile.debug 0000000
        jobs/report/job.json 0000000
        protos/a.proto 0000000
        argument PROFILE release
        context jobs/report
        stage release
        base busybox:0.00 000000000000"#]]
    .assert_eq(&words(&planned).join("\n"));
}

#[test]
fn the_jobs_here_run_alone() {
    let reader = Reader::new(Tree::of_this_repository());
    let jobs = ["job-a", "job-b", "job-c"];
    let _images = LocalImages(jobs.map(|job| format!("jobs/{job}:{}", reader.tree.tag())).to_vec());
    reader.types("cargo xtask build --load");
    reader.types("mkdir logs data audit && echo words > data/file && touch -d '30 days ago' logs/old.log");
    let commands = example("jobs/README.md", "Try a job alone", 0).replace("<tag>", &reader.tree.tag());
    let said = reader.types(&commands);
    assert_eq!(said.matches("\"event\":\"beat\"").count(), 3, "{said}");
    assert!(said.contains("\"job\":\"job-b\"") && said.contains("old.log"), "{said}");
    assert!(text_of(&reader.tree.path().join("audit/manifest")).contains("file"), "{said}");
}

/// The text of a file that has to be there.
fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
