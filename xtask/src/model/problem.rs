//! What went wrong, where, by which rule, and what to do about it; and the exit code it leads to.

use std::fmt;

use serde::Serialize;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// At least one job failed.
    Failed = 1,
    /// Bad usage, configuration or input.
    Usage = 2,
    /// Refused by the gate: incomplete, mixed, stale, immutable, or moving backwards.
    Refused = 3,
    /// Something needed is missing: engine, buildx, login, repository.
    Missing = 4,
}

/// One complaint: where, what, the rule that was broken and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// What the complaint is about: a path, `file:line`, a flag, or a reference.
    pub at: String,
    /// What is wrong with it: lower case, no final full stop.
    pub what: String,
    /// Lines that show it, such as those of a file around it.
    pub excerpt: Option<String>,
    /// The rule that it breaks.
    pub rule: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    pub fn new(at: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { at: at.into(), what: what.into(), excerpt: None, rule: None, help: None }
    }

    pub fn excerpt(mut self, lines: impl Into<String>) -> Problem {
        self.excerpt = Some(lines.into());
        self
    }

    pub fn rule(mut self, rule: impl Into<String>) -> Problem {
        self.rule = Some(rule.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Names the known word that is nearest to what was typed, instead of any other help, if one is near.
    pub fn did_you_mean<'a>(self, typed: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        let nearness = known.into_iter().map(|word| (strsim::jaro_winkler(typed, word), word));
        let near = nearness.filter(|(nearness, _)| *nearness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
        match near {
            Some((_, word)) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", one_line(&self.at), printable(&self.what))?;
        for line in self.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
            write!(f, "\n  {}", whole_line(line))?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "\n  rule: {}", printable(rule))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", printable(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Text of several lines, the further ones indented, with nothing in it that steers a terminal
/// or that GitHub's runner takes for a workflow command.
pub fn printable(text: &str) -> String {
    let indent = |(i, line): (usize, &str)| match line.is_empty() || i == 0 {
        true => one_line(line),
        false => format!("    {}", whole_line(line)),
    };
    text.lines().enumerate().map(indent).collect::<Vec<_>>().join("\n")
}

/// A line that begins with text from outside: `::command::` counts there, blanks before it or not, and is taken apart.
pub fn whole_line(text: &str) -> String {
    let line = one_line(text);
    match line.trim_start().strip_prefix("::") {
        Some(rest) => format!("{}: :{rest}", &line[..line.len() - rest.len() - 2]),
        None => line,
    }
}

/// A name or a path from outside, on one line: control characters are shown escaped, so that none can start a line
/// of its own (`::command::` counts there), and `##[command]`, which counts anywhere, is taken apart.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.replace("##[", "# #[")
}

/// Characters that reorder or hide what stands beside them: a name shows as what it is.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Why a command ends without having done what it was asked: all complaints of one kind, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub problems: Vec<Problem>,
}

impl Failure {
    pub fn of(exit: Exit, problems: Vec<Problem>) -> anyhow::Error {
        anyhow::Error::new(Failure { exit, problems })
    }

    /// What is wrong, without what it is about: for a message that names that itself.
    pub fn reason(error: &anyhow::Error) -> String {
        let problem = error.downcast_ref::<Failure>().and_then(|failure| failure.problems.first());
        problem.map_or_else(|| format!("{error:#}"), |problem| problem.what.clone())
    }

    /// What an error says, as this about `at` where it is something else than complaints.
    pub fn told(error: &anyhow::Error, at: &str) -> Failure {
        match error.downcast_ref::<Failure>() {
            Some(Failure { exit, problems }) => Failure { exit: *exit, problems: problems.clone() },
            None => Failure { exit: Exit::Failed, problems: vec![Problem::new(at, format!("{error:#}"))] },
        }
    }

    /// `Ok` if there is nothing to complain about.
    pub fn unless_empty(exit: Exit, problems: Vec<Problem>) -> anyhow::Result<()> {
        if problems.is_empty() { Ok(()) } else { Err(Failure::of(exit, problems)) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\nerror: ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Problem {
    /// These, each of them once: several jobs may have the same thing wrong.
    pub fn each_once(problems: impl IntoIterator<Item = Problem>) -> Vec<Problem> {
        let mut once: Vec<Problem> = Vec::new();
        for problem in problems {
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        once
    }

    /// The only complaint of a command that ends with it.
    pub fn exit(self, exit: Exit) -> anyhow::Error {
        Failure::of(exit, vec![self])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_like_the_compilers() {
        let problem = Problem::new("jobs/X", "not a valid job name").rule("lower-case").help("rename it");
        assert_eq!(problem.to_string(), "jobs/X: not a valid job name\n  rule: lower-case\n  help: rename it");
        let shown = Problem::new("a:1", "b").excerpt("1 | c\n::d").help("e");
        assert_eq!(shown.to_string(), "a:1: b\n  1 | c\n  : :d\n  help: e");
        let failure = Failure { exit: Exit::Usage, problems: vec![Problem::new("a", "b"), Problem::new("c", "d\ne")] };
        assert_eq!(failure.to_string(), "a: b\nerror: c: d\n    e");
        assert_eq!(Failure::reason(&anyhow::Error::new(failure)), "b");
        assert_eq!(Failure::reason(&anyhow::anyhow!("a").context("b")), "b: a");
    }

    #[test]
    fn names_cannot_command_the_terminal_or_the_runner() {
        assert_eq!(one_line("a\n::add-mask::x\u{1b}[2J"), "a\\n::add-mask::x\\u{1b}[2J");
        assert_eq!(one_line("##[group]"), "# #[group]");
        assert_eq!(whole_line(" ::add-mask::x"), " : :add-mask::x");
        assert_eq!(printable("in /a\n::add-mask::x\n\nand so on"), "in /a\n    : :add-mask::x\n\n    and so on");
    }

    #[test]
    fn words_that_are_near_are_offered() {
        let help = |typed| Problem::new("a", "b").did_you_mean(typed, ["job-a", "job-b", "report"]).help;
        assert_eq!(help("job-q").as_deref(), Some("did you mean `job-b`?"));
        assert_eq!(help("reprot").as_deref(), Some("did you mean `report`?"));
        assert_eq!(help("zzz"), None);
    }
}
