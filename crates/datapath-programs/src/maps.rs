//! The maps. Names, versions and sizes are those of `datapath_layouts::maps`; the loader sets sizes and pins.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use datapath_layouts::maps as info;
use datapath_layouts::{
    AddressKey, Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, CidrId, Endpoint, Flow, FlowKey, Followed,
    FragmentKey, FragmentPorts, Frontend, FrontendKey, IdentityInfo, MaglevTable, NatKey, NatMapping, Neighbour, PeerKey,
    Policy, PolicyKey, PrefixKey, RangeKey, Route, Row, RowKey, ServiceFlow, SocketReverse, SocketReverseKey,
    SourceRangeKey, StatsValue, TcpEndPlace,
};

use crate::scratch::Scratch;

/// Service tables grow with the cluster, not with the node's memory: allocated entry by entry (BPF_F_NO_PREALLOC).
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`: who has it open may read it as memory.
const MMAPABLE: u32 = 1 << 10;

#[map(name = "endpoints")]
pub static ENDPOINTS: HashMap<AddressKey, Endpoint> = HashMap::with_max_entries(info::ENDPOINTS.lab, 0);
#[map(name = "ipcache")]
pub static IPCACHE: LpmTrie<PrefixData, Route> = LpmTrie::with_max_entries(info::IPCACHE.lab, 0);
#[map(name = "neighbours")]
pub static NEIGHBOURS: HashMap<AddressKey, Neighbour> = HashMap::with_max_entries(info::NEIGHBOURS.lab, NO_PREALLOC);
#[map(name = "frontends")]
pub static FRONTENDS: HashMap<FrontendKey, Frontend> = HashMap::with_max_entries(info::FRONTENDS.lab, NO_PREALLOC);
#[map(name = "backends")]
pub static BACKENDS: HashMap<BackendKey, Backend> = HashMap::with_max_entries(info::BACKENDS.lab, NO_PREALLOC);
#[map(name = "maglev")]
pub static MAGLEV: HashMap<u32, MaglevTable> = HashMap::with_max_entries(info::MAGLEV.lab, NO_PREALLOC);
#[map(name = "affinity")]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity> = LruHashMap::with_max_entries(info::AFFINITY.lab, 0);
#[map(name = "affinity_member")]
pub static AFFINITY_MEMBER: HashMap<AffinityMemberKey, u8> =
    HashMap::with_max_entries(info::AFFINITY_MEMBER.lab, NO_PREALLOC);
#[map(name = "source_ranges")]
pub static SOURCE_RANGES: LpmTrie<PrefixData, u8> = LpmTrie::with_max_entries(info::SOURCE_RANGES.lab, 0);
#[map(name = "conntrack")]
pub static CONNTRACK: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(info::CONNTRACK.lab, 0);
#[map(name = "half_open")]
pub static HALF_OPEN: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(info::HALF_OPEN.lab, 0);
#[map(name = "service_flows")]
pub static SERVICE_FLOWS: LruHashMap<FlowKey, ServiceFlow> = LruHashMap::with_max_entries(info::SERVICE_FLOWS.lab, 0);
#[map(name = "nat")]
pub static NAT: LruHashMap<NatKey, NatMapping> = LruHashMap::with_max_entries(info::NAT.lab, 0);
#[map(name = "fragments")]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> = LruHashMap::with_max_entries(info::FRAGMENTS.lab, 0);
#[map(name = "socket_reverse")]
pub static SOCKET_REVERSE: LruHashMap<SocketReverseKey, SocketReverse> =
    LruHashMap::with_max_entries(info::SOCKET_REVERSE.lab, 0);
#[map(name = "untranslated")]
pub static UNTRANSLATED: HashMap<u64, u8> = HashMap::with_max_entries(info::UNTRANSLATED.lab, NO_PREALLOC);
#[map(name = "tcp_ends")]
pub static TCP_ENDS: Array<TcpEndPlace> = Array::with_max_entries(info::TCP_ENDS.lab, MMAPABLE);
#[map(name = "policies")]
pub static POLICIES: HashMap<PolicyKey, Policy> = HashMap::with_max_entries(info::POLICIES.lab, NO_PREALLOC);
#[map(name = "identities")]
pub static IDENTITIES: HashMap<u32, IdentityInfo> = HashMap::with_max_entries(info::IDENTITIES.lab, NO_PREALLOC);
#[map(name = "policy_peers")]
pub static POLICY_PEERS: HashMap<PeerKey, u32> = HashMap::with_max_entries(info::POLICY_PEERS.lab, NO_PREALLOC);
#[map(name = "policy_cidrs")]
pub static POLICY_CIDRS: LpmTrie<PrefixData, CidrId> = LpmTrie::with_max_entries(info::POLICY_CIDRS.lab, 0);
#[map(name = "policy_rows")]
pub static POLICY_ROWS: HashMap<RowKey, Row> = HashMap::with_max_entries(info::POLICY_ROWS.lab, NO_PREALLOC);
#[map(name = "policy_ranges")]
pub static POLICY_RANGES: LpmTrie<RangeData, Row> = LpmTrie::with_max_entries(info::POLICY_RANGES.lab, 0);
#[map(name = "policy_clock")]
pub static POLICY_CLOCK: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "followed")]
pub static FOLLOWED: Array<Followed> = Array::with_max_entries(1, 0);
#[map(name = "events")]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(info::EVENTS.lab, 0);
#[map(name = "stats")]
pub static STATS: PerCpuArray<StatsValue> = PerCpuArray::with_max_entries(info::STATS.lab, 0);
#[map(name = "scratch")]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `PrefixKey` or `SourceRangeKey` without its length, which aya's key type adds.
pub type PrefixData = [u8; 20];
/// `RangeKey` without its length.
pub type RangeData = [u8; 8];
const _: () = assert!(size_of::<RangeKey>() == size_of::<aya_ebpf::maps::lpm_trie::Key<RangeData>>());
const _: () = assert!(size_of::<PrefixKey>() == size_of::<aya_ebpf::maps::lpm_trie::Key<PrefixData>>());
const _: () = assert!(size_of::<SourceRangeKey>() == size_of::<aya_ebpf::maps::lpm_trie::Key<PrefixData>>());
