//! What each statement does, as far as it decides which images and which files a build reads.

use super::{Statement, here_document, is_blank, words};
use crate::dockerfile::{Assignment, Effect, Fault, Stage, Transfer};
use crate::model::Problem;

impl Statement {
    /// The values of a flag; `None` for a flag without one.
    fn flag<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Option<&'a str>> {
        self.flags.iter().map(|flag| name_and_value(flag)).filter(move |flag| flag.0 == name).map(|flag| flag.1)
    }

    /// What is unclear, if there is a flag with which other files may be read than without.
    fn unclear(&self) -> Option<String> {
        // BuildKit knows which of them may stand where.
        let is_known = |name: &str| match name {
            "mount" | "network" | "security" | "device" | "from" | "chown" | "chmod" | "link" | "parents" => true,
            name => matches!(name, "exclude" | "keep-git-dir" | "checksum" | "unpack"),
        };
        let name = self.flags.iter().map(|flag| name_and_value(flag).0).find(|name| !is_known(name))?;
        Some(format!("`{} --{name}` is not known here", self.keyword.to_uppercase()))
    }
}

fn name_and_value(flag: &str) -> (&str, Option<&str>) {
    let flag = flag.trim_start_matches("--");
    flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)))
}

/// The words of an instruction that has neither quotes nor escapes.
fn plain_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

pub fn stage(statement: &Statement) -> Result<Stage, Fault> {
    let words: Vec<&str> = plain_words(&statement.rest).collect();
    let (image, name) = match words.as_slice() {
        [image] => (*image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, Some(name.to_lowercase())),
        _ => {
            return Err(Fault::new(statement.line, "`FROM` takes an image, or an image, `AS` and a name")
                .help("e.g. FROM busybox:1.37 AS tools"));
        }
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if let Some(name) = &name
        && !(name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed))
    {
        return Err(Fault::new(statement.line, format!("`{name}` is not a name for a stage"))
            .rule("a lower-case letter, then such letters, digits, '-', '_' or '.'")
            .help("rename the stage"));
    }
    let platform = statement.flag("platform").next().flatten().map(str::to_owned);
    Ok(Stage { line: statement.line, name, image: image.to_owned(), platform, instructions: Vec::new() })
}

