//! Two jobs that are published: built once for all of the tests, and copied for each of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::cloud::PLAIN_PASSWORD;
use crate::harness::{BOTH, Registry, Run, TempDir, Tree, free_port, mirrors};

/// The folder with the commit, `tree`, and what a registry holds after it was published, `data`.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("published");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (registry, tree) = (Registry::start(), Tree::with_jobs(&["a", "b"]));
        let env = [("JOBS_REGISTRY", registry.address.as_str())];
        tree.run_with(&[&["build"], &BOTH[..]].concat(), &env).ended(0);
        tree.run_with(&["merge"], &env).ended(0);
        copy(&registry.images(), &folder.join("data"));
        copy(&tree.path().join(".git"), &folder.join("tree"));
        folder
    })
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success(), "{}", from.display());
}

/// The commit that is published.
pub fn tree() -> Tree {
    Tree::copy_of(&folder().join("tree"))
}

/// The data folder of a registry that holds its images.
pub fn data() -> TempDir {
    let data = TempDir::new();
    copy(&folder().join("data"), &data.0.join("data"));
    data
}

/// A registry that holds its images; `more` as in [`Registry::configured`].
pub fn registry(more: &str) -> Registry {
    Registry::configured(data(), &format!("127.0.0.1:{}", free_port()), more)
}

/// The same, for [`USER`] with [`PLAIN_PASSWORD`] alone.
pub fn registry_with_login() -> Registry {
    registry_with_hash(PLAIN_PASSWORD.1)
}

/// The same, with another password; the hash is one of bcrypt's.
pub fn registry_with_hash(hash: &str) -> Registry {
    for_user(data(), hash, "")
}

/// A registry on a data folder that lets [`USER`] in alone; `more` as in [`Registry::configured`].
pub fn for_user(data: TempDir, hash: &str, more: &str) -> Registry {
    let file = data.0.join("htpasswd");
    std::fs::write(&file, format!("{USER}:{hash}\n")).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: \"{}\"}}}}\n{more}", file.display());
    Registry::configured(data, &format!("127.0.0.1:{}", free_port()), &auth)
}

/// The data folder of a registry that holds the base of the jobs, too.
pub fn data_with_base() -> TempDir {
    let registry = registry("");
    let mirrors = mirrors();
    let source = mirrors.split(',').find_map(|entry| entry.strip_prefix("docker.io=")).unwrap_or("docker.io");
    let target = format!("{}/library/busybox:1.37", registry.address);
    let source = format!("{source}/library/busybox:1.37");
    crate::harness::copy_image(&source, &target);
    let data = TempDir::new();
    copy(&registry.images(), &data.0.join("data"));
    data
}

/// Takes the tags back that `merge` made.
pub fn unmerge(registry: &Registry, tree: &Tree) {
    for job in ["jobs/a", "jobs/b"] {
        for tag in registry.tags(job) {
            if tag == tree.tag() || tag.starts_with("key-") {
                registry.delete(job, &tag);
            }
        }
    }
}

/// The one who may read.
pub const USER: &str = "me";

/// A folder with docker's configuration.
pub struct DockerConfig(TempDir);

impl DockerConfig {
    pub fn of(config: &serde_json::Value) -> DockerConfig {
        let folder = TempDir::new();
        std::fs::write(folder.0.join("config.json"), config.to_string()).unwrap();
        DockerConfig(folder)
    }

    /// Nobody has logged in.
    pub fn empty() -> DockerConfig {
        DockerConfig::of(&serde_json::json!({}))
    }

    /// With a password for a registry, as `docker login` keeps it without a helper.
    pub fn with_password(registry: &str, user: &str, password: &str) -> DockerConfig {
        let auth = base64(format!("{user}:{password}").as_bytes());
        DockerConfig::of(&serde_json::json!({ "auths": { registry: { "auth": auth } } }))
    }

    pub fn path(&self) -> &Path {
        &self.0.0
    }

    /// Runs the program with it.
    pub fn run(&self, tree: &Tree, registry: &str, args: &[&str]) -> Run {
        self.run_with(tree, registry, args, &[])
    }

    pub fn run_with(&self, tree: &Tree, registry: &str, args: &[&str], more: &[(&str, &str)]) -> Run {
        let own = [("JOBS_REGISTRY", registry), ("DOCKER_CONFIG", self.path().to_str().unwrap())];
        tree.run_with(args, &[&own, more].concat())
    }
}

/// The commands that only read, for images that are published.
pub const READERS: [&[&str]; 4] =
    [&["plan", "--exit-code"], &["verify", "--deep"], &["merge", "--dry-run"], &["discover", "--changed"]];

/// base64 with the alphabet and the padding of RFC 4648.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]);
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    text
}
