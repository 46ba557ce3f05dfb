//! `malla agent --flow-log-… --hubble-metrics… --hubble-export-…`; those of OTLP stand in `receiver`.

use super::receiver::OtlpArgs;
use super::sampling::Sampling;
use clap::{ArgAction, Args, ValueEnum};
use flow_api::Invalid;
use flow_api::filter::{Filters, from_json};
use flow_api::flow::FlowFilter;
use flow_export::{Alike, Outflow, Redaction, Selection};
use flow_metrics::{Kind, MetricConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done with flows besides telling them. Names are Hubble's where Hubble has one.
#[derive(Args, Clone, Debug)]
pub struct FlowArgs {
    /// Observe flows. Without it they are neither served, kept, exported nor counted, and the programs don't tell of them; drops,
    /// `malla monitor` and `malla trace` go on. What was kept before stays in `flows` of the state folder until somebody removes it
    #[arg(long, env = "MALLA_ENABLE_HUBBLE", action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub enable_hubble: bool,
    /// What is observed of flows: their beginnings and ends (medium), or each packet (none), which costs a busy node half of its
    /// connections per second
    #[arg(long, env = "MALLA_MONITOR_AGGREGATION", value_enum, default_value_t, value_name = "LEVEL")]
    pub monitor_aggregation: Aggregated,
    /// Megabytes of flows that are kept in the state folder, and answer `malla observe --since`; 0: none are
    #[arg(long, default_value_t = flow_log::MOST_MB, value_name = "MB")]
    pub flow_log_size_mb: u64,
    /// Days that they are kept at most
    #[arg(long, default_value_t = flow_log::MOST_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650), value_name = "DAYS")]
    pub flow_log_days: u32,
    /// Keep and export the flows of one of so many connections that are forwarded and end well; what is dropped, audited or goes wrong
    /// is always kept, and metrics count all. Every node takes the same connections
    #[arg(
        long,
        env = "MALLA_FLOW_SAMPLING",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        value_name = "N"
    )]
    pub flow_sampling: u32,
    /// The port for Prometheus (/metrics) at the node's own address; 0: none
    #[arg(long, default_value_t = 9965, value_name = "PORT")]
    pub hubble_metrics_port: u16,
    /// What is counted, with context options as Hubble has them: 'drop:sourceContext=pod|ip;destinationContext=pod tcp'
    #[arg(
        long,
        value_delimiter = ' ',
        default_values = Kind::DEFAULT,
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
    #[arg(long, value_delimiter = ',', value_parser = field, value_name = "FIELD,…")]
    pub hubble_export_fieldmask: Vec<String>,
    /// Only flows that fit one of these filters, in JSON: '{"verdict":["DROPPED"]} {"source_pod":["shop/"]}'
    #[arg(long, value_parser = filters, value_name = "FILTERS")]
    pub hubble_export_allowlist: Option<Lists>,
    /// No flow that fits one of these filters
    #[arg(long, value_parser = filters, value_name = "FILTERS")]
    pub hubble_export_denylist: Option<Lists>,
    /// Export flows that agree in these fields as one, with how many they are by direction; no other field is told of them but the
    /// time of the first
    #[arg(long, value_delimiter = ',', value_parser = field, requires = "hubble_export_aggregation_interval", value_name = "FIELD,…")]
    pub hubble_export_fieldaggregate: Vec<String>,
    /// How long is waited for flows that agree: '30s', '5m'
    #[arg(long, value_parser = interval, requires = "hubble_export_fieldaggregate", value_name = "TIME")]
    pub hubble_export_aggregation_interval: Option<Duration>,
    /// Aggregate also what is dropped or audited or goes wrong, which otherwise is exported one by one
    #[arg(long, requires = "hubble_export_fieldaggregate")]
    pub hubble_export_aggregate_drops: bool,
    #[command(flatten)]
    pub otlp: OtlpArgs,
    /// Redact what is exported, as the flags below say
    #[arg(long)]
    pub hubble_redact_enabled: bool,
    /// The query and the fragment of URLs
    #[arg(long, requires = "hubble_redact_enabled")]
    pub hubble_redact_http_urlquery: bool,
    /// The password in URLs
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub hubble_redact_http_userinfo: bool,
    /// The values of all HTTP headers but these
    #[arg(long, value_delimiter = ',', requires = "hubble_redact_enabled", value_name = "HEADER,…")]
    pub hubble_redact_http_headers_allow: Vec<String>,
    /// The values of these HTTP headers
    #[arg(
        long,
        value_delimiter = ',',
        requires = "hubble_redact_enabled",
        conflicts_with = "hubble_redact_http_headers_allow",
        value_name = "HEADER,…"
    )]
    pub hubble_redact_http_headers_deny: Vec<String>,
    /// The API key of Kafka's requests
    #[arg(long, requires = "hubble_redact_enabled")]
    pub hubble_redact_kafka_apikey: bool,
    /// The values of labels with these keys
    #[arg(long, value_delimiter = ',', requires = "hubble_redact_enabled", value_name = "KEY,…")]
    pub hubble_redact_labels: Vec<String>,
}

/// Cilium's levels, as far as they differ here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Aggregated {
    /// Each packet
    None,
    /// Beginnings and ends
    #[default]
    #[value(aliases = ["lowest", "low", "maximum"])]
    Medium,
}

/// Filters of one flag.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists(Vec<FlowFilter>);

/// What is exported, wherever to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exporting {
    pub selection: Selection,
    pub alike: Option<Alike>,
}

