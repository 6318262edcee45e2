//! When a program is ended, and how it has ended.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::run::Context;

/// After what time a program is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// It only asks: git, the engine, or a registry.
    #[default]
    Read,
    /// It sends to a registry, or downloads.
    Write,
    /// It builds, for as long as its job says, or else as builds may take.
    Build(Option<Duration>),
    Within(Duration),
    /// Nobody can say: whoever waits for it sees what it prints.
    None,
}

impl Limit {
    pub fn of(self, ctx: &Context) -> Option<Duration> {
        match self {
            Limit::Read => Some(ctx.timeouts.read),
            Limit::Write => Some(ctx.timeouts.write),
            Limit::Build(of_job) => Some(of_job.unwrap_or(ctx.timeouts.build)),
            Limit::Within(time) => Some(time),
            Limit::None => None,
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Success,
    /// With an exit code, or by a signal.
    Failure(ExitStatus),
    TimedOut(Duration),
    Interrupted,
}

impl End {
    /// Whether the program was ended, and did not end by itself.
    pub fn is_forced(self) -> bool {
        matches!(self, End::TimedOut(_) | End::Interrupted)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Success => f.write_str("succeeded"),
            End::Failure(status) => match status.code() {
                Some(code) => write!(f, "exited with {code}"),
                None => f.write_str("was ended by a signal"),
            },
            // The limit as it is configured, and whole minutes where it has several.
            End::TimedOut(limit) if limit.as_secs() > 60 && limit.as_secs().is_multiple_of(60) => {
                write!(f, "timed out after {} min", limit.as_secs() / 60)
            }
            End::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f64()),
            End::Interrupted => f.write_str("was interrupted"),
        }
    }
}
