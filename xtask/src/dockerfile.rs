//! Reads Dockerfiles and ignore files as BuildKit does: which images and which files a build reads. Pure.

pub mod base;
pub mod expand;
pub mod ignore;
pub mod inputs;
pub mod instruction;
pub mod scope;
pub mod statement;
