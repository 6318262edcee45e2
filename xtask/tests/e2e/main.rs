//! End to end: the program against a real engine and real registries.
//! Nothing here skips itself: what is missing is a failure that says `cargo xtask setup`.

#![allow(clippy::unwrap_used)] // a panic is how a test says no

mod architecture;
mod aws;
mod bad_inputs;
mod broken;
mod build;
mod cache;
mod classic;
mod cli;
mod cloud;
mod completions;
mod copies;
mod corpus;
mod deep;
mod doctor;
mod ecr;
#[allow(dead_code)] // each target uses its part of it
mod ecr_front;
mod ecr_push;
mod engine;
mod examples;
mod folders;
mod handover;
mod harness;
mod help;
mod key;
mod legs;
mod machine;
mod merge;
mod moved;
mod moving;
mod new;
mod plan;
mod progress;
mod promote;
mod proxy;
mod readme;
mod records;
mod registry;
mod remedies;
mod secrets;
mod signals;
mod signing;
mod silence;
mod timings;
mod words;
