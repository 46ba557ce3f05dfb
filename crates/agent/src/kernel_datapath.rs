//! The real datapath behind the agent's own interfaces.

use crate::error::Error;
use crate::events::{Drain, TcpEnds};
use crate::loaded::Loaded;
use crate::pods::Programs;
use crate::settings_file;
use crate::status::MapUsage;
use crate::table::{Table, TableError};
use crate::{collector, policies, run, services};
use datapath::maps::{Map, Maps};
use datapath::{Datapath, EventReader};
use datapath_layouts::{Event, NodeConfig, StatsValue, TcpEnd, TcpEndKey, maps, stats};
use std::path::PathBuf;
use std::sync::Arc;

/// One pinned map of a loaded datapath.
struct Pinned<K: 'static, V: 'static> {
    datapath: Arc<Datapath>,
    pick: fn(&Maps) -> &Map<K, V>,
    name: &'static str,
}

impl<K: datapath::maps::Plain, V: datapath::maps::Plain> Pinned<K, V> {
    fn boxed(datapath: &Arc<Datapath>, name: &'static str, pick: fn(&Maps) -> &Map<K, V>) -> Box<dyn Table<K, V>> {
        Box::new(Self { datapath: datapath.clone(), pick, name })
    }

    fn map(&self) -> &Map<K, V> {
        (self.pick)(self.datapath.maps())
    }
}

impl<K: datapath::maps::Plain, V: datapath::maps::Plain> Table<K, V> for Pinned<K, V> {
    fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        self.map().get(key).map_err(|e| TableError::new("look up", self.name, e))
    }

    fn insert(&self, key: &K, value: &V) -> Result<(), TableError> {
        self.map().insert(key, value).map_err(|e| TableError::new("write", self.name, e))
    }

    fn remove(&self, key: &K) -> Result<bool, TableError> {
        self.map().remove(key).map_err(|e| TableError::new("remove", self.name, e))
    }

    fn entries(&self) -> Result<Vec<(K, V)>, TableError> {
        self.map().entries().map_err(|e| TableError::new("list", self.name, e))
    }
}

/// The maps that the loop writes.
#[must_use]
pub fn loop_maps(datapath: &Arc<Datapath>) -> run::Maps {
    run::Maps {
        ipcache: Pinned::boxed(datapath, maps::IPCACHE.name, |m| &m.ipcache),
        endpoints: endpoints(datapath),
        neighbours: Pinned::boxed(datapath, maps::NEIGHBOURS.name, |m| &m.neighbours),
        policy: policy_maps(datapath),
        services: services::Maps {
            frontends: Pinned::boxed(datapath, maps::FRONTENDS.name, |m| &m.frontends),
            backends: Pinned::boxed(datapath, maps::BACKENDS.name, |m| &m.backends),
            maglev: Pinned::boxed(datapath, maps::MAGLEV.name, |m| &m.maglev),
            members: Pinned::boxed(datapath, maps::AFFINITY_MEMBER.name, |m| &m.affinity_member),
            ranges: Pinned::boxed(datapath, maps::SOURCE_RANGES.name, |m| &m.source_ranges),
        },
    }
}

/// The maps of policy.
#[must_use]
pub fn policy_maps(datapath: &Arc<Datapath>) -> policies::Maps {
    policies::Maps {
        policies: Pinned::boxed(datapath, maps::POLICIES.name, |m| &m.policies),
        identities: Pinned::boxed(datapath, maps::IDENTITIES.name, |m| &m.identities),
        peers: Pinned::boxed(datapath, maps::POLICY_PEERS.name, |m| &m.policy_peers),
        cidrs: Pinned::boxed(datapath, maps::POLICY_CIDRS.name, |m| &m.policy_cidrs),
        rows: Pinned::boxed(datapath, maps::POLICY_ROWS.name, |m| &m.policy_rows),
        ranges: Pinned::boxed(datapath, maps::POLICY_RANGES.name, |m| &m.policy_ranges),
        clock: Pinned::boxed(datapath, maps::POLICY_CLOCK.name, |m| &m.policy_clock),
    }
}

/// The map of local addresses.
#[must_use]
pub fn endpoints(datapath: &Arc<Datapath>) -> Box<dyn Table<datapath_layouts::AddressKey, datapath_layouts::Endpoint>> {
    Pinned::boxed(datapath, maps::ENDPOINTS.name, |m| &m.endpoints)
}

/// The map of ends that are followed.
#[must_use]
pub fn followed(datapath: &Arc<Datapath>) -> Box<dyn Table<u32, datapath_layouts::Followed>> {
    Pinned::boxed(datapath, maps::FOLLOWED.name, |m| &m.followed)
}

