//! Makes what [`crate::plan`] says, and removes it. What is so already is left alone, so a half-made lab is completed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use netlink::{AddressOptions, Link, LinkKind, MacAddress, Netlink, Route, VethEnd, VethPair, sysctl};
use network_namespace::{NETNS_RUN_DIR, NetNs, NetNsId};

use crate::{
    name::LabName,
    plan::{AddressPlan, End, LinkPlan, NamespacePlan, RoutePlan, Sysctl, Topology},
};

/// What could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("in namespace {namespace}")]
    Netlink {
        namespace: String,
        #[source]
        source: netlink::Error,
    },
    #[error(transparent)]
    Namespace(#[from] network_namespace::Error),
    #[error("list {NETNS_RUN_DIR}")]
    List(#[source] io::Error),
}

/// Makes the topology.
pub fn create(topology: &Topology) -> Result<(), ApplyError> {
    for namespace in &topology.namespaces {
        create_namespace(namespace)?;
    }
    for link in &topology.links {
        create_link(link)?;
    }
    for namespace in &topology.namespaces {
        let inside = Inside::open(&namespace.name)?;
        namespace.addresses.iter().try_for_each(|address| inside.address(address))?;
        namespace.routes.iter().try_for_each(|route| inside.route(route))?;
    }
    Ok(())
}

/// Where the namespace called `name` is.
#[must_use]
pub fn namespace_path(name: &str) -> PathBuf {
    Path::new(NETNS_RUN_DIR).join(name)
}

/// The names of `lab`'s namespaces that exist, whoever made them.
pub fn existing_namespaces(lab: &LabName) -> Result<Vec<String>, ApplyError> {
    let entries = match fs::read_dir(NETNS_RUN_DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ApplyError::List(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(ApplyError::List)?.file_name().into_string()
            && lab.member_of(&name).is_some()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes the namespace called `name` with every link in it. Links first: a process that is still inside keeps the
/// namespace alive, but no longer its wires. Returns which namespace it was, if it was one.
pub fn remove_namespace(name: &str) -> Result<Option<NetNsId>, ApplyError> {
    let path = namespace_path(name);
    let id = match NetNs::open(&path) {
        Ok(namespace) => {
            let inside = Inside { name, links: in_namespace(name, Netlink::open_in(&namespace))? };
            inside.delete_links()?;
            Some(namespace.id()?)
        }
        // A file that a crash left, or nothing at all: `remove` clears that up too.
        Err(_) => None,
    };
    NetNs::remove(&path)?;
    Ok(id)
}

fn create_namespace(plan: &NamespacePlan) -> Result<(), ApplyError> {
    let path = namespace_path(&plan.name);
    let namespace = match NetNs::open(&path) {
        Ok(namespace) => namespace,
        Err(_) => NetNs::create_named(&path)?,
    };
    let written = namespace.run(|| plan.sysctls.iter().try_for_each(write_sysctl))?;
    in_namespace(&plan.name, written)?;
    let inside = Inside::open(&plan.name)?;
    let loopback = inside.link("lo")?;
    inside.up(&loopback)
}

/// In the calling thread's namespace.
fn write_sysctl(plan: &Sysctl) -> Result<(), netlink::Error> {
    let parts: Vec<&str> = plan.path.trim_start_matches("net/").split('/').collect();
    match sysctl::write(&parts, plan.value) {
        Err(error) if plan.optional && error.is_not_found() => Ok(()),
        other => other,
    }
}

fn create_link(plan: &LinkPlan) -> Result<(), ApplyError> {
    match plan {
        LinkPlan::Bridge { end } => {
            let inside = Inside::open(&end.namespace)?;
            let bridge = in_namespace(&end.namespace, inside.links.ensure_bridge(&end.name))?;
            if bridge.mac != Some(MacAddress(end.mac)) {
                in_namespace(&end.namespace, inside.links.set_mac(bridge.index, MacAddress(end.mac)))?;
            }
            inside.up(&bridge)
        }
        LinkPlan::Veth { ends: (here, there), bridge } => create_veth(here, there, *bridge),
    }
}

fn create_veth(here: &End, there: &End, bridge: Option<&str>) -> Result<(), ApplyError> {
    let inside = Inside::open(&here.namespace)?;
    let far = NetNs::open(namespace_path(&there.namespace))?;
    let link = match in_namespace(&here.namespace, inside.links.link_by_name(&here.name))? {
        Some(link) => link,
        None => {
            let end = |end: &End| VethEnd { name: end.name.clone(), mac: Some(MacAddress(end.mac)), mtu: UNDERLAY_MTU };
            let pair = VethPair { here: end(here), peer: end(there), peer_namespace: Some(&far) };
            in_namespace(&here.namespace, inside.links.create_veth(&pair))?
        }
    };
    if let Some(bridge) = bridge {
        let master = inside.link(bridge)?.index;
        if link.master != Some(master) {
            in_namespace(&here.namespace, inside.links.set_master(link.index, Some(master)))?;
        }
    }
    inside.up(&link)?;
    let beyond = Inside::open(&there.namespace)?;
    beyond.up(&beyond.link(&there.name)?)
}

/// An open namespace and its links.
struct Inside<'a> {
    name: &'a str,
    links: Netlink,
}

impl<'a> Inside<'a> {
    fn open(name: &'a str) -> Result<Self, ApplyError> {
        let namespace = NetNs::open(namespace_path(name))?;
        Ok(Self { name, links: in_namespace(name, Netlink::open_in(&namespace))? })
    }

    fn link(&self, link: &str) -> Result<Link, ApplyError> {
        in_namespace(self.name, self.links.link(link))
    }

    fn up(&self, link: &Link) -> Result<(), ApplyError> {
        if link.up { Ok(()) } else { in_namespace(self.name, self.links.set_up(link.index)) }
    }

    fn address(&self, plan: &AddressPlan) -> Result<(), ApplyError> {
        let link = self.link(plan.link)?;
        let added = self.links.ensure_address(link.index, plan.address, AddressOptions::default());
        in_namespace(self.name, added).map(drop)
    }

    fn route(&self, plan: &RoutePlan) -> Result<(), ApplyError> {
        let route = Route { gateway: Some(plan.gateway), ..Route::to(plan.destination) };
        in_namespace(self.name, self.links.ensure_route(&route)).map(drop)
    }

    fn delete_links(&self) -> Result<(), ApplyError> {
        for link in in_namespace(self.name, self.links.links())? {
            // Fallback devices (tunl0, ip6tnl0, …) come and go with the namespace and cannot be deleted.
            if matches!(link.kind, LinkKind::Veth | LinkKind::Bridge | LinkKind::Vxlan { .. }) {
                match self.links.delete_link(link.index) {
                    // Its other end was deleted a moment ago, in this namespace or another.
                    Err(error) if error.is_not_found() => {}
                    other => in_namespace(self.name, other)?,
                }
            }
        }
        Ok(())
    }
}

fn in_namespace<T>(namespace: &str, result: Result<T, netlink::Error>) -> Result<T, ApplyError> {
    result.map_err(|source| ApplyError::Netlink { namespace: namespace.to_owned(), source })
}

/// In bytes: Ethernet's, as in kind's container network.
const UNDERLAY_MTU: u32 = 1500;
