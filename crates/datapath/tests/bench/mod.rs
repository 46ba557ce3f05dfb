//! A network namespace and a bpffs of the test's own, with the programs loaded over fresh maps.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

pub mod checksum;
pub mod fixture;
pub mod packet;
pub mod step;
pub mod topology;
pub mod tracked;
pub mod world;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use datapath::maps::{Map, Maps, Plain};
use datapath::{EventReader, ProgramInfo, loaded_for_tests, sys};
use datapath_layouts::{Event, NodeConfig, Routing};
use netlink::{MacAddress, Netlink, VethEnd, VethPair};

use world::{V4, V6};

/// Loaded programs. Namespaces and mounts end with the thread that made them, also when the process is killed.
pub struct Bench {
    pub directory: PathBuf,
    pub programs: Vec<(String, OwnedFd)>,
    pub infos: Vec<ProgramInfo>,
    pub maps: Maps,
    pub devices: Devices,
    pub config: NodeConfig,
}

/// Indices of devices that exist in the test's namespace, so that a test run may name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    pub pod: u32,
    pub neighbour: u32,
    pub network: u32,
    pub overlay: u32,
}

/// What `__sk_buff` says beside the packet.
#[derive(Clone, Copy, Default, Debug)]
pub struct Context {
    pub ifindex: u32,
    pub mark: u32,
    pub gso_size: u32,
    pub gso_segs: u32,
}

/// What a run did.
pub struct Outcome {
    /// `TC_ACT_*`.
    pub verdict: u32,
    pub packet: Vec<u8>,
    pub mark: u32,
    pub events: Vec<Event>,
}

/// Where the bpffs is mounted: a folder that exists everywhere, seen with the mount by this thread alone.
const MOUNT: &str = "/mnt";

/// A node as the lab has it.
pub fn config(devices: &Devices) -> NodeConfig {
    NodeConfig {
        node_ipv4: V4.node().into(),
        node_ipv6: V6.node().into(),
        tunnel_source: V4.node().into(),
        network_ifindex: devices.network,
        overlay_ifindex: devices.overlay,
        routing: Routing::Overlay as u32,
        network_mtu: 1500,
        overlay_mtu: 1450,
        node_port_first: 30000,
        node_port_last: 32767,
        nat_port_first: 61000,
        nat_port_last: 65535,
        network_mac: [2, 0, 0, 0, 0, 1],
        ..NodeConfig::ZERO
    }
}

fn check(result: i32, what: &str) {
    assert_eq!(result, 0, "{what} (root needed): {}", std::io::Error::last_os_error());
}

/// Leaves the machine's network and mounts, for the rest of this thread's life.
pub fn isolate() {
    // SAFETY: plain system calls with constant C strings; they change this thread alone.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS), "make namespaces");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(
            libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()),
            "make mounts private",
        );
    }
}

pub fn mount_bpffs() -> PathBuf {
    std::fs::create_dir_all(MOUNT).unwrap();
    // SAFETY: plain mount(2) with C strings.
    unsafe {
        check(libc::mount(c"bpf".as_ptr(), c"/mnt".as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()), "mount a bpffs");
    }
    let directory = PathBuf::from(MOUNT);
    for part in ["maps", "links"] {
        std::fs::create_dir_all(directory.join(part)).unwrap();
    }
    directory
}

/// Four devices; nothing is ever sent over them.
fn devices() -> Devices {
    let netlink = Netlink::open().unwrap();
    let pair = |a: &str, b: &str| {
        let end = |name: &str, last: u8| VethEnd {
            name: name.to_owned(),
            mac: Some(MacAddress([2, 0, 0, 0, 0, last])),
            mtu: 1500,
        };
        let pair = VethPair { here: end(a, 1), peer: end(b, 2), peer_namespace: None };
        let here = netlink.create_veth(&pair).unwrap().index;
        (here, netlink.link(b).unwrap().index)
    };
    let (pod, neighbour) = pair("pod", "neighbour");
    let (network, overlay) = pair("network", "overlay");
    Devices { pod, neighbour, network, overlay }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With settings that differ from [`config`].
    pub fn with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        isolate();
        let directory = mount_bpffs();
        let devices = devices();
        let mut config = config(&devices);
        change(&mut config);
        let (programs, infos) = match loaded_for_tests(&directory, &config) {
            Ok(loaded) => loaded,
            Err(e) => {
                let mut text = e.to_string();
                let mut source = std::error::Error::source(&e);
                while let Some(s) = source {
                    text += &format!("\n{s}");
                    source = s.source();
                }
                // The verifier's last words matter, its first fill the screen.
                panic!("{}", String::from_utf8_lossy(&text.as_bytes()[text.len().saturating_sub(12000)..]));
            }
        };
        let maps = Maps::open(&directory).unwrap();
        Self { directory, programs, infos, maps, devices, config }
    }

    pub fn routing(&self) -> Routing {
        if self.config.routing == Routing::Native as u32 { Routing::Native } else { Routing::Overlay }
    }

    pub fn events(&self) -> EventReader {
        EventReader::open_in(&self.directory).unwrap()
    }

    /// Empties every table and writes the world anew.
    pub fn reset(&self) {
        let m = &self.maps;
        clear(&m.endpoints);
        clear(&m.ipcache);
        clear(&m.neighbours);
        clear(&m.frontends);
        clear(&m.backends);
        clear(&m.maglev);
        clear(&m.affinity);
        clear(&m.affinity_member);
        clear(&m.source_ranges);
        clear(&m.conntrack);
        clear(&m.half_open);
        clear(&m.service_flows);
        clear(&m.nat);
        clear(&m.fragments);
        clear(&m.policies);
        clear(&m.identities);
        clear(&m.policy_peers);
        clear(&m.policy_cidrs);
        clear(&m.policy_rows);
        clear(&m.policy_ranges);
        world::put(m, &self.devices, self.routing());
    }

    /// Runs one packet through one program.
    pub fn run(&self, program: &str, packet: &[u8], context: Context, events: &mut EventReader) -> Outcome {
        events.drain(|_| {});
        let fd = &self.programs.iter().find(|(name, _)| name == program).expect("a program of ours").1;
        let mut skb = [0u8; 192];
        let mut put = |at: usize, value: u32| skb[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(MARK, context.mark);
        put(IFINDEX, context.ifindex);
        put(GSO_SEGS, context.gso_segs);
        put(GSO_SIZE, context.gso_size);
        let mut out = vec![0u8; packet.len() + 256];
        let run = sys::test_run(fd.as_fd(), packet, &mut skb, &mut out)
            .unwrap_or_else(|e| panic!("run {program} on {} bytes: {e}", packet.len()));
        out.truncate(run.length as usize);
        let mark = u32::from_ne_bytes(skb[MARK..MARK + 4].try_into().unwrap());
        let mut seen = Vec::new();
        events.drain(|e| seen.push(*e));
        Outcome { verdict: run.verdict, packet: out, mark, events: seen }
    }
}

/// Offsets in `struct __sk_buff` (`include/uapi/linux/bpf.h`) of what a test run may set.
const MARK: usize = 8;
const IFINDEX: usize = 40;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

fn clear<K: Plain, V: Plain>(map: &Map<K, V>) {
    for (key, _) in map.entries().unwrap() {
        map.remove(&key).unwrap();
    }
}
