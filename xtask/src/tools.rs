//! The only code that starts another program; one file for each.

mod apt;
mod aws;
mod builder;
pub mod buildx;
pub mod cargo;
mod cosign;
pub mod docker;
pub mod git;
pub mod process;
pub mod registry;
mod system;

pub use aws::{AwsClient, TOKEN_URL};
pub use builder::{Bootstrap, Builder, buildx_bounds, buildx_version};
pub use cosign::Signer;
pub use system::{Machine, has_program, has_python_environments};
