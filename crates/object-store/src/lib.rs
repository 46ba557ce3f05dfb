//! object-store.
