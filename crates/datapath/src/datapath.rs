//! The whole: start, attach, swap.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datapath_layouts::maps::{self as info, ALL, MapInfo};
use datapath_layouts::{
    AddressKey, Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, CidrId, Endpoint, Flow, FlowKey,
    Followed, FragmentKey, FragmentPorts, Frontend, FrontendKey, IdentityInfo, MaglevTable, NatKey, NatMapping,
    Neighbour, NodeConfig, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Route, Row, RowKey, ServiceFlow,
    SocketReverse, SocketReverseKey, SourceRangeKey, StatsValue, TcpEndPlace,
};

use crate::adopt::{Adoption, check_map};
use crate::error::Error;
use crate::events::EventReader;
use crate::links::{Hook, attach, is_attached, owner_of, pin_name, unpin};
use crate::maps::Maps;
use crate::programs::{CLASSIFIERS, ProgramInfo, Programs, TCP_END, XDP, entries, on_the_cgroup};
use crate::sys::{self, MapShape};

/// How large the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Several nodes on one machine.
    Lab,
    /// A machine of its own.
    Node,
}

/// Where `xdp_from_network` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the device's driver, before a socket buffer is made.
    Native,
    /// In front of the stack: on any device, and not faster than tc.
    Generic,
}

/// What a start needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder on a bpffs that outlives the agent.
    pub bpf_dir: PathBuf,
    /// The node's facts.
    pub config: NodeConfig,
    /// Sizes.
    pub profile: Profile,
}

/// The loaded datapath of one node.
pub struct Datapath {
    directory: PathBuf,
    profile: Profile,
    maps: Maps,
    inner: Mutex<Inner>,
}

struct Inner {
    programs: Programs,
    config: NodeConfig,
    adoption: Adoption,
    /// What was attached by this process, so that a change of settings reaches it.
    attached: Vec<Attached>,
}

#[derive(Clone, PartialEq, Eq)]
struct Attached {
    owner: String,
    program: &'static str,
    target: u32,
    attach_type: u32,
}

/// `struct bpf_map_type` numbers with key and value sizes, per map of the object.
fn shape(map: MapInfo, profile: Profile) -> MapShape {
    let of = |kind: u32, key: usize, value: usize| MapShape {
        kind,
        key_size: key as u32,
        value_size: value as u32,
        max_entries: entries(map, profile),
    };
    const HASH: u32 = 1;
    const ARRAY: u32 = 2;
    const PERCPU_ARRAY: u32 = 6;
    const LRU: u32 = 9;
    const LPM: u32 = 11;
    const RING: u32 = 27;
    match map.name {
        n if n == info::ENDPOINTS.name => of(HASH, size_of::<AddressKey>(), size_of::<Endpoint>()),
        n if n == info::IPCACHE.name => of(LPM, size_of::<PrefixKey>(), size_of::<Route>()),
        n if n == info::NEIGHBOURS.name => of(HASH, size_of::<AddressKey>(), size_of::<Neighbour>()),
        n if n == info::FRONTENDS.name => of(HASH, size_of::<FrontendKey>(), size_of::<Frontend>()),
        n if n == info::BACKENDS.name => of(HASH, size_of::<BackendKey>(), size_of::<Backend>()),
        n if n == info::MAGLEV.name => of(HASH, size_of::<u32>(), size_of::<MaglevTable>()),
        n if n == info::AFFINITY.name => of(LRU, size_of::<AffinityKey>(), size_of::<Affinity>()),
        n if n == info::AFFINITY_MEMBER.name => of(HASH, size_of::<AffinityMemberKey>(), size_of::<u8>()),
        n if n == info::SOURCE_RANGES.name => of(LPM, size_of::<SourceRangeKey>(), size_of::<u8>()),
        n if n == info::CONNTRACK.name || n == info::HALF_OPEN.name => of(LRU, size_of::<FlowKey>(), size_of::<Flow>()),
        n if n == info::SERVICE_FLOWS.name => of(LRU, size_of::<FlowKey>(), size_of::<ServiceFlow>()),
        n if n == info::NAT.name => of(LRU, size_of::<NatKey>(), size_of::<NatMapping>()),
        n if n == info::FRAGMENTS.name => of(LRU, size_of::<FragmentKey>(), size_of::<FragmentPorts>()),
        n if n == info::SOCKET_REVERSE.name => of(LRU, size_of::<SocketReverseKey>(), size_of::<SocketReverse>()),
        n if n == info::UNTRANSLATED.name => of(HASH, size_of::<u64>(), size_of::<u8>()),
        n if n == info::TCP_ENDS.name => of(ARRAY, size_of::<u32>(), size_of::<TcpEndPlace>()),
        n if n == info::POLICIES.name => of(HASH, size_of::<PolicyKey>(), size_of::<Policy>()),
        n if n == info::IDENTITIES.name => of(HASH, size_of::<u32>(), size_of::<IdentityInfo>()),
        n if n == info::POLICY_PEERS.name => of(HASH, size_of::<PeerKey>(), size_of::<u32>()),
        n if n == info::POLICY_CIDRS.name => of(LPM, size_of::<PrefixKey>(), size_of::<CidrId>()),
        n if n == info::POLICY_ROWS.name => of(HASH, size_of::<RowKey>(), size_of::<Row>()),
        n if n == info::POLICY_RANGES.name => of(LPM, size_of::<RangeKey>(), size_of::<Row>()),
        n if n == info::POLICY_CLOCK.name => of(ARRAY, size_of::<u32>(), size_of::<u32>()),
        n if n == info::FOLLOWED.name => of(ARRAY, size_of::<u32>(), size_of::<Followed>()),
        n if n == info::EVENTS.name => of(RING, 0, 0),
        _ => of(PERCPU_ARRAY, 4, size_of::<StatsValue>()),
    }
}

