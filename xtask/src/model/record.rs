//! What happened in the builds of a run, for its records and the pictures that are drawn from them.

use serde::Serialize;

use super::arch::Arch;
use super::image::Image;
use super::job::JobName;

/// What happened in the build of one image. Times are in milliseconds since the run began, by this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    pub job: JobName,
    pub arch: Arch,
    pub start_ms: u64,
    pub end_ms: u64,
    /// When it was tried again, because the registry had been busy.
    pub retries_ms: Vec<u64>,
    /// In the order in which they began. After a retry those that were done come again, as cached.
    pub steps: Vec<Step>,
    pub result: BuildResult,
}

impl BuildRecord {
    /// The record of a build that begins: as long as nothing better is known, it has failed.
    pub fn new(image: &Image, start_ms: u64) -> BuildRecord {
        let (job, arch, result) = (image.job.clone(), image.arch, BuildResult::Failed);
        BuildRecord { job, arch, start_ms, end_ms: start_ms, retries_ms: Vec::new(), steps: Vec::new(), result }
    }

    /// How many of the Dockerfile's instructions were cached when the build began, and of how many.
    pub fn cached(&self) -> (usize, usize) {
        let again = self.retries_ms.first().copied().unwrap_or(u64::MAX);
        let steps = || self.steps.iter().filter(|step| step.is_instruction() && step.start_ms < again);
        (steps().filter(|step| step.cached).count(), steps().count())
    }
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BuildResult {
    Built,
    /// Nothing was to be built.
    Unchanged,
    Failed,
    /// A signal ended the build.
    Interrupted,
    /// The run ended before its turn came.
    NotStarted,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    /// As BuildKit names it: `[builder 2/3] RUN make`, or `exporting to image`.
    pub name: String,
    #[serde(rename = "start")]
    pub start_ms: u64,
    /// Nothing if it did not come to its end.
    #[serde(rename = "end")]
    pub end_ms: Option<u64>,
    pub cached: bool,
    pub failed: bool,
}

impl Step {
    /// Whether it is an instruction of the Dockerfile, which BuildKit counts: `[2/3] RUN make`.
    fn is_instruction(&self) -> bool {
        let number = self.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")?.0.rsplit(' ').next());
        number.and_then(|number| number.split_once('/')).is_some_and(|(step, of)| {
            !step.is_empty() && [step, of].iter().all(|part| part.chars().all(|c| c.is_ascii_digit()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, start_ms: u64, cached: bool) -> Step {
        Step { name: name.to_owned(), start_ms, end_ms: None, cached, failed: false }
    }

    #[test]
    fn instructions_are_told_from_what_buildkit_does_besides() {
        for name in ["[2/3] RUN make", "[linux/amd64 builder 1/12] FROM x", "[stage-1 2/2] COPY [\"a b\", \"c\"] /"] {
            assert!(step(name, 0, false).is_instruction(), "{name}");
        }
        for name in ["[internal] load .dockerignore", "exporting to image", "[auth] a/b:pull token for r", "[/] x"] {
            assert!(!step(name, 0, false).is_instruction(), "{name}");
        }
    }

    #[test]
    fn what_a_retry_finds_cached_does_not_count() {
        let steps = vec![
            step("[internal] load .dockerignore", 0, true),
            step("[1/2] FROM x", 1, true),
            step("[2/2] RUN make", 2, false),
            step("[1/2] FROM x", 9, true),
            step("[2/2] RUN make", 9, true),
        ];
        let (job, result) = ("a".parse().unwrap(), BuildResult::Built);
        let retries_ms = vec![5];
        let record = BuildRecord { job, arch: Arch::Amd64, start_ms: 0, end_ms: 9, retries_ms, steps, result };
        assert_eq!(record.cached(), (1, 2));
    }
}
