//! What a TCP socket has learnt of its way is kept when it closes, because nobody can ask it afterwards. Costs a connection some calls
//! and a packet nothing.

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_sock_ops_cb_flags_set};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use datapath_layouts::{Address, TcpEnd, TcpEndKey};
use datapath_logic::tcp_end::{place, sealed};

use crate::maps::TCP_ENDS;

/// `enum` of `BPF_SOCK_OPS_*` (linux/bpf.h): a socket connects; one that listens has a connection; a state changes.
const CONNECTS: u32 = 3;
const ACCEPTED: u32 = 5;
const STATE: u32 = 10;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`: the socket is to tell of its states.
const TELL_STATES: i32 = 4;
/// `TCP_*` (net/tcp_states.h): it has sent a FIN; it is over; the other end has sent a FIN; both have.
const FIN_WAIT1: u32 = 4;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const AF_INET6: u32 = 10;

#[sock_ops]
pub fn tcp_end(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    // SAFETY, of all that follows: the context is valid for the program's run; the verifier wants 4-byte reads, hence volatile.
    match unsafe { read(&raw const (*ops).op) } {
        CONNECTS | ACCEPTED => unsafe {
            let flags = read(&raw const (*ops).bpf_sock_ops_cb_flags) as i32;
            bpf_sock_ops_cb_flags_set(ops, flags | TELL_STATES);
        },
        STATE => {
            let state = unsafe { read((&raw const (*ops).__bindgen_anon_1).cast::<u32>().add(1)) };
            // The first of each end is told before its last packet, the last one where no packet was expected.
            if matches!(state, FIN_WAIT1 | CLOSE | CLOSE_WAIT | LAST_ACK) {
                unsafe {
                    if read(&raw const (*ops).family) == AF_INET6 { keep::<true>(ops) } else { keep::<false>(ops) }
                }
            }
        }
        _ => {}
    }
    // Whatever else the kernel asks: no answer is its default, and another program may have given one.
    1
}

#[inline(always)]
unsafe fn read(field: *const u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { core::ptr::read_volatile(field) }
}

/// A function for each family: were the two one, the compiler would read "the last word" of both by one moved pointer, and
/// the verifier lets no pointer into the context be moved.
#[inline(never)]
unsafe fn keep<const V6: bool>(ops: *mut bpf_sock_ops) {
    let mut key = TcpEndKey::ZERO;
    // SAFETY: the caller's; bytes of addresses are in network order as they lie.
    let end = unsafe {
        if V6 {
            let (local, remote) = (&raw const (*ops).local_ip6, &raw const (*ops).remote_ip6);
            key.local = Address::from_words([0, 1, 2, 3].map(|i| read(&raw const (*local)[i])));
            key.remote = Address::from_words([0, 1, 2, 3].map(|i| read(&raw const (*remote)[i])));
        } else {
            key.local = Address::from_v4(read(&raw const (*ops).local_ip4).to_ne_bytes());
            key.remote = Address::from_v4(read(&raw const (*ops).remote_ip4).to_ne_bytes());
        }
        key.local_port = read(&raw const (*ops).local_port) as u16;
        // In network byte order, in the upper half of the word on a little-endian machine (net/core/filter.c,
        // `sock_ops_convert_ctx_access`).
        key.remote_port = u32::from_be(read(&raw const (*ops).remote_port)) as u16;
        TcpEnd {
            time_ns: bpf_ktime_get_ns(),
            srtt_us: read(&raw const (*ops).srtt_us) >> 3,
            retransmits: read(&raw const (*ops).total_retrans),
        }
    };
    if let Some(place) = TCP_ENDS.get_ptr_mut(place(&key)) {
        // SAFETY: a map value. Another CPU may write to it at the same time: then it is not whole, and nobody's.
        unsafe { place.write_volatile(sealed(key, end)) };
    }
}
