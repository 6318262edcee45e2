//! {{name}}: see USAGE for what it does.

use std::env::consts::ARCH;
use std::process::ExitCode;

const USAGE: &str = "usage: {{name}} [--help]

Writes one JSON line to stdout for each step of its work.

environment:
  STEPS  how many steps, 1 to 999 (default 3)

exit status: 0 done, 1 failed, 2 bad arguments or environment";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--help"] {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if !arguments.is_empty() {
        return fail("unexpected arguments: see --help");
    }
    let steps = std::env::var("STEPS").unwrap_or_default();
    let steps = if steps.is_empty() { "3" } else { &steps };
    let Some(steps) = steps.parse().ok().filter(|steps| (1..=999).contains(steps)) else {
        return fail("STEPS: not a whole number from 1 to 999");
    };
    for step in 1..=steps {
        println!(r#"{{"job":"{{name}}","arch":"{ARCH}","step":{step}}}"#);
    }
    ExitCode::SUCCESS
}

fn fail(what: &str) -> ExitCode {
    eprintln!("{{name}}: {what}");
    ExitCode::from(2)
}
