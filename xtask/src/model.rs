//! The vocabulary of the flow: names of images, commits, keys, what a registry holds and what has to be there, the image
//! to build, and what can be wrong. Text from outside becomes one of these types where it comes in. Everything here is
//! pure, and depends on nothing else of this program.

pub mod arch;
pub mod commit;
pub mod ecr;
pub mod image;
pub mod index;
pub mod job;
pub mod key;
pub mod problem;
pub mod reference;
