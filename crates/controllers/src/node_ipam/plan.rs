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
    let Some(spec) = &node.spec else { return Vec::new() };
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
mod tests {
    use super::*;
    use crate::Options;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    fn node(name: &str, second: i64, ranges: &[&str]) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node.metadata.creation_timestamp = jiff::Timestamp::from_second(second).ok().map(Time);
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = ranges.first().map(|range| (*range).to_owned());
        spec.pod_cidrs = (!ranges.is_empty()).then(|| ranges.iter().map(|range| (*range).to_owned()).collect());
        Arc::new(node)
    }

    fn assigned(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| match change {
                Change::Assign { node, ranges } => {
                    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                    format!("{} {}", node.metadata.name.as_deref().unwrap_or_default(), ranges.join(","))
                }
                Change::Exhausted { node, cluster } => {
                    format!("{} none of {cluster}", node.metadata.name.as_deref().unwrap_or_default())
                }
            })
            .collect()
    }

    #[test]
    fn the_labs_nodes_get_the_ranges_of_the_seed() {
        let nodes = [
            node("worker-10", 5, &[]),
            node("worker-2", 5, &[]),
            node("control-plane", 5, &[]),
            node("worker-1", 5, &[]),
        ];
        assert_eq!(
            assigned(&plan(&nodes, &Options::default().node_ranges)),
            [
                "control-plane 10.244.0.0/24,fd00:10:244::/64",
                "worker-1 10.244.1.0/24,fd00:10:244:1::/64",
                "worker-2 10.244.2.0/24,fd00:10:244:2::/64",
                "worker-10 10.244.3.0/24,fd00:10:244:3::/64",
            ]
        );
    }

    #[test]
    fn the_older_node_goes_first_whatever_its_name() {
        let nodes = [node("a", 9, &[]), node("z", 3, &[])];
        let changes = assigned(&plan(&nodes, &Options::default().node_ranges));
        assert!(changes[0].starts_with("z 10.244.0.0/24"), "{changes:?}");
    }

    #[test]
    fn a_node_with_ranges_keeps_them_and_holes_are_filled() {
        let nodes = [
            node("a", 1, &["10.244.0.0/24", "fd00:10:244::/64"]),
            node("b", 2, &["10.244.2.0/24", "fd00:10:244:2::/64"]),
            node("c", 3, &[]),
            node("d", 4, &[]),
        ];
        assert_eq!(
            assigned(&plan(&nodes, &Options::default().node_ranges)),
            ["c 10.244.1.0/24,fd00:10:244:1::/64", "d 10.244.3.0/24,fd00:10:244:3::/64"]
        );
    }

    #[test]
    fn a_range_chosen_by_hand_is_left_alone() {
        let nodes = [node("a", 1, &["10.244.0.0/23"]), node("b", 2, &[]), node("c", 3, &["192.168.0.0/24"])];
        assert_eq!(
            assigned(&plan(&nodes, &Options::default().node_ranges)),
            ["b 10.244.2.0/24,fd00:10:244::/64"]
        );
    }

    #[test]
    fn a_full_cluster_says_so_and_gives_no_half() {
        let small = |cluster: &str, node_prefix| NodeRange { cluster: cluster.parse().expect("range"), node_prefix };
        let options = [small("10.0.0.0/23", 24), small("fd00::/64", 64)];
        let nodes = [node("a", 1, &[]), node("b", 2, &[])];
        assert_eq!(
            assigned(&plan(&nodes, &options)),
            ["a 10.0.0.0/24,fd00::/64", "b none of fd00::/64"]
        );
    }

    proptest! {
        #[test]
        fn no_range_is_given_twice(count in 1usize..40, held in prop::collection::btree_set(0u8..40, 0..20)) {
            let mut nodes: Vec<_> = held
                .iter()
                .map(|third| node(&format!("held-{third}"), 0, &[&format!("10.244.{third}.0/24"), &format!("fd00:10:244:{third:x}::/64")]))
                .collect();
            nodes.extend((0..count).map(|number| node(&format!("new-{number}"), 1, &[])));
            let mut all: Vec<IpNet> = nodes.iter().flat_map(|node| ranges_of(node)).collect();
            all.sort();
            all.dedup();
            let changes = plan(&nodes, &Options::default().node_ranges);
            prop_assert_eq!(changes.len(), count);
            for change in changes {
                let Change::Assign { ranges, .. } = change else { return Err(TestCaseError::fail("exhausted")) };
                all.extend(ranges);
            }
            let total = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), total);
        }
    }
}
