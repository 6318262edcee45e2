//! Reads Dockerfiles and ignore files as BuildKit does. In comes their text; out go the images that a build starts
//! from, the files that it reads, and the allow-list that holds it to these files. Where something cannot be known, all
//! of the context counts. Everything here is pure: no disk, no registry, and nothing of this program but `model`.

mod expand;
mod ignore;
mod inputs;
mod parse;
mod reading;

pub use ignore::{Ignore, allow_list};
pub use inputs::{ContextPath, Inputs, Matched};
pub use reading::onbuild_inputs;

use crate::model::{Problem, clean};

/// What is wrong with a Dockerfile, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
    rule: Option<&'static str>,
    help: Option<String>,
}

/// The remedy for what breaks BuildKit's grammar in a way that has none of its own.
const REFERENCE: &str = "see https://docs.docker.com/reference/dockerfile/";

impl Fault {
    fn new(line: usize, what: impl Into<String>) -> Fault {
        Fault { line, what: what.into(), rule: None, help: None }
    }

    fn rule(self, rule: &'static str) -> Fault {
        Fault { rule: Some(rule), ..self }
    }

    fn help(self, help: impl Into<String>) -> Fault {
        Fault { help: Some(help.into()), ..self }
    }

    /// The same about the file at `path`.
    pub fn at(&self, path: &str) -> Problem {
        let help = self.help.clone().or_else(|| Some(REFERENCE.to_owned()));
        let problem = Problem::new(format!("{path}:{}", self.line), self.what.as_str());
        Problem { rule: self.rule.map(str::to_owned), help, ..problem }
    }
}

/// An image that the Dockerfile builds from, or is read by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The name with its variables replaced: what BuildKit looks up.
    pub written: String,
    /// The first line that names it; `None` if a build argument does.
    pub line: Option<usize>,
    pub role: BaseRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseRole {
    /// `FROM`, `COPY --from=` or `RUN --mount=from=`.
    Image,
    /// `# syntax=` or the build argument `BUILDKIT_SYNTAX`: the program that reads the Dockerfile.
    Frontend,
}

/// A Dockerfile, read as BuildKit reads it; variables are left as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The frontend image that `# syntax=` names: the build pulls it, and the rest is read as *it* pleases.
    syntax: Option<Base>,
    /// The character that escapes, `\` or a backtick.
    escape: char,
    /// Whether it may say different things for different platforms.
    names_platforms: bool,
    /// The `ARG`s before the first `FROM`.
    globals: Vec<Instruction>,
    stages: Vec<Stage>,
}

/// `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    /// The line of `FROM`.
    line: usize,
    /// The name after `AS`, in lower case: stages are found by name whatever its case.
    name: Option<String>,
    /// The image or the stage that it begins with.
    image: String,
    platform: Option<String>,
    instructions: Vec<Instruction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Instruction {
    line: usize,
    effect: Effect,
}

/// What an instruction does, as far as it decides which images and files a build reads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Arg(Vec<Assignment>),
    Env(Vec<Assignment>),
    /// `COPY`, `ADD` and `RUN`.
    Reads {
        transfers: Vec<Transfer>,
        /// Why anything may be read, if it has a flag that this program does not know.
        unclear: Option<String>,
    },
    /// For the images that build on this one.
    Onbuild(Box<Effect>),
    /// It reads neither images nor files.
    Other,
}

impl Effect {
    /// What is read, now or in the builds on this image.
    fn transfers(&self) -> &[Transfer] {
        match self {
            Effect::Reads { transfers, .. } => transfers,
            Effect::Onbuild(effect) => effect.transfers(),
            _ => &[],
        }
    }
}

/// One variable of an `ARG`, where it may have no value, or of an `ENV`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    name: String,
    value: Option<String>,
}

/// A `COPY`, an `ADD`, or one mount of a `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Transfer {
    /// `COPY`, `ADD` or `RUN --mount`.
    verb: &'static str,
    /// The stage or image that it reads, instead of the build context. It never holds variables.
    from: Option<String>,
    /// The type of a mount.
    mount: Option<String>,
    /// Paths, patterns and URLs, without here-documents; the one path of a mount.
    sources: Vec<String>,
}
