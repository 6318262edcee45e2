//! The only code that starts another program; one file for each.

pub mod apt;
pub mod aws;
pub mod builder;
pub mod buildx;
pub mod cargo;
pub mod cosign;
pub mod docker;
pub mod git;
pub mod process;
pub mod registry;
pub mod system;
