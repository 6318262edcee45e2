//! `bench`: this tool beside what people use, measured in turns. What is measured stands in `benches/`.

use crate::cli::BenchArgs;
use crate::run::Context;
use crate::settings::Config;
use crate::tools::{ensure_registry, noted_mirror, run_benchmarks};

pub fn run(ctx: &Context, config: &Config, args: &BenchArgs) -> anyhow::Result<()> {
    if noted_mirror(ctx).is_some() {
        ensure_registry(ctx)?;
    }
    let mirrors = config.clone().with_noted_mirror(ctx).mirrors_with(&args.mirrors)?;
    let mut given = args.names.clone();
    given.extend(["--rounds".to_owned(), args.rounds.to_string()]);
    given.extend(args.quick.then(|| "--quick".to_owned()));
    run_benchmarks(ctx, &mirrors, &given)
}
