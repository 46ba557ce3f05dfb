//! What is counted, written as for Hubble: `drop:sourceContext=pod|ip;destinationContext=pod;labelsContext=source_ip,source_pod`.

use crate::context::{Context, Label};
use crate::side::Side;
use std::str::FromStr;

/// Which metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `flow`
    Flow,
    /// `drop`
    Drop,
    /// `tcp`
    Tcp,
    /// `sctp`. Programs don't tell the type of a chunk yet.
    Sctp,
    /// `icmp`
    Icmp,
    /// `port-distribution`
    PortDistribution,
    /// `policy`
    Policy,
    /// `flows-to-world`
    FlowsToWorld,
    /// `ended`: Malla's own.
    Ended,
    /// `dns`. Nothing speaks layer 7 yet: there is nothing to count, as in a cluster of Cilium's without a proxy.
    Dns,
    /// `http` and `httpV2`. As `dns`.
    Http,
    /// `kafka`. As `dns`.
    Kafka,
}

/// Which of the flows to the world, by the options of that metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToWorld {
    /// `any-drop`: those that were dropped for another reason than policy too.
    pub any_drop: bool,
    /// `port`: told apart by the port that they are for.
    pub port: bool,
    /// `syn-only`: of TCP alone, and there what opens a connection.
    pub syn_only: bool,
}

/// A metric, and by what it is told apart besides its own labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricConfig {
    /// Which.
    pub kind: Kind,
    /// Label `source`.
    pub source: Side,
    /// Label `destination`.
    pub destination: Side,
    /// Labels of their own.
    pub labels: Vec<Label>,
    /// Of `flows-to-world`.
    pub to_world: ToWorld,
}

/// A configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metric {metric:?}: {reason}")]
pub struct Wrong {
    /// As it was written.
    pub metric: String,
    /// What is wrong with it.
    pub reason: String,
}

impl MetricConfig {
    /// With its own labels only.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let (source, destination) = (Side::default(), Side::default());
        Self { kind, source, destination, labels: Vec::new(), to_world: ToWorld::default() }
    }
}

impl FromStr for MetricConfig {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = |reason: String| Wrong { metric: text.to_owned(), reason };
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let kind = find(&Kind::NAMES, name).ok_or_else(|| wrong(format!("there is no {name:?}")))?;
        let mut config = Self::new(kind);
        for option in options.split(';').filter(|option| !option.is_empty()) {
            if kind == Kind::FlowsToWorld && config.to_world.set(option) || kind.has_option(option) {
                continue;
            }
            let (key, values) = option.split_once('=').ok_or_else(|| wrong(format!("{option:?} has no value")))?;
            let unknown = |value: &str| wrong(format!("{key} can't be {value:?}"));
            let contexts = || {
                let all = values.split('|').map(|value| find(&Context::NAMES, value).ok_or_else(|| unknown(value)));
                all.collect::<Result<Vec<_>, _>>()
            };
            match key {
                "sourceContext" => config.source.any = contexts()?,
                "sourceEgressContext" => config.source.egress = contexts()?,
                "sourceIngressContext" => config.source.ingress = contexts()?,
                "destinationContext" => config.destination.any = contexts()?,
                "destinationEgressContext" => config.destination.egress = contexts()?,
                "destinationIngressContext" => config.destination.ingress = contexts()?,
                "labelsContext" => {
                    let all = values.split(',').map(|value| find(&Label::NAMES, value).ok_or_else(|| unknown(value)));
                    config.labels = all.collect::<Result<_, _>>()?;
                    // Two labels of one name are no series.
                    let repeated = (1..config.labels.len()).any(|at| config.labels[..at].contains(&config.labels[at]));
                    if repeated {
                        return Err(wrong(format!("{values:?} names a label twice")));
                    }
                }
                _ => return Err(wrong(format!("there is no option {key:?}"))),
            }
        }
        Ok(config)
    }
}

impl ToWorld {
    /// Whether there is such an option.
    fn set(&mut self, option: &str) -> bool {
        let found = match option {
            "any-drop" => &mut self.any_drop,
            "port" => &mut self.port,
            "syn-only" => &mut self.syn_only,
            _ => return false,
        };
        *found = true;
        true
    }
}

impl Kind {
    /// As in the configuration; all that there are.
    pub const NAMES: [(&str, Self); 13] = [
        ("flow", Self::Flow),
        ("drop", Self::Drop),
        ("tcp", Self::Tcp),
        ("sctp", Self::Sctp),
        ("icmp", Self::Icmp),
        ("port-distribution", Self::PortDistribution),
        ("policy", Self::Policy),
        ("flows-to-world", Self::FlowsToWorld),
        ("ended", Self::Ended),
        ("dns", Self::Dns),
        ("http", Self::Http),
        ("httpV2", Self::Http),
        ("kafka", Self::Kafka),
    ];

    /// What is counted where nobody says what.
    pub const DEFAULT: [&str; 8] =
        ["flow", "drop", "tcp", "icmp", "port-distribution", "policy", "flows-to-world", "ended"];

    /// Options of metrics of layer 7, which choose among what is not counted.
    fn has_option(self, option: &str) -> bool {
        match self {
            Self::Dns => ["query", "ignoreAAAA"].contains(&option),
            Self::Http => ["exemplars", "exemplars=true", "exemplars=false"].contains(&option),
            _ => false,
        }
    }
}

fn find<T: Copy>(names: &[(&str, T)], wanted: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
}
