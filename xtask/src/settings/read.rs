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
        return Err(Problem::new(format!("{path}:1:1"), "a list").rule("an object: { … }"));
    }
    serde_json::from_str(text).map_err(|error| explained(format!("{path}:{}:{}", error.line(), error.column()), &error))
}

/// serde's message as a complaint of ours: an unknown key comes with the nearest known one.
/// Its wording (``unknown field `x`, expected one of `a`, `b` ``) is fixed by `serde::de::Error::unknown_field`.
fn explained(at: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, known)) if is_unknown_key(message) => {
            let problem = Problem::new(at, format!("unknown key `{unknown}`"));
            let problem = problem.did_you_mean(unknown, known.iter().copied());
            if problem.help.is_some() { problem } else { problem.rule(format!("one of `{}`", known.join("`, `"))) }
        }
        // A value's own complaint brings its rule and its remedy along.
        _ => {
            let (message, help) = message.split_once("\n  help: ").map_or((message, None), |(m, help)| (m, Some(help)));
            let (message, rule) = message.split_once("\n  rule: ").map_or((message, None), |(m, rule)| (m, Some(rule)));
            let what = message
                .replace("duplicate field", "duplicate key")
                .replace("expected usize", "expected a whole number")
                .replace("expected u32", "expected a whole number");
            let (rule, help) = (rule.map(str::to_owned), help.map(str::to_owned));
            Problem { rule, help, ..Problem::new(at, what) }
        }
    }
}
