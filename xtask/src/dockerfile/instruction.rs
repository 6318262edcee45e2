//! What a Dockerfile says, as far as it decides which images and which files a build reads.

use crate::dockerfile::statement::{self, HereDocument, Statement, is_blank};

pub use crate::dockerfile::statement::Fault;

/// A Dockerfile, read as BuildKit reads it; variables are left as written.
///
/// This is a scanner of our own after BuildKit's sources, since a misread line is a stale image. `parse-dockerfile`
/// 0.1.9 misreads here-documents, `\\` at a line's end and quoted flags, and refuses stages of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The frontend image that `# syntax=` names: the build pulls it, and the rest is read as *it* pleases.
    pub syntax: Option<Syntax>,
    /// The character that escapes, `\` or a backtick.
    pub escape: char,
    /// The `ARG`s before the first `FROM`.
    pub global_args: Vec<Arg>,
    pub stages: Vec<Stage>,
}

/// The image named by the `# syntax=` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    pub image: String,
    pub line: usize,
}

/// One variable of an `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    pub line: usize,
    pub name: String,
    pub default: Option<String>,
}

/// `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The line of `FROM`.
    pub line: usize,
    /// The name after `AS`, in lower case: stages are found by name whatever its case.
    pub name: Option<String>,
    /// The image or the stage that it begins with.
    pub image: String,
    pub platform: Option<String>,
    pub instructions: Vec<Instruction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Arg(Vec<Arg>),
    /// Names and values.
    Env(Vec<(String, String)>),
    Copy(Copy),
    Run(Run),
    /// For the images that build on this one.
    Onbuild(Box<Kind>),
    /// An instruction that reads neither images nor files.
    Other,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Whether it is `ADD`, which also takes URLs.
    pub verb: Verb,
    /// The stage or image to copy from, instead of the build context.
    pub from: Option<String>,
    pub flags: Vec<Flag>,
    /// Paths, patterns and URLs, without here-documents.
    pub sources: Vec<String>,
    pub dest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Copy,
}

/// `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub mounts: Vec<Mount>,
    /// The flags other than `--mount`.
    pub flags: Vec<Flag>,
}

/// `RUN --mount=…`: its fields in order, names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub fields: Vec<(String, String)>,
}

