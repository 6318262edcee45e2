//! What was measured: a Markdown table for each benchmark on stdout, every sample as JSON, and the plot.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::measure::Measured;
use crate::plot;
use crate::registry::Network;
use crate::suite::{Suite, program, read, root, say};

/// What is asked of this tool.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Wanted {
    /// So many times as fast as the peer.
    TimesAsFast(f64),
    /// So many times the peer's time at most.
    TimesThePeer(f64),
    /// So many seconds at most.
    Seconds(f64),
    /// So many megabytes at most.
    Megabytes(f64),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::TimesAsFast(times) => write!(f, "≥ {times} times as fast"),
            Wanted::TimesThePeer(times) => write!(f, "≤ {times} times its time"),
            Wanted::Seconds(seconds) => write!(f, "≤ {seconds} s"),
            Wanted::Megabytes(megabytes) => write!(f, "≤ {megabytes} MB"),
        }
    }
}

/// This tool beside one peer, or by itself, on one piece of work.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub work: &'static str,
    /// How many jobs, or what else makes the work long.
    pub size: usize,
    /// How far away the registry is; `None` if none is asked.
    pub network: Option<Network>,
    pub ours: Measured,
    pub peer: Option<Peer>,
    pub wanted: Vec<Wanted>,
}

/// What this tool is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    pub name: String,
    pub measured: Measured,
}

impl Comparison {
    pub fn new(work: &'static str, size: usize, network: impl Into<Option<Network>>, ours: &Measured) -> Comparison {
        Comparison { work, size, network: network.into(), ours: ours.clone(), peer: None, wanted: Vec::new() }
    }

    pub fn with(mut self, name: &str, measured: &Measured) -> Comparison {
        self.peer = Some(Peer { name: name.to_owned(), measured: measured.clone() });
        self
    }

    pub fn wants(mut self, wanted: impl IntoIterator<Item = Wanted>) -> Comparison {
        self.wanted.extend(wanted);
        self
    }

    /// How many times as fast as the peer this tool is.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.peer.as_ref()?.measured.wall() / self.ours.wall())
    }

    fn is_reached(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::TimesAsFast(times) => self.ratio().is_some_and(|ratio| ratio >= times),
            Wanted::TimesThePeer(times) => self.ratio().is_some_and(|ratio| 1.0 / ratio <= times),
            Wanted::Seconds(seconds) => self.ours.wall() <= seconds,
            Wanted::Megabytes(megabytes) => self.ours.peak() / 1e6 <= megabytes,
        }
    }

    /// What makes a line of the table: the same work beside the same peer, however far away the registry is.
    fn line(&self) -> (&str, usize, &str) {
        (self.work, self.size, self.peer.as_ref().map_or("", |peer| &peer.name))
    }

    /// The times, their ratio and what is wanted.
    fn times(&self) -> [String; 4] {
        let times = |ratio: f64| if ratio < 10.0 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") };
        let wanted = |wanted: &Wanted| {
            let mark = if self.is_reached(*wanted) { "yes" } else { "**no**" };
            format!("{wanted}: {mark}")
        };
        let wanted: Vec<String> = self.wanted.iter().map(wanted).collect();
        [
            seconds(self.ours.wall()),
            self.peer.as_ref().map_or_else(String::new, |peer| seconds(peer.measured.wall())),
            self.ratio().map_or_else(String::new, times),
            wanted.join(", "),
        ]
    }

    /// CPU time of both, and this tool's memory. The network changes little about them.
    fn resources(&self) -> [String; 3] {
        [
            seconds(self.ours.cpu()),
            self.peer.as_ref().map_or_else(String::new, |peer| seconds(peer.measured.cpu())),
            format!("{:.0} MB", self.ours.peak() / 1e6),
        ]
    }
}

