//! `[workspace.metadata.jobs.timeouts]` and `JOBS_TIMEOUTS`: after what time other programs are ended, in seconds.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::read::from_table;
use super::target::Sourced;
use crate::model::{Problem, Timeouts};

/// Where the table stands, for messages.
const TABLE: &str = "Cargo.toml: [workspace.metadata.jobs.timeouts]";
/// What goes before the table, e.g. `read=5,write=20`.
const VARIABLE: &str = "JOBS_TIMEOUTS";
/// The longest time, in seconds: five days, after which GitHub ends every job.
const LONGEST: u32 = 5 * 24 * 60 * 60;

/// What the table or the variable says, in seconds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Seconds {
    read: Option<u32>,
    write: Option<u32>,
    build: Option<u32>,
}

/// The timeouts, each from the variable, else from the table, else by default.
pub fn timeouts(table: Option<Value>, variable: Option<&str>) -> Result<Sourced<Timeouts>, Vec<Problem>> {
    let of_table = table.map_or(Ok(Seconds::default()), |table| seconds(TABLE, table));
    let of_variable = variable.map_or(Ok(Seconds::default()), |list| seconds(VARIABLE, entries(list)?));
    let (table, variable) = match (of_table, of_variable) {
        (Ok(table), Ok(variable)) => (table, variable),
        (table, variable) => return Err([table.err(), variable.err()].into_iter().flatten().flatten().collect()),
    };
    let source = match (table.is_empty(), variable.is_empty()) {
        (true, true) => "default".to_owned(),
        (false, true) => "Cargo.toml".to_owned(),
        (true, false) => VARIABLE.to_owned(),
        (false, false) => format!("Cargo.toml and {VARIABLE}"),
    };
    let time = |variable: Option<u32>, table: Option<u32>, usual: Duration| {
        variable.or(table).map_or(usual, |seconds| Duration::from_secs(seconds.into()))
    };
    let usual = Timeouts::default();
    let value = Timeouts {
        read: time(variable.read, table.read, usual.read),
        write: time(variable.write, table.write, usual.write),
        build: time(variable.build, table.build, usual.build),
    };
    Ok(Sourced { value, source })
}

impl Seconds {
    fn is_empty(&self) -> bool {
        [self.read, self.write, self.build] == [None; 3]
    }
}

fn seconds(at: &str, table: Value) -> Result<Seconds, Vec<Problem>> {
    let seconds: Seconds = from_table(at, table)?;
    let all = [("read", seconds.read), ("write", seconds.write), ("build", seconds.build)];
    let wrong = all.into_iter().filter_map(|(key, time)| Some((key, time.filter(|s| !(1..=LONGEST).contains(s))?)));
    let problems: Vec<Problem> = wrong
        .map(|(key, time)| {
            Problem::new(format!("{at} {key}"), format!("{time} seconds"))
                .rule(format!("between 1 and {LONGEST}, five days, the limit of GitHub Actions"))
                .help(format!("write how many seconds it may take, or leave `{key}` out"))
        })
        .collect();
    if problems.is_empty() { Ok(seconds) } else { Err(problems) }
}

/// What the variable says, as a table.
fn entries(list: &str) -> Result<Value, Vec<Problem>> {
    let (mut table, mut problems) = (Map::new(), Vec::new());
    for entry in list.split(',') {
        let parsed = entry.split_once('=').and_then(|(key, time)| Some((key, time.parse::<u32>().ok()?)));
        let wrong = |what: &str| Problem::new(format!("{VARIABLE}: `{entry}`"), what);
        match parsed {
            Some((key, _)) if table.contains_key(key) => {
                problems.push(wrong("there is another one of that name").rule("each name once").help("remove one"));
            }
            Some((key, time)) => drop(table.insert(key.to_owned(), time.into())),
            None => problems.push(
                wrong("not a timeout")
                    .rule("name=seconds, in whole seconds, with commas between them")
                    .help(format!("e.g. {VARIABLE}=read=60,write=600,build=3600")),
            ),
        }
    }
    if problems.is_empty() { Ok(table.into()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The timeouts in seconds, and where they came from; or the complaints.
    fn read(table: Option<Value>, variable: Option<&str>) -> Result<([u64; 3], String), String> {
        let found = timeouts(table, variable).map(|Sourced { value: Timeouts { read, write, build }, source }| {
            ([read, write, build].map(|time| time.as_secs()), source)
        });
        found.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_variable_goes_before_the_table_and_that_before_the_default() {
        assert_eq!(read(None, None).unwrap(), ([60, 600, 3600], "default".to_owned()));
        let table = || Some(json!({ "read": 5, "build": 7 }));
        assert_eq!(read(table(), None).unwrap(), ([5, 600, 7], "Cargo.toml".to_owned()));
        assert_eq!(read(None, Some("write=20,read=6")).unwrap(), ([6, 20, 3600], "JOBS_TIMEOUTS".to_owned()));
        let both = ([6, 600, 7], "Cargo.toml and JOBS_TIMEOUTS".to_owned());
        assert_eq!(read(table(), Some("read=6")).unwrap(), both);
        assert_eq!(read(Some(json!({})), None).unwrap().1, "default");
    }

    #[test]
    fn mistakes_are_named_all_at_once() {
        let rule = |key: &str| {
            format!(
                "\n  rule: between 1 and 432000, five days, the limit of GitHub Actions\n  \
                 help: write how many seconds it may take, or leave `{key}` out"
            )
        };
        const FORM: &str = "not a timeout\n  rule: name=seconds, in whole seconds, with commas between them\n  \
                            help: e.g. JOBS_TIMEOUTS=read=60,write=600,build=3600";
        let table = "Cargo.toml: [workspace.metadata.jobs.timeouts]";
        for (entry, variable, complaint) in [
            (
                json!(5),
                None,
                format!("{table}: not a table\n  help: write its keys below it, one to a line: key = value"),
            ),
            (json!({"reed": 5}), None, format!("{table}: unknown key `reed`\n  help: did you mean `read`?")),
            (
                json!({"read": "5"}),
                None,
                format!(
                    "{table} read: invalid type: string \"5\"\n  rule: a whole number, 1 or more\n  \
                     help: write a number, without quotes"
                ),
            ),
            (
                json!({"read": 0, "build": 432_001}),
                Some("write=0"),
                format!(
                    "{table} read: 0 seconds{}\n{table} build: 432001 seconds{}\nJOBS_TIMEOUTS write: 0 seconds{}",
                    rule("read"),
                    rule("build"),
                    rule("write")
                ),
            ),
            (
                json!({}),
                Some("read=5s,,write"),
                format!("JOBS_TIMEOUTS: `read=5s`: {FORM}\nJOBS_TIMEOUTS: ``: {FORM}\nJOBS_TIMEOUTS: `write`: {FORM}"),
            ),
            (json!({}), Some("read=-1"), format!("JOBS_TIMEOUTS: `read=-1`: {FORM}")),
            (
                json!({}),
                Some("biuld=9"),
                "JOBS_TIMEOUTS: unknown key `biuld`\n  help: did you mean `build`?".to_owned(),
            ),
            (json!({}), Some("read=5,read=6"), "JOBS_TIMEOUTS: `read=6`: there is another one of that name\n  rule: each name once\n  help: remove one".to_owned()),
        ] {
            assert_eq!(read(Some(entry), variable).unwrap_err(), complaint);
        }
    }
}
