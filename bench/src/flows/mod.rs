//! `bench flows`: what it costs to see flows, from the packet to the answer of a question years of packets later.
//!
//! *Events*: how many of them a core decodes and enriches. *Traffic*: what connections and throughput lose to being observed. *Log*: what
//! keeping flows costs, and how fast it answers.

mod events;
mod log;
mod measure;
mod observed;
mod traffic;

use crate::written;
use anyhow::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct FlowsArgs {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', default_value = "events,traffic,log")]
    only: Vec<Part>,
    /// Rounds of events, each of 40,000
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    event_rounds: u32,
    /// Rounds of traffic, each way once
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=100))]
    rounds: u32,
    /// Milliseconds of each measurement of traffic
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(30..=60_000))]
    milliseconds: u64,
    /// Flows in the log
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..=30_000_000))]
    flows: u64,
    /// Pods that speak
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pods: u32,
    /// Flows in each record of the journal
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=2000))]
    batch: u64,
    /// Addresses that are asked about
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    questions: u32,
    /// Folder for flows.json, and for the log while it is measured (some GB at most)
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Events,
    Traffic,
    Log,
}

#[derive(Debug, Default, serde::Serialize)]
struct Report {
    events: Option<events::Report>,
    traffic: Option<observed::Report>,
    log: Option<log::Report>,
}

pub fn run(args: &FlowsArgs) -> Result<()> {
    let mut report = Report::default();
    for part in &args.only {
        match part {
            Part::Events => println!("{}\n", report.events.insert(events::run(args)?)),
            Part::Traffic => println!("{}\n", report.traffic.insert(observed::run(args)?)),
            Part::Log => println!("{}\n", report.log.insert(log::run(args)?)),
        }
    }
    let json = written::json(&args.out, "flows", &report)?;
    println!("written: {}", json.display());
    Ok(())
}
