//! Tasks in parallel: bounded, with results in task order, and none started after a signal.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::Context;
use crate::model::{Exit, Failure, Problem};

/// Whether further tasks are started after one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    GoOn,
    Stop,
}

/// Runs the tasks, at most `parallel` at a time, and separates the successes from the failures, which go by the tasks'
/// names. Both are in task order. Tasks that were never started, because of a signal or an earlier failure, have
/// failed.
pub fn run<'t, T: Sync, R: Send, N: Display>(
    ctx: &Context,
    parallel: usize,
    on_failure: OnFailure,
    tasks: &'t [T],
    name: impl Fn(&'t T) -> N,
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> Tally<R> {
    let (mut done, mut problems, mut exit) = (Vec::new(), Vec::new(), Exit::Failed);
    for (task, result) in tasks.iter().zip(results(ctx, parallel, on_failure, tasks, work)) {
        match result {
            Some(Ok(value)) => done.push(value),
            Some(Err(error)) => match error.downcast::<Failure>() {
                Ok(mut failure) => {
                    exit = exit.max(failure.exit);
                    problems.append(&mut failure.problems);
                }
                Err(error) => problems.push(Problem::new(format!("job `{}`", name(task)), format!("{error:#}"))),
            },
            None => problems.push(Problem::new(format!("job `{}`", name(task)), "not reached")),
        }
    }
    Tally { done, failures: Failure::unless_empty(exit, problems) }
}

/// Works on all cores; gives all results, or all problems.
///
/// # Errors
/// A task fails.
pub fn on_all_cores<T: Sync, R: Send>(
    ctx: &Context,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    run(ctx, cores, OnFailure::GoOn, tasks, |_| "reading", work).result()
}

/// The results in task order; a task that was never started has none.
fn results<T: Sync, R: Send>(
    ctx: &Context,
    parallel: usize,
    on_failure: OnFailure,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> Vec<Option<anyhow::Result<R>>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<Option<anyhow::Result<R>>>> = Mutex::new(tasks.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                let given_up = || on_failure == OnFailure::Stop && failed.load(Ordering::Relaxed);
                while ctx.interrupted().is_none() && !given_up() {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(i) else { return };
                    let result = work(task);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    // A panic cannot leave the list half-written, so a poisoned lock is as good as any.
                    results.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the tasks like [`run`], and gives all results or the first error in task order.
pub fn all<T: Sync, R: Send>(
    ctx: &Context,
    parallel: usize,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let results = results(ctx, parallel, OnFailure::GoOn, tasks, work);
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted")))).collect()
}

/// Results of parallel tasks: the successes, and one error for the failures.
pub struct Tally<T> {
    pub done: Vec<T>,
    /// All problems as one failure, with the gravest exit code.
    pub failures: anyhow::Result<()>,
}

impl<T> Tally<T> {
    /// Separates results: successes from failures.
    pub fn of(results: impl IntoIterator<Item = anyhow::Result<T>>) -> Tally<T> {
        let (mut done, mut failures) = (Vec::new(), Ok(()));
        for result in results {
            match result {
                Ok(value) => done.push(value),
                Err(error) => failures = joined(failures, Err(error)),
            }
        }
        Tally { done, failures }
    }

    /// Goes on with what succeeded; what failed has failed.
    ///
    /// # Errors
    /// What concerns all that go on.
    pub fn then<U>(self, next: impl FnOnce(Vec<T>) -> anyhow::Result<Tally<U>>) -> anyhow::Result<Tally<U>> {
        let Tally { done, failures } = next(self.done)?;
        Ok(Tally { done, failures: joined(self.failures, failures) })
    }

    /// # Errors
    /// Anything failed.
    pub fn result(self) -> anyhow::Result<Vec<T>> {
        self.failures.map(|()| self.done)
    }
}

/// Both failures as one, with the graver exit code.
fn joined(first: anyhow::Result<()>, second: anyhow::Result<()>) -> anyhow::Result<()> {
    let (Err(first), Err(second)) = (&first, &second) else { return first.and(second) };
    let problems = |error: &anyhow::Error| match error.downcast_ref::<Failure>() {
        Some(failure) => (failure.exit, failure.problems.clone()),
        None => (Exit::Failed, vec![Problem::new("error", format!("{error:#}"))]),
    };
    let ((exit, mut all), (other, more)) = (problems(first), problems(second));
    all.extend(more);
    Err(Failure::of(exit.max(other), all))
}

/// Pauses before the second, third and fourth attempt, as BuildKit makes them.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// How many seconds to wait for a registry that counts requests, again and again: all legs of a run share the limit,
/// which in ECR is ten manifests a second, and one image has three.
const PAUSES_THROTTLED: [u64; 7] = [1, 2, 4, 8, 16, 16, 16];
/// What registries say of too many requests.
const THROTTLED: [&str; 2] = ["429 Too Many Requests", "toomanyrequests"];
/// How often a pause checks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Tries until it succeeds, fails with an error that is not transient, has failed four times (eight times, where there
/// were too many requests), or a signal asks to stop.
///
/// # Errors
/// That of the last attempt.
pub fn retry<R>(ctx: &Context, what: &str, attempt: impl Fn() -> anyhow::Result<R>) -> anyhow::Result<R> {
    let mut made = 0;
    loop {
        let result = attempt();
        let Err(error) = &result else { return result };
        if !is_transient(&error.to_string()) || !pause(ctx, made, what, &Failure::reason(error)) {
            return result;
        }
        made += 1;
    }
}

/// Waits before something is tried again, longer each time; `made` is how often that was done. `false` if it was done
/// often enough, or a signal asks to stop.
pub fn pause(ctx: &Context, made: usize, what: &str, why: &str) -> bool {
    let pause = match is_throttled(why) {
        true => PAUSES_THROTTLED.get(made).map(|seconds| Duration::from_millis(seconds * spread(&(what, made)))),
        false => PAUSES.get(made).copied(),
    };
    let Some(pause) = pause.filter(|_| ctx.interrupted().is_none()) else { return false };
    ctx.ui.status("Retrying", format!("{what} in {}s: {why}", pause.as_millis().div_ceil(1_000)));
    let end = Instant::now() + pause;
    while Instant::now() < end {
        if ctx.interrupted().is_some() {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    true
}

/// Between 500 and 1,500, for a thousandth of a pause: what was refused together does not come again together.
fn spread(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    500 + hasher.finish() % 1_000
}

/// Whether a registry said that there were too many requests.
pub fn is_throttled(said: &str) -> bool {
    THROTTLED.iter().any(|text| said.contains(text))
}

/// Whether what a program said tells of a registry or a network that may work again in a moment.
/// The texts are those that crane, regclient and BuildKit agree on, and the two of a registry that was sent the same
/// layer twice at one instant (`DIGEST_INVALID` and `MANIFEST_BLOB_UNKNOWN` of the OCI distribution specification).
pub fn is_transient(said: &str) -> bool {
    const TRANSIENT: [&str; 14] = [
        "408 Request Timeout",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "connection reset by peer",
        "broken pipe",
        "i/o timeout",
        "TLS handshake timeout",
        "unexpected EOF",
        ": EOF",
        "use of closed network connection",
        "provided digest did not match uploaded content",
        "blob unknown to registry",
    ];
    is_throttled(said) || TRANSIENT.iter().any(|text| said.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_failures_stop_nobody() {
        let tasks: Vec<u64> = (0..20).collect();
        let work = |&n: &u64| {
            std::thread::sleep(Duration::from_millis(20 - n));
            if n == 3 { Err(anyhow::anyhow!("three")) } else { Ok(n * n) }
        };
        let results = results(&Context::for_tests(), 8, OnFailure::GoOn, &tasks, work);
        let shown: Vec<Option<u64>> = results.into_iter().map(|r| r.and_then(anyhow::Result::ok)).collect();
        let expected: Vec<Option<u64>> = (0..20).map(|n| (n != 3).then_some(n * n)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_failure_can_stop_what_was_not_started() {
        let results = results(&Context::for_tests(), 1, OnFailure::Stop, &[1, 2, 3], |&n| {
            if n == 2 { Err(anyhow::anyhow!("two")) } else { Ok(n) }
        });
        assert!(matches!(results[..], [Some(Ok(1)), Some(Err(_)), None]));
    }

    #[test]
    fn no_more_than_so_many_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        results(&Context::for_tests(), 3, OnFailure::GoOn, &[(); 12], |()| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_signal_wakes_a_retry_and_ends_it() {
        let (ctx, attempts) = (Context::for_tests(), AtomicUsize::new(0));
        let start = Instant::now();
        let busy = || -> anyhow::Result<()> {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err(anyhow::anyhow!("503 Service Unavailable"))
        };
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                ctx.interrupt();
            });
            retry(&ctx, "x", busy)
        });
        assert_eq!(result.unwrap_err().to_string(), "503 Service Unavailable");
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn a_retry_ends_with_the_first_success_or_an_error_that_stays() {
        let (ctx, attempts) = (Context::for_tests(), AtomicUsize::new(0));
        let attempt = |error: &'static str| {
            let is_first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { Err(anyhow::anyhow!(error)) } else { Ok(()) }
        };
        retry(&ctx, "x", || attempt("503 Service Unavailable")).unwrap();
        assert_eq!(attempts.swap(0, Ordering::SeqCst), 2);
        assert_eq!(retry(&ctx, "x", || attempt("401 Unauthorized")).unwrap_err().to_string(), "401 Unauthorized");
        assert_eq!(attempts.into_inner(), 1);
    }

    #[test]
    fn busy_registries_are_worth_another_try_and_refusals_are_not() {
        assert!(is_transient("failed: unexpected status from PUT request: 502 Bad Gateway"));
        assert!(is_transient("Put \"http://127.0.0.1:5000/v2/x\": EOF"));
        assert!(is_transient("toomanyrequests: Rate exceeded"));
        assert!(!is_transient("401 Unauthorized"));
        assert!(!is_transient("not found"));
    }
}
