//! What a fresh process does with what its predecessor left.

use std::collections::HashSet;

use cni_protocol::CniError;
use ipam::{Owner, Timestamp};

use crate::{Endpoint, Phase, failure, network::PodNetwork};

/// What was found and done; the agent reports it.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Endpoints that stand, with the datapath attached.
    pub adopted: Vec<Endpoint>,
    /// Endpoints that were recorded as done but whose link is gone (after a reboot); they wait for the runtime's DEL,
    /// or for an ADD that makes them anew. Their addresses stay taken.
    pub without_link: Vec<Endpoint>,
    /// What an ADD or DEL was in the middle of, and what had an address but no record: removed.
    pub removed: Vec<(String, String)>,
    /// What could not be done, as "container interface: why". The next start, DEL or GC tries again.
    pub failed: Vec<(String, CniError)>,
}

impl PodNetwork {
    /// Takes over what stands, and finishes removing what an interrupted ADD or DEL left. To be called once, before
    /// requests are served. Never touches a running Pod's link.
    pub fn recover(&self) -> Result<Recovery, CniError> {
        let mut recovery = Recovery::default();
        let netlink = self.node_netlink()?;
        let owners: HashSet<Owner> = self.store.owners(true)?.into_iter().collect();
        let unrecorded: Vec<Owner> = self.ipam().owners().into_iter().filter(|owner| !owners.contains(owner)).collect();
        for owner in owners.into_iter().chain(unrecorded) {
            match self.store.load(&owner).filter(|endpoint| endpoint.phase == Phase::Ready) {
                Some(endpoint) => match self.adopt(endpoint, &netlink, &mut recovery) {
                    Ok(()) => {}
                    Err(error) => recovery.failed.push((label(&owner), error)),
                },
                None => match self.remove(&owner) {
                    Ok(()) => recovery.removed.push((owner.container_id, owner.ifname)),
                    Err(error) => recovery.failed.push((label(&owner), error)),
                },
            }
        }
        Ok(recovery)
    }

    fn adopt(
        &self,
        mut endpoint: Endpoint,
        netlink: &netlink::Netlink,
        recovery: &mut Recovery,
    ) -> Result<(), CniError> {
        // Should the journal have been lost, running Pods keep their addresses all the same.
        let claimed = self.ipam().claim(&endpoint.owner(), &endpoint.addresses, Timestamp::now());
        claimed.map_err(|error| failure::journal(&error))?;
        let Some(link) = netlink.link_by_name(&endpoint.host_ifname).map_err(failure::setup)? else {
            recovery.without_link.push(endpoint);
            return Ok(());
        };
        if link.index != endpoint.host_ifindex {
            endpoint.host_ifindex = link.index;
            self.store.save(&endpoint)?;
        }
        let attached = self.datapath.is_attached(&endpoint);
        if !attached.map_err(|error| failure::datapath("look at the datapath", &error))? {
            self.datapath.attach(&endpoint).map_err(|error| failure::datapath("attach the datapath", &error))?;
        }
        recovery.adopted.push(endpoint);
        Ok(())
    }
}

fn label(owner: &Owner) -> String {
    format!("{} {}", owner.container_id, owner.ifname)
}
