//! pod-network.
