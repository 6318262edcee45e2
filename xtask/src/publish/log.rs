//! What buildx tells of a build while it runs, read as it comes: one JSON object a line, which is BuildKit's
//! [`SolveStatus`](https://github.com/moby/buildkit/blob/master/client/graph.go). It becomes the steps of the build,
//! and lines for people like those of `--progress plain`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::Value;

use crate::model::Step;

/// How many of the last lines of a step that failed are repeated below its error.
const LAST_LINES: usize = 20;

/// The object that a line of buildx holds; its last words are text.
pub fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// A build, as far as it has been told.
#[derive(Default)]
pub struct BuildLog {
    /// What stands before the names of the build's steps where buildx builds several at once: `a-amd64-0`.
    target: Option<String>,
    /// BuildKit's digest of a step -> the step.
    steps: BTreeMap<String, LoggedStep>,
    /// How many have begun.
    begun: usize,
}

impl BuildLog {
    /// The log of one of several builds.
    pub fn of_target(name: String) -> BuildLog {
        BuildLog { target: Some(name), ..BuildLog::default() }
    }

    /// Reads an object that came at this time of the run, and gives it as lines for people. What it tells of other
    /// builds is passed over.
    pub fn read(&mut self, event: &Value, now: Duration) -> Vec<String> {
        let (mut lines, now) = (Vec::new(), millis(now));
        for vertex in items(event, "vertexes") {
            let (Some(digest), Some(name)) = (text(vertex, "digest"), self.name(vertex)) else { continue };
            let step = self.steps.entry(digest.to_owned()).or_insert_with(|| LoggedStep::new(name));
            if text(vertex, "started").is_some() {
                lines.extend(step.begin(&mut self.begun, now));
                step.step.end_ms = None;
            }
        }
        for (key, is_output) in [("statuses", false), ("logs", true)] {
            for item in items(event, key) {
                let Some(step) = text(item, "vertex").and_then(|digest| self.steps.get_mut(digest)) else { continue };
                // Layers of a cache may be told of before their step begins.
                lines.extend(step.begin(&mut self.begun, now));
                lines.extend(if is_output { step.print(item, now) } else { step.part(item) });
            }
        }
        for vertex in items(event, "vertexes").filter(|vertex| text(vertex, "completed").is_some()) {
            let is_ours = self.name(vertex).is_some();
            let step = text(vertex, "digest").filter(|_| is_ours).and_then(|digest| self.steps.get_mut(digest));
            lines.extend(step.map(|step| step.end(vertex, now)).unwrap_or_default());
        }
        lines
    }

    /// The step that runs, the first of them if there are several.
    pub fn running(&self) -> Option<&Step> {
        self.begun().find(|step| step.end_ms.is_none())
    }

    /// The steps in the order in which they began.
    pub fn begun(&self) -> impl Iterator<Item = &Step> {
        let mut begun: Vec<&LoggedStep> = self.steps.values().filter(|step| step.number > 0).collect();
        begun.sort_by_key(|step| step.number);
        begun.into_iter().map(|step| &step.step)
    }

    /// The name of a step of this build, as a build of this image alone would have it.
    fn name(&self, vertex: &Value) -> Option<String> {
        let name = text(vertex, "name")?;
        let Some(target) = &self.target else { return Some(name.to_owned()) };
        let rest = name.strip_prefix('[')?.strip_prefix(target.as_str())?;
        let alone = rest.strip_prefix(' ').map(|rest| format!("[{rest}"));
        alone.or_else(|| rest.strip_prefix("] ").map(str::to_owned))
    }
}

/// A step, and what has been told of it so far.
struct LoggedStep {
    step: Step,
    /// From 1 on, in the order in which steps begin; 0 before that.
    number: usize,
    /// What it has printed since its last newline.
    rest: Vec<u8>,
    last_lines: VecDeque<String>,
    /// The parts of its work that have begun, and those that are done.
    parts: [BTreeSet<String>; 2],
    has_ended: bool,
}

