//! When a packet does not fit its way.

use packet_headers::{Headers, flags};

/// Whether the sender must be told that the packet is too big: it exceeds `limit` (bytes of IP packet), and may not
/// be fragmented on the way. A GSO packet is judged by the segments it will become (`gso_size` bytes of payload each).
#[must_use]
#[inline(always)]
pub fn too_big(headers: &Headers, gso_size: u32, limit: u32) -> bool {
    if limit == 0 || !headers.is(flags::DONT_FRAGMENT) {
        return false;
    }
    let size = if gso_size == 0 {
        headers.length
    } else {
        // Behind the IP header: the offset of the transport header counts from the frame's start.
        gso_size + u32::from(headers.transport_header) + headers.l4_offset - packet_headers::ETHERNET_HEADER
    };
    size > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_not_be_fragmented() {
        let mut h =
            Headers { length: 1500, l4_offset: 34, protocol: 17, flags: flags::DONT_FRAGMENT, ..Headers::EMPTY };
        assert!(too_big(&h, 0, 1450) && !too_big(&h, 0, 1500) && !too_big(&h, 0, 0));
        h.flags = 0;
        assert!(!too_big(&h, 0, 1450));
        h = Headers { length: 60_000, transport_header: 32, flags: flags::DONT_FRAGMENT, ..h };
        assert!(!too_big(&h, 1398, 1450) && too_big(&h, 1448, 1450));
    }
}
