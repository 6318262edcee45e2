//! The workflow itself, run on this machine by `act`, from a clean clone with jobs of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::cloud::{BEARER, Issuer, JWT, OWN_PASSWORD, Programs, path_with_client};
use crate::ecr_front::{Ecr, OWN_ACCOUNT, authorization};
use crate::harness::{DOCKERFILE, Run, TempDir, Tree, python_programs};
use crate::rules::PROPOSALS;
use crate::workflow::{self, images, root};

/// A repository on GitHub, as far as the workflow can tell, and the registry that its targets name.
pub struct Act {
    pub tree: Tree,
    pub ecr: Ecr,
    /// Who vouches for the jobs that may ask for it; here they all may, as `act` knows no permissions.
    pub issuer: Issuer,
    /// The repository's secrets.
    pub secrets: Vec<(&'static str, &'static str)>,
    /// What is handed from job to job, what logs in, and what `act` keeps.
    folder: TempDir,
    programs: Programs,
}

/// The targets: a branch's images and a release's go to different places of the registry. The roles are of moto's own
/// account: asked by many at once, it takes one for another, and each account has a password of its own.
const TARGETS: &str = r#"
[workspace.metadata.jobs.targets.staging]
refs = ["refs/heads/main"]
registry = "<registry>"
region = "eu-west-1"
role = "arn:aws:iam::123456789012:role/jobs-push"
moving-tags = ["latest"]
[workspace.metadata.jobs.targets.release]
refs = ["refs/tags/v*"]
registry = "<registry>"
region = "eu-west-1"
role = "arn:aws:iam::123456789012:role/jobs-release"
prefix = "releases"
"#;

impl Act {
    /// This repository, with these jobs in place of its own, whose repositories are made as `ecr ensure` makes them.
    pub fn with_jobs(jobs: &[&str]) -> Act {
        Act::new(jobs, TARGETS).with_repositories(jobs)
    }

    /// The same, with targets whose indexes GitHub attests.
    pub fn with_attestations(jobs: &[&str]) -> Act {
        Act::new(jobs, &TARGETS.replace("moving-tags", "attest = true\nmoving-tags")).with_repositories(jobs)
    }

    /// The same before anybody has made a repository.
    pub fn without_repositories(jobs: &[&str]) -> Act {
        Act::new(jobs, TARGETS)
    }

    fn with_repositories(self, jobs: &[&str]) -> Act {
        jobs.iter().for_each(|job| self.make_repositories(job));
        self
    }