/// The map of Pods whose sockets are left alone.
#[must_use]
pub fn untranslated(datapath: &Arc<Datapath>) -> Box<dyn Table<u64, u8>> {
    Pinned::boxed(datapath, maps::UNTRANSLATED.name, |m| &m.untranslated)
}

/// The maps that are collected, and the sockets.
#[must_use]
pub fn collected_maps(datapath: &Arc<Datapath>, sockets: Box<dyn collector::Sockets>) -> collector::Tables {
    collector::Tables {
        conntrack: Pinned::boxed(datapath, maps::CONNTRACK.name, |m| &m.conntrack),
        half_open: Pinned::boxed(datapath, maps::HALF_OPEN.name, |m| &m.half_open),
        service_flows: Pinned::boxed(datapath, maps::SERVICE_FLOWS.name, |m| &m.service_flows),
        affinity: Pinned::boxed(datapath, maps::AFFINITY.name, |m| &m.affinity),
        nat: Pinned::boxed(datapath, maps::NAT.name, |m| &m.nat),
        fragments: Pinned::boxed(datapath, maps::FRAGMENTS.name, |m| &m.fragments),
        socket_reverse: Pinned::boxed(datapath, maps::SOCKET_REVERSE.name, |m| &m.socket_reverse),
        backends: Pinned::boxed(datapath, maps::BACKENDS.name, |m| &m.backends),
        routes: Pinned::boxed(datapath, maps::IPCACHE.name, |m| &m.ipcache),
        sockets,
    }
}

/// The loaded programs.
pub struct Kernel {
    /// All of it.
    pub datapath: Arc<Datapath>,
    /// Where their settings are written down.
    pub state_dir: PathBuf,
}

impl Loaded for Kernel {
    fn config(&self) -> NodeConfig {
        self.datapath.config()
    }

    fn reconfigure(&self, config: NodeConfig) -> Result<(), Error> {
        self.datapath.reconfigure(config).map_err(failed("swap in programs with other settings"))?;
        settings_file::write(&self.state_dir, &config)
    }

    fn usages(&self) -> Result<Vec<MapUsage>, Error> {
        let usages = self.datapath.maps().usages().map_err(failed("ask what the maps cost"))?;
        Ok(usages
            .into_iter()
            .map(|u| MapUsage {
                name: u.name,
                kind: u.kind.to_owned(),
                max_entries: u.max_entries,
                memory_bytes: u.memory_bytes,
            })
            .collect())
    }

    fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
        self.datapath.maps().stats.read_all().map_err(failed("read the counters"))
    }

    fn attach_mode(&self) -> Option<String> {
        None
    }
}

impl Programs for Kernel {
    fn attach(&self, interface: &str, index: u32) -> Result<(), Error> {
        self.datapath.attach_pod(interface, index).map_err(failed(format!("attach to {interface}")))
    }

    fn detach(&self, interface: &str) -> Result<(), Error> {
        self.datapath.detach_pod(interface).map_err(failed(format!("detach from {interface}")))
    }

    fn is_attached(&self, interface: &str) -> bool {
        self.datapath.is_pod_attached(interface)
    }

    fn attached(&self) -> Result<Vec<String>, Error> {
        self.datapath.attached_pods().map_err(failed("list attached Pods"))
    }
}

/// The ring and its counter of loss.
pub struct Ring {
    /// The reading end.
    pub reader: EventReader,
    /// Where the counters are.
    pub datapath: Arc<Datapath>,
}

impl Drain for Ring {
    fn drain(&mut self, take: &mut dyn FnMut(&Event)) -> usize {
        self.reader.drain(take)
    }

    fn lost(&mut self) -> u64 {
        // A counter that can't be read now is read at the next look.
        self.datapath.maps().stats.read(stats::EVENTS_LOST).map_or(0, |value| value.packets)
    }
}

/// What closing TCP sockets knew.
pub struct ClosedSockets(pub Arc<Datapath>);

impl TcpEnds for ClosedSockets {
    fn of(&self, key: &TcpEndKey) -> Option<TcpEnd> {
        self.0.maps().tcp_ends.get(key)
    }
}

/// An error of the datapath, with what was tried.
pub fn failed<E: std::error::Error + Send + Sync + 'static>(operation: impl Into<String>) -> impl FnOnce(E) -> Error {
    let operation = operation.into();
    move |source| Error::Datapath { operation, source: Box::new(source) }
}
