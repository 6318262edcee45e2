//! The workflows: judged by others' programs, by rules of our own, and run on this machine.
//! Nothing here skips itself: what is missing is a failure that says what to do.

#![allow(clippy::unwrap_used)] // a panic is how a test says no

mod act;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/cloud.rs"]
mod cloud;
mod contract;
mod count;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/ecr_front.rs"]
mod ecr_front;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/engine.rs"]
mod engine;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/examples.rs"]
mod examples;
mod facts;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/harness.rs"]
mod harness;
mod linters;
#[allow(dead_code)] // each target uses its part of it
#[path = "../e2e/proxy.rs"]
mod proxy;
#[path = "../../host/rules.rs"]
mod rules;
mod runs;
#[path = "../../host/workflow.rs"]
mod workflow;
