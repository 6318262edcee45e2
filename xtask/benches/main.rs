//! Compares this tool with what people use: `cargo xtask bench`.
//!
//! Everything that is compared does the same work on the same generated repository, against the same engine and
//! registry, in turns, so that what else the machine does meets all of them. The tables go to stdout; every sample, the
//! machine and a plot go to `target/xtask/bench/`.

mod cases; // one file per benchmark

mod report; // tables and samples

mod plot; // the same as a picture

mod measure; // one run: time, CPU and memory; several ways in turns

mod registry; // a registry of the benchmark's own, at hand and far away

mod relay; // what makes it far away

mod storage; // thousands of published jobs, written where the registry keeps its data

mod tree; // generated repositories

mod suite; // what every benchmark is given

use std::process::ExitCode;

use clap::Parser;

/// Compares this tool with what people use.
#[derive(Parser, Debug)]
struct Cli {
    /// Names of benchmarks; all of them if none is given
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(cases::names()))]
    names: Vec<String>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Take a tenth of every size, to try the suite itself
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`, and not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !cli.bench {
        // `cargo test --all-targets` starts this too, and is to measure nothing.
        return ExitCode::SUCCESS;
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The cause and what was measured; where in this program it was does not matter.
            suite::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let suite = suite::Suite::new(usize::from(cli.rounds), cli.quick)?;
    cases::run(&suite, &cli.names)?.write(&suite)
}
