//! `malla agent --flow-log-… --hubble-metrics… --hubble-export-…`

use clap::Args;
use flow_metrics::{Kind, MetricConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done with flows besides telling them. Names are Hubble's where Hubble has one.
#[derive(Args, Clone, Debug)]
pub struct FlowArgs {
    /// Megabytes of flows that are kept in the state folder, and answer `malla observe --since`; 0: none are
    #[arg(long, default_value_t = flow_log::MOST_MB, value_name = "MB")]
    pub flow_log_size_mb: u64,
    /// Days that they are kept at most
    #[arg(long, default_value_t = flow_log::MOST_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650), value_name = "DAYS")]
    pub flow_log_days: u32,
    /// The port for Prometheus (/metrics) at the node's own address; 0: none
    #[arg(long, default_value_t = 9965, value_name = "PORT")]
    pub hubble_metrics_port: u16,
    /// What is counted, with context options as Hubble has them: 'drop:sourceContext=pod|ip;destinationContext=pod tcp'
    #[arg(
        long,
        value_delimiter = ' ',
        default_values = Kind::NAMES.map(|(name, _)| name),
        value_name = "METRIC METRIC…"
    )]
    pub hubble_metrics: Vec<MetricConfig>,
    /// Series of these metrics, over all of them; what has no room is counted in the series `overflow`
    #[arg(long, default_value_t = flow_metrics::BUDGET, value_name = "SERIES")]
    pub hubble_metrics_budget: u32,
    /// Write flows to this file, one JSON object per line; a relative path is below the state folder
    #[arg(long, env = "MALLA_HUBBLE_EXPORT_FILE_PATH", value_name = "FILE")]
    pub hubble_export_file_path: Option<PathBuf>,
    /// Megabytes past which the file is put aside
    #[arg(long, default_value_t = flow_export::MAX_SIZE_MB, value_parser = clap::value_parser!(u64).range(1..), value_name = "MB")]
    pub hubble_export_file_max_size_mb: u64,
    /// Files put aside that are kept
    #[arg(long, default_value_t = flow_export::MAX_BACKUPS, value_name = "FILES")]
    pub hubble_export_file_max_backups: usize,
    /// Compress files that are put aside
    #[arg(long)]
    pub hubble_export_file_compress: bool,
    /// Only these fields of a flow; `extensions` is what Hubble has no field for
    #[arg(long, value_delimiter = ',', value_name = "FIELD,…")]
    pub hubble_export_fieldmask: Vec<String>,
}

impl FlowArgs {
    /// Of the log; `None`: there is none.
    pub(super) fn log(&self, state_dir: &Path) -> Option<flow_log::Settings> {
        (self.flow_log_size_mb > 0).then(|| flow_log::Settings {
            most_bytes: self.flow_log_size_mb.saturating_mul(1 << 20),
            most_age: Duration::from_secs(u64::from(self.flow_log_days) * 24 * 3600),
            ..flow_log::Settings::new(state_dir.join("flows"))
        })
    }

    /// Of the exporter; `None`: there is none.
    pub(super) fn export(&self, state_dir: &Path) -> Option<flow_export::Settings> {
        let path = self.hubble_export_file_path.as_ref()?;
        Some(flow_export::Settings {
            file_max_size_mb: self.hubble_export_file_max_size_mb,
            file_max_backups: self.hubble_export_file_max_backups,
            file_compress: self.hubble_export_file_compress,
            fieldmask: self.hubble_export_fieldmask.clone(),
            // An absolute path stays as it is.
            ..flow_export::Settings::new(state_dir.join(path))
        })
    }
}
