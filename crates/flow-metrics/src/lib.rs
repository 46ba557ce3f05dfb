//! Counters for Prometheus out of flows, with Hubble's names, labels and context options.
//!
//! ```text
//! flow ──▶ per configured metric: its labels, and those that the context options add ──▶ a series, if the budget has room
//! ```
//! | metric | counts | labels |
//! |---|---|---|
//! | `hubble_flows_processed_total` | flows | `protocol`, `type`, `subtype`, `verdict` |
//! | `hubble_drop_total` | drops | `reason`, `protocol` |
//! | `hubble_tcp_flags_total` | TCP flags of what passed | `flag`, `family` |
//! | `hubble_sctp_chunk_types_total` | chunks of SCTP that passed, by their type where it is told | `chunk_type`, `family` |
//! | `hubble_icmp_total` | ICMP messages | `family`, `type` |
//! | `hubble_port_distribution_total` | requests by port | `protocol`, `port` |
//! | `hubble_policy_verdicts_total` | what policy said | `direction`, `match`, `action` |
//! | `hubble_lost_events_total` | events that nobody saw | `source` |
//! | `malla_flows_ended_total` | flows that ended | `way`, `protocol` |
//! | `malla_flow_metrics_series`, `…_series_budget` | series that there are and may be | |
//! | `malla_flow_metrics_over_budget_total` | counts that went to the series `overflow` of their metric | |
//!
//! What policy said of a packet is an event beside the packet's own. It counts as an event and as what policy said, and nowhere else.
//!
//! What there are no series left for is counted nevertheless, in one series per metric whose labels all say `overflow`: sums stay
//! right.
//!
//! **In the agent** (`agent::keeping`) a thread that follows the ring calls `observe` and `lost`, and `forget_pods` when Pods have gone;
//! `/metrics` answers with `expose_beside`.
#![forbid(unsafe_code)]

mod config;
mod context;
mod metrics;
mod series;
mod side;
mod words;

pub use config::{Kind, MetricConfig, ToWorld, Wrong};
pub use context::{Context, Label};
pub use metrics::{BUDGET, Metrics, Settings};
pub use side::Side;
