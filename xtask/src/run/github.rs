//! GitHub Actions: a step's outputs, its summary, and annotations.

use std::fs::OpenOptions;
use std::io::Write;

use crate::model::problem::{Failure, Problem};
use crate::run::context::Context;

/// The outputs of a step, written to the file that `GITHUB_OUTPUT` names; nowhere if there is none.
pub struct Outputs<'a> {
    ctx: &'a Context,
    lines: Vec<String>,
}

impl<'a> Outputs<'a> {
    pub fn new(ctx: &'a Context) -> Outputs<'a> {
        Outputs { ctx, lines: Vec::new() }
    }

    /// Sets an output. A newline in the value would set further ones, so none gets through.
    pub fn set(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{name}={}\n", value.replace(['\r', '\n'], " ")));
    }

    /// # Errors
    /// The file cannot be written: without its outputs, the workflow would go on with nothing.
    pub fn write(self) -> anyhow::Result<()> {
        append(self.ctx, "GITHUB_OUTPUT", &self.lines.concat())
    }
}

/// The longest summary that GitHub shows is 1 MiB; a longer one is dropped whole.
const LONGEST_SUMMARY: usize = 900 * 1024;

/// Appends Markdown to the summary of the step.
pub fn summary(ctx: &Context, markdown: &str) -> anyhow::Result<()> {
    let mut end = markdown.len().min(LONGEST_SUMMARY);
    while !markdown.is_char_boundary(end) {
        end -= 1;
    }
    append(ctx, "GITHUB_STEP_SUMMARY", &format!("{}\n", &markdown[..end]))
}

fn append(ctx: &Context, variable: &str, text: &str) -> anyhow::Result<()> {
    let Some(path) = ctx.env.get(variable) else { return Ok(()) };
    let written =
        OpenOptions::new().append(true).create(true).open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|error| {
        Problem::new(variable, format!("`{path}` cannot be written: {error}"))
            .rule("a step of a workflow hands its results on through this file")
            .usage()
    })
}

/// How many annotations of one kind GitHub shows for a step.
const MOST_ANNOTATIONS: usize = 10;

/// Prints an error's problems as annotations, on the lines they name.
pub fn annotate_error(ctx: &Context, error: &anyhow::Error) {
    if !ctx.env.is_github_actions() {
        return;
    }
    let Some(failure) = error.downcast_ref::<Failure>() else {
        return ctx.ui.command(&format!("::error::{}", escape_message(&format!("{error:#}"))));
    };
    let more = failure.problems.len().saturating_sub(MOST_ANNOTATIONS - 1);
    let shown = if more > 1 { MOST_ANNOTATIONS - 1 } else { MOST_ANNOTATIONS };
    for problem in failure.problems.iter().take(shown) {
        ctx.ui.command(&annotation(problem));
    }
    if more > 1 {
        ctx.ui.command(&format!("::error::and {more} more"));
    }
}

/// `::error file=…,line=…::message`, or without a place if the complaint is not about a file.
fn annotation(problem: &Problem) -> String {
    let (path, line) = match problem.at.rsplit_once(':') {
        Some((path, line)) if line.parse::<u32>().is_ok() => (path, Some(line)),
        _ => (problem.at.as_str(), None),
    };
    let help = problem.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    let is_file = path.starts_with("jobs/") || path.starts_with("Cargo.toml");
    if !is_file {
        return format!("::error::{}", escape_message(&format!("{}: {}{help}", problem.at, problem.what)));
    }
    let line = line.map(|line| format!(",line={line}")).unwrap_or_default();
    let title = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    format!(
        "::error file={}{line},title={}::{}",
        escape_property(path),
        escape_property(title),
        escape_message(&format!("{}{help}", problem.what))
    )
}

/// The escapes of [workflow commands](https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts).
fn escape_message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_point_at_the_line_and_inject_nothing() {
        let on_line = Problem::new("jobs/a/Dockerfile:3", "no such file\n::set-output name=x::y").help("add it");
        assert_eq!(
            annotation(&on_line),
            "::error file=jobs/a/Dockerfile,line=3,title=jobs/a::no such file%0A::set-output name=x::y%0Ahelp: add it"
        );
        assert_eq!(annotation(&Problem::new("registry `x`", "100% bad")), "::error::registry `x`: 100%25 bad");
        assert_eq!(
            annotation(&Problem::new("jobs/a,b:c", "bad name")),
            "::error file=jobs/a%2Cb%3Ac,title=jobs::bad name"
        );
    }
}
