//! How long other programs may take.

use std::time::Duration;

/// After what time a program is ended, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// It only asks: git, the engine, or a registry.
    pub read: Duration,
    /// It sends to a registry, or downloads.
    pub write: Duration,
    /// It builds, and the job does not say itself how long that may take.
    pub build: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let [read, write, build] = [60, 10 * 60, 60 * 60].map(Duration::from_secs);
        Timeouts { read, write, build }
    }
}