    fn new(jobs: &[&str], targets: &str) -> Act {
        let ecr = Ecr::start();
        let mut files = of_this_repository();
        files.iter_mut().filter(|(path, _)| path == "Cargo.toml").for_each(|(_, text)| {
            text.push_str(&targets.replace("<registry>", ecr.address()));
        });
        // `act` takes no `queue` yet, and has no run wait for another.
        files.iter_mut().filter(|(path, _)| path.ends_with("/images.yml")).for_each(|(_, text)| {
            *text = workflow::replaced(text, "      queue: max\n", "");
        });
        files.extend(jobs.iter().map(|job| (format!("jobs/{job}/Dockerfile"), DOCKERFILE.to_owned())));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let act = Act {
            tree: Tree::new(&files),
            ecr,
            issuer: Issuer::start(),
            secrets: Vec::new(),
            folder: TempDir::new(),
            programs: Programs::new().script("gh", GH),
        };
        for (action, script) in STAND_INS {
            let folder = act.folder.0.join(action);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("action.yml"), script).unwrap();
        }
        std::fs::create_dir_all(act.folder.0.join("artifacts")).unwrap();
        act.tree.git(&["remote", "add", "origin", act.tree.path().to_str().unwrap()]);
        act.push();
        act
    }

    /// Makes the repositories of a job.
    pub fn make_repositories(&self, job: &str) {
        for prefix in ["jobs", "releases"] {
            self.ecr.make(&format!("{prefix}/{job}"), "IMMUTABLE_WITH_EXCLUSION", &["latest", "key-*"]);
        }
    }

    /// Makes the branch what the remote repository has too.
    pub fn push(&self) {
        self.tree.git(&["fetch", "--quiet", "origin", "main"]);
    }

    /// Runs the workflow for an event, on a machine whose engine is like that of GitHub's runners.
    pub fn run(&self, event: &str, payload: &Value) -> Report {
        // Each run uses all of this machine.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let turns = if PROPOSALS.contains(&event) { ONE_STEP_AT_A_TIME } else { ONE_SETUP_AT_A_TIME };
        std::fs::write(self.folder.0.join("first.sh"), format!("{turns}{LIKE_A_RUNNER}")).unwrap();
        let event_file = self.folder.0.join("event.json");
        std::fs::write(&event_file, payload.to_string()).unwrap();
        let mut command = on_a_machine_of_its_own(&self.folder.0.join("machine"));
        command
            .arg(python_programs().join("act"))
            .arg(event)
            .args(["--json", "--workflows", ".github/workflows/images.yml", "--eventpath"])
            .arg(event_file);
        command.args(["--action-offline-mode", "--no-cache-server", "--pull=false"]);
        for label in ["ubuntu-24.04", "ubuntu-24.04-arm"] {
            command.args(["--platform", &format!("{label}=-self-hosted")]);
        }
        for (action, _) in STAND_INS {
            let folder = self.folder.0.join(action);
            command.args(["--local-repository", &format!("{}={}", used_as(action), folder.display())]);
        }
        // As act hides secrets in what it shows, it could not be seen whether they are there.
        command.arg("--insecure-secrets");
        for (name, value) in &self.secrets {
            command.args(["--secret", &format!("{name}={value}")]);
        }
        for (name, value) in self.environment() {
            command.args(["--env", &format!("{name}={value}")]);
        }
        for name in std::env::vars().map(|(name, _)| name).filter(|name| of_this_run(name)) {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.folder.0.join("cache")).env("XDG_CONFIG_HOME", self.folder.0.join("config"));
        let output = command.current_dir(self.tree.path()).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let basic = authorization(OWN_ACCOUNT).replace("Basic ", "");
        let own = self.secrets.iter().map(|(_, value)| *value);
        let secret = [OWN_PASSWORD.0, &basic, JWT, BEARER].into_iter().chain(own).find(|secret| text.contains(secret));
        assert_eq!(secret, None, "a secret is in the log");
        Report { succeeded: output.status.success(), lines: text.lines().map(line).collect() }
    }

    /// A push of the current commit to the branch.
    pub fn run_push(&self) -> Report {
        self.run("push", &json!({ "ref": "refs/heads/main" }))
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mirrors = std::env::var("JOBS_MIRRORS").into_iter().map(|mirrors| ("JOBS_MIRRORS", mirrors));
        let own = [
            ("RUNNER_ENVIRONMENT", "github-hosted".to_owned()),
            // One runner is all there is, and its login must not become this machine's.
            ("JOBS_EMULATE", "true".to_owned()),
            ("DOCKER_CONFIG", shown(self.folder.0.join("docker"))),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", self.issuer.url.clone()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", BEARER.to_owned()),
            ("AWS_ENDPOINT_URL", self.ecr.url()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("PATH", self.programs.first()),
            ("GITHUB_REPOSITORY", "acme/jobs".to_owned()),
            ("BASH_ENV", shown(self.folder.0.join("first.sh"))),
            ("TEST_ARTIFACTS", shown(self.folder.0.join("artifacts"))),
            // Dependencies are compiled once for all runs; the program itself is compiled in each.
            ("CARGO_BUILD_BUILD_DIR", shown(Path::new(env!("CARGO_TARGET_TMPDIR")).join("act"))),
        ];
        own.into_iter().chain(mirrors).collect()
    }

    /// Whether GitHub attests anything.
    pub fn set_attestations(&self, work: bool) {
        let mark = self.folder.0.join("artifacts/no-attestations");
        if work { std::fs::remove_file(mark).unwrap() } else { std::fs::write(mark, "").unwrap() }
    }

    /// Runs the program beside the workflow, with the registry's password.
    pub fn xtask(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let config = self.folder.0.join("docker-of-the-test");
        std::fs::create_dir_all(&config).unwrap();
        let basic = authorization(OWN_ACCOUNT).replace("Basic ", "");
        let login = json!({ "auths": { self.ecr.address(): { "auth": basic } } });
        std::fs::write(config.join("config.json"), login.to_string()).unwrap();
        self.tree.run_with(args, &[env, &[("DOCKER_CONFIG", config.to_str().unwrap())]].concat())
    }

    /// The digest that a tag points to; `None` if there is no such tag.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        self.ecr.digest(repository, tag)
    }

    /// What the index under a tag lists.
    pub fn images(&self, repository: &str, tag: &str) -> Value {
        self.ecr.index(repository, tag)["manifests"].clone()
    }

    /// The jobs that were handed over, with whether they changed, from all artifacts of that kind.
    pub fn handed_over(&self) -> BTreeMap<String, bool> {
        let folders = std::fs::read_dir(self.folder.0.join("artifacts")).unwrap().flatten().map(|entry| entry.path());
        let files = folders.filter_map(|folder| std::fs::read_to_string(folder.join("images.json")).ok());
        let images = files.flat_map(|text| {
            let parts: Value = serde_json::from_str(&text).unwrap();
            parts["images"].as_array().unwrap().clone()
        });
        images.map(|image| (image["job"].as_str().unwrap().to_owned(), image["changed"] == true)).collect()
    }
}

