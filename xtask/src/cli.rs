//! Every command and its flags. Those that the folders below take as they are stand with their types, `settings::Given`
//! and `publish::BuildOptions`. Nothing else is decided here.

mod help;
mod parse;

use camino::Utf8PathBuf;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint, value_parser};

use crate::model::Arch;
use crate::publish::{BuildOptions, Telling};
use crate::settings::Given;

pub use parse::parse;

/// Turns the folders under jobs/ into multi-platform images, each architecture built natively.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, next_help_heading = "Global options")]
#[command(disable_help_subcommand = true, disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "Example: cargo xtask pipeline --setup    the whole pipeline, on this machine")]
pub struct Cli {
    /// Say less: once only warnings and errors, twice only errors
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
    /// Say more: once the commands that are run, twice also what they print
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Print help
    #[arg(short = 'h', long = "help", global = true, action = ArgAction::Help)]
    _help: Option<bool>,
    /// Print version
    #[arg(short = 'V', long = "version", action = ArgAction::Version)]
    _version: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How often `--verbose` was given, or below zero how often `--quiet` was.
    pub fn verbosity(&self) -> i8 {
        let times = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        times(self.verbose) - times(self.quiet)
    }
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the jobs
    #[command(after_help = "Example: cargo xtask discover --format matrix | jq .")]
    Discover(DiscoverArgs),
    /// Show where images go, under which tag, and where each value came from
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask config")]
    Config {
        /// How to print
        #[arg(long, default_value = "table")]
        format: Format,
        #[command(flatten)]
        destination: Given,
    },
    /// Show per job what is to be done, and why
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask plan --why job-a")]
    Plan(PlanArgs),
    /// Build the images of one or more architectures
    #[command(after_help = "Example: cargo xtask build --arch arm64 --push job-a")]
    Build(BuildArgs),
    /// Check the images of all architectures and publish them under one tag
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask merge --dry-run")]
    Merge(MergeArgs),
    /// Check what is published, and change nothing
    #[command(after_help = "Example: JOBS_REGISTRY=127.0.0.1:5000 cargo xtask verify --deep job-a")]
    Verify(VerifyArgs),
    /// Do all of it on this machine: discover, build every architecture, merge, verify
    #[command(after_help = "Example: cargo xtask pipeline --setup")]
    Pipeline(PipelineArgs),
    /// Copy what is published at one target to another, by digest, and build nothing
    #[command(after_help = "Example: cargo xtask promote --from staging --to production job-a")]
    Promote(PromoteArgs),
    /// Log in to the registry that images go to
    #[command(after_help = "Example: cargo xtask login --target staging")]
    Login {
        /// Who logs in, where the registry is not ECR's; the password comes over stdin, or from JOBS_PASSWORD
        #[arg(long, env = "JOBS_USERNAME", value_name = "NAME")]
        username: Option<String>,
        /// Read the password from stdin
        #[arg(long)]
        password_stdin: bool,
        /// Only to read, as a pull request may: by the `read-role` of the target, or not at all
        #[arg(long, conflicts_with = "password_stdin")]
        read: bool,
        #[command(flatten)]
        destination: Given,
    },
    /// Look after the repositories of Amazon ECR
    #[command(after_help = "Example: cargo xtask ecr check --target staging", subcommand)]
    Ecr(EcrCommand),
    /// Make the folder of a new job from a template
    #[command(after_help = "Example: cargo xtask new report --template python")]
    New {
        /// The job's name: lower-case letters and digits, with single '.', '_' or '-' between them
        name: String,
        /// What the job is written in
        #[arg(long, default_value = "shell")]
        template: Template,
        /// Print the files that would be made, and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what is missing on this machine
    #[command(after_help = "Example: cargo xtask doctor --format json")]
    Doctor {
        /// How to print
        #[arg(long, default_value = "table")]
        format: Format,
        #[command(flatten)]
        destination: Given,
    },
    /// Install and start what is missing on this machine
    #[command(after_help = "Example: cargo xtask setup --dry-run")]
    Setup {
        /// Make the engine of a runner of GitHub's own hold all that an image carries; change no other engine
        #[arg(long)]
        ci: bool,
        /// Print the commands that would be run, and run none that changes anything
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        destination: Given,
    },
    /// Run every check of this repository
    #[command(after_help = "Example: cargo xtask test --setup --faults")]
    Test {
        /// Install and start what is missing first
        #[arg(long)]
        setup: bool,
        /// Run all cases of the fault bench, which takes some 15 minutes more, instead of a few
        #[arg(long)]
        faults: bool,
        /// Where a registry's images are pulled from instead
        #[arg(long, env = "JOBS_MIRRORS", value_name = "REGISTRY=PREFIX", value_delimiter = ',')]
        mirrors: Vec<String>,
    },
    /// Compare this tool with what people use
    #[command(after_help = "Example: cargo xtask bench discover build --rounds 3 > table.md")]
    Bench {
        /// Names of benchmarks, the files of xtask/benches/cases/; all of them if none is given
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// How often each is measured
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
        rounds: u16,
        /// Take a tenth of every size, to try the benchmarks themselves
        #[arg(long)]
        quick: bool,
        /// Where a registry's images are pulled from instead
        #[arg(long, env = "JOBS_MIRRORS", value_name = "REGISTRY=PREFIX", value_delimiter = ',')]
        mirrors: Vec<String>,
    },
    /// Print the help of a command, or of `environment` or `exit-codes`
    #[command(after_help = "Example: cargo xtask help environment")]
    Help {
        /// A command, `environment` or `exit-codes`
        #[arg(value_hint = ValueHint::Other)]
        topic: Vec<String>,
    },
    /// Print the completions of a shell
    #[command(after_help = "Example: cargo xtask completions bash >> ~/.bash_completion")]
    Completions { shell: clap_complete::Shell },
}

#[derive(Subcommand, Debug)]
pub enum EcrCommand {
    /// Check that every job's repository is there and fit, before anything is built
    #[command(after_help = "Example: cargo xtask ecr check --format json | jq .")]
    Check {
        /// Names or folders of jobs; all of them if none is given
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
        /// How to print
        #[arg(long, default_value = "table")]
        format: Format,
        #[command(flatten)]
        destination: Given,
    },
    /// Make the repositories that are not there; leave the others as they are
    #[command(after_help = "Example: cargo xtask ecr ensure --dry-run")]
    Ensure {
        /// Names or folders of jobs; all of them if none is given
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
        /// Print the commands that would be run, and run none that changes anything
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        destination: Given,
    },
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Compare files with the merge base with this revision, without a registry
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Plan to rebuild images even if they exist
    #[arg(long, env = "JOBS_FORCE", value_parser = FalseyValueParser::new())]
    pub force: bool,
    /// List the jobs too for which nothing is to be built
    #[arg(long)]
    pub all: bool,
    /// Show of the named jobs what their key is made from, and what each of it was before
    #[arg(long, requires = "jobs")]
    pub why: bool,
    /// End with 10 if there is something to do
    #[arg(long)]
    pub exit_code: bool,
    /// How to print
    #[arg(long, default_value = "table")]
    pub format: Format,
    /// Go on without jobs that are broken, and fail in the end
    #[arg(long, env = "JOBS_KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Args, Debug)]
pub struct DiscoverArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// List only the jobs that the plan would build
    #[arg(long)]
    pub changed: bool,
    /// List only the jobs that changed since the merge base with this revision, without a registry
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Include jobs whose images already exist
    #[arg(long, env = "JOBS_FORCE", value_parser = FalseyValueParser::new())]
    pub force: bool,
    /// How to print: a JSON list of folders, the matrix of a workflow, or a table
    #[arg(long, default_value = "json")]
    pub format: ListFormat,
    /// Go on without jobs that are broken, and fail in the end
    #[arg(long, env = "JOBS_KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Json,
    Matrix,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// The folders of `xtask/templates/`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Template {
    Shell,
    Python,
    Rust,
    Node,
    Go,
}

#[derive(Args, Debug)]
pub struct BuildArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// The architecture to build for, this machine's if absent; may be repeated
    #[arg(long, value_name = "ARCH")]
    pub arch: Vec<Arch>,
    /// Push the images: the default where there is a registry
    #[arg(long, conflicts_with = "load")]
    pub push: bool,
    /// Load the images into the local engine: the default where there is no registry
    #[arg(long)]
    pub load: bool,
    /// Rebuild even if the image exists; needs a tag that is not published yet
    #[arg(long, env = "JOBS_FORCE", value_parser = FalseyValueParser::new())]
    pub force: bool,
    /// The slice of the plan for this runner, as `discover --changed --format matrix` gives it
    #[arg(long, env = "JOBS_PLAN", value_name = "SLICE")]
    pub plan: Option<String>,
    #[command(flatten)]
    pub options: BuildOptions,
    #[command(flatten)]
    pub telling: Telling,
    /// Print the commands that would be run, and run none that changes anything
    #[arg(long, conflicts_with_all = ["message_format", "timings"])]
    pub dry_run: bool,
    /// Go on without jobs that are broken, and fail in the end
    #[arg(long, env = "JOBS_KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// The slice of the plan for this runner, as `discover --changed --format matrix` gives it
    #[arg(long, env = "JOBS_PLAN", value_name = "SLICE")]
    pub plan: Option<String>,
    /// Only move the moving tags, to what GitHub has attested: in this file, which `actions/attest` has written
    #[arg(long, value_name = "BUNDLE", conflicts_with = "dry_run")]
    pub attested: Option<Utf8PathBuf>,
    /// How many jobs are merged side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// Let moving tags move back too, or to another branch
    #[arg(long)]
    pub move_back: bool,
    #[command(flatten)]
    pub telling: Telling,
    /// Print the commands that would be run, and run none that changes anything
    #[arg(long, conflicts_with_all = ["message_format", "timings"])]
    pub dry_run: bool,
    /// Go on without jobs that are broken, and fail in the end
    #[arg(long, env = "JOBS_KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Also pull the images of every architecture, and look for programs of another one in them
    #[arg(long)]
    pub deep: bool,
    /// How many jobs are checked side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Args, Debug)]
pub struct PipelineArgs {
    /// Install and start what is missing first
    #[arg(long)]
    pub setup: bool,
    /// Rebuild even if the image exists; needs a tag that is not published yet
    #[arg(long, env = "JOBS_FORCE", value_parser = FalseyValueParser::new())]
    pub force: bool,
    /// Go on without jobs that are broken, and fail in the end
    #[arg(long, env = "JOBS_KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,
    /// Print the commands that would be run, and run none that changes anything
    #[arg(long, conflicts_with_all = ["message_format", "timings"])]
    pub dry_run: bool,
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    #[command(flatten)]
    pub options: BuildOptions,
    #[command(flatten)]
    pub telling: Telling,
    #[command(flatten)]
    pub destination: Given,
}

#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// Names or folders of jobs; all of them if none is given
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// The target of the configuration whose images are taken
    #[arg(long, value_name = "NAME")]
    pub from: String,
    /// The target of the configuration where they go
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// The tag, of whatever commit, instead of this commit's
    #[arg(long, env = "JOBS_TAG")]
    pub tag: Option<String>,
    /// How many jobs are promoted side by side
    #[arg(long, env = "JOBS_PARALLEL", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// Let moving tags move back too, or to another branch
    #[arg(long)]
    pub move_back: bool,
    /// Print the commands that would be run, and run none that changes anything
    #[arg(long)]
    pub dry_run: bool,
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
        check(&Cli::command(), "cargo xtask");
    }

    fn check(command: &clap::Command, typed: &str) {
        for command in command.get_subcommands() {
            let typed = format!("{typed} {}", command.get_name());
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&typed), "{typed}: {example}");
            check(command, &typed);
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
