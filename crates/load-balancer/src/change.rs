//! One write to one map.

use datapath_layouts::{
    Address, AffinityMemberKey, Backend, BackendKey, Frontend, FrontendKey, MaglevTable, SourceRangeKey,
};

/// A write that leaves the tables whole, if done in the order of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a slot.
    WriteBackend(BackendKey, Backend),
    /// Delete a slot that no frontend counts any more.
    RemoveBackend(BackendKey),
    /// Write a frontend whose rows, tables and ranges exist.
    WriteFrontend(FrontendKey, Frontend),
    /// Delete a frontend.
    RemoveFrontend(FrontendKey),
    /// Write a row's Maglev table.
    WriteMaglev(u32, Box<MaglevTable>),
    /// Delete a Maglev table that no frontend uses any more.
    RemoveMaglev(u32),
    /// Clients may come back to this backend.
    WriteMember(AffinityMemberKey),
    /// They may not any more.
    RemoveMember(AffinityMemberKey),
    /// Let clients of a prefix in.
    WriteRange(SourceRangeKey),
    /// Don't let them in any more.
    RemoveRange(SourceRangeKey),
}

/// A backend that a row no longer has: flows that were translated to it are to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gone {
    /// The row that had it.
    pub service_id: u32,
    /// Its address.
    pub address: Address,
    /// Its port, host order.
    pub port: u16,
}
