//! What every command stands on: the context, the terminal, tasks side by side, GitHub's files, and secrets.

pub mod context;
pub mod environment;
pub mod fleet;
pub mod github;
pub mod hints;
pub mod report;
pub mod secret;
