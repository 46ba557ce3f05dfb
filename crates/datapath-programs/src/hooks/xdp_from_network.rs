//! `xdp_from_network`: the short way through the entry node. The node's device, in its driver, before a socket buffer is made.
//!
//! It sends on what a service of ours is to give to another node, and nothing else: whatever is odd, for this node, opens or
//! ends a connection that is translated here, or has no resolved next hop, passes to `from_network`, which does the same with
//! the same tables. So what it does not know costs time and nothing more.

use aya_ebpf::bindings::bpf_fib_lookup as FibLookup;
use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_fib_lookup, bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::{Address, Frontend, Observation, ObservationPoint, RouteKind, identity, stats};
use datapath_logic::encapsulation::{OUTER_V4, OUTER_V6, Outer, folded, write};
use datapath_logic::maglev::hash_flow;
use packet_headers::{Content, ETHERNET_HEADER, Packet, flags, parse_outer, protocol};

use crate::config::config;
use crate::events;
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::services::{self, Choice};
use crate::track;
use crate::xdp::Xdp;

/// `AF_INET` and `AF_INET6` of `linux/socket.h`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[xdp]
pub fn xdp_from_network(ctx: XdpContext) -> u32 {
    let xdp = Xdp(ctx.ctx);
    if config!(observation) == Observation::Packets as u32 {
        return XDP_PASS; // whoever traces wants to be told of each packet
    }
    let Some(s) = Scratch::take() else { return XDP_PASS };
    s.point = ObservationPoint::FromNetwork as u8;
    // SAFETY: plain helper call.
    s.now = unsafe { bpf_ktime_get_coarse_ns() };
    s.gso_size = 0;
    s.segments = 1;
    if read(xdp, s) == 0 {
        return XDP_PASS;
    }
    events::follow(s);
    if s.followed != 0 || send_on(xdp, s) == 0 {
        return XDP_PASS; // of what somebody follows tc tells
    }
    events::count(stats::FORWARDED + ObservationPoint::ToOverlay as u32, 1, u64::from(s.headers.length));
    events::count(stats::XDP_SENT_ON, 1, u64::from(s.headers.length));
    XDP_TX
}

/// 1: an ordinary packet, which could be for a service.
#[inline(never)]
fn read(xdp: Xdp, s: &mut Scratch) -> u32 {
    if !matches!(parse_outer(&xdp, &mut s.headers), Ok(Content::Ip)) {
        return 0;
    }
    let h = &s.headers;
    let plain = if h.is(flags::V6) { ETHERNET_HEADER + 40 } else { ETHERNET_HEADER + 20 };
    let odd = h.is(flags::FIRST_FRAGMENT | flags::LATER_FRAGMENT) || h.l4_offset != plain || h.ttl <= 1;
    if odd || !matches!(h.protocol, protocol::TCP | protocol::UDP) {
        return 0;
    }
    if h.protocol == protocol::UDP && h.destination_port == VXLAN_PORT {
        return 0;
    }
    // Larger than that it would be refused, or cut outside: the device does both.
    u32::from(h.length <= config!(overlay_mtu) && xdp.load::<6>(0) == Some(config!(network_mac)))
}

/// 1: the frame is what the next node is to get.
#[inline(never)]
fn send_on(xdp: Xdp, s: &mut Scratch) -> u32 {
    // Whoever is not of the world has to be who it says, which is judged by the other program.
    let from_world = route_of(&s.headers.source).is_some_and(|r| r.kind == RouteKind::World as u8);
    if !from_world || endpoint_of(&s.headers.source).is_some() {
        return 0;
    }
    let target = endpoint_of(&s.headers.destination);
    if target.is_some_and(|e| e.ifindex != 0) {
        return 0;
    }
    let to_host = target.is_some();
    let port = s.headers.destination_port;
    if to_host && port >= config!(nat_port_first) && port <= config!(nat_port_last) {
        return 0; // it may be an answer to what was masqueraded
    }
    s.set_tuple();
    let translated = match services::choose_for(s, to_host) {
        Choice::Node => {
            s.tunnel = s.chosen;
            false
        }
        Choice::Backend => {
            if !elsewhere(s) {
                return 0;
            }
            true
        }
        Choice::None => return 0,
    };
    if next_hop(xdp, s) == 0 {
        return 0;
    }
    if translated {
        s.tuple.destination = s.chosen;
        s.tuple.destination_port = s.chosen_port as u16;
        if track::count_forwarded(s) == 0 {
            return 0;
        }
    }
    encapsulate(xdp, s, u32::from(translated))
}

/// Leaves the node of the backend in `s.tunnel`; false where the backend is here, or out of the cluster.
#[inline(always)]
fn elsewhere(s: &mut Scratch) -> bool {
    if endpoint_of(&s.chosen).is_some() {
        return false;
    }
    let Some(route) = route_of(&s.chosen) else { return false };
    s.tunnel = route.tunnel;
    let remote = route.kind == RouteKind::RemotePods as u8 || route.kind == RouteKind::RemoteNode as u8;
    remote && !route.tunnel.is_zero()
}

/// This node's address towards `s.tunnel`.
#[inline(always)]
fn own(s: &Scratch) -> Address {
    if s.tunnel.is_v4() { config!(node_ipv4) } else { config!(node_ipv6) }
}