/// All that BuildKit knows, in lower case.
const INSTRUCTIONS: [&str; 18] = [
    "add",
    "arg",
    "cmd",
    "copy",
    "entrypoint",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

pub fn effect(statement: &Statement, escape: char) -> Result<Effect, Fault> {
    match statement.keyword.as_str() {
        "arg" => args(statement, escape).map(Effect::Arg),
        "env" => env(statement, escape).map(Effect::Env),
        "add" | "copy" => copy(statement),
        "run" => run(statement),
        "onbuild" => match statement.held_back() {
            Some(inner) if !matches!(inner.keyword.as_str(), "from" | "onbuild" | "maintainer") => {
                Ok(Effect::Onbuild(Box::new(effect(&inner, escape)?)))
            }
            _ => Err(Fault::new(statement.line, "not an instruction that `ONBUILD` can hold back")
                .rule("any but `FROM`, `ONBUILD` and `MAINTAINER`")
                .help("write the instruction that the images built on this one shall run")),
        },
        keyword if INSTRUCTIONS.contains(&keyword) => Ok(Effect::Other),
        keyword => Err(unknown(statement.line, keyword)),
    }
}

fn unknown(line: usize, keyword: &str) -> Fault {
    let known: Vec<String> = INSTRUCTIONS.iter().map(|name| name.to_uppercase()).collect();
    let typed = keyword.to_uppercase();
    let what = format!("unknown instruction `{typed}`");
    let help = Problem::new("", "").did_you_mean(&typed, known.iter().map(String::as_str)).help;
    let fault = Fault::new(line, what).rule("a line begins with an instruction, or continues one that ends in `\\`");
    Fault { help, ..fault }
}

fn assignment(word: &str) -> Assignment {
    match word.split_once('=') {
        Some((name, value)) => Assignment { name: name.to_owned(), value: Some(value.to_owned()) },
        None => Assignment { name: word.to_owned(), value: None },
    }
}

fn assignments(text: &str, escape: char, is_right: fn(&Assignment) -> bool) -> Option<Vec<Assignment>> {
    let all: Vec<Assignment> = words(text, escape).map(assignment).collect();
    (!all.is_empty() && all.iter().all(is_right)).then_some(all)
}

fn args(statement: &Statement, escape: char) -> Result<Vec<Assignment>, Fault> {
    let args = assignments(&statement.rest, escape, |arg| !arg.name.is_empty());
    args.ok_or_else(|| Fault::new(statement.line, "`ARG` without a name").help("e.g. ARG PROFILE=release"))
}

fn env(statement: &Statement, escape: char) -> Result<Vec<Assignment>, Fault> {
    // The old form has one variable, whose value is the rest of the line.
    if words(&statement.rest, escape).next().is_some_and(|word| !word.contains('=')) {
        let pair = statement.rest.split_once(is_blank);
        let (name, value) = pair.ok_or_else(|| no_value(statement.line, "`ENV` without a value"))?;
        return Ok(vec![assignment(&format!("{name}={}", value.trim_start_matches(is_blank)))]);
    }
    let pairs = assignments(&statement.rest, escape, |pair| !pair.name.is_empty() && pair.value.is_some());
    pairs.ok_or_else(|| no_value(statement.line, "`ENV` takes `name=value`"))
}

fn no_value(line: usize, what: &str) -> Fault {
    Fault::new(line, what).help("e.g. ENV PROFILE=release")
}

fn copy(statement: &Statement) -> Result<Effect, Fault> {
    let mut sources = statement.json()?.unwrap_or_else(|| plain_words(&statement.rest).map(str::to_owned).collect());
    if sources.len() < 2 {
        let what = format!("`{}` takes at least a source and a destination", statement.keyword.to_uppercase());
        return Err(Fault::new(statement.line, what).help("e.g. COPY jobs/job-a/run.sh /run.sh"));
    }
    sources.pop();
    sources.retain(|word| here_document(word).is_none());
    let is_add = statement.keyword == "add";
    let from = match statement.flag("from").collect::<Vec<_>>().as_slice() {
        [] => None,
        _ if is_add => return Err(Fault::new(statement.line, "`ADD` has no `--from`").help("write COPY --from=…")),
        [Some(from)] => Some(*from).filter(|from| !from.is_empty()).map(str::to_owned),
        _ => {
            return Err(
                Fault::new(statement.line, "`--from` takes one value").help("e.g. COPY --from=tools /bin/tool /bin/")
            );
        }
    };
    let transfer = Transfer { verb: if is_add { "ADD" } else { "COPY" }, from, mount: None, sources };
    Ok(Effect::Reads { transfers: vec![transfer], unclear: statement.unclear() })
}

fn run(statement: &Statement) -> Result<Effect, Fault> {
    let no_value =
        || Fault::new(statement.line, "`--mount` takes a value").help("e.g. RUN --mount=type=cache,target=/cache …");
    let mounts = statement.flag("mount").map(|value| mount(value.ok_or_else(no_value)?, statement.line));
    Ok(Effect::Reads { transfers: mounts.collect::<Result<_, Fault>>()?, unclear: statement.unclear() })
}

fn mount(value: &str, line: usize) -> Result<Transfer, Fault> {
    let fields = comma_separated(value).ok_or_else(|| {
        Fault::new(line, format!("cannot read `--mount={value}`"))
            .rule("fields with commas between them, of which one may stand in double quotes")
            .help("e.g. RUN --mount=type=bind,source=jobs/job-a,target=/src …")
    })?;
    // Of several fields of one meaning, the last one counts.
    let last = |names: &[&str]| {
        let pairs = fields.iter().rev().map(|field| field.split_once('=').unwrap_or((field, "")));
        let mut values = pairs.filter(|(name, _)| names.contains(&name.to_lowercase().as_str()));
        values.next().map(|(_, value)| value.to_owned())
    };
    let from = last(&["from"]).filter(|from| !from.is_empty());
    if from.as_ref().is_some_and(|from| from.find('$').is_some_and(|at| at + 1 < from.len())) {
        return Err(Fault::new(line, "`from` of a mount takes no variables")
            .help("name a stage there, and give that the image: FROM $IMAGE AS tools"));
    }
    let mount = Some(last(&["type"]).unwrap_or_else(|| "bind".to_owned()));
    let source = last(&["source", "src"]).unwrap_or_default();
    Ok(Transfer { verb: "RUN --mount", from, mount, sources: vec![source] })
}

/// One record of comma-separated values: a field may be quoted, and doubles the quotes in it then.
fn comma_separated(record: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), record);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => rest.split_at(rest.find([',', '"']).unwrap_or(rest.len())),
        };
        fields.push(field.replace("\"\"", "\""));
        if after.is_empty() {
            return Some(fields);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// Where the quote stands that closes a field: the first one that is not doubled.
fn closing_quote(field: &str) -> Option<usize> {
    let mut chars = field.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
#[path = "instruction_tests.rs"]
mod tests;
