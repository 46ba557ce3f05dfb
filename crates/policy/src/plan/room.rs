//! How much fits into the maps.

use crate::rule::{Policy, PortMatch, PortSet, Ports, Subject, Tier};
use datapath_layouts::maps;

/// Entries that the maps have room for.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Of `policies`.
    pub policies: usize,
    /// Of `identities`.
    pub identities: usize,
    /// Of `policy_peers`.
    pub peers: usize,
    /// Of `policy_cidrs`.
    pub cidrs: usize,
    /// Of `policy_rows`.
    pub rows: usize,
    /// Of `policy_ranges`.
    pub ranges: usize,
}

impl Capacity {
    /// The same for each map.
    #[must_use]
    pub const fn each(entries: usize) -> Self {
        let all = entries;
        Self { policies: all, identities: all, peers: all, cidrs: all, rows: all, ranges: all }
    }

    /// Of a node.
    #[must_use]
    pub const fn node() -> Self {
        Self {
            policies: maps::POLICIES.node as usize,
            identities: maps::IDENTITIES.node as usize,
            peers: maps::POLICY_PEERS.node as usize,
            cidrs: maps::POLICY_CIDRS.node as usize,
            rows: maps::POLICY_ROWS.node as usize,
            ranges: maps::POLICY_RANGES.node as usize,
        }
    }
}

/// Rows and ranges that the failsafe ports of nodes take at most.
pub(super) fn failsafe_size<'a>(policies: impl Iterator<Item = &'a Policy>) -> (usize, usize) {
    let of_nodes = policies.filter(|policy| matches!(policy.subject, Subject::Nodes(_)));
    let rules = of_nodes.flat_map(|policy| &policy.rules).filter(|rule| rule.tier == Tier::Failsafe);
    let (mut rows, mut ranges) = (0, 0);
    for rule in rules {
        let Ports::OneOf(ports) = &rule.ports else {
            rows += 1;
            continue;
        };
        for port in ports {
            match port {
                PortMatch::Port(transport, PortSet::Range(first, last)) => {
                    let count = usize::from(last.saturating_sub(*first)) + 1;
                    let protocols = transport.numbers().len();
                    // A long range is cut into powers of two, at most two of each size.
                    if count <= 32 { rows += count * protocols } else { ranges += 32 * protocols }
                }
                PortMatch::Port(transport, _) => rows += transport.numbers().len(),
                PortMatch::Protocol(_) | PortMatch::Icmp { .. } => rows += 1,
            }
        }
    }
    // Ports beside each other may become ranges.
    (rows, ranges + rows)
}

/// A direction of a subject that does not fit. Everything is denied there until it does (to a node: everything but its
/// failsafe ports).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("map {map} has room for {capacity} entries and would need {needed}: everything is denied until it fits")]
pub struct Problem {
    /// The map.
    pub map: &'static str,
    /// Its size.
    pub capacity: usize,
    /// What would be in it.
    pub needed: usize,
}
