//! A repository whose images of both architectures are in the registry, built by this tool.

use std::process::Command;

use crate::registry::{Network, Registry, base};
use crate::suite::{Suite, ours, peer, read};
use crate::tree::{Content, Tree};

/// A repository, and where its images are.
pub struct Published<'a> {
    pub tree: Tree,
    /// The tag of the commit that the images were built from.
    pub tag: String,
    registry: &'a Registry,
    network: Network,
    prefix: String,
}

impl<'a> Published<'a> {
    /// Builds so many jobs for both architectures, and merges nothing.
    ///
    /// # Errors
    /// A build fails.
    pub fn new(suite: &Suite, registry: &'a Registry, network: Network, jobs: usize) -> anyhow::Result<Published<'a>> {
        // The foreign architecture is emulated, so nothing may run in these builds.
        let tree = Tree::new(suite, "published", jobs, &base(registry.address(network)), Content::Copy)?;
        let tag = tree.tag()?;
        let published = Published { tree, tag, registry, network, prefix: format!("jobs-{}", network.name()) };
        read(published.ours(&["build", "--arch", "amd64", "--arch", "arm64", "--emulate", "--push"]))?;
        Ok(published)
    }

    /// This tool in the repository.
    pub fn ours(&self, args: &[&str]) -> Command {
        let mut command = ours(self.tree.path(), args);
        command.env("JOBS_REGISTRY", self.registry.address(self.network)).env("JOBS_PREFIX", &self.prefix);
        command
    }

    /// A script that is given where the images are, more arguments, and the names of so many jobs.
    pub fn peer(&self, script: &str, args: &[&str], jobs: usize) -> Command {
        let repository = format!("{}/{}", self.registry.address(self.network), self.prefix);
        peer(self.tree.path(), script, &[&[repository.as_str()][..], args, &self.tree.jobs()[..jobs]].concat())
    }

    /// Makes the registry forget the indexes of both architectures, so that they have to be made anew.
    ///
    /// # Errors
    /// The registry's data cannot be changed.
    pub fn forget_indexes(&self) -> anyhow::Result<()> {
        self.forget_where(|tag| !tag.ends_with("-amd64") && !tag.ends_with("-arm64"))
    }

    /// Makes the registry forget one tag of all jobs.
    ///
    /// # Errors
    /// The registry's data cannot be changed.
    pub fn forget(&self, tag: &str) -> anyhow::Result<()> {
        self.forget_where(|other| other == tag)
    }

    fn forget_where(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for job in self.tree.jobs() {
            let repository = format!("{}/{job}", self.prefix);
            for tag in self.registry.tags(&repository).iter().filter(|tag| wanted(tag)) {
                self.registry.forget(&repository, tag)?;
            }
        }
        Ok(())
    }
}
