//! What every command stands on: the context with the terminal and the environment, tasks side by side, this tool's
//! own files and those of GitHub Actions, remedies for known complaints, and secrets.
//!
//! In come flags that the command line was turned into; out go lines for people and data for programs. This folder
//! knows the vocabulary in `model` and nothing else of the program, and starts no other program.

mod context;
mod environment;
mod files;
pub mod fleet;
mod github;
mod hints;
mod report;
mod retry;
mod secret;
mod table;

pub use context::Context;
pub use environment::Environment;
pub use files::{create_file, write_file};
pub use github::{set_output, summary, too_long_for_output};
#[cfg(test)]
pub use hints::hints;
pub use hints::{help_for, is_immutable, is_out_of_reach, is_unauthorized, last_error};
pub use report::{Ui, count, human_time};
pub use retry::{Tries, is_transient, is_transient_status, retry};
pub use secret::Secret;
pub use table::{markdown, table};
