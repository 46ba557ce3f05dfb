//! `malla-bench services`: does a connection through a Service cost more when there are more Services?
//!
//! Every set-up (who translates × how many Services) is made first and stays; then all are measured round after round,
//! every other round in the opposite order, so that whatever else the machine does falls on all of them. The spread of
//! one set-up between its rounds (A/A) is the smallest difference that means anything.

pub mod load;
pub mod node;
mod plot;
mod report;
pub mod rules;
mod setup;
pub mod system;

use crate::written;
use anyhow::{Context, Result, bail};
use load::Place;
use report::{Report, Row};
use rules::Services;
use setup::Setup;
use std::path::PathBuf;
use std::time::Duration;
use system::System;

#[derive(clap::Args)]
pub struct ServicesArgs {
    /// Numbers of Services
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1000, 10_000, 50_000])]
    sizes: Vec<u32>,
    /// Who translates
    #[arg(long, value_delimiter = ',', default_value = "malla,iptables,nftables")]
    systems: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=100))]
    rounds: u32,
    /// Client and server on a CPU each, rather than both on one: see what waking a CPU hides of the paths
    #[arg(long)]
    two_cpus: bool,
    /// Milliseconds of each measurement
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    milliseconds: u64,
    /// Folder for services.json and services.svg
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

pub fn run(args: &ServicesArgs) -> Result<()> {
    let systems = chosen(&args.systems)?;
    if args.sizes.iter().any(|&size| size == 0 || size > 200_000) {
        bail!("--sizes takes numbers from 1 to 200000");
    }
    let place = if args.two_cpus { Place::TwoCpus } else { Place::OneCpu };
    let mut setups = Vec::new();
    for &system in &systems {
        for &count in &args.sizes {
            eprintln!("making {count} services in {} …", system.name());
            let setup = Setup::new(system, Services { count }, place)
                .with_context(|| format!("make {count} services in {}", system.name()))?;
            eprintln!("  {:.1} s", setup.made_in.as_secs_f64());
            setups.push(setup);
        }
    }
    let rows = measure(&setups, args.rounds, Duration::from_millis(args.milliseconds))?;
    let report = Report::new(rows);
    println!("{report}");
    let json = written::json(&args.out, "services", &report)?;
    let picture = args.out.join("services.svg");
    plot::write(&report, &picture).with_context(|| format!("draw {}", picture.display()))?;
    println!("\nwritten: {}, {}", json.display(), picture.display());
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<System>> {
    let find = |name: &String| {
        let found = System::ALL.into_iter().find(|system| system.name() == name);
        found.with_context(|| format!("--systems: {name} is none of malla, iptables, nftables"))
    };
    names.iter().map(find).collect()
}

fn measure(setups: &[Setup], rounds: u32, time: Duration) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = setups
        .iter()
        .flat_map(|s| s.targets().iter().map(|&target| Row::new(s.system, s.services.count, target)))
        .collect();
    let places: Vec<(&Setup, usize)> =
        setups.iter().flat_map(|s| std::iter::repeat_n(s, s.targets().len())).zip(0..).collect();
    let progress = indicatif::ProgressBar::new(u64::from(rounds) * places.len() as u64);
    for round in 0..rounds {
        let order: Box<dyn Iterator<Item = &(&Setup, usize)>> =
            if round % 2 == 0 { Box::new(places.iter()) } else { Box::new(places.iter().rev()) };
        for &(setup, at) in order {
            let sample = setup.measure(rows[at].target, time)?;
            rows[at].samples.push(sample);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(rows)
}