impl Exporting {
    /// Reads it.
    pub(super) fn outflow(&self) -> Result<Outflow, Invalid> {
        Outflow::new(&self.selection, self.alike.as_ref())
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let is_fit = (1..=3600).contains(&interval.as_secs());
    is_fit.then(|| interval.unsigned_abs()).ok_or_else(|| "it is a second at least, and at most an hour".to_owned())
}

/// A field of a flow, or one of its fields.
fn field(path: &str) -> Result<String, String> {
    flow_api::mask::Mask::new([path]).map(|_| path.to_owned()).map_err(|why| why.to_string())
}

/// Refused when the agent starts, not when the first flow comes.
fn filters(text: &str) -> Result<Lists, String> {
    let read = from_json(text).map_err(|why| why.to_string())?;
    Filters::new(&read, &[]).map_err(|why| why.to_string())?;
    Ok(Lists(read))
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
            // An absolute path stays as it is.
            ..flow_export::Settings::new(state_dir.join(path))
        })
    }

    /// What is exported.
    pub(super) fn exporting(&self) -> Exporting {
        let selection = Selection {
            fieldmask: self.hubble_export_fieldmask.clone(),
            allowlist: self.hubble_export_allowlist.clone().unwrap_or_default().0,
            denylist: self.hubble_export_denylist.clone().unwrap_or_default().0,
            redaction: self.redaction(),
        };
        let fields = self.hubble_export_fieldaggregate.clone();
        let all = self.hubble_export_aggregate_drops;
        let alike = self.hubble_export_aggregation_interval.map(|interval| Alike { fields, interval, all });
        Exporting { selection, alike }
    }

    /// Of what is kept and exported.
    pub(super) fn sampling(&self) -> Sampling {
        Sampling::one_of(self.flow_sampling)
    }

    fn redaction(&self) -> Redaction {
        if !self.hubble_redact_enabled {
            return Redaction::default();
        }
        Redaction {
            http_urlquery: self.hubble_redact_http_urlquery,
            http_userinfo: self.hubble_redact_http_userinfo,
            http_headers_allow: self.hubble_redact_http_headers_allow.clone(),
            http_headers_deny: self.hubble_redact_http_headers_deny.clone(),
            kafka_apikey: self.hubble_redact_kafka_apikey,
            labels: self.hubble_redact_labels.clone(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::Parser;
    use flow_api::flow::Verdict;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flows: FlowArgs,
    }

    /// As from the command line.
    pub fn parsed(flags: &[&str]) -> Result<FlowArgs, String> {
        let words = ["agent"].iter().chain(flags);
        Command::try_parse_from(words).map(|command| command.flows).map_err(|error| error.to_string())
    }

    fn export(more: &[&str]) -> Result<Exporting, String> {
        Ok(parsed(more)?.exporting())
    }

    #[test]
    fn lists_and_redaction_of_the_exporter_are_hubbles_flags() {
        let file = parsed(&["--hubble-export-file-path", "flows.json"]).unwrap().export(Path::new("/state"));
        assert_eq!(file, Some(flow_export::Settings::new("/state/flows.json")));
        assert_eq!(export(&[]).unwrap(), Exporting::default());
        let chosen = export(&[
            "--hubble-export-denylist",
            r#"{"verdict":["DROPPED"]} {"source_pod":["shop/"]}"#,
            "--hubble-redact-enabled",
            "--hubble-redact-labels",
            "owner,mail",
            "--hubble-redact-http-headers-deny=cookie",
        ])
        .unwrap()
        .selection;
        assert_eq!((chosen.allowlist, chosen.denylist.len()), (Vec::new(), 2));
        assert_eq!(chosen.denylist[0].verdict, [Verdict::Dropped as i32]);
        let redaction = chosen.redaction;
        assert!(redaction.http_userinfo && !redaction.http_urlquery && !redaction.kafka_apikey);
        assert_eq!(
            (redaction.labels, redaction.http_headers_deny),
            (vec!["owner".to_owned(), "mail".to_owned()], vec!["cookie".to_owned()])
        );
    }

    #[test]
    fn aggregation_is_hubbles_flags_and_sampling_a_number() {
        let fields = "--hubble-export-fieldaggregate=source.namespace,verdict";
        let more = |flags: &[&str]| export(&[&[fields, "--hubble-export-aggregation-interval"], flags].concat());
        let alike = |seconds, all| {
            let fields = vec!["source.namespace".to_owned(), "verdict".to_owned()];
            Some(Alike { fields, interval: Duration::from_secs(seconds), all })
        };
        assert_eq!(more(&["30s"]).unwrap().alike, alike(30, false));
        assert_eq!(more(&["1m30s", "--hubble-export-aggregate-drops"]).unwrap().alike, alike(90, true));
        for refused in ["0s", "-1s", "61m", "30"] {
            assert!(more(&[refused]).is_err(), "{refused}");
        }
        assert!(export(&[fields]).unwrap_err().contains("--hubble-export-aggregation-interval"));
        assert_eq!(parsed(&[]).unwrap().sampling(), Sampling::one_of(1));
        assert_eq!(parsed(&["--flow-sampling", "10"]).unwrap().sampling(), Sampling::one_of(10));
        assert!(parsed(&["--flow-sampling", "0"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_keeps_the_agent_from_starting() {
        for (flags, words) in [
            (&["--hubble-export-allowlist", "{\"pod\":[]}"][..], "unrecognized field"),
            (&["--hubble-export-allowlist", "{\"source_ip\":[\"10.0.0\"]}"], "source_ip"),
            (&["--hubble-export-fieldmask", "verdict,source.podname"], "source.podname"),
            (&["--hubble-export-fieldaggregate=", "--hubble-export-aggregation-interval=9s"], "no field"),
            // A list that is not heeded would let out what must not leave.
            (&["--hubble-redact-labels", "owner"], "--hubble-redact-enabled"),
        ] {
            let error = export(flags).unwrap_err();
            assert!(error.contains(words), "{flags:?}: {error}");
        }
    }
}
