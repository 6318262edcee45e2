//! Tasks in parallel: bounded, with results in task order, and none started after a signal.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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
    run(ctx, cores(), OnFailure::GoOn, tasks, |_| "reading", work).result()
}

/// Works on all cores; gives the results in task order.
pub fn each_on_all_cores<T: Sync, R: Send>(
    ctx: &Context,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> Vec<anyhow::Result<R>> {
    each(ctx, cores(), tasks, work).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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
    each(ctx, parallel, tasks, work).collect()
}

/// The results in task order; a task that was never started was interrupted.
fn each<T: Sync, R: Send>(
    ctx: &Context,
    parallel: usize,
    tasks: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> impl Iterator<Item = anyhow::Result<R>> {
    let results = results(ctx, parallel, OnFailure::GoOn, tasks, work);
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted"))))
}

/// Results of parallel tasks: the successes, and one error for the failures.
pub struct Tally<T> {
    pub done: Vec<T>,
    /// All problems as one failure, with the gravest exit code.
    pub failures: anyhow::Result<()>,
}

impl<T: Display> Tally<T> {
    /// What people and programs are shown of it.
    pub fn shown(self) -> Tally<String> {
        Tally { done: self.done.iter().map(T::to_string).collect(), failures: self.failures }
    }
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

    /// The same with what has failed elsewhere.
    pub fn and(self, failures: anyhow::Result<()>) -> Tally<T> {
        Tally { failures: joined(self.failures, failures), ..self }
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
    let [first, second] = [first, second].map(|error| Failure::told(error, "error"));
    let (exit, other, all) = (first.exit, second.exit, [first.problems, second.problems].concat());
    Err(Failure::of(exit.max(other), all))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
