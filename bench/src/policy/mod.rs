//! `bench policy`: what policy costs, per packet and per change.
//!
//! *Packets*: client and server Pod of one node; who judges is set up in several ways, all of them first, and measured round after
//! round, every other round in the opposite order. The way without policy is there twice: what differs between the two is
//! what means nothing. *Changes*: the agent's own planning and writing over real maps of a node's size.

mod changes;
mod rows;
pub mod setup;

use crate::rounds::{middle, order, spread};
use crate::services::load::{Sample, percentile};
use crate::written;
use anyhow::{Context, Result};
use changes::Changes;
use comfy_table::{Table, presets::NOTHING};
use rows::Policed;
use setup::{Measured, Setup};
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub struct PolicyArgs {
    /// How often each way is measured
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=100))]
    rounds: u32,
    /// Milliseconds of each measurement
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(30..=60_000))]
    milliseconds: u64,
    /// Changes of each kind to measure
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    changes: u32,
    /// Only the changes
    #[arg(long)]
    only_changes: bool,
    /// Folder for policy.json
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// One way, all rounds.
#[derive(serde::Serialize)]
struct Row {
    way: String,
    /// Rows in the map, as planned.
    rows: usize,
    samples: Vec<Sample>,
    /// Bytes per second by one connection, of each round.
    throughput: Vec<f64>,
}

#[derive(serde::Serialize)]
struct Report {
    rows: Vec<Row>,
    changes: Changes,
}

pub fn run(args: &PolicyArgs) -> Result<()> {
    let rows = if args.only_changes { Vec::new() } else { packets(args)? };
    eprintln!("changes at {} policies and {} identities …", changes::POLICIES, changes::IDENTITIES);
    let changes = changes::measure(args.changes)?;
    let report = Report { rows, changes };
    if !report.rows.is_empty() {
        println!("{}\n", table(&report.rows));
    }
    println!("{}", report.changes);
    let json = written::json(&args.out, "policy", &report)?;
    println!("\nwritten: {}", json.display());
    Ok(())
}

fn packets(args: &PolicyArgs) -> Result<Vec<Row>> {
    let ways = [
        Policed::Not,
        Policed::Not,
        Policed::ByRows(10),
        Policed::ByRows(1000),
        Policed::ByRows(100_000),
        Policed::ByPolicies(1000),
    ];
    let mut setups = Vec::new();
    let mut rows = Vec::new();
    for (at, way) in ways.into_iter().enumerate() {
        let name = if at == 1 { format!("{} (again)", way.name()) } else { way.name() };
        eprintln!("making: {name} …");
        let setup = Setup::new(way).with_context(|| name.clone())?;
        rows.push(Row { way: name, rows: setup.rows, samples: Vec::new(), throughput: Vec::new() });
        setups.push(setup);
    }
    let progress = indicatif::ProgressBar::new(u64::from(args.rounds) * rows.len() as u64);
    for round in 0..args.rounds {
        for at in order(round, rows.len()) {
            let Measured { sample, throughput } = setups[at].measure(Duration::from_millis(args.milliseconds))?;
            rows[at].samples.push(sample);
            rows[at].throughput.push(throughput);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(rows)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "policy",
        "rows",
        "conn/s",
        "to none",
        "A/A",
        "conn p50 µs",
        "p99",
        "req p50 µs",
        "p99",
        "Gbit/s",
        "to none",
        "A/A",
    ]);
    let micro = |row: &Row, what: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = row.samples.iter().map(what).collect();
        format!("{:.1}", percentile(&mut all, 50) as f64 / 1000.0)
    };
    for row in rows {
        let rates: Vec<f64> = row.samples.iter().map(|s| s.connections_per_second).collect();
        // Round by round beside the first way, which has no policy.
        let base = &rows[0];
        let of_rate = middle(rates.iter().zip(&base.samples).map(|(a, b)| a / b.connections_per_second));
        let of_bytes = middle(row.throughput.iter().zip(&base.throughput).map(|(a, b)| a / b));
        table.add_row([
            row.way.clone(),
            row.rows.to_string(),
            format!("{:.0}", middle(rates.iter().copied())),
            format!("{of_rate:.3}"),
            format!("{:.3}", spread(&rates)),
            micro(row, |s| s.connection_p50),
            micro(row, |s| s.connection_p99),
            micro(row, |s| s.request_p50),
            micro(row, |s| s.request_p99),
            format!("{:.1}", middle(row.throughput.iter().copied()) * 8.0 / 1e9),
            format!("{of_bytes:.3}"),
            format!("{:.3}", spread(&row.throughput)),
        ]);
    }
    table
}
