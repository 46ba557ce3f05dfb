//! Maps as typed tables.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use datapath_layouts::maps::{self as info, MapInfo};
use datapath_layouts::{
    AddressKey, Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, CidrId, Endpoint, Flow, FlowKey,
    Followed, FragmentKey, FragmentPorts, Frontend, FrontendKey, IdentityInfo, MaglevTable, NatKey, NatMapping,
    Neighbour, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Route, Row, RowKey, ServiceFlow, SocketReverse,
    SocketReverseKey, SourceRangeKey, StatsValue, stats,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::sys;
use crate::tcp_ends::TcpEnds;

/// Keys and values: bytes without padding.
pub trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Send + Sync + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Send + Sync + 'static> Plain for T {}

/// A map of the kernel. All calls are by bpf(2) and safe from any thread.
pub struct Map<K, V> {
    fd: OwnedFd,
    info: MapInfo,
    types: PhantomData<fn(K) -> V>,
}

/// What a map is and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Name without version.
    pub name: String,
    /// As in `bpftool map`.
    pub kind: &'static str,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
    /// Kernel memory, bytes, as the kernel accounts it.
    pub memory_bytes: u64,
}

/// Entries read by one call.
const BATCH: u32 = 512;

impl<K: Plain, V: Plain> Map<K, V> {
    /// Opens a pinned map and checks that its shape is ours.
    ///
    /// # Errors
    /// When it is not there, or has another shape.
    pub fn open(directory: &Path, info: MapInfo) -> Result<Self, Error> {
        let path = pin_path(directory, info);
        let fd = sys::open_pin(&path).map_err(|source| Error::File { operation: "open pinned map", path, source })?;
        let shape = sys::map_shape(fd.as_fd()).map_err(|e| Error::kernel("ask the shape of map", info.name, e))?;
        if shape.key_size as usize != size_of::<K>() || shape.value_size as usize != size_of::<V>() {
            let what = format!(
                "its key and value have {} and {} bytes instead of {} and {}",
                shape.key_size,
                shape.value_size,
                size_of::<K>(),
                size_of::<V>()
            );
            return Err(Error::Map { name: info.name.to_owned(), what });
        }
        Ok(Self { fd, info, types: PhantomData })
    }

    fn error(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let name = self.info.name;
        move |e| Error::kernel(operation, name, e)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::new_zeroed();
        let found = sys::lookup(self.fd.as_fd(), key.as_bytes(), bytes_mut(&mut value))
            .map_err(self.error("look up in map"))?;
        Ok(found.then_some(value))
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// `E2BIG` when the map is full (hash) and others of the kernel's.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        sys::update(self.fd.as_fd(), key.as_bytes(), value.as_bytes()).map_err(self.error("write to map"))
    }

    /// Writes many entries, by batches where the map can.
    ///
    /// # Errors
    /// As [`Self::insert`]; what stood before the failing entry is written.
    pub fn insert_all(&self, entries: &[(K, V)]) -> Result<(), Error> {
        for part in entries.chunks(BATCH as usize) {
            let keys: Vec<u8> = part.iter().flat_map(|(k, _)| k.as_bytes().iter().copied()).collect();
            let values: Vec<u8> = part.iter().flat_map(|(_, v)| v.as_bytes().iter().copied()).collect();
            if sys::update_batch(self.fd.as_fd(), &keys, &values, part.len() as u32).is_err() {
                for (key, value) in part {
                    self.insert(key, value)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes an entry; false when there was none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        sys::delete(self.fd.as_fd(), key.as_bytes()).map_err(self.error("delete from map"))
    }

    /// Everything. The map may change meanwhile: each entry that stays is seen, others may or may not be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        match self.entries_by_batch() {
            Ok(entries) => Ok(entries),
            // LPM tries learnt batches late, and a bucket may hold more than a batch: then key by key.
            Err(_) => self.entries_by_key(),
        }
    }

    fn entries_by_batch(&self) -> std::io::Result<Vec<(K, V)>> {
        let (key_size, value_size) = (size_of::<K>(), size_of::<V>());
        let mut keys = vec![0u8; key_size * BATCH as usize];
        let mut values = vec![0u8; value_size * BATCH as usize];
        let mut cursor: Option<Vec<u8>> = None;
        let mut all = Vec::new();
        loop {
            let mut next = vec![0u8; key_size.max(4)];
            let (count, end) =
                sys::lookup_batch(self.fd.as_fd(), cursor.as_deref(), &mut next, &mut keys, &mut values, BATCH)?;
            for i in 0..count as usize {
                let key = K::read_from_bytes(&keys[i * key_size..(i + 1) * key_size]);
                let value = V::read_from_bytes(&values[i * value_size..(i + 1) * value_size]);
                if let (Ok(key), Ok(value)) = (key, value) {
                    all.push((key, value));
                }
            }
            if end {
                return Ok(all);
            }
            cursor = Some(next);
        }
    }

    fn entries_by_key(&self) -> Result<Vec<(K, V)>, Error> {
        let mut all = Vec::new();
        let mut key: Option<K> = None;
        // A key deleted under us starts the walk again; the bound keeps a busy map from holding us for ever.
        for _ in 0..u64::from(self.info.node).saturating_mul(4).max(1 << 20) {
            let mut next = K::new_zeroed();
            let more = sys::next_key(self.fd.as_fd(), key.as_ref().map(IntoBytes::as_bytes), bytes_mut(&mut next))
                .map_err(self.error("walk map"))?;
            if !more {
                break;
            }
            if let Some(value) = self.get(&next)? {
                all.push((next, value));
            }
            key = Some(next);
        }
        Ok(all)
    }

    /// What it is and costs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn usage(&self) -> Result<Usage, Error> {
        usage(self.fd.as_fd(), self.info)
    }
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bytes_mut<T: Plain>(value: &mut T) -> &mut [u8] {
    value.as_mut_bytes()
}

pub(crate) fn pin_path(directory: &Path, info: MapInfo) -> std::path::PathBuf {
    directory.join("maps").join(format!("{}_v{}", info.name, info.version))
}

fn usage(fd: BorrowedFd<'_>, info: MapInfo) -> Result<Usage, Error> {
    let shape = sys::map_shape(fd).map_err(|e| Error::kernel("ask the shape of map", info.name, e))?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|e| Error::kernel("read the cost of map", info.name, e))?;
    let memory = text.lines().find_map(|line| line.strip_prefix("memlock:")).and_then(|n| n.trim().parse().ok());
    Ok(Usage {
        name: info.name.to_owned(),
        kind: kind_name(shape.kind),
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        memory_bytes: memory.unwrap_or(0),
    })
}

