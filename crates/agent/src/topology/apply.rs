//! Brings maps and routes to what is desired: first what is missing, then, once all nodes are known, what is stale.

use super::plan::{Desired, HostRoute, difference};
use crate::error::Error;
use crate::identities::is_exact;
use crate::table::Table;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::{AddressKey, Endpoint, PrefixKey, Route};
use ipnet::IpNet;
use netlink::Netlink;
use std::collections::{BTreeMap, HashMap};

/// Marks the host's routes as Malla's (`ip route show proto 77`); numbers above 4 are free (rtnetlink(7)).
pub const ROUTE_PROTOCOL: u8 = 77;

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries and routes written.
    pub written: usize,
    /// Entries and routes removed.
    pub removed: usize,
}

/// The places where the topology is written to.
pub struct Apply<'a> {
    /// The map `ipcache`; entries of single Pods are not touched.
    pub ipcache: &'a dyn Table<PrefixKey, Route>,
    /// The map `endpoints`; only entries of the host are touched.
    pub endpoints: &'a dyn Table<AddressKey, Endpoint>,
    /// The host's routes; none in tests without a kernel.
    pub netlink: Option<&'a Netlink>,
    /// Whether what is not desired may be removed: not before the API has told everything.
    pub sweep: bool,
    /// For entries of `ipcache`.
    pub told: &'a Told<'a, PrefixKey, Route>,
}

/// Told of an entry that was written: what it was before and what it is now, if it was there and is.
pub type Told<'a, K, V> = dyn Fn(&K, Option<&V>, Option<&V>) + 'a;

impl Apply<'_> {
    /// Does it.
    ///
    /// # Errors
    /// At the first write that fails; what was done stays, and the next attempt continues there.
    pub fn apply(&self, desired: &Desired) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        let is_ours = |key: &PrefixKey, route: &Route| !is_exact(key, route);
        self.table(self.ipcache, &desired.ipcache, is_ours, &mut applied, self.told)?;
        let is_hosts = |_: &AddressKey, endpoint: &Endpoint| endpoint.flags & FLAG_HOST != 0;
        self.table(self.endpoints, &desired.host_endpoints, is_hosts, &mut applied, &|_, _, _| {})?;
        if let Some(netlink) = self.netlink {
            self.routes(netlink, &desired.host_routes, &mut applied)?;
        }
        Ok(applied)
    }

    fn table<K, V>(
        &self,
        table: &dyn Table<K, V>,
        desired: &HashMap<K, V>,
        ours: impl Fn(&K, &V) -> bool,
        applied: &mut Applied,
        told: &Told<'_, K, V>,
    ) -> Result<(), Error>
    where
        K: std::hash::Hash + Eq + Clone,
        V: PartialEq + Clone,
    {
        let observed: HashMap<K, V> = table.entries()?.into_iter().filter(|(k, v)| ours(k, v)).collect();
        let (write, remove) = difference(desired, &observed);
        for (key, value) in &write {
            table.insert(key, value)?;
            applied.written += 1;
            told(key, observed.get(key), Some(value));
        }
        for key in remove.iter().filter(|_| self.sweep) {
            table.remove(key)?;
            applied.removed += 1;
            told(key, observed.get(key), None);
        }
        Ok(())
    }

    fn routes(
        &self,
        netlink: &Netlink,
        desired: &BTreeMap<IpNet, HostRoute>,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let observed: Vec<netlink::Route> = netlink
            .routes(Some(crate::facts::MAIN_TABLE))
            .map_err(Error::facts("read routes"))?
            .into_iter()
            .filter(|r| r.protocol == ROUTE_PROTOCOL)
            .collect();
        for (destination, route) in desired {
            let same = observed.iter().any(|o| {
                o.destination == *destination
                    && o.interface == Some(route.interface)
                    && o.gateway == route.gateway
                    && o.source == route.source
            });
            if !same {
                let wanted = netlink::Route {
                    gateway: route.gateway,
                    source: route.source,
                    protocol: ROUTE_PROTOCOL,
                    ..netlink::Route::to(*destination).dev(route.interface)
                };
                netlink.replace_route(&wanted).map_err(Error::facts("write a route to another node's Pods"))?;
                applied.written += 1;
            }
        }
        for stale in observed.iter().filter(|o| self.sweep && !desired.contains_key(&o.destination)) {
            netlink.ensure_route_deleted(stale).map_err(Error::facts("remove a stale route"))?;
            applied.removed += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::memory::MemoryTable;
    use datapath_layouts::{Address, identity};

    #[test]
    fn pods_are_not_touched_and_stale_entries_wait_for_the_sweep() {
        let ipcache = MemoryTable::with_capacity(10);
        let endpoints = MemoryTable::with_capacity(10);
        let stale = PrefixKey::from_ip("10.9.0.0".parse().unwrap(), 16);
        ipcache.insert(&stale, &Route::ZERO).unwrap();
        let pod = AddressKey::local(Address::from_v4([10, 244, 1, 2]));
        endpoints.insert(&pod, &Endpoint { ifindex: 9, ..Endpoint::ZERO }).unwrap();
        let old = AddressKey::local(Address::from_v4([172, 18, 0, 99]));
        let host = Endpoint { identity: identity::HOST, flags: FLAG_HOST, ..Endpoint::ZERO };
        endpoints.insert(&old, &host).unwrap();
        let mut desired = Desired::default();
        desired
            .ipcache
            .insert(PrefixKey::from_ip("10.244.2.0".parse().unwrap(), 24), Route { mtu: 1450, ..Route::ZERO });
        let wrote = std::cell::RefCell::new(Vec::new());
        let told = |key: &PrefixKey, before: Option<&Route>, now: Option<&Route>| {
            let mtu = |route: Option<&Route>| route.map(|route| route.mtu);
            wrote.borrow_mut().push((key.to_ip().0.to_string(), mtu(before), mtu(now)));
        };
        let mut apply = Apply { ipcache: &ipcache, endpoints: &endpoints, netlink: None, sweep: false, told: &told };
        assert_eq!(apply.apply(&desired).unwrap(), Applied { written: 1, removed: 0 });
        apply.sweep = true;
        assert_eq!(apply.apply(&desired).unwrap(), Applied { written: 0, removed: 2 });
        assert_eq!(apply.apply(&desired).unwrap(), Applied::default());
        let expected = [("10.244.2.0".to_owned(), None, Some(1450)), ("10.9.0.0".to_owned(), Some(0), None)];
        assert_eq!(wrote.take(), expected, "each once, and none of the host's endpoints");
        assert!(endpoints.get(&pod).unwrap().is_some() && endpoints.get(&old).unwrap().is_none());
    }
}
