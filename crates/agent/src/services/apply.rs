//! Does a plan's changes, in their order.

use crate::table::{Table, TableError};
use datapath_layouts::{AffinityMemberKey, Backend, BackendKey, Frontend, FrontendKey, MaglevTable, SourceRangeKey};
use load_balancer::{Balancer, Capacity, Change, Contents, Plan, Tables};

/// The maps of Services.
pub struct Maps {
    /// The map `frontends`.
    pub frontends: Box<dyn Table<FrontendKey, Frontend>>,
    /// The map `backends`.
    pub backends: Box<dyn Table<BackendKey, Backend>>,
    /// The map `maglev`.
    pub maglev: Box<dyn Table<u32, MaglevTable>>,
    /// The map `affinity_member`.
    pub members: Box<dyn Table<AffinityMemberKey, u8>>,
    /// The map `source_ranges`.
    pub ranges: Box<dyn Table<SourceRangeKey, u8>>,
}

impl Maps {
    /// Starts from what the maps hold.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn balancer(&self, capacity: Capacity) -> Result<Balancer, TableError> {
        let contents = Contents {
            frontends: self.frontends.entries()?,
            backends: self.backends.entries()?,
            maglev: self.maglev.entries()?,
            members: self.members.entries()?.into_iter().map(|(key, _)| key).collect(),
            ranges: self.ranges.entries()?.into_iter().map(|(key, _)| key).collect(),
        };
        Ok(Balancer::recover(Tables::new(contents), capacity))
    }
}

/// What the value of a set's entry is: nobody reads it.
const THERE: u8 = 1;

/// Does the changes one by one. What a plan wants removed and is gone already is as it should be.
///
/// # Errors
/// At the first write that fails. Each step leaves the maps whole, so there is nothing to undo; but the plan is then to be
/// made anew from what the maps hold.
pub fn apply(maps: &Maps, plan: &Plan) -> Result<(), TableError> {
    for change in &plan.changes {
        match change {
            Change::WriteBackend(key, backend) => maps.backends.insert(key, backend)?,
            Change::RemoveBackend(key) => drop(maps.backends.remove(key)?),
            Change::WriteFrontend(key, frontend) => maps.frontends.insert(key, frontend)?,
            Change::RemoveFrontend(key) => drop(maps.frontends.remove(key)?),
            Change::WriteMaglev(row, table) => maps.maglev.insert(row, table)?,
            Change::RemoveMaglev(row) => drop(maps.maglev.remove(row)?),
            Change::WriteMember(key) => maps.members.insert(key, &THERE)?,
            Change::RemoveMember(key) => drop(maps.members.remove(key)?),
            Change::WriteRange(key) => maps.ranges.insert(key, &THERE)?,
            Change::RemoveRange(key) => drop(maps.ranges.remove(key)?),
        }
    }
    Ok(())
}
