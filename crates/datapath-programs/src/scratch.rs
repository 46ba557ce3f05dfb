//! Everything a program remembers about the packet at hand.

use aya_ebpf::maps::lpm_trie::Key;
use datapath_layouts::{
    Address, AddressKey, Affinity, AffinityKey, Flow, FlowKey, Frontend, Half, NatKey, PrefixKey, ServiceFlow,
};
use datapath_logic::encapsulation::OUTER_V6;
use datapath_logic::policy::{Question, Work};
use datapath_logic::tuple::Tuple;
use packet_headers::Headers;

use crate::maps::{PrefixData, SCRATCH};

/// One per CPU.
#[repr(C)]
pub struct Scratch {
    pub headers: Headers,
    pub tuple: Tuple,
    pub key: FlowKey,
    pub service_key: FlowKey,
    pub nat_key: NatKey,
    pub reverse_key: NatKey,
    pub address_key: AddressKey,
    pub prefix: PrefixKey,
    /// Fresh entry under construction.
    pub flow: Flow,
    /// Service address before translation (with `event_flags::ASKED`: of the socket's call), for events; zero = none.
    pub original: Address,
    /// Other end of the tunnel, for events and delivery; zero = none.
    pub tunnel: Address,
    /// What is known about a flow that the packet opens.
    pub opening: crate::track::Opening,
    /// What [`crate::track::find`] found.
    pub known: crate::track::Known,
    /// What a translation stage chose: the new address and port.
    pub chosen: Address,
    pub chosen_port: u32,
    pub frontend: Frontend,
    /// Fresh choice under construction.
    pub service_flow: ServiceFlow,
    /// Who asks for a backend, and which one it is to be.
    pub affinity_key: AffinityKey,
    pub affinity: Affinity,
    /// What policy is asked, what it has found so far, and what an end of the flow remembers of it.
    pub question: Question,
    pub work: Work,
    pub half: Half,
    /// The policy rule that decided last; 0 = none.
    pub rule: u32,
    /// What a policy in audit mode says of what passes.
    pub audit: crate::enforce::Audit,
    /// What an ICMP error quotes.
    pub quote: [u8; 64],
    /// Outer headers under construction.
    pub outer: [u8; OUTER_V6],
    pub now: u64,
    /// Socket that sends the packet; 0 = none is known.
    pub cookie: u64,
    pub original_port: u16,
    pub source_identity: u32,
    pub destination_identity: u32,
    pub gso_size: u32,
    /// Limit that a packet exceeded.
    pub mtu: u32,
    pub segments: u32,
    /// `ObservationPoint` of the program.
    pub point: u8,
    /// `event_flags`.
    pub event_flags: u8,
    /// `RouteKind` of the sender, where [`crate::origin`] has looked; 0 = nothing is known of it.
    pub source_kind: u8,
    /// 1: a service's address, but not one of its ports.
    pub unused_port: u8,
    /// Who follows this packet: bits as in `Event::followed`.
    pub followed: u16,
}

impl Scratch {
    /// This CPU's scratch as it is: for functions that can't be handed it.
    #[inline(always)]
    pub fn current() -> Option<&'static mut Self> {
        let scratch = SCRATCH.get_ptr_mut(0)?;
        // SAFETY: programs on one CPU do not nest (see main.rs); the caller's reference rests meanwhile.
        Some(unsafe { &mut *scratch })
    }

    /// This CPU's scratch, with what the last packet left behind cleared as far as anybody looks.
    #[inline(always)]
    pub fn take() -> Option<&'static mut Self> {
        let s = Self::current()?;
        s.original = Address::ZERO;
        s.original_port = 0;
        s.tunnel = Address::ZERO;
        s.source_identity = 0;
        s.destination_identity = 0;
        s.event_flags = 0;
        s.unused_port = 0;
        s.rule = 0;
        s.followed = 0;
        Some(s)
    }

    /// The packet's five-tuple as it now stands.
    #[inline(always)]
    pub fn set_tuple(&mut self) {
        self.tuple = Tuple {
            source: self.headers.source,
            destination: self.headers.destination,
            source_port: self.headers.source_port,
            destination_port: self.headers.destination_port,
            protocol: self.headers.protocol,
        };
    }

    /// The tuple of the flow that an ICMP error is about, in the *error's* direction.
    #[inline(always)]
    pub fn set_quoted_tuple(&mut self) {
        self.tuple = Tuple {
            source: self.headers.inner_destination,
            destination: self.headers.inner_source,
            source_port: self.headers.inner_destination_port,
            destination_port: self.headers.inner_source_port,
            protocol: self.headers.inner_protocol,
        };
    }
}

/// Looks an address up by its longest prefix.
#[inline(never)]
pub fn route_of(address: &Address) -> Option<&'static datapath_layouts::Route> {
    let mut data: PrefixData = [0; 20];
    let mut i = 0;
    while i < 16 {
        data[4 + i] = address.0[i];
        i += 1;
    }
    let key = Key::new(PrefixKey::FULL, data);
    // SAFETY: map values live as long as the map; the program ends long before an entry is reused (RCU).
    unsafe { core::mem::transmute(crate::maps::IPCACHE.get(&key)) }
}

/// Whether a frontend's source ranges hold this client.
#[inline(never)]
pub fn in_source_ranges(row: u32, client: &Address) -> bool {
    let mut data: PrefixData = [0; 20];
    let [a, b, c, d] = row.to_ne_bytes();
    data[0] = a;
    data[1] = b;
    data[2] = c;
    data[3] = d;
    let mut i = 0;
    while i < 16 {
        data[4 + i] = client.0[i];
        i += 1;
    }
    crate::maps::SOURCE_RANGES.get(Key::new(PrefixKey::FULL, data)).is_some()
}

/// Looks an address up exactly.
#[inline(never)]
pub fn endpoint_of(address: &Address) -> Option<&'static datapath_layouts::Endpoint> {
    let key = AddressKey::local(*address);
    // SAFETY: as above.
    unsafe { crate::maps::ENDPOINTS.get(key).map(|e| &*core::ptr::from_ref(e)) }
}
