//! What was measured, as ratios to the same way without a Service, measured in the same set-up and round.

use super::load::Sample;
use super::setup::Target;
use super::system::System;
use comfy_table::{Table, presets::NOTHING};
use std::fmt;

/// One set-up and way, all rounds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    pub system: System,
    pub services: u32,
    pub target: Target,
    pub samples: Vec<Sample>,
}

impl Row {
    pub fn new(system: System, services: u32, target: Target) -> Self {
        Self { system, services, target, samples: Vec::new() }
    }

    /// Mean over the rounds.
    pub fn mean(&self, what: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(what).sum::<f64>() / self.samples.len().max(1) as f64
    }

    /// Connections per second.
    pub fn rate(&self) -> f64 {
        self.mean(rate)
    }

    /// A/A: how far the set-up is from itself when it is measured twice, by its even rounds and by its odd ones, as a
    /// fraction.
    fn spread(&self, what: impl Fn(&Sample) -> f64) -> f64 {
        let mean = |skip: usize| {
            let half: Vec<f64> = self.samples.iter().skip(skip).step_by(2).map(&what).collect();
            half.iter().sum::<f64>() / half.len().max(1) as f64
        };
        let (even, odd) = (mean(0), mean(1));
        if even > 0.0 && odd > 0.0 { even.max(odd) / even.min(odd) - 1.0 } else { 0.0 }
    }
}

/// Connections per second of a sample.
fn rate(sample: &Sample) -> f64 {
    sample.connections_per_second
}

/// The median connection's time of a sample, ns.
fn median(sample: &Sample) -> f64 {
    sample.connection_p50 as f64
}

#[derive(Debug, serde::Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
    /// Largest A/A spread of the connection rates over all set-ups, as a fraction.
    pub rate_spread: f64,
    /// Largest A/A spread of the median connection's time over all set-ups, as a fraction.
    pub median_spread: f64,
}

impl Report {
    pub fn new(rows: Vec<Row>) -> Self {
        let largest = |what: fn(&Sample) -> f64| rows.iter().map(|row| row.spread(what)).fold(0.0, f64::max);
        let (rate_spread, median_spread) = (largest(rate), largest(median));
        Self { rows, rate_spread, median_spread }
    }

    /// The row with the same way without a Service.
    pub fn baseline(&self, row: &Row) -> Option<&Row> {
        self.rows
            .iter()
            .find(|r| r.system == row.system && r.services == row.services && r.target == row.target.baseline())
    }

    /// Mean of the ratios of each round to the baseline's same round.
    pub fn ratio(&self, row: &Row) -> f64 {
        let Some(base) = self.baseline(row) else { return f64::NAN };
        let pairs = row.samples.iter().zip(&base.samples);
        let ratios: Vec<f64> = pairs.map(|(a, b)| a.connections_per_second / b.connections_per_second).collect();
        ratios.iter().sum::<f64>() / ratios.len().max(1) as f64
    }

    /// How much longer the median connection takes than the baseline's; unlike the rate, other work on the machine hardly
    /// touches it.
    fn slower(&self, row: &Row) -> f64 {
        let p50 = |row: &Row| row.mean(median);
        self.baseline(row).map_or(f64::NAN, |base| p50(row) / p50(base))
    }

    /// Rate and median time with the most Services over those with the fewest, per system and way.
    fn growth(&self) -> Vec<(System, Target, f64, f64)> {
        let mut out = Vec::new();
        for row in &self.rows {
            let same = |r: &&Row| r.system == row.system && r.target == row.target;
            let smallest = self.rows.iter().filter(same).min_by_key(|r| r.services);
            let largest = self.rows.iter().filter(same).max_by_key(|r| r.services);
            if let (Some(small), Some(large)) = (smallest, largest)
                && std::ptr::eq(row, small)
                && small.services != large.services
            {
                let time = large.mean(median) / small.mean(median);
                out.push((row.system, row.target, large.rate() / small.rate(), time));
            }
        }
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "system",
            "services",
            "way",
            "conn/s",
            "of direct",
            "A/A",
            "conn p50 µs",
            "p99",
            "to direct",
            "A/A",
            "req p50 µs",
            "p99",
        ]);
        let micro = |row: &Row, what: fn(&Sample) -> u64| format!("{:.1}", row.mean(|s| what(s) as f64) / 1000.0);
        for row in &self.rows {
            table.add_row([
                row.system.name().to_owned(),
                row.services.to_string(),
                row.target.name().to_owned(),
                format!("{:.0}", row.rate()),
                format!("{:.3}", self.ratio(row)),
                format!("{:.3}", row.spread(rate)),
                micro(row, |s| s.connection_p50),
                micro(row, |s| s.connection_p99),
                format!("{:.3}", self.slower(row)),
                format!("{:.3}", row.spread(median)),
                micro(row, |s| s.request_p50),
                micro(row, |s| s.request_p99),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "Largest A/A spread: {:.3} of the rates, {:.3} of the median times.",
            self.rate_spread, self.median_spread
        )?;
        writeln!(f, "With the most Services over that with the fewest (rate, median time):")?;
        for (system, target, rate, time) in self.growth() {
            writeln!(f, "  {:<9} {:<22} {rate:.3} {time:.3}", system.name(), target.name())?;
        }
        Ok(())
    }
}
