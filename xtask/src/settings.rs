//! Cargo.toml, job.json, the environment and flags, turned into types with every mistake named.

pub mod access;
pub mod config;
pub mod target;