impl Datapath {
    /// Recognises what is pinned below `settings.bpf_dir`, makes what is missing, and replaces the programs of links
    /// that are there, in place. Nothing is flushed.
    ///
    /// # Errors
    /// When the folder is not on a bpffs, the kernel refuses a program, or a pin can't be read.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let directory = settings.bpf_dir.clone();
        for part in ["maps", "links"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).map_err(|source| Error::File { operation: "create", path, source })?;
        }
        let mut adoption = Adoption::default();
        for map in ALL {
            check_map(&directory, *map, shape(*map, settings.profile), &mut adoption)?;
        }
        let programs = Programs::load(&directory, &settings.config, settings.profile)?;
        let maps = Maps::open(&directory)?;
        let inner = Inner { programs, config: settings.config, adoption, attached: Vec::new() };
        let datapath = Self { directory, profile: settings.profile, maps, inner: Mutex::new(inner) };
        datapath.adopt_links()?;
        Ok(datapath)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// What the start took over, and what was attached since.
    #[must_use]
    pub fn adoption(&self) -> Adoption {
        self.inner().adoption.clone()
    }

    /// The maps.
    #[must_use]
    pub const fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The settings that the programs run with.
    #[must_use]
    pub fn config(&self) -> NodeConfig {
        self.inner().config
    }

    /// What is loaded.
    ///
    /// # Errors
    /// The kernel's.
    pub fn programs(&self) -> Result<Vec<ProgramInfo>, Error> {
        self.inner().programs.infos()
    }

    /// One of the loaded programs, for a test run.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn program(&self, name: &'static str) -> Result<OwnedFd, Error> {
        let inner = self.inner();
        inner.programs.fd(name)?.try_clone_to_owned().map_err(|e| Error::kernel("keep program", name, e))
    }

    /// A new reading end of the ring. The ring has one reader: a second one takes events from the first.
    ///
    /// # Errors
    /// When the ring is not pinned.
    pub fn events(&self) -> Result<EventReader, Error> {
        EventReader::open(&self.directory)
    }

    /// Gives every tc link that an earlier agent pinned the new program, before anything else changes.
    fn adopt_links(&self) -> Result<(), Error> {
        for (file, owner, program) in self.pinned_links()? {
            let path = self.links().join(&file);
            let link = sys::open_pin(&path).map_err(|source| Error::File {
                operation: "open pinned link",
                path: path.clone(),
                source,
            })?;
            let (_, device) = sys::link_info(link.as_fd()).map_err(|e| Error::kernel("ask about link", &file, e))?;
            if device == 0 {
                unpin(&path)?;
                let why = "its device is gone".to_owned();
                self.inner().adoption.not_adopted.push((format!("{owner}/{program}"), why));
                continue;
            }
            let attach_type = match program {
                XDP => sys::XDP,
                _ if program.starts_with("from_") => sys::TCX_INGRESS,
                _ => sys::TCX_EGRESS,
            };
            self.attach_program(&owner, program, device, attach_type)?;
        }
        Ok(())
    }

    /// The links on devices below our folder: file, interface, program.
    fn pinned_links(&self) -> Result<Vec<(String, String, &'static str)>, Error> {
        let path = self.links();
        let wrong = |source| Error::File { operation: "list", path: path.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name().to_string_lossy().into_owned();
            for program in CLASSIFIERS.into_iter().chain([XDP]) {
                if let Some(owner) = owner_of(&name, program) {
                    found.push((name.clone(), owner, program));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn attach_program(&self, owner: &str, program: &'static str, target: u32, attach_type: u32) -> Result<(), Error> {
        self.attach_with(owner, program, target, attach_type, 0)
    }

    fn attach_with(
        &self,
        owner: &str,
        program: &'static str,
        target: u32,
        attach_type: u32,
        flags: u32,
    ) -> Result<(), Error> {
        let mut inner = self.inner();
        let Inner { programs, adoption, attached, .. } = &mut *inner;
        let hook = Hook { owner, program, target, attach_type, flags };
        attach(&self.links(), &hook, programs.fd(program)?, adoption)?;
        // Once by adoption and once by the agent's own round is one link.
        adoption.links_adopted.sort();
        adoption.links_adopted.dedup();
        let entry = Attached { owner: owner.to_owned(), program, target, attach_type };
        attached.retain(|a| a.owner != entry.owner || a.program != entry.program);
        attached.push(entry);
        Ok(())
    }

    fn attach_pair(
        &self,
        interface: &str,
        index: u32,
        ingress: &'static str,
        egress: &'static str,
    ) -> Result<(), Error> {
        self.attach_program(interface, ingress, index, sys::TCX_INGRESS)?;
        self.attach_program(interface, egress, index, sys::TCX_EGRESS)
    }

    /// `from_pod` and `to_pod` on the host side of a Pod's veth.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach_pod(&self, interface: &str, index: u32) -> Result<(), Error> {
        self.attach_pair(interface, index, "from_pod", "to_pod")
    }

    /// Forgets a Pod's links; the device takes the programs with it.
    ///
    /// # Errors
    /// When a pin can't be removed.
    pub fn detach_pod(&self, interface: &str) -> Result<(), Error> {
        self.inner().attached.retain(|a| a.owner != interface);
        for program in ["from_pod", "to_pod"] {
            unpin(&self.links().join(pin_name(interface, program)))?;
        }
        Ok(())
    }

    /// Whether both programs run on this interface. The index is looked up by name in the caller's namespace.
    #[must_use]
    pub fn is_pod_attached(&self, interface: &str) -> bool {
        let Ok(name) = std::ffi::CString::new(interface) else { return false };
        // SAFETY: the name is a C string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        index != 0
            && [("from_pod", sys::TCX_INGRESS), ("to_pod", sys::TCX_EGRESS)].into_iter().all(
                |(program, attach_type)| {
                    is_attached(
                        &self.links(),
                        &Hook { owner: interface, program, target: index, attach_type, flags: 0 },
                    )
                },
            )
    }

    /// Interfaces that have a `from_pod` link pinned.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn attached_pods(&self) -> Result<Vec<String>, Error> {
        let links = self.pinned_links()?;
        Ok(links.into_iter().filter(|(_, _, program)| *program == "from_pod").map(|(_, owner, _)| owner).collect())
    }

    /// `from_network` and `to_network` on the node's device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach_network(&self, interface: &str, index: u32) -> Result<(), Error> {
        self.attach_pair(interface, index, "from_network", "to_network")
    }

    /// `xdp_from_network` on the node's device, in this mode. The link is made anew, because it may be an earlier agent's in the other mode.
    ///
    /// # Errors
    /// When the driver has no XDP of its own, or can't have it as the device is set up; the kernel says so.
    pub fn attach_xdp(&self, interface: &str, index: u32, mode: XdpMode) -> Result<(), Error> {
        let flags = match mode {
            XdpMode::Native => sys::XDP_NATIVE,
            XdpMode::Generic => sys::XDP_GENERIC,
        };
        // A link keeps its mode, and nothing tells which one it has. Between the two tc does the work, with the same outcome.
        self.detach_xdp(interface)?;
        self.attach_with(interface, XDP, index, sys::XDP, flags)
    }

    /// Ends `xdp_from_network` on a device; where it never was, nothing happens.
    ///
    /// # Errors
    /// When a pin can't be removed.
    pub fn detach_xdp(&self, interface: &str) -> Result<(), Error> {
        self.inner().attached.retain(|a| a.owner != interface || a.program != XDP);
        unpin(&self.links().join(pin_name(interface, XDP)))
    }

    /// `from_overlay` and `to_overlay` on the VXLAN device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach_overlay(&self, interface: &str, index: u32) -> Result<(), Error> {
        self.attach_pair(interface, index, "from_overlay", "to_overlay")
    }

    /// The socket hooks on the node's cgroup, and what asks closing TCP sockets what they know.
    ///
    /// # Errors
    /// When the folder is not of a cgroup2, or the kernel refuses.
    pub fn attach_cgroup(&self, path: &Path) -> Result<(), Error> {
        let directory = std::fs::File::open(path).map_err(|source| Error::File {
            operation: "open cgroup",
            path: path.to_owned(),
            source,
        })?;
        for (program, attach_type) in on_the_cgroup() {
            let mut inner = self.inner();
            let Inner { programs, adoption, .. } = &mut *inner;
            let hook = Hook { owner: "cgroup", program, target: directory.as_raw_fd() as u32, attach_type, flags: 0 };
            match attach(&self.links(), &hook, programs.fd(program)?, adoption) {
                // It only measures. Where somebody else's program shares the cgroup with nobody, that is no reason to stand still.
                Err(error) if program == TCP_END.0 => {
                    adoption.not_adopted.push((format!("cgroup/{program}"), error.to_string()));
                }
                attached => attached?,
            }
        }
        Ok(())
    }

    /// Loads the programs anew with other settings and swaps them in, link by link. The maps stay.
    ///
    /// # Errors
    /// As for a start; the old programs run on where the swap did not reach.
    pub fn reconfigure(&self, config: NodeConfig) -> Result<(), Error> {
        let programs = Programs::load(&self.directory, &config, self.profile)?;
        let mut inner = self.inner();
        let mut ignored = Adoption::default();
        for a in &inner.attached {
            let (owner, program) = (a.owner.as_str(), a.program);
            let hook = Hook { owner, program, target: a.target, attach_type: a.attach_type, flags: 0 };
            attach(&self.links(), &hook, programs.fd(a.program)?, &mut ignored)?;
        }
        for (program, _) in on_the_cgroup() {
            // Not there when the cgroup was never attached.
            if let Ok(link) = sys::open_pin(&self.links().join(format!("cgroup_{program}"))) {
                sys::link_update(link.as_fd(), programs.fd(program)?)
                    .map_err(|e| Error::kernel("replace the program of link", program, e))?;
            }
        }
        inner.programs = programs;
        inner.config = config;
        Ok(())
    }
}
