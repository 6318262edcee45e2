//! The decisions: pure functions over plain data. Nothing here reads a file, a clock or the environment.

pub mod access;
pub mod arch;
pub mod base;
pub mod dockerfile;
pub mod ecr;
pub mod expand;
pub mod gate;
pub mod ignore;
pub mod inputs;
pub mod job;
pub mod key;
pub mod leg;
pub mod plan;
pub mod reference;
pub mod scope;
pub mod slice;
pub mod statement;