/// `enum bpf_map_type`, those that we use.
const fn kind_name(kind: u32) -> &'static str {
    match kind {
        1 => "hash",
        2 => "array",
        6 => "percpu_array",
        9 => "lru_hash",
        11 => "lpm_trie",
        27 => "ringbuf",
        _ => "other",
    }
}

/// The counters, summed over CPUs.
pub struct StatsMap {
    fd: OwnedFd,
    cpus: usize,
}

impl StatsMap {
    fn open(directory: &Path) -> Result<Self, Error> {
        let path = pin_path(directory, info::STATS);
        let fd = sys::open_pin(&path).map_err(|source| Error::File { operation: "open pinned map", path, source })?;
        let cpus = sys::possible_cpus().map_err(|e| Error::kernel("count the CPUs for map", "stats", e))?;
        Ok(Self { fd, cpus })
    }

    /// One slot.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, slot: u32) -> Result<StatsValue, Error> {
        let mut values = vec![0u8; size_of::<StatsValue>() * self.cpus];
        sys::lookup(self.fd.as_fd(), slot.as_bytes(), &mut values)
            .map_err(|e| Error::kernel("look up in map", "stats", e))?;
        let mut sum = StatsValue::ZERO;
        for chunk in values.chunks_exact(size_of::<StatsValue>()) {
            if let Ok(value) = StatsValue::read_from_bytes(chunk) {
                sum.packets = sum.packets.wrapping_add(value.packets);
                sum.bytes = sum.bytes.wrapping_add(value.bytes);
            }
        }
        Ok(sum)
    }

    /// Every slot that is not zero.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_all(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
        let mut all = Vec::new();
        for slot in 0..stats::SLOTS {
            let value = self.read(slot)?;
            if value != StatsValue::ZERO {
                all.push((slot, value));
            }
        }
        Ok(all)
    }
}

