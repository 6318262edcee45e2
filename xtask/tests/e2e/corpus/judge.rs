//! BuildKit's verdict: which files an image holds, for many states of one tree at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{TempDir, docker_command, mirrors};

/// The file tree of an image: paths, modes, and digests or the targets of links. Times do not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image(String);

impl Image {
    /// The image whose files were exported to a folder.
    pub fn read(folder: &Path) -> Image {
        let mut list = String::new();
        for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(folder).unwrap();
            let mode = entry.path().symlink_metadata().unwrap().permissions().mode();
            let content = if entry.file_type().is_symlink() {
                std::fs::read_link(entry.path()).unwrap().display().to_string()
            } else if entry.file_type().is_file() {
                let digest = Sha256::digest(std::fs::read(entry.path()).unwrap());
                digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            } else {
                String::new()
            };
            writeln!(list, "{path:?} {mode:o} {content}").unwrap();
        }
        Image(list)
    }

    /// The lines that only one of two images has.
    pub fn difference(&self, other: &Image) -> String {
        let only = |a: &Image, b: &Image, sign: &str| -> String {
            let lines = a.0.lines().filter(|line| !b.0.lines().any(|other| other == *line));
            lines.map(|line| format!("\n      {sign} {line}")).collect()
        };
        only(self, other, "-") + &only(other, self, "+")
    }
}

/// Copies of a tree in different states, and what is built from them.
pub struct States {
    dir: TempDir,
    /// `job.json`: the build arguments and the stage.
    settings: Value,
    pub builds: usize,
    count: usize,
}

impl States {
    pub fn new(settings: Value) -> States {
        States { dir: TempDir::new(), settings, builds: 0, count: 0 }
    }

    /// Keeps a copy of the tree as it is.
    pub fn keep(&mut self, tree: &Path, leave_out: &[&str]) {
        let copy = self.dir.0.join(self.count.to_string());
        self.count += 1;
        let entries = walkdir::WalkDir::new(tree).into_iter();
        for entry in entries
            .filter_entry(|entry| !(entry.depth() == 1 && leave_out.iter().any(|name| entry.file_name() == *name)))
        {
            let entry = entry.unwrap();
            let to = copy.join(entry.path().strip_prefix(tree).unwrap());
            match entry.file_type() {
                kind if kind.is_dir() => std::fs::create_dir_all(to).unwrap(),
                kind if kind.is_symlink() => symlink(std::fs::read_link(entry.path()).unwrap(), to).unwrap(),
                _ => drop(std::fs::copy(entry.path(), to).unwrap()),
            }
        }
    }

    /// Builds everything that was kept: the image of each state, or why BuildKit refuses it.
    ///
    /// One call of `bake` builds all states, which takes a tenth of the time of as many builds. Where one fails it
    /// cancels the others, so they are built one by one then.
    pub fn build(&mut self) -> Vec<Result<Image, String>> {
        let states: Vec<String> = (0..self.count).map(|state| state.to_string()).collect();
        self.builds += states.len();
        if self.bake(&states).is_ok() {
            return states.iter().map(|state| Ok(Image::read(&self.out(state)))).collect();
        }
        let one = |state: &String| self.bake(std::slice::from_ref(state)).map(|()| Image::read(&self.out(state)));
        let mut images = vec![one(&states[0])];
        // What is refused as it is needs no changes.
        let rest = states.iter().skip(1).take_while(|_| images[0].is_ok()).map(one).collect::<Vec<_>>();
        images.extend(rest);
        images
    }

    fn out(&self, state: &str) -> PathBuf {
        self.dir.0.join("out").join(state)
    }

    fn bake(&self, states: &[String]) -> Result<(), String> {
        let targets: BTreeMap<String, Value> = states
            .iter()
            .map(|state| {
                let _ = std::fs::remove_dir_all(self.out(state));
                (format!("state-{state}"), self.target(state))
            })
            .collect();
        let names: Vec<&String> = targets.keys().collect();
        let file = self.dir.0.join("bake.json");
        std::fs::write(&file, json!({ "target": targets }).to_string()).unwrap();
        let output = docker_command()
            .args(["buildx", "bake", "--allow", "fs=*", "--progress", "plain", "--file"])
            .arg(&file)
            .args(names)
            .env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
            .current_dir(&self.dir.0)
            .output()
            .expect("docker is needed: run `cargo xtask setup`");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
        }
    }

    /// What `docker buildx build -f jobs/job/Dockerfile .` would build, with the arguments and the stage of `job.json`.
    fn target(&self, state: &str) -> Value {
        let mut target = json!({
            "context": state,
            "dockerfile": "jobs/job/Dockerfile",
            "output": [format!("type=local,dest={}", self.out(state).display())],
        });
        if let Some(args) = self.settings.get("args").and_then(Value::as_object) {
            // In the strings of a bake file, `${…}` is an expression.
            let args = args.iter().map(|(name, value)| {
                (name.clone(), Value::from(value.as_str().unwrap().replace("${", "$${").replace("%{", "%%{")))
            });
            target["args"] = args.collect();
        }
        if let Some(stage) = self.settings.get("target") {
            target["target"] = stage.clone();
        }
        let mirror = mirrors().trim_start_matches("docker.io=").to_owned();
        if !mirror.is_empty() {
            let image = format!("docker-image://{mirror}/library/busybox:1.37");
            target["contexts"] = json!({ "busybox:1.37": image });
        }
        target
    }
}