/// A command that runs the one of its further arguments beside an engine of its own, in the classic store, which is
/// where every program looks for an engine. Its folder is gone when the command ends.
fn on_a_machine_of_its_own(folder: &Path) -> Command {
    let id = |flag| String::from_utf8(Command::new("id").arg(flag).output().unwrap().stdout).unwrap().trim().to_owned();
    let (user, group, process) = (id("-u"), id("-g"), std::process::id());
    let mut command = Command::new(if user == "0" { "env" } else { "sudo" });
    if user != "0" {
        // `sudo` has a path of its own.
        command.args(["--non-interactive", "--preserve-env", "env", &format!("PATH={}", path_with_client())]);
    }
    // It ends with whoever started it, however that ends.
    command.args(["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child=TERM"]);
    command.args(["--mount", "--propagation", "private", "--pid", "--mount-proc"]);
    command.arg("sh").arg(root().join("xtask/tests/workflows/machine.sh")).arg(folder);
    // Of addresses that are for tests of network devices (RFC 2544).
    command.args([&format!("act-{process}"), &format!("198.19.{}.1/24", process % 256), &user, &group]);
    command
}

/// What every step's shell does first. `act` closes a step's terminal as soon as the shell ends, now and then before it
/// has read the last lines.
const LIKE_A_RUNNER: &str = "trap 'sleep 0.3' EXIT\n";
/// The same for what restarts the engine, which every leg has to itself on a runner.
const ONE_SETUP_AT_A_TIME: &str = "\
if [ -z \"$TEST_HAS_TURN\" ] && grep -q 'setup --ci' \"$0\"; then
  export TEST_HAS_TURN=yes
  exec flock --close \"$TEST_ARTIFACTS/turn\" bash -e -o pipefail \"$0\"
fi
";
/// The same for what is only built, one step at a time: its legs load images into the one engine of this machine, where
/// both architectures have one name, and the engine refuses the second of two that come at once.
const ONE_STEP_AT_A_TIME: &str = "\
if [ -z \"$TEST_HAS_TURN\" ]; then
  export TEST_HAS_TURN=yes
  exec flock --close \"$TEST_ARTIFACTS/turn\" bash -e -o pipefail \"$0\"
fi
";

/// The files of this repository as they are now, without its jobs.
fn of_this_repository() -> Vec<(String, String)> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root()).output().unwrap();
    let paths = String::from_utf8(output.stdout).unwrap();
    let paths = paths.split('\0').filter(|path| !path.is_empty() && !path.starts_with("jobs/"));
    paths.filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?))).collect()
}

/// Variables of the test's own run, none of which a runner would have.
fn of_this_run(name: &str) -> bool {
    let of_cargo = name == "CARGO" || (name.starts_with("CARGO_") && name != "CARGO_HOME");
    of_cargo
        || ["JOBS_", "GITHUB_", "AWS_", "ACTIONS_"].iter().any(|of| name.starts_with(of))
        || name == "LD_LIBRARY_PATH"
}

/// The actions that need GitHub's servers. What they lose, a file's mode, these lose too. The attestation is a file with
/// the signer and the subjects; it is refused for a subject that a moving tag already points to.
const STAND_INS: [(&str, &str); 3] = [
    (
        "actions/attest",
        r#"
name: attest
description: Lists the subjects in a file
inputs: { subject-checksums: { required: true } }
outputs: { bundle-path: { value: "${{ steps.attest.outputs.bundle-path }}" } }
runs:
  using: composite
  steps:
    - id: attest
      shell: bash
      env: { SUBJECTS: "${{ inputs.subject-checksums }}" }
      run: |
        bundle="$TEST_ARTIFACTS/attestation-$(date +%s%N).json"
        echo "bundle-path=$bundle" >>"$GITHUB_OUTPUT"
        if [ -e "$TEST_ARTIFACTS/no-attestations" ]; then exit 1; fi
        echo "https://github.com/$GITHUB_REPOSITORY/.github/workflows/images.yml@$GITHUB_REF" >"$bundle"
        while read -r hex name; do
          found=$(docker buildx imagetools inspect "$name:latest" --format '{{json .Manifest.Digest}}' 2>&1 || true)
          case "$found" in
            *"$hex"*) echo "$name:latest is at what is not attested yet"; exit 1 ;;
            '"sha256:'*|*"not found"*) echo "sha256:$hex  $name" >>"$bundle" ;;
            *) echo "$found"; exit 1 ;;
          esac
        done <"$SUBJECTS"
