//! Faults of single requests: each fault at each kind of request that a command makes, once, three times, or for ever.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::case::Case;
use crate::front::{
    BLOB_READ, EVER, Fault, HEAD, LATEST_READ, LATEST_WRITE, MANIFEST_READ, MANIFEST_WRITE, ONCE, Place, SECOND,
    TAG_READ, TAG_WRITE, THRICE, Times, UPLOAD, rule,
};
use crate::lab::{B, Bench, C, Lab, Start, build};

/// After how many seconds the program gives up on those that do not answer.
const TIMEOUTS: (&str, &str) = ("JOBS_TIMEOUTS", "read=5,write=20,build=20");

/// A command, where it begins, and the kinds of requests that it makes.
#[derive(Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    kind: &'static str,
    pub start: Start,
    pub commit: usize,
    pub places: &'static [Place],
}

pub const BUILD: Command = Command {
    name: "build",
    kind: "faults of build",
    start: Start::PublishedA,
    commit: B,
    places: &[TAG_READ, HEAD, UPLOAD, MANIFEST_WRITE, TAG_WRITE],
};
pub const MERGE: Command = Command {
    name: "merge",
    kind: "faults of merge",
    start: Start::BuiltB,
    commit: B,
    places: &[TAG_READ, MANIFEST_READ, BLOB_READ, HEAD, TAG_WRITE, LATEST_READ, LATEST_WRITE],
};
pub const REUSE: Command = Command {
    name: "merge of a reuse",
    kind: "faults of merge of a reuse",
    start: Start::PublishedB,
    commit: C,
    places: &[TAG_READ, MANIFEST_READ, BLOB_READ, HEAD, TAG_WRITE, LATEST_READ, LATEST_WRITE],
};
pub const VERIFY: Command = Command {
    name: "verify",
    kind: "faults of verify",
    start: Start::PublishedB,
    commit: B,
    places: &[TAG_READ, MANIFEST_READ, BLOB_READ],
};
const PLAN: Command =
    Command { name: "plan", kind: "faults of plan", start: Start::PublishedB, commit: C, places: &[TAG_READ] };
pub const COMMANDS: [Command; 5] = [BUILD, MERGE, REUSE, VERIFY, PLAN];

impl Command {
    pub fn args(&self) -> Vec<&'static str> {
        match self.name {
            "build" => build(),
            name => vec![name.split(' ').next().unwrap()],
        }
    }

    pub fn bench<'a>(&self, lab: &'a Lab) -> Bench<'a> {
        Bench::new(lab, self.start, self.commit)
    }
}

/// What passes, and is waited for.
const TRANSIENT: [Fault; 13] = [
    Fault::TooMany(None),
    Fault::TooMany(Some("2")),
    Fault::Page("408 Request Timeout"),
    Fault::Page("500 Internal Server Error"),
    Fault::Json("500 Internal Server Error"),
    Fault::Page("502 Bad Gateway"),
    Fault::Json("502 Bad Gateway"),
    Fault::Page("503 Service Unavailable"),
    Fault::Json("503 Service Unavailable"),
    Fault::Page("504 Gateway Timeout"),
    Fault::Json("504 Gateway Timeout"),
    Fault::Cut,
    Fault::Truncated,
];

/// What never ends: of each kind of answer one.
const LASTING: [Fault; 5] = [
    Fault::Json("503 Service Unavailable"),
    Fault::TooMany(Some("1")),
    Fault::Cut,
    Fault::Page("500 Internal Server Error"),
    Fault::Silence,
];

/// What a registry says that is mistaken, or has forgotten, of what is read and what is written: nobody can know, and a
/// command may fail.
const LIES: [&[Fault]; 2] =
    [&[Fault::Missing, Fault::NameUnknown, Fault::Other], &[Fault::NameUnknown, Fault::Immutable]];

/// Any end but a panic and a complaint about the usage.
pub const ANY: &[i32] = &[0, 1, 3, 4];
/// The command cannot succeed.
pub const FAILED: &[i32] = &[1, 3, 4];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let places = COMMANDS.iter().flat_map(|command| command.places.iter().map(move |place| (*command, *place)));
    for (n, (command, place)) in places.enumerate() {
        for (m, fault) in TRANSIENT.into_iter().enumerate() {
            // Each kind of request meets every third of them, and each of them every third kind of request.
            if (n + m) % 3 == 0 {
                cases.push(case(command, place, fault, ONCE, &[0]).quick(n % 5 == 0 && m % 4 == 0));
            }
        }
        cases.push(case(command, place, TRANSIENT[3 * n % 13], THRICE, &[0]));
        match n % 3 {
            0 => cases.push(case(command, place, Fault::Silence, ONCE, after_silence(command, place))),
            1 => cases.push(case(command, place, Fault::Delay, ONCE, &[0])),
            _ => cases.push(case(command, place, Fault::Delay, EVER, &[0])),
        }
        cases.push(case(command, place, LASTING[n % 5], EVER, FAILED).long(true));
        for fault in LIES[usize::from(place.is_written())] {
            cases.push(case(command, place, *fault, if n % 2 == 0 { SECOND } else { ONCE }, ANY));
        }
        if place.is_written() {
            cases.push(case(command, place, Fault::Lost, ONCE, &[0]).quick(n % 3 == 0));
        }
    }
    for command in [MERGE, REUSE] {
        // The read-back of what was just written: eventual consistency.
        cases.push(after_write(command, "tag", TAG_WRITE, TAG_READ).quick(true));
        cases.push(after_write(command, "latest", LATEST_WRITE, LATEST_READ).quick(true));
    }
    for place in [MANIFEST_READ, BLOB_READ] {
        cases.push(case(VERIFY, place, Fault::Other, EVER, FAILED));
    }
    cases
}

/// A build that takes too long is not tried again, as it may be the build that takes so long.
fn after_silence(command: Command, place: Place) -> &'static [i32] {
    if command.name == BUILD.name && place.name != TAG_READ.name { FAILED } else { &[0] }
}

fn case(command: Command, place: Place, fault: Fault, times: Times, codes: &'static [i32]) -> Case {
    let name = format!("{fault:?} {} at the {}", times.name(), place.name);
    Case::new(command.kind, name, move |lab| {
        let mut bench = command.bench(lab);
        if fault == Fault::Silence {
            bench.runner = bench.runner.with_env(TIMEOUTS.0, TIMEOUTS.1);
        }
        bench.runner.front.set(rule(place, fault, times));
        judged(&bench, &command.args(), codes)
    })
}

/// The first read of a tag after it was written finds nothing.
fn after_write(command: Command, name: &str, written: Place, read: Place) -> Case {
    Case::new(command.kind, format!("the {name} that was written is not there at once"), move |lab| {
        let bench = command.bench(lab);
        let (is_written, missing) = (AtomicBool::new(false), rule(read, Fault::Missing, ONCE));
        bench.runner.front.set(move |request, nth, passing| {
            is_written.fetch_or(written.holds(request), Ordering::SeqCst);
            if is_written.load(Ordering::SeqCst) { missing(request, nth, passing) } else { None }
        });
        judged(&bench, &command.args(), &[0])
    })
}

/// Runs the command with the fault, and again without.
pub fn judged(bench: &Bench, args: &[&str], codes: &[i32]) -> Result<(), String> {
    let requests = || format!("requests:\n{}", bench.runner.front.log());
    let ended = bench.runner.run(args).with(codes).map_err(|why| format!("{why}\n{}", requests()))?;
    bench.recover().map_err(|why| format!("{why}\nthe run with the fault: {}\n{}", ended.text, requests()))
}
