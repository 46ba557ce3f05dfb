//! The maps that decide about a flow, as they are in the kernel.

use anyhow::{Context, anyhow};
use datapath::maps::Maps;
use datapath_layouts::{
    Address, AddressKey, Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, Endpoint, Frontend,
    FrontendKey, MaglevTable, PrefixKey, Route, SourceRangeKey,
};
use std::path::{Path, PathBuf};

/// What the programs look up. Each look-up is the kernel's own.
pub trait Lookup {
    fn frontend(&self, key: &FrontendKey) -> anyhow::Result<Option<Frontend>>;
    fn backend(&self, key: &BackendKey) -> anyhow::Result<Option<Backend>>;
    fn maglev(&self, row: u32) -> anyhow::Result<Option<MaglevTable>>;
    fn affinity(&self, key: &AffinityKey) -> anyhow::Result<Option<Affinity>>;
    fn is_member(&self, key: &AffinityMemberKey) -> anyhow::Result<bool>;
    fn is_in_range(&self, row: u32, client: Address) -> anyhow::Result<bool>;
    fn endpoint(&self, address: Address) -> anyhow::Result<Option<Endpoint>>;
    fn route(&self, address: Address) -> anyhow::Result<Option<Route>>;
    /// The kernel's monotonic clock, ns.
    fn now_ns(&self) -> u64;
}

/// The pinned ones of a node.
pub struct Pinned(Maps);

impl Pinned {
    /// Opens them.
    ///
    /// # Errors
    /// When they are not there or are another version's.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let maps = Maps::open(folder).with_context(|| format!("open the maps pinned in {}", folder.display()))?;
        Ok(Self(maps))
    }
}

/// Those of a node among all.
///
/// # Errors
/// As [`Pinned::open`].
pub fn open(folders: &[(String, PathBuf)], node: &str) -> anyhow::Result<Pinned> {
    let folder = folders.iter().find(|(name, _)| name == node).map(|(_, folder)| folder);
    Pinned::open(folder.ok_or_else(|| anyhow!("nothing is pinned for node {node}"))?)
}

impl Lookup for Pinned {
    fn frontend(&self, key: &FrontendKey) -> anyhow::Result<Option<Frontend>> {
        Ok(self.0.frontends.get(key)?)
    }

    fn backend(&self, key: &BackendKey) -> anyhow::Result<Option<Backend>> {
        Ok(self.0.backends.get(key)?)
    }

    fn maglev(&self, row: u32) -> anyhow::Result<Option<MaglevTable>> {
        Ok(self.0.maglev.get(&row)?)
    }

    fn affinity(&self, key: &AffinityKey) -> anyhow::Result<Option<Affinity>> {
        Ok(self.0.affinity.get(key)?)
    }

    fn is_member(&self, key: &AffinityMemberKey) -> anyhow::Result<bool> {
        Ok(self.0.affinity_member.get(key)?.is_some())
    }

    fn is_in_range(&self, row: u32, client: Address) -> anyhow::Result<bool> {
        let whole = SourceRangeKey { prefix_len: PrefixKey::FULL, service_id: row, address: client };
        Ok(self.0.source_ranges.get(&whole)?.is_some())
    }

    fn endpoint(&self, address: Address) -> anyhow::Result<Option<Endpoint>> {
        Ok(self.0.endpoints.get(&AddressKey::local(address))?)
    }

    fn route(&self, address: Address) -> anyhow::Result<Option<Route>> {
        Ok(self.0.ipcache.get(&PrefixKey::lookup(address))?)
    }

    fn now_ns(&self) -> u64 {
        agent::events::monotonic_ns()
    }
}
