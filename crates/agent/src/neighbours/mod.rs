//! By whose device a node is known: the kernel finds the nodes on the link, the map `neighbours` says which frames are theirs.
//!
//! Whoever can answer for a node's address on the link (ARP, ND) passes for it here: that is as far as a link can be trusted
//! without encryption.

mod plan;
mod watch;

pub use plan::{Entries, Origins};
pub use watch::watch;

use crate::error::Error;
use crate::table::Table;
use crate::topology::difference;
use datapath_layouts::{AddressKey, Neighbour};
use ipnet::IpNet;
use model::{Node, NodeName};
use netlink::Netlink;
use std::net::IpAddr;

/// The kernel's table of one device.
pub trait Link {
    /// What is in it.
    ///
    /// # Errors
    /// The kernel's.
    fn neighbours(&self, device: u32) -> Result<Vec<netlink::Neighbour>, Error>;
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
    fn neighbours(&self, device: u32) -> Result<Vec<netlink::Neighbour>, Error> {
        self.neighbours(Some(device)).map_err(Error::facts("read the neighbours"))
    }

    fn look_after(&self, device: u32, address: IpAddr) -> Result<(), Error> {
        self.ensure_managed_neighbour(device, address).map_err(Error::facts("find a node on the link"))
    }

    fn forget(&self, device: u32, address: IpAddr) -> Result<(), Error> {
        self.ensure_neighbour_deleted(device, address).map_err(Error::facts("forget a node on the link"))?;
        Ok(())
    }
}

/// How far it is known who is who.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// Nothing was told since the map was brought to what is known.
    settled: bool,
    origins: Origins,
}

impl Neighbours {
    /// Nodes, the node's own network or the kernel's table may have changed.
    pub fn look_again(&mut self) {
        self.settled = false;
    }

    /// How far it is known who is who.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Brings the map to what is known. `prefixes`: of this node on the link. `all_nodes`: who is not among the nodes is none,
    /// and its entry goes.
    ///
    /// # Errors
    /// The kernel's; the next attempt goes on from there.
    pub fn settle<'a>(
        &mut self,
        (own, nodes): (&'a NodeName, impl Iterator<Item = &'a Node> + Clone),
        all_nodes: bool,
        (device, prefixes): (u32, &[IpNet]),
        link: &dyn Link,
        map: &dyn Table<AddressKey, Neighbour>,
    ) -> Result<(), Error> {
        if self.settled {
            return Ok(());
        }
        let wanted = plan::on_the_link(own, nodes.clone(), prefixes);
        let table = link.neighbours(device)?;
        for address in plan::to_look_after(&wanted, &table) {
            link.look_after(device, address)?;
        }
        let written: Entries = map.entries()?.into_iter().collect();
        let desired = plan::entries(&wanted, &table, &written);
        let (write, remove) = difference(&desired, &written);
        for (key, entry) in &write {
            map.insert(key, entry)?;
        }
        for key in remove.iter().filter(|_| all_nodes) {
            link.forget(device, key.address.to_ip())?;
            map.remove(key)?;
        }
        self.origins = plan::origins(own, nodes, &desired);
        self.settled = true;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
