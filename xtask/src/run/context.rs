//! What every command needs: the repository's root, the terminal, the environment, and the signal to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::environment::Environment;
use super::report::Ui;
use super::retry::Pace;
use crate::model::Timeouts;

/// One per process, shared by all threads.
#[derive(Clone, Debug)]
pub struct Context {
    /// The repository's root: the build context, and where every path starts.
    pub root: Utf8PathBuf,
    /// Where the program was started, and where the paths start that people type.
    here: Utf8PathBuf,
    /// Where cargo builds, and this tool keeps logs and the loopback registry.
    pub target_dir: Utf8PathBuf,
    pub env: Environment,
    pub ui: Ui,
    /// After what time other programs are ended.
    pub timeouts: Timeouts,
    /// How fast this run writes to registries.
    pub pace: Arc<Pace>,
    /// The number of the signal that asked to stop, 0 as long as none did.
    signal: Arc<AtomicUsize>,
}

impl Context {
    /// A context at this root, where the program was started. From now on the first SIGINT, SIGTERM or SIGHUP asks to
    /// stop (somebody typed Ctrl-C, GitHub cancels the run, or the terminal is gone), and the second ends this process
    /// at once.
    pub fn new(root: Utf8PathBuf, env: Environment, ui: Ui) -> anyhow::Result<Context> {
        let signal = Arc::new(AtomicUsize::new(0));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // `nohup` has SIGHUP ignored, so that a program goes on without its terminal.
        let hangup = (!is_ignored(&status, SIGHUP)).then_some((SIGHUP, SIGTERM));
        for (number, counts_as) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM)].into_iter().chain(hangup) {
            let noted = usize::try_from(counts_as).context("a signal's number is positive")?;
            let again = Arc::new(AtomicBool::new(false));
            // The order counts: the second signal finds `again` set by the first.
            signal_hook::flag::register_conditional_shutdown(number, 128 + counts_as, Arc::clone(&again))
                .and_then(|_| signal_hook::flag::register(number, again))
                .and_then(|_| signal_hook::flag::register_usize(number, Arc::clone(&signal), noted))
                .context("could not listen for signals")?;
        }
        let timeouts = Timeouts::default();
        let (target_dir, here) = (root.join("target"), root.clone());
        Ok(Context { target_dir, here, root, env, ui, timeouts, pace: Arc::default(), signal })
    }

    /// The exit code of a process that a signal ended, 128 and the signal's number, once one has asked to stop.
    pub fn interrupted(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::Relaxed);
        u8::try_from(signal).ok().filter(|&signal| signal != 0).map(|signal| 128 + signal)
    }

    /// A file or folder of this tool's own under `target/`.
    pub fn own_path(&self, name: &str) -> Utf8PathBuf {
        self.target_dir.join("xtask").join(name)
    }

    /// A path as people want to read it: from the repository's root, if it is below it.
    pub fn shown(&self, path: &Utf8PathBuf) -> Utf8PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// A path that somebody typed, from the repository's root and without `..`; `None` if it leads out of it.
    pub fn typed_path(&self, typed: &str) -> Option<Utf8PathBuf> {
        let mut path = Utf8PathBuf::new();
        for part in self.here.join(typed).components() {
            match part {
                Utf8Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path.strip_prefix(&self.root).ok().map(Utf8Path::to_owned)
    }
}

/// Whether a signal is ignored, by the set in `/proc/self/status`: the lowest of its bits is signal 1.
fn is_ignored(status: &str, signal: i32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    set.and_then(|set| u64::from_str_radix(set, 16).ok()).is_some_and(|set| set >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
impl Context {
    /// A context that no signal reaches, at the machine's folder for temporary files.
    pub fn for_tests() -> Context {
        let root = Utf8PathBuf::try_from(std::env::temp_dir()).unwrap();
        let env = Environment::of_this_process();
        let ui = Ui::new(clap::ColorChoice::Never, -2, &env);
        Context {
            target_dir: root.join("target"),
            here: root.clone(),
            root,
            env,
            ui,
            timeouts: Timeouts::default(),
            pace: Arc::default(),
            signal: Arc::default(),
        }
    }

    /// What a signal handler does.
    pub fn interrupt(&self) {
        self.signal.store(2, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_where_they_are_typed() {
        let ctx = Context { root: "/r".into(), here: "/r/jobs/a".into(), ..Context::for_tests() };
        let path = |typed| ctx.typed_path(typed).map(Utf8PathBuf::into_string);
        for (typed, from_root) in [(".", "jobs/a"), ("../b/", "jobs/b"), ("./x/..", "jobs/a"), ("/r/jobs", "jobs")] {
            assert_eq!(path(typed).as_deref(), Some(from_root), "{typed}");
        }
        assert_eq!(path("../../.."), None);
        assert_eq!(path("/other"), None);
    }

    #[test]
    fn signals_that_are_ignored_are_told_from_others() {
        let status = "Name:\tcat\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert_eq!([SIGHUP, SIGINT, SIGTERM, 13].map(|signal| is_ignored(status, signal)), [true, false, false, true]);
        assert!(!is_ignored("", SIGHUP), "there is no such file on macOS");
    }
}
