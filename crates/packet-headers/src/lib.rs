//! packet-headers.
