//! The socket hooks: a service becomes a backend when a socket connects or sends, and nothing is done per packet.
//!
//! An application keeps seeing the service: `getpeername` and the source of received datagrams are turned back.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_set_retval};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use datapath_layouts::service::FRONTEND_SOURCE_RANGES;
use datapath_layouts::{Address, Affinity, AffinityKey, DropReason, Frontend, SocketReverse, SocketReverseKey};
use datapath_logic::{maglev, service};
use packet_headers::protocol;

use crate::backends;
use crate::config::config;
use crate::events;
use crate::maps::{SOCKET_REVERSE, UNTRANSLATED};
use crate::scratch::in_source_ranges;
use crate::services;

/// Let the call go on.
const PROCEED: i32 = 1;
/// End the call with the error set by `bpf_set_retval`.
const REFUSE: i32 = 0;
/// `-EPERM`, what a firewall of the host itself says.
const NOT_PERMITTED: i32 = -1;
/// `-ECONNREFUSED`.
const CONNECTION_REFUSED: i32 = -111;

/// The address that the call names. v4-mapped addresses of IPv6 sockets are IPv4 by our address form.
#[inline(always)]
fn address<const V6: bool>(ctx: *mut bpf_sock_addr) -> Address {
    // SAFETY: the context is valid for the program's run; the verifier wants 4-byte reads, hence volatile.
    unsafe {
        if V6 {
            Address::from_words([
                core::ptr::read_volatile(&raw const (*ctx).user_ip6[0]),
                core::ptr::read_volatile(&raw const (*ctx).user_ip6[1]),
                core::ptr::read_volatile(&raw const (*ctx).user_ip6[2]),
                core::ptr::read_volatile(&raw const (*ctx).user_ip6[3]),
            ])
        } else {
            Address::from_v4(core::ptr::read_volatile(&raw const (*ctx).user_ip4).to_ne_bytes())
        }
    }
}

#[inline(always)]
fn set_address<const V6: bool>(ctx: *mut bpf_sock_addr, to: &Address, port: u16) {
    let words = to.words();
    // SAFETY: as above, for writes.
    unsafe {
        if V6 {
            core::ptr::write_volatile(&raw mut (*ctx).user_ip6[0], words[0]);
            core::ptr::write_volatile(&raw mut (*ctx).user_ip6[1], words[1]);
            core::ptr::write_volatile(&raw mut (*ctx).user_ip6[2], words[2]);
            core::ptr::write_volatile(&raw mut (*ctx).user_ip6[3], words[3]);
        } else {
            core::ptr::write_volatile(&raw mut (*ctx).user_ip4, words[3]);
        }
        core::ptr::write_volatile(&raw mut (*ctx).user_port, u32::from(port.to_be()));
    }
}

/// Port in host order, protocol and socket cookie.
#[inline(always)]
fn facts(ctx: *mut bpf_sock_addr) -> (u16, u8, u64) {
    // SAFETY: as above; the cookie helper takes this context.
    unsafe {
        let port = u16::from_be(core::ptr::read_volatile(&raw const (*ctx).user_port) as u16);
        let transport = core::ptr::read_volatile(&raw const (*ctx).protocol) as u8;
        (port, transport, bpf_get_socket_cookie(ctx.cast()))
    }
}

/// The address under which services may have what the call names: for the host's own processes loopback means the node,
/// for everybody else it means nothing here.
#[inline(always)]
fn asked(ctx: *mut bpf_sock_addr, to: &Address) -> Address {
    let loopback = if to.is_v4() { to.0[12] == 127 } else { to.words() == [0, 0, 0, 1u32.to_be()] };
    // SAFETY: the helper takes this context.
    if !loopback || unsafe { bpf_get_netns_cookie(ctx.cast()) } != config!(host_netns_cookie) {
        return *to;
    }
    if to.is_v4() { config!(node_ipv4) } else { config!(node_ipv6) }
}

/// Whether the Pod's sockets are to be left alone: then each packet is translated, or refused, on its way. Asked only by
/// calls to services, so that no other pays for it.
#[inline(always)]
fn is_left_alone(ctx: *mut bpf_sock_addr) -> bool {
    // SAFETY: the helper takes this context; the value is not read.
    unsafe { UNTRANSLATED.get(bpf_get_netns_cookie(ctx.cast())).is_some() }
}

/// What a socket does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Connect,
    Send,
}

/// Ends the call as if the other end had refused, and tells why.
#[inline(always)]
fn refuse(ctx: *mut bpf_sock_addr, to: &Address, port: u16, transport: u8, reason: DropReason) -> i32 {
    // SAFETY: the helper takes this context, which always has a socket; the port is in host order.
    let (netns_cookie, own_port) = unsafe {
        let socket = core::ptr::read_volatile(&raw const (*ctx).__bindgen_anon_1.sk);
        (bpf_get_netns_cookie(ctx.cast()), core::ptr::read_volatile(&raw const (*socket).src_port) as u16)
    };
    events::call_refused(&events::Call { netns_cookie, to: *to, port, own_port, transport }, reason as u32);
    // SAFETY: plain helper call.
    unsafe { bpf_set_retval(CONNECTION_REFUSED) };
    REFUSE
}