impl Mount {
    /// The value of the last field of one of these names: later fields win.
    pub fn get(&self, names: &[&str]) -> Option<&str> {
        self.fields.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    /// The stage or image that it mounts, instead of the build context. It never holds variables.
    pub fn from(&self) -> Option<&str> {
        self.get(&["from"]).filter(|from| !from.is_empty())
    }
}

impl Dockerfile {
    pub fn parse(text: &str) -> Result<Dockerfile, Fault> {
        let syntax = statement::syntax(text).map(|(line, image)| Syntax { image, line });
        let (statements, escape) = statement::statements(text)?;
        let mut file = Dockerfile { syntax, escape, global_args: Vec::new(), stages: Vec::new() };
        for statement in &statements {
            if statement.keyword == "from" {
                file.stages.push(stage(statement)?);
                continue;
            }
            let kind = kind(statement, escape)?;
            match (file.stages.last_mut(), kind) {
                (Some(stage), kind) => stage.instructions.push(Instruction { line: statement.line, kind }),
                (None, Kind::Arg(args)) => file.global_args.extend(args),
                (None, _) => return Err(Fault::new(statement.line, "an instruction before the first `FROM`")),
            }
        }
        match (file.stages.is_empty(), statements.last()) {
            (true, Some(last)) => Err(Fault::new(last.line, "no `FROM`")),
            _ => Ok(file),
        }
    }
}

fn stage(statement: &Statement) -> Result<Stage, Fault> {
    let words: Vec<&str> = statement.rest.split(is_blank).filter(|word| !word.is_empty()).collect();
    let (image, name) = match words.as_slice() {
        [image] => (*image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, Some(name.to_lowercase())),
        _ => return Err(Fault::new(statement.line, "`FROM` takes an image, or an image, `AS` and a name")),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if let Some(name) = &name
        && !(name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed))
    {
        return Err(Fault::new(statement.line, format!("`{name}` is not a name for a stage")));
    }
    let platform = flags(statement).into_iter().find(|flag| flag.name == "platform").and_then(|flag| flag.value);
    Ok(Stage { line: statement.line, name, image: image.to_owned(), platform, instructions: Vec::new() })
}

fn kind(statement: &Statement, escape: char) -> Result<Kind, Fault> {
    match statement.keyword.as_str() {
        "arg" => args(statement, escape).map(Kind::Arg),
        "env" => env(statement, escape).map(Kind::Env),
        "add" => copy(statement, Verb::Add).map(Kind::Copy),
        "copy" => copy(statement, Verb::Copy).map(Kind::Copy),
        "run" => run(statement).map(Kind::Run),
        "onbuild" => match statement.held_back() {
            Some(inner) if !matches!(inner.keyword.as_str(), "from" | "onbuild" | "maintainer") => {
                Ok(Kind::Onbuild(Box::new(kind(&inner, escape)?)))
            }
            _ => Err(Fault::new(statement.line, "not an instruction that `ONBUILD` can hold back")),
        },
        "cmd" | "entrypoint" | "expose" | "healthcheck" | "label" | "maintainer" | "shell" | "stopsignal" | "user"
        | "volume" | "workdir" => Ok(Kind::Other),
        keyword => Err(Fault::new(statement.line, format!("unknown instruction `{}`", keyword.to_uppercase()))),
    }
}

fn args(statement: &Statement, escape: char) -> Result<Vec<Arg>, Fault> {
    let words = quoted_words(&statement.rest, escape);
    if words.is_empty() || words.iter().any(|word| word.starts_with('=')) {
        return Err(Fault::new(statement.line, "`ARG` without a name"));
    }
    let arg = |word: &String| match word.split_once('=') {
        Some((name, default)) => Arg { line: statement.line, name: name.to_owned(), default: Some(default.to_owned()) },
        None => Arg { line: statement.line, name: word.clone(), default: None },
    };
    Ok(words.iter().map(arg).collect())
}

fn env(statement: &Statement, escape: char) -> Result<Vec<(String, String)>, Fault> {
    let words = quoted_words(&statement.rest, escape);
    if words.first().is_some_and(|word| !word.contains('=')) {
        // The old form: one variable, whose value is the rest of the line.
        return match statement.rest.split_once(is_blank) {
            Some((name, value)) => Ok(vec![(name.to_owned(), value.trim_start_matches(is_blank).to_owned())]),
            None => Err(Fault::new(statement.line, "`ENV` without a value")),
        };
    }
    let pairs: Option<Vec<(String, String)>> = words
        .iter()
        .map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    pairs
        .filter(|pairs| !pairs.is_empty() && pairs.iter().all(|(name, _)| !name.is_empty()))
        .ok_or_else(|| Fault::new(statement.line, "`ENV` takes `name=value`"))
}

/// The words of an `ARG` or `ENV`, split at spaces outside of quotes; the quotes stay until variables are replaced.
fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        match c {
            c if c == escape && quote != Some('\'') => {
                // An escape character at the end escapes nothing and is dropped.
                if let Some(escaped) = chars.next() {
                    word.extend([c, escaped]);
                }
                continue;
            }
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn flags(statement: &Statement) -> Vec<Flag> {
    let flag = |word: &String| {
        let word = word.trim_start_matches("--");
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
        Flag { name: name.to_owned(), value }
    };
    statement.flags.iter().map(flag).collect()
}

fn copy(statement: &Statement, verb: Verb) -> Result<Copy, Fault> {
    let json = statement.json()?;
    let mut words = match json {
        Some(words) => words,
        None => statement.rest.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
    };
    let dest = words.pop().filter(|_| !words.is_empty());
    let dest = dest.ok_or_else(|| Fault::new(statement.line, "takes at least a source and a destination"))?;
    let sources = words.into_iter().filter(|word| !matches!(HereDocument::parse(word), Ok(Some(_)))).collect();
    let (from, flags): (Vec<Flag>, Vec<Flag>) = flags(statement).into_iter().partition(|flag| flag.name == "from");
    if verb == Verb::Add && !from.is_empty() {
        return Err(Fault::new(statement.line, "`ADD` has no `--from`"));
    }
    let from = match from.as_slice() {
        [] => None,
        [Flag { value: Some(from), .. }] => Some(from.clone()).filter(|from| !from.is_empty()),
        _ => return Err(Fault::new(statement.line, "`--from` takes one value: `--from=stage`")),
    };
    Ok(Copy { verb, from, flags, sources, dest })
}

fn run(statement: &Statement) -> Result<Run, Fault> {
    let mut run = Run { mounts: Vec::new(), flags: Vec::new() };
    for flag in flags(statement) {
        match (flag.name.as_str(), &flag.value) {
            ("mount", Some(value)) => run.mounts.push(mount(value, statement.line)?),
            ("mount", None) => {
                return Err(Fault::new(statement.line, "`--mount` takes a value: `--mount=type=bind,…`"));
            }
            _ => run.flags.push(flag),
        }
    }
    Ok(run)
}

fn mount(value: &str, line: usize) -> Result<Mount, Fault> {
    let fields = comma_separated(value).ok_or_else(|| Fault::new(line, format!("cannot read `--mount={value}`")))?;
    let field = |field: &String| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (name.to_lowercase(), value.to_owned())
    };
    let mount = Mount { fields: fields.iter().map(field).collect() };
    let variable = |from: &str| from.find('$').is_some_and(|at| at + 1 < from.len());
    if mount.fields.iter().any(|(name, value)| name == "from" && variable(value)) {
        return Err(Fault::new(line, "`from` of a mount takes no variables: name a stage instead"));
    }
    Ok(mount)
}

/// One record of comma-separated values: a field may be quoted, and doubles the quotes in it then.
fn comma_separated(record: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let Some(mut quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if field.contains('"') {
                return None;
            }
            fields.push(field.to_owned());
            let Some(after) = after else { return Some(fields) };
            rest = after;
            continue;
        };
        let mut field = String::new();
        loop {
            let (part, after) = quoted.split_once('"')?;
            field.push_str(part);
            quoted = after;
            let Some(after) = quoted.strip_prefix('"') else { break };
            field.push('"');
            quoted = after;
        }
        fields.push(field);
        if quoted.is_empty() {
            return Some(fields);
        }
        rest = quoted.strip_prefix(',')?;
    }
}

#[cfg(test)]
#[path = "instruction_tests.rs"]
mod tests;
