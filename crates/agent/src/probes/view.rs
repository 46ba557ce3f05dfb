//! What probes have found, as `GET /v1/status` tells it.

use jiff::Timestamp;
use model::NodeName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// How a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// An echo request: its kernel answers.
    Icmp,
    /// A connection to its health port, and a request there: its agent answers.
    Tcp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Icmp, Self::Tcp];

    /// As it stands in metrics and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "ICMP",
            Self::Tcp => "TCP",
        })
    }
}

/// What a path is taken for. It takes three probes in a row to change it, so that it does not follow every lost packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Not enough was found yet.
    #[default]
    Unknown,
    /// The node answers.
    Reachable,
    /// It does not.
    Unreachable,
}

impl Standing {
    /// As it stands in metrics and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// This node's view of the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connectivity {
    /// Whether other nodes are probed, and answered, at all.
    pub enabled: bool,
    /// Seconds between two probes of one path.
    pub interval_seconds: f64,
    /// The others, by name.
    pub nodes: Vec<Peer>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub node: NodeName,
    /// Every way to it.
    pub paths: Vec<PathView>,
}

/// One way to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathView {
    /// Its address.
    pub address: IpAddr,
    /// How it is asked.
    pub protocol: Protocol,
    /// What the path is taken for.
    pub state: Standing,
    /// From the last probe's beginning to the answer; absent if there was none. TCP: handshake, request and answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_seconds: Option<f64>,
    /// Why the last probe failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Failures in a row until now.
    pub failures: u32,
    /// When the node has answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<Timestamp>,
}
