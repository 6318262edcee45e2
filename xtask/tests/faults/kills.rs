//! The program is killed at each of its requests, or asked to end: nothing is written afterwards, and the next run goes
//! on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::check::ensure;
use crate::lab::Lab;
use crate::requests::{BUILD, Command, MERGE, REUSE};

/// What was already on its way may still arrive.
const ON_THE_WAY: Duration = Duration::from_millis(700);
/// How long nothing may be written after that.
const QUIET: Duration = Duration::from_secs(2);

pub fn cases(lab: &Lab) -> Vec<Case> {
    let mut cases = Vec::new();
    for command in [BUILD, MERGE, REUSE] {
        let requests = lab.requests[command.name];
        for nth in 1..=requests {
            let name = format!("{} at request {nth}", command.name);
            let case = Case::new("kills", name, move |lab| end(lab, command, "-KILL", nth, None));
            cases.push(case.quick(nth % 16 == 9));
        }
        for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
            for part in 1..=2 {
                let nth = (requests * part / 3).max(1);
                let name = format!("{signal} to {} at request {nth}", command.name);
                let case = Case::new("signals", name, move |lab| end(lab, command, signal, nth, Some(code)));
                cases.push(case.quick(part == 2));
            }
        }
    }
    cases
}

/// Sends a signal at the nth request; the run ends with this code, or with none.
fn end(lab: &Lab, command: Command, signal: &'static str, nth: usize, code: Option<i32>) -> Result<(), String> {
    let bench = command.bench(lab);
    let (pid, sent) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None)));
    let (target, at) = (Arc::clone(&pid), Arc::clone(&sent));
    bench.runner.front.set(move |_, asked, passing| {
        let mut at = at.lock().unwrap();
        if asked >= nth && at.is_none() {
            passing.wait(|| target.load(Ordering::SeqCst) > 0);
            *at = Some(Instant::now());
            send(signal, target.load(Ordering::SeqCst));
        }
        None
    });
    let running = bench.runner.start(&command.args());
    pid.store(running.child.id(), Ordering::SeqCst);
    let ended = running.end();
    // From now on, its number may be another program's.
    bench.runner.front.heal();
    let sent = *sent.lock().unwrap();
    let (text, front) = (ended.text.clone(), &bench.runner.front);
    let why = |why: String| format!("{why}\nthe run that got {signal}: {text}\nrequests:\n{}", front.log());
    let Some(at) = sent else {
        // This run made fewer requests than the one that was counted.
        return ended.with(&[0]).and_then(|_| bench.recover()).map_err(why);
    };
    // A signal that comes with the last request may find nothing left to end.
    ensure(ended.code == code || ended.code == Some(0), || why(format!("ended with {:?}", ended.code)))?;
    std::thread::sleep((at + ON_THE_WAY + QUIET).saturating_duration_since(Instant::now()));
    let late = front.writes_after(ended.at + ON_THE_WAY);
    ensure(late.is_empty(), || why(format!("written after the end: {late:#?}")))?;
    bench.recover().map_err(why)
}

/// Sends a signal to a process.
fn send(signal: &str, pid: u32) {
    let mut kill = std::process::Command::new("kill");
    let _ = kill.args([signal, &pid.to_string()]).stderr(std::process::Stdio::null()).status().unwrap();
}
