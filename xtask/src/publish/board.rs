//! What is shown of builds while they run: on a terminal an area that is drawn over and over, elsewhere a line now and
//! then. The time is told, and not asked for.

use std::time::Duration;

use crate::model::{Step, one_line};
use crate::run::human_time;

/// Before this, most runs have ended, and an area would only flicker.
const FIRST_SIGN: Duration = Duration::from_millis(500);
/// After how long without a line somebody wonders whether anything goes on.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How many builds such a line names.
const MOST_NAMED: usize = 4;
/// How much of a step such a line shows, in columns.
const STEP_COLUMNS: usize = 60;

/// The builds that run.
#[derive(Default)]
pub struct Board {
    /// In the order in which they began.
    running: Vec<Running>,
    /// When the first of all began.
    start: Option<Duration>,
    /// When a line was last printed.
    told: Duration,
}

struct Running {
    name: String,
    start: Duration,
    step: Option<Step>,
}

impl Board {
    /// A build begins, which a line tells where there is no area.
    pub fn begin(&mut self, name: String, now: Duration) {
        self.start.get_or_insert(now);
        self.running.push(Running { name, start: now, step: None });
        self.told = now;
    }

    /// A build has come to this step, the first that runs of its steps.
    pub fn step(&mut self, name: &str, step: Option<&Step>) {
        if let Some(running) = self.running.iter_mut().find(|running| running.name == name) {
            running.step = step.cloned();
        }
    }

    /// A build ends, which a line tells.
    pub fn end(&mut self, name: &str, now: Duration) {
        self.running.retain(|running| running.name != name);
        self.told = now;
    }

    /// The rows of the area, for a terminal of so many columns and rows. Names are never cut, so that none looks like
    /// another: a name that is too long for a row goes on in the next. Steps are cut.
    pub fn area(&self, ended: &str, now: Duration, (columns, rows): (usize, usize)) -> Vec<String> {
        let time = now.saturating_sub(self.start.unwrap_or_default());
        if time < FIRST_SIGN || self.running.is_empty() {
            return Vec::new();
        }
        let columns = columns.max(2) - 1;
        let head = format!("{:>12} {ended} {} running, {}", "Building", self.running.len(), human_time(time));
        let mut area = broken(&head, columns);
        // What was printed before stays in sight.
        let most = (rows / 2).max(3);
        for (i, running) in self.running.iter().enumerate() {
            let (next, others) = (
                broken(&format!("    {}", running.shown(now, columns - columns.min(4))), columns),
                self.running.len() - i,
            );
            if area.len() + next.len() + usize::from(others > 1) > most {
                area.extend(broken(&format!("    and {others} more"), columns));
                break;
            }
            area.extend(next);
        }
        area
    }

    /// What is said where there is no area and nothing has been said for long.
    pub fn heartbeat(&mut self, ended: &str, now: Duration) -> Option<String> {
        if self.running.is_empty() || now < self.told + HEARTBEAT {
            return None;
        }
        self.told = now;
        let room = |running: &Running| running.start_of_line(now).len() + STEP_COLUMNS;
        let named = self.running.iter().take(MOST_NAMED).map(|running| running.shown(now, room(running)));
        let more = self.running.len().saturating_sub(MOST_NAMED);
        let named: Vec<String> = named.chain((more > 0).then(|| format!("and {more} more"))).collect();
        Some(format!("{ended} {}", named.join("; ")))
    }
}

impl Running {
    /// Whose build it is, for how long it runs, and for how long in which step, in so many columns if the name leaves
    /// room for that.
    fn shown(&self, now: Duration, columns: usize) -> String {
        let start = self.start_of_line(now);
        let Some(step) = &self.step else { return start };
        let time = human_time(now.saturating_sub(Duration::from_millis(step.start_ms)));
        let start_of_step = format!("{start}, {time} in ");
        let room = columns.saturating_sub(start_of_step.len());
        if room < 10 { start } else { format!("{start_of_step}{}", cut(&one_line(&step.name), room)) }
    }

    fn start_of_line(&self, now: Duration) -> String {
        format!("{} {}", self.name, human_time(now.saturating_sub(self.start)))
    }
}

/// A text in rows of so many columns.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for c in text.chars() {
        let row = rows.len() - 1;
        if width(&rows[row]) + width(c.encode_utf8(&mut [0; 4])) > columns {
            rows.push(c.to_string());
        } else {
            rows[row].push(c);
        }
    }
    rows
}

/// How many columns a text takes at most: some characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// The start of a text that is too long for so many columns.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while width(&kept) + width("…") > columns && kept.pop().is_some() {}
    format!("{kept}…")
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
