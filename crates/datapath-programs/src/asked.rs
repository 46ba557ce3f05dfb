//! What a socket had asked for, where its call was translated: told of its flow, whose packets say the backend alone.

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use datapath_layouts::event::event_flags;
use datapath_layouts::{Observation, SocketReverseKey};

use crate::config::config;
use crate::maps::SOCKET_REVERSE;
use crate::scratch::Scratch;
use crate::skb::Skb;

/// The packet at hand may begin a flow: by its socket, which it still has on its way out of a network namespace, the service is
/// found. A socket that speaks to the same backend by its own address, too, has asked for the service as far as
/// anybody can tell, as for `recvmsg`.
#[inline(always)]
pub fn look(skb: Skb, s: &mut Scratch) {
    if s.original_port == 0 && config!(observation) != Observation::Drops as u32 {
        look_up(skb, s);
    }
}

#[inline(never)]
fn look_up(skb: Skb, s: &mut Scratch) -> u32 {
    // SAFETY: the helper takes this context; 0 = the packet has no socket.
    let cookie = unsafe { bpf_get_socket_cookie(skb.0.cast()) };
    if cookie == 0 {
        return 0;
    }
    let key = SocketReverseKey {
        cookie,
        address: s.headers.destination,
        port: s.headers.destination_port,
        protocol: s.headers.protocol,
        reserved: [0; 5],
    };
    // SAFETY: the value is copied at once.
    let Some(service) = (unsafe { SOCKET_REVERSE.get(key) }) else { return 0 };
    s.known.service_address = service.address;
    s.known.service_port = service.port;
    s.event_flags |= event_flags::ASKED;
    1
}
