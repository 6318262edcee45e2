//! The vocabulary: names, digests, commits, keys, and what can be wrong. Pure, and depends on nothing else here.

pub mod arch;
pub mod ecr;
pub mod job;
pub mod key;
pub mod problem;
pub mod reference;
