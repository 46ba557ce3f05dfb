//! Does a plan's changes, in their order.

use crate::table::{Table, TableError};
use datapath_layouts::{Backend, BackendKey, Frontend, FrontendKey};
use load_balancer::{Change, Plan};

/// The two maps of Services.
pub struct Apply<'a> {
    /// The map `frontends`.
    pub frontends: &'a dyn Table<FrontendKey, Frontend>,
    /// The map `backends`.
    pub backends: &'a dyn Table<BackendKey, Backend>,
}

/// Does the changes one by one. What a plan wants removed and is gone already is as it should be.
///
/// # Errors
/// At the first write that fails. Each step leaves the maps whole, so there is nothing to undo; but the plan is then to be
/// made anew from what the maps hold.
pub fn apply(maps: &Apply<'_>, plan: &Plan) -> Result<(), TableError> {
    for change in &plan.changes {
        match change {
            Change::WriteBackend(key, backend) => maps.backends.insert(key, backend)?,
            Change::RemoveBackend(key) => drop(maps.backends.remove(key)?),
            Change::WriteFrontend(key, frontend) => maps.frontends.insert(key, frontend)?,
            Change::RemoveFrontend(key) => drop(maps.frontends.remove(key)?),
        }
    }
    Ok(())
}
