//! The proof that a command has changed nothing: files of the tree, and what the registry holds.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::harness::{Registry, Run, Tree};

/// What is no sign of work: what git keeps of the tree, logs, the record of the run, and the list that also says that
/// nothing was published.
const LEFT: [&str; 4] = [".git", "target/xtask/logs", "target/xtask/run.json", "target/xtask/images.json"];

/// Files and what they hold.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A tree and a registry as they were before a command.
pub struct Untouched {
    tree: Files,
    registry: Files,
}

impl Untouched {
    pub fn now(tree: &Tree, registry: Option<&Registry>) -> Untouched {
        Untouched { tree: files(tree.path()), registry: registry.map(contents).unwrap_or_default() }
    }

    /// Nothing was printed, built, pushed or moved, and nothing is left but logs, the record, and the list of what was published.
    #[track_caller]
    pub fn check(&self, tree: &Tree, registry: Option<&Registry>, run: &Run) {
        assert_eq!(run.stdout, "", "stdout is for results, and there are none");
        assert!(!run.stderr.contains("Building"), "nothing may be built:\n{}", run.stderr);
        assert_eq!(changed(&self.tree, &files(tree.path())), [] as [&Path; 0], "nothing may be left but logs");
        let registry = registry.map(contents).unwrap_or_default();
        assert_eq!(changed(&self.registry, &registry), [] as [&Path; 0], "nothing may be pushed or moved");
    }
}

fn contents(registry: &Registry) -> Files {
    files(&registry.images())
}

/// The paths at which two listings differ.
fn changed<'a>(before: &'a Files, after: &'a Files) -> Vec<&'a Path> {
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    paths.filter(differs).map(PathBuf::as_path).collect()
}

fn files(folder: &Path) -> Files {
    let mut files = Files::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if LEFT.iter().any(|left| path.ends_with(left)) {
            continue;
        }
        if kind.is_dir() {
            files.extend(self::files(&path));
        } else if kind.is_file() {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        } else {
            files.insert(path, Vec::new());
        }
    }
    files
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry in which `latest` of the job `job` points to something.
pub fn registry() -> Registry {
    let registry = Registry::start();
    let index = format!(r#"{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": []}}"#);
    put(&registry, "jobs/job", "latest", INDEX, &index);
    registry
}

/// Puts a manifest into a registry as it is.
pub fn put(registry: &Registry, repository: &str, tag: &str, media_type: &str, manifest: &str) {
    let mut stream = TcpStream::connect(&registry.address).unwrap();
    write!(
        stream,
        "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{manifest}",
        registry.address,
        manifest.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
