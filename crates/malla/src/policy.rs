//! `malla policy …`: policies before they are in force.

mod check;
mod document;
mod finding;
mod kinds;
mod overlap;
mod report;

use crate::agents::Output;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla policy check -f policies.yaml                  What is wrong with them, with file and line
  malla policy check -f policies/ -f services.yaml     A folder; Services and CIDR groups that policies name
  helm template . | malla policy check -f -            What a chart makes
  malla policy check -f policies.yaml -o json          For a pipeline: also what each rule means";

/// Arguments of `malla policy`.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check files of policies, of every dialect, without a cluster
    ///
    /// Mistakes are what the API would refuse, or drop without a word, and what has no meaning. Warnings are rules that
    /// select nobody, rules that never decide, names that resolve to nothing among the given files, and fields that are
    /// not enforced (what they allow is not allowed, what they deny is denied whole).
    ///
    /// The exit status is 1 where there are mistakes, and 0 otherwise.
    #[command(after_help = EXAMPLES)]
    Check(Check),
}

#[derive(Args, Debug)]
struct Check {
    /// File of YAML or JSON documents, a folder of such files, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    file: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Checks and prints.
///
/// # Errors
/// When a file can't be read.
pub fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    let What::Check(args) = &args.what;
    let report = check::check(check::read(&args.file)?, &args.namespace);
    match args.output {
        Output::Table => print!("{}", report::text(&report)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&report)?),
    }
    Ok(if report.mistakes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
