//! The vocabulary of the flow: names of images, commits, keys, what a registry holds and what has to be there, the
//! image to build, and what can be wrong. Text from outside becomes one of these types where it comes in. Everything
//! here is pure, and depends on nothing else of this program.

mod arch;
mod commit;
mod ecr;
mod image;
mod index;
mod job;
mod key;
mod layer;
mod pattern;
mod problem;
mod programs;
mod record;
mod reference;
mod timeouts;
mod workflow;

pub use arch::Arch;
pub use commit::{Commit, Revision};
pub use ecr::{
    CreationTemplate, EcrFinding, EcrRepository, LifecycleRule, Publishing, check_repository, lifecycle_rules,
    named_repositories,
};
pub use image::{Image, Output, Provenance};
pub use index::{Descriptor, Expected, Index, Manifest};
pub use job::{DOCKERFILE, JOBS_DIR, JobFiles, JobName, NAME_RULE, SETTINGS_FILE};
pub use key::{Key, TreeEntry, hash_of_files};
pub use layer::{Layer, LayerFiles, LayerReader, clean};
pub use pattern::{PathPattern, is_pattern};
pub use problem::{Exit, Failure, Problem, one_line, printable, whole_line};
pub use programs::Programs;
pub use record::{BuildRecord, BuildResult, Step};
pub use reference::{Digest, Reference, Registry, Repository, Tag};
pub use timeouts::Timeouts;
pub use workflow::{TrustedWorkflow, matches_ref};
