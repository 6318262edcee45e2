//! Cargo.toml, job.json, the environment and flags come in; out come the configuration, and the target of this run,
//! with every mistake named. Nothing of a job's image is decided here.

mod access;
mod allowed;
mod build_args;
mod config;
mod job;
mod read;
mod run;
mod target;
mod timeouts;

pub use access::aws_client;
pub use config::{Cache, Config};
pub use job::{JobSettings, job_settings};
pub use run::Run;
pub use target::{Given, Sourced, Target, tag_of, target_of_base};
