//! `malla agent --enable-health-checking --cluster-health-port --health-check-interval`

use clap::{ArgAction, Args};

/// How nodes look after each other. Names are Cilium's where Cilium has one.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Probe the other nodes, and answer theirs
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub enable_health_checking: bool,
    /// The port where nodes answer each other; the same on all nodes
    #[arg(long, default_value_t = 4240, value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    pub cluster_health_port: u16,
    /// Seconds between two probes of the same node; in clusters of more than some 200 nodes they become more
    #[arg(long, env = "MALLA_HEALTH_CHECK_INTERVAL", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    pub health_check_interval: u32,
}
