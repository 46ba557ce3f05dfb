//! One write to one map.

use datapath_layouts::{Address, Backend, BackendKey, Frontend, FrontendKey};

/// A write that leaves the tables whole, if done in the order of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a slot.
    WriteBackend(BackendKey, Backend),
    /// Delete a slot that no frontend counts any more.
    RemoveBackend(BackendKey),
    /// Write a frontend whose slots exist.
    WriteFrontend(FrontendKey, Frontend),
    /// Delete a frontend.
    RemoveFrontend(FrontendKey),
}

/// A backend that a service no longer has: flows that were translated to it are to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gone {
    /// The service that had it.
    pub service_id: u32,
    /// Its address.
    pub address: Address,
    /// Its port, host order.
    pub port: u16,
}
