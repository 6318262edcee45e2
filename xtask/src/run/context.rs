//! What every command needs: the repository's root, the terminal, the environment, and the signal to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use xshell::Shell;

use crate::run::environment::Environment;
use crate::run::report::Ui;

/// One per process, shared by all threads.
#[derive(Clone, Debug)]
pub struct Context {
    /// The repository's root: the build context, and where every path starts.
    pub root: Utf8PathBuf,
    /// Where cargo builds, and this tool keeps logs and the loopback registry.
    pub target_dir: Utf8PathBuf,
    pub env: Environment,
    pub ui: Ui,
    pub interrupt: Interrupt,
}

impl Context {
    /// A shell at the repository's root. `Shell` is not `Sync`, so each thread takes its own.
    pub fn shell(&self) -> anyhow::Result<Shell> {
        let sh = Shell::new().context("could not read the working directory")?;
        sh.change_dir(&self.root);
        Ok(sh)
    }

    /// A file or folder of this tool's own under `target/`.
    pub fn own_path(&self, name: &str) -> Utf8PathBuf {
        self.target_dir.join("xtask").join(name)
    }

    /// A path as people want to read it: from the repository's root, if it is below it.
    pub fn shown(&self, path: &Utf8PathBuf) -> Utf8PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

/// Whether somebody asked to stop: Ctrl-C, or GitHub cancelling the run.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on the first SIGINT or SIGTERM asks to stop, and the second ends this process at once.
    pub fn on_signals() -> anyhow::Result<Interrupt> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            let signal_number = usize::try_from(signal).context("a signal's number is positive")?;
            let again = Arc::new(AtomicBool::new(false));
            // The order counts: the second signal finds `again` set by the first.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| signal_hook::flag::register(signal, again))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.0), signal_number))
                .context("could not listen for signals")?;
        }
        Ok(interrupt)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The exit code of a process that a signal ended: 128 and the signal's number.
    pub fn exit_code(&self) -> Option<u8> {
        let signal = self.0.load(Ordering::Relaxed);
        u8::try_from(signal).ok().filter(|&signal| signal != 0).map(|signal| 128 + signal)
    }
}
