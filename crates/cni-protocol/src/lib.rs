//! cni-protocol.
