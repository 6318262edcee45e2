//! One file per command. Each reads like the description of the command in the README.

pub mod build;
pub mod completions;
pub mod config;
pub mod discover;
pub mod doctor;
pub mod ecr;
pub mod login;
pub mod merge;
pub mod pipeline;
pub mod plan;
pub mod setup;
pub mod test;
pub mod verify;
