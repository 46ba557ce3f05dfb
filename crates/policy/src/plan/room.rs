//! How much fits into the maps.

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

/// A direction of a subject that does not fit. Everything is denied there until it does.
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
