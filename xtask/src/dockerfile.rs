//! Reads Dockerfiles and ignore files as BuildKit does: which images and which files a build reads. Pure.

mod adapter;
pub mod base;
pub mod expand;
pub mod ignore;
pub mod inputs;
pub mod instruction;
pub mod scope;
pub mod statement;

pub use adapter::{BaseRole, allow_list};
pub use ignore::Ignore;
pub use inputs::{Inputs, Missing, Selected as Selection};
pub use instruction::{Dockerfile, Fault};
