//! `bench`: this tool beside what people use, measured in turns. What is measured stands in `benches/`.

use crate::run::Context;
use crate::settings::Config;
use crate::tools::{ensure_registry, noted_mirror, run_benchmarks};

pub fn run(ctx: &Context, config: &Config, names: &[String], rounds: u16, quick: bool) -> anyhow::Result<()> {
    if noted_mirror(ctx).is_some() {
        ensure_registry(ctx)?;
    }
    let config = config.clone().with_noted_mirror(ctx);
    let mut args = names.to_vec();
    args.extend(["--rounds".to_owned(), rounds.to_string()]);
    args.extend(quick.then(|| "--quick".to_owned()));
    run_benchmarks(ctx, &config.mirrors, &args)
}
