//! Many tasks side by side: bounded, in order of their results, and stopped when somebody asks to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::problem::{Exit, Failure, Problem};
use crate::run::context::{Context, Interrupt};

/// Whether further tasks are started after one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    GoOn,
    Stop,
}

/// Works off the tasks, at most `parallel` at a time. The results come in the order of the tasks;
/// a task that was never started, because of a signal or an earlier failure, has none.
pub fn run<T: Sync, R: Send>(
    interrupt: &Interrupt,
    parallel: usize,
    on_failure: OnFailure,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> Vec<Option<anyhow::Result<R>>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Vec<Mutex<Option<anyhow::Result<R>>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                let given_up = || on_failure == OnFailure::Stop && failed.load(Ordering::Relaxed);
                while !interrupt.is_set() && !given_up() {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(task), Some(slot)) = (tasks.get(i), results.get(i)) else { return };
                    let result = work(task);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    *lock(slot) = Some(result);
                }
            });
        }
    });
    results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)).collect()
}

/// Works off the tasks like [`run`], all of them or none: the first error in their order is the error of all.
pub fn all<T: Sync, R: Send>(
    ctx: &Context,
    parallel: usize,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let results = run(&ctx.interrupt, parallel, OnFailure::GoOn, tasks, work);
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted")))).collect()
}

/// What came of many tasks: what succeeded, and why the rest did not.
pub struct Tally<T> {
    pub done: Vec<T>,
    failure: Option<anyhow::Error>,
}

impl<T> Tally<T> {
    /// # Errors
    /// Anything failed: all problems as one failure, with the gravest exit code.
    pub fn result(self) -> anyhow::Result<Vec<T>> {
        self.failure.map_or(Ok(self.done), Err)
    }
}

/// Parts what succeeded from what did not.
pub fn tally<T, N: std::fmt::Display>(
    names: impl Iterator<Item = N>,
    results: Vec<Option<anyhow::Result<T>>>,
) -> Tally<T> {
    let (mut done, mut problems, mut exit) = (Vec::new(), Vec::new(), Exit::Failed);
    for (name, result) in names.zip(results) {
        match result {
            Some(Ok(value)) => done.push(value),
            Some(Err(error)) => match error.downcast::<Failure>() {
                Ok(mut failure) => {
                    exit = exit.max(failure.exit);
                    problems.append(&mut failure.problems);
                }
                Err(error) => problems.push(Problem::new(format!("job `{name}`"), format!("{error:#}"))),
            },
            None => problems.push(Problem::new(format!("job `{name}`"), "not reached")),
        }
    }
    let failure = (!problems.is_empty()).then(|| Failure::of(exit, problems));
    Tally { done, failure }
}

/// Whether an attempt that failed is worth another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The registry or the network was busy or broken for a moment.
    ForNow,
    ForGood,
}

/// Pauses before the second, third and fourth attempt, as BuildKit makes them.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Tries until it succeeds, fails for good, or has failed four times.
pub fn retry<R, E: std::fmt::Display>(
    ctx: &Context,
    what: &str,
    classify: impl Fn(&E) -> Failing,
    attempt: impl Fn() -> Result<R, E>,
) -> Result<R, E> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if classify(&error) == Failing::ForNow && !ctx.interrupt.is_set() => {
                ctx.ui.status("Retrying", format!("{what} in {}s: {error}", pause.as_secs()));
                std::thread::sleep(pause);
            }
            result => return result,
        }
    }
    attempt()
}

/// Reads from what a program said whether the registry was only busy.
/// The classes are those that crane, regclient and BuildKit agree on.
pub fn failing(said: &str) -> Failing {
    const PASSING: [&str; 14] = [
        "429 Too Many Requests",
        "toomanyrequests",
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
    ];
    if PASSING.iter().any(|text| said.contains(text)) { Failing::ForNow } else { Failing::ForGood }
}

/// A lock whose holder cannot leave it half-done: a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        let results = run(&Interrupt::default(), 8, OnFailure::GoOn, &tasks, work);
        let shown: Vec<Option<u64>> = results.into_iter().map(|r| r.and_then(anyhow::Result::ok)).collect();
        let expected: Vec<Option<u64>> = (0..20).map(|n| (n != 3).then_some(n * n)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_failure_can_stop_what_was_not_started() {
        let results = run(&Interrupt::default(), 1, OnFailure::Stop, &[1, 2, 3], |&n| {
            if n == 2 { Err(anyhow::anyhow!("two")) } else { Ok(n) }
        });
        assert!(matches!(results[..], [Some(Ok(1)), Some(Err(_)), None]));
    }

    #[test]
    fn no_more_than_so_many_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run(&Interrupt::default(), 3, OnFailure::GoOn, &[(); 12], |()| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn busy_registries_are_worth_another_try_and_refusals_are_not() {
        assert_eq!(failing("failed: unexpected status from PUT request: 502 Bad Gateway"), Failing::ForNow);
        assert_eq!(failing("Put \"http://127.0.0.1:5000/v2/x\": EOF"), Failing::ForNow);
        assert_eq!(failing("toomanyrequests: Rate exceeded"), Failing::ForNow);
        assert_eq!(failing("401 Unauthorized"), Failing::ForGood);
        assert_eq!(failing("not found"), Failing::ForGood);
    }
}