impl LoggedStep {
    fn new(name: String) -> LoggedStep {
        let step = Step { name, start_ms: 0, end_ms: None, cached: false, failed: false };
        let (rest, last_lines) = (Vec::new(), VecDeque::new());
        LoggedStep { step, number: 0, rest, last_lines, parts: Default::default(), has_ended: false }
    }

    /// Its lines, each with its number.
    fn lines(&self, text: &str) -> Vec<String> {
        text.lines()
            .enumerate()
            .map(|(i, line)| if i == 0 { format!("#{} {line}", self.number) } else { line.to_owned() })
            .collect()
    }

    /// Its heading, the first time.
    fn begin(&mut self, begun: &mut usize, now: u64) -> Vec<String> {
        if self.number > 0 {
            return Vec::new();
        }
        *begun += 1;
        (self.number, self.step.start_ms) = (*begun, now);
        self.lines(&self.step.name)
    }

    /// A part of its work, when it begins and when it is done.
    fn part(&mut self, status: &Value) -> Vec<String> {
        let Some(id) = text(status, "id") else { return Vec::new() };
        let is_done = text(status, "completed").is_some();
        if !self.parts[usize::from(is_done)].insert(id.to_owned()) {
            return Vec::new();
        }
        let bytes =
            status["current"].as_u64().filter(|&bytes| is_done && bytes > 0).map(|bytes| format!(" {}", size(bytes)));
        let done = if is_done { " done" } else { "" };
        self.lines(&format!("{id}{}{done}", bytes.unwrap_or_default()))
    }

    /// What it prints, line by line, with the seconds since it began.
    fn print(&mut self, log: &Value, now: u64) -> Vec<String> {
        let data = text(log, "data").and_then(|data| Base64::decode_vec(data).ok()).unwrap_or_default();
        self.rest.extend(data);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        self.printed(&whole, now)
    }

    fn printed(&mut self, bytes: &[u8], now: u64) -> Vec<String> {
        let seconds = Duration::from_millis(now.saturating_sub(self.step.start_ms)).as_secs_f64();
        let mut lines = Vec::new();
        for line in String::from_utf8_lossy(bytes).lines() {
            // Of a line that was written over and over, as a bar that grows, what a terminal shows in the end.
            let shown = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
            let line = format!("{seconds:.3} {shown}");
            lines.push(format!("#{} {line}", self.number));
            self.last_lines.push_back(line);
        }
        let old = self.last_lines.len().saturating_sub(LAST_LINES);
        self.last_lines.drain(..old);
        lines
    }

    /// How it ended. BuildKit may take up again what has ended, and that is told once.
    fn end(&mut self, vertex: &Value, now: u64) -> Vec<String> {
        (self.step.end_ms, self.step.cached) = (Some(now), vertex["cached"] == true);
        let rest = std::mem::take(&mut self.rest);
        let mut lines = self.printed(&rest, now);
        let error = text(vertex, "error").unwrap_or_default();
        if self.has_ended && error.is_empty() {
            return lines;
        }
        let seconds = Duration::from_millis(now.saturating_sub(self.step.start_ms)).as_secs_f64();
        (self.has_ended, self.step.failed) = (true, !error.is_empty() && !error.ends_with("context canceled"));
        lines.extend(self.lines(&match error {
            "" if self.step.cached => "CACHED".to_owned(),
            "" => format!("DONE {seconds:.1}s"),
            _ if self.step.failed => format!("ERROR: {error}"),
            _ => "CANCELED".to_owned(),
        }));
        if self.step.failed {
            lines.extend(["------".to_owned(), format!(" > {}:", self.step.name)]);
            lines.extend(self.last_lines.iter().cloned());
            lines.push("------".to_owned());
        }
        lines.push(String::new());
        lines
    }
}

fn items<'a>(event: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    event[key].as_array().into_iter().flatten()
}

fn text<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
    item[key].as_str()
}

/// A time of the run as records have it.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A size in bytes, as buildx says it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{}.{:02}kB", bytes / 1_000, bytes % 1_000 / 10),
        _ => format!("{}.{:02}MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
