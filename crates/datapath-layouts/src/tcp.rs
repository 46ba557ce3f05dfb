//! What an end of a TCP connection knew of its way when it closed.

use crate::{Address, layout};

/// Places of the table; a power of two. Of connections that close at once, two in so many share one.
pub const PLACES: u32 = 1 << 14;

layout! {
    /// One end of a connection, as its socket has it: a socket whose calls are translated has the backend here.
    pub struct TcpEndKey, 36 {
        /// The socket's own address.
        pub local: Address,
        /// The other end's.
        pub remote: Address,
        /// The socket's own port, host order.
        pub local_port: u16,
        /// The other end's.
        pub remote_port: u16,
    }
}

layout! {
    /// What its socket had learnt, when it closed or was closed.
    pub struct TcpEnd, 16 {
        /// When that was.
        pub time_ns: u64,
        /// Smoothed round-trip time (RFC 6298 §2), microseconds; 0 = nothing was ever acknowledged.
        pub srtt_us: u32,
        /// Segments that it has sent again.
        pub retransmits: u32,
    }
}

layout! {
    /// Where it is kept: one place for each end, a line of the processor's cache.
    pub struct TcpEndPlace, 64 {
        /// Whose it is.
        pub key: TcpEndKey,
        /// Of key and end; 0 = nobody's.
        pub seal: u32,
        /// What it knew.
        pub end: TcpEnd,
        /// Zero.
        pub reserved: [u32; 2],
    }
}