/// 1, and the MAC addresses of the way to `s.tunnel` in `s.outer`, if it leaves by the device by which the frame came and the
/// neighbour is known.
#[inline(never)]
fn next_hop(xdp: Xdp, s: &mut Scratch) -> u32 {
    let source = own(s);
    if source.is_zero() {
        return 0;
    }
    let device = config!(network_ifindex);
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.l4_protocol = protocol::UDP;
    fib.ifindex = device;
    if s.tunnel.is_v4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = source.words()[3];
        fib.__bindgen_anon_4.ipv4_dst = s.tunnel.words()[3];
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = source.words();
        fib.__bindgen_anon_4.ipv6_dst = s.tunnel.words();
    }
    // SAFETY: the parameters are whole and their size is given.
    let found = unsafe { bpf_fib_lookup(xdp.0.cast(), &raw mut fib, size_of::<FibLookup>() as i32, 0) };
    if found != 0 || fib.ifindex != device {
        return 0;
    }
    let mut i = 0;
    while i < 6 {
        s.outer[i] = fib.dmac[i];
        s.outer[6 + i] = fib.smac[i];
        i += 1;
    }
    1
}

/// One hop less, the backend's address where it was translated, and the outer headers. Every driver with a native mode leaves
/// room for them (`XDP_PACKET_HEADROOM`, 256 bytes).
#[inline(never)]
fn encapsulate(xdp: Xdp, s: &mut Scratch, translated: u32) -> u32 {
    let h = &s.headers;
    let v6 = h.is(flags::V6);
    let Some([first, second]) = xdp.load::<2>(ETHERNET_HEADER) else { return 0 };
    let outer = Outer {
        vni: identity::to_vni(config!(cluster), identity::WORLD),
        hash: hash_flow(&h.source, &h.destination, (h.source_port, h.destination_port), h.protocol, &Frontend::ZERO),
        inner_length: xdp.length(),
        // SAFETY: plain helper call.
        id: unsafe { bpf_get_prandom_u32() } as u16,
        class: if v6 { first << 4 | second >> 4 } else { second },
    };
    let source = own(s);
    let tunnel = s.tunnel;
    let length = write(&mut s.outer, &source, &tunnel, &outer);
    if !xdp.grow(length as u32) {
        return 0;
    }
    let inner = length as u32 + ETHERNET_HEADER;
    // Nothing from here on can fail: the same bytes were read before.
    if v6 {
        xdp.store(inner + 7, &[s.headers.ttl - 1]);
    } else {
        head_v4(xdp, s, inner, translated);
    }
    if translated != 0 {
        redirect_to_backend(xdp, s, inner);
    }
    if length == OUTER_V4 {
        let Some(head) = s.outer.first_chunk::<OUTER_V4>() else { return 0 };
        xdp.store(0, head);
    } else {
        xdp.store::<OUTER_V6>(0, &s.outer);
    }
    1
}

/// Time to live and destination in an IPv4 header, with its checksum.
#[inline(always)]
fn head_v4(xdp: Xdp, s: &Scratch, inner: u32, translated: u32) {
    let Some([c0, c1]) = xdp.load::<2>(inner + 10) else { return };
    let old = s.headers.destination.v4_octets();
    let new = if translated != 0 { s.chosen.v4_octets() } else { old };
    let (ttl, transport) = (s.headers.ttl, s.headers.protocol);
    let from = [old[0], old[1], old[2], old[3], ttl, transport, 0, 0];
    let to = [new[0], new[1], new[2], new[3], ttl - 1, transport, 0, 0];
    let sum = changed(u16::from_ne_bytes([c0, c1]), &from, &to);
    xdp.store(inner + 10, &sum.to_ne_bytes());
    xdp.store(inner + 8, &[ttl - 1]);
    xdp.store(inner + 16, &new);
}

/// Address and port of the backend, with the transport's checksum. By hand, because here no checksum is left to a device.
#[inline(always)]
fn redirect_to_backend(xdp: Xdp, s: &Scratch, inner: u32) {
    let h = &s.headers;
    let l4 = inner + h.l4_offset - ETHERNET_HEADER;
    let at = l4 + if h.protocol == protocol::TCP { 16 } else { 6 };
    let port = (s.chosen_port as u16).to_be_bytes();
    let (mut from, mut to) = ([0u8; 20], [0u8; 20]);
    let mut i = 0;
    while i < 16 {
        from[i] = h.destination.0[i];
        to[i] = s.chosen.0[i];
        i += 1;
    }
    [from[16], from[17]] = h.destination_port.to_be_bytes();
    [to[16], to[17]] = port;
    let Some([c0, c1]) = xdp.load::<2>(at) else { return };
    let old = u16::from_ne_bytes([c0, c1]);
    let udp = h.protocol == protocol::UDP;
    // UDP over IPv4 may go without (RFC 768); a sum that comes out as zero is written as its other zero.
    if !(udp && old == 0) {
        let sum = changed(old, &from, &to);
        let sum = if udp && sum == 0 { 0xffff } else { sum };
        xdp.store(at, &sum.to_ne_bytes());
    }
    if h.is(flags::V6) {
        xdp.store(inner + 24, &s.chosen.0);
    }
    xdp.store(l4 + 2, &port);
}

#[inline(always)]
fn changed<const N: usize>(sum: u16, from: &[u8; N], to: &[u8; N]) -> u16 {
    // SAFETY: both point to N readable bytes, a multiple of four.
    let difference = unsafe {
        bpf_csum_diff(
            from.as_ptr().cast_mut().cast(),
            N as u32,
            to.as_ptr().cast_mut().cast(),
            N as u32,
            u32::from(!sum),
        )
    };
    folded(difference as u32)
}
