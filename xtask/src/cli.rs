//! Every command and flag, and nothing else.

use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::model::arch::Arch;
use crate::plan::slice::Slice;

/// Turns the folders under jobs/ into multi-platform images, each architecture built natively.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, disable_help_subcommand = true)]
#[command(after_help = "Example: cargo xtask pipeline --setup    the whole pipeline, on this machine")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line. An empty variable stands for no flag: a workflow knows no other way to unset one.
pub fn parse(is_empty: impl Fn(&str) -> bool) -> Cli {
    let without_empty = |arg: Arg| match arg.get_env().map(|name| name.to_string_lossy().into_owned()) {
        Some(name) if is_empty(&name) => arg.env(clap::builder::Resettable::Reset),
        _ => arg,
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(without_empty));
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

#[derive(Args, Debug)]
pub struct Global {
    /// Say less: once only warnings and errors, twice only errors
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// Say more: once the commands that are run, twice also what they print
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the jobs
    #[command(after_help = "Example: cargo xtask discover --format matrix | jq .")]
    Discover(Discover),
    /// Show where images go, under which tag, and where each value came from
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask config")]
    Config(Config),
    /// Show per job what is to be done, and why
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask plan")]
    Plan(Plan),
    /// Build the images of one or more architectures
    #[command(after_help = "Example: cargo xtask build --arch arm64 --push job-a")]
    Build(Build),
    /// Check the images of all architectures and publish them under one tag
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask merge --dry-run")]
    Merge(Merge),
    /// Check what is published, and change nothing
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask verify job-a")]
    Verify(Verify),
    /// Do all of it on this machine: discover, build every architecture, merge, verify
    #[command(after_help = "Example: cargo xtask pipeline --setup")]
    Pipeline(Pipeline),
    /// Log in to the registry that images go to
    #[command(after_help = "Example: cargo xtask login --target staging")]
    Login(Login),
    /// Look after the repositories of Amazon ECR
    #[command(after_help = "Example: cargo xtask ecr check --target staging")]
    Ecr {
        #[command(subcommand)]
        command: Ecr,
    },
    /// Show what is missing on this machine
    #[command(after_help = "Example: cargo xtask doctor --format json")]
    Doctor(Doctor),
    /// Install and start what is missing on this machine
    #[command(after_help = "Example: cargo xtask setup --dry-run")]
    Setup(Setup),
    /// Run every check of this repository
    #[command(after_help = "Example: cargo xtask test --setup")]
    Test(Test),
    /// Print the completions of a shell
    #[command(after_help = "Example: cargo xtask completions bash > ~/.local/share/bash-completion/completions/xtask")]
    Completions(Completions),
}

/// Which jobs a command is about.
#[derive(Args, Debug, Default, Clone)]
pub struct Selection {
    /// Names of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// Where images go. A flag goes before its environment variable, and both before the configuration.
#[derive(Args, Debug, Default, Clone)]
#[command(next_help_heading = "Where images go")]
pub struct Destination {
    /// The registry's host; without one, images stay in the local engine
    #[arg(long, env = "JOBS_REGISTRY", value_name = "HOST")]
    pub registry: Option<String>,
    /// What stands between the registry and the job's name
    #[arg(long, env = "JOBS_PREFIX", value_name = "PATH")]
    pub prefix: Option<String>,
    /// The tag, instead of the commit's or the git tag's
    #[arg(long, env = "JOBS_TAG")]
    pub tag: Option<String>,
    /// The target of the configuration, instead of the one whose `refs` match
    #[arg(long, env = "JOBS_TARGET", value_name = "NAME")]
    pub target: Option<String>,
    /// Where a registry's images are pulled from instead
    #[arg(long, env = "JOBS_MIRRORS", value_name = "REGISTRY=PREFIX", value_delimiter = ',')]
    pub mirrors: Vec<String>,
}

#[derive(Args, Debug, Default, Clone)]
pub struct DryRun {
    /// Print the commands that would be run, and run none that changes anything
    #[arg(long)]
    pub dry_run: bool,
}

/// What the plan is made from.
#[derive(Args, Debug, Default, Clone)]
pub struct PlanOptions {
    /// Build also what exists
    #[arg(long, env = "JOBS_FORCE", value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    /// The slice of the plan that this runner works off, as `discover --changed --format matrix` gives it
    #[arg(long, env = "JOBS_PLAN", value_name = "SLICE")]
    pub plan: Option<String>,
}

impl PlanOptions {
    /// # Errors
    /// The text is not a slice.
    pub fn slice(&self) -> anyhow::Result<Option<Slice>> {
        // A workflow knows no other way to give none.
        let text = self.plan.as_deref().filter(|text| !text.is_empty());
        text.map(str::parse).transpose().map_err(crate::model::problem::Problem::usage)
    }
}

#[derive(Args, Debug)]
pub struct Plan {
    #[command(flatten)]
    pub selection: Selection,
    /// By the files that changed since the merge base with this revision, without a registry
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Plan to build also what exists
    #[arg(long, env = "JOBS_FORCE", value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    /// End with 10 if there is something to do
    #[arg(long)]
    pub exit_code: bool,
    /// How to print
    #[arg(long, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Discover {
    #[command(flatten)]
    pub selection: Selection,
    /// Only what the plan would build
    #[arg(long)]
    pub changed: bool,
    /// Only what changed since the merge base with this revision, without a registry
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Also what exists
    #[arg(long, env = "JOBS_FORCE", value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    /// How to print: a JSON list of folders, the matrix of a workflow, or a table
    #[arg(long, default_value = "json")]
    pub format: DiscoverFormat,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiscoverFormat {
    Json,
    Matrix,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Args, Debug)]
pub struct Config {
    #[command(flatten)]
    pub destination: Destination,
    /// How to print
    #[arg(long, default_value = "table")]
    pub format: Format,
}

/// How images are built.
#[derive(Args, Debug, Default, Clone)]
pub struct BuildOptions {
    /// Build for an architecture that the builder can only emulate
    #[arg(long, env = "JOBS_EMULATE", value_parser = clap::builder::FalseyValueParser::new())]
    pub emulate: bool,
    /// How many builds run side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// Build every step anew
    #[arg(long)]
    pub no_cache: bool,
    /// Start no further build after one has failed
    #[arg(long)]
    pub fail_fast: bool,
    /// How much provenance the images carry
    #[arg(long, env = "JOBS_PROVENANCE")]
    pub provenance: Option<Provenance>,
    /// The buildx builder, instead of the current one
    #[arg(long, env = "BUILDX_BUILDER", value_name = "NAME")]
    pub builder: Option<String>,
}

/// How much a build tells of itself in its SLSA provenance attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    Min,
    Max,
    Off,
}

#[derive(Args, Debug)]
pub struct Build {
    #[command(flatten)]
    pub selection: Selection,
    /// The architecture to build for, this machine's if absent; may be repeated
    #[arg(long, value_name = "ARCH")]
    pub arch: Vec<Arch>,
    /// Push the images: the default where there is a registry
    #[arg(long, conflicts_with = "load")]
    pub push: bool,
    /// Load the images into the local engine: the default where there is no registry
    #[arg(long)]
    pub load: bool,
    #[command(flatten)]
    pub plan: PlanOptions,
    #[command(flatten)]
    pub options: BuildOptions,
    #[command(flatten)]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Merge {
    #[command(flatten)]
    pub selection: Selection,
    /// The slice of the plan that this runner works off, as `discover --changed --format matrix` gives it
    #[arg(long, env = "JOBS_PLAN", value_name = "SLICE")]
    pub plan: Option<String>,
    /// How many jobs are merged side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    #[command(flatten)]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    pub selection: Selection,
    /// How many jobs are checked side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Pipeline {
    /// Install and start what is missing first
    #[arg(long)]
    pub setup: bool,
    /// Build also what exists
    #[arg(long, env = "JOBS_FORCE", value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub options: BuildOptions,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Login {
    /// Who logs in, where the registry is not ECR's; the password comes over stdin, or from JOBS_PASSWORD
    #[arg(long, env = "JOBS_USERNAME", value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Subcommand, Debug)]
pub enum Ecr {
    /// Check that every job's repository is there and fit, before anything is built
    #[command(after_help = "Example: cargo xtask ecr check --format json | jq .")]
    Check(EcrCheck),
    /// Make the repositories that are not there; leave the others as they are
    #[command(after_help = "Example: cargo xtask ecr ensure --dry-run")]
    Ensure(EcrEnsure),
}

#[derive(Args, Debug)]
pub struct EcrCheck {
    #[command(flatten)]
    pub selection: Selection,
    /// How to print
    #[arg(long, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct EcrEnsure {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Doctor {
    /// How to print
    #[arg(long, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Setup {
    #[command(flatten)]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub destination: Destination,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Install and start what is missing first
    #[arg(long)]
    pub setup: bool,
}

#[derive(Args, Debug)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_every_flag_a_help() {
        for command in Cli::command().get_subcommands() {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("cargo xtask {}", command.get_name())), "{}", command.get_name());
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