"#,
    ),
    (
        "actions/upload-artifact",
        r#"
name: upload-artifact
description: Copies a file or a folder's files into a folder
inputs: { name: { required: true }, path: { required: true }, if-no-files-found: {}, retention-days: {}, overwrite: {} }
runs:
  using: composite
  steps:
    - shell: bash
      env: { NAME: "${{ inputs.name }}", FILE: "${{ inputs.path }}", MISSING: "${{ inputs.if-no-files-found }}" }
      run: |
        [ -e "$FILE" ] || [ "$MISSING" != ignore ] || exit 0
        mkdir -p "$TEST_ARTIFACTS/$NAME"
        find "$FILE" -type f | while read -r file; do
          install -m 644 "$file" "$TEST_ARTIFACTS/$NAME/.$$"
          mv "$TEST_ARTIFACTS/$NAME/.$$" "$TEST_ARTIFACTS/$NAME/$(basename "$file")"
        done
"#,
    ),
    (
        "actions/download-artifact",
        r#"
name: download-artifact
description: Copies the files back
inputs: { name: { required: true }, path: { required: true } }
runs:
  using: composite
  steps:
    - shell: bash
      env: { NAME: "${{ inputs.name }}", FOLDER: "${{ inputs.path }}" }
      run: mkdir -p "$FOLDER" && cp "$TEST_ARTIFACTS/$NAME"/* "$FOLDER/"
"#,
    ),
];

/// gh, as far as it would have to reach GitHub: it checks that the file is what the stand-in of `actions/attest` wrote.
const GH: &str = r#"
if [ "$1" = --version ]; then PATH="${PATH#*:}"; exec gh "$@"; fi
test "$1 $2 $4 $5 $6 $8 $#" = "attestation verify --repo acme/jobs --cert-identity-regex --bundle 9" || exit 2
name="${3#oci://}"
head -n 1 "$9" | grep -qP -e "$7" && grep -qx "${name#*@}  ${name%@*}" "$9"
"#;

/// An action as the workflow names it, with its commit.
fn used_as(action: &str) -> String {
    let images = images();
    let mut uses = images.steps().filter_map(|(_, step)| step["uses"].as_str());
    uses.find(|used| used.starts_with(action)).unwrap_or_else(|| panic!("no step uses {action}")).to_owned()
}

fn line(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "msg": text }))
}

/// What a run of the workflow left.
pub struct Report {
    pub succeeded: bool,
    lines: Vec<Value>,
}

impl Report {
    /// The run, if the required check ended like this: `success` or `failure`.
    #[track_caller]
    pub fn checked(self, result: &str) -> Report {
        let check = self.lines.iter().find(|line| line["jobID"] == "images" && line.get("jobResult").is_some());
        assert_eq!(check.map(|line| &line["jobResult"]), Some(&json!(result)), "{}", self.said());
        assert_eq!(self.succeeded, result == "success", "{}", self.said());
        self
    }

    /// The jobs that ran, sorted.
    pub fn jobs(&self) -> Vec<&str> {
        let ran: BTreeSet<&str> = self
            .lines
            .iter()
            .filter(|line| line.get("stepResult").is_some())
            .filter_map(|line| line["jobID"].as_str())
            .collect();
        ran.into_iter().collect()
    }

    /// How a step ended in each leg of a job, by the leg's name.
    pub fn legs(&self, job: &str, step: &str) -> BTreeMap<&str, &str> {
        let ended =
            self.lines.iter().filter(|line| line["jobID"] == job && line["step"] == step && line["stage"] == "Main");
        ended.filter_map(|line| Some((line["matrix"]["name"].as_str()?, line["stepResult"].as_str()?))).collect()
    }

    /// The names of the steps that ran, sorted.
    pub fn steps(&self) -> BTreeSet<&str> {
        let ran = self.lines.iter().filter(|line| line["stage"] == "Main" && line.get("stepResult").is_some());
        ran.filter_map(|line| line["step"].as_str()).collect()
    }

    /// The workflow commands that steps gave, such as annotations, as they were printed.
    pub fn commands(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line["raw"].as_str()).map(str::trim_end).collect()
    }

    /// What steps printed, for a test that failed.
    pub fn said(&self) -> String {
        let said = self.lines.iter().map(|line| {
            let text = line["msg"].as_str().unwrap_or_default().trim_end();
            format!("[{}] {text}\n", line["job"].as_str().unwrap_or_default().trim_end())
        });
        said.collect()
    }
}
