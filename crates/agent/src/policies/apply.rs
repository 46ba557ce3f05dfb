//! Does a plan's changes, in their order.

use crate::table::{Table, TableError};
use datapath_layouts::{CidrId, IdentityInfo, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row, RowKey};
use policy::plan::{Change, Tables};

/// The maps of policy.
pub struct Maps {
    /// The map `policies`.
    pub policies: Box<dyn Table<PolicyKey, Policy>>,
    /// The map `identities`.
    pub identities: Box<dyn Table<u32, IdentityInfo>>,
    /// The map `policy_peers`.
    pub peers: Box<dyn Table<PeerKey, u32>>,
    /// The map `policy_cidrs`.
    pub cidrs: Box<dyn Table<PrefixKey, CidrId>>,
    /// The map `policy_rows`.
    pub rows: Box<dyn Table<RowKey, Row>>,
    /// The map `policy_ranges`.
    pub ranges: Box<dyn Table<RangeKey, Row>>,
    /// The map `policy_clock`.
    pub clock: Box<dyn Table<u32, u32>>,
}

impl Maps {
    /// What they hold.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn tables(&self) -> Result<Tables, TableError> {
        Ok(Tables {
            policies: self.policies.entries()?.into_iter().collect(),
            identities: self.identities.entries()?.into_iter().collect(),
            peers: self.peers.entries()?.into_iter().collect(),
            cidrs: self.cidrs.entries()?.into_iter().collect(),
            rows: self.rows.entries()?.into_iter().collect(),
            ranges: self.ranges.entries()?.into_iter().collect(),
        })
    }

    /// The policy clock.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn epoch(&self) -> Result<u32, TableError> {
        Ok(self.clock.get(&CLOCK)?.unwrap_or(0))
    }

    /// Makes every flow ask again at its next packet.
    fn tick(&self) -> Result<(), TableError> {
        self.clock.insert(&CLOCK, &self.epoch()?.wrapping_add(1))
    }
}

/// The one entry of `policy_clock`.
const CLOCK: u32 = 0;

/// Does the changes one by one, then moves the clock. A change that fails moves it too: what was done is in force.
///
/// # Errors
/// At the first write that fails. The plan is then to be made anew from what the maps hold.
pub fn apply(maps: &Maps, changes: &[Change]) -> Result<(), TableError> {
    if changes.is_empty() {
        return Ok(());
    }
    let written = changes.iter().try_for_each(|change| match change {
        Change::WriteRow(key, row) => maps.rows.insert(key, row),
        Change::RemoveRow(key) => maps.rows.remove(key).map(drop),
        Change::WriteRange(key, row) => maps.ranges.insert(key, row),
        Change::RemoveRange(key) => maps.ranges.remove(key).map(drop),
        Change::WritePeer(key, class) => maps.peers.insert(key, class),
        Change::RemovePeer(key) => maps.peers.remove(key).map(drop),
        Change::WriteCidr(key, id) => maps.cidrs.insert(key, id),
        Change::RemoveCidr(key) => maps.cidrs.remove(key).map(drop),
        Change::WriteIdentity(number, info) => maps.identities.insert(number, info),
        Change::RemoveIdentity(number) => maps.identities.remove(number).map(drop),
        Change::WritePolicy(key, policy) => maps.policies.insert(key, policy),
        Change::RemovePolicy(key) => maps.policies.remove(key).map(drop),
    });
    maps.tick()?;
    written
}
