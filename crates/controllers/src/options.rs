//! What a cluster can choose about its controllers.

use crate::leader::Election;
use identity::Filter;
use ipnet::IpNet;
use std::{net::Ipv6Addr, ops::RangeInclusive, time::Duration};

/// A cluster-wide Pod range and the size of each Node's share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRange {
    /// The range of the whole cluster.
    pub cluster: IpNet,
    /// Prefix length of one Node's share; at least as long as the cluster range's own.
    pub node_prefix: u8,
}

/// Options of [`crate::run`]; `Default` is the lab's.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pod ranges, one per address family; the first is the Node's `spec.podCIDR`.
    pub node_ranges: Vec<NodeRange>,
    /// A Node whose last sign of life is older than this is unreachable. Kubernetes'
    /// `--node-monitor-grace-period` was 40 s until 1.31.
    pub node_grace: Duration,
    /// A Node that was just created may be silent this long (`--node-startup-grace-period`).
    pub node_startup_grace: Duration,
    /// How long Pods without a toleration of their own stay on a Node with a NoExecute taint set by the node
    /// lifecycle controller (Kubernetes' DefaultTolerationSeconds admission gives 300 s).
    pub default_toleration: Duration,
    /// A Node must have been gone this long before its Pods are removed (Kubernetes' Pod GC: 40 s).
    pub vanished_node_grace: Duration,
    /// Name of the cluster, as its Pods' identities carry it (Cilium's `cluster-name`, and its default).
    pub cluster_name: String,
    /// Which labels make an identity.
    pub identity_labels: Filter,
    /// Numbers that may be given: all that there are, or fewer where somebody else gives the others.
    pub identity_numbers: RangeInclusive<u32>,
    /// How long an identity that no Pod has is kept.
    pub identity_grace: Duration,
    /// How one of several replicas is chosen that gives identities and writes policies' conditions. None: there is but one.
    pub election: Option<Election>,
}

impl Default for Options {
    fn default() -> Self {
        let v4 = ipnet::Ipv4Net::new_assert([10, 244, 0, 0].into(), 16);
        let v6 = ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0), 56);
        Self {
            node_ranges: vec![
                NodeRange { cluster: v4.into(), node_prefix: 24 },
                NodeRange { cluster: v6.into(), node_prefix: 64 },
            ],
            node_grace: Duration::from_secs(40),
            node_startup_grace: Duration::from_secs(60),
            default_toleration: Duration::from_secs(300),
            vanished_node_grace: Duration::from_secs(40),
            cluster_name: "default".to_owned(),
            identity_labels: Filter::default(),
            identity_numbers: identity::NUMBERS,
            identity_grace: identity::GRACE,
            election: None,
        }
    }
}
