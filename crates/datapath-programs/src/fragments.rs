//! Fragmented datagrams: the first fragment lends its ports to the later ones.

use datapath_layouts::{DropReason, FragmentKey, FragmentPorts};
use packet_headers::flags;

use crate::maps::FRAGMENTS;
use crate::scratch::Scratch;

/// How long a datagram's pieces may take (RFC 8200 §4.5 and Linux: 30–60 s).
const LIFETIME_NS: u64 = 60_000_000_000;

/// Remembers a first fragment's ports, or fills them in for a later one.
#[inline(always)]
pub fn resolve(s: &mut Scratch) -> Result<(), DropReason> {
    let h = &mut s.headers;
    if !h.is(flags::FIRST_FRAGMENT | flags::LATER_FRAGMENT) {
        return Ok(());
    }
    let key = FragmentKey {
        source: h.source,
        destination: h.destination,
        id: h.fragment_id,
        protocol: h.protocol,
        reserved: [0; 3],
    };
    if h.is(flags::FIRST_FRAGMENT) {
        let ports = FragmentPorts {
            seen_ns: s.now,
            source_port: h.source_port,
            destination_port: h.destination_port,
            icmp_type: h.icmp_type,
            reserved: [0; 3],
        };
        // Refused only when the table can't take it; then the later fragments are dropped with their own reason.
        let _ = FRAGMENTS.insert(&key, ports, 0);
        return Ok(());
    }
    // SAFETY: the value is copied at once.
    let Some(ports) = (unsafe { FRAGMENTS.get(key) }) else { return Err(DropReason::FragmentWithoutFirst) };
    if s.now.wrapping_sub(ports.seen_ns) > LIFETIME_NS {
        return Err(DropReason::FragmentWithoutFirst);
    }
    h.source_port = ports.source_port;
    h.destination_port = ports.destination_port;
    h.icmp_type = ports.icmp_type;
    Ok(())
}
