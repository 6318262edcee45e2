//! Files of this tool's own, in the target folder.

use std::fs::File;
use std::io::{Error, ErrorKind};

use camino::Utf8Path;

use super::context::Context;
use crate::model::{Exit, Problem};

/// Makes an empty file, with its folder.
///
/// # Errors
/// With exit code 4, it cannot be written.
pub fn create_file(ctx: &Context, path: &Utf8Path) -> anyhow::Result<File> {
    let dir = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    dir.and_then(|()| File::create(path)).map_err(|error| unwritable(ctx, path, &error))
}

/// Puts a whole file in the place of another, as a second run may be reading it.
///
/// # Errors
/// With exit code 4, it cannot be written.
pub fn write_file(ctx: &Context, path: &Utf8Path, content: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let dir = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = dir.and_then(|()| std::fs::write(&new, content)).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        // Half a file takes room that is missing already.
        let _ = std::fs::remove_file(&new);
        unwritable(ctx, path, &error)
    })
}

fn unwritable(ctx: &Context, path: &Utf8Path, error: &Error) -> anyhow::Error {
    let help = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room on its disk, or set CARGO_TARGET_DIR to a folder on another"
        }
        _ => "make it writable, or set CARGO_TARGET_DIR to a folder that is",
    };
    Problem::new(ctx.shown(&path.to_owned()), format!("cannot be written: {error}"))
        .rule("the target folder takes the logs of builds, and what they are told")
        .help(help)
        .exit(Exit::Missing)
}
