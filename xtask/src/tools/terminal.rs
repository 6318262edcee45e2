//! stty: how large the terminal is.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGWINCH;

/// Columns and rows where nobody knows.
const USUAL: (usize, usize) = (80, 24);

/// The terminal.
pub struct Terminal {
    /// Set by the signal that tells of another size; at first, none is known.
    is_resized: Arc<AtomicBool>,
    columns_and_rows: (usize, usize),
}

impl Terminal {
    pub fn new() -> Terminal {
        let is_resized = Arc::new(AtomicBool::new(true));
        // Without the signal, the size stays what it is at first.
        let _ = signal_hook::flag::register(SIGWINCH, Arc::clone(&is_resized));
        Terminal { is_resized, columns_and_rows: USUAL }
    }

    /// How many columns and rows it has now.
    pub fn size(&mut self) -> (usize, usize) {
        if self.is_resized.swap(false, Ordering::Relaxed) {
            self.columns_and_rows = measured().unwrap_or(self.columns_and_rows);
        }
        self.columns_and_rows
    }
}

/// How many columns the terminal has, if there is one.
pub fn terminal_columns() -> Option<usize> {
    measured().map(|(columns, _)| columns)
}

/// The size as `stty` tells it of its stdin: the standard library cannot ask.
fn measured() -> Option<(usize, usize)> {
    let terminal = File::open("/dev/tty").ok()?;
    let output = Command::new("stty").arg("size").stdin(terminal).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (rows, columns) = text.trim().split_once(' ')?;
    let (columns, rows) = (columns.parse().ok()?, rows.parse().ok()?);
    // Some terminals do not know.
    (columns > 0).then_some((columns, if rows > 0 { rows } else { USUAL.1 }))
}
