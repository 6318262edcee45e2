//! The only code that starts another program; one file for each.

mod apt;
mod aws;
mod builder;
pub mod buildx;
mod cargo;
mod cosign;
mod docker;
mod gh;
pub mod git;
mod loopback;
pub mod process;
mod registry;
mod system;
mod terminal;

pub use aws::AwsClient;
pub use builder::{Bootstrap, Builder, buildx_bounds, buildx_version};
pub use cargo::{Checked, check_workflow, find_workspace, run_benchmarks, run_checks, working_directory};
pub use cosign::{Signer, check_cosign};
pub use docker::{docker_login, docker_version, engine_version, is_mended_by_setup, loaded_architectures};
pub use gh::{check_gh, verify_attestation};
pub use loopback::{ensure_registry, fill_registry, noted_mirror, print_registry, running_registry};
pub use registry::RegistryClient;
pub use system::{Machine, has_program, has_python_environments, program_version};
pub use terminal::{Terminal, terminal_columns};
