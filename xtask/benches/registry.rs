//! A registry of the benchmark's own, as it is reached on this machine and as if it were far away.

use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::relay;
use crate::suite::{Folder, Suite, program, read};

/// How long the registry may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How far away the registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Network {
    Loopback,
    /// 25 ms in each direction.
    Far,
}

impl Network {
    pub const ALL: [Network; 2] = [Network::Loopback, Network::Far];

    /// The network's name as part of a folder or of an image's name.
    pub fn name(self) -> &'static str {
        match self {
            Network::Loopback => "loopback",
            Network::Far => "far",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Loopback => "loopback",
            Network::Far => "50 ms",
        })
    }
}

/// A registry on a free port; it and its data are gone when this is dropped.
pub struct Registry {
    child: Child,
    address: String,
    far: String,
    dir: Folder,
}

impl Registry {
    /// A registry that runs and holds the base image.
    ///
    /// # Errors
    /// There is no registry program or no free port, it does not start, or the base image cannot be copied.
    pub fn start(suite: &Suite) -> anyhow::Result<Registry> {
        let dir = suite.folder("registry")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("the registry found no free port")?;
        let address = listener.local_addr()?.to_string();
        // Closed here, so that the registry can take it.
        drop(listener);
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(dir.path().join("config.yml"), config)
            .context("could not write the registry's configuration")?;
        let mut command = program("docker-registry", dir.path());
        command.args(["serve", "config.yml"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("could not start docker-registry; to install it: cargo xtask setup")?;
        let registry = Registry { child, far: relay::start(address.clone())?, address, dir };
        registry.wait()?;
        registry.add_base(suite)?;
        Ok(registry)
    }

    fn wait(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            anyhow::ensure!(start.elapsed() < START_TIMEOUT, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Copies the base image here, so that asking for it takes as long as asking for anything else.
    fn add_base(&self, suite: &Suite) -> anyhow::Result<()> {
        let mut command = program("docker", self.dir.path());
        command.args(["buildx", "imagetools", "create", "-t", &base(&self.address), &suite.base]);
        read(command).map(drop)
    }

    /// Where the registry is reached.
    pub fn address(&self, network: Network) -> &str {
        match network {
            Network::Loopback => &self.address,
            Network::Far => &self.far,
        }
    }

    /// Where the registry keeps its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data/docker/registry/v2")
    }

    /// Removes a tag and the index that it points to, as if they had never been pushed; what the index lists stays.
    ///
    /// # Errors
    /// The data cannot be changed.
    pub fn forget(&self, repository: &str, tag: &str) -> anyhow::Result<()> {
        let manifests = self.data().join("repositories").join(repository).join("_manifests");
        let tag = manifests.join("tags").join(tag);
        let Ok(digest) = std::fs::read_to_string(tag.join("current/link")) else { return Ok(()) };
        remove(&tag)?;
        remove(&manifests.join("revisions").join(digest.trim().replace(':', "/")))
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let tags = self.data().join("repositories").join(repository).join("_manifests/tags");
        let entries = std::fs::read_dir(tags).into_iter().flatten().flatten();
        let mut tags: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        tags.sort();
        tags
    }
}

/// The base image in the registry at an address.
pub fn base(address: &str) -> String {
    format!("{address}/library/busybox:1.37")
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    // Two tags may point to one index.
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("could not remove {}", dir.display()))?;
    }
    Ok(())
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself, which has shown already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
