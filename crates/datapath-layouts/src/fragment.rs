//! Ports of fragmented datagrams: only the first fragment has them.

use crate::{Address, layout};

layout! {
    /// A datagram in pieces (RFC 791 §3.2, RFC 8200 §4.5).
    pub struct FragmentKey, 40 {
        /// Source as on the wire.
        pub source: Address,
        /// Destination as on the wire.
        pub destination: Address,
        /// Identification (16 bits in IPv4, 32 in IPv6), host order.
        pub id: u32,
        /// IP protocol number.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

layout! {
    /// What the first fragment said.
    pub struct FragmentPorts, 16 {
        /// When the first fragment passed.
        pub seen_ns: u64,
        /// Source port (ICMP: id), host order.
        pub source_port: u16,
        /// Destination port (ICMP: id), host order.
        pub destination_port: u16,
        /// ICMP type of the datagram.
        pub icmp_type: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}