/// A backend for a socket. It has no address of its own yet: its network namespace is its client.
#[inline(always)]
fn choose(ctx: *mut bpf_sock_addr, found: &Frontend, cookie: u64, backend: &mut Affinity) -> Result<(), DropReason> {
    let row = service::row(found, service::Side::Inside);
    // SAFETY: plain helper calls; the first one takes this context.
    let (namespace, now) = unsafe { (bpf_get_netns_cookie(ctx.cast()), bpf_ktime_get_ns()) };
    let client = AffinityKey::of_netns(namespace, row.id);
    // Nobody else has to agree on a socket's choice, but a client's choices must.
    let hash = maglev::hash_client(&if found.affinity_seconds == 0 {
        AffinityKey::of_netns(cookie, row.id).client
    } else {
        client.client
    });
    backends::choose(&client, found, &row, hash, now, backend)
}

/// A socket connects or sends to an address.
#[inline(always)]
fn outward<const V6: bool>(ctx: *mut bpf_sock_addr, call: Call) -> i32 {
    let (port, transport, cookie) = facts(ctx);
    if !matches!(transport, protocol::TCP | protocol::UDP) {
        return PROCEED;
    }
    let to = address::<V6>(ctx);
    let node = asked(ctx, &to);
    let is_node = services::in_node_port_range(port) && (!node.same(&to) || services::is_node(&node));
    let Some(found) = services::frontend(&node, port, transport, is_node) else {
        // UDP sockets connect only to learn their own address, too (RFC 6724): nothing is sent yet.
        let speaks = transport == protocol::TCP || call == Call::Send;
        let refused = speaks && services::is_of_services(&to) && !is_left_alone(ctx);
        return if refused { refuse(ctx, &to, port, transport, DropReason::ServiceAddress) } else { PROCEED };
    };
    if is_left_alone(ctx) {
        return PROCEED;
    }
    if found.flags & FRONTEND_SOURCE_RANGES != 0 {
        // SAFETY: the helper takes this context.
        if unsafe { bpf_get_netns_cookie(ctx.cast()) } != config!(host_netns_cookie) {
            return PROCEED; // the packet will tell which Pod asks
        }
        let node = if to.is_v4() { config!(node_ipv4) } else { config!(node_ipv6) };
        if !in_source_ranges(found.service_id, &node) {
            // SAFETY: plain helper call.
            unsafe { bpf_set_retval(NOT_PERMITTED) };
            return REFUSE;
        }
    }
    let mut backend = Affinity::ZERO;
    match choose(ctx, &found, cookie, &mut backend) {
        Ok(()) => {}
        Err(DropReason::NoBackend) => return refuse(ctx, &to, port, transport, DropReason::NoBackend),
        // Its packets are dropped, with an event that says why.
        Err(_) => return PROCEED,
    }
    let key = SocketReverseKey {
        cookie,
        address: backend.address,
        port: backend.port,
        protocol: transport,
        reserved: [0; 5],
    };
    let service = SocketReverse { address: to, port, reserved: 0, service_id: found.service_id };
    if SOCKET_REVERSE.insert(key, service, 0).is_err() {
        // Without the way back a UDP client would not know its answer: better left to per-packet translation.
        return PROCEED;
    }
    set_address::<V6>(ctx, &backend.address, backend.port);
    PROCEED
}

/// A socket learns an address: a backend that it was given becomes the service again.
#[inline(always)]
fn inward<const V6: bool>(ctx: *mut bpf_sock_addr) -> i32 {
    let (port, transport, cookie) = facts(ctx);
    let key = SocketReverseKey { cookie, address: address::<V6>(ctx), port, protocol: transport, reserved: [0; 5] };
    // SAFETY: the value is copied at once.
    if let Some(service) = unsafe { SOCKET_REVERSE.get(key) } {
        let service = *service;
        set_address::<V6>(ctx, &service.address, service.port);
    }
    PROCEED
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    outward::<false>(ctx.sock_addr, Call::Connect)
}
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    outward::<true>(ctx.sock_addr, Call::Connect)
}
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    outward::<false>(ctx.sock_addr, Call::Send)
}
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    outward::<true>(ctx.sock_addr, Call::Send)
}
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    inward::<false>(ctx.sock_addr)
}
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    inward::<true>(ctx.sock_addr)
}
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    inward::<false>(ctx.sock_addr)
}
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    inward::<true>(ctx.sock_addr)
}
