//! What the Pod network asks of the datapath.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::Endpoint;

/// Any error of the datapath; its text and sources go to the runtime.
pub type DatapathError = Box<dyn std::error::Error + Send + Sync>;

/// Programs and map entries of an endpoint. Called from several threads, for one container never at the same time.
pub trait Datapath: Send + Sync {
    /// Puts programs on the host side's link (it is down, and set up only when this has returned) and writes what
    /// the maps must know. Idempotent.
    fn attach(&self, endpoint: &Endpoint) -> Result<(), DatapathError>;

    /// Takes all of it away. Idempotent; the link may be gone, and then `host_ifindex` is 0.
    fn detach(&self, endpoint: &Endpoint) -> Result<(), DatapathError>;

    /// Whether all that [`Self::attach`] does is in place.
    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool, DatapathError>;
}

/// A datapath that only remembers: for tests of what is above it.
#[derive(Debug, Default)]
pub struct NullDatapath(Mutex<HashSet<String>>);

impl Datapath for NullDatapath {
    fn attach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.host_ifname.clone());
        Ok(())
    }

    fn detach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint.host_ifname);
        Ok(())
    }

    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool, DatapathError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&endpoint.host_ifname))
    }
}