/// Every map.
pub struct Maps {
    /// Local addresses.
    pub endpoints: Map<AddressKey, Endpoint>,
    /// Everything else, by prefix.
    pub ipcache: Map<PrefixKey, Route>,
    /// Nodes on the link.
    pub neighbours: Map<AddressKey, Neighbour>,
    /// Services.
    pub frontends: Map<FrontendKey, Frontend>,
    /// Slots of services.
    pub backends: Map<BackendKey, Backend>,
    /// Maglev tables, by row.
    pub maglev: Map<u32, MaglevTable>,
    /// Clients that come back to the same backend.
    pub affinity: Map<AffinityKey, Affinity>,
    /// Backends that they may come back to.
    pub affinity_member: Map<AffinityMemberKey, u8>,
    /// Clients that may come at all.
    pub source_ranges: Map<SourceRangeKey, u8>,
    /// Flows of two voices.
    pub conntrack: Map<FlowKey, Flow>,
    /// Flows of one.
    pub half_open: Map<FlowKey, Flow>,
    /// Choices of per-packet translated flows.
    pub service_flows: Map<FlowKey, ServiceFlow>,
    /// Masquerade.
    pub nat: Map<NatKey, NatMapping>,
    /// Ports of fragmented datagrams.
    pub fragments: Map<FragmentKey, FragmentPorts>,
    /// Services of translated sockets.
    pub socket_reverse: Map<SocketReverseKey, SocketReverse>,
    /// Network namespaces whose sockets are left alone, by their cookies.
    pub untranslated: Map<u64, u8>,
    /// What the ends of TCP connections knew when they closed.
    pub tcp_ends: TcpEnds,
    /// Policies, by subject and direction.
    pub policies: Map<PolicyKey, Policy>,
    /// What is known about identities.
    pub identities: Map<u32, IdentityInfo>,
    /// Classes of policies' peers.
    pub policy_peers: Map<PeerKey, u32>,
    /// Prefixes that policies name.
    pub policy_cidrs: Map<PrefixKey, CidrId>,
    /// What classes may do.
    pub policy_rows: Map<RowKey, Row>,
    /// The same for ranges of ports.
    pub policy_ranges: Map<RangeKey, Row>,
    /// Goes up after every change of policy: one entry, key 0.
    pub policy_clock: Map<u32, u32>,
    /// Whose packets are told: one entry, key 0.
    pub followed: Map<u32, Followed>,
    /// Counters.
    pub stats: StatsMap,
    events: OwnedFd,
}

impl Maps {
    /// Opens what is pinned below `directory`; needs no agent.
    ///
    /// # Errors
    /// When a map is missing or has another shape.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = pin_path(directory, info::EVENTS);
        let events =
            sys::open_pin(&path).map_err(|source| Error::File { operation: "open pinned map", path, source })?;
        Ok(Self {
            endpoints: Map::open(directory, info::ENDPOINTS)?,
            ipcache: Map::open(directory, info::IPCACHE)?,
            neighbours: Map::open(directory, info::NEIGHBOURS)?,
            frontends: Map::open(directory, info::FRONTENDS)?,
            backends: Map::open(directory, info::BACKENDS)?,
            maglev: Map::open(directory, info::MAGLEV)?,
            affinity: Map::open(directory, info::AFFINITY)?,
            affinity_member: Map::open(directory, info::AFFINITY_MEMBER)?,
            source_ranges: Map::open(directory, info::SOURCE_RANGES)?,
            conntrack: Map::open(directory, info::CONNTRACK)?,
            half_open: Map::open(directory, info::HALF_OPEN)?,
            service_flows: Map::open(directory, info::SERVICE_FLOWS)?,
            nat: Map::open(directory, info::NAT)?,
            fragments: Map::open(directory, info::FRAGMENTS)?,
            socket_reverse: Map::open(directory, info::SOCKET_REVERSE)?,
            untranslated: Map::open(directory, info::UNTRANSLATED)?,
            tcp_ends: TcpEnds::open(directory)?,
            policies: Map::open(directory, info::POLICIES)?,
            identities: Map::open(directory, info::IDENTITIES)?,
            policy_peers: Map::open(directory, info::POLICY_PEERS)?,
            policy_cidrs: Map::open(directory, info::POLICY_CIDRS)?,
            policy_rows: Map::open(directory, info::POLICY_ROWS)?,
            policy_ranges: Map::open(directory, info::POLICY_RANGES)?,
            policy_clock: Map::open(directory, info::POLICY_CLOCK)?,
            followed: Map::open(directory, info::FOLLOWED)?,
            stats: StatsMap::open(directory)?,
            events,
        })
    }

    /// What each map is and costs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn usages(&self) -> Result<Vec<Usage>, Error> {
        Ok(vec![
            self.endpoints.usage()?,
            self.ipcache.usage()?,
            self.neighbours.usage()?,
            self.frontends.usage()?,
            self.backends.usage()?,
            self.maglev.usage()?,
            self.affinity.usage()?,
            self.affinity_member.usage()?,
            self.source_ranges.usage()?,
            self.conntrack.usage()?,
            self.half_open.usage()?,
            self.service_flows.usage()?,
            self.nat.usage()?,
            self.fragments.usage()?,
            self.socket_reverse.usage()?,
            self.untranslated.usage()?,
            self.tcp_ends.usage()?,
            self.policies.usage()?,
            self.identities.usage()?,
            self.policy_peers.usage()?,
            self.policy_cidrs.usage()?,
            self.policy_rows.usage()?,
            self.policy_ranges.usage()?,
            self.policy_clock.usage()?,
            self.followed.usage()?,
            usage(self.events.as_fd(), info::EVENTS)?,
            usage(self.stats.fd.as_fd(), info::STATS)?,
        ])
    }
}
