//! Names of what has an address, as far as this node knows them.
//!
//! They are made anew now and then, as a whole; what an event was given out of them stays as it was. What many events share is
//! behind a pointer, so that naming one copies no text.

use super::elsewhere::Elsewhere;
use datapath_layouts::Address;
use datapath_layouts::policy::Direction;
use foldhash::fast::RandomState;
use model::{Labels, NodeName, ObjectName, Workload};
use netlink::MacAddress;
use policy::told::Named;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Asked several times for each event, and only about what this node has put in itself.
pub type Table<K, V> = std::collections::HashMap<K, V, RandomState>;

/// Names by address, and of rules.
#[derive(Debug, Default)]
pub struct Names {
    /// This node.
    pub here: Arc<Here>,
    /// Who has an address: Pods, local ones and those behind Services, nodes and Services.
    pub who: Table<Address, Arc<Who>>,
    /// Services, by address, port and protocol number. NodePorts have the family's wildcard.
    pub services: Table<(Address, u16, u8), Arc<ObjectName>>,
    /// Rules of policies, by their number in the maps.
    pub rules: Table<u32, Arc<RuleFacts>>,
    /// Policies by which an identity's direction has default deny; only of this node's Pods.
    pub default_deny: Table<(u32, Direction), Arc<Denying>>,
    /// What other nodes do, as far as policies say it.
    pub elsewhere: Elsewhere,
    /// What the policy clock reads.
    pub revision: Revision,
    /// Labels of allocated identities.
    pub labels: Table<u32, Labels>,
    /// Who is in a network namespace of this node, by its cookie: a socket may be refused before it has an address.
    pub callers: Table<u64, Caller>,
    /// Devices by their index.
    pub devices: Table<u32, Arc<Device>>,
}

/// The node that sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its name.
    pub name: NodeName,
    /// Its own labels, `key=value`.
    pub labels: Vec<String>,
    /// Where other nodes reach it; of each family, the first is where its tunnels end.
    pub addresses: Vec<IpAddr>,
}

impl Here {
    /// Its own address of a family, towards other nodes and the world.
    #[must_use]
    pub fn address(&self, is_v4: bool) -> Option<IpAddr> {
        self.addresses.iter().find(|own| own.is_ipv4() == is_v4).copied()
    }
}

impl Default for Here {
    fn default() -> Self {
        Self { name: "".into(), labels: Vec::new(), addresses: Vec::new() }
    }
}

/// A device of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: Box<str>,
    /// Whose it is.
    pub kind: DeviceKind,
}

/// Whose a device is: by this and the point it is known which program ran there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The node's, towards other nodes.
    Network,
    /// The tunnel's.
    Overlay,
    /// The host's end of a Pod's link.
    Pod {
        /// MAC address inside the Pod.
        mac: MacAddress,
        /// That of the host's end, the Pod's only neighbour.
        host_mac: MacAddress,
    },
}

/// Whose an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The Pod.
    pub pod: Option<ObjectName>,
    /// What it belongs to, if that was told.
    pub workload: Option<Arc<Workload>>,
    /// The node.
    pub node: Option<NodeName>,
    /// Its endpoint's number, if it is one of this node's.
    pub endpoint: Option<u32>,
    /// A Service is asked at it.
    pub is_service: bool,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFacts {
    /// Its name.
    pub name: Named,
    /// What it looks at, as Hubble's match type.
    pub match_type: u32,
    /// What its policy's verdicts are to be told with.
    pub log: Option<Arc<str>>,
    /// Uid of the object that it is written in, empty where that has none; `None`: nobody wrote it (failsafe ports).
    pub uid: Option<Box<str>>,
}

/// Policies with default deny.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denying {
    /// Which.
    pub policies: Vec<Named>,
    /// Of each, as [`RuleFacts::uid`].
    pub uids: Vec<Option<Box<str>>>,
}

impl FromIterator<(Named, Option<Box<str>>)> for Denying {
    fn from_iter<I: IntoIterator<Item = (Named, Option<Box<str>>)>>(all: I) -> Self {
        let (policies, uids) = all.into_iter().unzip();
        Self { policies, uids }
    }
}

/// A reading of the policy clock, and of which events it is certain that they were judged by it.
#[derive(Clone, Debug, Default)]
pub struct Revision {
    /// The reading; 0 = not known.
    pub clock: u32,
    /// From when on it is known to read so, monotonic ns.
    pub since_ns: u64,
    /// No later plan was begun. Shared with who plans: names are made anew some time after.
    pub stands: Arc<AtomicBool>,
}

impl Revision {
    /// Whether no later plan was begun.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.stands.load(Relaxed)
    }

    /// By which reading was judged what was seen at this moment, and is told now? 0 = that is not known. A plan that is begun
    /// says so before it writes anything, so whatever was seen while none was begun was judged as before.
    #[must_use]
    pub fn at(&self, time_ns: u64) -> u64 {
        if time_ns >= self.since_ns && self.stands() { u64::from(self.clock) } else { 0 }
    }
}

/// Whose sockets those of a network namespace are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Its identity.
    pub identity: u32,
}

impl Names {
    /// Of a node that knows nobody yet.
    #[must_use]
    pub fn of_node(name: NodeName) -> Self {
        Self { here: Arc::new(Here { name, ..Here::default() }), ..Self::default() }
    }

    /// The node's device towards other nodes.
    pub fn add_network(&mut self, index: u32, name: &str) {
        self.add_device(index, name, DeviceKind::Network);
    }

    /// The tunnel's device.
    pub fn add_overlay(&mut self, index: u32, name: &str) {
        self.add_device(index, name, DeviceKind::Overlay);
    }

    /// The host's end of a Pod's link, with the MAC addresses of the Pod and of this end.
    pub fn add_link(&mut self, index: u32, name: &str, mac: [u8; 6], host_mac: [u8; 6]) {
        let (mac, host_mac) = (MacAddress(mac), MacAddress(host_mac));
        self.add_device(index, name, DeviceKind::Pod { mac, host_mac });
    }

    fn add_device(&mut self, index: u32, name: &str, kind: DeviceKind) {
        self.devices.insert(index, Arc::new(Device { name: name.into(), kind }));
    }

    /// The Service that an address and port mean: exactly, or as a NodePort of a node.
    #[must_use]
    pub fn service(&self, address: Address, port: u16, protocol: u8) -> Option<&Arc<ObjectName>> {
        self.service_of(self.who.get(&address).map(|who| &**who), address, port, protocol)
    }

    /// The same, where it is known whose the address is: most are no Service's.
    #[must_use]
    pub fn service_of(&self, who: Option<&Who>, address: Address, port: u16, protocol: u8) -> Option<&Arc<ObjectName>> {
        let who = who?;
        let exact = who.is_service.then(|| self.services.get(&(address, port, protocol))).flatten();
        let any = if address.is_v4() { Address::V4_ANY } else { Address::ZERO };
        exact.or_else(|| who.node.as_ref().and_then(|_| self.services.get(&(any, port, protocol))))
    }
}
