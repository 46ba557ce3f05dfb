//! What a socket had asked for, where its call was translated: told of its flow, whose packets say the backend alone.

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{Observation, SocketReverseKey};

use crate::config::config;
use crate::maps::SOCKET_REVERSE;
use crate::scratch::Scratch;
use crate::skb::Skb;

/// The packet at hand may begin a flow, as `s.opening` says: by its socket, which it still has on its way out of a network namespace, the service is
/// found. A socket that speaks to the same backend by its own address, too, has asked for the service as far as anybody can tell, as
/// for `recvmsg`.
#[inline(always)]
pub fn look(skb: Skb, s: &mut Scratch) {
    // SAFETY: the helper takes this context; 0 = the packet has no socket.
    s.cookie = unsafe { bpf_get_socket_cookie(skb.0.cast()) };
    asked_for();
}

/// For the socket in `Scratch::cookie`. A global function, which the verifier goes through once: in the middle of a program each of its
/// ways would double all that follow.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn asked_for() -> u32 {
    let Some(s) = Scratch::current() else { return 0 };
    if s.cookie == 0 || s.original_port != 0 || config!(observation) == Observation::Drops as u32 {
        return 0;
    }
    let key = SocketReverseKey {
        cookie: s.cookie,
        address: s.headers.destination,
        port: s.headers.destination_port,
        protocol: s.headers.protocol,
        reserved: [0; 5],
    };
    // SAFETY: the value is copied at once.
    let Some(service) = (unsafe { SOCKET_REVERSE.get(key) }) else { return 0 };
    s.opening.service_address = service.address;
    s.opening.service_port = service.port;
    s.opening.flags |= flow_flags::ASKED;
    s.original = service.address;
    s.original_port = service.port;
    s.event_flags |= event_flags::ASKED;
    1
}
