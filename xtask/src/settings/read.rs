//! Tables and JSON into types. serde's mistakes become complaints of ours: each names its key, and the nearest known
//! one.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::Problem;

pub fn from_table<T: DeserializeOwned>(at: &str, table: Value) -> Result<T, Vec<Problem>> {
    let Value::Object(entries) = &table else {
        return Err(vec![Problem::new(at, "not a table").help("write its keys below it, one to a line: key = value")]);
    };
    // Key by key, so that every mistake is told, and which key it is about.
    let mistake = |(key, value): (&String, &Value)| {
        let entry = Value::Object(serde_json::Map::from_iter([(key.clone(), value.clone())]));
        let error = serde_json::from_value::<T>(entry).err()?;
        let about = if is_unknown_key(&error.to_string()) { at.to_owned() } else { format!("{at} {key}") };
        Some(explained(about, &error))
    };
    let problems: Vec<Problem> = entries.iter().filter_map(mistake).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    serde_json::from_value(table).map_err(|error| vec![explained(at.to_owned(), &error)])
}

fn is_unknown_key(message: &str) -> bool {
    message.starts_with("unknown field")
}

pub fn from_json<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, Problem> {
    if text.starts_with('\u{feff}') {
        return Err(
            Problem::new(format!("{path}:1:1"), "starts with a byte-order mark").help("save it as UTF-8 without one")
        );
    }
    if text.trim().is_empty() {
        return Err(Problem::new(path, "empty").help("write `{}`, or remove the file"));
    }
    if text.trim_start().starts_with('[') {
        return Err(Problem::new(format!("{path}:1:1"), "a list")
            .rule("an object: { … }")
            .help("write the keys between braces, e.g. {\"arches\": [\"amd64\"]}"));
    }
    serde_json::from_str(text).map_err(|error| explained(format!("{path}:{}:{}", error.line(), error.column()), &error))
}

/// serde's message as a complaint of ours: an unknown key comes with the nearest known one, and anything else with a
/// rule and a remedy. Its wording (``unknown field `x`, expected one of `a`, `b` ``) is fixed by `serde::de::Error`.
fn explained(at: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    // A table has no lines.
    let message = text.rsplit_once(" at line ").filter(|_| error.line() > 0).map_or(text.as_str(), |(m, _)| m);
    // The key may have a backtick of its own.
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected "));
    let problem = |what: String| Problem::new(at.clone(), what);
    match unknown {
        Some((unknown, known)) => {
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            let problem = problem(format!("unknown key `{unknown}`")).did_you_mean(unknown, known.iter().copied());
            match problem.help {
                Some(_) => problem,
                None => {
                    problem.rule(format!("one of `{}`", known.join("`, `"))).help("remove it, or write one of these")
                }
            }
        }
        _ if !error.is_data() => problem(message.to_owned())
            .rule("JSON: strings and keys in double quotes, no comments, and no comma after the last entry")
            .help("mend the file there"),
        _ if message.starts_with("duplicate ") => problem(message.replace("duplicate field", "duplicate key"))
            .rule("each key stands once")
            .help("remove one of them"),
        _ => match message.rsplit_once(", expected ") {
            Some((found, wanted)) => {
                of_another_type(problem(found.replace("unknown variant", "unknown value")), wanted)
            }
            None => with_own_rule(problem, message),
        },
    }
}

/// What stands where serde expects something else.
fn of_another_type(problem: Problem, wanted: &str) -> Problem {
    let (rule, help) = match wanted {
        "a string" => ("a string", "put it in double quotes"),
        "a boolean" => ("`true` or `false`", "write one of them, without quotes"),
        "usize" | "u32" => ("a whole number, 1 or more", "write a number, without quotes"),
        "u64" => ("a whole number, 0 or more", "write a number, without quotes"),
        "a sequence" => ("a list", "put it in brackets: [\"…\"]"),
        "a map" | "a map of strings" => ("names with their values", "write them between braces"),
        other => (other, "write that instead"),
    };
    problem.rule(rule).help(help)
}

/// A value's own complaint brings its rule and its remedy along.
fn with_own_rule(problem: impl Fn(String) -> Problem, message: &str) -> Problem {
    let (message, help) = message.split_once("\n  help: ").map_or((message, None), |(m, help)| (m, Some(help)));
    let (message, rule) = message.split_once("\n  rule: ").map_or((message, None), |(m, rule)| (m, Some(rule)));
    let (rule, help) = (rule.map(str::to_owned), help.map(str::to_owned));
    Problem { rule, help, ..problem(message.to_owned()) }
}
