//! Which nodes have backends of a row. A flow of direct server return is bound to its backend's node and not to the backend,
//! which that node chooses: it stays while the node has any.

use crate::table::{Table, TableError};
use datapath_layouts::{Address, Backend, BackendKey, PrefixKey, Route};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Rows and routes as the kernel has them, each row read once.
pub struct Nodes<'a> {
    backends: &'a dyn Table<BackendKey, Backend>,
    routes: &'a dyn Table<PrefixKey, Route>,
    read: RefCell<HashMap<u32, Option<HashSet<Address>>>>,
}

impl<'a> Nodes<'a> {
    /// Nothing read yet.
    pub fn new(backends: &'a dyn Table<BackendKey, Backend>, routes: &'a dyn Table<PrefixKey, Route>) -> Self {
        Self { backends, routes, read: RefCell::default() }
    }

    /// Whether a node, named by its underlay address, has a backend of a row. A map that can't be read cuts no flow.
    pub fn serves(&self, row: u32, node: Address) -> bool {
        let mut read = self.read.borrow_mut();
        let nodes = read.entry(row).or_insert_with(|| self.of_row(row).ok());
        nodes.as_ref().is_none_or(|nodes| nodes.contains(&node))
    }

    fn of_row(&self, service_id: u32) -> Result<HashSet<Address>, TableError> {
        let mut out = HashSet::new();
        for slot in 0.. {
            let Some(backend) = self.backends.get(&BackendKey { service_id, slot })? else { break };
            if let Some(route) = self.routes.get(&PrefixKey::lookup(backend.address))? {
                out.insert(route.tunnel);
            }
        }
        Ok(out)
    }
}
