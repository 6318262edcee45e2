//! End to end: the program against a real engine and real registries.
//! Nothing here skips itself: what is missing is a failure that says `cargo xtask setup`.

mod bad_inputs;
mod build;
mod cli;
mod harness;
mod merge;
