//! network-namespace.
