//! The picture: connections per second over the number of Services.

use super::report::Report;
use super::setup::Target;
use super::system::System;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

pub fn write(report: &Report, path: &Path) -> Result<()> {
    // The library's error borrows the drawing area.
    draw(report, path).map_err(|error| anyhow!("{error}"))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (1000, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(500);
    let ways: [(&DrawingArea<_, _>, &str, &[Target]); 2] = [
        (&left, "ClusterIP: connections/s over Services", &[Target::ClusterIp, Target::ClusterIpBySocket]),
        (&right, "NodePort: connections/s over Services", &[Target::NodePort]),
    ];
    for (area, title, targets) in ways {
        let rows: Vec<_> = report.rows.iter().filter(|row| targets.contains(&row.target)).collect();
        let high = rows.iter().map(|row| row.rate()).fold(1.0, f64::max) * 1.15;
        let sizes = rows.iter().map(|row| row.services);
        let (first, last) = (sizes.clone().min().unwrap_or(1), sizes.max().unwrap_or(2));
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .caption(title, ("sans-serif", 18))
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((first..last + 1).log_scale(), 0f64..high)?;
        chart.configure_mesh().x_desc("Services").y_desc("connections/s").draw()?;
        for system in System::ALL {
            for &target in targets {
                let points: Vec<(u32, f64)> = rows
                    .iter()
                    .filter(|row| row.system == system && row.target == target)
                    .map(|row| (row.services, row.rate()))
                    .collect();
                if points.is_empty() {
                    continue;
                }
                let colour = match (system, target) {
                    (System::Malla, Target::ClusterIpBySocket) => RGBColor(16, 120, 60),
                    (System::Malla, _) => RGBColor(20, 90, 200),
                    (System::Iptables, _) => RGBColor(200, 60, 30),
                    (System::Nftables, _) => RGBColor(150, 100, 20),
                };
                let by = if target == Target::ClusterIpBySocket { ", by socket" } else { "" };
                chart
                    .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(4))?
                    .label(format!("{}{by}", system.name()))
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    area.present()?;
    Ok(())
}
