//! The registry reader: questions about many repositories come in together, and one `curl` a round answers them.
//! It follows the [OCI distribution specification], and is the only way in which this program reads a registry: one on
//! this machine is asked like any other. It also points a tag to what is there; all else that is written is buildx's
//! part.
//!
//! [OCI distribution specification]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

mod answer;
mod challenge;
mod client;
mod curl;
mod layers;
mod login;
mod manifest;

pub use answer::unreachable;
pub use client::{RegistryClient, greetings};
