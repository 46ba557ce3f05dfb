//! Which Node gets which range: the lowest free one, in order of creation, once and for ever.

use crate::options::NodeRange;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use std::{
    cmp::Ordering,
    collections::HashSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write these ranges, one per family in the cluster's order, into the Node.
    Assign {
        /// The Node as it was seen.
        node: Arc<Node>,
        /// `spec.podCIDRs`.
        ranges: Vec<IpNet>,
    },
    /// No range is left for this Node.
    Exhausted {
        /// The Node that gets none.
        node: Arc<Node>,
        /// The cluster range that is full.
        cluster: IpNet,
    },
}

/// Plans ranges for all Nodes without one. A Node's ranges are all or nothing.
pub fn plan(nodes: &[Arc<Node>], options: &[NodeRange]) -> Vec<Change> {
    let mut taken: Vec<Taken> = options.iter().map(|range| Taken::new(*range)).collect();
    for node in nodes {
        for range in ranges_of(node) {
            taken.iter_mut().for_each(|family| family.mark(range));
        }
    }
    let mut waiting: Vec<&Arc<Node>> =
        nodes.iter().filter(|node| ranges_of(node).is_empty() && node.metadata.deletion_timestamp.is_none()).collect();
    waiting.sort_by(|a, b| in_order_of_creation(a, b));

    let mut changes = Vec::new();
    'nodes: for node in waiting {
        let mut ranges = Vec::new();
        for family in &taken {
            match family.lowest_free() {
                Some(range) => ranges.push(range),
                None => {
                    changes.push(Change::Exhausted { node: Arc::clone(node), cluster: family.range.cluster });
                    continue 'nodes;
                }
            }
        }
        for range in &ranges {
            taken.iter_mut().for_each(|family| family.mark(*range));
        }
        if !ranges.is_empty() {
            changes.push(Change::Assign { node: Arc::clone(node), ranges });
        }
    }
    changes
}

/// The ranges a Node has.
pub fn ranges_of(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let listed = spec.pod_cidrs.iter().flatten();
    listed.chain(&spec.pod_cidr).filter_map(|range| range.parse().ok()).collect()
}

/// Creation times have a resolution of one second, so names decide within it: the control plane first, then by number.
fn in_order_of_creation(a: &Node, b: &Node) -> Ordering {
    let created = |node: &Node| node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let is_worker = |node: &Node| {
        !node.metadata.labels.iter().flatten().any(|(key, _)| key == "node-role.kubernetes.io/control-plane")
    };
    created(a)
        .cmp(&created(b))
        .then(is_worker(a).cmp(&is_worker(b)))
        .then(natural(name_of(a)).cmp(&natural(name_of(b))))
}

fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// `worker-10` as (`worker-`, 10), so that it sorts after `worker-2`.
fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// Which shares of one cluster range are given away, by index.
struct Taken {
    range: NodeRange,
    indices: HashSet<u128>,
    /// Ranges that are no exact share (someone chose them by hand): everything they overlap is taken.
    odd: Vec<IpNet>,
}

impl Taken {
    fn new(range: NodeRange) -> Self {
        Self { range, indices: HashSet::new(), odd: Vec::new() }
    }

    fn mark(&mut self, used: IpNet) {
        let cluster = self.range.cluster;
        if !cluster.contains(&used) && !used.contains(&cluster) {
            return;
        }
        if used.prefix_len() == self.range.node_prefix {
            self.indices.insert(index_of(cluster, used, self.range.node_prefix));
        } else {
            self.odd.push(used);
        }
    }

    fn lowest_free(&self) -> Option<IpNet> {
        let bits = self.range.node_prefix.checked_sub(self.range.cluster.prefix_len())?;
        let shares = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
        // As many candidates as there are taken shares, plus one, always hold a free one; odd ranges may cover more.
        (0..shares).filter(|index| !self.indices.contains(index)).find_map(|index| {
            let share = share(self.range.cluster, index, self.range.node_prefix)?;
            let overlaps = self.odd.iter().any(|odd| odd.contains(&share) || share.contains(odd));
            (!overlaps).then_some(share)
        })
    }
}

fn index_of(cluster: IpNet, used: IpNet, prefix: u8) -> u128 {
    match (cluster, used) {
        (IpNet::V4(cluster), IpNet::V4(used)) => {
            let offset = used.network().to_bits().wrapping_sub(cluster.network().to_bits());
            u128::from(offset.checked_shr(u32::from(32 - prefix.min(32))).unwrap_or(0))
        }
        (IpNet::V6(cluster), IpNet::V6(used)) => {
            let offset = used.network().to_bits().wrapping_sub(cluster.network().to_bits());
            offset.checked_shr(u32::from(128 - prefix.min(128))).unwrap_or(0)
        }
        _ => 0,
    }
}

fn share(cluster: IpNet, index: u128, prefix: u8) -> Option<IpNet> {
    match cluster {
        IpNet::V4(cluster) => {
            let offset = u32::try_from(index).ok()?.checked_shl(u32::from(32u8.checked_sub(prefix)?)).unwrap_or(0);
            let address = Ipv4Addr::from_bits(cluster.network().to_bits().checked_add(offset)?);
            Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
        }
        IpNet::V6(cluster) => {
            let offset = index.checked_shl(u32::from(128u8.checked_sub(prefix)?)).unwrap_or(0);
            let address = Ipv6Addr::from_bits(cluster.network().to_bits().checked_add(offset)?);
            Ipv6Net::new(address, prefix).ok().map(IpNet::V6)
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
