//! From the plan to published tags: the images to build, the gate, and the indexes. What may be published is decided in
//! `gate`, purely, from what was looked up; what the gate refuses is not written.

mod board;
mod build;
mod cache;
mod gate;
mod handover;
mod images;
mod log;
mod merge;
mod moving;
mod programs;
mod record;

pub use build::{Built, build_all, build_commands};
pub use images::{BuildOptions, settle};
pub use merge::{Merged, as_published, check_signatures, merge_all, merge_commands, move_attested};
pub use merge::{promote_all, promote_commands, verify_all, verify_published};
pub use moving::Moves;
pub use programs::check_programs;
pub use record::{Record, Telling};
