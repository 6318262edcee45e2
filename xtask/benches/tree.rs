//! Generated repositories: a number of small jobs, committed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::suite::{Folder, Suite, program, read};

/// What a job's Dockerfile does with its one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Copies it: nothing runs, so nothing is emulated.
    Copy,
    /// Copies it, and runs a program over it.
    Run,
}

/// A repository with jobs, gone when this is dropped.
pub struct Tree {
    dir: Folder,
    jobs: Vec<String>,
}

impl Tree {
    /// A committed repository of so many jobs over a base image.
    ///
    /// # Errors
    /// It cannot be written, or git fails.
    pub fn new(suite: &Suite, name: &str, jobs: usize, base: &str, content: Content) -> anyhow::Result<Tree> {
        let jobs: Vec<String> = (1..=jobs).map(|number| format!("j{number:05}")).collect();
        let tree = Tree { dir: suite.folder(name)?, jobs };
        tree.write(
            "Cargo.toml",
            "[workspace]\nmembers = []\nresolver = \"3\"\n\n[workspace.metadata.jobs]\nprefix = \"jobs\"\n",
        )?;
        tree.write(".gitignore", "/target\n/Cargo.lock\n")?;
        tree.write(".dockerignore", ".git\ntarget\n")?;
        for job in &tree.jobs {
            let run = if content == Content::Run { "RUN sha256sum /job/data.txt >/job/sum.txt\n" } else { "" };
            let dockerfile =
                format!("FROM {base}\nCOPY jobs/{job}/data.txt /job/data.txt\n{run}CMD [\"cat\", \"/job\"]\n");
            tree.write(&format!("jobs/{job}/Dockerfile"), &dockerfile)?;
            tree.write(&format!("jobs/{job}/data.txt"), &format!("{job}\n"))?;
        }
        tree.git(&["init", "--quiet", "--initial-branch=main"])?;
        tree.commit("Add the jobs")?;
        Ok(tree)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The names of the jobs, as a command takes them.
    pub fn jobs(&self) -> Vec<&str> {
        self.jobs.iter().map(String::as_str).collect()
    }

    /// Writes a file, and the folders that it stands in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path: PathBuf = self.path().join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// Commits everything.
    ///
    /// # Errors
    /// git fails.
    pub fn commit(&self, message: &str) -> anyhow::Result<()> {
        self.git(&["add", "--all"])?;
        let name = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"];
        self.git(&[&name[..], &["commit", "--quiet", "--message", message]].concat()).map(drop)
    }

    /// Changes what every job copies, and commits it: every image has to be built.
    ///
    /// # Errors
    /// A file cannot be written, or git fails.
    pub fn change_all(&self, turn: &str) -> anyhow::Result<()> {
        for job in &self.jobs {
            self.write(&format!("jobs/{job}/data.txt"), &format!("{job} {turn}\n"))?;
        }
        self.commit(turn)
    }

    /// Changes a file that no job uses, and commits it: a push that changes no image.
    ///
    /// # Errors
    /// The file cannot be written, or git fails.
    pub fn change_none(&self, turn: &str) -> anyhow::Result<()> {
        self.write("NOTES.md", &format!("{turn}\n"))?;
        self.commit(turn)
    }

    /// The tag that this tool gives the images of the commit.
    ///
    /// # Errors
    /// git fails.
    pub fn tag(&self) -> anyhow::Result<String> {
        let mut commit = self.commit_id()?;
        commit.truncate(7);
        Ok(commit)
    }

    /// The commit, with all its digits.
    ///
    /// # Errors
    /// git fails.
    pub fn commit_id(&self) -> anyhow::Result<String> {
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = program("git", self.path());
        command.args(args);
        read(command)
    }
}
