//! kubernetes-api.
