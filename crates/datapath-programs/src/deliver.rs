//! The last stage: out of this program by the way that was chosen.

use aya_ebpf::bindings::{BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, TC_ACT_OK, bpf_redir_neigh, bpf_tunnel_key};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_set_tunnel_key};
use datapath_layouts::{Address, DropReason, Endpoint, ObservationPoint, Route, identity, mark};
use datapath_logic::mtu;
use packet_headers::flags;

use crate::code;
use crate::config::config;
use crate::events;
use crate::scratch::Scratch;
use crate::skb::Skb;
use crate::translate::decrement_ttl;

/// `AF_INET` and `AF_INET6` of `linux/socket.h`.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// The sender will be told by the program itself, whose stack has room for that.
#[inline(always)]
pub fn too_big(s: &mut Scratch, limit: u32) -> DropReason {
    s.mtu = limit;
    DropReason::PacketTooBig
}

/// Into the Pod behind `endpoint`. From the host's own stack (`already_there`) the packet is on its way in.
#[inline(always)]
pub fn to_pod(skb: Skb, s: &mut Scratch, endpoint: &Endpoint, already_there: bool) -> Result<i32, DropReason> {
    if !already_there {
        decrement_ttl(skb, s)?;
    }
    events::passed(skb, s, ObservationPoint::ToEndpoint);
    if already_there {
        return Ok(TC_ACT_OK as i32);
    }
    // No MAC is rewritten: the packet is already "for this host", and the peer's side is not asked again.
    // SAFETY: plain helper call.
    Ok(unsafe { bpf_redirect_peer(endpoint.ifindex, 0) } as i32)
}

/// Through the tunnel to the node at `s.tunnel`, as `source_identity`.
#[inline(always)]
pub fn to_overlay(skb: Skb, s: &mut Scratch, as_identity: u32) -> Result<i32, DropReason> {
    code::decode_verdict(encapsulate_code(skb, s, as_identity))
}

#[inline(never)]
fn encapsulate_code(skb: Skb, s: &mut Scratch, as_identity: u32) -> i32 {
    code::encode_verdict(encapsulate(skb, s, as_identity))
}

#[inline(always)]
fn encapsulate(skb: Skb, s: &mut Scratch, as_identity: u32) -> Result<i32, DropReason> {
    if mtu::too_big(&s.headers, s.gso_size, config!(overlay_mtu)) {
        return Err(too_big(s, config!(overlay_mtu)));
    }
    decrement_ttl(skb, s)?;
    set_tunnel(skb, &s.tunnel, as_identity)?;
    skb.set_mark(mark::ENCAPSULATED);
    events::passed(skb, s, ObservationPoint::ToOverlay);
    // SAFETY: plain helper call.
    Ok(unsafe { bpf_redirect(config!(overlay_ifindex), 0) } as i32)
}

/// The metadata from which the VXLAN device makes the outer packet.
#[inline(always)]
pub fn set_tunnel(skb: Skb, node: &Address, as_identity: u32) -> Result<(), DropReason> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    key.tunnel_id = identity::to_vni(config!(cluster), as_identity);
    key.tunnel_ttl = 64;
    let family = if node.is_v4() {
        // Host byte order, as the kernel wants it here.
        key.__bindgen_anon_1.remote_ipv4 = u32::from_be(node.words()[3]);
        0
    } else {
        key.__bindgen_anon_1.remote_ipv6 = node.words();
        u64::from(BPF_F_TUNINFO_IPV6)
    };
    // SAFETY: the key is whole and its size is given.
    let result = unsafe {
        bpf_skb_set_tunnel_key(
            skb.0,
            &raw mut key,
            size_of::<bpf_tunnel_key>() as u32,
            family | u64::from(BPF_F_ZERO_CSUM_TX),
        )
    };
    if result == 0 { Ok(()) } else { Err(DropReason::NoTunnelEndpoint) }
}

/// To the route's next hop, or to the destination itself when it is on the link.
#[inline(always)]
pub fn to_next_hop(skb: Skb, s: &mut Scratch, route: &Route) -> Result<i32, DropReason> {
    code::decode_verdict(next_hop_code(skb, s, route))
}

#[inline(never)]
fn next_hop_code(skb: Skb, s: &mut Scratch, route: &Route) -> i32 {
    code::encode_verdict(next_hop(skb, s, route))
}

#[inline(always)]
fn next_hop(skb: Skb, s: &mut Scratch, route: &Route) -> Result<i32, DropReason> {
    if mtu::too_big(&s.headers, s.gso_size, route.mtu) {
        return Err(too_big(s, route.mtu));
    }
    decrement_ttl(skb, s)?;
    let hop = if route.next_hop.is_zero() { s.headers.destination } else { route.next_hop };
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut params: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    if s.headers.is(flags::V6) {
        params.nh_family = AF_INET6;
        params.__bindgen_anon_1.ipv6_nh = hop.words();
    } else {
        params.nh_family = AF_INET;
        params.__bindgen_anon_1.ipv4_nh = hop.words()[3];
    }
    skb.set_mark(mark::FORWARDED);
    events::passed(skb, s, ObservationPoint::ToNetwork);
    // SAFETY: the parameters are whole and their size is given.
    Ok(unsafe { bpf_redirect_neigh(route.ifindex, &raw mut params, size_of::<bpf_redir_neigh>() as i32, 0) } as i32)
}

/// Into the host's stack.
#[inline(always)]
pub fn to_host(skb: Skb, s: &mut Scratch) -> i32 {
    events::passed(skb, s, ObservationPoint::ToHost);
    TC_ACT_OK as i32
}
