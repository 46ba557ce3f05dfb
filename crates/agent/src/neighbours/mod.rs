//! By whose device a node is known: the kernel finds the nodes on the link, the map `neighbours` says which frames are theirs.
//!
//! Whoever can answer for a node's address on the link (ARP, ND) passes for it here: that is as far as a link can be trusted
//! without encryption.

mod plan;
mod watch;

pub use plan::{Answering, Entries, Origins, entries, on_the_link, origins};
pub use watch::watch;

use crate::error::Error;
use crate::facts::Facts;
use crate::table::Table;
use crate::topology::difference;
use datapath_layouts::{AddressKey, Neighbour};
use model::{Node, NodeName};
use netlink::Netlink;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The kernel's table of one device.
pub trait Link {
    /// Who answers.
    ///
    /// # Errors
    /// The kernel's.
    fn answering(&self, device: u32) -> Result<Answering, Error>;
    /// Has the kernel look after an address.
    ///
    /// # Errors
    /// The kernel's.
    fn look_after(&self, device: u32, address: IpAddr) -> Result<(), Error>;
    /// No more.
    ///
    /// # Errors
    /// The kernel's.
    fn forget(&self, device: u32, address: IpAddr) -> Result<(), Error>;
}

impl Link for Netlink {
    fn answering(&self, device: u32) -> Result<Answering, Error> {
        let all = self.neighbours(Some(device)).map_err(Error::facts("read the neighbours"))?;
        let valid = all.into_iter().filter(|neighbour| neighbour.valid);
        Ok(valid.filter_map(|neighbour| Some((neighbour.address, neighbour.mac?.0))).collect())
    }

    fn look_after(&self, device: u32, address: IpAddr) -> Result<(), Error> {
        self.ensure_managed_neighbour(device, address).map_err(Error::facts("find a node on the link"))
    }

    fn forget(&self, device: u32, address: IpAddr) -> Result<(), Error> {
        self.ensure_neighbour_deleted(device, address).map_err(Error::facts("forget a node on the link"))?;
        Ok(())
    }
}

/// What is done for which nodes.
#[derive(Debug, Default)]
pub struct Neighbours {
    looked_after: BTreeSet<IpAddr>,
    /// Something was told since.
    fresh: bool,
    origins: Origins,
}

impl Neighbours {
    /// Nodes, the node's own network or the kernel's table may have changed.
    pub fn look_again(&mut self) {
        self.fresh = false;
    }

    /// How far it is known who is who.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Brings the map to what is known. `all_nodes`: who is not among the nodes is none, and its entry goes.
    ///
    /// # Errors
    /// The kernel's; the next attempt goes on from there.
    pub fn settle<'a>(
        &mut self,
        (own, nodes): (&'a NodeName, impl Iterator<Item = &'a Node> + Clone),
        all_nodes: bool,
        facts: &Facts,
        link: &dyn Link,
        map: &dyn Table<AddressKey, Neighbour>,
    ) -> Result<(), Error> {
        if self.fresh {
            return Ok(());
        }
        let device = facts.network.index;
        let wanted = plan::on_the_link(own, nodes.clone(), facts);
        for address in &wanted {
            if !self.looked_after.contains(address) {
                link.look_after(device, *address)?;
                self.looked_after.insert(*address);
            }
        }
        let written: Entries = map.entries()?.into_iter().collect();
        let desired = plan::entries(&wanted, &link.answering(device)?, &written);
        let (write, remove) = difference(&desired, &written);
        for (key, entry) in &write {
            map.insert(key, entry)?;
        }
        if all_nodes {
            for key in remove {
                let address = key.address.to_ip();
                self.looked_after.remove(&address);
                link.forget(device, address)?;
                map.remove(&key)?;
            }
        }
        self.origins = plan::origins(own, nodes, &desired);
        self.fresh = true;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
