//! What the maps hold, in memory: what the planner compares with, and what tests and explanations judge by.

use super::Change;
use datapath_layouts::{CidrId, IdentityInfo, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row, RowKey};
use datapath_logic::policy::PolicyTables;
use std::collections::HashMap;

/// The maps of policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// `policies`.
    pub policies: HashMap<PolicyKey, Policy>,
    /// `identities`.
    pub identities: HashMap<u32, IdentityInfo>,
    /// `policy_peers`.
    pub peers: HashMap<PeerKey, u32>,
    /// `policy_cidrs`.
    pub cidrs: HashMap<PrefixKey, CidrId>,
    /// `policy_rows`.
    pub rows: HashMap<RowKey, Row>,
    /// `policy_ranges`.
    pub ranges: HashMap<RangeKey, Row>,
}

impl Tables {
    /// Does what the kernel's maps would do.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::WriteRow(key, row) => drop(self.rows.insert(*key, *row)),
            Change::RemoveRow(key) => drop(self.rows.remove(key)),
            Change::WriteRange(key, row) => drop(self.ranges.insert(*key, *row)),
            Change::RemoveRange(key) => drop(self.ranges.remove(key)),
            Change::WritePeer(key, class) => drop(self.peers.insert(*key, *class)),
            Change::RemovePeer(key) => drop(self.peers.remove(key)),
            Change::WriteCidr(key, id) => drop(self.cidrs.insert(*key, *id)),
            Change::RemoveCidr(key) => drop(self.cidrs.remove(key)),
            Change::WriteIdentity(number, info) => drop(self.identities.insert(*number, *info)),
            Change::RemoveIdentity(number) => drop(self.identities.remove(number)),
            Change::WritePolicy(key, policy) => drop(self.policies.insert(*key, *policy)),
            Change::RemovePolicy(key) => drop(self.policies.remove(key)),
        }
    }
}

impl PolicyTables for Tables {
    fn policy(&self, key: &PolicyKey) -> Option<&Policy> {
        self.policies.get(key)
    }

    fn identity(&self, identity: &u32) -> Option<&IdentityInfo> {
        self.identities.get(identity)
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        self.peers.get(key).copied()
    }

    fn cidr(&self, key: &PrefixKey) -> Option<u32> {
        let address = u128::from_be_bytes(key.address.0);
        (0..=128u32).rev().find_map(|bits| {
            let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
            let mut shorter = *key;
            shorter.prefix_len = PrefixKey::HEAD_BITS + bits;
            shorter.address.0 = (address & mask).to_be_bytes();
            self.cidrs.get(&shorter).map(|id| id.id)
        })
    }

    fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    fn range(&self, key: &RangeKey) -> Option<&Row> {
        let port = u16::from_be_bytes(key.port);
        (0..=16u32).rev().find_map(|bits| {
            let mask = if bits == 0 { 0 } else { u16::MAX << (16 - bits) };
            let class = u32::from_be_bytes(key.class);
            self.ranges.get(&RangeKey::new(class, key.protocol, port & mask, bits))
        })
    }
}
