//! The format of `tests/corpus/*.txt`, which `tests/corpus/README.md` describes.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Dockerfile, the files around it, and what is expected beside BuildKit's verdict.
pub struct Case {
    pub name: String,
    /// Files that are hashed although they do not reach the image, each with the reason.
    pub counts_anyway: BTreeMap<String, String>,
    /// Why all of the context counts, if it does.
    pub whole_context: Option<String>,
    /// Why the program refuses what BuildKit builds, if it does.
    pub refused: Option<String>,
    /// Images that the Dockerfile builds from, by name: Dockerfiles without a context.
    pub images: Vec<(String, String)>,
    pub files: Vec<File>,
    /// Files that are not there at first.
    pub added: Vec<File>,
}

pub struct File {
    pub path: String,
    content: Content,
}

enum Content {
    Text(String),
    Link {
        target: String,
        changed: String,
    },
    /// An archive with one file of this text.
    Archive(String),
}

/// What was changed in a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    First,
    Changed,
}

impl Case {
    /// The cases of a folder, sorted by name. `addresses` replaces words such as `@registry@`.
    pub fn read_all(folder: &Path, addresses: &[(&str, &str)]) -> Vec<Case> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        paths.sort();
        let read = |path: &PathBuf| {
            let mut text = std::fs::read_to_string(path).unwrap();
            for (word, address) in addresses {
                text = text.replace(word, address);
            }
            Case::parse(path.file_stem().unwrap().to_str().unwrap(), &text)
        };
        paths.iter().map(read).collect()
    }

    fn parse(name: &str, text: &str) -> Case {
        let mut case = Case {
            name: name.to_owned(),
            counts_anyway: BTreeMap::new(),
            whole_context: None,
            refused: None,
            images: Vec::new(),
            files: Vec::new(),
            added: Vec::new(),
        };
        let (mut head, mut body) = (None, String::new());
        for line in text.lines() {
            match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
                Some(next) => {
                    case.section(head.replace(next), &body);
                    body.clear();
                }
                None => body.extend([line, "\n"]),
            }
        }
        case.section(head, &body);
        assert!(!case.files.is_empty(), "{name}: no files");
        case
    }

    fn section(&mut self, head: Option<&str>, body: &str) {
        let Some(head) = head else { return self.introduction(body) };
        if let Some(image) = head.strip_prefix("image ") {
            self.images.push((image.to_owned(), body.to_owned()));
        } else if let Some(head) = head.strip_prefix("+ ") {
            self.added.push(File::parse(head, body));
        } else {
            self.files.push(File::parse(head, body));
        }
    }

    fn introduction(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("counts anyway: ") {
                let (path, reason) = name_and_rest(rest);
                let reason = reason.strip_prefix(": ").expect("`counts anyway: <path>: <reason>`");
                self.counts_anyway.insert(path, reason.to_owned());
            } else if let Some(reason) = line.strip_prefix("whole context: ") {
                self.whole_context = Some(reason.to_owned());
            } else if let Some(reason) = line.strip_prefix("refused by the program: ") {
                self.refused = Some(reason.to_owned());
            }
        }
    }
}

impl File {
    /// `path`, `path (crlf)`, `path -> target | other target`; a path with blanks is quoted as in JSON.
    fn parse(head: &str, body: &str) -> File {
        let (path, rest) = name_and_rest(head);
        let content = match rest.trim() {
            "" => Content::Text(body.to_owned()),
            "(no newline)" => Content::Text(body.trim_end_matches('\n').to_owned()),
            "(crlf)" => Content::Text(body.replace('\n', "\r\n")),
            "(bom)" => Content::Text(format!("\u{feff}{body}")),
            "(archive)" => Content::Archive(body.to_owned()),
            rest => {
                let (target, changed) = rest.strip_prefix("-> ").and_then(|rest| rest.split_once(" | ")).expect(head);
                Content::Link { target: target.to_owned(), changed: changed.to_owned() }
            }
        };
        File { path, content }
    }

    pub fn is_link(&self) -> bool {
        matches!(self.content, Content::Link { .. })
    }

    /// Puts the file into a tree.
    pub fn write(&self, tree: &Path, version: Version) {
        let path = tree.join(&self.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        match &self.content {
            Content::Text(text) if version == Version::First => std::fs::write(&path, text).unwrap(),
            Content::Text(text) => std::fs::write(&path, self.changed(text)).unwrap(),
            Content::Link { target, changed } => {
                symlink(if version == Version::First { target } else { changed }, &path).unwrap();
            }
            Content::Archive(text) => {
                archive(&path, &if version == Version::First { text.clone() } else { format!("{text}changed\n") });
            }
        }
    }

    /// Takes the file out of a tree, and the folders that it leaves empty: git knows of no empty folders.
    pub fn remove(&self, tree: &Path) {
        let path = tree.join(&self.path);
        std::fs::remove_file(&path).unwrap();
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != tree);
        folders.take_while(|folder| std::fs::remove_dir(folder).is_ok()).for_each(drop);
    }

    /// Another text that means the same to whoever reads it, except for Dockerfiles: what they build changes too.
    fn changed(&self, text: &str) -> String {
        let name = self.path.rsplit('/').next().unwrap();
        match name {
            _ if name.ends_with("Dockerfile") => format!("{text}\nWORKDIR /changed\n"),
            "Cargo.toml" | ".gitignore" => format!("{text}\n# changed\n"),
            "job.json" => format!("{text}\n"),
            _ if name.ends_with(".dockerignore") => format!("{text}\n# changed\n"),
            _ => format!("{text}changed\n"),
        }
    }

    /// Turns the executable bit.
    pub fn turn_executable(&self, tree: &Path) {
        let path = tree.join(&self.path);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode ^ 0o111)).unwrap();
    }
}

/// The name that a text begins with, quoted or not, and what follows.
fn name_and_rest(text: &str) -> (String, &str) {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = values.next().unwrap().unwrap_or_else(|error| panic!("{text}: {error}"));
        return (name, &text[values.byte_offset()..]);
    }
    let end = [": ", " "].iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

fn archive(path: &Path, text: &str) {
    let folder = crate::harness::TempDir::new();
    std::fs::write(folder.0.join("inside.txt"), text).unwrap();
    let compressed = if path.extension().is_some_and(|extension| extension == "gz") { "-czf" } else { "-cf" };
    let output = Command::new("tar")
        .arg("--mtime=@0")
        .arg(compressed)
        .arg(path)
        .arg("-C")
        .arg(&folder.0)
        .arg("inside.txt")
        .output();
    let output = output.expect("tar is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
