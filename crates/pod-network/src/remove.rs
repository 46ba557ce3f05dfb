//! DEL and GC: everything is tried, then everything that failed is told.

use std::collections::HashSet;

use cni_protocol::{CniError, ErrorCode, NetConf};
use ipam::{Owner, Timestamp};

use crate::{Endpoint, Phase, endpoint::is_host_interface_name, failure, network::PodNetwork};

impl PodNetwork {
    /// Removes all that belongs to `owner`: idempotent, needs no record and no namespace.
    ///
    /// The address is given back last and only when nothing of the endpoint is left: an address that is still routed
    /// somewhere must not become another Pod's.
    pub(crate) fn remove(&self, owner: &Owner) -> Result<(), CniError> {
        self.dismantle(owner, "")?;
        self.ipam().release(owner, Timestamp::now()).map_err(|error| failure::journal(&error))?;
        self.store.delete(owner)?;
        Ok(())
    }

    /// Datapath and links of `owner`, but neither address nor record.
    pub(crate) fn dismantle(&self, owner: &Owner, network: &str) -> Result<(), CniError> {
        let addresses = self.ipam().addresses_of(owner).map(<[_]>::to_vec);
        let record = self.store.load(owner);
        let netlink = self.node_netlink()?;
        let name = crate::host_interface_name(&owner.container_id, &owner.ifname);
        let link = netlink.link_by_name(&name).map_err(failure::setup)?;
        if addresses.is_none() && record.is_none() && link.is_none() {
            return Ok(()); // never heard of, or gone already
        }
        let mut endpoint = record.unwrap_or_else(|| Endpoint::bare(owner, network, addresses.unwrap_or_default()));
        // What the record says may be another device's by now (a reboot counts anew).
        endpoint.host_ifindex = link.as_ref().map_or(0, |link| link.index);
        if endpoint.phase == Phase::Ready {
            endpoint.phase = Phase::Removing;
            self.store.save(&endpoint)?;
        }
        let detached = self.datapath.detach(&endpoint);
        let detached = detached.map_err(|error| failure::datapath("detach the datapath", &error));
        let deleted = netlink.ensure_link_deleted(&name).map(drop).map_err(failure::setup);
        both(detached, deleted)
    }

    /// Removes every endpoint of the network that the runtime does not name as valid, and host-side links that
    /// belong to no endpoint at all.
    pub(crate) fn collect(&self, config: &NetConf, awaited: &dyn Fn() -> bool) -> Result<(), CniError> {
        let Some(valid) = &config.valid_attachments else {
            let text = "GC needs \"cni.dev/valid-attachments\" in the network configuration";
            return Err(CniError::new(ErrorCode::INVALID_CONFIG, text));
        };
        let valid: HashSet<Owner> =
            valid.iter().map(|a| Owner { container_id: a.container_id.clone(), ifname: a.ifname.clone() }).collect();
        // Links before records: a record is written before its link is made, so that whatever link is in the first
        // list and not in the second has none.
        let netlink = self.node_netlink()?;
        let links = netlink.links().map_err(failure::setup)?;
        let mut owners: HashSet<Owner> = self.store.owners(false)?.into_iter().collect();
        owners.extend(self.ipam().owners());

        let mut result = Ok(());
        for owner in owners.iter().filter(|owner| !valid.contains(owner)) {
            let removed = self.in_turn(&owner.container_id, awaited, || {
                let foreign = self.store.load(owner).is_some_and(|endpoint| endpoint.network != config.name);
                if foreign { Ok(()) } else { self.remove(owner) }
            });
            result = both(result, removed);
        }
        let known: HashSet<String> =
            owners.iter().map(|owner| crate::host_interface_name(&owner.container_id, &owner.ifname)).collect();
        for link in links {
            if is_host_interface_name(&link.name) && !known.contains(&link.name) {
                tracing::warn!(link = link.name, "removing the link of an unknown container");
                result = both(result, netlink.ensure_link_deleted(&link.name).map(drop).map_err(failure::setup));
            }
        }
        result
    }
}

/// The first failure, with the second in its details.
fn both(first: Result<(), CniError>, second: Result<(), CniError>) -> Result<(), CniError> {
    match (first, second) {
        (Err(first), Err(second)) => {
            let details =
                if first.details.is_empty() { second.to_string() } else { format!("{}; {second}", first.details) };
            Err(first.with_details(details))
        }
        (first, second) => first.and(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CODE_SETUP_FAILED;

    #[test]
    fn both_failures_are_told() {
        let error = |text: &str| Err(CniError::new(CODE_SETUP_FAILED, text));
        assert_eq!(both(error("a"), error("b")).unwrap_err().to_string(), "a (CNI code 102): b (CNI code 102)");
        assert_eq!(both(Ok(()), error("b")), error("b"));
        assert_eq!(both(error("a"), Ok(())), error("a"));
        assert_eq!(both(Ok(()), Ok(())), Ok(()));
    }
}
