//! The files of a step in GitHub Actions: its outputs and its summary.

use std::fs::OpenOptions;
use std::io::Write;

use super::context::Context;
use crate::model::{Exit, Problem};

/// How much GitHub takes of an output of a job, in bytes of UTF-16.
const LONGEST_OUTPUT: usize = 1 << 20;

/// How long an output is as GitHub counts it, if that is more than it takes: it drops a longer one.
pub fn too_long_for_output(value: &str) -> Option<usize> {
    Some(2 * value.encode_utf16().count()).filter(|length| *length > LONGEST_OUTPUT)
}

/// Sets an output of the step, in the file that `GITHUB_OUTPUT` names; elsewhere it does nothing.
/// A newline in the value would set further outputs, so none gets through.
///
/// # Errors
/// The file cannot be written: without its outputs, the workflow would go on with nothing.
pub fn set_output(ctx: &Context, name: &str, value: &str) -> anyhow::Result<()> {
    append(ctx, "GITHUB_OUTPUT", &format!("{name}={}\n", value.replace(['\r', '\n'], " "))).map_err(|problem| {
        problem
            .rule("a step of a workflow hands its results on through this file")
            .help("leave GITHUB_OUTPUT as GitHub sets it; outside of a workflow, unset it")
            .exit(Exit::Usage)
    })
}

/// The longest summary that GitHub shows is 1 MiB; a longer one is dropped whole.
const LONGEST_SUMMARY: usize = 900 * 1024;

/// Appends Markdown to the summary of the step. It is for people: what was done stays done without it.
pub fn summary(ctx: &Context, markdown: &str) {
    let variable = "GITHUB_STEP_SUMMARY";
    // All that the step appends counts together.
    let before = ctx.env.get(variable).and_then(|path| Some(std::fs::metadata(path).ok()?.len() as usize));
    let room = LONGEST_SUMMARY.saturating_sub(before.unwrap_or_default());
    let lines = markdown.split_inclusive('\n').scan(0, |length, line| {
        *length += line.len();
        (*length <= room).then_some(line)
    });
    if let Err(problem) = append(ctx, variable, &format!("{}\n", lines.collect::<String>())) {
        ctx.ui.warning(problem);
    }
}

fn append(ctx: &Context, variable: &str, text: &str) -> Result<(), Problem> {
    let Some(path) = ctx.env.get(variable) else { return Ok(()) };
    let written =
        OpenOptions::new().append(true).create(true).open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|error| Problem::new(variable, format!("`{path}` cannot be written: {error}")))
}
