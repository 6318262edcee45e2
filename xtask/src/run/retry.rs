//! Trying again: one policy for all that is asked of registries, and one pace for all writes.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::Context;
use super::hints::REFUSED;
use crate::model::Failure;

/// How often the same is tried.
const MOST_TRIES: usize = 5;
/// After what time nothing is tried again.
const WITHIN: Duration = Duration::from_secs(120);
/// The shortest and the longest pause before the second try, the third, the fourth and the fifth: any time between
/// them, so that what was refused together does not come again together.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: [Duration; MOST_TRIES - 1] =
    [Duration::from_secs(2), Duration::from_secs(6), Duration::from_secs(18), Duration::from_secs(30)];
/// How often a pause checks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The tries of one request, or of several that are made together.
pub struct Tries {
    start: Instant,
    made: usize,
}

impl Tries {
    /// Before the first.
    pub fn new() -> Tries {
        Tries { start: Instant::now(), made: 1 }
    }

    /// Waits until it is time for another, for as long as the registry asks if it does (`Retry-After`). `false` if
    /// there were enough of them, or there is no time left, or a signal asks to stop.
    pub fn again(&mut self, ctx: &Context, what: &str, why: &str, asked: Option<Duration>) -> bool {
        let Some(&longest) = LONGEST.get(self.made - 1) else { return false };
        let pause = asked.unwrap_or_else(|| between(SHORTEST, longest));
        if ctx.interrupted().is_some() || self.start.elapsed() + pause > WITHIN {
            return false;
        }
        self.made += 1;
        let why = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        ctx.ui.status("Retrying", format!("{what} in {} s: {why}", pause.as_millis().div_ceil(1_000)));
        let until = Instant::now() + pause;
        if !is_throttled(why) {
            return wait(ctx, until);
        }
        ctx.pace.adapt(true);
        wait(ctx, ctx.pace.next().max(until))
    }
}

/// Tries a write until it succeeds, fails with an error that is not transient, was tried often enough, or a signal asks
/// to stop. Where a registry says that there are too many of them, all writes of this run become slower together.
///
/// # Errors
/// That of the last attempt.
pub fn retry<R>(ctx: &Context, what: &str, attempt: impl Fn() -> anyhow::Result<R>) -> anyhow::Result<R> {
    let mut tries = Tries::new();
    wait(ctx, ctx.pace.next());
    loop {
        let result = attempt();
        let Err(error) = &result else {
            ctx.pace.adapt(false);
            return result;
        };
        let why = Failure::reason(error);
        if !is_transient(&why) || !tries.again(ctx, what, &why, None) {
            return result;
        }
    }
}

/// How fast writes follow each other: as fast as they come, until a registry counts them. ECR takes ten manifests a
/// second of an account, and one image has three.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Steps>);

/// The time from one write to the next, and when the next may begin.
#[derive(Debug, Default)]
struct Steps {
    length: Duration,
    next: Option<Instant>,
}

/// The steps after the first refusal, the longest ones, and those that are too short to be kept.
const FIRST_STEP: Duration = Duration::from_millis(100);
const LONGEST_STEP: Duration = Duration::from_secs(2);
const SHORTEST_STEP: Duration = Duration::from_millis(20);

impl Pace {
    /// When the next write may begin, which is then taken.
    fn next(&self) -> Instant {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = steps.next.map_or(now, |next| next.max(now));
        steps.next = Some(next + steps.length);
        next
    }

    /// Doubles the steps after a refusal, and lets them become shorter with each write that is not refused.
    fn adapt(&self, is_throttled: bool) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.length = match is_throttled {
            true => (steps.length * 2).clamp(FIRST_STEP, LONGEST_STEP),
            false => Some(steps.length * 9 / 10).filter(|&length| length > SHORTEST_STEP).unwrap_or_default(),
        };
    }
}

/// `false` if a signal asked to stop.
fn wait(ctx: &Context, until: Instant) -> bool {
    while Instant::now() < until {
        if ctx.interrupted().is_some() {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL.min(until.saturating_duration_since(Instant::now())));
    }
    ctx.interrupted().is_none()
}

fn between(shortest: Duration, longest: Duration) -> Duration {
    // Each hasher of the standard library starts with a number of its own, drawn at random.
    let thousandths = u32::try_from(RandomState::new().hash_one(Instant::now()) % 1_001).unwrap_or_default();
    shortest + (longest - shortest) * thousandths / 1_000
}

/// Whether a registry said that there were too many requests, and not that somebody has used up what he may pull in
/// some hours.
pub fn is_throttled(said: &str) -> bool {
    const THROTTLED: [&str; 4] = ["toomanyrequests", "TOOMANYREQUESTS", "Rate exceeded", "ThrottlingException"];
    let is_said = THROTTLED.iter().any(|text| said.contains(text)) || statuses(said).any(|status| status == 429);
    is_said && !is_used_up(said)
}

/// Whether what a program said tells of a registry or a network that may work again in a moment.
pub fn is_transient(said: &str) -> bool {
    /// What crane, regclient and BuildKit agree on, how programs written in Go and curl word it, and the two of a
    /// registry that was sent the same layer twice at one instant (`DIGEST_INVALID` and `MANIFEST_BLOB_UNKNOWN` of the
    /// OCI distribution specification).
    const TRANSIENT: [&str; 14] = [
        "connection reset by peer",
        "Connection reset by peer",
        "broken pipe",
        "i/o timeout",
        "TLS handshake timeout",
        "context deadline exceeded",
        "Client.Timeout exceeded",
        "timed out",
        "unexpected EOF",
        ": EOF",
        "use of closed network connection",
        "stream error: stream ID",
        "provided digest did not match uploaded content",
        "blob unknown to registry",
    ];
    let is_busy = is_throttled(said) || statuses(said).any(is_transient_status);
    !is_used_up(said) && (is_busy || TRANSIENT.iter().chain(&REFUSED).any(|text| said.contains(text)))
}

/// Whether Docker Hub lets nobody pull from here for some hours.
fn is_used_up(said: &str) -> bool {
    said.contains("pull rate limit")
}

/// Whether a registry's [status](https://www.rfc-editor.org/rfc/rfc9110#section-15) says that it may be another in a
/// moment.
pub fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// The statuses of HTTP that a text names: `503 Service Unavailable`, `status code 503`.
fn statuses(said: &str) -> impl Iterator<Item = u16> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let status = |i: usize| {
        let status: u16 =
            words[i].trim_end_matches([',', ';', '.', ':']).parse().ok().filter(|s| (400..600).contains(s))?;
        let before: Vec<&str> = words[i.saturating_sub(2)..i].iter().map(|word| word.trim_end_matches(':')).collect();
        let is_named = before.iter().any(|word| matches!(*word, "status" | "StatusCode"));
        let is_reason = words.get(i + 1).is_some_and(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
        (is_named || is_reason).then_some(status)
    };
    (0..words.len()).filter_map(status).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
