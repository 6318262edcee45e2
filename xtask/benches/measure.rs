//! One run of a program, measured with everything that it starts, and several ways of doing the same work in turns.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::suite::{Suite, last_lines, say, shown};

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(5);
/// A look at memory is followed by a pause of so many times its length, so that it takes little of what it measures.
const SPARING: u32 = 10;
/// The unit of CPU times in `/proc`, the same on every Linux: `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one run took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Seconds from the start to the end.
    pub wall: f64,
    /// Seconds of CPU of the program and of all that it started and waited for, so not of the engine and the registry.
    pub cpu: f64,
    /// The most memory that the program and all that it started held at one time, in bytes.
    pub peak: u64,
}

/// All runs of one way of doing a piece of work.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub samples: Vec<Sample>,
    /// By how much the samples are multiplied, where a part of the work was measured.
    pub scale: f64,
}

impl Measured {
    pub fn wall(&self) -> f64 {
        self.scale * median(self.samples.iter().map(|sample| sample.wall))
    }

    pub fn cpu(&self) -> f64 {
        self.scale * median(self.samples.iter().map(|sample| sample.cpu))
    }

    /// In bytes. The work's size decides little about it, so it is not scaled.
    pub fn peak(&self) -> f64 {
        // Well below the 2^53 up to which every whole number has its own.
        median(self.samples.iter().map(|sample| sample.peak as f64))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Gives the commands of a turn, after whatever has to be there first. Only the commands are measured.
pub type Prepare<'a> = Box<dyn FnMut(usize) -> anyhow::Result<Vec<Command>> + 'a>;

/// One way of doing a piece of work.
pub struct Way<'a> {
    name: &'a str,
    scale: f64,
    prepare: Prepare<'a>,
}

impl<'a> Way<'a> {
    pub fn new(name: &'a str, prepare: impl FnMut(usize) -> anyhow::Result<Vec<Command>> + 'a) -> Way<'a> {
        Way { name, scale: 1.0, prepare: Box::new(prepare) }
    }

    /// Does only a part of the work, one `scale`th, because all of it would take too long.
    pub fn part(self, scale: f64) -> Way<'a> {
        Way { scale, ..self }
    }
}

/// Measures the ways in turns: first, second, second, first, and so on.
///
/// # Errors
/// A command cannot be started or fails.
pub fn in_turns(suite: &Suite, work: &str, mut ways: Vec<Way<'_>>) -> anyhow::Result<Vec<Measured>> {
    let mut measured: Vec<Measured> =
        ways.iter().map(|way| Measured { samples: Vec::new(), scale: way.scale }).collect();
    let parent = parent_id();
    for round in 0..suite.rounds {
        let mut turns: Vec<_> = ways.iter_mut().zip(&mut measured).collect();
        // There and back: what is built side by side leaves work to the engine, and not always to the same way.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (way, measured) in turns {
            let what = || format!("{work}, {}, round {}", way.name, round + 1);
            // A signal to cargo does not reach this process. The guards end what runs and remove what was written.
            anyhow::ensure!(parent_id() == parent, "interrupted before {}", what());
            let commands = (way.prepare)(round).with_context(what)?;
            let sample = run(suite, commands).with_context(what)?;
            say(&format!("  {}: {:.3} s", what(), sample.wall));
            measured.samples.push(sample);
        }
    }
    Ok(measured)
}

/// Runs commands one after the other, as one piece of work.
fn run(suite: &Suite, commands: Vec<Command>) -> anyhow::Result<Sample> {
    let log = suite.dir.join("last.log");
    let mut total = Sample { wall: 0.0, cpu: 0.0, peak: 0 };
    for mut command in commands {
        let file = File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let before = cpu_of_children()?;
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("could not start `{}`", shown(&command)))?;
        let (pid, ended) = (child.id(), AtomicBool::new(false));
        let (status, wall, peak) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| peak_memory(pid, &ended));
            let status = child.wait();
            let wall = start.elapsed();
            ended.store(true, Ordering::Relaxed);
            (status, wall, sampler.join().unwrap_or_default())
        });
        let status = status.with_context(|| format!("could not wait for `{}`", shown(&command)))?;
        if !status.success() {
            anyhow::bail!("`{}` ended with {status}: {}", shown(&command), last_lines(&std::fs::read(&log)?));
        }
        total.wall += wall.as_secs_f64();
        total.cpu += cpu_of_children()? - before;
        total.peak = total.peak.max(peak);
    }
    Ok(total)
}

/// Seconds of CPU of all processes that this one has waited for, and of those that they waited for
/// ([proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), `cutime` and `cstime`).
fn cpu_of_children() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("could not read /proc/self/stat")?;
    let fields = fields_of(&stat).context("/proc/self/stat has another form")?;
    let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(16).zip(ticks(17)).context("/proc/self/stat has no CPU times")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// The fields from the third on. The second is the program's name in parentheses, which may hold anything.
fn fields_of(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

/// The most memory of a process and its descendants, in bytes, until it has ended.
fn peak_memory(pid: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let start = Instant::now();
        peak = peak.max(memory_of_tree(pid));
        std::thread::sleep(INTERVAL.max(start.elapsed() * SPARING));
    }
    peak
}

/// The memory of a process and its descendants. What two of them share counts twice, as it does in `ps`.
fn memory_of_tree(root: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Numbers ascend, so what is older than the root is not looked at: there are hundreds of such processes.
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|&pid| pid > root) else { continue };
        // A process that has ended in the meantime has no memory either.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = fields_of(&stat).and_then(|fields| fields.get(1)?.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(pid);
    }
    let (mut open, mut bytes) = (vec![root], 0);
    while let Some(pid) = open.pop() {
        bytes += resident(pid).unwrap_or_default();
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    bytes
}

/// The resident memory of one process, in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