/// The table of comparisons, with the times at 50 ms beside those at hand where a registry is asked.
fn compared(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let is_far = |comparison: &&Comparison| comparison.network == Some(Network::Far);
    let has_far = comparisons.iter().any(|comparison| is_far(&comparison));
    let mut head = vec!["work", "size", "peer", "ours", "peer's", "ratio", "wanted"];
    if has_far {
        head.extend(["ours, 50 ms", "peer's, 50 ms", "ratio, 50 ms", "wanted, 50 ms"]);
    }
    head.extend(["our CPU", "peer's CPU", "our memory"]);
    let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
    let mut seen = BTreeSet::new();
    for line in comparisons.iter().map(Comparison::line).filter(|line| seen.insert(*line)) {
        let of_line = || comparisons.iter().filter(move |comparison| comparison.line() == line);
        let (near, far) = (of_line().find(|comparison| !is_far(comparison)), of_line().find(is_far));
        let times = |comparison: Option<&Comparison>| comparison.map(Comparison::times).unwrap_or_default();
        let mut row = vec![line.0.to_owned(), line.1.to_string(), line.2.to_owned()];
        row.extend(times(near));
        if has_far {
            row.extend(times(far));
        }
        row.extend(near.or(far).map(Comparison::resources).unwrap_or_default());
        rows.push(row);
    }
    rows
}

/// What one benchmark found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Section {
    pub name: &'static str,
    pub comparisons: Vec<Comparison>,
    /// Tables that compare something else, each with its head.
    pub others: Vec<Vec<Vec<String>>>,
    /// What those were made from.
    pub samples: Vec<Measured>,
    /// What has to be known to read the tables, one sentence each.
    pub notes: Vec<String>,
    /// How long all of it took, in seconds.
    pub took: f64,
}

impl Section {
    fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.name);
        if !self.comparisons.is_empty() {
            text += &table(&compared(&self.comparisons));
        }
        for other in &self.others {
            text += &table(other);
        }
        for note in &self.notes {
            text += &format!("{note}\n");
        }
        text.trim_end().to_owned() + "\n"
    }
}

/// A Markdown table, and an empty line; the first row is its head.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if number == 0 {
            text += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    text + "\n"
}

/// A time as people compare it: three digits.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.995 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 9.95 => format!("{seconds:.2} s"),
        seconds => format!("{seconds:.1} s"),
    }
}

/// What all benchmarks of one run found.
#[derive(Default)]
pub struct Report {
    pub sections: Vec<Section>,
}

impl Report {
    /// Prints the tables, and writes samples and plot.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, suite: &Suite) -> anyhow::Result<()> {
        let environment = environment(suite)?;
        let tables: Vec<String> = self.sections.iter().map(Section::markdown).collect();
        let tables = tables.join("\n");
        let samples = json!({ "environment": environment, "sections": self.sections });
        let files = [
            ("results.json", serde_json::to_string_pretty(&samples)? + "\n"),
            ("results.md", tables.clone()),
            ("plot.svg", plot::svg(&self.sections)),
        ];
        for (name, text) in files {
            let path = suite.dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
            say(&format!("wrote {}", path.display()));
        }
        std::io::stdout().lock().write_all(tables.as_bytes()).context("could not write to stdout")
    }
}

/// What the numbers depend on besides the tool.
fn environment(suite: &Suite) -> anyhow::Result<serde_json::Value> {
    let root = root()?;
    let said = |name: &str, args: &[&str]| {
        let mut command = program(name, &root);
        command.args(args);
        // A program that is not there is compared with in no benchmark either.
        let text = read(command).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(json!({
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=40"]),
        "cpu": cpu.map(|(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": said("uname", &["-sr"]),
        "engine": said("docker", &["version", "--format", "{{.Server.Version}}"]),
        "buildx": said("docker", &["buildx", "version"]),
        "registry": said("docker-registry", &["--version"]),
        "git": said("git", &["--version"]),
        "curl": said("curl", &["--version"]),
        "jq": said("jq", &["--version"]),
        "cargo": said("cargo", &["--version"]),
        "rounds": suite.rounds,
        "quick": suite.quick,
    }))
}
