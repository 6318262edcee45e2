//! An image that is to be built: one job for one architecture, with every detail settled before the first build starts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::arch::Arch;
use super::job::{JobFiles, JobName};
use super::reference::Reference;

/// Everything that decides the result of one `docker buildx build`.
#[derive(Clone, Debug)]
pub struct Image {
    pub job: JobName,
    pub files: JobFiles,
    pub arch: Arch,
    pub reference: Reference,
    /// The file that BuildKit reads: the job's Dockerfile, or its copy beside a list of the files that it may see.
    pub dockerfile: String,
    pub stage: Option<String>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Name in the Dockerfile -> `docker-image://…@sha256:…`.
    pub contexts: BTreeMap<String, String>,
    /// The agents or keys that the build may use.
    pub ssh: Vec<String>,
    /// `id` of what the build may mount -> environment variable that holds it.
    pub secrets: BTreeMap<String, String>,
    pub output: Output,
    /// `None` where the builder cannot attach any.
    pub provenance: Option<Provenance>,
    pub sbom: bool,
    /// The value of `--cache-from`: none where images are built by force.
    pub cache_from: Option<String>,
    /// The value of `--cache-to`.
    pub cache_to: Option<String>,
    pub builder: Option<String>,
    pub no_cache: bool,
    /// Where buildx writes the digest of what it made.
    pub metadata_file: String,
    /// After what time the build is ended.
    pub timeout: Option<Duration>,
    /// The reason of the plan.
    pub why: String,
    /// The command that builds it again.
    pub rerun: String,
}

impl Image {
    /// The image as people name it: `job-a (arm64)`.
    pub fn shown(&self) -> String {
        format!("{} ({})", self.job, self.arch)
    }
}

/// Where an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Push,
    Load,
}

/// How much a build tells of itself in its SLSA provenance attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    Min,
    Max,
    Off,
}
